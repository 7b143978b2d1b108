/* A run's log, read back: rows, damage, the last seconds of the last start. */
#include "worker/report/run_log.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char run[] = "/tmp/hanps-test-XXXXXX";

static FILE *begin(const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s/log", run);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/log/%s", run, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    return file;
}

static void test_read(void **state) {
    (void)state;
    wk_run_log_t log = {0};
    hp_error_t err = {0};
    assert_int_equal(wk_run_log_read("/nonexistent", 0, &log, &err), HP_INPUT);
    fclose(begin("notes.txt"));
    assert_int_equal(wk_run_log_read(run, 0, &log, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "no log yet"));

    FILE *f = begin("worker-0010.jsonl");
    fprintf(f,
            "{\"step\": 3, \"loss\": null, \"accuracy\": 0.5, \"host\": \"n1\", \"new\": [1]}\n");
    fprintf(f, "not json\n[1, 2]\n{\"step\": 4, \"loss\": 1.25}\n{\"step\": 5, \"lo");
    fclose(f);
    fclose(begin("worker-0002.jsonl"));
    f = begin("server-0000.jsonl");
    fprintf(f, "{\"updates\": 7}\n");
    fclose(f);
    assert_int_equal(wk_run_log_read(run, 0, &log, &err), HP_OK);
    assert_int_equal(log.files, 3);
    assert_int_equal(log.file[0].index, 2);
    assert_int_equal(log.file[0].lines, 0);
    assert_int_equal(wk_log_window(&log.file[0], 60).lines, 0);
    const wk_log_file_t *file = &log.file[1];
    assert_int_equal(file->index, 10);
    assert_string_equal(file->host, "n1");
    assert_int_equal(file->lines, 2); /* the last line is still being written */
    assert_int_equal(file->damaged, 2);
    assert_true(isnan(file->line[0].value[WK_LOG_LOSS]));
    assert_true(file->line[1].value[WK_LOG_LOSS] == 1.25);
    assert_true(log.file[2].server && log.file[2].line[0].value[WK_LOG_UPDATES] == 7);
    wk_run_log_release(&log);
}

static void test_window(void **state) {
    (void)state;
    FILE *f = begin("worker-0002.jsonl");
    for (int start = 1; start <= 2; start++)
        for (int i = 1; i <= 100; i++)
            fprintf(f,
                    "{\"step\": %d, \"start\": %d, \"time_s\": %d, \"examples\": %d, \"loss\": %d, "
                    "\"step_s\": 2, \"data_s\": 0.5, \"wait_s\": 1}\n",
                    i, start, 2 * i, i == 100 ? 30 : 10, i == 100 ? 4 : 2);
    fclose(f);
    wk_run_log_t log = {0};
    assert_int_equal(wk_run_log_read(run, 0, &log, NULL), HP_OK);
    wk_log_window_t w = wk_log_window(&log.file[0], 8);
    assert_int_equal(w.lines, 5);
    assert_true(w.step == 100);
    assert_true(fabs(w.loss - (4 * 10 * 2 + 30 * 4) / 70.0) < 1e-12);
    assert_true(fabs(w.examples_per_s - 60 / 8.0) < 1e-12);
    assert_true(w.share[0] == 0.25 && w.share[5] == 0.5);
    assert_true(isnan(w.accuracy) && isnan(w.staleness));
    assert_int_equal(wk_log_window(&log.file[0], 1e9).lines, 100); /* not into the start before */
    wk_run_log_release(&log);
    assert_int_equal(wk_run_log_read(run, 1000, &log, NULL), HP_OK);
    assert_in_range(log.file[0].lines, 7, 12);
    assert_int_equal(log.file[0].damaged, 0);
    wk_run_log_release(&log);
}

static int setup(void **state) {
    (void)state;
    return mkdtemp(run) == NULL;
}

static int teardown(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", run);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_read), cmocka_unit_test(test_window)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
