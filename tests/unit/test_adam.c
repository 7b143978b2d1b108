/* Adam against its definition in double, and cases that can be done by hand. */
#include "common/random.h"
#include "common/vector.h"
#include "ps/adam.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { N = 37, STEPS = 30 };

static void fill(float *g, int t) {
    hp_random_t r = hp_random(3, HP_RANDOM_TEST, (uint64_t)t, 0);
    for (int i = 0; i < N; i++) g[i] = (float)hp_random_normal(&r) * (i % 5 == 0 ? 1e-6f : 1.0f);
}

/* torch.optim.Adam, in double. */
static void test_definition(void **state) {
    (void)state;
    const ps_adam_t a = {.lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    float w[N] = {0}, m[N] = {0}, v[N] = {0}, g[N];
    double dw[N] = {0}, dm[N] = {0}, dv[N] = {0};
    for (int t = 1; t <= STEPS; t++) {
        fill(g, t);
        ps_adam(&a, t, N, g, 0.25, w, w, m, m, v, v);
        for (int i = 0; i < N; i++) {
            double x = (double)g[i] * 0.25;
            dm[i] = a.beta1 * dm[i] + (1 - a.beta1) * x;
            dv[i] = a.beta2 * dv[i] + (1 - a.beta2) * x * x;
            double denominator = sqrt(dv[i]) / sqrt(1 - pow(a.beta2, t)) + a.eps;
            dw[i] -= a.lr / (1 - pow(a.beta1, t)) * dm[i] / denominator;
        }
    }
    for (int i = 0; i < N; i++) {
        assert_true(fabs((double)w[i] - dw[i]) < 1e-6 + 1e-5 * fabs(dw[i]));
        assert_true(fabs((double)m[i] - dm[i]) < 1e-7 + 1e-5 * fabs(dm[i]));
        assert_true(fabs((double)v[i] - dv[i]) < 1e-9 + 1e-5 * fabs(dv[i]));
    }
}

/* The first step moves by the rate against the gradient's sign, whatever its size. */
static void test_by_hand(void **state) {
    (void)state;
    const ps_adam_t a = {.lr = 1};
    const float w[4] = {5, 5, 5, 5}, zero[4] = {0}, g[4] = {2, -0.5f, 1000, -1e-3f};
    float w1[4], m1[4], v1[4];
    ps_adam(&a, 1, 4, g, 1, w, w1, zero, m1, zero, v1);
    const float want[4] = {4, 6, 4, 6};
    for (int i = 0; i < 4; i++)
        assert_true(w1[i] == want[i] && m1[i] == g[i] && v1[i] == g[i] * g[i]);
    const ps_adam_t b = {.lr = 1, .beta1 = 0.5, .beta2 = 0.75, .eps = 1};
    const float one = 1, eight = 8;
    float w2, m2, v2; /* corrected: m = 8, v = 64: 1 - 8 / (8 + 1) */
    ps_adam(&b, 1, 1, &eight, 1, &one, &w2, zero, &m2, zero, &v2);
    assert_true(m2 == 4 && v2 == 16);
    assert_true(fabsf(w2 - (1 - 8.0f / 9.0f)) < 1e-6f);
}

/* Both kinds of weight decay, in double: torch.optim.Adam's and AdamW's weight_decay. */
static void test_decay(void **state) {
    (void)state;
    for (int decoupled = 0; decoupled < 2; decoupled++) {
        const ps_adam_t a = {.lr = 1e-2,
                             .beta1 = 0.9,
                             .beta2 = 0.999,
                             .eps = 1e-8,
                             .l2 = decoupled ? 0 : 0.1,
                             .decoupled = decoupled ? 0.1 : 0};
        float w[N], m[N] = {0}, v[N] = {0}, g[N];
        double dw[N], dm[N] = {0}, dv[N] = {0};
        fill(w, 99);
        for (int i = 0; i < N; i++) dw[i] = (double)w[i];
        for (int t = 1; t <= STEPS; t++) {
            fill(g, t);
            ps_adam(&a, t, N, g, 0.25, w, w, m, m, v, v);
            for (int i = 0; i < N; i++) {
                double x = (double)g[i] * 0.25 + a.l2 * dw[i];
                dw[i] *= 1 - a.lr * a.decoupled;
                dm[i] = a.beta1 * dm[i] + (1 - a.beta1) * x;
                dv[i] = a.beta2 * dv[i] + (1 - a.beta2) * x * x;
                double denominator = sqrt(dv[i]) / sqrt(1 - pow(a.beta2, t)) + a.eps;
                dw[i] -= a.lr / (1 - pow(a.beta1, t)) * dm[i] / denominator;
            }
        }
        for (int i = 0; i < N; i++) {
            assert_true(fabs((double)w[i] - dw[i]) < 1e-5 + 1e-5 * fabs(dw[i]));
            assert_true(fabs((double)m[i] - dm[i]) < 1e-6 + 1e-5 * fabs(dm[i]));
        }
    }
}

/* Any cut, in place or not: the same bits. */
static void test_cuts(void **state) {
    (void)state;
    const ps_adam_t a = {
        .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .l2 = 0.1, .decoupled = 0.2};
    float g[N], w[N], m[N], v[N], w1[N], m1[N], v1[N];
    fill(g, 1);
    fill(w, 2);
    fill(m, 3);
    for (int i = 0; i < N; i++) v[i] = m[i] * m[i];
    ps_adam(&a, 7, N, g, 0.1, w, w1, m, m1, v, v1);
    for (int cut = 0; cut <= N; cut++) {
        float w2[N], m2[N], v2[N];
        memcpy(w2, w, sizeof w);
        memcpy(m2, m, sizeof m);
        memcpy(v2, v, sizeof v);
        ps_adam(&a, 7, cut, g, 0.1, w2, w2, m2, m2, v2, v2);
        ps_adam(&a, 7, N - cut, g + cut, 0.1, w2 + cut, w2 + cut, m2 + cut, m2 + cut, v2 + cut,
                v2 + cut);
        assert_memory_equal(w1, w2, sizeof w);
        assert_memory_equal(m1, m2, sizeof m);
        assert_memory_equal(v1, v2, sizeof v);
    }
}

static void test_clip(void **state) {
    (void)state;
    assert_true(ps_clip(0, 1e30) == 1);
    assert_true(ps_clip(2, 1) == 1);
    assert_true(fabs(ps_clip(2, 16) - 2 / (4 + 1e-6)) < 1e-15);
}

static void test_sums(void **state) {
    (void)state;
    float x[N], y[N], z[N];
    double sum = 0;
    fill(x, 5);
    fill(y, 6);
    memcpy(z, y, sizeof y);
    for (int i = 0; i < N; i++) sum += (double)x[i] * (double)x[i];
    assert_true(fabs(hp_sum_squares(x, N) - sum) < 1e-12 * sum);
    hp_add(z, x, N);
    for (int i = 0; i < N; i++) assert_true(z[i] == y[i] + x[i]);
    for (int i = 0; i < N; i += 5) {
        float old = x[i];
        x[i] = i % 2 ? INFINITY : NAN;
        assert_false(isfinite(hp_sum_squares(x, N)));
        x[i] = 3e38f;
        assert_true(isfinite(hp_sum_squares(x, N)));
        x[i] = old;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition), cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_decay),      cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_clip),       cmocka_unit_test(test_sums),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
