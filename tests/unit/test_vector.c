/* Loops over arrays against one number at a time: every length, every bf16, the same bits. */
#include "common/random.h"
#include "common/vector.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { N = 2100 };

typedef struct {
    float x[N], y[N];
    hp_bf16_t half[N];
} numbers_t;

static numbers_t make(void) {
    numbers_t v;
    hp_random_t r = hp_random(1, HP_RANDOM_TEST, 0, 0);
    for (int i = 0; i < N; i++) {
        v.x[i] = (float)hp_random_normal(&r) * ldexpf(1, (int)hp_random_below(&r, 40) - 20);
        v.y[i] = (float)hp_random_normal(&r);
        v.half[i] = hp_bf16_from_float((float)hp_random_normal(&r));
    }
    return v;
}

/* Rounding to even of what a bf16 cannot hold, by the definition. */
static hp_bf16_t round_slowly(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (isnan(x)) return (hp_bf16_t)(bits >> 16 | 0x40);
    const uint32_t below = bits >> 16, rest = bits & 0xffff;
    return (hp_bf16_t)(below + (rest > 0x8000 || (rest == 0x8000 && below & 1)));
}

static void test_every_bf16(void **state) {
    (void)state;
    float wide[5];
    hp_bf16_t back[5];
    for (uint32_t h = 0; h < 0x10000; h++) {
        const uint32_t bits[5] = {h << 16, h << 16 | 1, h << 16 | 0x7fff, h << 16 | 0x8000,
                                  h << 16 | 0x8001};
        memcpy(wide, bits, sizeof bits);
        hp_bf16_round(back, wide, 5);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(back[i], round_slowly(wide[i]));
            assert_int_equal(back[i], hp_bf16_from_float(wide[i]));
        }
        const hp_bf16_t half = (hp_bf16_t)h;
        hp_bf16_unpack(wide, &half, 1);
        assert_memory_equal(wide, bits, sizeof wide[0]);
    }
}

/* Sixteen lanes, added in order: what the bits are defined to be. */
static double sum_slowly(const float *x, int n) {
    double lane[16] = {0}, sum = 0;
    for (int i = 0; i < n; i++) lane[i % 16] += (double)x[i] * (double)x[i];
    for (int j = 0; j < 16; j++) sum += lane[j];
    return sum;
}

static void check_length(const numbers_t *v, int n) {
    static float sum[N], rounded[N], wide[N];
    static hp_bf16_t half[N];
    assert_true(hp_sum_squares(v->x, n) == sum_slowly(v->x, n));
    memcpy(sum, v->y, sizeof sum);
    hp_add(sum, v->x, n);
    for (int i = 0; i < N; i++) assert_true(sum[i] == (i < n ? v->y[i] + v->x[i] : v->y[i]));

    memset(half, 0, sizeof half);
    const double squares = hp_bf16_pack(half, v->x, n);
    for (int i = 0; i < N; i++) {
        assert_int_equal(half[i], i < n ? round_slowly(v->x[i]) : 0);
        rounded[i] = hp_bf16_to_float(half[i]);
    }
    assert_true(squares == sum_slowly(rounded, n));
    assert_true(hp_bf16_sum_squares(half, n) == squares);

    memset(wide, 0, sizeof wide);
    hp_bf16_unpack(wide, half, n);
    assert_memory_equal(wide, rounded, sizeof wide);
    memcpy(sum, v->y, sizeof sum);
    hp_bf16_add(sum, v->half, n);
    for (int i = 0; i < N; i++)
        assert_true(sum[i] == (i < n ? v->y[i] + hp_bf16_to_float(v->half[i]) : v->y[i]));
}

static void test_lengths(void **state) {
    (void)state;
    const numbers_t v = make();
    for (int n = 0; n < 70; n++) check_length(&v, n);
    check_length(&v, 1023);
    check_length(&v, 1025);
    check_length(&v, N);
}

static void test_not_finite(void **state) {
    (void)state;
    numbers_t v = make();
    hp_bf16_t half[40];
    v.x[33] = NAN;
    assert_true(isnan(hp_sum_squares(v.x, 40)));
    assert_true(isnan(hp_bf16_pack(half, v.x, 40)));
    v.x[33] = -INFINITY;
    assert_true(isinf(hp_bf16_pack(half, v.x, 40)));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_bf16),
                                       cmocka_unit_test(test_lengths),
                                       cmocka_unit_test(test_not_finite)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
