/* Curves from logs, charts, the report page. */
#include "worker/report/chart.h"
#include "worker/report/report.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char folder[] = "/tmp/hanps-test-XXXXXX";

static FILE *begin(const char *run, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, run);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/log", folder, run);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/eval", folder, run);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", folder, run, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    return file;
}

/* Two workers; the run is started again at step 60 after it had logged up to step 80. */
static void make_run(const char *run) {
    for (int worker = 0; worker < 2; worker++) {
        char name[64];
        snprintf(name, sizeof name, "log/worker-000%d.jsonl", worker);
        FILE *f = begin(run, name);
        for (int start = 1; start <= 2; start++)
            for (int step = start == 1 ? 0 : 60; step < (start == 1 ? 80 : 1000); step++)
                fprintf(f,
                        "{\"step\": %d, \"start\": %d, \"time_s\": %d, \"examples\": 10, "
                        "\"examples_per_s\": %d, \"step_s\": 1, \"data_s\": 0.25, \"wait_s\": 0.5, "
                        "\"loss\": %d, \"accuracy\": %g, \"cells_mean\": 16, \"staleness\": 0}\n",
                        step, start, start == 1 ? step + 1 : step - 59, step % 2 == 0 ? 10 : 30,
                        start == 1 && step >= 60 ? 1000 : worker + step, step / 1000.0);
        fclose(f);
    }
}

static void test_curve(void **state) {
    (void)state;
    char path[256];
    make_run("a");
    snprintf(path, sizeof path, "%s/a", folder);
    wk_run_log_t log = {0};
    static wk_curve_t curve;
    assert_int_equal(wk_run_log_read(path, 0, &log, NULL), HP_OK);
    assert_int_equal(log.file[0].lines, 80 + 940);
    assert_int_equal(wk_run_log_join(&log, NULL), HP_OK);
    assert_int_equal(log.file[0].lines, 1000); /* steps 60 .. 79 once */
    double last = 0;
    for (size_t i = 0; i < 1000; i++) {
        assert_true(log.file[1].line[i].value[WK_LOG_STEP] == (double)i);
        assert_true(log.file[1].line[i].value[WK_LOG_TIME] > last);
        last = log.file[1].line[i].value[WK_LOG_TIME];
    }
    assert_true(last == 80 + 940);
    wk_curve(&log, WK_LOG_STEP, WK_LOG_LOSS, &curve);
    assert_int_equal(curve.points, WK_CURVE_POINTS);
    for (int i = 0; i < curve.points; i++) /* the loss is step + worker: the mean is step + 1/2 */
        assert_true(fabs(curve.y[i] - curve.x[i] - 0.5) < 1e-9);
    wk_curve(&log, WK_LOG_TIME, WK_LOG_EXAMPLES_PER_S, &curve);
    double mean = 0; /* ten examples at 10/s, ten at 30/s: 15/s */
    for (int i = 0; i < curve.points; i++) {
        assert_true(curve.y[i] > 9.99 && curve.y[i] < 30.01);
        mean += curve.y[i] / curve.points;
    }
    assert_true(fabs(mean - 15) < 0.7);
    wk_curve(&log, WK_LOG_STEP, WK_LOG_QUEUE, &curve);
    assert_int_equal(curve.points, 0);
    wk_run_log_release(&log);
}

static char *draw(const wk_chart_t *chart) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    wk_chart_svg(out, chart);
    fclose(out);
    return text;
}

static void test_chart(void **state) {
    (void)state;
    assert_true(fabs(wk_chart_tick(100, 5) - 20) < 1e-12);
    assert_true(fabs(wk_chart_tick(0.35, 5) - 0.05) < 1e-12);
    assert_true(fabs(wk_chart_tick(7, 7) - 1) < 1e-12);
    static wk_curve_t curve[2];
    curve[0] = (wk_curve_t){.name = "<a>", .points = 2, .x = {0, 10}, .y = {0, 100}};
    curve[1] = (wk_curve_t){.name = "b", .colour = 9, .points = 1, .x = {5}, .y = {50}};
    wk_chart_t chart = {"T & U", "%", "k", "step", 2, curve};
    char *svg = draw(&chart);
    assert_non_null(strstr(svg, "aria-label=\"T &amp; U\""));
    assert_non_null(strstr(svg, "<title>&lt;a&gt;</title>"));
    assert_non_null(strstr(svg, "d=\"M58.0 266.0L626.0 12.0\"")); /* corner to corner */
    assert_non_null(strstr(svg, "class=\"c1\""));
    assert_non_null(strstr(svg, "cx=\"342.0\" cy=\"139.0\"")); /* the middle */
    assert_null(strstr(svg, "nan"));
    free(svg);
    const double flat[] = {0, 16, -3, 1e-9, 1e9};
    for (int i = 0; i < 5; i++) {
        curve[0] = (wk_curve_t){.name = "a", .points = 2, .x = {0, 0}, .y = {flat[i], flat[i]}};
        chart.curves = 1;
        svg = draw(&chart);
        assert_null(strstr(svg, "nan"));
        assert_null(strstr(svg, "inf"));
        free(svg);
    }
    curve[0].points = 0;
    svg = draw(&chart);
    assert_non_null(strstr(svg, "nothing logged"));
    free(svg);
}

static void test_page(void **state) {
    (void)state;
    char a[256], b[256], *text = NULL;
    make_run("a");
    make_run("<b>");
    FILE *f = begin("a", "eval/valid-1.json");
    fputs("{\"split\": \"valid\", \"step\": 100, \"overall\": 41.25}", f);
    fclose(f);
    f = begin("a", "eval/valid-2.json");
    fputs("{\"split\": \"valid\", \"step\": 900, \"overall\": 61.75}", f);
    fclose(f);
    f = begin("a", "eval/broken.json");
    fputs("{\"split\": ", f);
    fclose(f);
    f = begin("<b>", "eval/test.json");
    fputs("{\"split\": \"te<st\", \"step\": 9, \"overall\": 7}", f);
    fclose(f);
    snprintf(a, sizeof a, "%s/a", folder);
    snprintf(b, sizeof b, "%s/<b>", folder);
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    const char *const run[] = {a, b};
    hp_error_t err = {0};
    if (wk_report(2, run, out, &err) != HP_OK) fail_msg("%s", err.text);
    fclose(out);
    assert_non_null(strstr(text, "2 runs"));
    assert_non_null(strstr(text, "id=\"x1\" checked")); /* by time */
    assert_null(strstr(text, "id=\"x0\" checked"));
    assert_null(strstr(text, "<b>/"));
    assert_non_null(strstr(text, "/&lt;b&gt;</td>"));
    assert_non_null(strstr(text, "valid <b>61.75</b>")); /* the newest */
    assert_non_null(strstr(text, "Accuracy on valid"));
    assert_null(strstr(text, "Accuracy on te")); /* once is no curve */
    assert_non_null(strstr(text, "te&lt;st <b>7.00</b>"));
    assert_non_null(strstr(text, "data 25.0 %"));
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "http"));
    free(text);
    const char *const missing[] = {"/nonexistent"};
    out = open_memstream(&text, &bytes);
    assert_int_equal(wk_report(1, missing, out, &err), HP_INPUT);
    fclose(out);
    free(text);
}

static int setup(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int teardown(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_curve), cmocka_unit_test(test_chart),
                                       cmocka_unit_test(test_page)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
