/* Learning-rate schedules by hand, and what does not fit. */
#include "common/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* A schedule from assignments, NULL ends them; 100 steps of 64 examples, 1,600 in an epoch. */
static hp_status_t make(hp_schedule_t *s, hp_error_t *err, const char *const *set) {
    hp_config_t config;
    hp_config_default(&config);
    config.optimizer.lr = 5e-4;
    for (; *set != NULL; set++)
        if (hp_config_set(&config, *set, err) != HP_OK) fail_msg("%s", err->text);
    return hp_schedule_make(&config, 100, 64, 1600, s, err);
}

#define MAKE(...) make(&s, &err, (const char *const[]){__VA_ARGS__, NULL})
#define KEY       "optimizer.schedule."

static void is(const hp_schedule_t *s, int64_t step, double rate) {
    if (fabs(hp_schedule_rate(s, step) - rate) > 1e-12 * rate)
        fail_msg("step %lld: %.17g, must be %.17g", (long long)step, hp_schedule_rate(s, step),
                 rate);
}

static void test_constant(void **state) {
    (void)state;
    hp_schedule_t s;
    hp_error_t err;
    assert_int_equal(MAKE(KEY "kind=constant"), HP_OK);
    for (int step = 0; step < 100; step += 9) is(&s, step, 5e-4);
}

static void test_warmup(void **state) {
    (void)state;
    hp_schedule_t s;
    hp_error_t err;
    assert_int_equal(MAKE(KEY "warmup_from=5.0e-6", KEY "warmup_every=10"), HP_OK);
    is(&s, 0, 5e-6);
    is(&s, 9, 5e-6);
    is(&s, 10, 1e-5);
    is(&s, 39, 4e-5);
    is(&s, 69, 3.2e-4);
    is(&s, 70, 5e-4); /* 6.4e-4 would be beyond lr */
    is(&s, 1000000, 5e-4);
    /* The same in epochs of 25 steps. */
    assert_int_equal(MAKE(KEY "warmup_from=2.5e-4", KEY "warmup_every=2", KEY "unit=epochs"),
                     HP_OK);
    is(&s, 49, 2.5e-4);
    is(&s, 50, 5e-4);
}

static void test_step(void **state) {
    (void)state;
    hp_schedule_t s;
    hp_error_t err;
    assert_int_equal(MAKE(KEY "kind=step", KEY "milestones=[1, 3]", KEY "factor=0.5",
                          KEY "unit=epochs", KEY "warmup_from=2.5e-4", KEY "warmup_every=1"),
                     HP_OK);
    is(&s, 24, 2.5e-4);
    is(&s, 25, 2.5e-4); /* the warm-up's last doubling and the first milestone */
    is(&s, 74, 2.5e-4);
    is(&s, 75, 1.25e-4);
}

static void test_cosine(void **state) {
    (void)state;
    hp_schedule_t s;
    hp_error_t err;
    assert_int_equal(MAKE(KEY "kind=cosine", KEY "floor=1.0e-4", KEY "warmup_from=2.5e-4",
                          KEY "warmup_every=20"),
                     HP_OK);
    is(&s, 19, 2.5e-4);
    is(&s, 20, 5e-4);
    is(&s, 60, 3e-4);
    is(&s, 100, 1e-4);
    is(&s, 200, 1e-4);
    for (int step = 20; step < 100; step++)
        assert_true(hp_schedule_rate(&s, step + 1) < hp_schedule_rate(&s, step));
    assert_int_equal(MAKE(KEY "kind=cosine", KEY "until=200"), HP_OK);
    is(&s, 100, 2.5e-4);
}

static void refused(hp_status_t status, const hp_error_t *err, const char *want) {
    assert_int_equal(status, HP_INPUT);
    if (strstr(err->text, want) == NULL || strchr(err->text, '\n') != NULL)
        fail_msg("%s: has not '%s'", err->text, want);
}

static void test_refused(void **state) {
    (void)state;
    hp_schedule_t s;
    hp_error_t err;
    refused(MAKE(KEY "warmup_from=1.0e-5"), &err, "warmup_every: 0");
    refused(MAKE(KEY "warmup_from=5.0e-4", KEY "warmup_every=1"), &err, "warmup_from: 0.0005");
    refused(MAKE(KEY "warmup_from=5.0e-6", KEY "warmup_every=15"), &err, "would end at 105");
    refused(MAKE(KEY "kind=step"), &err, "milestones: an empty list");
    refused(MAKE(KEY "milestones=[3]"), &err, "milestones: not allowed");
    refused(MAKE(KEY "kind=step", KEY "milestones=[3, 3]"), &err, "milestones: 3 after 3");
    refused(MAKE(KEY "kind=step", KEY "milestones=[100]"), &err, "never reached");
    refused(MAKE(KEY "kind=step", KEY "milestones=[9]", KEY "warmup_from=2.5e-4",
                 KEY "warmup_every=10"),
            &err, "within the warm-up, which ends at 10");
    refused(MAKE(KEY "kind=cosine", KEY "until=99"), &err, "until: 99 leaves a gap");
    refused(MAKE(KEY "kind=cosine", KEY "floor=1.0e-3"), &err, "floor: 0.001");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_constant), cmocka_unit_test(test_warmup),
        cmocka_unit_test(test_step),     cmocka_unit_test(test_cosine),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
