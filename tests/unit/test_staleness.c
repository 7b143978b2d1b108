/* optimizer.staleness_scaling: a push that was computed from weights n steps old moves them by
 * 1 / (1 + n) of the rate. Two workers compute from the first weights, whichever is applied first:
 * the other one is a step stale. */
#include "common/checkpoint.h"
#include "common/memory.h"
#include "ps/adam.h"
#include "tests/support/fake_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static atomic_int begun;

/* Nobody pushes before both have their weights. */
static void meet(int worker, int64_t own, int phase) {
    (void)worker;
    if (own > 0 || phase != 0) return;
    atomic_fetch_add(&begun, 1);
    for (int i = 0; i < 20000 && atomic_load(&begun) < 2; i++) usleep(1000);
}

/* Adam from the gradient of unit `first`, then of the other one, both at the first weights. */
static float *plain(const fake_t *f, uint64_t first, double second_share) {
    size_t n = (size_t)f->params.total;
    float *begin = hp_calloc(n, sizeof *begin), *w = hp_calloc(n, sizeof *w);
    float *m = hp_calloc(n, sizeof *m), *v = hp_calloc(n, sizeof *v), *g = hp_calloc(n, sizeof *g);
    ps_adam_t adam = {.beta1 = f->config.optimizer.beta1,
                      .beta2 = f->config.optimizer.beta2,
                      .eps = f->config.optimizer.eps};
    hp_params_initialise(&f->params, (uint64_t)f->config.run.seed, 0, (int64_t)n, begin);
    memcpy(w, begin, n * sizeof *w);
    for (int t = 1; t <= 2; t++) {
        int64_t examples = fake_gradient(f, t == 1 ? first : 1 - first, begin, g);
        adam.lr = f->config.optimizer.lr * (t == 1 ? 1 : second_share);
        ps_adam(&adam, t, (int64_t)n, g, 1 / (double)examples, w, w, m, m, v, v);
    }
    hp_free(begin);
    hp_free(m);
    hp_free(v);
    hp_free(g);
    return w;
}

static bool is_plain(const fake_t *f, const float *result, double second_share) {
    bool same = false;
    for (uint64_t first = 0; first < 2; first++) {
        float *must = plain(f, first, second_share);
        same = same || memcmp(result, must, (size_t)f->params.total * sizeof *must) == 0;
        hp_free(must);
    }
    return same;
}

static void test_scaling(void **state) {
    (void)state;
    static fake_t f;
    for (int bounded = 0; bounded < 2; bounded++)
        for (int scaling = 0; scaling < 2; scaling++) {
            fake_begin(&f, bounded ? HP_BOUNDED : HP_ASYNC, 1, 2, 2);
            f.config.optimizer.staleness_scaling = scaling;
            f.moment = meet;
            atomic_store(&begun, 0);
            if (fake_loopback(&f) != HP_OK) fail_msg("%s", f.err.text);
            assert_true(f.units_of[0] == 1 && f.units_of[1] == 1);
            float *result = fake_result(&f);
            assert_non_null(result);
            assert_true(is_plain(&f, result, scaling ? 0.5 : 1));
            assert_false(is_plain(&f, result, scaling ? 1 : 0.5));
            hp_free(result);
            fake_end(&f);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scaling)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
