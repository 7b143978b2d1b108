#include "worker/data/pixel_norm.h"

#define SCALE (1.0f / 255)

/* The lower of the two in the middle. */
static int median(const unsigned char *value, size_t count, int stride) {
    size_t number[256] = {0}, below = 0;
    for (size_t i = 0; i < count; i++) number[value[i * (size_t)stride]]++;
    for (int v = 0; v < 255; v++) {
        below += number[v];
        if (2 * below >= count) return v;
    }
    return 255;
}

void wk_pixel_norm(hp_pixel_norm_t norm, const unsigned char *pixels, size_t count, int channels,
                   float *out) {
    float zero[WK_PIXEL_NORM_CHANNELS] = {0};
    const size_t n = count * (size_t)channels;
    switch (norm) {
    case HP_PIXELS_NONE:
        for (size_t i = 0; i < n; i++) out[i] = (float)pixels[i] * SCALE;
        return;
    case HP_PIXELS_INVERTED:
        for (size_t i = 0; i < n; i++) out[i] = (float)(255 - pixels[i]) * SCALE;
        return;
    case HP_PIXELS_MEDIAN:
        for (int c = 0; c < channels; c++) zero[c] = (float)median(pixels + c, count, channels);
        for (size_t i = 0; i < count; i++)
            for (int c = 0; c < channels; c++, pixels++, out++) *out = (*pixels - zero[c]) * SCALE;
        return;
    }
}
