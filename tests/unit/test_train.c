/* The training loop against a client that is written here: what is asked of it and in which order,
 * units that are taken back, a loss that is not finite, stopping, the log. (The real client, in its
 * archive, is not linked: this file has all of its functions.) */
#include "worker/client.h"
#include "worker/train.h"

#include "common/memory.h"
#include "common/metrics.h"
#include "common/random.h"
#include "common/store_write.h"
#include "worker/data/batch.h"
#include "worker/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

#include <cmocka.h>

enum { IMAGES = 6, QUESTIONS = 60, CELLS = 4, CHANNELS = 8, BATCH = 8, PARAMS = 64 };

/* Plain gradient descent behind the client's interface. */
struct wk_client {
    const hp_params_t *params;
    float *weights, *grads;
    uint64_t next, units;
    uint64_t taken_back; /* this unit is not wanted any more when it begins; NONE: none */
    uint64_t poisoned;   /* weights turn into NaN at this unit */
    int64_t step;
    bool begun, sparse_given;
    atomic_bool stopped;
    int needed[PARAMS], finals[PARAMS];
    int committed, aborted, closed;
    atomic_int asked,
        refused; /* parts of evaluations: given, after unit 5; answered with a failure */
    int64_t examples;
};

#define NONE UINT64_MAX

static struct wk_client fake;

hp_status_t wk_client_open(hp_transport_t *transport, const hp_config_t *config,
                           const hp_params_t *params, wk_client_t **client_p, hp_error_t *err) {
    (void)transport;
    (void)config;
    (void)err;
    fake.params = params;
    fake.weights = hp_calloc((size_t)params->total, sizeof(float));
    fake.grads = hp_calloc((size_t)params->total, sizeof(float));
    hp_params_initialise(params, 1, 0, params->total, fake.weights);
    assert_true(params->count < PARAMS);
    *client_p = &fake;
    return HP_OK;
}

hp_status_t wk_client_close(wk_client_t *c, bool *clean_p, bool *lead_lost_p, hp_error_t *err) {
    if (lead_lost_p != NULL) *lead_lost_p = false;
    if (clean_p != NULL) *clean_p = true;
    (void)err;
    c->closed++;
    hp_free(c->weights);
    hp_free(c->grads);
    return HP_OK;
}

hp_status_t wk_client_trace(wk_client_t *c, hp_trace_t *trace, hp_trace_row_t *compute,
                            hp_error_t *err) {
    (void)c, (void)trace, (void)compute, (void)err;
    return HP_OK;
}

hp_status_t wk_client_next_unit(wk_client_t *c, wk_unit_t *unit, hp_error_t *err) {
    (void)err;
    if (c->next == 5 && c->asked > c->refused) {
        *unit = (wk_unit_t){.step = 3, .evaluate = true, .part = 1, .parts = 4};
        return HP_OK;
    }
    *unit = (wk_unit_t){
        .unit = c->next, .step = (int64_t)c->next, .last = c->stopped || c->next == c->units};
    c->next++;
    return HP_OK;
}

hp_status_t wk_client_begin(wk_client_t *c, const wk_unit_t *unit, const float **weights_p,
                            float **grads_p, hp_error_t *err) {
    assert_false(c->begun);
    if (unit->unit == c->taken_back) return hp_fail(err, HP_INTERRUPTED, "not wanted");
    memset(c->needed, 0, sizeof c->needed);
    memset(c->finals, 0, sizeof c->finals);
    c->sparse_given = false;
    c->begun = true;
    if (unit->unit == c->poisoned) c->weights[c->params->param[c->params->count - 1].offset] = NAN;
    *weights_p = c->weights;
    *grads_p = c->grads;
    return HP_OK;
}

hp_status_t wk_client_need(wk_client_t *c, int param, hp_error_t *err) {
    (void)err;
    assert_true(c->begun);
    c->needed[param]++;
    return HP_OK;
}

hp_status_t wk_client_sparse_rows(wk_client_t *c, int param, int rows, const int32_t *row,
                                  hp_error_t *err) {
    (void)err;
    assert_true(c->begun && !c->sparse_given && c->params->param[param].sparse_rows);
    assert_int_equal(c->finals[param], 0);
    int64_t width = c->params->param[param].shape[1];
    float *grads = c->grads + c->params->param[param].offset;
    /* rows that are not listed have no gradient */
    for (int64_t r = 0, k = 0; r < c->params->param[param].shape[0]; r++)
        if (k < rows && row[k] == r)
            k++;
        else
            memset(grads + r * width, 0, (size_t)width * sizeof *grads);
    c->sparse_given = true;
    return HP_OK;
}

hp_status_t wk_client_final(wk_client_t *c, int param, hp_error_t *err) {
    (void)err;
    assert_true(c->begun);
    assert_true(c->sparse_given || !c->params->param[param].sparse_rows);
    c->finals[param]++;
    return HP_OK;
}

hp_status_t wk_client_commit(wk_client_t *c, int64_t examples, hp_error_t *err) {
    (void)err;
    assert_true(c->begun);
    for (int p = 0; p < c->params->count; p++) {
        assert_true(c->needed[p] > 0);
        assert_int_equal(c->finals[p], 1);
    }
    for (int64_t i = 0; i < c->params->total; i++)
        c->weights[i] -= 0.05f * c->grads[i] / (float)examples;
    c->begun = false;
    c->committed++;
    c->examples += examples;
    c->step++;
    return HP_OK;
}

hp_status_t wk_client_abort(wk_client_t *c, hp_error_t *err) {
    (void)err;
    assert_true(c->begun);
    c->begun = false;
    c->aborted++;
    return HP_OK;
}

hp_status_t wk_client_evaluated(wk_client_t *c, const wk_unit_t *part, const hp_scores_t *scores,
                                const char *why, hp_error_t *err) {
    (void)err;
    assert_false(c->begun);
    assert_true(part->step == 3 && part->part == 1 && part->parts == 4);
    assert_true(scores == NULL && strstr(why, "data.valid") != NULL);
    c->refused++;
    return HP_OK;
}

void wk_client_request_stop(wk_client_t *c) { c->stopped = true; }

void wk_client_take_stats(wk_client_t *c, wk_client_stats_t *out) {
    *out = (wk_client_stats_t){.pushed_bytes = 10, .pulled_bytes = 20, .step = c->step};
}

/* ---- the data ---- */

static char folder[64], path[128];
static hp_config_t config;
static hp_store_t *store;
static hp_params_t params;
static hp_transport_t *endpoint[2];

static int setup(void **state) {
    (void)state;
    hp_error_t err = {0};
    strcpy(folder, "/tmp/hanps-test-XXXXXX");
    if (mkdtemp(folder) == NULL) return 1;
    snprintf(path, sizeof path, "%s/store", folder);
    hp_store_writer_t *w = NULL;
    hp_store_plan_t plan = {.feature_dtype = HP_DTYPE_F32,
                            .grid_height = 2,
                            .grid_width = 2,
                            .max_cells = CELLS,
                            .channels = CHANNELS,
                            .metric = HP_METRIC_EXACT};
    static const char *const words[] = {"?", "a", "b", "c"}, *const answers[] = {"x", "y", "z"};
    hp_random_t r = hp_random(8, HP_RANDOM_TEST, 0, 0);
    assert_int_equal(hp_store_writer_open(path, &plan, &w, &err), HP_OK);
    for (int i = 0; i < IMAGES; i++) {
        float features[CELLS][CHANNELS];
        for (int k = 0; k < CELLS * CHANNELS; k++)
            features[k / CHANNELS][k % CHANNELS] = (float)hp_random_normal(&r);
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        hp_store_image_t image = {.name = name, .features = features, .cells = CELLS};
        assert_int_equal(hp_store_write_image(w, &image, NULL, &err), HP_OK);
    }
    assert_int_equal(hp_store_write_split(w, "train", &err), HP_OK);
    for (int q = 0; q < QUESTIONS; q++) { /* the word tells the answer */
        int32_t token[2] = {1 + q % 3, 0};
        hp_question_t question = {.question_id = q,
                                  .image = (uint32_t)(q % IMAGES),
                                  .text = "t",
                                  .tokens = 2,
                                  .token = token,
                                  .question_type = "what",
                                  .answer_type = "other",
                                  .target = "x",
                                  .label = q % 3};
        assert_int_equal(hp_store_write_question(w, &question, &err), HP_OK);
    }
    assert_int_equal(hp_store_write_words(w, 4, words, &err), HP_OK);
    assert_int_equal(hp_store_write_answers(w, 3, answers, &err), HP_OK);
    assert_int_equal(hp_store_writer_finish(w, &err), HP_OK);
    assert_int_equal(hp_store_open(path, &store, &err), HP_OK);

    hp_config_default(&config);
    config.data.batch_size = BATCH;
    config.model.question.embedding = 6;
    config.model.question.lstm = 7;
    config.model.image.width = 9;
    config.model.attention.cells = 2;
    config.model.classifier.layers = (hp_layers_t){.count = 1, .size = {12}};
    wk_model_shape_t shape;
    assert_int_equal(wk_batch_shape(&config, hp_store_info(store), &shape, &err), HP_OK);
    assert_int_equal(wk_model_table(&config, &shape, &params, &err), HP_OK);
    assert_int_equal(hp_transport_loopback(2, endpoint, &err), HP_OK);
    snprintf(path, sizeof path, "%s/log", folder);
    return mkdir(path, 0777);
}

static int teardown(void **state) {
    (void)state;
    char command[128];
    hp_store_close(store);
    hp_params_release(&params);
    for (int i = 0; i < 2; i++) hp_transport_close(endpoint[i], true);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void begin(uint64_t units) {
    fake = (struct wk_client){.units = units, .taken_back = NONE, .poisoned = NONE};
}

static wk_train_options_t options(int worker) {
    return (wk_train_options_t){.transport = endpoint[1],
                                .config = &config,
                                .params = &params,
                                .store = store,
                                .run = folder,
                                .worker = worker,
                                .start = 1};
}

/* ---- tests ---- */

static double field(const char *line, const char *key) {
    char why[64];
    yajl_val tree = yajl_tree_parse(line, why, sizeof why);
    assert_non_null(tree);
    yajl_val v = yajl_tree_get(tree, (const char *[]){key, NULL}, yajl_t_number);
    if (v == NULL) fail_msg("no %s in %s", key, line);
    double value = strtod(YAJL_GET_NUMBER(v), NULL);
    yajl_tree_free(tree);
    return value;
}

static void test_learns_and_logs(void **state) {
    (void)state;
    hp_error_t err = {0};
    wk_train_totals_t totals;
    wk_train_options_t o = options(3);
    begin(120);
    if (wk_train(&o, &totals, &err) != HP_OK) fail_msg("%s", err.text);
    assert_int_equal(fake.committed, 120);
    assert_int_equal(fake.examples, 120 * BATCH);
    assert_int_equal(fake.aborted, 0);
    assert_int_equal(fake.closed, 1);
    assert_true(totals.units == 120 && totals.examples == 120 * BATCH);
    assert_true(totals.pushed_bytes == 1200 && totals.pulled_bytes == 2400);

    static const char *const promised[] = {
        "step",         "time_s",       "examples",   "examples_per_s", "loss",   "accuracy",
        "data_s",       "forward_s",    "backward_s", "push_s",         "pull_s", "wait_s",
        "pushed_bytes", "pulled_bytes", "staleness",  "cells_mean",     "start",  "unit"};
    char name[256], line[HP_METRICS_LINE];
    snprintf(name, sizeof name, "%s/log/worker-0003.jsonl", folder);
    FILE *log = fopen(name, "r");
    assert_non_null(log);
    int lines = 0;
    double first = 0, last = 0;
    for (; fgets(line, sizeof line, log) != NULL; lines++) {
        for (size_t i = 0; i < sizeof promised / sizeof *promised; i++) field(line, promised[i]);
        assert_true(field(line, "unit") == lines);
        assert_true(field(line, "cells_mean") == 2);
        if (lines < 10) first += field(line, "loss");
        if (lines >= 110) last += field(line, "loss");
    }
    fclose(log);
    assert_int_equal(lines, 120);
    assert_true(last < 0.7 * first);
}

static void test_taken_back(void **state) {
    (void)state;
    hp_error_t err = {0};
    wk_train_totals_t totals;
    wk_train_options_t o = options(0);
    begin(10);
    fake.taken_back = 4;
    assert_int_equal(wk_train(&o, &totals, &err), HP_OK);
    assert_int_equal(fake.committed, 9);
    assert_int_equal(fake.aborted, 0); /* begin itself said so: there is nothing to abort */
}

/* A part of an evaluation between two units, where there is no validation: it is said, and training
 * goes on. */
static void test_cannot_evaluate(void **state) {
    (void)state;
    hp_error_t err = {0};
    wk_train_totals_t totals;
    wk_train_options_t o = options(0);
    begin(10);
    fake.asked = 1; /* read ahead: it may be asked for again before it is answered */
    assert_int_equal(wk_train(&o, &totals, &err), HP_OK);
    assert_true(fake.refused >= 1);
    assert_int_equal(fake.committed, 10);
}

/* The unit is pushed all the same: the servers refuse it and decide. */
static void test_not_finite(void **state) {
    (void)state;
    hp_error_t err = {0};
    wk_train_totals_t totals;
    wk_train_options_t o = options(0);
    begin(10);
    fake.poisoned = 6;
    assert_int_equal(wk_train(&o, &totals, &err), HP_OK);
    assert_int_equal(fake.committed, 10);
    assert_int_equal(fake.aborted, 0);
    assert_true(totals.nonfinite == 4 && isfinite(totals.loss_sum));
}

static void test_stop(void **state) {
    (void)state;
    hp_error_t err = {0};
    wk_train_totals_t totals;
    atomic_int stop = 1;
    wk_train_options_t o = options(0);
    o.stop = &stop;
    begin(UINT64_MAX - 1);
    assert_int_equal(wk_train(&o, &totals, &err), HP_OK);
    assert_in_range(fake.committed, 0, 4);
}

static void test_bad_split(void **state) {
    (void)state;
    hp_error_t err = {0};
    wk_train_totals_t totals;
    wk_train_options_t o = options(0);
    hp_config_t other = config;
    strcpy(other.data.train, "none");
    o.config = &other;
    begin(1);
    assert_int_equal(wk_train(&o, &totals, &err), HP_INPUT);
    assert_int_equal(fake.closed, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns_and_logs), cmocka_unit_test(test_taken_back),
        cmocka_unit_test(test_not_finite),      cmocka_unit_test(test_stop),
        cmocka_unit_test(test_bad_split),       cmocka_unit_test(test_cannot_evaluate),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
