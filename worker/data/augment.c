#include "worker/data/augment.h"

#include "common/random.h"

#include <math.h>
#include <stddef.h>

typedef struct {
    int height, width;
    const float *pixels;
    float fill;
} source_t;

/* Adds weight times the pixel at (row, column). */
static void add_pixel(const source_t *s, int row, int column, float weight,
                      float sum[WK_AUGMENT_CHANNELS]) {
    bool inside = row >= 0 && row < s->height && column >= 0 && column < s->width;
    const float *from =
        inside ? s->pixels + ((int64_t)row * s->width + column) * WK_AUGMENT_CHANNELS : NULL;
    for (int c = 0; c < WK_AUGMENT_CHANNELS; c++) sum[c] += weight * (inside ? from[c] : s->fill);
}

static void sample(const source_t *s, double y, double x, float out[WK_AUGMENT_CHANNELS]) {
    double top = floor(y), left = floor(x);
    float down = (float)(y - top), right = (float)(x - left);
    int row = (int)top, column = (int)left;
    float sum[WK_AUGMENT_CHANNELS] = {0};
    add_pixel(s, row, column, (1 - down) * (1 - right), sum);
    if (right > 0) add_pixel(s, row, column + 1, (1 - down) * right, sum);
    if (down > 0) add_pixel(s, row + 1, column, down * (1 - right), sum);
    if (down > 0 && right > 0) add_pixel(s, row + 1, column + 1, down * right, sum);
    for (int c = 0; c < WK_AUGMENT_CHANNELS; c++) out[c] = sum[c];
}

void wk_augment(const wk_augment_t *a, uint64_t epoch, uint32_t image, int height, int width,
                const float *pixels, float *out) {
    const source_t source = {height, width, pixels, (float)a->fill};
    hp_random_t random = hp_random(a->seed, HP_RANDOM_AUGMENT, hp_random_mix(epoch, image), 0);
    uint64_t places = 2 * (uint64_t)a->pad + 1;
    int down = (int)hp_random_below(&random, places) - a->pad;
    int right = (int)hp_random_below(&random, places) - a->pad;
    double angle = a->rotate * (2 * hp_random_uniform(&random) - 1);
    double cosine = cos(angle), sine = sin(angle);
    double middle_y = (height - 1) / 2.0, middle_x = (width - 1) / 2.0;
    for (int r = 0; r < height; r++)
        for (int c = 0; c < width; c++, out += WK_AUGMENT_CHANNELS) {
            double y = r - middle_y, x = c - middle_x;
            sample(&source, sine * x + cosine * y + middle_y + down,
                   cosine * x - sine * y + middle_x + right, out);
        }
}
