/* How the selected cells of a question become one vector: one entry in a table for each way. */
#include "worker/model_parts.h"
#include "worker/nn/pool.h"

#include <string.h>

static hp_status_t sum_forward(wk_run_t *run) {
    wk_model_t *model = run->model;
    nn_pool_forward(&model->selected, run->network->width, model->x, wk_question_vector(model),
                    model->pooled);
    return HP_OK;
}

static hp_status_t sum_backward(wk_run_t *run, const nn_real *grad, const wk_grads_t *to) {
    nn_pool_backward(&run->model->selected, run->network->width, grad, to->q, to->x);
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

static const struct {
    void (*take)(wk_model_t *model, int rows); /* NULL: no workspace of its own */
    hp_status_t (*forward)(wk_run_t *run);
    hp_status_t (*backward)(wk_run_t *run, const nn_real *grad, const wk_grads_t *to);
} ways[] = {
    [WK_SUM] = {NULL, sum_forward, sum_backward},
    [WK_PAIRWISE] = {pairwise_take, pairwise_forward, pairwise_backward},
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
    if (to->x != NULL) memset(to->x, 0, (size_t)selected->rows * width * sizeof *to->x);
    return ways[run->network->aggregate].backward(run, grad, to);
}
