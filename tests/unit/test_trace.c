/* A rank's trace: what fits is written in order and in its line, what does not is counted; the
 * parts of several ranks make one file; clocks that are apart are set right. */
#include "cli/ping.h"
#include "cli/trace.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/trace.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <yajl/yajl_tree.h>

static char run[] = "/tmp/hanps-test-XXXXXX";

static hp_trace_t *make(int64_t start, int rank) {
    hp_trace_t *trace = NULL;
    hp_error_t err = {0};
    const hp_trace_options_t options = {.run = run,
                                        .start = start,
                                        .rank = rank,
                                        .ranks = 3,
                                        .role = "worker \"0\"",
                                        .host = "n\\1",
                                        .steps = 2,
                                        .zero = 100,
                                        .offset = 50,
                                        .error = 2e-6};
    assert_int_equal(hp_trace_create(&options, &trace, &err), HP_OK);
    assert_int_equal(hp_trace_steps(trace), 2);
    return trace;
}

static hp_trace_row_t *row_of(hp_trace_t *trace, const char *name, int lanes, size_t spans) {
    hp_trace_row_t *row = NULL;
    hp_error_t err = {0};
    assert_int_equal(hp_trace_row(trace, name, "unit", lanes, spans, &row, &err), HP_OK);
    return row;
}

static yajl_val parse(const char *path) {
    unsigned char *data = NULL;
    size_t bytes = 0;
    char why[256] = "", *text = calloc(1, 1 << 16);
    hp_error_t err = {0};
    assert_non_null(text);
    assert_int_equal(hp_read_file(path, 1 << 15, &data, &bytes, &err), HP_OK);
    memcpy(text, data, bytes);
    hp_free(data);
    yajl_val v = yajl_tree_parse(text, why, sizeof why);
    free(text);
    if (v == NULL) fail_msg("%s: %s", path, why);
    assert_true(YAJL_IS_ARRAY(v));
    return v;
}

static yajl_val get(yajl_val v, const char *key) {
    return yajl_tree_get(v, (const char *[]){key, NULL}, yajl_t_any);
}

static double number(yajl_val v, const char *key) {
    yajl_val n = get(v, key);
    assert_non_null(n);
    return YAJL_GET_DOUBLE(n);
}

static const char *text(yajl_val v, const char *key) {
    yajl_val t = get(v, key);
    assert_true(YAJL_IS_STRING(t));
    return YAJL_GET_STRING(t);
}

/* The n-th event of the phase; NULL: there are not so many. */
static yajl_val event(yajl_val all, const char *phase, size_t n) {
    for (size_t i = 0; i < all->u.array.len; i++)
        if (strcmp(text(all->u.array.values[i], "ph"), phase) == 0 && n-- == 0)
            return all->u.array.values[i];
    return NULL;
}

/* The value of an argument of the metadata event of that name and line. */
static yajl_val about(yajl_val all, const char *name, int line, const char *argument) {
    yajl_val e;
    for (size_t i = 0; (e = event(all, "M", i)) != NULL; i++)
        if (strcmp(text(e, "name"), name) == 0 && number(e, "tid") == line)
            return get(get(e, "args"), argument);
    return NULL;
}

static void check_span(yajl_val all, size_t n, const char *name, int line, double begin_us,
                       double us) {
    yajl_val e = event(all, "X", n);
    assert_non_null(e);
    assert_string_equal(text(e, "name"), name);
    assert_true(number(e, "tid") == line);
    assert_true(fabs(number(e, "ts") - begin_us) < 1e-3);
    assert_true(fabs(number(e, "dur") - us) < 1e-3);
}

static void test_write(void **state) {
    (void)state;
    hp_error_t err = {0};
    const char *path = NULL, *again = "";
    hp_trace_t *trace = make(1, 2);
    hp_trace_row_t *compute = row_of(trace, "compute", 1, 5), *slots = row_of(trace, "slot", 3, 4);
    /* Inner before outer, as they end; this rank's 50 is 0 of the trace. */
    hp_trace_extend(compute, HP_TRACE_PULL_WAIT, 50, 50 + 1e-6, 7);
    hp_trace_extend(compute, HP_TRACE_PULL_WAIT, 50 + 2e-6, 50 + 3e-6, 7); /* goes on */
    hp_trace_extend(compute, HP_TRACE_PULL_WAIT, 51, 51 + 1e-6, 7);        /* much later */
    hp_trace_extend(compute, HP_TRACE_DATA, 51 + 1e-6, 51 + 2e-6, HP_TRACE_UNNUMBERED);
    hp_trace_span(compute, HP_TRACE_FORWARD, 50, 52, 7);
    hp_trace_span(compute, HP_TRACE_STEP, 50, 53, 7);
    hp_trace_span(compute, HP_TRACE_STEP, 53, 54, 8); /* no room */
    hp_trace_add(slots, 2, HP_TRACE_PUSH, 50.5, 50.75, 7, 4);
    hp_trace_add(slots, 3, HP_TRACE_PUSH, 50.5, 50.75, 7, 4); /* no such line */
    assert_int_equal(hp_trace_finish(trace, &path, &err), HP_OK);
    assert_non_null(strstr(path, "/trace/start-0001/rank-0002-of-0003.json"));
    yajl_val all = parse(path);
    check_span(all, 0, "step", 1, 0, 3e6);
    check_span(all, 1, "forward", 1, 0, 2e6);
    check_span(all, 2, "pull", 1, 0, 3);
    check_span(all, 3, "pull", 1, 1e6, 1);
    check_span(all, 4, "data", 1, 1e6 + 1, 1);
    check_span(all, 5, "push", 4, 0.5e6, 0.25e6);
    assert_null(event(all, "X", 6));
    assert_true(number(get(event(all, "X", 0), "args"), "unit") == 7);
    assert_true(number(get(event(all, "X", 5), "args"), "worker") == 4);
    assert_null(get(get(event(all, "X", 4), "args"), "unit"));
    assert_true(YAJL_GET_INTEGER(about(all, "hanps", 1, "dropped")) == 1);
    assert_true(YAJL_GET_DOUBLE(about(all, "hanps", 1, "clock_error_us")) == 2);
    assert_string_equal(YAJL_GET_STRING(about(all, "process_name", 1, "name")),
                        "rank 2: worker \"0\" on n\\1");
    assert_string_equal(YAJL_GET_STRING(about(all, "thread_name", 1, "name")), "compute");
    assert_string_equal(YAJL_GET_STRING(about(all, "thread_name", 4, "name")), "slot 2");
    assert_null(about(all, "thread_name", 2, "name")); /* nothing in it */
    yajl_tree_free(all);

    hp_trace_span(compute, HP_TRACE_STEP, 60, 61, 9); /* over */
    unlink(path);
    assert_int_equal(hp_trace_finish(trace, &again, &err), HP_OK);
    assert_null(again);
    assert_int_not_equal(access(path, F_OK), 0);
    hp_trace_destroy(trace);
}

static void test_none(void **state) {
    (void)state;
    hp_error_t err = {0};
    hp_trace_row_t *row = row_of(NULL, "compute", 1, 5);
    assert_null(row);
    hp_trace_span(row, HP_TRACE_STEP, 0, 1, 0);
    hp_trace_extend(row, HP_TRACE_STEP, 0, 1, 0);
    hp_trace_add(row, 0, HP_TRACE_STEP, 0, 1, 0, 0);
    assert_int_equal(hp_trace_steps(NULL), 0);
    assert_int_equal(hp_trace_finish(NULL, NULL, &err), HP_OK);
    hp_trace_destroy(NULL);
}

static void leave_part(int64_t start, int rank) {
    hp_error_t err = {0};
    hp_trace_t *trace = make(start, rank);
    hp_trace_row_t *row = row_of(trace, "compute", 1, 1);
    hp_trace_span(row, HP_TRACE_STEP, 50 + rank, 51 + rank, (uint64_t)start);
    hp_trace_end(trace, NULL);
    hp_trace_span(row, HP_TRACE_STEP, 60, 61, 0);
    assert_int_equal(hp_trace_finish(trace, NULL, &err), HP_OK);
    hp_trace_destroy(trace);
}

/* The newest start's parts, those that are there and whole. */
static void test_merge(void **state) {
    (void)state;
    hp_error_t err = {0};
    char path[256];
    snprintf(path, sizeof path, "%s/none", run);
    assert_int_equal(cli_trace_merge(path, NULL, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "--trace STEPS"));
    leave_part(9, 0);
    leave_part(10, 0);
    leave_part(10, 1);
    leave_part(10, 2);
    snprintf(path, sizeof path, "%s/trace/start-0010/rank-0001-of-0003.json", run);
    assert_int_equal(truncate(path, 400), 0); /* a copy that broke off */
    assert_int_equal(cli_trace_merge(run, NULL, &err), HP_OK);
    snprintf(path, sizeof path, "%s/trace/start-0010.json", run);
    yajl_val all = parse(path);
    check_span(all, 0, "step", 1, 0, 1e6);
    check_span(all, 1, "step", 1, 2e6, 1e6);
    assert_null(event(all, "X", 2));
    assert_true(number(event(all, "X", 1), "pid") == 10002);
    assert_true(number(get(event(all, "X", 0), "args"), "unit") == 10);
    yajl_tree_free(all);
    snprintf(path, sizeof path, "%s/trace/start-0010/rank-0000-of-0003.json", run);
    assert_int_equal(truncate(path, 1), 0);
    snprintf(path, sizeof path, "%s/trace/start-0010/rank-0002-of-0003.json", run);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(cli_trace_merge(run, NULL, &err), HP_CORRUPT);
}

static double ahead(void) { return hp_clock() + 1000; }

static void *answer(void *transport) {
    return cli_pong(transport, 1, 7, ahead, hp_clock() + 20) ? transport : NULL;
}

static void test_clock(void **state) {
    (void)state;
    hp_transport_t *end[2] = {NULL, NULL};
    hp_error_t err = {0};
    cli_ping_t ping = {0};
    pthread_t thread;
    void *answered = NULL;
    assert_int_equal(hp_transport_loopback(2, end, &err), HP_OK);
    assert_int_equal(pthread_create(&thread, NULL, answer, end[0]), 0);
    assert_true(cli_ping(end[1], 0, 7, hp_clock, hp_clock() + 20, &ping));
    pthread_join(thread, &answered);
    assert_non_null(answered);
    assert_true(ping.error > 0 && ping.trip >= 2 * ping.error);
    /* A double of 1e5 s has steps of 1e-11: far below a trip. */
    assert_true(fabs(ping.offset - 1000) <= ping.error + 1e-9);
    /* Nobody answers. */
    assert_false(cli_ping(end[1], 0, 9, hp_clock, hp_clock() + 0.02, &ping));
    for (int i = 0; i < 2; i++) hp_transport_close(end[i], true);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_write), cmocka_unit_test(test_none),
                                       cmocka_unit_test(test_merge), cmocka_unit_test(test_clock)};
    if (mkdtemp(run) == NULL) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", run);
    return system(command) != 0 || failed;
}
