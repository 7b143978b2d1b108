/* The n-th open, write, fsync, rename, mkdir, thread or allocation fails, for every n until none
 * does: writing a checkpoint leaves the earlier ones and nothing that looks whole; a run goes on,
 * or ends with a status. */
#include "common/checkpoint.h"
#include "common/export.h"
#include "common/file.h"
#include "common/memory.h"
#include "tests/fault/faults.h"
#include "tests/support/fake_run.h"
#include "tests/support/made_checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char run[64];

static int setup(void **state) {
    (void)state;
    bool shm = access("/dev/shm", W_OK) == 0;
    if (shm) setenv("TMPDIR", "/dev/shm", 0);
    snprintf(run, sizeof run, "%s/hanps-countdown-XXXXXX", shm ? "/dev/shm" : "/tmp");
    return mkdtemp(run) == NULL ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", run);
    return system(command);
}

/* The newest checkpoint is whole, of this step, with the values of this seed; nothing is passed
 * over. */
static void is_newest(const hp_params_t *params, int64_t step, uint64_t seed, const char *when) {
    hp_checkpoint_t *c = NULL;
    hp_error_t err = {0};
    char note[HP_CHECKPOINT_NOTE];
    if (hp_checkpoint_open(run, "last", &c, note, &err) != HP_OK)
        fail_msg("%s: %s", when, err.text);
    if (note[0] != '\0') fail_msg("%s: %s", when, note);
    if (hp_checkpoint_step(c) != step)
        fail_msg("%s: the newest is of step %d", when, (int)hp_checkpoint_step(c));
    float x[100];
    assert_int_equal(hp_checkpoint_read(c, 0, 100, x, NULL, NULL, &err), HP_OK);
    for (int i = 0; i < 100; i++)
        if (x[i] != made_value(seed, i, 0)) fail_msg("%s: not the bytes it must have", when);
    assert_int_equal(params->total, hp_checkpoint_params(c)->total);
    hp_checkpoint_close(c);
}

static void test_checkpoint(void **state) {
    (void)state;
    hp_params_t params = made_table(6);
    made_t first = {run, &params, 10, 2, 1, -1}, again = {run, &params, 10, 2, 2, -1},
           next = {run, &params, 20, 2, 3, -1};
    hp_error_t err = {0};
    char when[64];
    for (fault_t kind = FAULT_OPEN; kind < FAULT_READ; kind++) {
        if (kind == FAULT_THREAD) continue;
        bool ended = false;
        assert_int_equal(make_checkpoint(&first, 9, &err), HP_OK);
        for (int n = 1; !ended; n++) {
            assert_true(n < 1000);
            snprintf(when, sizeof when, "%s %d", fault_name[kind], n);
            fault_arm(kind, n, false);
            hp_status_t status = make_checkpoint(&next, 9, &err);
            ended = fault_disarm() == 0;
            if (status == HP_OK) { /* what failed was no part of writing: removing, say */
                is_newest(&params, 20, 3, when);
                char command[150];
                snprintf(command, sizeof command, "rm -r %s/checkpoints/step-00000020", run);
                assert_int_equal(system(command), 0);
            } else {
                if (kind == FAULT_MEMORY)
                    assert_int_equal(status, HP_MEMORY);
                else
                    assert_int_equal(status, HP_IO);
                assert_int_not_equal(err.text[0], '\0');
                is_newest(&params, 10, 1, when);
                hp_checkpoint_discard(run, 20);
            }
            /* the same step once more: the old one stays whole until the new one is */
            fault_arm(kind, n, false);
            status = make_checkpoint(&again, 9, &err);
            ended = fault_disarm() == 0 && ended;
            assert_int_equal(hp_checkpoint_clean(run, &err), HP_OK);
            is_newest(&params, 10, status == HP_OK ? 2 : 1, when);
            if (status == HP_OK) assert_int_equal(make_checkpoint(&first, 9, &err), HP_OK);
        }
    }
    hp_params_release(&params);
}

static void test_export(void **state) {
    (void)state;
    hp_params_t params = made_table(6);
    made_t made = {run, &params, 10, 2, 1, -1};
    hp_error_t err = {0};
    char path[100], part[110];
    hp_checkpoint_t *c = NULL;
    snprintf(path, sizeof path, "%s/out", run);
    snprintf(part, sizeof part, "%s.part", path);
    assert_int_equal(make_checkpoint(&made, 9, &err), HP_OK);
    for (int format = 0; format < 2; format++)
        for (fault_t kind = FAULT_OPEN; kind < FAULT_READ; kind++) {
            if (kind == FAULT_MKDIR || kind == FAULT_THREAD) continue;
            for (int n = 1;; n++) {
                assert_int_equal(hp_checkpoint_open(run, "last", &c, NULL, &err), HP_OK);
                fault_arm(kind, n, false);
                hp_status_t status = hp_export(c, (hp_export_format_t)format, path, &err);
                int failed = fault_disarm();
                hp_checkpoint_close(c);
                if (failed == 0) {
                    assert_int_equal(status, HP_OK);
                    break;
                }
                assert_int_not_equal(status, HP_OK);
                assert_int_not_equal(access(path, F_OK), 0);
                assert_int_not_equal(access(part, F_OK), 0);
            }
            assert_int_equal(unlink(path), 0);
        }
    hp_params_release(&params);
}

/* Files and disks fail under a run with checkpoints at every step: training goes on to the same
 * bytes. Only the last checkpoint's failure is the run's. HANPS_LONG=1: at every n; else, from the
 * twelfth on, at every seventh. */
static void test_run(void **state) {
    (void)state;
    static const fault_t kinds[] = {FAULT_OPEN,  FAULT_WRITE,  FAULT_SHORT_WRITE,
                                    FAULT_FSYNC, FAULT_RENAME, FAULT_MKDIR};
    const int stride = getenv("HANPS_LONG") != NULL ? 1 : 7;
    hp_error_t err = {0};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        bool ended = false;
        for (int n = 1; !ended; n += n < 12 ? 1 : stride) {
            assert_true(n < 5000);
            static fake_t f;
            fake_begin(&f, HP_SYNC, 2, 2, 4);
            f.config.checkpoint.every_steps = 1;
            fault_arm(kinds[k], n, false);
            hp_status_t status = fake_loopback(&f);
            int failed = fault_disarm();
            ended = failed == 0;
            if (getenv("HANPS_TEST_VERBOSE") != NULL)
                print_message("%s %d (%d failed): %s %s, %.1f s\n", fault_name[kinds[k]], n, failed,
                              hp_status_name(status), f.err.text, f.outcome.seconds);
            hp_checkpoint_t *c = NULL;
            if (status == HP_OK) {
                assert_int_equal(f.outcome.step, 4);
            } else if (f.err.text[0] == '\0') {
                fail_msg("%s %d: no word on why it failed", fault_name[kinds[k]], n);
            } else if (f.spoken != 1) {
                fail_msg("%s %d: %d ranks say why it failed", fault_name[kinds[k]], n, f.spoken);
            }
            hp_status_t opened = hp_checkpoint_open(f.run, "last", &c, NULL, &err);
            if (opened == HP_OK) {
                size_t total = (size_t)f.params.total;
                float *must = hp_calloc(total, 4), *is = hp_calloc(total, 4);
                fake_reference(&f, 2, hp_checkpoint_step(c), must);
                assert_int_equal(hp_checkpoint_read(c, 0, f.params.total, is, NULL, NULL, &err),
                                 HP_OK);
                assert_memory_equal(is, must, total * 4);
                if (status == HP_OK) assert_int_equal(hp_checkpoint_step(c), 4);
                hp_free(must);
                hp_free(is);
            } else if (status == HP_OK) {
                fail_msg("%s %d: %s", fault_name[kinds[k]], n, err.text);
            }
            hp_checkpoint_close(c);
            fake_end(&f);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_checkpoint, setup, teardown),
        cmocka_unit_test_setup_teardown(test_export, setup, teardown),
        cmocka_unit_test_setup_teardown(test_run, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
