#include "tests/numeric/naive.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const hp_config_t *config;
    const hp_params_t *params;
    const nn_real *weights;
} source_t;

static const nn_real *find(const source_t *s, const char *name) {
    int i = hp_params_find(s->params, name);
    if (i < 0) {
        fprintf(stderr, "no parameter %s\n", name);
        abort();
    }
    return s->weights + s->params->param[i].offset;
}

/* v [in] through `prefix`.`number`, in place; returns the new width. */
static int through(const source_t *s, const char *prefix, int number, bool relu, nn_real *v) {
    char name[HP_PARAM_NAME];
    snprintf(name, sizeof name, "%s.%d.bias", prefix, number);
    const nn_real *bias = find(s, name);
    snprintf(name, sizeof name, "%s.%d.weight", prefix, number);
    const nn_real *weight = find(s, name);
    const hp_param_t *p = &s->params->param[hp_params_find(s->params, name)];
    nn_real in[NAIVE_WIDTH];
    memcpy(in, v, (size_t)p->shape[1] * sizeof *in);
    naive_linear((int)p->shape[1], (int)p->shape[0], relu, in, weight, bias, v);
    return (int)p->shape[0];
}

/* The 1x1 layers and the question's, in place. */
static int embed(const source_t *s, const char *prefix, int number, nn_real *v) {
    const bool relu = s->config->model.image.activation == HP_ACTIVATION_RELU;
    const int width = through(s, prefix, number, relu, v);
    for (int i = 0; i < width && !relu; i++) v[i] = tanh(v[i]);
    return width;
}

/* A relation or a concatenation of all cells reads the LSTM's state alone: there is no q. */
static bool asks(const hp_config_t *config) {
    return (config->model.aggregate.kind != HP_AGGREGATE_RELATION &&
            config->model.aggregate.kind != HP_AGGREGATE_CONCAT) ||
           config->model.attention.kind != HP_ATTEND_ALL;
}

/* state: the LSTM's last; q: MLP(state), or zero where there is none. */
static void encode_question(const source_t *s, const nn_batch_t *batch, int question,
                            nn_real *state, nn_real *q) {
    const int embedding = s->config->model.question.embedding;
    const int first = batch->token_offset[question];
    const int words = batch->token_offset[question + 1] - first;
    nn_real in[NAIVE_CELLS * NAIVE_WIDTH];
    for (int t = 0; t < words; t++)
        memcpy(in + t * embedding,
               find(s, "question.embedding.weight") + batch->token[first + t] * embedding,
               (size_t)embedding * sizeof *in);
    naive_lstm(words, embedding, s->config->model.question.lstm, in,
               find(s, "question.lstm.weight_ih_l0"), find(s, "question.lstm.weight_hh_l0"),
               find(s, "question.lstm.bias_ih_l0"), find(s, "question.lstm.bias_hh_l0"), state);
    memcpy(q, state, NAIVE_HIDDEN * sizeof *q);
    if (!asks(s->config)) {
        memset(q, 0, NAIVE_HIDDEN * sizeof *q);
        return;
    }
    int layers = s->config->model.image.layers;
    if (layers == 0) through(s, "question.mlp", 0, false, q);
    for (int i = 0; i < layers; i++) embed(s, "question.mlp", i, q);
}

/* m of every cell of the question's image, or x where attention is soft; returns its width. */
static int embed_cells(const source_t *s, const nn_batch_t *batch, int image, const nn_real *q,
                       nn_real (*m)[NAIVE_WIDTH]) {
    int width = batch->channels;
    for (int c = batch->cell_offset[image]; c < batch->cell_offset[image + 1]; c++, m++) {
        memcpy(*m, batch->cells + c * batch->channels, (size_t)batch->channels * sizeof **m);
        for (int i = 0; i < s->config->model.image.layers; i++)
            width = embed(s, "image.embed", i, *m);
        for (int k = 0; k < width && s->config->model.attention.kind != HP_ATTEND_SOFT; k++)
            (*m)[k] += q[k];
    }
    return width;
}

static void relation(const source_t *s, int width, const nn_selected_t *selected, const nn_real *x,
                     const double *gate, const nn_real *state, nn_real *v) {
    const hp_layers_t *layers = &s->config->model.aggregate.layers;
    nn_relation_shape_t shape = {width, s->config->model.question.lstm, layers->count, {0}};
    nn_relation_weights_t weights;
    for (int l = 0; l < layers->count; l++) {
        char name[HP_PARAM_NAME];
        shape.size[l] = layers->size[l];
        snprintf(name, sizeof name, "aggregate.g.%d.weight", l);
        weights.weight[l] = find(s, name);
        snprintf(name, sizeof name, "aggregate.g.%d.bias", l);
        weights.bias[l] = find(s, name);
    }
    naive_relation(&shape, selected, gate, &weights, &(nn_relation_in_t){x, NULL, state}, v);
}

static void soft(const source_t *s, int width, const nn_selected_t *selected, const nn_real *x,
                 const nn_real *q, nn_real *v) {
    const nn_stacked_shape_t shape = {width, s->config->model.attention.width,
                                      s->config->model.attention.hops};
    nn_stacked_weights_t weights;
    for (int hop = 0; hop < shape.hops; hop++) {
        char name[HP_PARAM_NAME];
        snprintf(name, sizeof name, "attention.hop.%d.image.weight", hop);
        weights.image[hop] = find(s, name);
        snprintf(name, sizeof name, "attention.hop.%d.question.weight", hop);
        weights.question[hop] = find(s, name);
        snprintf(name, sizeof name, "attention.hop.%d.question.bias", hop);
        weights.bias[hop] = find(s, name);
        snprintf(name, sizeof name, "attention.hop.%d.score.weight", hop);
        weights.score[hop] = find(s, name);
    }
    naive_stacked(&shape, selected, &weights, x, q, v);
}

static void aggregate(const source_t *s, int width, int cells, const int *cell,
                      const nn_real *state, const nn_real *q, nn_real (*m)[NAIVE_WIDTH],
                      nn_real *v) {
    nn_real x[NAIVE_CELLS * NAIVE_WIDTH], zero[NAIVE_WIDTH] = {0};
    int offset[] = {0, cells}, row[NAIVE_CELLS];
    for (int i = 0; i < cells; i++) {
        row[i] = i;
        memcpy(x + i * width, m[cell[i]], (size_t)width * sizeof *x);
    }
    nn_selected_t selected = {.questions = 1, .offset = offset, .row = row};
    if (s->config->model.attention.kind == HP_ATTEND_SOFT) {
        soft(s, width, &selected, x, q, v);
        return;
    }
    if (s->config->model.aggregate.kind == HP_AGGREGATE_SUM) {
        naive_pool(&selected, width, x, zero, v);
        return;
    }
    if (s->config->model.aggregate.kind == HP_AGGREGATE_RELATION) {
        relation(s, width, &selected, x, NULL, state, v);
        return;
    }
    if (s->config->model.aggregate.kind == HP_AGGREGATE_CONCAT) {
        const int i = hp_params_find(s->params, "classifier.0.weight");
        const int places = (int)s->params->param[i].shape[1] - s->config->model.question.lstm;
        const nn_concat_shape_t shape = {places / width, width, s->config->model.question.lstm};
        naive_concat(&shape, &selected, x, NULL, state, v);
        return;
    }
    nn_pairwise_shape_t shape = {width, s->config->model.aggregate.heads,
                                 s->config->model.aggregate.head_width,
                                 s->config->model.aggregate.scale};
    naive_pairwise(&shape, &selected, find(s, "aggregate.in_proj_weight"), x, zero, v);
}

static void classify(const source_t *s, nn_real *v, nn_real *logits) {
    const int hidden = s->config->model.classifier.layers.count;
    for (int i = 0; i < hidden; i++) through(s, "classifier", i, true, v);
    memcpy(logits, v, (size_t)through(s, "classifier", hidden, false, v) * sizeof *v);
}

void naive_model(const hp_config_t *config, const hp_params_t *params, const nn_real *weights,
                 const nn_batch_t *batch, int question, int cells, const int *cell, nn_real *logits,
                 nn_real *presence) {
    const source_t s = {config, params, weights};
    nn_real state[NAIVE_HIDDEN] = {0}, q[NAIVE_HIDDEN], m[NAIVE_CELLS][NAIVE_WIDTH], v[NAIVE_WIDTH];
    const int image = batch->image[question];
    encode_question(&s, batch, question, state, q);
    const int width = embed_cells(&s, batch, image, q, m);
    for (int i = 0; i < batch->cell_offset[image + 1] - batch->cell_offset[image]; i++) {
        presence[i] = 0;
        for (int k = 0; k < width; k++) presence[i] += m[i][k] * m[i][k] - q[k] * q[k];
    }
    aggregate(&s, width, cells, cell, state, q, m, v);
    classify(&s, v, logits);
}

typedef struct {
    int width, cells;
    nn_real state[NAIVE_HIDDEN], m[NAIVE_CELLS][NAIVE_WIDTH];
    double norm[NAIVE_CELLS];
} fused_t;

static void fuse(const source_t *s, const nn_batch_t *batch, int question, fused_t *f) {
    nn_real q[NAIVE_HIDDEN];
    const int image = batch->image[question];
    memset(f, 0, sizeof *f);
    encode_question(s, batch, question, f->state, q);
    f->width = embed_cells(s, batch, image, q, f->m);
    f->cells = batch->cell_offset[image + 1] - batch->cell_offset[image];
    for (int i = 0; i < f->cells; i++) {
        for (int c = 0; c < f->width; c++) f->norm[i] += f->m[i][c] * f->m[i][c];
        f->norm[i] = sqrt(f->norm[i]);
    }
}

void naive_straight_through(const hp_config_t *config, const hp_params_t *params,
                            const nn_real *weights, const nn_batch_t *batch, const nn_real *base,
                            const nn_batch_t *base_batch, int question, int cells, const int *cell,
                            nn_real *logits) {
    const source_t s = {config, params, weights}, at_base = {config, params, base};
    fused_t now, then;
    fuse(&s, batch, question, &now);
    fuse(&at_base, base_batch, question, &then);
    double hard[NAIVE_CELLS] = {0};
    for (int i = 0; i < cells; i++) hard[cell[i]] = 1;
    nn_real v[NAIVE_WIDTH] = {0};
    if (config->model.aggregate.kind == HP_AGGREGATE_SUM) {
        for (int i = 0; i < now.cells; i++)
            for (int c = 0; c < now.width; c++) v[c] += now.m[i][c] + (hard[i] - 1) * then.m[i][c];
    } else {
        nn_real x[NAIVE_CELLS * NAIVE_WIDTH];
        int offset[] = {0, now.cells}, row[NAIVE_CELLS];
        for (int i = 0; i < now.cells; i++) {
            row[i] = i;
            hard[i] += now.norm[i] - then.norm[i];
            memcpy(x + i * now.width, now.m[i], (size_t)now.width * sizeof *x);
        }
        nn_selected_t every = {.questions = 1, .offset = offset, .row = row};
        relation(&s, now.width, &every, x, hard, now.state, v);
    }
    classify(&s, v, logits);
}
