/* The importers of NLVR and CLEVR: small sets made here, NLVR itself where it is. */
#include "common/file.h"
#include "common/memory.h"
#include "common/store.h"
#include "worker/import/clevr.h"
#include "worker/import/nlvr.h"
#include "worker/report/picture.h"

#include <fcntl.h>
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

static const char *in_folder(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_text(const char *name, const char *text) {
    assert_int_equal(hp_write_file(in_folder(name), text, strlen(text), NULL), HP_OK);
}

/* A picture of one colour. */
static void write_png(const char *name, int width, int height, uint8_t value) {
    wk_picture_t p;
    void *png = NULL;
    size_t bytes = 0;
    assert_int_equal(wk_picture_allocate(width, height, &p, NULL), HP_OK);
    memset(p.pixel, value, 3 * (size_t)width * (size_t)height);
    assert_int_equal(wk_picture_encode_png(&p, &png, &bytes, NULL), HP_OK);
    assert_int_equal(hp_write_file(in_folder(name), png, bytes, NULL), HP_OK);
    hp_free(png);
    wk_picture_release(&p);
}

static void make_folders(const char *const *name) {
    for (; *name != NULL; name++) mkdir(in_folder(*name), 0777);
}

#define RECORD(index, image, text, answer, last)                                                   \
    "{\"split\": \"train\", \"image_index\": " #index ", \"question_index\": " #index              \
    ", \"image_filename\": \"" image "\", \"question\": \"" text "\", \"answer\": \"" answer       \
    "\", \"program\": [{\"function\": \"scene\", \"inputs\": [], \"value_inputs\": []}, "          \
    "{\"inputs\": [0], \"function\": \"" last "\", \"value_inputs\": [\"function\"]}], "           \
    "\"question_family_index\": 4}"

static void make_clevr(void) {
    static const char *const names[] = {
        "clevr", "clevr/images", "clevr/images/train", "clevr/images/test", "clevr/questions",
        NULL};
    make_folders(names);
    write_png("clevr/images/train/a.png", 48, 32, 10);
    write_png("clevr/images/train/b.png", 48, 32, 200);
    write_png("clevr/images/test/t.png", 20, 20, 77);
    write_text("clevr/questions/CLEVR_train_questions.json",
               "{\"info\": {\"question\": \"no\", \"questions\": [1, {\"question\": \"x\"}]}, "
               "\"questions\": [" RECORD(0, "a.png", "How many big things; are there?", "3", "count") ",\n" RECORD(
                   1, "a.png", "Is there a cube?", "yes",
                   "exist") ",\n" RECORD(2, "b.png", "Are there as many cubes as spheres?", "yes",
                                         "equal_integer") ", " RECORD(3, "b.png",
                                                                      "What size is it?", "large",
                                                                      "query_size") ", " RECORD(4,
                                                                                                "b."
                                                                                                "pn"
                                                                                                "g",
                                                                                                "Sa"
                                                                                                "me"
                                                                                                " c"
                                                                                                "ol"
                                                                                                "ou"
                                                                                                "r"
                                                                                                "?",
                                                                                                "ye"
                                                                                                "s",
                                                                                                "eq"
                                                                                                "ua"
                                                                                                "l_"
                                                                                                "co"
                                                                                                "lo"
                                                                                                "r") "], \"more\": [{}]}");
    write_text("clevr/questions/CLEVR_test_questions.json",
               "{\"questions\": [{\"image_filename\": \"t.png\", \"question\": \"What cube?\"}]}");
}

static hp_status_t write_store(const wk_pixel_set_t *set, const char *name, int height, int width,
                               wk_pixel_report_t *report, hp_error_t *err) {
    const wk_pixel_options_t options = {.out = in_folder(name),
                                        .height = height,
                                        .width = width,
                                        .tokenizer = wk_tokenizer_find("words"),
                                        .command = name};
    return wk_pixels_write(set, &options, report, err);
}

static void test_clevr(void **state) {
    (void)state;
    make_clevr();
    wk_pixel_set_t set = {0};
    wk_pixel_report_t report;
    hp_error_t err = {0};
    char path[512];
    snprintf(path, sizeof path, "%s", in_folder("clevr"));
    if (wk_clevr_read(path, &set, &err) != HP_OK) fail_msg("%s", err.text);
    if (write_store(&set, "clevr.store", 12, 16, &report, &err) != HP_OK) fail_msg("%s", err.text);
    wk_pixels_release(&set);
    assert_int_equal(report.images, 3);
    assert_int_equal(report.questions, 6);
    assert_int_equal(report.unlabelled, 1);
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    assert_int_equal(hp_store_open(in_folder("clevr.store"), &store, &err), HP_OK);
    assert_int_equal(hp_store_reader_open(store, &reader, &err), HP_OK);
    const hp_store_info_t *info = hp_store_info(store);
    assert_int_equal(info->pixel_height, 12);
    assert_int_equal(info->pixel_width, 16);
    assert_int_equal(info->splits, 2);
    assert_int_equal(info->answers, 3); /* yes, 3, large */
    assert_string_equal(info->answer[0], "yes");
    static const char *const type[] = {
        "count", "exist", "compare integer", "query attribute", "compare attribute", ""};
    static const char *const last[] = {"count",      "exist",       "equal_integer",
                                       "query_size", "equal_color", ""};
    for (uint64_t i = 0; i < 6; i++) {
        hp_question_t q;
        assert_int_equal(hp_store_read_question(reader, i, &q, &err), HP_OK);
        assert_string_equal(q.answer_type, type[i]);
        assert_string_equal(q.question_type, last[i]);
        assert_int_equal(q.image, i < 2 ? 0 : i < 5 ? 1 : 2);
        assert_int_equal(q.question_id, i == 5 ? 0 : i);
        assert_int_equal(q.label == -1, i == 5);
        assert_int_equal(q.answers, i != 5);
        if (i == 0) {
            assert_int_equal(q.tokens, 6);
            assert_string_equal(info->word[q.token[3]], "things");
        }
        if (i == 5) assert_int_equal(q.token[0] != 0 && q.token[1] != 0, 1);
    }
    static const int value[] = {10, 200, 77};
    for (uint32_t i = 0; i < 3; i++) {
        const void *data;
        size_t bytes;
        assert_int_equal(hp_store_read_image(reader, i, HP_RECORD_PIXELS, &data, &bytes, &err),
                         HP_OK);
        assert_int_equal(bytes, 12 * 16 * 3);
        for (size_t k = 0; k < bytes; k++) assert_int_equal(((const uint8_t *)data)[k], value[i]);
    }
    hp_store_reader_close(reader);
    hp_store_close(store);
}

static void refuse_clevr(const char *text, const char *want) {
    wk_pixel_set_t set = {0};
    hp_error_t err = {0};
    char path[512];
    write_text("clevr/questions/CLEVR_train_questions.json", text);
    snprintf(path, sizeof path, "%s", in_folder("clevr"));
    assert_int_equal(wk_clevr_read(path, &set, &err), HP_INPUT);
    if (strstr(err.text, want) == NULL || strchr(err.text, '\n') != NULL)
        fail_msg("'%s' does not say '%s' in one line", err.text, want);
    wk_pixels_release(&set);
}

static void test_clevr_refused(void **state) {
    (void)state;
    make_clevr();
    refuse_clevr("[]", "no list 'questions'");
    refuse_clevr("{\"questions\": []}", "is empty");
    refuse_clevr("{\"questions\": [{\"question\": \"x\"}]}", "question 1: 'question' and");
    refuse_clevr("{\"questions\": [" RECORD(0, "a.png", "x", "y", "count") ", ", "question 2: ");
    refuse_clevr("{\"questions\": [" RECORD(0, "zz.png", "x", "y", "count") "]}", "zz.png");
    refuse_clevr("{\"questions\": [" RECORD(0, "../a.png", "x", "y", "count") "]}", "'/'");
    wk_pixel_set_t set = {0};
    hp_error_t err = {0};
    assert_int_equal(wk_clevr_read("/nonexistent", &set, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "/nonexistent/questions/CLEVR_train_questions.json"));
    wk_pixels_release(&set);
}

static void make_nlvr(void) {
    static const char *const names[] = {"nlvr",
                                        "nlvr/train",
                                        "nlvr/train/images",
                                        "nlvr/train/images/0",
                                        "nlvr/train/images/1",
                                        "nlvr/dev",
                                        "nlvr/dev/images",
                                        "nlvr/dev/images/0",
                                        NULL};
    make_folders(names);
    write_png("nlvr/train/images/0/train-7-1-0.png", 40, 10, 1);
    write_png("nlvr/train/images/0/train-7-1-1.png", 40, 10, 2);
    write_png("nlvr/train/images/1/train-12-0-0.png", 40, 10, 3);
    write_png("nlvr/train/images/1/train-12-0-1.png", 40, 10, 4);
    write_png("nlvr/dev/images/0/dev-7-1-0.png", 40, 10, 5);
    write_png("nlvr/dev/images/0/dev-7-1-1.png", 40, 10, 6);
    write_text("nlvr/train/train.json",
               "{\"sentence\": \"There is a box.\", \"label\": \"true\", \"identifier\": \"7-1\", "
               "\"directory\": \"0\", \"evals\": {\"r0\": \"true\"}}\n"
               "{\"sentence\": \"No box\", \"label\": \"false\", \"identifier\": \"12-0\", "
               "\"directory\": \"1\"}\n\n");
    write_text("nlvr/dev/dev.json", "{\"sentence\": \"A box\", \"label\": \"true\", "
                                    "\"identifier\": \"7-1\", \"directory\": \"0\"}");
}

static void test_nlvr(void **state) {
    (void)state;
    make_nlvr();
    char path[512];
    snprintf(path, sizeof path, "%s", in_folder("nlvr"));
    wk_nlvr_options_t options = {path, 2, 1};
    wk_pixel_set_t set = {0};
    wk_pixel_report_t report;
    hp_error_t err = {0};
    if (wk_nlvr_read(&options, &set, &err) != HP_OK) fail_msg("%s", err.text);
    assert_int_equal(set.splits, 3);
    assert_string_equal(set.split[1].name, "valid");
    for (int s = 0; s < 3; s++) assert_int_equal(set.split[s].questions, 2);
    assert_int_equal(set.split[0].question[1].id, 7011);
    assert_int_equal(set.split[1].question[0].id, 12000);
    assert_string_equal(wk_strings_get(&set.images, set.split[1].question[0].image),
                        "train-12-0-0");
    assert_int_equal(write_store(&set, "nlvr.store", 10, 40, &report, &err), HP_OK);
    assert_int_equal(report.images, 6);
    assert_int_equal(report.answers, 1); /* those of the first split */
    assert_int_equal(report.unlabelled, 2);
    assert_int_equal(write_store(&set, "nlvr.store", 10, 40, &report, &err), HP_INPUT);
    wk_pixels_release(&set);
}

static void refuse_nlvr(const char *text, int valid, const char *want) {
    char path[512];
    wk_pixel_set_t set = {0};
    hp_error_t err = {0};
    write_text("nlvr/train/train.json", text);
    snprintf(path, sizeof path, "%s", in_folder("nlvr"));
    wk_nlvr_options_t options = {path, 1, valid};
    assert_int_equal(wk_nlvr_read(&options, &set, &err), HP_INPUT);
    if (strstr(err.text, want) == NULL || strchr(err.text, '\n') != NULL)
        fail_msg("'%s' does not say '%s' in one line", err.text, want);
    wk_pixels_release(&set);
}

static void test_nlvr_refused(void **state) {
    (void)state;
    make_nlvr();
    refuse_nlvr("{\"sentence\": \"x\", \"identifier\": \"7-1\", \"directory\": \"../../x\"}", 0,
                "line 1: directory '../../x': a folder's name");
    refuse_nlvr("{\"sentence\": \"x\", \"identifier\": \"7-1\", \"directory\": \"..\"}", 0,
                "directory '..'");
    refuse_nlvr("{\"sentence\": \"x\\u0000y\", \"identifier\": \"7-1\"}", 0, "contains NUL");
    refuse_nlvr("", 0, "train.json is empty");
    refuse_nlvr("\n{\"sentence\": ", 0, "train.json, line 2: not a JSON object");
    refuse_nlvr("[1]", 0, "line 1: not a JSON object");
    refuse_nlvr("{\"sentence\": \"x\"}", 0, "'identifier' are needed");
    refuse_nlvr("{\"sentence\": \"x\", \"identifier\": \"7\"}", 0, "identifier '7'");
    refuse_nlvr("{\"sentence\": \"x\", \"identifier\": \"7-1\", \"label\": \"maybe\"}", 0,
                "label 'maybe'");
    refuse_nlvr("{\"sentence\": \"x\", \"identifier\": \"7-1\"}", 1,
                "'directory' must be a number");
    refuse_nlvr("{\"sentence\": \"x\", \"identifier\": \"7-2\", \"directory\": \"0\"}", 0,
                "train-7-2-0.png");
    refuse_nlvr("{\"sentence\": \"x\", \"identifier\": \"7-1\", \"directory\": \"0\"}", 1,
                "cannot be held out");
}

/* A damaged picture stops the import; once it is whole, the import goes on. */
static void test_resumed(void **state) {
    (void)state;
    make_nlvr();
    char path[512], store[512];
    snprintf(path, sizeof path, "%s", in_folder("nlvr"));
    snprintf(store, sizeof store, "%s", in_folder("resumed"));
    wk_nlvr_options_t options = {path, 2, 0};
    wk_pixel_set_t set = {0};
    wk_pixel_report_t report;
    hp_error_t err = {0};
    assert_int_equal(wk_nlvr_read(&options, &set, &err), HP_OK);
    write_text("nlvr/dev/images/0/dev-7-1-0.png", "\x89PNG\r\n\x1a\n and no more");
    assert_int_equal(write_store(&set, "resumed", 10, 40, &report, &err), HP_CORRUPT);
    assert_non_null(strstr(err.text, "dev-7-1-0.png: damaged PNG"));
    hp_store_t *none = NULL;
    assert_int_not_equal(hp_store_open(store, &none, &err), HP_OK);
    write_png("nlvr/dev/images/0/dev-7-1-0.png", 80, 20, 9);
    wk_pixel_set_t changed = {0}; /* of another file of the same length */
    const struct timespec past[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    assert_int_equal(utimensat(AT_FDCWD, in_folder("nlvr/train/train.json"), past, 0), 0);
    assert_int_equal(wk_nlvr_read(&options, &changed, &err), HP_OK);
    assert_int_equal(write_store(&changed, "resumed", 10, 40, &report, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "other options or sources"));
    wk_pixels_release(&changed);
    if (write_store(&set, "resumed", 10, 40, &report, &err) != HP_OK) fail_msg("%s", err.text);
    assert_int_equal(report.images, 6);
    hp_store_t *opened = NULL;
    assert_int_equal(hp_store_open(store, &opened, &err), HP_OK);
    hp_store_close(opened);
    wk_pixels_release(&set);
}

static void test_real_nlvr(void **state) {
    (void)state;
    const char *data = getenv("HANPS_DATA");
    char path[512];
    struct stat info;
    snprintf(path, sizeof path, "%s/nlvr", data != NULL ? data : "");
    if (data == NULL || stat(path, &info) != 0) skip();
    wk_nlvr_options_t options = {path, 1, 0};
    wk_pixel_set_t set = {0};
    hp_error_t err = {0};
    if (wk_nlvr_read(&options, &set, &err) != HP_OK) fail_msg("%s", err.text);
    static const double share[] = {56.38, 55.31};
    static const uint64_t count[] = {12408, 989};
    for (int s = 0; s < 2; s++) {
        uint64_t yes = 0;
        assert_int_equal(set.split[s].questions, count[s]);
        for (uint64_t i = 0; i < count[s]; i++)
            yes +=
                strcmp(wk_strings_get(&set.strings, set.split[s].question[i].answer), "true") == 0;
        assert_true(fabs(100.0 * (double)yes / (double)count[s] - share[s]) < 0.01);
    }
    wk_pixels_release(&set);
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
        cmocka_unit_test(test_clevr),   cmocka_unit_test(test_clevr_refused),
        cmocka_unit_test(test_nlvr),    cmocka_unit_test(test_nlvr_refused),
        cmocka_unit_test(test_resumed), cmocka_unit_test(test_real_nlvr),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
