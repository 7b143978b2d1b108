/* The layers' stacks by oneDNN: in float as they are, or in bf16. In bf16 a stack reads its input
 * rounded, keeps what lies between its layers in bf16, and gives its output and its input's
 * gradient in float: presence, sums and the loss never see a rounded x or q. Weights are rounded
 * once a step, in forward; in evaluation once.
 *
 * They are not packed ahead into the layout that oneDNN's kernels read (format any, a reorder for
 * each new version). Forward and the input's gradient each multiply by a weight once a step, and
 * read it along different axes, so that a step's packing would be as much as the products do within
 * themselves. Seen on a Zen 5 with avx512_bf16, oneDNN 2.6, one thread, bf16, milliseconds: image
 * layer forward, 3600 x 2048 x 2048: rounded 0.6 + product 66.7, packed 4.3 + 61.8; its input's
 * gradient, 620 rows: 13.3, packed 3.1 + 11.0; classifier, 128 x 1024 x 2048: 0.2 + 1.2, packed
 * 2.1 + 1.2; a step of the LSTM, 128 x 2048 x 512, of which there are about nine: 0.56, packed 0.53
 * and 0.5 once. */
#include "worker/model_parts.h"
#include "worker/nn/dense.h"

#include <string.h>

/* What the double build, which has no engine, sees as void. */
static const void *weight(const wk_run_t *run, int param) { return wk_weight(run, param); }
static void *grad_of(const wk_run_t *run, int param) { return wk_grad(run, param); }

static nn_array_t wide(void *data) { return (nn_array_t){data, HP_GEMM_FLOAT}; }
static nn_array_t half(void *data) { return (nn_array_t){data, HP_GEMM_BF16}; }

hp_status_t wk_engine_open(const hp_config_t *config, wk_model_t *model, hp_error_t *err) {
    const bool bf16 = config->model.precision == HP_BF16;
    model->bf16 = bf16;
    if (!bf16 && config->model.gemm != HP_GEMM_ONEDNN) return HP_OK;
    return hp_gemm_engine_open(bf16, &model->engine, err);
}

bool wk_model_reads_half(const hp_config_t *config) {
    return config->model.precision == HP_BF16 && config->model.image.layers > 0 &&
           strcmp(config->model.image.trunk, "features") == 0;
}

void wk_model_describe_products(const hp_config_t *config, char *text, size_t size) {
    wk_model_t model = {0};
    hp_error_t ignored; /* without an engine OpenBLAS is what there is */
    if (wk_engine_open(config, &model, &ignored) == HP_OK && model.engine != NULL)
        hp_gemm_engine_describe(model.engine, text, size);
    else
        hp_gemm_describe(text, size);
    hp_gemm_engine_close(model.engine);
    const size_t used = strlen(text);
    char kernel[100] = "";
    if (strcmp(config->model.image.trunk, "cnn") == 0 && wk_trunk_wants_library(config))
        hp_convolution_describe(config->model.precision == HP_BF16, kernel, sizeof kernel);
    if (kernel[0] != '\0') snprintf(text + used, size - used, "; convolution by %s", kernel);
}

static const wk_stack_t *stack_at(const wk_network_t *net, int which) {
    const wk_stack_t *const stacks[WK_STACKS] = {&net->question, &net->image, &net->classifier,
                                                 &net->output};
    return stacks[which];
}

/* The aggregation's matrices one after another; -1 after the last. */
static int aggregate_weight(const wk_network_t *net, int i) {
    if (net->aggregate == WK_PAIRWISE && i == 0) return net->projection;
    if (net->aggregate == WK_RELATION && i < net->relation.layers) return net->relation_weight[i];
    if (net->aggregate == WK_STACKED && i < 2 * net->stacked.hops)
        return net->stacked_weight[i / 2][i % 2];
    return -1;
}

/* A weight [rows][columns] as the products read it, when it is there. */
static void round_weight(const wk_run_t *run, int param, int rows, int columns, hp_bf16_t *out) {
    if (!run->pass->same_weights)
        hp_gemm_round(run->model->engine, rows, columns, weight(run, param), out);
}

/* Once a step, when the weights are there. */
void wk_engine_aggregate(wk_run_t *run) {
    wk_model_t *model = run->model;
    model->pairwise.engine = model->relation.engine = model->stacked.engine = model->engine;
    for (int i = 0, param; model->bf16 && (param = aggregate_weight(run->network, i)) >= 0; i++)
        round_weight(run, param, (int)model->params.param[param].shape[0],
                     (int)model->params.param[param].shape[1], model->rounded[param]);
    if (model->bf16 && run->network->aggregate == WK_PAIRWISE)
        model->pairwise.rounded = model->rounded[run->network->projection];
}

void wk_engine_take(wk_model_t *model, int rows) {
    if (!model->bf16) return;
    const wk_network_t *net = &model->network;
    hp_arena_t *arena = &model->arena;
    size_t most = 0;
    hp_bf16_t **rounded = hp_arena_take(arena, (size_t)model->params.count, sizeof *model->rounded);
    model->rounded = rounded;
    for (int s = 0; s < WK_STACKS; s++) {
        const wk_stack_t *stack = stack_at(net, s);
        const bool image = stack == &net->image;
        if (stack->count == 0) continue;
        const int items = image ? model->limits.cells : model->limits.questions;
        model->rounded_in[s] =
            hp_arena_take(arena, (size_t)items, (size_t)stack->layer[0].in * sizeof(hp_bf16_t));
        for (int i = 0; i < stack->count; i++) {
            const wk_linear_t *l = &stack->layer[i];
            hp_bf16_t *block =
                hp_arena_take(arena, (size_t)l->out, (size_t)l->in * sizeof(hp_bf16_t));
            if (rounded != NULL) rounded[l->weight] = block;
            const size_t widest = (size_t)(l->in > l->out ? l->in : l->out);
            const size_t size = (size_t)(image ? rows : items) * widest;
            if (size > most) most = size;
        }
    }
    for (int i = 0; i < 2; i++)
        model->rounded_grad[i] = hp_arena_take(arena, most, sizeof(hp_bf16_t));
    for (int i = 0, param; (param = aggregate_weight(net, i)) >= 0; i++) {
        hp_bf16_t *block =
            hp_arena_take(arena, (size_t)model->params.param[param].count, sizeof *block);
        if (rounded != NULL) rounded[param] = block;
    }
    const size_t gates = 4 * (size_t)net->hidden;
    model->rounded_ih = hp_arena_take(arena, gates, (size_t)net->embedding * sizeof(hp_bf16_t));
    model->rounded_hh = hp_arena_take(arena, gates, (size_t)net->hidden * sizeof(hp_bf16_t));
}

/* The LSTM's products are the engine's too; float operands are rounded within. */
void wk_engine_lstm(wk_run_t *run) {
    wk_model_t *model = run->model;
    const wk_network_t *net = run->network;
    model->lstm.engine = model->engine;
    if (!model->bf16) return;
    round_weight(run, net->weight_ih, 4 * net->hidden, net->embedding, model->rounded_ih);
    round_weight(run, net->weight_hh, 4 * net->hidden, net->hidden, model->rounded_hh);
    model->lstm.rounded_ih = model->rounded_ih;
    model->lstm.rounded_hh = model->rounded_hh;
}

static nn_dense_t dense(const wk_run_t *run, const wk_linear_t *layer) {
    static const hp_gemm_activation_t activation[] = {
        [WK_LINEAR] = HP_GEMM_LINEAR, [WK_RELU] = HP_GEMM_RELU, [WK_TANH] = HP_GEMM_TANH};
    const wk_model_t *model = run->model;
    return (nn_dense_t){.engine = model->engine,
                        .in_width = layer->in,
                        .out_width = layer->out,
                        .activation = activation[layer->activation],
                        .weight = model->bf16 ? model->rounded[layer->weight]
                                              : weight(run, layer->weight)};
}

static hp_bf16_t *rounded_in(const wk_run_t *run, const wk_stack_t *stack) {
    int s = 0;
    while (stack_at(run->network, s) != stack) s++;
    return run->model->rounded_in[s];
}

/* The batch's cells came rounded. */
static bool given_half(const wk_run_t *run, const wk_stack_t *stack) {
    return stack == &run->network->image && run->batch->half != NULL;
}

/* What layer i wrote; the last layer's is float. */
static nn_array_t output(const wk_run_t *run, const wk_stack_t *stack, nn_real *const *out, int i) {
    return run->model->bf16 && i + 1 < stack->count ? half(out[i]) : wide(out[i]);
}

hp_status_t wk_engine_forward(wk_run_t *run, const wk_stack_t *stack, int rows, const nn_real *in,
                              nn_real *const *out) {
    const wk_model_t *model = run->model;
    nn_array_t from = wide((void *)(uintptr_t)in); /* is only read */
    if (given_half(run, stack)) {
        from = half((void *)(uintptr_t)run->batch->half);
    } else if (model->bf16 && stack->count > 0) {
        from = half(rounded_in(run, stack));
        hp_gemm_round(model->engine, rows, stack->layer[0].in, (const void *)in, from.data);
    }
    for (int i = 0; i < stack->count; i++) {
        const wk_linear_t *layer = &stack->layer[i];
        HP_TRY(wk_need(run, layer->weight));
        HP_TRY(wk_need(run, layer->bias));
        if (model->bf16)
            round_weight(run, layer->weight, layer->out, layer->in, model->rounded[layer->weight]);
        const nn_dense_t as = dense(run, layer);
        const nn_array_t to = output(run, stack, out, i);
        run->madds += nn_dense_forward(&as, rows, from, weight(run, layer->bias), to);
        from = to;
    }
    return HP_OK;
}

/* From the gradient in *grad; to_input: *grad becomes that of the input, else nobody wants it. */
static hp_status_t backward(wk_run_t *run, const wk_stack_t *stack, int rows, nn_array_t in,
                            nn_real *const *out, nn_real **grad, nn_real **spare, bool to_input) {
    wk_model_t *model = run->model;
    nn_array_t at = wide(*grad);
    for (int i = stack->count - 1; i >= 0; i--) {
        const wk_linear_t *layer = &stack->layer[i];
        const nn_dense_t as = dense(run, layer);
        const nn_array_t passed =
            model->bf16 && at.type == HP_GEMM_FLOAT ? half(model->rounded_grad[0]) : at;
        run->madds += nn_dense_backward_weight(
            &as, rows, i > 0 ? output(run, stack, out, i - 1) : in, output(run, stack, out, i), at,
            passed, grad_of(run, layer->weight), grad_of(run, layer->bias));
        HP_TRY(wk_finish(run, layer->weight));
        HP_TRY(wk_finish(run, layer->bias));
        if (i == 0 && !to_input) break;
        if (!model->bf16) {
            at = wide(*spare);
            *spare = *grad;
            *grad = at.data;
        } else if (i > 0) {
            at = half(model->rounded_grad[passed.data == model->rounded_grad[0]]);
        } else {
            at = wide(*grad); /* its numbers were read by the last layer */
        }
        run->madds += nn_dense_backward_in(&as, rows, passed, at);
    }
    return HP_OK;
}

hp_status_t wk_engine_backward(wk_run_t *run, const wk_stack_t *stack, int rows, const nn_real *in,
                               nn_real *const *out, nn_real **grad, nn_real **spare) {
    const bool bf16 = run->model->bf16 && stack->count > 0;
    return backward(run, stack, rows,
                    bf16 ? half(rounded_in(run, stack)) : wide((void *)(uintptr_t)in), out, grad,
                    spare, true);
}

/* As wk_pack_rows. */
static void pack(const nn_selected_t *selected, int width, hp_bf16_t *x) {
    for (int r = 0; r < selected->rows; r++)
        if (selected->row_cell[r] != r)
            memcpy(x + (size_t)r * (size_t)width, x + (size_t)selected->row_cell[r] * (size_t)width,
                   (size_t)width * sizeof *x);
}

/* As nn_gather_rows. */
static void gather(const nn_selected_t *selected, int width, const hp_bf16_t *from, hp_bf16_t *to) {
    for (int r = 0; r < selected->rows; r++)
        memcpy(to + (size_t)r * (size_t)width, from + (size_t)selected->row_cell[r] * (size_t)width,
               (size_t)width * sizeof *to);
}

hp_status_t wk_engine_image_backward(wk_run_t *run, nn_real **grad_p) {
    wk_model_t *model = run->model;
    const wk_stack_t *stack = &run->network->image;
    const nn_selected_t *selected = &model->selected;
    if (stack->count == 0) return HP_OK;
    const int channels = stack->layer[0].in;
    nn_array_t in;
    if (given_half(run, stack)) {
        in = half(rounded_in(run, stack));
        gather(selected, channels, run->batch->half, in.data);
    } else if (model->bf16) {
        in = half(rounded_in(run, stack));
        pack(selected, channels, in.data);
    } else if (selected->rows == run->batch->cell_offset[run->batch->images]) {
        in = wide((void *)(uintptr_t)model->cells);
    } else {
        in = wide(model->gathered);
        nn_gather_rows(selected->rows, channels, model->cells, selected->row_cell, model->gathered);
    }
    for (int i = 0; i + 1 < stack->count; i++) {
        if (model->bf16)
            pack(selected, stack->layer[i].out, (void *)model->image_out[i]);
        else
            wk_pack_rows(selected, stack->layer[i].out, model->image_out[i]);
    }
    nn_real *spare = model->grad_row[1];
    return backward(run, stack, selected->rows, in, model->image_out, grad_p, &spare,
                    run->network->trunk.layers > 0);
}

hp_status_t wk_engine_status(const wk_run_t *run) {
    return run->model->engine != NULL ? hp_gemm_engine_status(run->model->engine, run->err) : HP_OK;
}
