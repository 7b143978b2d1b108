/* The folder of a run: creation, lock, status, probe; and the JSON Lines of its logs. */
#include "common/metrics.h"
#include "common/run_folder.h"
#include "common/run_ranks.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int setup(void **state) {
    (void)state;
    strcpy(folder, "/tmp/hanps-test-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void read_text(const char *path, char *out, size_t size) {
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    out[fread(out, 1, size - 1, file)] = '\0';
    fclose(file);
}

static void test_create_and_lock(void **state) {
    (void)state;
    char run[128], path[256];
    hp_error_t err = {0};
    hp_run_lock_t *lock = NULL, *second = NULL;
    snprintf(run, sizeof run, "%s/a/b", folder);
    assert_int_equal(hp_run_open(run, &lock, &err), HP_INPUT); /* no such run */
    assert_int_equal(hp_run_create(run, &lock, &err), HP_OK);
    snprintf(path, sizeof path, "%s/log", run);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(hp_run_write_file(run, "config.yaml", "a", 1, &err), HP_OK);
    assert_int_equal(hp_run_create(run, &second, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "--resume"));
    assert_int_equal(hp_run_open(run, &second, &err), HP_INPUT); /* in use, by whom */
    assert_non_null(strstr(err.text, "in use by process"));
    hp_run_unlock(lock);
    assert_int_equal(hp_run_open(run, &lock, &err), HP_OK);
    /* The lock of a process that died is free. */
    hp_run_unlock(lock);
    pid_t child = fork();
    if (child == 0) _exit(hp_run_open(run, &lock, NULL) == HP_OK ? 0 : 1);
    int code = -1;
    waitpid(child, &code, 0);
    assert_int_equal(code, 0);
    assert_int_equal(hp_run_open(run, &lock, &err), HP_OK);
    hp_run_unlock(lock);
    snprintf(run, sizeof run, "%s/c", folder); /* a run that could not start leaves nothing */
    assert_int_equal(hp_run_create(run, &lock, &err), HP_OK);
    assert_int_equal(hp_run_write_file(run, "config.yaml", "a", 1, &err), HP_OK);
    hp_run_discard(run, lock);
    assert_int_equal(stat(run, &st), -1);
    snprintf(run, sizeof run, "%s/a/b/config.yaml/c", folder); /* a file in the way */
    assert_int_equal(hp_run_create(run, &lock, &err), HP_INPUT);
}

/* A run that died before its configuration was there does not bar its own name. */
static void test_unused_folder(void **state) {
    (void)state;
    char run[128];
    hp_error_t err = {0};
    hp_run_lock_t *lock = NULL;
    snprintf(run, sizeof run, "%s/early", folder);
    assert_int_equal(hp_run_create(run, &lock, &err), HP_OK);
    hp_run_unlock(lock);
    assert_int_equal(hp_run_create(run, &lock, &err), HP_OK);
    assert_int_equal(hp_run_create(run, &lock, &err), HP_INPUT); /* held */
    hp_run_unlock(lock);
    assert_int_equal(hp_run_write_file(run, "notes", "mine", 4, &err), HP_OK);
    assert_int_equal(hp_run_create(run, &lock, &err), HP_INPUT);
}

static void test_ranks(void **state) {
    (void)state;
    char path[256], text[512], boot[64], *at;
    hp_error_t err = {0};
    assert_int_equal(hp_run_rank_note(folder, 3, 2, &err), HP_OK);
    snprintf(path, sizeof path, "%s/ranks/0003", folder);
    read_text(path, text, sizeof text);
    assert_non_null(at = strstr(text, "\"pid\":"));
    assert_int_equal(atoi(at + 6), getpid());
    assert_non_null(at = strstr(text, "\"started\":"));
    unsigned long long started = strtoull(at + 10, NULL, 10), ticks = 0;
    FILE *self = fopen("/proc/self/stat", "r"); /* this program's name has no blanks */
    assert_non_null(self);
    assert_int_equal(fscanf(self,
                            "%*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                            "%*s %*s %*s %*s %*s %llu",
                            &ticks),
                     1);
    fclose(self);
    assert_true(started == ticks);
    read_text("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    boot[strcspn(boot, "\n")] = '\0';
    assert_non_null(strstr(text, boot));
    hp_run_rank_forget(folder, 3);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_true(hp_run_ranks_claim(folder)); /* one of them */
    assert_false(hp_run_ranks_claim(folder));
    hp_run_ranks_unclaim(folder);
    assert_true(hp_run_ranks_claim(folder));
}

static void test_status(void **state) {
    (void)state;
    hp_error_t err = {0};
    hp_run_status_t in = {.state = HP_RUN_STOPPED,
                          .step = 7,
                          .steps = 1LL << 40,
                          .checkpoint = 5,
                          .units_repeated = 3,
                          .start = 2,
                          .host = "a\"b",
                          .pid = 12,
                          .time = 1.5,
                          .requeue = true,
                          .message = "why\n"};
    hp_run_status_t out = {0};
    assert_int_equal(hp_run_status_read(folder, &out, &err), HP_INPUT);
    assert_int_equal(hp_run_status_write(folder, &in, &err), HP_OK);
    assert_int_equal(hp_run_status_read(folder, &out, &err), HP_OK);
    assert_int_equal(out.state, HP_RUN_STOPPED);
    assert_int_equal(out.step, 7);
    assert_true(out.steps == in.steps && out.start == 2 && out.pid == 12 && out.time == 1.5);
    assert_true(out.requeue && out.units_repeated == 3 && out.checkpoint == 5);
    assert_string_equal(out.host, in.host);
    assert_string_equal(out.message, in.message);
    assert_int_equal(hp_run_write_file(folder, "status", "{\"state\":", 9, &err), HP_OK);
    assert_int_equal(hp_run_status_read(folder, &out, &err), HP_CORRUPT);
    assert_int_equal(hp_run_write_file("/nonexistent", "x", "", 0, &err), HP_IO);
}

static void test_probe(void **state) {
    (void)state;
    hp_error_t err = {0};
    assert_int_equal(hp_run_probe_leave(folder, 99, &err), HP_OK);
    assert_int_equal(hp_run_probe_find(folder, 99, &err), HP_OK);
    hp_run_probe_remove(folder, 99);
    assert_int_equal(hp_run_probe_find(folder, 99, &err), HP_INPUT);
}

static void test_metrics(void **state) {
    (void)state;
    char path[128], text[512], big[HP_METRICS_LINE + 1];
    hp_error_t err = {0};
    hp_metrics_t *m = NULL;
    snprintf(path, sizeof path, "%s/log.jsonl", folder);
    assert_int_equal(hp_metrics_open(path, &m, &err), HP_OK);
    hp_metrics_int(m, "step", -3);
    hp_metrics_real(m, "loss", 0.125);
    hp_metrics_real(m, "bad", NAN);
    hp_metrics_bool(m, "ok", true);
    hp_metrics_text(m, "t", "a\"\\\n");
    hp_metrics_ints(m, "v", 2, (const int64_t[]){1, 2});
    assert_int_equal(hp_metrics_line(m, &err), HP_OK);
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    hp_metrics_text(m, "t", big);
    assert_int_equal(hp_metrics_line(m, &err), HP_INTERNAL);
    assert_int_equal(hp_metrics_line(m, &err), HP_OK); /* and the next is whole again */
    hp_metrics_close(m);
    read_text(path, text, sizeof text);
    assert_string_equal(text, "{\"step\":-3,\"loss\":0.125,\"bad\":null,\"ok\":true,"
                              "\"t\":\"a\\\"\\\\\\u000a\",\"v\":[1,2]}\n{}\n");
    assert_int_equal(hp_metrics_open("/nonexistent/x", &m, &err), HP_IO);
    assert_int_equal(hp_metrics_open("/dev/full", &m, &err), HP_OK);
    hp_metrics_int(m, "step", 1);
    assert_int_equal(hp_metrics_line(m, &err), HP_IO);
    hp_metrics_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create_and_lock), cmocka_unit_test(test_unused_folder),
        cmocka_unit_test(test_ranks),           cmocka_unit_test(test_status),
        cmocka_unit_test(test_probe),           cmocka_unit_test(test_metrics),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
