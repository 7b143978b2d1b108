/* Crops and rotations: the identity, exact shifts, what is outside, a function of the key alone. */
#include "worker/data/augment.h"

#include "common/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { H = 9, W = 12, N = H * W * WK_AUGMENT_CHANNELS };

static float pixels[N];

static int setup(void **state) {
    (void)state;
    hp_random_t r = hp_random(4, HP_RANDOM_TEST, 0, 0);
    for (int i = 0; i < N; i++)
        pixels[i] = (float)hp_random_uniform(&r) + 2; /* never the filling */
    return 0;
}

static void test_identity(void **state) {
    (void)state;
    float out[N];
    const wk_augment_t none = {.fill = 1, .seed = 7};
    for (uint32_t image = 0; image < 20; image++) {
        wk_augment(&none, 3, image, H, W, pixels, out);
        assert_memory_equal(out, pixels, sizeof out);
    }
}

/* Without a rotation: the image, moved by whole pixels; all places come, and no other. */
static void test_crop(void **state) {
    (void)state;
    float out[N];
    const wk_augment_t a = {.pad = 2, .fill = -0.5, .seed = 7};
    int seen[5][5] = {0}, places = 0;
    for (uint32_t image = 0; image < 400; image++) {
        wk_augment(&a, 1, image, H, W, pixels, out);
        int found = 0;
        for (int down = -2; down <= 2; down++)
            for (int right = -2; right <= 2; right++) {
                bool same = true;
                for (int i = 0; i < N && same; i++) {
                    int c = i % 3, x = i / 3 % W + right, y = i / 3 / W + down;
                    bool inside = x >= 0 && x < W && y >= 0 && y < H;
                    same = out[i] == (inside ? pixels[(y * W + x) * 3 + c] : -0.5f);
                }
                if (!same) continue;
                found++;
                places += seen[down + 2][right + 2]++ == 0;
            }
        assert_int_equal(found, 1);
    }
    assert_int_equal(places, 25);
}

/* The definition, by itself: what a pixel is comes from where it was, with bilinear weights. */
static double at(int y, int x, int c, double fill) {
    return x >= 0 && x < W && y >= 0 && y < H ? (double)pixels[(y * W + x) * 3 + c] : fill;
}

static double wanted(double angle, double fill, int r, int column, int c) {
    double my = (H - 1) / 2.0, mx = (W - 1) / 2.0;
    double y = sin(angle) * (column - mx) + cos(angle) * (r - my) + my;
    double x = cos(angle) * (column - mx) - sin(angle) * (r - my) + mx;
    int y0 = (int)floor(y), x0 = (int)floor(x);
    double v = y - y0, u = x - x0;
    return (1 - v) * ((1 - u) * at(y0, x0, c, fill) + u * at(y0, x0 + 1, c, fill)) +
           v * ((1 - u) * at(y0 + 1, x0, c, fill) + u * at(y0 + 1, x0 + 1, c, fill));
}

static void test_rotation(void **state) {
    (void)state;
    float out[N];
    const wk_augment_t a = {.rotate = 0.4, .fill = 0.25, .seed = 2};
    double least = 1, most = -1;
    for (uint32_t image = 0; image < 30; image++) {
        /* The angle is what makes one pixel right; the others must follow. */
        hp_random_t random = hp_random(2, HP_RANDOM_AUGMENT, hp_random_mix(6, image), 0);
        for (int i = 0; i < 2; i++) (void)hp_random_below(&random, 1);
        double angle = 0.4 * (2 * hp_random_uniform(&random) - 1);
        wk_augment(&a, 6, image, H, W, pixels, out);
        for (int i = 0; i < N; i++)
            assert_true(fabs((double)out[i] - wanted(angle, 0.25, i / 3 / W, i / 3 % W, i % 3)) <
                        1e-5);
        least = fmin(least, angle);
        most = fmax(most, angle);
    }
    assert_true(least < -0.2 && most > 0.2 && least >= -0.4 && most <= 0.4);
}

static void test_key(void **state) {
    (void)state;
    float a[N], b[N];
    wk_augment_t augment = {.pad = 4, .rotate = 0.05, .seed = 1};
    wk_augment(&augment, 5, 17, H, W, pixels, a);
    wk_augment(&augment, 5, 17, H, W, pixels, b);
    assert_memory_equal(a, b, sizeof a);
    wk_augment(&augment, 6, 17, H, W, pixels, b);
    assert_memory_not_equal(a, b, sizeof a);
    wk_augment(&augment, 5, 18, H, W, pixels, b);
    assert_memory_not_equal(a, b, sizeof a);
    augment.seed = 2;
    wk_augment(&augment, 5, 17, H, W, pixels, b);
    assert_memory_not_equal(a, b, sizeof a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_crop),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_key),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
