/* optimizer.lazy: rows of the word embedding that a step's questions do not use stay as they are,
 * with their moments. Without it their moments move them on. */
#include "common/memory.h"
#include "ps/adam.h"
#include "tests/support/fake_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { STEPS = 4 };

static bool is_zero(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (x[i] != 0) return false;
    return true;
}

/* Weights after STEPS steps of a unit each. */
static float *plain(const fake_t *f, bool lazy) {
    size_t n = (size_t)f->params.total;
    float *w = hp_calloc(n, sizeof *w), *g = hp_calloc(n, sizeof *g);
    float *m = hp_calloc(n, sizeof *m), *v = hp_calloc(n, sizeof *v);
    const ps_adam_t adam = {.lr = f->config.optimizer.lr,
                            .beta1 = f->config.optimizer.beta1,
                            .beta2 = f->config.optimizer.beta2,
                            .eps = f->config.optimizer.eps};
    hp_params_initialise(&f->params, (uint64_t)f->config.run.seed, 0, (int64_t)n, w);
    for (int t = 1; t <= STEPS; t++) {
        double scale = 1 / (double)fake_gradient(f, (uint64_t)t - 1, w, g);
        for (int i = 0; i < f->params.count; i++) {
            const hp_param_t *p = &f->params.param[i];
            int64_t piece = p->sparse_rows ? p->shape[1] : p->count;
            for (int64_t at = p->offset; at < p->offset + p->count; at += piece)
                if (!lazy || !p->sparse_rows || !is_zero(g + at, piece))
                    ps_adam(&adam, t, piece, g + at, scale, w + at, w + at, m + at, m + at, v + at,
                            v + at);
        }
    }
    hp_free(g);
    hp_free(m);
    hp_free(v);
    return w;
}

static void test_rows(void **state) {
    (void)state;
    static fake_t f;
    for (int lazy = 0; lazy < 2; lazy++) {
        fake_begin(&f, HP_SYNC, 2, 1, STEPS);
        f.config.cluster.sync_shards = 1;
        f.config.optimizer.lazy = lazy;
        if (fake_loopback(&f) != HP_OK) fail_msg("%s", f.err.text);
        size_t bytes = (size_t)f.params.total * sizeof(float);
        float *is = fake_result(&f), *must = plain(&f, lazy), *other = plain(&f, !lazy);
        assert_non_null(is);
        assert_memory_equal(is, must, bytes);
        assert_memory_not_equal(is, other, bytes);
        hp_free(is);
        hp_free(must);
        hp_free(other);
        fake_end(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
