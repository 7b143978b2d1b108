/* The arithmetic of hanps plan with rates that are given: against what can be worked out by hand.
 */
#include "cli/arguments.h"
#include "cli/plan_model.h"
#include "common/placement.h"
#include "common/shard_plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { NUMBERS = 1 << 20, BYTES = 2 * 4 * NUMBERS }; /* of each of two parameters; of both */
#define LINK   (BYTES / 0.8 / 0.94) /* bytes/s: messages of both parameters take 0.8 s */
#define CLOSE  0.03                 /* a chunk is a 32nd of the block, and may lie in both */
#define SECOND 1.0

typedef struct {
    hp_config_t config;
    hp_params_t params;
    double need[2], final[2];
    plan_work_t work;
} fixture_t;

/* Forward reads the first parameter at once and the second half way; backward has the gradient of
 * the second half way. Nothing but the link and the arithmetic takes time. */
static int set_up(void **state) {
    fixture_t *f = calloc(1, sizeof *f);
    const int64_t shape[2] = {1024, NUMBERS / 1024};
    int index;
    if (f == NULL) return -1;
    hp_config_default(&f->config);
    f->config.data.batch_size = 100;
    f->config.cluster.placement = HP_ALONE;
    for (int i = 0; i < 2; i++) {
        if (hp_params_add(&f->params, i == 0 ? "a" : "b", 2, shape, HP_PARAM_WEIGHT, HP_INIT_NORMAL,
                          1, false, &index, NULL) != HP_OK)
            return -1;
        f->params.param[i].forward_order = i;
        f->need[i] = 0.5 * i;
        f->final[i] = 1 - 0.5 * i;
    }
    f->work = (plan_work_t){.config = &f->config,
                            .params = &f->params,
                            .need = f->need,
                            .final = f->final,
                            .bandwidth = LINK,
                            .worker_bytes = 1e8};
    f->work.rates = (plan_rates_t){
        .cores = 2, .copy = 1e15, .message = 1e15, .threads = 2, .forward = 0.1, .backward = 0.2};
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    fixture_t *f = *state;
    hp_params_release(&f->params);
    free(f);
    return 0;
}

static plan_result_t predict(const fixture_t *f, int hosts, int servers, int workers) {
    const plan_layout_t layout = {f->config.cluster.placement, hosts, servers, workers};
    plan_result_t result = {0};
    hp_error_t err = {0};
    if (plan_predict(&f->work, &layout, &result, &err) != HP_OK) fail_msg("%s", err.text);
    return result;
}

static void assert_near(double got, double wanted, double share) {
    if (fabs(got - wanted) > share * wanted) fail_msg("%g, not %g", got, wanted);
}

static void test_one_worker(void **state) {
    fixture_t *f = *state;
    plan_result_t r = predict(f, 2, 1, 1);
    assert_near(r.push, BYTES, 1e-9);
    assert_near(r.pull, BYTES, 1e-9);
    /* The second parameter's push begins at 0.1 s; all of it is there at 0.9 s. The weights come at
     * 1.3 s and 1.7 s, and half of forward is left. */
    assert_near(r.step, 1.75, CLOSE);
    assert_near(r.examples, 100 / r.step, 1e-9);
    assert_near(r.server_link, BYTES / r.step, 1e-9);
    assert_int_equal(r.cause, PLAN_LINK);
    assert_false(r.of_servers);

    f->work.bandwidth = 1e15; /* nothing is left but computing */
    r = predict(f, 2, 1, 1);
    assert_near(r.step, 0.3, 1e-4);
    assert_int_equal(r.cause, PLAN_COMPUTE);
}

static void test_wire(void **state) {
    fixture_t *f = *state;
    f->config.cluster.wire = HP_BF16;
    plan_result_t r = predict(f, 2, 1, 1);
    assert_near(r.push, BYTES / 2.0, 1e-9);
    assert_near(r.pull, BYTES / 2.0, 1e-9);
    assert_near(r.step, 0.1 + 0.4 + 0.4 + 0.05, CLOSE);
}

static void test_adam(void **state) {
    fixture_t *f = *state;
    for (int t = 0; t < PLAN_THREADS; t++) f->work.rates.adam[t] = SECOND / (2 * NUMBERS) / (t + 1);
    /* Chunks go out as they are made: half a second with the two threads of a host alone. Pulling
     * them takes longer. */
    plan_result_t r = predict(f, 2, 1, 1);
    assert_near(r.step, 1.75, CLOSE);
    f->work.bandwidth = 1e15;
    r = predict(f, 2, 1, 1);
    assert_near(r.step, 0.2 + 0.5 + 0.05, CLOSE);
    assert_int_equal(r.cause, PLAN_ADAM);
    r = predict(f, 5, 1, 4); /* an update for each push */
    assert_near(r.step, 4 * 0.5, 1e-9);
    f->config.cluster.accumulate = 4;
    r = predict(f, 5, 1, 4);
    assert_near(r.step, 0.2 + 0.5 + 0.05, CLOSE);
    f->config.cluster.accumulate = 1;
    f->config.cluster.consistency = HP_SYNC; /* and one for all */
    r = predict(f, 5, 1, 4);
    assert_near(r.step, 0.2 + 0.5 + 0.05, CLOSE);
    assert_near(r.examples, 400 / r.step, 1e-9);
}

static void test_shared(void **state) {
    fixture_t *f = *state;
    f->config.cluster.slots = 16;
    plan_result_t r = predict(f, 5, 1, 4);
    assert_near(r.step, 4 * 0.8, 1e-9); /* one server's link has all pushes */
    assert_int_equal(r.cause, PLAN_LINK);
    assert_true(r.of_servers);
    assert_near(r.server_link, LINK * 0.94, 1e-9);
    assert_near(r.worker_link, LINK * 0.94 / 4, 1e-9);
    r = predict(f, 8, 4, 4); /* as for one of each; those done first give weights before the last */
    assert_near(r.step, 1.70, CLOSE);
    f->config.cluster.consistency = HP_SYNC; /* all at once */
    r = predict(f, 5, 1, 4);
    assert_near(r.step, 0.1 + 3.2 + 3.2 + 0.05, CLOSE);
    f->config.cluster.sync_shards = 8; /* two units each: pushed twice, pulled once */
    r = predict(f, 5, 1, 4);
    assert_near(r.step, 2 * 3.2 + 3.2 + 0.1 + 2 * 0.1, CLOSE);
    assert_near(r.examples, 800 / r.step, 1e-9);
}

static void test_slots(void **state) {
#define OVERLAP (1.0 / 8)
    fixture_t *f = *state;
    /* A server that has its part gives weights while others receive theirs: those of an eighth.
     * The two that have slots send for 0.8 s, the other six an eighth of that to each server. */
    f->config.cluster.consistency = HP_SYNC;
    plan_result_t r = predict(f, 16, 8, 8);
    assert_near(r.step, 0.1 + (0.8 + 6 * 0.1) + 0.8 - OVERLAP * 1.4, 2 * CLOSE);
    f->config.cluster.slots = 8;
    r = predict(f, 16, 8, 8);
    assert_near(r.step, 0.1 + 0.8 + 0.8 - OVERLAP * 0.8, 2 * CLOSE);
    /* Half a second to everybody: two pushes in 0.8 s and three ways. */
    f->config.cluster.consistency = HP_ASYNC;
    f->config.cluster.slots = 2;
    f->work.latency = 0.5;
    r = predict(f, 9, 1, 8);
    assert_near(r.step, 8 / 2 * (0.8 + 3 * 0.5), 1e-9);
    f->config.cluster.slots = 8;
    r = predict(f, 9, 1, 8);
    assert_near(r.step, 8 * 0.8, 1e-9);
}

static void test_beside(void **state) {
    fixture_t *f = *state;
    f->config.cluster.placement = HP_SPREAD;
    plan_result_t r = predict(f, 1, 1, 1); /* nothing on the link, and memory is fast here */
    assert_near(r.step, 0.3, 1e-4);
    assert_true(r.server_link == 0 && r.worker_link == 0);
    r = predict(f, 2, 2, 2); /* half of what a worker sends stays */
    assert_near(r.step, 0.1 + 0.4 + 0.4 + 0.05, CLOSE);
    f->config.cluster.server_threads = 1;
    f->work.bandwidth = 1e15;
    for (int t = 0; t < PLAN_THREADS; t++) f->work.rates.adam[t] = 0.1 * SECOND / NUMBERS;
    r = predict(f, 2, 2, 2); /* cores: two pushes of half the numbers, on a host of two */
    assert_near(r.step, 0.3 + 0.1, CLOSE + 0.1);
    assert_true(r.step > 0.38);
}

static void test_latency(void **state) {
    fixture_t *f = *state;
    f->work.bandwidth = 1e15;
    f->work.latency = 0.1;
    plan_result_t r = predict(f, 2, 1, 1); /* the last push, then the pull: asked, answered, sent */
    assert_near(r.step, 0.3 + 6 * 0.1, 0.2);
    assert_int_equal(r.cause, PLAN_LATENCY);
}

static void test_memory(void **state) {
    fixture_t *f = *state;
    f->work.rates.memory = 2e8;
    plan_result_t r = predict(f, 2, 1, 1);
    assert_true(r.cause != PLAN_MEMORY);
    assert_near(r.worker_bytes, 1e8, 1e-9);
    assert_true(r.server_bytes > 6.0 * BYTES && r.server_bytes < 13.0 * BYTES);
    f->work.rates.memory = 1.1e8;
    assert_int_equal(predict(f, 2, 1, 1).cause, PLAN_MEMORY);
}

static void test_words(void **state) {
    (void)state;
    assert_near(plan_distinct_words(1, 5), 1, 1e-6);
    assert_near(plan_distinct_words(100, 1), 1, 1e-6);
    assert_near(plan_distinct_words(100, 1e6), 100, 1e-6);
    const double some = plan_distinct_words(15000, 900);
    assert_true(some > 300 && some < 600);
}

/* The same hosts as the launcher's ranks come to, whichever way they are dealt. */
static void check_layout(hp_placement_t placement, int hosts, int servers, int workers) {
    enum { MOST = 64 };
    static const char *const name[] = {"a", "b", "c", "d", "e", "f"};
    const int ranks = servers + workers, slots = (ranks + hosts - 1) / hosts;
    const plan_layout_t layout = {placement, hosts, servers, workers};
    const char *host[MOST];
    int order[MOST];
    hp_error_t err;
    for (int r = 0; r < ranks; r++) host[r] = name[placement == HP_SPREAD ? r % hosts : r / slots];
    const hp_status_t status = hp_placement_order(placement, ranks, host, servers, order, &err);
    assert_int_equal(plan_layout_check(&layout, NULL), status);
    if (status != HP_OK) return;
    for (int h = 0; h < hosts; h++) {
        int of_servers = 0, of_workers = 0;
        for (int r = 0; r < ranks; r++) {
            const bool here = strcmp(host[order[r]], name[h]) == 0;
            of_servers += here && r < servers;
            of_workers += here && r >= servers;
            if (here && r < servers) assert_int_equal(plan_host_of(&layout, r), h);
        }
        assert_int_equal(plan_host_servers(&layout, h), of_servers);
        assert_int_equal(plan_host_workers(&layout, h), of_workers);
    }
}

static void test_layout(void **state) {
    (void)state;
    for (int hosts = 1; hosts <= 6; hosts++)
        for (int servers = 1; servers <= 7; servers++)
            for (int workers = 1; workers <= 9; workers++)
                for (int placement = HP_SPREAD; placement <= HP_ALONE; placement++)
                    if (servers + workers >= hosts)
                        check_layout((hp_placement_t)placement, hosts, servers, workers);
}

static void test_quantity(void **state) {
    (void)state;
    static const cli_unit_t units[] = {{"Gbit", 1e9 / 8}, {"MB/s", 1e6}, {NULL, 0}};
    static const char *const bad[] = {"10", "Gbit", "-1Gbit", "nanGbit", "10gbit", "10Gbit ", ""};
    hp_error_t err;
    double value = 0;
    assert_int_equal(cli_quantity("--bandwidth", "10Gbit", units, &value, &err), HP_OK);
    assert_near(value, 1.25e9, 1e-12);
    assert_int_equal(cli_quantity("--bandwidth", "1.5MB/s", units, &value, &err), HP_OK);
    assert_near(value, 1.5e6, 1e-12);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(cli_quantity("--bandwidth", bad[i], units, &value, &err), HP_INPUT);
    assert_string_equal(err.text,
                        "--bandwidth : a number from 0 with one of the units Gbit, MB/s is "
                        "allowed: 10Gbit");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_worker, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_wire, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_adam, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_slots, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_beside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_latency, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_memory, set_up, tear_down),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_layout),
        cmocka_unit_test(test_quantity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
