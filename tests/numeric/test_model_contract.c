/* What the model promises to those who use it: hooks, sparse rows, counts, limits, clear errors,
 * initial values, the names of the table. */
#include "tests/numeric/fixture.h"

/* need: weights are no numbers until they have been asked for. final: gradients are noted. */
typedef struct {
    fixture_t *f;
    nn_real *weights, *noted;
    int needed[64], finals[64], order[64], count, last_needed;
    int fail_at; /* parameter whose hook fails; -1: none */
} watch_t;

static hp_status_t on_need(void *context, int param, hp_error_t *err) {
    watch_t *w = context;
    const hp_param_t *p = &w->f->params->param[param];
    if (param == w->fail_at) return hp_fail(err, HP_PEER, "need failed");
    assert_true(param > w->last_needed); /* in forward order */
    w->last_needed = param;
    w->needed[param]++;
    memcpy(w->f->weights + p->offset, w->weights + p->offset, (size_t)p->count * sizeof(nn_real));
    return HP_OK;
}

static hp_status_t on_final(void *context, int param, hp_error_t *err) {
    watch_t *w = context;
    const hp_param_t *p = &w->f->params->param[param];
    if (param == w->fail_at) return hp_fail(err, HP_PEER, "final failed");
    w->finals[param]++;
    w->order[w->count++] = param;
    memcpy(w->noted + p->offset, w->f->grads + p->offset, (size_t)p->count * sizeof(nn_real));
    return HP_OK;
}

static void check_hooks(hp_attention_t attention, hp_aggregate_t aggregate, int layers) {
    fix_batch_t b;
    fix_make_batch(&b, true);
    hp_config_t config = fix_config(attention, aggregate, layers);
    fixture_t f;
    fix_open(&f, &config);
    f.batch = &b.batch;
    const double expected = fix_forward(&f);
    watch_t w = {.f = &f, .last_needed = -1, .fail_at = -1};
    w.weights = check_buffer(f.total);
    w.noted = check_buffer(f.total);
    memcpy(w.weights, f.weights, f.total * sizeof(nn_real));
    for (size_t i = 0; i < f.total; i++) f.weights[i] = w.noted[i] = NAN;
    f.pass.hooks = (wk_model_hooks_t){on_need, on_final, &w};
    assert_true(fix_forward(&f) == expected);
    fix_backward(&f);
    assert_int_equal(w.count, f.params->count);
    for (int i = 0; i < f.params->count; i++) {
        assert_int_equal(w.needed[i], 1);
        assert_int_equal(w.finals[i], 1);
        const hp_param_t *p = &f.params->param[i];
        for (int64_t e = p->offset; e < p->offset + p->count; e++) /* NAN: a row that is sparse */
            assert_true(w.noted[e] == f.grads[e] || (p->sparse_rows && isnan(w.noted[e])));
    }
    assert_string_equal(f.params->param[w.order[0]].name, "classifier.2.weight");
    assert_string_equal(f.params->param[w.order[w.count - 1]].name, "question.embedding.weight");
    check_free(w.weights, f.total);
    check_free(w.noted, f.total);
    fix_close(&f);
}

static void test_hooks(void **state) {
    (void)state;
    FIX_EACH(attention, aggregate, layers) check_hooks(attention, aggregate, layers);
}

static void test_hooks_that_fail(void **state) {
    (void)state;
    fix_batch_t b;
    fix_make_batch(&b, true);
    hp_config_t config = fix_config(HP_ATTEND_HAN, HP_AGGREGATE_PAIRWISE, 2);
    fixture_t f;
    fix_open(&f, &config);
    f.batch = &b.batch;
    nn_real *weights = check_random(f.total, 9, 0.6), *noted = check_buffer(f.total);
    for (int i = 0; i < f.params->count; i++) {
        watch_t w = {.f = &f, .weights = weights, .noted = noted, .last_needed = -1, .fail_at = i};
        hp_error_t err;
        f.pass.hooks = (wk_model_hooks_t){on_need, on_final, &w};
        assert_int_equal(wk_model_forward(f.model, f.weights, f.batch, &f.pass, &f.result, &err),
                         HP_PEER);
        assert_string_equal(err.text, "need failed");
        assert_int_equal(
            wk_model_backward(f.model, f.weights, f.batch, &f.pass, f.grads, &f.result, &err),
            HP_INTERNAL);
        f.pass.hooks.need = NULL;
        fix_forward(&f);
        assert_int_equal(
            wk_model_backward(f.model, f.weights, f.batch, &f.pass, f.grads, &f.result, &err),
            HP_PEER);
        assert_string_equal(err.text, "final failed");
    }
    check_free(weights, f.total);
    check_free(noted, f.total);
    fix_close(&f);
}

static void test_sparse_rows(void **state) {
    (void)state;
    fix_batch_t b;
    fix_make_batch(&b, true);
    hp_config_t config = fix_config(HP_ATTEND_HAN, HP_AGGREGATE_SUM, 1);
    fixture_t f;
    fix_open(&f, &config);
    f.batch = &b.batch;
    fix_forward(&f);
    static const int32_t expected[] = {0, 1, 2, 4, 7, 9, 10};
    assert_int_equal(f.result.sparse_rows, 7);
    assert_memory_equal(f.result.sparse_row, expected, sizeof expected);
    for (int i = 0; i < f.params->count; i++)
        assert_true(f.params->param[i].sparse_rows == (i == 0));
    fix_backward(&f); /* looks at every row */
    fix_close(&f);
}

/* The multiply-adds of the image embedding's backward: k/N of dense where nothing is shared, the
 * union's share where it is. */
static void check_madds(hp_attention_t attention, int layers, bool grouped) {
    fix_batch_t b;
    fix_make_batch(&b, grouped);
    hp_config_t config = fix_config(attention, HP_AGGREGATE_SUM, layers);
    fixture_t f;
    fix_open(&f, &config);
    f.batch = &b.batch;
    fix_forward(&f);
    bool seen[CHECK_QUESTIONS * CHECK_MAX_CELLS] = {false};
    int distinct = 0;
    const int cells = b.cell_offset[b.batch.images];
    for (int q = 0; q < CHECK_QUESTIONS; q++)
        for (int s = f.result.selection.offset[q]; s < f.result.selection.offset[q + 1]; s++) {
            int c = b.cell_offset[b.image[q]] + f.result.selection.cell[s];
            distinct += !seen[c];
            seen[c] = true;
        }
    if (attention == HP_ATTEND_ALL) assert_int_equal(distinct, cells);
    if (attention == HP_ATTEND_HAN && !grouped) /* of 5 5 5 1 9 9 4 4 cells, at most 3 */
        assert_int_equal(distinct, 7 * 3 + 1);
    fix_backward(&f);
    const int64_t row = layers == 0 ? 0 : 3 * 6 + (layers - 1) * 2 * 6 * 6;
    assert_int_equal(f.result.embed_backward_madds, distinct * row);
    assert_int_equal(f.result.embed_backward_madds_dense, cells * row);

    /* And the whole: question, image, presence, classifier. Words: 23, of which 8 are first. */
    const int64_t width = layers == 0 ? FIX_CHANNELS : 6, n = CHECK_QUESTIONS;
    const int64_t lstm = 16 * (FIX_TOKENS * 3 + (FIX_TOKENS - 8) * 4);
    const int64_t question = n * (4 * width + (layers == 2) * width * width);
    const int64_t classifier = n * (width * 7 + 7 * 6 + 6 * FIX_ANSWERS);
    const int64_t image = cells * (layers == 0 ? 0 : 3 * 6 + (layers - 1) * 6 * 6);
    const int64_t presence = attention == HP_ATTEND_HAN ? f.result.presence_offset[n] * width : 0;
    assert_int_equal(f.result.forward_madds, lstm + question + classifier + image + presence);
    assert_int_equal(f.result.backward_madds,
                     2 * (lstm + question + classifier) + f.result.embed_backward_madds);
    fix_close(&f);
}

static void test_madds(void **state) {
    (void)state;
    for (int layers = 0; layers <= 2; layers++)
        for (int grouped = 0; grouped < 2; grouped++) {
            check_madds(HP_ATTEND_ALL, layers, grouped);
            check_madds(HP_ATTEND_HAN, layers, grouped);
            check_madds(HP_ATTEND_RANDOM, layers, grouped);
        }
}

static void refused(fixture_t *f, const nn_batch_t *batch, const char *expected) {
    hp_error_t err = {.text = ""};
    assert_int_equal(wk_model_forward(f->model, f->weights, batch, &f->pass, &f->result, &err),
                     HP_INTERNAL);
    if (strstr(err.text, expected) == NULL) fail_msg("\"%s\" lacks \"%s\"", err.text, expected);
}

static void test_limits(void **state) {
    (void)state;
    fix_batch_t b;
    fix_make_batch(&b, true);
    hp_config_t config = fix_config(HP_ATTEND_HAN, HP_AGGREGATE_SUM, 1);
    fixture_t f;
    fix_open(&f, &config);
    f.batch = &b.batch;
    nn_batch_t bad = b.batch;
    bad.channels++;
    refused(&f, &bad, "4 channels where the model has 3");
    bad = b.batch;
    bad.questions = CHECK_QUESTIONS + 1;
    refused(&f, &bad, "9 questions");
    bad = b.batch;
    bad.images = CHECK_QUESTIONS + 1;
    refused(&f, &bad, "9 images");
    int offset[CHECK_QUESTIONS + 1], image[CHECK_QUESTIONS];
    int32_t label[CHECK_QUESTIONS], token[FIX_TOKENS];
#define SPOIL(array, source, at, value, text)                                                      \
    do {                                                                                           \
        memcpy(array, source, sizeof(array));                                                      \
        (array)[at] = value;                                                                       \
        refused(&f, &bad, text);                                                                   \
    } while (0)
    bad = b.batch;
    bad.token_offset = offset;
    SPOIL(offset, fix_token_offset, CHECK_QUESTIONS, FIX_TOKENS + 1, "24 words");
    SPOIL(offset, fix_token_offset, 3, 3, "question 2 has no words");
    bad = b.batch;
    bad.cell_offset = offset;
    SPOIL(offset, b.cell_offset, 2, 20, "image 1 has 15 cells");
    SPOIL(offset, b.cell_offset, 2, 5, "image 1 has 0 cells");
    SPOIL(offset, b.cell_offset, 4, 1000, "1000 cells");
    bad = b.batch;
    bad.image = image;
    SPOIL(image, b.image, 7, 4, "question 7 has image 4 of 4");
    SPOIL(image, b.image, 0, -1, "question 0 has image -1");
    SPOIL(image, b.image, 4, 0, "question 4 has image 0"); /* after image 1 */
    bad = b.batch;
    bad.label = label;
    SPOIL(label, fix_label, 1, FIX_ANSWERS, "question 1 has answer 5 of 5");
    SPOIL(label, fix_label, 1, -2, "answer -2");
    bad = b.batch;
    bad.token = token;
    SPOIL(token, fix_token, 22, FIX_WORDS, "word 11 of a vocabulary of 11");
    SPOIL(token, fix_token, 0, -1, "word -1");
#undef SPOIL
    fix_close(&f);
}

static void test_given_selection(void **state) {
    (void)state;
    fix_batch_t b;
    fix_make_batch(&b, true);
    hp_config_t config = fix_config(HP_ATTEND_HAN, HP_AGGREGATE_SUM, 1);
    fixture_t f;
    fix_open(&f, &config);
    f.batch = &b.batch;
    fix_forward(&f);
    fix_selection_t kept;
    fix_keep(&f, &kept);
    f.pass.fixed = &kept.selection;
    fix_forward(&f);
    kept.cell[0] = 5; /* the image has five */
    refused(&f, &b.batch, "question 0");
    kept.cell[0] = kept.cell[1];
    refused(&f, &b.batch, "question 0");
    fix_close(&f);
}

/* Nothing to learn from: a batch without labels, and one without questions. */
static void test_nothing(void **state) {
    (void)state;
    fix_batch_t b;
    fix_make_batch(&b, true);
    static const int32_t none[CHECK_QUESTIONS] = {-1, -1, -1, -1, -1, -1, -1, -1};
    FIX_EACH(attention, aggregate, layers) {
        hp_config_t config = fix_config(attention, aggregate, layers);
        fixture_t f;
        fix_open(&f, &config);
        f.batch = &b.batch;
        for (int questions = CHECK_QUESTIONS; questions >= 0; questions -= CHECK_QUESTIONS) {
            b.batch.label = none;
            b.batch.questions = questions;
            assert_true(fix_forward(&f) == 0);
            assert_int_equal(f.result.labelled, 0);
            fix_backward(&f);
            for (size_t i = 0; i < f.total; i++) assert_true(f.grads[i] == 0);
        }
        fix_close(&f);
    }
}

static void table_refused(const hp_config_t *config, const wk_model_shape_t *shape,
                          const char *expected) {
    hp_params_t params = {0};
    hp_error_t err = {.text = ""};
    assert_int_equal(wk_model_table(config, shape, &params, &err), HP_INPUT);
    if (strstr(err.text, expected) == NULL) fail_msg("\"%s\" lacks \"%s\"", err.text, expected);
    assert_null(strchr(err.text, '\n'));
    assert_null(params.param);
    wk_model_t *model = NULL;
    const wk_model_limits_t limits = {1, 1, 1, 1};
    assert_int_equal(wk_model_create(config, shape, &limits, &model, &err), HP_INPUT);
    assert_null(model);
}

static void test_refused(void **state) {
    (void)state;
    const hp_config_t good = fix_config(HP_ATTEND_HAN, HP_AGGREGATE_PAIRWISE, 2);
    hp_config_t c = good;
    c.model.precision = HP_BF16;
    table_refused(&c, &fix_shape, "bf16");
    c = good;
    c.model.attention.kind = HP_ATTEND_SOFT;
    table_refused(&c, &fix_shape, "soft attention pools by its own weights; allowed: sum");
    c.model.aggregate.kind = HP_AGGREGATE_SUM;
    c.model.attention.hops = 9;
    table_refused(&c, &fix_shape, "9 hops");
    c = good;
    c.model.attention.kind = HP_ATTEND_STRAIGHT_THROUGH;
    table_refused(&c, &fix_shape, "pairwise does not go with straight_through");
    c.model.aggregate.kind = HP_AGGREGATE_CONCAT;
    table_refused(&c, &fix_shape, "a number of cells that is known");
    c.model.attention.kind = HP_ATTEND_ADAHAN;
    table_refused(&c, &fix_shape, "allowed with adahan and straight_through: sum, relation");
    c = good;
    c.model.aggregate.kind = HP_AGGREGATE_RELATION;
    c.model.aggregate.layers.count = 0;
    table_refused(&c, &fix_shape, "model.aggregate.layers: 0 of them");
    c = good;
    c.model.attention.cells = 0;
    table_refused(&c, &fix_shape, "model.attention.cells: 0");
    static const hp_attention_t counted[] = {HP_ATTEND_HAN, HP_ATTEND_RANDOM, HP_ATTEND_LOWEST,
                                             HP_ATTEND_IMAGE_ONLY, HP_ATTEND_STRAIGHT_THROUGH};
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) {
        c = good;
        c.model.aggregate.kind = HP_AGGREGATE_SUM;
        c.model.attention.kind = counted[i];
        c.model.attention.cells = CHECK_MAX_CELLS + 1;
        table_refused(&c, &fix_shape, ", and an image has");
    }
    c = good;
    c.model.image.layers = WK_STACK_LAYERS + 1;
    table_refused(&c, &fix_shape, "model.image.layers");
    c = good;
    c.model.aggregate.heads = 1 << 20;
    c.model.aggregate.head_width = 1 << 20;
    table_refused(&c, &fix_shape, "heads");
    c = good;
    c.model.classifier.dropout = 1;
    table_refused(&c, &fix_shape, "dropout");
    wk_model_shape_t shape = fix_shape;
    shape.answers = 0;
    table_refused(&good, &shape, "0 answers");
}

static void check_names(int layers, hp_aggregate_t aggregate, const char *expected) {
    hp_config_t config = fix_config(HP_ATTEND_HAN, aggregate, layers);
    hp_params_t params = {0};
    hp_error_t err;
    assert_int_equal(wk_model_table(&config, &fix_shape, &params, &err), HP_OK);
    char seen[2048] = "";
    for (int i = 0; i < params.count; i++) {
        const hp_param_t *p = &params.param[i];
        size_t n = strlen(seen);
        snprintf(seen + n, sizeof seen - n, "%s %dx%d\n", p->name, (int)p->shape[0],
                 p->dims > 1 ? (int)p->shape[1] : 1);
        assert_int_equal(p->forward_order, i);
    }
    assert_string_equal(seen, expected);
    hp_params_release(&params);
}

#define QUESTION_NAMES                                                                             \
    "question.embedding.weight 11x3\n"                                                             \
    "question.lstm.weight_ih_l0 16x3\n"                                                            \
    "question.lstm.weight_hh_l0 16x4\n"                                                            \
    "question.lstm.bias_ih_l0 16x1\n"                                                              \
    "question.lstm.bias_hh_l0 16x1\n"

static void test_names(void **state) {
    (void)state;
    check_names(2, HP_AGGREGATE_PAIRWISE,
                QUESTION_NAMES "question.mlp.0.weight 6x4\n"
                               "question.mlp.0.bias 6x1\n"
                               "question.mlp.1.weight 6x6\n"
                               "question.mlp.1.bias 6x1\n"
                               "image.embed.0.weight 6x3\n"
                               "image.embed.0.bias 6x1\n"
                               "image.embed.1.weight 6x6\n"
                               "image.embed.1.bias 6x1\n"
                               "aggregate.in_proj_weight 12x6\n"
                               "classifier.0.weight 7x4\n"
                               "classifier.0.bias 7x1\n"
                               "classifier.1.weight 6x7\n"
                               "classifier.1.bias 6x1\n"
                               "classifier.2.weight 5x6\n"
                               "classifier.2.bias 5x1\n");
    check_names(0, HP_AGGREGATE_SUM,
                QUESTION_NAMES "question.mlp.0.weight 3x4\n"
                               "question.mlp.0.bias 3x1\n"
                               "classifier.0.weight 7x3\n"
                               "classifier.0.bias 7x1\n"
                               "classifier.1.weight 6x7\n"
                               "classifier.1.bias 6x1\n"
                               "classifier.2.weight 5x6\n"
                               "classifier.2.bias 5x1\n");
}

static void check_initial(const hp_params_t *params, const float *w, const char *name,
                          double deviation) {
    int i = hp_params_find(params, name);
    assert_true(i >= 0);
    const hp_param_t *p = &params->param[i];
    double mean = 0, square = 0;
    for (int64_t e = 0; e < p->count; e++) mean += (double)w[p->offset + e] / (double)p->count;
    for (int64_t e = 0; e < p->count; e++) square += pow((double)w[p->offset + e] - mean, 2);
    double seen = sqrt(square / (double)p->count), error = 4 / sqrt((double)p->count);
    if (deviation == 0 ? seen != 0 || mean != 0
                       : fabs(seen / deviation - 1) > error || fabs(mean) > error * deviation)
        fail_msg("%s: mean %g, deviation %g, expected %g", name, mean, seen, deviation);
}

static void test_initial_values(void **state) {
    (void)state;
    hp_config_t config = fix_config(HP_ATTEND_HAN, HP_AGGREGATE_PAIRWISE, 2);
    config.model.question.embedding = 30;
    config.model.question.lstm = 40;
    config.model.image.width = 60;
    config.model.classifier.layers = (hp_layers_t){1, {50}};
    const double uniform = 1 / sqrt(3.0);
    for (int scheme = 0; scheme < 2; scheme++) {
        const bool he = scheme == HP_INIT_HE;
        config.model.init = (hp_init_scheme_t)scheme;
        hp_params_t params = {0};
        hp_error_t err;
        assert_int_equal(wk_model_table(&config, &fix_shape, &params, &err), HP_OK);
        float *w = hp_calloc((size_t)params.total, sizeof *w);
        hp_params_initialise(&params, 1, 0, params.total, w);
        check_initial(&params, w, "question.embedding.weight", 1);
        check_initial(&params, w, "question.lstm.weight_hh_l0", uniform / sqrt(40));
        check_initial(&params, w, "question.lstm.bias_hh_l0", he ? 0 : uniform / sqrt(40));
        check_initial(&params, w, "image.embed.1.weight", (he ? sqrt(2) : uniform) / sqrt(60));
        check_initial(&params, w, "image.embed.1.bias", he ? 0 : uniform / sqrt(60));
        check_initial(&params, w, "aggregate.in_proj_weight", (he ? 1 : uniform) / sqrt(60));
        /* Of the sum of three cells: as of their mean. */
        check_initial(&params, w, "classifier.0.weight", (he ? sqrt(2) : uniform) / sqrt(4) / 3);
        check_initial(&params, w, "classifier.1.weight", (he ? 1 : uniform) / sqrt(50));
        hp_free(w);
        hp_params_release(&params);
    }
}

/* Deviation of the classifier's first weights times the root of 3 inputs, in PyTorch's scheme:
 * 1 / sqrt(3) where nothing is added up or `sum` is asked for. */
static double first_weights(hp_attention_t attention, hp_aggregate_t aggregate, hp_start_t start) {
    hp_config_t config = fix_config(attention, aggregate, 2);
    config.model.init = HP_INIT_PYTORCH;
    config.model.aggregate.start = start;
    hp_params_t params = {0};
    hp_error_t err;
    assert_int_equal(wk_model_table(&config, &fix_shape, &params, &err), HP_OK);
    const int i = hp_params_find(&params, "classifier.0.weight");
    assert_true(i >= 0);
    const double bound = params.param[i].init_scale * sqrt((double)params.param[i].shape[1]);
    hp_params_release(&params);
    return bound;
}

/* The layer that reads a sum of n vectors starts as if it read their mean. */
static void test_start(void **state) {
    (void)state;
    const double all = fix_shape.max_cells;
    static const hp_aggregate_t sum = HP_AGGREGATE_SUM, pairs = HP_AGGREGATE_RELATION;
    const struct {
        hp_attention_t attention;
        hp_aggregate_t aggregate;
        double vectors;
    } want[] = {
        {HP_ATTEND_HAN, sum, 3},
        {HP_ATTEND_STRAIGHT_THROUGH, pairs, 9},
        {HP_ATTEND_ALL, sum, all},
        {HP_ATTEND_ALL, pairs, all * all},
        {HP_ATTEND_ALL, HP_AGGREGATE_PAIRWISE, all},
        {HP_ATTEND_ALL, HP_AGGREGATE_CONCAT, 1},
        {HP_ATTEND_SOFT, sum, 1},
    };
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        double mean = first_weights(want[i].attention, want[i].aggregate, HP_START_MEAN);
        double plain = first_weights(want[i].attention, want[i].aggregate, HP_START_SUM);
        if (fabs(plain - 1) > 1e-12 || fabs(mean * want[i].vectors - 1) > 1e-12)
            fail_msg("case %zu: %g, %g", i, mean, plain);
    }
    const double adaptive = first_weights(HP_ATTEND_ADAHAN, sum, HP_START_MEAN);
    assert_true(adaptive > 1 / all && adaptive < 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hooks),          cmocka_unit_test(test_hooks_that_fail),
        cmocka_unit_test(test_sparse_rows),    cmocka_unit_test(test_madds),
        cmocka_unit_test(test_limits),         cmocka_unit_test(test_given_selection),
        cmocka_unit_test(test_nothing),        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_names),          cmocka_unit_test(test_start),
        cmocka_unit_test(test_initial_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
