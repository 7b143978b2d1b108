#include "worker/model_parts.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

static int widest(const wk_stack_t *stack, int at_least) {
    for (int i = 0; i < stack->count; i++) {
        if (stack->layer[i].in > at_least) at_least = stack->layer[i].in;
        if (stack->layer[i].out > at_least) at_least = stack->layer[i].out;
    }
    return at_least;
}

static nn_real *take(wk_model_t *model, size_t rows, int width) {
    return hp_arena_take(&model->arena, rows, (size_t)width * sizeof(nn_real));
}

static void take_stack(wk_model_t *model, const wk_stack_t *stack, int rows, nn_real **out) {
    for (int i = 0; i < stack->count; i++) out[i] = take(model, (size_t)rows, stack->layer[i].out);
}

/* Run twice, to measure and to bind: the same takes both times. */
static void take_all(wk_model_t *model) {
    const wk_network_t *net = &model->network;
    const wk_model_limits_t *most = &model->limits;
    hp_arena_t *arena = &model->arena;
    const size_t questions = (size_t)most->questions, cells = (size_t)most->cells;
    const bool straight = net->straight_through;
    const size_t rows = model->slots < cells && !straight ? model->slots : cells;

    model->mark = hp_arena_take(arena, (size_t)net->words, 1);
    model->sparse_row = hp_arena_take(arena, (size_t)most->tokens, sizeof *model->sparse_row);
    nn_lstm_take(&model->lstm, arena, net->embedding, net->hidden, most->questions, most->tokens);
    model->word = take(model, (size_t)most->tokens, net->embedding);
    model->grad_word = take(model, (size_t)most->tokens, net->embedding);
    model->last = take(model, questions, net->hidden);
    take_stack(model, &net->question, most->questions, model->question_out);

    take_stack(model, &net->image, most->cells, model->image_out);
    if (net->image.count == 0 || (model->engine != NULL && !model->bf16))
        model->gathered = take(model, rows, net->channels);
    model->norm = take(model, cells, 1);
    model->question_norm = take(model, questions, 1);
    model->presence_offset = hp_arena_take(arena, questions + 1, sizeof(int));
    model->presence = take(model, questions, model->max_cells);
    nn_selected_take(&model->selected, arena, most->images, most->questions, most->cells,
                     model->slots);
    if (straight) {
        const size_t every = questions * (size_t)model->max_cells;
        nn_selected_take(&model->every, arena, most->images, most->questions, most->cells, every);
        model->gate = hp_arena_take(arena, every, sizeof *model->gate);
        model->grad_presence = take(model, every, 1);
    }

    wk_aggregate_take(model, (int)rows);
    wk_engine_take(model, (int)rows);
    model->pooled = take(model, questions, net->pooled);
    take_stack(model, &net->classifier, most->questions, model->classifier_out);
    take_stack(model, &net->output, most->questions, model->output_out);
    model->log_sum = hp_arena_take(arena, questions, sizeof *model->log_sum);

    int wide = widest(&net->question, net->pooled);
    wide = widest(&net->output, widest(&net->classifier, wide));
    for (int i = 0; i < 3; i++) model->grad_question[i] = take(model, questions, wide);
    if (net->trunk.layers > 0) wk_trunk_take(model, (int)rows);
    if (net->image.count > 0)
        for (int i = 0; i < 2; i++)
            model->grad_row[i] = take(model, rows, widest(&net->image, net->channels));
}

/* Everything but the workspace, which is measured. */
static hp_status_t plan_model(const hp_config_t *config, const wk_model_shape_t *shape,
                              const wk_model_limits_t *limits, wk_model_t **model_p,
                              hp_error_t *err) {
    if (limits->images < 1 || limits->questions < 1 || limits->tokens < 1 || limits->cells < 1)
        return hp_fail(err, HP_INTERNAL,
                       "model: batches of %d images, %d questions, %d words, %d cells",
                       limits->images, limits->questions, limits->tokens, limits->cells);
    void *memory = NULL;
    HP_TRY(hp_allocate(&memory, 1, sizeof(wk_model_t), "model", err));
    wk_model_t *model = memory;
    hp_status_t status = wk_network_build(config, shape, &model->network, &model->params, err);
    if (status != HP_OK) goto destroy;
    model->limits = *limits;
    model->max_cells = shape->max_cells;
    model->slots = nn_select_slots(&model->network.select, limits->questions, shape->max_cells);
    /* Packed sets are indexed by int. */
    if ((int64_t)limits->questions * shape->max_cells > INT_MAX) {
        status = hp_fail(err, HP_INPUT,
                         "batches of %d questions of %d cells are too large for this model",
                         limits->questions, shape->max_cells);
        goto destroy;
    }
    status = wk_engine_open(config, model, err);
    if (status == HP_OK) status = wk_trunk_open(config, model, err);
    if (status != HP_OK) goto destroy;
    take_all(model);
    *model_p = model;
    return HP_OK;

destroy:
    wk_model_destroy(model);
    return status;
}

hp_status_t wk_model_create(const hp_config_t *config, const wk_model_shape_t *shape,
                            const wk_model_limits_t *limits, wk_model_t **model_p,
                            hp_error_t *err) {
    wk_model_t *model = NULL;
    HP_TRY(plan_model(config, shape, limits, &model, err));
    hp_status_t status = hp_arena_commit(&model->arena, "the model's workspace", err);
    if (status != HP_OK) {
        wk_model_destroy(model);
        return status;
    }
    take_all(model);
    *model_p = model;
    return HP_OK;
}

hp_status_t wk_model_measure(const hp_config_t *config, const wk_model_shape_t *shape,
                             const wk_model_limits_t *limits, size_t *bytes_p, hp_error_t *err) {
    wk_model_t *model = NULL;
    HP_TRY(plan_model(config, shape, limits, &model, err));
    *bytes_p = model->arena.size;
    wk_model_destroy(model);
    return HP_OK;
}

void wk_model_destroy(wk_model_t *model) {
    if (model == NULL) return;
    wk_trunk_close(model);
    hp_gemm_engine_close(model->engine);
    hp_params_release(&model->params);
    hp_arena_release(&model->arena);
    hp_free(model);
}

const hp_params_t *wk_model_params(const wk_model_t *model) { return &model->params; }

size_t wk_model_workspace_bytes(const wk_model_t *model) { return model->arena.size; }

void wk_pack_rows(const nn_selected_t *selected, int width, nn_real *x) {
    const size_t wide = (size_t)width;
    for (int r = 0; r < selected->rows; r++)
        if (selected->row_cell[r] != r)
            memcpy(x + (size_t)r * wide, x + (size_t)selected->row_cell[r] * wide,
                   wide * sizeof *x);
}

nn_real *wk_grad_cleared(const wk_run_t *run, int param) {
    nn_real *grad = wk_grad(run, param);
    memset(grad, 0, (size_t)run->model->params.param[param].count * sizeof *grad);
    return grad;
}

hp_status_t wk_need(const wk_run_t *run, int param) {
    const wk_model_hooks_t *hooks = &run->pass->hooks;
    return hooks->need != NULL ? hooks->need(hooks->context, param, run->err) : HP_OK;
}

hp_status_t wk_finish(const wk_run_t *run, int param) {
    const hp_params_t *params = &run->model->params;
    const hp_param_t *p = &params->param[param];
    const int64_t end = param + 1 < params->count ? p[1].offset : params->total;
    if (!p->sparse_rows) /* padding is part of the block that travels */
        memset(run->grads + p->offset + p->count, 0,
               (size_t)(end - p->offset - p->count) * sizeof *run->grads);
    const wk_model_hooks_t *hooks = &run->pass->hooks;
    return hooks->final != NULL ? hooks->final(hooks->context, param, run->err) : HP_OK;
}
