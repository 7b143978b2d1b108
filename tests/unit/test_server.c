/* Servers and workers over the loopback, with a model that is no network. */
#include "common/memory.h"
#include "tests/support/fake_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void run_well(fake_t *f) {
    hp_status_t st = fake_loopback(f);
    if (st != HP_OK) fail_msg("%s: %s", hp_status_name(st), f->err.text);
    assert_int_equal(atomic_load(&f->pending), 0);
    assert_true(f->outcome.clean);
}

/* The newest checkpoint's weights are those of the plain computation. */
static void is_reference(const fake_t *f, int shards, int64_t steps) {
    size_t n = (size_t)f->params.total;
    float *weights = hp_calloc(n, sizeof *weights), *result = fake_result(f);
    assert_non_null(result);
    fake_reference(f, shards, steps, weights);
    for (size_t i = 0; i < n; i++)
        if (result[i] != weights[i])
            fail_msg("element %zu: %.9g, must be %.9g", i, (double)result[i], (double)weights[i]);
    hp_free(weights);
    hp_free(result);
}

static void test_sync_small(void **state) {
    (void)state;
    static fake_t f;
    fake_begin(&f, HP_SYNC, 1, 1, 3);
    run_well(&f);
    assert_int_equal(f.outcome.step, 3);
    is_reference(&f, 2, 3);
    fake_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sync_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
