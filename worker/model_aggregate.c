/* How the selected cells of a question become one vector: one entry in a table for each way. */
#include "worker/model_parts.h"
#include "worker/nn/pool.h"
#include "worker/nn/presence.h"

#include <string.h>

/* Bytes of activations that the relation may keep for backward; beyond them it computes again. */
enum { RELATION_BYTES = 1 << 28 };

static hp_status_t sum_forward(wk_run_t *run) {
    wk_model_t *model = run->model;
    nn_pool_forward(&model->selected, run->network->width, model->x, wk_question_vector(model),
                    model->pooled);
    return HP_OK;
}

/* Straight-through (Bengio et al. 2013): sum_i b_i m_i gives every m_i the gradient of the sum, as
 * if all cells had been selected. */
static hp_status_t sum_backward(wk_run_t *run, const nn_real *grad, const wk_grads_t *to) {
    const bool straight = run->network->straight_through;
    nn_pool_backward(straight ? &run->model->every : &run->model->selected, run->network->width,
                     grad, to->q, to->x);
    return HP_OK;
}

static void pairwise_take(wk_model_t *model, int rows) {
    nn_pairwise_take(&model->pairwise, &model->arena, &model->network.pairwise, rows,
                     model->limits.questions, model->max_cells, true);
}

static hp_status_t pairwise_forward(wk_run_t *run) {
    wk_model_t *model = run->model;
    const int projection = run->network->projection;
    HP_TRY(wk_need(run, projection));
    if (model->engine != NULL) wk_engine_aggregate(run);
    run->madds +=
        nn_pairwise_forward(&model->pairwise, &model->selected, wk_weight(run, projection),
                            model->x, wk_question_vector(model), model->pooled);
    return HP_OK;
}

static hp_status_t pairwise_backward(wk_run_t *run, const nn_real *grad, const wk_grads_t *to) {
    wk_model_t *model = run->model;
    const int projection = run->network->projection;
    run->madds += nn_pairwise_backward(
        &model->pairwise, &model->selected, wk_weight(run, projection), model->x,
        wk_question_vector(model), grad, wk_grad_cleared(run, projection), to->x, to->q);
    return wk_finish(run, projection);
}

static void take_grad_state(wk_model_t *model) {
    model->grad_state = hp_arena_take(&model->arena, (size_t)model->limits.questions,
                                      (size_t)model->network.hidden * sizeof(nn_real));
}

static void relation_take(wk_model_t *model, int rows) {
    const nn_relation_shape_t *shape = &model->network.relation;
    const int questions = model->limits.questions;
    const int64_t cells = (int64_t)model->slots / questions;
    int64_t pairs = questions * cells * cells, numbers = shape->size[0];
    for (int l = 1; l < shape->layers; l++) numbers += shape->size[l];
    const int64_t most = RELATION_BYTES / (numbers * (int64_t)sizeof(nn_real));
    if (pairs > most) pairs = most;
    nn_relation_take(&model->relation, &model->arena, shape, rows, questions, pairs, true);
    take_grad_state(model);
}

static nn_relation_weights_t relation_weights(const wk_run_t *run) {
    nn_relation_weights_t weights = {0};
    for (int l = 0; l < run->network->relation.layers; l++) {
        weights.weight[l] = wk_weight(run, run->network->relation_weight[l]);
        weights.bias[l] = wk_weight(run, run->network->relation_bias[l]);
        weights.rounded[l] = wk_rounded(run, run->network->relation_weight[l]);
    }
    return weights;
}

/* Objects are m = x + q where the question chose the cells, so that q learns; the cells alone where
 * all of them are taken. g reads the question as the LSTM left it (Santoro et al. 2017). */
static nn_relation_in_t relation_in(const wk_run_t *run) {
    return (nn_relation_in_t){
        .x = run->model->x, .shift = wk_question_vector(run->model), .q = run->model->last};
}

static hp_status_t relation_forward(wk_run_t *run) {
    wk_model_t *model = run->model;
    for (int l = 0; l < run->network->relation.layers; l++) {
        HP_TRY(wk_need(run, run->network->relation_weight[l]));
        HP_TRY(wk_need(run, run->network->relation_bias[l]));
    }
    if (model->engine != NULL) wk_engine_aggregate(run);
    const nn_relation_weights_t weights = relation_weights(run);
    const nn_relation_in_t in = relation_in(run);
    run->madds +=
        nn_relation_forward(&model->relation, &model->selected, &weights, &in, model->pooled);
    return HP_OK;
}

/* Straight-through for sum_ij b_i b_j g(o_i, o_j, q): the gradient of b goes to presence p = |m|,
 * and so to all cells. After the relation's own backward. */
static void gate_backward(wk_run_t *run, const nn_relation_weights_t *weights, const nn_real *grad,
                          const wk_grads_t *to) {
    wk_model_t *model = run->model;
    const nn_selected_t *selected = &model->selected, *every = &model->every;
    memset(model->gate, 0, (size_t)every->slots);
    for (int q = 0; q < selected->questions; q++)
        for (int s = selected->offset[q]; s < selected->offset[q + 1]; s++)
            model->gate[every->offset[q] + selected->cell[s]] = 1;
    run->madds += nn_relation_gate_backward(&model->relation, every, model->gate, weights, grad,
                                            model->grad_presence);
    run->madds += nn_presence_backward(
        run->batch, run->network->width, model->x, wk_question_vector(model), model->question_norm,
        model->presence, model->presence_offset, model->grad_presence, to->x, to->q);
}

static hp_status_t relation_backward(wk_run_t *run, const nn_real *grad, const wk_grads_t *to) {
    wk_model_t *model = run->model;
    const wk_network_t *net = run->network;
    const nn_relation_weights_t weights = relation_weights(run);
    const nn_relation_in_t in = relation_in(run);
    nn_relation_grads_t grads = {.x = to->x, .shift = to->q, .q = to->state};
    for (int l = 0; l < net->relation.layers; l++) {
        grads.weight[l] = wk_grad_cleared(run, net->relation_weight[l]);
        grads.bias[l] = wk_grad_cleared(run, net->relation_bias[l]);
    }
    run->madds +=
        nn_relation_backward(&model->relation, &model->selected, &weights, &in, grad, &grads);
    if (net->straight_through) gate_backward(run, &weights, grad, to);
    for (int l = net->relation.layers - 1; l >= 0; l--) {
        HP_TRY(wk_finish(run, net->relation_weight[l]));
        HP_TRY(wk_finish(run, net->relation_bias[l]));
    }
    return HP_OK;
}

/* As the relation reads them: m where the question chose the cells, else the cells alone. */
static void concat_take(wk_model_t *model, int rows) {
    (void)rows;
    take_grad_state(model);
}

static hp_status_t concat_forward(wk_run_t *run) {
    wk_model_t *model = run->model;
    nn_concat_forward(&run->network->concat, &model->selected, model->x, wk_question_vector(model),
                      model->last, model->pooled);
    return HP_OK;
}

static hp_status_t concat_backward(wk_run_t *run, const nn_real *grad, const wk_grads_t *to) {
    nn_concat_backward(&run->network->concat, &run->model->selected, grad, to->x, to->q, to->state);
    return HP_OK;
}

static void stacked_take(wk_model_t *model, int rows) {
    nn_stacked_take(&model->stacked, &model->arena, &model->network.stacked, rows,
                    model->limits.questions, model->slots, model->max_cells, true);
}

static nn_stacked_weights_t stacked_weights(const wk_run_t *run) {
    nn_stacked_weights_t weights = {0};
    for (int hop = 0; hop < run->network->stacked.hops; hop++) {
        const int *index = run->network->stacked_weight[hop];
        weights.image[hop] = wk_weight(run, index[0]);
        weights.question[hop] = wk_weight(run, index[1]);
        weights.bias[hop] = wk_weight(run, index[2]);
        weights.score[hop] = wk_weight(run, index[3]);
        weights.image_rounded[hop] = wk_rounded(run, index[0]);
        weights.question_rounded[hop] = wk_rounded(run, index[1]);
    }
    return weights;
}

static hp_status_t stacked_forward(wk_run_t *run) {
    wk_model_t *model = run->model;
    for (int hop = 0; hop < run->network->stacked.hops; hop++)
        for (int i = 0; i < 4; i++) HP_TRY(wk_need(run, run->network->stacked_weight[hop][i]));
    if (model->engine != NULL) wk_engine_aggregate(run);
    const nn_stacked_weights_t weights = stacked_weights(run);
    run->madds += nn_stacked_forward(&model->stacked, &model->selected, &weights, model->x,
                                     wk_question_vector(model), model->pooled);
    return HP_OK;
}

static hp_status_t stacked_backward(wk_run_t *run, const nn_real *grad, const wk_grads_t *to) {
    wk_model_t *model = run->model;
    const nn_stacked_weights_t weights = stacked_weights(run);
    nn_stacked_grads_t grads = {.x = to->x, .q = to->q};
    const int hops = run->network->stacked.hops;
    for (int hop = 0; hop < hops; hop++) {
        const int *index = run->network->stacked_weight[hop];
        grads.image[hop] = wk_grad_cleared(run, index[0]);
        grads.question[hop] = wk_grad_cleared(run, index[1]);
        grads.bias[hop] = wk_grad_cleared(run, index[2]);
        grads.score[hop] = wk_grad_cleared(run, index[3]);
    }
    run->madds +=
        nn_stacked_backward(&model->stacked, &model->selected, &weights, model->x, grad, &grads);
    for (int hop = hops - 1; hop >= 0; hop--)
        for (int i = 3; i >= 0; i--) HP_TRY(wk_finish(run, run->network->stacked_weight[hop][i]));
    return HP_OK;
}

static const struct {
    void (*take)(wk_model_t *model, int rows); /* NULL: no workspace of its own */
    hp_status_t (*forward)(wk_run_t *run);
    hp_status_t (*backward)(wk_run_t *run, const nn_real *grad, const wk_grads_t *to);
} ways[] = {
    [WK_SUM] = {NULL, sum_forward, sum_backward},
    [WK_PAIRWISE] = {pairwise_take, pairwise_forward, pairwise_backward},
    [WK_RELATION] = {relation_take, relation_forward, relation_backward},
    [WK_CONCAT] = {concat_take, concat_forward, concat_backward},
    [WK_STACKED] = {stacked_take, stacked_forward, stacked_backward},
};

void wk_aggregate_take(wk_model_t *model, int rows) {
    if (ways[model->network.aggregate].take != NULL)
        ways[model->network.aggregate].take(model, rows);
}

hp_status_t wk_aggregate_forward(wk_run_t *run) {
    return ways[run->network->aggregate].forward(run);
}

hp_status_t wk_aggregate_backward(wk_run_t *run, const nn_real *grad, const wk_grads_t *to) {
    const nn_selected_t *selected = &run->model->selected;
    const size_t width = (size_t)run->network->width;
    memset(to->q, 0, (size_t)selected->questions * width * sizeof *to->q);
    if (to->state != NULL)
        memset(to->state, 0,
               (size_t)selected->questions * (size_t)run->network->hidden * sizeof *to->state);
    if (to->x != NULL) memset(to->x, 0, (size_t)selected->rows * width * sizeof *to->x);
    return ways[run->network->aggregate].backward(run, grad, to);
}
