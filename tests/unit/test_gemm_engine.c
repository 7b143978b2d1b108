/* Products by oneDNN against three loops, in float and in bf16, and what happens without it. */
#include "common/gemm.h"
#include "common/memory.h"
#include "common/random.h"
#include "tests/support/older_cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 70, PAD = 3, ROOM = (MOST + PAD) * MOST };

typedef struct {
    float value[ROOM];    /* what the product sees */
    hp_bf16_t half[ROOM]; /* the same in bf16 */
} matrix_t;

static hp_gemm_engine_t *open_engine(bool bf16) {
    hp_gemm_engine_t *engine = NULL;
    hp_error_t err = {.text = ""};
    hp_status_t status = hp_gemm_engine_open(bf16, &engine, &err);
    if (hp_gemm_has_engine()) {
        assert_int_equal(status, HP_OK);
        assert_int_equal(hp_gemm_engine_bf16(engine), bf16);
    } else {
        assert_int_equal(status, HP_INPUT);
        assert_non_null(strstr(err.text, "without oneDNN"));
        assert_null(engine);
    }
    return engine;
}

static void assert_well(hp_gemm_engine_t *engine) {
    hp_error_t err = {.text = ""};
    if (hp_gemm_engine_status(engine, &err) != HP_OK) fail_msg("%s", err.text);
}

static void fill(hp_random_t *r, matrix_t *x) {
    for (int i = 0; i < ROOM; i++) {
        x->half[i] = hp_bf16_from_float((float)hp_random_normal(r));
        x->value[i] = hp_bf16_to_float(x->half[i]);
    }
}

static double at(const matrix_t *x, int ld, bool transposed, int row, int column) {
    return (double)(transposed ? x->value[column * ld + row] : x->value[row * ld + column]);
}

static double activate(hp_gemm_activation_t activation, double x) {
    if (activation == HP_GEMM_RELU) return x > 0 ? x : 0;
    return activation == HP_GEMM_TANH ? tanh(x) : x;
}

typedef struct {
    int m, n, k;
    bool a_transposed, b_transposed, a_half, b_half, c_half, bias, add;
    hp_gemm_activation_t activation;
} kind_t;

/* Operands are bf16 numbers, so that float and bf16 must agree to the rounding of the result. */
static void check(hp_gemm_engine_t *engine, hp_random_t *r, const kind_t *kind) {
    static matrix_t a, b, bias, before, c;
    const int m = kind->m, n = kind->n, k = kind->k;
    const int lda = (kind->a_transposed ? m : k) + PAD, ldb = (kind->b_transposed ? k : n) + PAD;
    const int ldc = n + PAD;
    fill(r, &a);
    fill(r, &b);
    fill(r, &bias);
    fill(r, &before);
    c = before;
    const hp_gemm_product_t product = {
        .m = m,
        .n = n,
        .k = k,
        .a = {kind->a_half ? (void *)a.half : a.value, kind->a_half ? HP_GEMM_BF16 : HP_GEMM_FLOAT,
              kind->a_transposed, lda},
        .b = {kind->b_half ? (void *)b.half : b.value, kind->b_half ? HP_GEMM_BF16 : HP_GEMM_FLOAT,
              kind->b_transposed, ldb},
        .bias = kind->bias ? bias.value : NULL,
        .activation = kind->activation,
        .add = kind->add,
        .type = kind->c_half ? HP_GEMM_BF16 : HP_GEMM_FLOAT,
        .ld = ldc,
        .c = kind->c_half ? (void *)c.half : c.value};
    assert_int_equal(hp_gemm_multiply(engine, &product), (int64_t)m * n * k);
    assert_well(engine);
    for (int i = 0; i < m * ldc; i++) {
        int row = i / ldc, column = i % ldc;
        double want = (double)before.value[i], size = 0;
        if (column < n) {
            double sum = kind->bias ? (double)bias.value[column] : 0;
            for (int l = 0; l < k; l++) {
                double term = at(&a, lda, kind->a_transposed, row, l) *
                              at(&b, ldb, kind->b_transposed, l, column);
                sum += term;
                size += fabs(term);
            }
            want = activate(kind->activation, sum) + (kind->add ? want : 0);
        }
        double got = kind->c_half ? (double)hp_bf16_to_float(c.half[i]) : (double)c.value[i];
        if (fabs(got - want) > 1e-5 * (1 + size) + (kind->c_half ? fabs(want) / 256 : 0))
            fail_msg("%d x %d x %d at %d, %d: %g instead of %g", m, n, k, row, column, got, want);
    }
}

static void check_all(hp_gemm_engine_t *engine) {
    static const int sizes[][3] = {{1, 1, 1},    {1, 7, 5},   {17, 1, 9},  {33, 20, 31},
                                   {64, 64, 64}, {70, 48, 3}, {16, 70, 32}};
    hp_random_t r = hp_random(1, HP_RANDOM_TEST, 0, 0);
    const bool half = hp_gemm_engine_bf16(engine);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int t = 0; t < 4; t++) {
            kind_t kind = {.m = sizes[s][0],
                           .n = sizes[s][1],
                           .k = sizes[s][2],
                           .a_transposed = t & 1,
                           .b_transposed = t & 2};
            check(engine, &r, &kind);
            kind.add = true;
            check(engine, &r, &kind);
            kind.add = false;
            kind.bias = true;
            kind.activation = (hp_gemm_activation_t)(t % 3);
            check(engine, &r, &kind);
            kind.a_half = kind.b_half = half;
            check(engine, &r, &kind);
            kind.c_half = half;
            check(engine, &r, &kind);
            kind.b_half = false; /* rounded by the engine */
            check(engine, &r, &kind);
        }
}

static void test_products(void **state) {
    (void)state;
    hp_gemm_set_threads(1);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        hp_gemm_engine_t *engine = open_engine(bf16);
        if (engine == NULL) continue;
        check_all(engine);
        check_all(engine); /* prepared already */
        hp_gemm_engine_close(engine);
    }
    hp_gemm_engine_close(NULL);
}

/* More shapes than are kept. */
static void test_many_shapes(void **state) {
    (void)state;
    hp_gemm_engine_t *engine = open_engine(false);
    if (engine == NULL) return;
    hp_random_t r = hp_random(2, HP_RANDOM_TEST, 0, 0);
    for (int m = 1; m <= 40; m++)
        for (int n = 1; n <= 40; n++)
            if (m % 8 == 0 || n % 4 == 0)
                check(engine, &r, &(kind_t){.m = m, .n = n, .k = 1 + (m * n) % 7, .bias = m & 1});
    hp_gemm_engine_close(engine);
}

static void test_bf16(void **state) {
    (void)state;
    assert_int_equal(hp_bf16_from_float(1.0f), 0x3f80);
    assert_int_equal(hp_bf16_from_float(-2.0f), 0xc000);
    assert_int_equal(hp_bf16_from_float(1.0f + 0x1p-8f), 0x3f80);           /* a tie, to even */
    assert_int_equal(hp_bf16_from_float(1.0f + 0x1p-7f + 0x1p-8f), 0x3f82); /* a tie, to even */
    assert_int_equal(hp_bf16_from_float(1.0f + 0x1.8p-8f), 0x3f81);
    assert_int_equal(hp_bf16_from_float(INFINITY), 0x7f80);
    assert_true(isnan(hp_bf16_to_float(hp_bf16_from_float(NAN))));
    for (uint32_t i = 0; i < 0x10000; i++) {
        float x = hp_bf16_to_float((hp_bf16_t)i);
        if (!isnan(x)) assert_int_equal(hp_bf16_from_float(x), i);
    }
}

static void test_round(void **state) {
    (void)state;
    hp_gemm_engine_t *engine = open_engine(true);
    if (engine == NULL) return;
    hp_random_t r = hp_random(3, HP_RANDOM_TEST, 0, 0);
    enum { ROWS = 37, COLUMNS = 29 };
    float in[ROWS * COLUMNS];
    hp_bf16_t out[ROWS * COLUMNS + 1];
    for (int i = 0; i < ROWS * COLUMNS; i++) in[i] = (float)hp_random_normal(&r);
    in[5] = NAN;
    out[ROWS * COLUMNS] = 77;
    hp_gemm_round(engine, ROWS, COLUMNS, in, out);
    hp_gemm_round(engine, 0, COLUMNS, NULL, NULL);
    assert_well(engine);
    for (int i = 0; i < ROWS * COLUMNS; i++)
        if (i == 5)
            assert_true(isnan(hp_bf16_to_float(out[i])));
        else
            assert_int_equal(out[i], hp_bf16_from_float(in[i]));
    assert_int_equal(out[ROWS * COLUMNS], 77);
    hp_gemm_engine_close(engine);
}

/* A run that has diverged must be seen: no activation may swallow a NaN. */
static void test_nan(void **state) {
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        hp_gemm_engine_t *engine = open_engine(bf16);
        if (engine == NULL) return;
        enum { N = 32 };
        float a[N * N], b[N * N], c[N * N], bias[N];
        for (int i = 0; i < N * N; i++) a[i] = b[i] = (float)(i % 7) - 3;
        for (int i = 0; i < N; i++) bias[i] = -1;
        a[3 * N + 5] = NAN;
        for (int activation = 0; activation < 3; activation++) {
            hp_gemm_multiply(engine,
                             &(hp_gemm_product_t){.m = N,
                                                  .n = N,
                                                  .k = N,
                                                  .a = {.data = a, .ld = N},
                                                  .b = {.data = b, .ld = N, .transposed = true},
                                                  .bias = bias,
                                                  .activation = (hp_gemm_activation_t)activation,
                                                  .ld = N,
                                                  .c = c});
            assert_well(engine);
            for (int i = 0; i < N * N; i++) assert_int_equal(isnan(c[i]) != 0, i / N == 3);
        }
        hp_gemm_engine_close(engine);
    }
}

static void test_describe(void **state) {
    (void)state;
    char text[256];
    hp_gemm_engine_t *engine = open_engine(true);
    if (engine == NULL) return;
    hp_gemm_engine_describe(engine, text, sizeof text);
    assert_non_null(strstr(text, "oneDNN "));
    assert_non_null(strstr(text, "bf16"));
    hp_gemm_engine_describe(engine, text, 5);
    assert_int_equal(strlen(text), 4);
    hp_gemm_engine_close(engine);
}

/* The whole again as on a CPU without units for bf16; read by oneDNN when it starts. */
int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products), cmocka_unit_test(test_many_shapes),
        cmocka_unit_test(test_bf16),     cmocka_unit_test(test_round),
        cmocka_unit_test(test_nan),      cmocka_unit_test(test_describe)};
    (void)argc;
    return older_cpu_too(cmocka_run_group_tests(tests, NULL, NULL), argv);
}
