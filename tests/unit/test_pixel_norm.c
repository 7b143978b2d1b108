/* Pixels for the trunk, against a naive twin that sorts. */
#include "worker/data/pixel_norm.h"

#include "common/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MOST = 40, CHANNELS = 3 };

static int ascending(const void *a, const void *b) {
    return *(const unsigned char *)a - *(const unsigned char *)b;
}

static double naive(hp_pixel_norm_t norm, const unsigned char *pixels, size_t count, int channels,
                    size_t i) {
    unsigned char sorted[MOST];
    const size_t c = i % (size_t)channels;
    if (norm == HP_PIXELS_NONE) return pixels[i] / 255.0;
    if (norm == HP_PIXELS_INVERTED) return 1 - pixels[i] / 255.0;
    for (size_t k = 0; k < count; k++) sorted[k] = pixels[k * (size_t)channels + c];
    qsort(sorted, count, 1, ascending);
    return (pixels[i] - sorted[(count - 1) / 2]) / 255.0;
}

static void test_values(void **state) {
    (void)state;
    hp_random_t r = hp_random(4, HP_RANDOM_TEST, 0, 0);
    for (int channels = 1; channels <= CHANNELS; channels++)
        for (size_t count = 1; count <= MOST; count++) {
            unsigned char pixels[MOST * CHANNELS];
            const size_t n = count * (size_t)channels;
            uint64_t values = 1 + hp_random_below(&r, 256);
            for (size_t i = 0; i < n; i++)
                pixels[i] = (unsigned char)(255 - hp_random_below(&r, values));
            for (hp_pixel_norm_t norm = HP_PIXELS_NONE; norm <= HP_PIXELS_MEDIAN; norm++) {
                float out[MOST * CHANNELS + 1];
                out[n] = 77;
                wk_pixel_norm(norm, pixels, count, channels, out);
                for (size_t i = 0; i < n; i++)
                    assert_true(fabs(out[i] - naive(norm, pixels, count, channels, i)) < 1e-6);
                assert_true(out[n] == 77);
            }
        }
}

/* A background of any colour becomes zero, exactly: what the convolutions pad with. */
static void test_background(void **state) {
    (void)state;
    unsigned char pixels[MOST * CHANNELS];
    float out[MOST * CHANNELS];
    for (int i = 0; i < MOST * CHANNELS; i++)
        pixels[i] = (unsigned char)(i < 45 ? i : 200 + i % CHANNELS);
    wk_pixel_norm(HP_PIXELS_MEDIAN, pixels, MOST, CHANNELS, out);
    for (int i = 45; i < MOST * CHANNELS; i++) assert_true(out[i] == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_background),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
