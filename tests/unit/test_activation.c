/* The network's elementwise functions in float against the C library's in double. */
#include "worker/nn/activation.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void check(float x) {
    const double t = tanh((double)x), s = 1 / (1 + exp(-(double)x));
    const double seen = (double)nn_tanh(x);
    if (!(fabs(seen - t) <= 5e-7 * fabs(t)) || fabs(seen) > 1 || (double)nn_tanh(-x) != -seen)
        fail_msg("tanh(%.9g) is %.9g, expected %.9g", (double)x, seen, t);
    const double sigmoid = (double)nn_sigmoid(x);
    if (!(fabs(sigmoid - s) <= 3e-7) || sigmoid < 0 || sigmoid > 1)
        fail_msg("sigmoid(%.9g) is %.9g, expected %.9g", (double)x, sigmoid, s);
}

static void test_range(void **state) {
    (void)state;
    for (int i = -400000; i <= 400000; i++) check((float)i * 4e-5f);
    for (int exponent = -120; exponent <= 120; exponent++)
        for (int i = 0; i < 64; i++) {
            float x = ldexpf(1.0f + (float)i / 64.0f, exponent);
            check(x);
            check(-x);
        }
}

static void test_special(void **state) {
    (void)state;
    assert_true(nn_tanh(0.0f) == 0.0f && nn_sigmoid(0.0f) == 0.5f);
    check(INFINITY);
    check(-INFINITY);
    assert_true(isnan(nn_tanh(NAN)) && isnan(nn_sigmoid(NAN)) && isnan(nn_exp(NAN)));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_range),
                                       cmocka_unit_test(test_special)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
