/* The network's elementwise functions in float against the C library's in double. */
#include "worker/nn/rows.h"

#include <float.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* How far off, in units in the last place of a float of the size of `want`. */
static double ulps(float seen, double want) {
    const float size = (float)fabs(want);
    const double unit = isinf(size) ? 0x1p104 : (double)nextafterf(size, INFINITY) - (double)size;
    return fabs((double)seen - want) / unit;
}

static void check(float x) {
    const double t = tanh((double)x), s = 1 / (1 + exp(-(double)x)), e = exp((double)x);
    const float tanh_seen = nn_tanh(x), sigmoid = nn_sigmoid(x), exp_seen = nn_exp(x);
    if (!(ulps(tanh_seen, t) <= 7) || fabsf(tanh_seen) > 1 || nn_tanh(-x) != -tanh_seen)
        fail_msg("tanh(%.9g) is %.9g, expected %.9g", (double)x, (double)tanh_seen, t);
    if ((s >= 0x1p-126 && !(ulps(sigmoid, s) <= 4)) || !(sigmoid >= 0 && sigmoid <= 1))
        fail_msg("sigmoid(%.9g) is %.9g, expected %.9g", (double)x, (double)sigmoid, s);
    if (e > (double)FLT_MAX ? !isinf(exp_seen) && e > 1.0000001 * (double)FLT_MAX
                            : !(ulps(exp_seen, e) <= 1))
        fail_msg("exp(%.9g) is %.9g, expected %.9g", (double)x, (double)exp_seen, e);
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

/* As loops become vector code: the same bits as number by number. */
static void test_loops(void **state) {
    (void)state;
    enum { N = 203 };
    float x[N], y[N], sum = 0, most = -INFINITY;
    for (int i = 0; i < N; i++) {
        x[i] = (float)((i * 7919) % 401 - 200) * 0.37f;
        if (x[i] > most) most = x[i];
    }
    memcpy(y, x, sizeof y);
    nn_tanh_rows(1, N, y);
    for (int i = 0; i < N; i++) assert_true(y[i] == nn_tanh(x[i]));
    memcpy(y, x, sizeof y);
    nn_softmax(N, y);
    for (int i = 0; i < N; i++) sum += nn_exp(x[i] - most);
    for (int i = 0; i < N; i++) assert_true(y[i] == nn_exp(x[i] - most) / sum);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_range), cmocka_unit_test(test_special),
                                       cmocka_unit_test(test_loops)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
