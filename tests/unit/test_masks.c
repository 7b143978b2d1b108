/* hanps masks over a small store with a model that was not trained: the page and its pictures. */
#include "common/file.h"
#include "common/memory.h"
#include "worker/data/batch.h"
#include "worker/import/synth_sort_of_clevr.h"
#include "worker/report/masks.h"
#include "worker/report/picture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/hanps-test-XXXXXX";

static void begin(wk_trained_t *t) {
    hp_error_t err = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/store", folder);
    if (access(path, F_OK) != 0) {
        const wk_synth_options_t options = {
            .out = path, .seed = 1, .train = 4, .test = 3, .patches = true};
        assert_int_equal(wk_synth_sort_of_clevr(&options, &err), HP_OK);
    }
    *t = (wk_trained_t){.step = 17};
    hp_config_default(&t->config);
    static const char *const set[] = {"data.batch_size=8",       "model.question.embedding=8",
                                      "model.question.lstm=12",  "model.image.width=16",
                                      "model.attention.cells=7", "model.classifier.layers=[16]"};
    for (size_t i = 0; i < sizeof set / sizeof *set; i++)
        if (hp_config_set(&t->config, set[i], &err) != HP_OK) fail_msg("%s", err.text);
    assert_int_equal(hp_store_open(path, &t->store, &err), HP_OK);
    const hp_store_info_t *info = hp_store_info(t->store);
    t->shape = (wk_model_shape_t){.channels = info->channels,
                                  .max_cells = info->max_cells,
                                  .words = info->words,
                                  .answers = info->answers,
                                  .grid_height = info->grid_height,
                                  .grid_width = info->grid_width};
    assert_int_equal(wk_model_table(&t->config, &t->shape, &t->params, &err), HP_OK);
    t->weights = hp_calloc((size_t)t->params.total, sizeof *t->weights);
    hp_params_initialise(&t->params, 1, 0, t->params.total, t->weights);
}

static void end(wk_trained_t *t) {
    hp_free(t->weights);
    hp_params_release(&t->params);
    hp_store_close(t->store);
}

static char *read_page(const char *path) {
    unsigned char *data = NULL;
    size_t bytes = 0;
    assert_int_equal(hp_read_file(path, 1 << 24, &data, &bytes, NULL), HP_OK);
    char *text = hp_calloc(bytes + 1, 1);
    memcpy(text, data, bytes);
    hp_free(data);
    return text;
}

static int occurrences(const char *text, const char *what) {
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++) n++;
    return n;
}

static void test_spread(void **state) {
    (void)state;
    wk_trained_t t;
    begin(&t);
    char out[128], path[256];
    snprintf(out, sizeof out, "%s/masks", folder);
    wk_masks_options_t options = {.trained = &t,
                                  .run = "runs/a",
                                  .out = out,
                                  .split = "train",
                                  .metric = WK_EXACT,
                                  .count = 6,
                                  .scored = 50};
    wk_masks_outcome_t outcome;
    hp_error_t err = {0};
    if (wk_masks(&options, &outcome, &err) != HP_OK) fail_msg("%s", err.text);
    assert_int_equal(outcome.shown, 6);
    assert_int_equal(outcome.right + outcome.wrong, 6);
    assert_int_equal(outcome.scored, 50);
    assert_int_equal(outcome.answer_types, 2);
    assert_true(outcome.cells_mean == 7);
    char *page = read_page(outcome.page);
    assert_int_equal(occurrences(page, "<article"), 6);
    assert_int_equal(occurrences(page, "data:image/png"), 2); /* once an image */
    assert_int_equal(occurrences(page, "7 of 100 cells<"), 6);
    assert_non_null(strstr(page, "han, 7 of 100 cells, sum"));
    hp_free(page);
    snprintf(path, sizeof path, "%s/question-0.png", out);
    wk_picture_t picture = {0};
    assert_int_equal(wk_picture_load(path, &picture, &err), HP_OK);
    assert_int_equal(picture.width, 450);
    wk_picture_release(&picture);
    end(&t);
}

/* Questions by their ids, one of them beyond those that are scored; one question shown once. */
static void test_ids(void **state) {
    (void)state;
    wk_trained_t t;
    begin(&t);
    char out[128];
    snprintf(out, sizeof out, "%s/ids", folder);
    const int64_t id[] = {20000000059, 20000000003, 20000000003};
    wk_masks_options_t options = {.trained = &t,
                                  .run = "runs/a",
                                  .out = out,
                                  .split = "test",
                                  .metric = WK_EXACT,
                                  .ids = 3,
                                  .id = id,
                                  .scored = 20};
    wk_masks_outcome_t outcome;
    hp_error_t err = {0};
    if (wk_masks(&options, &outcome, &err) != HP_OK) fail_msg("%s", err.text);
    assert_int_equal(outcome.shown, 2);
    assert_int_equal(outcome.scored, 20);
    char *page = read_page(outcome.page);
    assert_non_null(strstr(page, "id=\"q20000000059\""));
    hp_free(page);
    const int64_t missing[] = {20000000003, 5};
    options.id = missing;
    options.ids = 2;
    assert_int_equal(wk_masks(&options, &outcome, &err), HP_INPUT);
    assert_string_equal(err.text, "question 5 is not in split 'test'");
    options.split = "valid";
    assert_int_equal(wk_masks(&options, &outcome, &err), HP_INPUT);
    options.split = "test";
    options.ids = 1;
    options.out = "/dev/null/x";
    assert_int_equal(wk_masks(&options, &outcome, &err), HP_INPUT);
    end(&t);
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
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_spread), cmocka_unit_test(test_ids)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
