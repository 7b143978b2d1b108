/* hanps bench's parameter server alone: what a run would refuse of a schedule does not concern it;
 * what its server refuses is told, once. */
#include "cli/bench_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const wk_model_shape_t shape = {
    .channels = 6, .max_cells = 4, .words = 5, .answers = 3, .grid_height = 2, .grid_width = 2};

static hp_config_t small(void) {
    hp_config_t config;
    hp_config_default(&config);
    config.model.question.embedding = config.model.question.lstm = 4;
    config.model.image.width = 8;
    config.model.attention.cells = 2;
    config.model.classifier.layers = (hp_layers_t){1, {4}};
    return config;
}

static void test_runs(void **state) {
    (void)state;
    hp_error_t err = {0};
    cli_bench_server_t found = {0};
    hp_config_t config = small();
    config.run.steps = 1000;
    config.optimizer.schedule.kind = HP_SCHEDULE_STEP;
    config.optimizer.schedule.milestones = (hp_layers_t){1, {900}};
    config.valid.every_steps = 1;
    config.cluster.spares = 1;
    if (cli_bench_server(&config, &shape, 3, 0, &found, &err) != HP_OK) fail_msg("%s", err.text);
    assert_true(found.parameters > 100 && found.updates_per_s > 0 && found.bytes_per_s > 0);
}

static void test_refused(void **state) {
    (void)state;
    hp_error_t err = {0};
    cli_bench_server_t found = {0};
    hp_config_t config = small();
    config.cluster.slots = 0;
    assert_int_equal(cli_bench_server(&config, &shape, 3, 0, &found, &err), HP_INPUT);
    assert_string_equal(err.text, "cluster.slots: 0 is not within 1 to 255");
    assert_false(err.told); /* nobody else has */
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_runs), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
