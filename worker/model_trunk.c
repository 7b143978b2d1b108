/* The trunk from pixels: convolutions, batch normalisation where it is asked for, ReLU. What comes
 * out of the last layer are the cells; coordinates are appended to them. */
#include "worker/data/coords.h"
#include "worker/model_parts.h"
#include "worker/nn/rows.h"

#include <string.h>

/* What a step keeps of a running average, PyTorch's 1 - momentum. */
#define KEPT 0.9

static hp_status_t layer_shape(const hp_config_t *config, int l, nn_conv_shape_t *shape,
                               hp_error_t *err) {
    const hp_layers_t *kernels = &config->model.image.kernels;
    const hp_layers_t *paddings = &config->model.image.paddings;
    shape->filters = config->model.image.filters.size[l];
    shape->kernel = kernels->size[kernels->count == 1 ? 0 : l];
    shape->stride = config->model.image.stride;
    shape->padding =
        paddings->count == 0 ? shape->kernel / 2 : paddings->size[paddings->count == 1 ? 0 : l];
    if (nn_conv_out_height(shape) < 1 || nn_conv_out_width(shape) < 1)
        return hp_fail(err, HP_INPUT,
                       "model.image: layer %d of the trunk has a kernel of %d where %dx%d pixels "
                       "are left",
                       l + 1, shape->kernel, shape->height, shape->width);
    return HP_OK;
}

hp_status_t wk_trunk_shape(const hp_config_t *config, int height, int width, wk_trunk_t *trunk,
                           hp_error_t *err) {
    const hp_layers_t *filters = &config->model.image.filters;
    const hp_layers_t *kernels = &config->model.image.kernels;
    const hp_layers_t *paddings = &config->model.image.paddings;
    if (filters->count < 1)
        return hp_fail(err, HP_INPUT, "model.image.filters: a trunk needs a layer");
    if (kernels->count != 1 && kernels->count != filters->count)
        return hp_fail(err, HP_INPUT,
                       "model.image.kernels: %d of them; allowed: 1 or %d, as filters",
                       kernels->count, filters->count);
    if (paddings->count > 1 && paddings->count != filters->count)
        return hp_fail(err, HP_INPUT,
                       "model.image.paddings: %d of them; allowed: 0, 1 or %d, as filters",
                       paddings->count, filters->count);
    if (height < 1 || width < 1)
        return hp_fail(err, HP_INPUT, "model.image.trunk: cnn needs a store with pixels");
    *trunk = (wk_trunk_t){.layers = filters->count,
                          .batch_norm = config->model.image.batch_norm,
                          .coords = config->data.coords == HP_COORDS_XY};
    nn_conv_shape_t at = {.height = height, .width = width, .channels = WK_PIXEL_CHANNELS};
    for (int l = 0; l < trunk->layers; l++) {
        HP_TRY(layer_shape(config, l, &at, err));
        trunk->conv[l] = at;
        at = (nn_conv_shape_t){.height = nn_conv_out_height(&at),
                               .width = nn_conv_out_width(&at),
                               .channels = at.filters};
    }
    trunk->rows = at.height;
    trunk->columns = at.width;
    trunk->channels = at.channels + (trunk->coords ? 2 : 0);
    return HP_OK;
}

hp_status_t wk_model_grid(const hp_config_t *config, int height, int width, int *rows_p,
                          int *columns_p, hp_error_t *err) {
    wk_trunk_t trunk = {0};
    HP_TRY(wk_trunk_shape(config, height, width, &trunk, err));
    *rows_p = trunk.rows;
    *columns_p = trunk.columns;
    return HP_OK;
}

static size_t numbers_out(const nn_conv_shape_t *s) {
    return (size_t)nn_conv_out_height(s) * (size_t)nn_conv_out_width(s) * (size_t)s->filters;
}

static int positions(const nn_conv_shape_t *s, int images) {
    return images * nn_conv_out_height(s) * nn_conv_out_width(s);
}

/* From few channels im2col moves much for few products; to many filters oneDNN's gradient of the
 * weights is the slower. Within these bounds its convolution was faster with every kernel, for AVX2
 * and AVX-512, of both libraries. Zen 5, oneDNN 2.6, one thread, milliseconds of forward and
 * backward in fp32 by OpenBLAS's SkylakeX kernel and by oneDNN, and in bf16 by its products and its
 * convolution:
 *   64 x 75x75x3, 24 filters of 3x3, stride 2   7.8  2.1   7.5  2.3
 *   64 x 38x38x24, 24 of 3x3, stride 2          9.7  5.3   8.3  3.6
 *   8 x 56x56x32, 64 of 3x3, stride 2           4.1  3.2   2.6  1.7
 *   4 x 112x112x64, 256 of 3x3, stride 2         54   63    31   30
 *   4 x 28x28x256, 512 of 3x3, stride 2          28   28    14   16 */
enum { FEW_CHANNELS = 48, MANY_FILTERS = 256 };

/* Whether oneDNN computes a layer that reads so many channels: by its shape alone, never by a
 * timing, so that a run can be repeated. */
static bool wants_library(const hp_config_t *config, int l, int channels) {
    const int filters = config->model.image.filters.size[l];
    const bool last = l + 1 == config->model.image.filters.count;
    if (last && !config->model.image.batch_norm) return false; /* see wk_trunk_backward */
    if (config->model.image.convolution != HP_CONVOLUTION_AUTO)
        return config->model.image.convolution == HP_CONVOLUTION_ONEDNN;
    if (config->model.gemm == HP_GEMM_OPENBLAS || filters >= MANY_FILTERS) return false;
    return config->model.precision == HP_BF16 || channels < FEW_CHANNELS;
}

bool wk_trunk_wants_library(const hp_config_t *config) {
    int channels = WK_PIXEL_CHANNELS;
    for (int l = 0; l < config->model.image.filters.count; l++) {
        if (wants_library(config, l, channels)) return true;
        channels = config->model.image.filters.size[l];
    }
    return false;
}

hp_status_t wk_trunk_open(const hp_config_t *config, wk_model_t *model, hp_error_t *err) {
#ifndef NN_DOUBLE
    const wk_trunk_t *trunk = &model->network.trunk;
    for (int l = 0; l < trunk->layers; l++) {
        if (!wants_library(config, l, trunk->conv[l].channels)) continue;
        const hp_convolution_use_t use = {.images = model->limits.images,
                                          .bf16 = model->bf16,
                                          .finish = !trunk->batch_norm,
                                          .grad_in = l > 0};
        HP_TRY(hp_convolution_open(&trunk->conv[l], &use, &model->trunk.library[l], err));
    }
#else /* no library computes in double */
    (void)config;
    (void)model;
    (void)err;
#endif
    return HP_OK;
}

void wk_trunk_close(wk_model_t *model) {
    for (int l = 0; l < WK_TRUNK_LAYERS; l++) hp_convolution_close(model->trunk.library[l]);
}

static void take_conv(wk_model_t *model, int l) {
    const nn_conv_shape_t *s = &model->network.trunk.conv[l];
    nn_conv_t *conv = &model->trunk.conv[l];
    if (model->trunk.library[l] != NULL) {
        nn_conv_take_library(conv, &model->arena, s, model->trunk.library[l]);
        return;
    }
    nn_conv_take(conv, &model->arena, s, model->limits.images, true);
    conv->engine = model->engine;
    if (!model->bf16) return;
    const size_t weights = (size_t)s->kernel * (size_t)s->kernel * (size_t)s->channels;
    conv->rounded = hp_arena_take(&model->arena, (size_t)s->filters, weights * sizeof(hp_bf16_t));
}

void wk_trunk_take(wk_model_t *model, int rows) {
    const wk_trunk_t *trunk = &model->network.trunk;
    wk_trunk_work_t *work = &model->trunk;
    hp_arena_t *arena = &model->arena;
    const size_t images = (size_t)model->limits.images;
    size_t largest = 0;
    for (int l = 0; l < trunk->layers; l++) {
        const nn_conv_shape_t *s = &trunk->conv[l];
        const size_t n = images * numbers_out(s);
        if (n > largest) largest = n;
        take_conv(model, l);
        work->out[l] = hp_arena_take(arena, n, sizeof(nn_real));
        if (!trunk->batch_norm) continue;
        nn_batchnorm_take(&work->norm[l], arena, s->filters, positions(s, model->limits.images));
        work->product[l] = hp_arena_take(arena, n, sizeof(nn_real));
        work->mean[l] = hp_arena_take(arena, (size_t)s->filters, sizeof(nn_real));
        work->var[l] = hp_arena_take(arena, (size_t)s->filters, sizeof(nn_real));
    }
    for (int i = 0; i < 2; i++) work->grad[i] = hp_arena_take(arena, largest, sizeof(nn_real));
    const size_t wide = (size_t)trunk->channels * sizeof(nn_real);
    if (trunk->coords) work->cells = hp_arena_take(arena, (size_t)model->limits.cells, wide);
    if (model->network.image.count == 0)
        model->grad_row[0] = hp_arena_take(arena, (size_t)rows, wide);
}

static hp_status_t conv_status(const wk_run_t *run, int l) {
    const hp_convolution_t *library = run->model->trunk.library[l];
    return library != NULL ? hp_convolution_status(library, run->err) : HP_OK;
}

static hp_status_t layer_forward(wk_run_t *run, int l, const nn_real *in) {
    const wk_trunk_t *trunk = &run->network->trunk;
    wk_trunk_work_t *work = &run->model->trunk;
    const int images = run->batch->images, rows = positions(&trunk->conv[l], images);
    HP_TRY(wk_need(run, trunk->weight[l]));
    const nn_real *weight = wk_weight(run, trunk->weight[l]);
    if (!trunk->batch_norm) {
        HP_TRY(wk_need(run, trunk->bias[l]));
        run->madds += nn_conv_forward(&work->conv[l], images, true, in, weight,
                                      wk_weight(run, trunk->bias[l]), work->out[l]);
        return conv_status(run, l);
    }
    run->madds +=
        nn_conv_forward(&work->conv[l], images, false, in, weight, NULL, work->product[l]);
    HP_TRY(conv_status(run, l));
    HP_TRY(wk_need(run, trunk->gamma[l]));
    HP_TRY(wk_need(run, trunk->bias[l]));
    HP_TRY(wk_need(run, trunk->running_mean[l]));
    HP_TRY(wk_need(run, trunk->running_var[l]));
    const size_t bytes = (size_t)trunk->conv[l].filters * sizeof(nn_real);
    memcpy(work->mean[l], wk_weight(run, trunk->running_mean[l]), bytes);
    memcpy(work->var[l], wk_weight(run, trunk->running_var[l]), bytes);
    if (run->pass->train && rows > 0)
        nn_batchnorm_statistics(&work->norm[l], rows, work->product[l], work->mean[l],
                                work->var[l]);
    nn_batchnorm_forward(&work->norm[l], rows, true, work->product[l], work->mean[l], work->var[l],
                         wk_weight(run, trunk->gamma[l]), wk_weight(run, trunk->bias[l]),
                         work->out[l]);
    return HP_OK;
}

static const nn_real *append_coords(const wk_run_t *run, const nn_real *map) {
    const wk_trunk_t *trunk = &run->network->trunk;
    const int filters = trunk->channels - 2, grid = trunk->rows * trunk->columns;
    nn_real *to = run->model->trunk.cells;
    for (int c = 0; c < run->batch->images * grid; c++, to += trunk->channels, map += filters) {
        memcpy(to, map, (size_t)filters * sizeof *to);
        to[filters] = (nn_real)wk_coords_centre(c % grid % trunk->columns, trunk->columns);
        to[filters + 1] = (nn_real)wk_coords_centre(c % grid / trunk->columns, trunk->rows);
    }
    return run->model->trunk.cells;
}

hp_status_t wk_trunk_forward(wk_run_t *run, const nn_real **cells_p) {
    const wk_trunk_t *trunk = &run->network->trunk;
    const nn_real *map = run->batch->pixels;
    for (int l = 0; l < trunk->layers; map = run->model->trunk.out[l++])
        HP_TRY(layer_forward(run, l, map));
    *cells_p = trunk->coords ? append_coords(run, map) : map;
    return HP_OK;
}

hp_status_t wk_model_trunk(wk_model_t *model, const nn_real *weights, int images,
                           const nn_real *pixels, const nn_real **cells_p, int *width_p,
                           hp_error_t *err) {
    const wk_network_t *net = &model->network;
    if (net->trunk.layers == 0 || images < 0 || images > model->limits.images)
        return hp_fail(err, HP_INTERNAL, "%d images for a trunk of %d layers", images,
                       net->trunk.layers);
    model->ready = false;
    const nn_batch_t batch = {.images = images, .pixels = pixels};
    const wk_pass_t pass = {.train = false};
    wk_run_t run = {.model = model,
                    .network = net,
                    .weights = weights,
                    .batch = &batch,
                    .pass = &pass,
                    .err = err};
    *width_p = net->trunk.channels;
    return wk_trunk_forward(&run, cells_p);
}

/* The running averages travel as the servers' buffers do: their new values, in the gradient's
 * place. What was seen counts `factor` times. */
static void move_average(const wk_run_t *run, int param, int n, double factor,
                         const nn_real *seen) {
    const nn_real *old = wk_weight(run, param);
    const nn_real added = (nn_real)((1 - KEPT) * factor);
    nn_real *to = wk_grad(run, param);
    for (int c = 0; c < n; c++)
        to[c] = run->pass->train ? (nn_real)KEPT * old[c] + added * seen[c] : old[c];
}

/* grad: of the layer's output, one row for each position; becomes that of its convolution. */
static hp_status_t norm_backward(wk_run_t *run, int l, int rows, nn_real *grad) {
    const wk_trunk_t *trunk = &run->network->trunk;
    wk_trunk_work_t *work = &run->model->trunk;
    const int filters = trunk->conv[l].filters;
    nn_batchnorm_backward(&work->norm[l], rows, true, work->product[l], work->mean[l], work->var[l],
                          grad, wk_grad(run, trunk->gamma[l]), wk_grad(run, trunk->bias[l]));
    /* PyTorch's definition: a step normalises by the biased variance and keeps the unbiased one. */
    const double unbiased = rows > 1 ? rows / (rows - 1.0) : 1;
    move_average(run, trunk->running_mean[l], filters, 1, work->mean[l]);
    move_average(run, trunk->running_var[l], filters, unbiased, work->var[l]);
    HP_TRY(wk_finish(run, trunk->running_var[l]));
    HP_TRY(wk_finish(run, trunk->running_mean[l]));
    HP_TRY(wk_finish(run, trunk->bias[l]));
    return wk_finish(run, trunk->gamma[l]);
}

/* position NULL: grad has a row for every position, and has not passed the ReLU. Otherwise its
 * `rows` rows are those of the positions listed. */
static hp_status_t layer_backward(wk_run_t *run, int l, int rows, const int *position,
                                  nn_real *grad, nn_real *grad_in) {
    const wk_trunk_t *trunk = &run->network->trunk;
    wk_trunk_work_t *work = &run->model->trunk;
    const int filters = trunk->conv[l].filters;
    const nn_real *in = l > 0 ? work->out[l - 1] : run->batch->pixels;
    nn_real *grad_bias = trunk->batch_norm ? NULL : wk_grad(run, trunk->bias[l]);
    if (trunk->batch_norm) HP_TRY(norm_backward(run, l, rows, grad));
    for (int r = 0; r < rows && !trunk->batch_norm; r++) {
        const nn_real *out = nn_row_const(work->out[l], position ? position[r] : r, filters);
        for (int f = 0; f < filters; f++)
            if (!(out[f] > 0)) nn_row(grad, r, filters)[f] = 0;
    }
    run->madds += nn_conv_backward(&work->conv[l], run->batch->images, rows, position, in, grad,
                                   wk_grad(run, trunk->weight[l]), grad_bias, grad_in);
    HP_TRY(conv_status(run, l));
    if (grad_bias != NULL) HP_TRY(wk_finish(run, trunk->bias[l]));
    return wk_finish(run, trunk->weight[l]);
}

/* Through batch normalisation gradients are dense; without it the last layer's come from the
 * selected cells alone. */
hp_status_t wk_trunk_backward(wk_run_t *run, const nn_real *grad_cells) {
    const wk_trunk_t *trunk = &run->network->trunk;
    const nn_selected_t *selected = &run->model->selected;
    nn_real *grad = run->model->trunk.grad[0], *spare = run->model->trunk.grad[1];
    const int last = trunk->layers - 1, filters = trunk->conv[last].filters;
    const bool packed = !trunk->batch_norm;
    if (!packed)
        memset(grad, 0,
               (size_t)run->batch->images * numbers_out(&trunk->conv[last]) * sizeof *grad);
    for (int r = 0; r < selected->rows; r++)
        memcpy(nn_row(grad, packed ? r : selected->row_cell[r], filters),
               nn_row_const(grad_cells, r, trunk->channels), (size_t)filters * sizeof *grad);
    for (int l = last; l >= 0; l--) {
        const bool list = packed && l == last;
        HP_TRY(layer_backward(
            run, l, list ? selected->rows : positions(&trunk->conv[l], run->batch->images),
            list ? selected->row_cell : NULL, grad, l > 0 ? spare : NULL));
        nn_real *swap = grad;
        grad = spare;
        spare = swap;
    }
    return HP_OK;
}
