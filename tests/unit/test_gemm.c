/* Matrix products against three loops, and that a NaN stays visible in the build that is shipped.
 */
#include "common/gemm.h"
#include "common/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { MAX = 40 * 40 };

/* Element (row, column) of op(x), x stored with leading dimension ld. */
static double at(const double *x, int ld, bool transposed, int row, int column) {
    return transposed ? x[column * ld + row] : x[row * ld + column];
}

static void check(hp_random_t *r, bool ta, bool tb, int m, int n, int k, double alpha,
                  double beta) {
    static const int pad = 3; /* leading dimensions wider than the rows */
    int lda = (ta ? m : k) + pad, ldb = (tb ? k : n) + pad, ldc = n + pad;
    double a[MAX], b[MAX], c[MAX], before[MAX];
    float af[MAX], bf[MAX], cf[MAX];
    for (int i = 0; i < MAX; i++) {
        af[i] = (float)(a[i] = (float)hp_random_normal(r));
        bf[i] = (float)(b[i] = (float)hp_random_normal(r));
        cf[i] = (float)(c[i] = before[i] = (float)hp_random_normal(r));
    }
    if (beta == 0.0) /* c is not read then */
        for (int i = 0; i < m; i++)
            for (int j = 0; j < n; j++) cf[i * ldc + j] = (float)(c[i * ldc + j] = NAN);
    int64_t madds = hp_gemm_double(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
    assert_int_equal(madds, (int64_t)m * n * k);
    assert_int_equal(hp_gemm(ta, tb, m, n, k, (float)alpha, af, lda, bf, ldb, (float)beta, cf, ldc),
                     madds);
    for (int i = 0; i < MAX; i++) {
        int row = i / ldc, column = i % ldc;
        double want = before[i];
        if (row < m && column < n) {
            double sum = 0.0;
            for (int l = 0; l < k; l++) sum += at(a, lda, ta, row, l) * at(b, ldb, tb, l, column);
            want = alpha * sum + (beta == 0.0 ? 0.0 : beta * before[i]);
        }
        assert_true(fabs(c[i] - want) < 1e-12 * (1 + fabs(want)));
        assert_true(fabs(cf[i] - want) < 1e-4 * (1 + fabs(want)));
    }
}

static void test_product(void **state) {
    (void)state;
    hp_random_t r = hp_random(1, HP_RANDOM_TEST, 0, 0);
    static const int sizes[][3] = {{1, 1, 1}, {1, 7, 5}, {17, 1, 9}, {33, 20, 31}, {5, 6, 0}};
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++)
        for (int t = 0; t < 4; t++)
            for (int v = 0; v < 3; v++)
                check(&r, t & 1, t & 2, sizes[s][0], sizes[s][1], sizes[s][2], v == 2 ? -0.5 : 1.0,
                      v == 0   ? 0.0
                      : v == 1 ? 1.0
                               : 2.0);
    float c = 4.0f; /* nothing to do */
    assert_int_equal(hp_gemm(false, false, 0, 1, 1, 1.0f, &c, 1, &c, 1, 0.0f, &c, 1), 0);
    assert_true(c == 4.0f);
}

static void test_threads(void **state) {
    (void)state;
    char text[256], tiny[4];
    hp_gemm_set_threads(1);
    hp_gemm_describe(text, sizeof text);
    assert_non_null(strstr(text, "OpenBLAS"));
    assert_non_null(strstr(text, "threads 1"));
    hp_gemm_describe(tiny, sizeof tiny);
    assert_int_equal(strlen(tiny), sizeof tiny - 1);
    hp_gemm_set_threads(0);
    hp_gemm_describe(text, sizeof text);
    assert_null(strstr(text, "threads 0"));
}

/* -ffast-math and -Ofast would break this. */
static void test_nan(void **state) {
    (void)state;
    volatile double zero = 0.0;
    double nan_value = zero / zero, infinite = 1.0 / zero;
    assert_true(isnan(nan_value) && !isfinite(nan_value));
    assert_true(isinf(infinite) && !isfinite(infinite) && nan_value != nan_value);
    float a[4] = {1, (float)nan_value, 0, 1}, b[4] = {1, 0, 0, 1}, c[4];
    hp_gemm(false, false, 2, 2, 2, 1.0f, a, 2, b, 2, 0.0f, c, 2);
    assert_true(isnan(c[1]));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_product),
                                       cmocka_unit_test(test_threads), cmocka_unit_test(test_nan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
