/* The table of runs: made runs against numbers worked out by hand. */
#include "worker/report/scores.h"
#include "worker/report/table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char folder[] = "/tmp/hanps-test-XXXXXX";

/* A run whose RUN/eval/SPLIT-STEP.tsv has a line for each digit of `exact`: 1 right, 0 wrong;
 * questions 2i and 2i+1 are of image i where `pairs`, else each has its own. The first half is
 * yes/no, the rest is of type `type`. */
static const char *make_run(const char *name, const char *settings, const char *file,
                            const char *exact, bool pairs, const char *type) {
    static char path[16][256];
    static int used;
    char *run = path[used++ % 16], text[512];
    snprintf(run, 256, "%s/%s", folder, name);
    mkdir(run, 0777);
    snprintf(text, sizeof text, "%s/eval", run);
    mkdir(text, 0777);
    snprintf(text, sizeof text, "%s/config.yaml", run);
    FILE *out = fopen(text, "w");
    assert_non_null(out);
    fprintf(out, "%s", settings);
    fclose(out);
    snprintf(text, sizeof text, "%s/eval/%s", run, file);
    out = fopen(text, "w");
    assert_non_null(out);
    wk_scores_begin(out, WK_EXACT);
    const int n = (int)strlen(exact);
    for (int i = 0; i < n; i++) {
        double right = exact[i] == '1';
        const double score[WK_METRICS] = {
            [WK_EXACT] = right, [WK_VQA_2016] = 0.5, [WK_VQA_2021] = 0.3};
        const hp_question_t question = {.question_id = 1000 + i,
                                        .image = (uint32_t)(pairs ? i / 2 : i) * 7,
                                        .question_type = "what\tis",
                                        .answer_type = i < n / 2 ? "yes/no" : type};
        wk_scores_put(out, &question, "an answer", 4 + i % 2, score);
    }
    fclose(out);
    return run;
}

static void made(const wk_table_options_t *options, wk_table_t *table) {
    hp_error_t err = {0};
    if (wk_table_make(options, table, &err) != HP_OK) fail_msg("%s", err.text);
}

static void near(double got, double want) {
    if (!(fabs(got - want) < 1e-9)) fail_msg("%.12g is not %.12g", got, want);
}

static void test_scores_read_back(void **state) {
    (void)state;
    const char *run = make_run("back", "", "test-00000012.tsv", "1001", false, "other");
    char path[300];
    snprintf(path, sizeof path, "%s/eval/test-00000012.tsv", run);
    wk_scores_t scores = {0};
    assert_int_equal(wk_scores_read(path, &scores, NULL), HP_OK);
    assert_int_equal(scores.count, 4);
    assert_int_equal(scores.metric, WK_EXACT);
    assert_int_equal(scores.types, 2);
    assert_string_equal(scores.type[1], "other");
    assert_int_equal(scores.line[3].id, 1003);
    assert_int_equal(scores.line[3].image, 21);
    assert_int_equal(scores.line[3].cells, 5);
    assert_int_equal(scores.line[3].type, 1);
    near(scores.line[3].score[WK_EXACT], 1);
    near(scores.line[3].score[WK_VQA_2016], 0.5);
    near(scores.line[3].score[WK_VQA_2021], 0.3);
    wk_scores_release(&scores);
}

static void test_damaged(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
    } bad[] = {
        {"", "no questions"},
        {"# metric bleu\n", "line 1: '# metric NAME'"},
        {"# metric exact\nhead\n1\t2\t3\t1\t1\t1\ta\tb\n", "line 3"},
        {"# metric exact\nhead\n1\t2\t3\t1\t1\t1\ta\tb\tc\nx\t2\t3\t1\t1\t1\ta\tb\tc\n", "line 4"},
        {"# metric exact\nhead\n1\t2\t3\t1.5\t1\t1\ta\tb\tc\n", "line 3"},
        {"# metric exact\nhead\n1\t2\t3\t1\t1\t1\ta\tb\tc", "no questions"}, /* cut off */
    };
    char path[300];
    snprintf(path, sizeof path, "%s/damaged.tsv", folder);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        FILE *out = fopen(path, "w");
        assert_non_null(out);
        fputs(bad[i].text, out);
        fclose(out);
        wk_scores_t scores = {0};
        hp_error_t err = {0};
        assert_int_equal(wk_scores_read(path, &scores, &err), HP_INPUT);
        if (strstr(err.text, bad[i].want) == NULL) fail_msg("case %zu: %s", i, err.text);
    }
}

/* Three seeds: 50, 75 and 100 % overall; yes/no 50, 50, 100; other 50, 100, 100. */
static void test_seeds(void **state) {
    (void)state;
    const char *const han = "model: {attention: {kind: han}}\nrun: {seed: %d}\n";
    char one[100], two[100], three[100];
    snprintf(one, sizeof one, han, 1);
    snprintf(two, sizeof two, han, 2);
    snprintf(three, sizeof three, han, 3);
    const char *run[] = {
        make_run("s1", one, "test-00000100.tsv", "1001", false, "other"),
        make_run("sum", "model: {attention: {kind: all}}\n", "test-00000100.tsv", "0000", false,
                 "other"),
        make_run("s2", two, "test-00000100.tsv", "1011", false, "other"),
        make_run("s3", three, "test-00000100.tsv", "1111", false, "other"),
    };
    const wk_table_options_t options = {.runs = 4, .run = run, .step = -1, .metric = -1};
    wk_table_t table = {0};
    made(&options, &table);
    assert_int_equal(table.rows, 2);
    assert_int_equal(table.columns, 3);
    assert_string_equal(table.column[1], "yes/no");
    assert_string_equal(table.column[2], "other");
    assert_string_equal(table.split, "test");
    assert_string_equal(table.row[0].name, "HAN+sum");
    assert_string_equal(table.row[1].name, "sum");
    assert_int_equal(table.row[0].runs, 3);
    near(table.row[0].cells_mean, 4.5);
    const wk_table_cell_t *cell = table.row[0].cell;
    near(cell[0].mean, 75);
    near(cell[0].deviation, 25); /* sqrt((625 + 0 + 625) / 2) */
    near(cell[1].mean, 200.0 / 3);
    near(cell[1].deviation, sqrt(2500.0 / 3)); /* 50, 50, 100: squares 2 (50/3)^2 + (100/3)^2 */
    near(cell[2].mean, 250.0 / 3);
    assert_true(isnan(table.row[1].cell[0].deviation));
    near(table.row[1].cell[0].difference, -75);
    near(table.row[1].cell[2].difference, -250.0 / 3);
    assert_true(isnan(table.row[1].cell[0].low));

    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    for (int f = 0; f < 3; f++) wk_table_write(&table, (wk_table_format_t)f, out);
    fclose(out);
    static const char *const want[] = {
        "         runs  cells        Overall         Yes/No          Other\n"
        "HAN+sum     3   4.50  75.00 ± 25.00  66.67 ± 28.87  83.33 ± 28.87\n"
        "sum         1   4.50           0.00           0.00           0.00\n",
        "| HAN+sum | 3 | 4.50 | 75.00 ± 25.00 | 66.67 ± 28.87 | 83.33 ± 28.87 |\n",
        "\"HAN+sum\",3,4.5000,\"Yes/No\",66.6667,28.8675,,,\n",
        "\"sum\",1,4.5000,\"Overall\",0.0000,,-75.0000,,\n"};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (strstr(text, want[i]) == NULL) fail_msg("'%s' is not in:\n%s", want[i], text);
    free(text);
    wk_table_release(&table);
}

/* 400 images of one question: of the second row's answers 100 are better by one, the rest equal.
 * The mean of a draw is Binomial(400, 1/4) / 400: 25 % with deviation 2.165, and 95 % of it lies
 * within 20.75 .. 29.25. Where the two questions of an image always differ together, only half as
 * many are drawn: the interval is wider by sqrt 2. */
static void test_interval(void **state) {
    (void)state;
    char base[401], better[401];
    memset(base, '0', 400);
    memset(better, '0', 400);
    base[400] = better[400] = '\0';
    for (int i = 0; i < 400; i++)
        if (i % 8 < 2) better[i] = '1';
    for (int pairs = 0; pairs < 2; pairs++) {
        const char *run[] = {make_run(pairs ? "p1" : "b1", "run: {steps: 1}\n", "test-00000001.tsv",
                                      base, pairs == 1, "other"),
                             make_run(pairs ? "p2" : "b2", "run: {steps: 2}\n", "test-00000001.tsv",
                                      better, pairs == 1, "other")};
        const wk_table_options_t options = {
            .runs = 2, .run = run, .step = -1, .metric = -1, .samples = 4000, .seed = 5};
        wk_table_t table = {0}, again = {0};
        made(&options, &table);
        const wk_table_cell_t *cell = &table.row[1].cell[0];
        near(cell->difference, 25);
        const double half = 1.96 * sqrt(0.25 * 0.75 / (pairs ? 200 : 400)) * 100;
        assert_int_equal(table.images, pairs ? 200 : 400);
        if (fabs(cell->low - (25 - half)) > 0.6 || fabs(cell->high - (25 + half)) > 0.6)
            fail_msg("%g to %g, not 25 +- %g", cell->low, cell->high, half);
        /* Rows of one name tell their runs; the draw depends on its seed alone. */
        assert_non_null(strstr(table.row[1].name, run[1]));
        made(&options, &again);
        assert_true(again.row[1].cell[0].low == cell->low);
        wk_table_release(&again);
        wk_table_release(&table);
    }
}

/* The same answers: no draw can tell them apart. */
static void test_equal(void **state) {
    (void)state;
    const char *run[] = {
        make_run("e1", "run: {steps: 1}\n", "test-00000001.tsv", "10110", false, "number"),
        make_run("e2", "run: {steps: 2}\n", "test-00000002.tsv", "10110", false, "number")};
    const wk_table_options_t options = {
        .runs = 2, .run = run, .step = -1, .metric = WK_VQA_2021, .samples = 50, .seed = 1};
    wk_table_t table = {0};
    made(&options, &table);
    near(table.row[0].cell[0].mean, 30);
    for (int c = 0; c < 3; c++) {
        near(table.row[1].cell[c].low, 0);
        near(table.row[1].cell[c].high, 0);
    }
    wk_table_release(&table);
}

static void test_names(void **state) {
    (void)state;
    static const char *const attention[] = {"all", "han"};
    static const struct {
        const char *kind, *want[2];
    } aggregate[] = {{"sum", {"sum", "HAN+sum"}},
                     {"pairwise", {"pairwise", "HAN+pairwise"}},
                     {"relation", {"RN", "HAN+RN"}},
                     {"concat", {"MLP", "HAN+MLP"}}};
    for (int i = 0; i < 8; i++) {
        char settings[100], name[16];
        snprintf(settings, sizeof settings, "model: {attention: {kind: %s}, aggregate: {kind: %s}}",
                 attention[i % 2], aggregate[i / 2].kind);
        snprintf(name, sizeof name, "name%d", i);
        const char *run = make_run(name, settings, "test-00000001.tsv", "10", false, "other");
        const wk_table_options_t options = {.runs = 1, .run = &run, .step = -1, .metric = -1};
        wk_table_t table = {0};
        made(&options, &table);
        assert_string_equal(table.row[0].name, aggregate[i / 2].want[i % 2]);
        wk_table_release(&table);
    }
}

static void test_refused(void **state) {
    (void)state;
    const char *a = make_run("r1", "", "test-00000005.tsv", "10", false, "other");
    make_run("r1", "", "test-00000009.tsv", "11", false, "other");
    make_run("r1", "", "valid-00000009.tsv", "01", false, "other");
    const char *b = make_run("r2", "run: {seed: 2}\n", "test-00000005.tsv", "100", false, "other");
    const char *c = make_run("r3", "", "notes.txt", "1", false, "other");
    const struct {
        const char *run[2], *split, *want;
        int64_t step;
    } bad[] = {
        {{a, a}, NULL, "--split is needed", -1},
        {{a, b}, "test", "different questions", -1},
        {{a, c}, "test", "has no evaluation of split 'test': hanps eval", -1},
        {{a, a}, "test", "at step 6", 6},
        {{a, a}, "test", "r1' is given twice", -1},
        {{a, "/nonexistent"}, "test", "no run in '/nonexistent'", -1},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        wk_table_options_t options = {
            .runs = 2, .run = bad[i].run, .split = bad[i].split, .step = bad[i].step, .metric = -1};
        wk_table_t table = {0};
        hp_error_t err = {0};
        assert_int_equal(wk_table_make(&options, &table, &err), HP_INPUT);
        if (strstr(err.text, bad[i].want) == NULL) fail_msg("case %zu: %s", i, err.text);
    }
    /* The newest, or the one that is asked for. */
    wk_table_options_t options = {.runs = 1, .run = &a, .split = "test", .step = -1, .metric = -1};
    wk_table_t table = {0};
    made(&options, &table);
    near(table.row[0].cell[0].mean, 100);
    wk_table_release(&table);
    options.step = 5;
    made(&options, &table);
    near(table.row[0].cell[0].mean, 50);
    wk_table_release(&table);
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scores_read_back),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_interval),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
