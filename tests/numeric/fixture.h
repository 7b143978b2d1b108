/* A small model and a ragged batch for it, for the tests of the whole model. */
#ifndef TESTS_NUMERIC_FIXTURE_H
#define TESTS_NUMERIC_FIXTURE_H

#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"
#include "worker/model_parts.h" /* its arena, to spoil it */

enum { FIX_CHANNELS = 3, FIX_WORDS = 11, FIX_ANSWERS = 5, FIX_TOKENS = 23 };

static const wk_model_shape_t fix_shape = {.channels = FIX_CHANNELS,
                                           .max_cells = CHECK_MAX_CELLS,
                                           .words = FIX_WORDS,
                                           .answers = FIX_ANSWERS};

static inline hp_config_t fix_config(hp_attention_t attention, hp_aggregate_t aggregate,
                                     int layers) {
    hp_config_t c = {0};
    c.model.question.embedding = 3;
    c.model.question.lstm = 4;
    c.model.image.layers = layers;
    c.model.image.width = 6;
    c.model.attention.kind = attention;
    c.model.attention.cells = 3;
    c.model.attention.hops = 2;
    c.model.attention.width = 5;
    if (attention == HP_ATTEND_SOFT) c.model.image.activation = HP_ACTIVATION_TANH;
    c.model.aggregate.kind = aggregate;
    c.model.aggregate.heads = 2;
    c.model.aggregate.head_width = 2;
    c.model.aggregate.scale = true;
    c.model.aggregate.layers = (hp_layers_t){2, {5, 4}};
    c.model.classifier.layers = (hp_layers_t){2, {7, 6}};
    c.model.classifier.dropout = 0.3;
    return c;
}

/* check_make_batch with words, labels and cells; question 4 has no label. `grouped` false: every
 * question has a copy of its image. */
typedef struct {
    int cell_offset[CHECK_QUESTIONS + 1], image[CHECK_QUESTIONS], origin[CHECK_QUESTIONS];
    nn_real cells[CHECK_QUESTIONS * CHECK_MAX_CELLS * FIX_CHANNELS];
    nn_batch_t batch;
} fix_batch_t;

static const int fix_token_offset[CHECK_QUESTIONS + 1] = {0, 2, 3, 7, 8, 13, 15, 21, FIX_TOKENS};
static const int32_t fix_token[FIX_TOKENS] = {1, 4, 9, 9, 0, 4, 2, 10, 7, 1, 1, 4,
                                              9, 0, 7, 2, 1, 4, 4, 9,  2, 9, 10}; /* no 3 5 6 8 */
static const int32_t fix_label[CHECK_QUESTIONS] = {0, 4, 2, 2, -1, 3, 0, 1};
static const uint64_t fix_key[CHECK_QUESTIONS] = {1000, 1007, 1014, 1021, 1028, 1035, 1042, 1049};

/* For losses that read more than the label: none, one, several answers a question. */
static const int fix_target_offset[CHECK_QUESTIONS + 1] = {0, 2, 3, 3, 6, 7, 8, 10, 11};
static const int32_t fix_target_answer[11] = {0, 2, 4, 2, 1, 0, 3, 3, 0, 4, 1};
static const nn_real fix_target_weight[11] = {1,
                                              (nn_real)0.3,
                                              (nn_real)0.9,
                                              (nn_real)0.6,
                                              (nn_real)0.3,
                                              (nn_real)0.3,
                                              (nn_real)1.,
                                              1,
                                              (nn_real)0.6,
                                              (nn_real)0.3,
                                              1};
static const nn_targets_t fix_target = {fix_target_offset, fix_target_answer, fix_target_weight};

static inline void fix_make_batch(fix_batch_t *f, bool grouped) {
    check_batch_t b;
    check_make_batch(&b);
    nn_real *cells = check_random(CHECK_CELLS * FIX_CHANNELS, 8, 1);
    f->cell_offset[0] = 0;
    int images = 0;
    for (int q = 0; q < CHECK_QUESTIONS; q++) {
        if (!grouped || q == 0 || b.image[q] != b.image[q - 1]) {
            int first = b.cell_offset[b.image[q]], end = b.cell_offset[b.image[q] + 1];
            memcpy(f->cells + f->cell_offset[images] * FIX_CHANNELS, cells + first * FIX_CHANNELS,
                   (size_t)((end - first) * FIX_CHANNELS) * sizeof *cells);
            f->cell_offset[images + 1] = f->cell_offset[images] + end - first;
            images++;
        }
        f->image[q] = images - 1;
    }
    check_free(cells, CHECK_CELLS * FIX_CHANNELS);
    f->batch = (nn_batch_t){.images = images,
                            .cell_offset = f->cell_offset,
                            .cells = f->cells,
                            .channels = FIX_CHANNELS,
                            .questions = CHECK_QUESTIONS,
                            .image = f->image,
                            .token_offset = fix_token_offset,
                            .token = fix_token,
                            .label = fix_label,
                            .key = fix_key};
}

/* Question q of a batch, alone. The arrays that change are the caller's. */
static inline void fix_alone(const nn_batch_t *batch, int q, int cell_offset[2],
                             int token_offset[2], nn_batch_t *one) {
    static const int image[1] = {0};
    int i = batch->image[q];
    cell_offset[0] = token_offset[0] = 0;
    cell_offset[1] = batch->cell_offset[i + 1] - batch->cell_offset[i];
    token_offset[1] = batch->token_offset[q + 1] - batch->token_offset[q];
    *one = (nn_batch_t){.images = 1,
                        .cell_offset = cell_offset,
                        .cells = batch->cells + batch->cell_offset[i] * batch->channels,
                        .channels = batch->channels,
                        .questions = 1,
                        .image = image,
                        .token_offset = token_offset,
                        .token = batch->token + batch->token_offset[q],
                        .label = batch->label + q,
                        .key = batch->key + q};
}

typedef struct {
    hp_config_t config;
    wk_model_t *model;
    const hp_params_t *params;
    size_t total;
    nn_real *weights, *grads;
    wk_pass_t pass;
    wk_result_t result;
    const nn_batch_t *batch;
} fixture_t;

static inline void fix_open_shape(fixture_t *f, const hp_config_t *config,
                                  const wk_model_shape_t *shape) {
    *f = (fixture_t){.config = *config, .pass = {.train = true, .seed = 5}};
    const wk_model_limits_t limits = {CHECK_QUESTIONS, CHECK_QUESTIONS, FIX_TOKENS,
                                      CHECK_QUESTIONS * CHECK_MAX_CELLS};
    hp_error_t err = {.text = ""};
    if (wk_model_create(config, shape, &limits, &f->model, &err) != HP_OK) fail_msg("%s", err.text);
    f->params = wk_model_params(f->model);
    f->total = (size_t)f->params->total;
    f->weights = check_random(f->total, 9, 0.6);
    f->grads = check_buffer(f->total);
}

static inline void fix_open(fixture_t *f, const hp_config_t *config) {
    fix_open_shape(f, config, &fix_shape);
}

static inline void fix_close(fixture_t *f) {
    check_free(f->weights, f->total);
    check_free(f->grads, f->total);
    wk_model_destroy(f->model);
}

static inline double fix_forward(fixture_t *f) {
    hp_error_t err = {.text = ""};
    check_spoil(&f->model->arena);
    if (wk_model_forward(f->model, f->weights, f->batch, &f->pass, &f->result, &err) != HP_OK)
        fail_msg("%s", err.text);
    return f->result.loss_sum;
}

/* Rows of the embedding without a gradient come out as zero. */
static inline void fix_backward(fixture_t *f) {
    hp_error_t err = {.text = ""};
    for (size_t i = 0; i < f->total; i++) f->grads[i] = NAN;
    if (wk_model_backward(f->model, f->weights, f->batch, &f->pass, f->grads, &f->result, &err) !=
        HP_OK)
        fail_msg("%s", err.text);
    const hp_param_t *p = &f->params->param[hp_params_find(f->params, "question.embedding.weight")];
    const int64_t width = p->shape[1];
    for (int64_t i = p->count, end = f->params->param[1].offset; i < end; i++) f->grads[i] = 0;
    for (int word = 0, next = 0; word < p->shape[0]; word++) {
        if (next < f->result.sparse_rows && f->result.sparse_row[next] == word) {
            next++;
            continue;
        }
        for (int64_t c = 0; c < width; c++) {
            assert_true(isnan(f->grads[p->offset + word * width + c])); /* not written */
            f->grads[p->offset + word * width + c] = 0;
        }
    }
    for (size_t i = 0; i < f->total; i++) assert_true(isfinite(f->grads[i]));
}

/* A copy of the last selection, which stays when the model selects again. */
typedef struct {
    int offset[CHECK_QUESTIONS + 1], cell[CHECK_QUESTIONS * CHECK_MAX_CELLS];
    wk_selection_t selection;
} fix_selection_t;

static inline void fix_keep(const fixture_t *f, fix_selection_t *kept) {
    const wk_selection_t *s = &f->result.selection;
    const size_t questions = (size_t)f->batch->questions;
    memcpy(kept->offset, s->offset, (questions + 1) * sizeof(int));
    memcpy(kept->cell, s->cell, (size_t)s->offset[questions] * sizeof(int));
    kept->selection = (wk_selection_t){kept->offset, kept->cell};
}

/* Which attentions go with which aggregations. */
static inline bool fix_fits(hp_attention_t attention, hp_aggregate_t aggregate) {
    if (attention == HP_ATTEND_SOFT) return aggregate == HP_AGGREGATE_SUM;
    if (attention == HP_ATTEND_STRAIGHT_THROUGH)
        return aggregate == HP_AGGREGATE_SUM || aggregate == HP_AGGREGATE_RELATION;
    return attention != HP_ATTEND_ADAHAN || aggregate != HP_AGGREGATE_CONCAT;
}

/* Every attention, aggregation and depth that go together. */
#define FIX_EACH(attention, aggregate, layers)                                                     \
    for (hp_attention_t attention = HP_ATTEND_ALL; attention <= HP_ATTEND_STRAIGHT_THROUGH;        \
         attention++)                                                                              \
        for (hp_aggregate_t aggregate = HP_AGGREGATE_SUM; aggregate <= HP_AGGREGATE_CONCAT;        \
             aggregate++)                                                                          \
            for (int layers = 0; layers <= 2 && fix_fits(attention, aggregate); layers++)

#endif
