#include "worker/model_parts.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The scheme of the initial values. `he`: linear layers N(0, 2 / in) before a ReLU (He et al. 2015)
 * and N(0, 1 / in) elsewhere, every bias zero; the LSTM's weights U(+-1 / sqrt(hidden)) and the
 * embedding N(0, 1), as PyTorch has them. `pytorch`: its defaults throughout, biases too. */
typedef struct {
    hp_params_t *params;
    bool he;
    double gain; /* of the next linear layer's weights */
    hp_error_t *err;
} builder_t;

static HP_PRINTF(2, 3) void format_name(char name[HP_PARAM_NAME], const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, HP_PARAM_NAME, fmt, args);
    va_end(args);
}

static hp_status_t add(builder_t *b, const char *name, int64_t rows, int64_t columns,
                       hp_init_kind_t init, double scale, bool sparse, int *index_p) {
    const int64_t shape[2] = {rows, columns};
    return hp_params_add(b->params, name, columns > 0 ? 2 : 1, shape, HP_PARAM_WEIGHT, init, scale,
                         sparse, index_p, b->err);
}

static hp_status_t add_bias(builder_t *b, const char *name, int size, double scale, int *index_p) {
    return add(b, name, size, 0, b->he ? HP_INIT_ZERO : HP_INIT_UNIFORM, b->he ? 0.0 : scale, false,
               index_p);
}

/* Appends a linear layer `prefix`.N to a stack; N counts from `first`. */
static hp_status_t add_linear(builder_t *b, wk_stack_t *stack, const char *prefix, int first,
                              int in, int out, wk_activation_t activation) {
    wk_linear_t *layer = &stack->layer[stack->count];
    *layer = (wk_linear_t){.in = in, .out = out, .activation = activation};
    char name[HP_PARAM_NAME];
    const double bound = 1.0 / sqrt(in);
    format_name(name, "%s.%d.weight", prefix, first + stack->count);
    if (b->he)
        HP_TRY(add(b, name, out, in, HP_INIT_NORMAL,
                   b->gain * (activation == WK_RELU ? sqrt(2.0) * bound : bound), false,
                   &layer->weight));
    else
        HP_TRY(add(b, name, out, in, HP_INIT_UNIFORM, b->gain * bound, false, &layer->weight));
    format_name(name, "%s.%d.bias", prefix, first + stack->count);
    HP_TRY(add_bias(b, name, out, bound, &layer->bias));
    stack->count++;
    b->gain = 1.0;
    return HP_OK;
}

static hp_status_t add_lstm(builder_t *b, wk_network_t *net) {
    const int64_t gates = 4 * (int64_t)net->hidden;
    const double bound = 1.0 / sqrt(net->hidden);
    HP_TRY(add(b, "question.embedding.weight", net->words, net->embedding, HP_INIT_NORMAL, 1.0,
               true, &net->embedding_weight));
    HP_TRY(add(b, "question.lstm.weight_ih_l0", gates, net->embedding, HP_INIT_UNIFORM, bound,
               false, &net->weight_ih));
    HP_TRY(add(b, "question.lstm.weight_hh_l0", gates, net->hidden, HP_INIT_UNIFORM, bound, false,
               &net->weight_hh));
    HP_TRY(add_bias(b, "question.lstm.bias_ih_l0", 4 * net->hidden, bound, &net->bias_ih));
    return add_bias(b, "question.lstm.bias_hh_l0", 4 * net->hidden, bound, &net->bias_hh);
}

/* A row of any shape. */
static hp_status_t add_row(builder_t *b, int *index_p, hp_param_kind_t kind, hp_init_kind_t init,
                           double scale, int dims, const int64_t *shape, const char *fmt, int n) {
    char name[HP_PARAM_NAME];
    format_name(name, fmt, n);
    return hp_params_add(b->params, name, dims, shape, kind, init, scale, false, index_p, b->err);
}

static hp_status_t add_trunk_layer(builder_t *b, wk_trunk_t *trunk, int l) {
    const nn_conv_shape_t *s = &trunk->conv[l];
    const int64_t weight[] = {s->filters, s->channels, s->kernel, s->kernel};
    const double bound = 1.0 / sqrt((double)s->channels * s->kernel * s->kernel);
    HP_TRY(add_row(b, &trunk->weight[l], HP_PARAM_WEIGHT, b->he ? HP_INIT_NORMAL : HP_INIT_UNIFORM,
                   b->he ? sqrt(2.0) * bound : bound, 4, weight, "image.trunk.%d.conv.weight", l));
    if (!trunk->batch_norm)
        return add_row(b, &trunk->bias[l], HP_PARAM_WEIGHT, b->he ? HP_INIT_ZERO : HP_INIT_UNIFORM,
                       b->he ? 0.0 : bound, 1, weight, "image.trunk.%d.conv.bias", l);
    HP_TRY(add_row(b, &trunk->gamma[l], HP_PARAM_WEIGHT, HP_INIT_ONE, 0, 1, weight,
                   "image.trunk.%d.bn.weight", l));
    HP_TRY(add_row(b, &trunk->bias[l], HP_PARAM_WEIGHT, HP_INIT_ZERO, 0, 1, weight,
                   "image.trunk.%d.bn.bias", l));
    HP_TRY(add_row(b, &trunk->running_mean[l], HP_PARAM_BUFFER, HP_INIT_ZERO, 0, 1, weight,
                   "image.trunk.%d.bn.running_mean", l));
    return add_row(b, &trunk->running_var[l], HP_PARAM_BUFFER, HP_INIT_ONE, 0, 1, weight,
                   "image.trunk.%d.bn.running_var", l);
}

static hp_status_t add_projection(builder_t *b, wk_network_t *net) {
    const int out = nn_pairwise_out(&net->pairwise);
    const double bound = 1.0 / sqrt(net->width);
    return add(b, "aggregate.in_proj_weight", 3 * (int64_t)out, net->width,
               b->he ? HP_INIT_NORMAL : HP_INIT_UNIFORM, bound, false, &net->projection);
}

static hp_status_t add_relation(builder_t *b, wk_network_t *net) {
    wk_stack_t g = {0};
    int in = 2 * net->width + net->hidden;
    for (int l = 0; l < net->relation.layers; in = net->relation.size[l++]) {
        HP_TRY(add_linear(b, &g, "aggregate.g", 0, in, net->relation.size[l], WK_RELU));
        net->relation_weight[l] = g.layer[l].weight;
        net->relation_bias[l] = g.layer[l].bias;
    }
    return HP_OK;
}

/* One hop of stacked attention. The image's part has no bias: the question's has one. */
static hp_status_t add_hop(builder_t *b, wk_network_t *net, int hop) {
    const int a = net->stacked.attention, d = net->width;
    const double bound = 1.0 / sqrt(d);
    const hp_init_kind_t init = b->he ? HP_INIT_NORMAL : HP_INIT_UNIFORM;
    char name[HP_PARAM_NAME];
    int *index = net->stacked_weight[hop];
    format_name(name, "attention.hop.%d.image.weight", hop);
    HP_TRY(add(b, name, a, d, init, bound, false, &index[0]));
    format_name(name, "attention.hop.%d.question.weight", hop);
    HP_TRY(add(b, name, a, d, init, bound, false, &index[1]));
    format_name(name, "attention.hop.%d.question.bias", hop);
    HP_TRY(add_bias(b, name, a, bound, &index[2]));
    format_name(name, "attention.hop.%d.score.weight", hop);
    return add(b, name, 1, a, init, 1.0 / sqrt(a), false, &index[3]);
}

static hp_status_t choose_attention(const hp_config_t *config, wk_network_t *net, hp_error_t *err) {
    net->attention = config->model.attention.kind;
    net->select.cells = config->model.attention.cells;
    switch (net->attention) {
    case HP_ATTEND_ALL:
        net->select.kind = NN_SELECT_ALL;
        return HP_OK;
    case HP_ATTEND_HAN:
    case HP_ATTEND_IMAGE_ONLY:
        net->select.kind = NN_SELECT_LARGEST;
        return HP_OK;
    case HP_ATTEND_LOWEST:
        net->select.kind = NN_SELECT_LOWEST;
        return HP_OK;
    case HP_ATTEND_RANDOM:
        net->select.kind = NN_SELECT_RANDOM;
        return HP_OK;
    case HP_ATTEND_ADAHAN:
        net->select.kind = NN_SELECT_ADAPTIVE;
        return HP_OK;
    case HP_ATTEND_STRAIGHT_THROUGH:
        net->select.kind = NN_SELECT_LARGEST;
        net->straight_through = true;
        return HP_OK;
    case HP_ATTEND_SOFT:
        net->select.kind = NN_SELECT_ALL; /* weighted, not chosen */
        return HP_OK;
    }
    return hp_fail(err, HP_INTERNAL, "model.attention.kind: %d is none", (int)net->attention);
}

static hp_status_t check(const hp_config_t *config, const wk_model_shape_t *shape,
                         hp_error_t *err) {
#ifdef NN_DOUBLE
    const bool engine = false;
#else
    const bool engine = hp_gemm_has_engine();
#endif
    if (config->model.precision == HP_BF16 && config->model.gemm == HP_GEMM_OPENBLAS)
        return hp_fail(err, HP_INPUT,
                       "model.gemm: openblas has no bf16; allowed with it: auto, onednn");
    if (config->model.precision == HP_BF16 && !engine)
        return hp_fail(err, HP_INPUT,
                       "model.precision: bf16 needs oneDNN (libdnnl-dev), which was not there when "
                       "hanps was built; allowed: fp32");
    if (config->model.gemm == HP_GEMM_ONEDNN && !engine)
        return hp_fail(err, HP_INPUT,
                       "model.gemm: onednn (libdnnl-dev) was not there when hanps was built; "
                       "allowed: auto, openblas");
    if (config->model.image.convolution == HP_CONVOLUTION_ONEDNN && !engine)
        return hp_fail(err, HP_INPUT,
                       "model.image.convolution: onednn (libdnnl-dev) was not there when hanps was "
                       "built; allowed: auto, im2col");
    const int layers = config->model.image.layers;
    if (layers < 0 || layers > WK_STACK_LAYERS)
        return hp_fail(err, HP_INPUT, "model.image.layers: %d; allowed: 0 to %d", layers,
                       WK_STACK_LAYERS);
    const hp_layers_t *hidden = &config->model.classifier.layers;
    if (hidden->count < 0 || hidden->count > HP_CONFIG_LAYERS)
        return hp_fail(err, HP_INPUT, "model.classifier.layers: %d of them; allowed: 0 to %d",
                       hidden->count, HP_CONFIG_LAYERS);
    const double dropout = config->model.classifier.dropout;
    if (!(dropout >= 0.0 && dropout < 1.0))
        return hp_fail(err, HP_INPUT, "model.classifier.dropout: %g; allowed: 0 to below 1",
                       dropout);
    const hp_attention_t kind = config->model.attention.kind;
    const bool counted =
        kind != HP_ATTEND_ALL && kind != HP_ATTEND_ADAHAN && kind != HP_ATTEND_SOFT;
    if (counted && config->model.attention.cells > shape->max_cells && shape->max_cells > 0)
        return hp_fail(err, HP_INPUT,
                       "model.attention.cells: %d, and an image has %d; allowed: 1 to %d",
                       config->model.attention.cells, shape->max_cells, shape->max_cells);
    if (config->model.attention.cells < 1 && config->model.attention.kind != HP_ATTEND_ALL &&
        config->model.attention.kind != HP_ATTEND_ADAHAN)
        return hp_fail(err, HP_INPUT, "model.attention.cells: %d; allowed: 1 or more",
                       config->model.attention.cells);
    if (shape->channels < 1 || shape->max_cells < 1 || shape->words < 1 || shape->answers < 1)
        return hp_fail(err, HP_INPUT,
                       "the data has %d channels, %d cells, %d words and %d answers; a model needs "
                       "one of each at least",
                       shape->channels, shape->max_cells, shape->words, shape->answers);
    return HP_OK;
}

/* Sizes that the products take as int. */
static hp_status_t check_sizes(const wk_network_t *net, hp_error_t *err) {
    const int most = 1 << 24;
    if (net->embedding < 1 || net->hidden < 1 || net->width < 1 || net->embedding > most ||
        net->hidden > most || net->width > most)
        return hp_fail(err, HP_INPUT,
                       "model: embedding %d, lstm %d, width %d; allowed: 1 to %d each",
                       net->embedding, net->hidden, net->width, most);
    return HP_OK;
}

static hp_status_t choose_relation(const hp_config_t *config, wk_network_t *net, hp_error_t *err) {
    const hp_layers_t *layers = &config->model.aggregate.layers;
    if (layers->count < 1 || layers->count > NN_RELATION_LAYERS)
        return hp_fail(err, HP_INPUT, "model.aggregate.layers: %d of them; allowed: 1 to %d",
                       layers->count, NN_RELATION_LAYERS);
    net->aggregate = WK_RELATION;
    net->relation = (nn_relation_shape_t){
        .width = net->width, .question_width = net->hidden, .layers = layers->count};
    for (int l = 0; l < layers->count; l++) net->relation.size[l] = layers->size[l];
    net->pooled = nn_relation_out(&net->relation);
    return HP_OK;
}

/* As many places as any question can fill. */
static hp_status_t choose_concat(const hp_config_t *config, const wk_model_shape_t *shape,
                                 wk_network_t *net, hp_error_t *err) {
    const int most = 1 << 24, k = config->model.attention.cells;
    if (net->attention == HP_ATTEND_ADAHAN || net->straight_through)
        return hp_fail(err, HP_INPUT,
                       "model.aggregate.kind: concat goes with a number of cells that is known; "
                       "allowed with adahan and straight_through: sum, relation");
    const bool all = net->attention == HP_ATTEND_ALL;
    net->aggregate = WK_CONCAT;
    net->concat = (nn_concat_shape_t){.cells = all || k > shape->max_cells ? shape->max_cells : k,
                                      .width = net->width,
                                      .question_width = net->hidden};
    if (net->concat.cells > (most - net->hidden) / net->width)
        return hp_fail(err, HP_INPUT,
                       "model.aggregate.kind: concat of %d cells of %d channels; allowed: %d "
                       "numbers in all",
                       net->concat.cells, net->width, most);
    net->pooled = nn_concat_out(&net->concat);
    return HP_OK;
}

static hp_status_t choose_stacked(const hp_config_t *config, wk_network_t *net, hp_error_t *err) {
    if (config->model.aggregate.kind != HP_AGGREGATE_SUM)
        return hp_fail(
            err, HP_INPUT,
            "model.aggregate.kind: soft attention pools by its own weights; allowed: sum");
    const int hops = config->model.attention.hops, width = config->model.attention.width;
    if (hops < 1 || hops > NN_STACKED_HOPS || width < 1)
        return hp_fail(err, HP_INPUT,
                       "model.attention: %d hops of width %d; allowed: 1 to %d hops, 1 or more",
                       hops, width, NN_STACKED_HOPS);
    net->aggregate = WK_STACKED;
    net->stacked = (nn_stacked_shape_t){.width = net->width, .attention = width, .hops = hops};
    return HP_OK;
}

static hp_status_t choose_aggregate(const hp_config_t *config, const wk_model_shape_t *shape,
                                    wk_network_t *net, hp_error_t *err) {
    net->aggregate = WK_SUM;
    net->pooled = net->width;
    if (net->attention == HP_ATTEND_SOFT) return choose_stacked(config, net, err);
    if (config->model.aggregate.kind == HP_AGGREGATE_SUM) return HP_OK;
    if (config->model.aggregate.kind == HP_AGGREGATE_RELATION)
        return choose_relation(config, net, err);
    if (config->model.aggregate.kind == HP_AGGREGATE_CONCAT)
        return choose_concat(config, shape, net, err);
    net->aggregate = WK_PAIRWISE;
    if (net->straight_through)
        return hp_fail(
            err, HP_INPUT,
            "model.aggregate.kind: pairwise does not go with straight_through attention; "
            "allowed: sum, relation");
    const int heads = config->model.aggregate.heads, most = 1 << 24;
    const int head_width = config->model.aggregate.head_width;
    if (heads < 1 || head_width < 1 || head_width > most / heads)
        return hp_fail(err, HP_INPUT,
                       "model.aggregate: %d heads of %d; allowed: a product of 1 to %d", heads,
                       head_width, most);
    net->pairwise = (nn_pairwise_shape_t){.width = net->width,
                                          .heads = heads,
                                          .head_width = head_width,
                                          .scale = config->model.aggregate.scale};
    net->pooled = nn_pairwise_out(&net->pairwise);
    return HP_OK;
}

/* How many vectors, all of about one size and sign, the pooled vector is the sum of. AdaHAN selects
 * a little less than half of the cells at the start. */
static double summed(const wk_network_t *net, int max_cells) {
    double cells = net->select.cells < max_cells ? net->select.cells : max_cells;
    if (net->select.kind == NN_SELECT_ALL) cells = max_cells;
    if (net->select.kind == NN_SELECT_ADAPTIVE) cells = 0.4 * max_cells + 1;
    switch (net->aggregate) {
    case WK_SUM:
    case WK_PAIRWISE:
        return cells;
    case WK_RELATION:
        return cells * cells;
    default: /* weights that add up to 1; nothing is added up */
        return 1;
    }
}

hp_status_t wk_network_build(const hp_config_t *config, const wk_model_shape_t *shape,
                             wk_network_t *net, hp_params_t *params, hp_error_t *err) {
    HP_TRY(check(config, shape, err));
    const int layers = config->model.image.layers;
    wk_trunk_t trunk = {0};
    if (strcmp(config->model.image.trunk, "cnn") == 0)
        HP_TRY(wk_trunk_shape(config, shape->pixel_height, shape->pixel_width, &trunk, err));
    const int channels = trunk.layers > 0 ? trunk.channels : shape->channels;
    *net = (wk_network_t){.words = shape->words,
                          .embedding = config->model.question.embedding,
                          .hidden = config->model.question.lstm,
                          .trunk = trunk,
                          .channels = channels,
                          .width = layers > 0 ? config->model.image.width : channels,
                          .answers = shape->answers,
                          .question_dropout = config->model.question.dropout,
                          .dropout = config->model.classifier.dropout};
    if (config->data.labels == HP_LABELS_SOFT)
        net->loss = config->model.classifier.soft_loss == HP_SOFT_BINARY ? WK_BINARY : WK_SOFT;
    HP_TRY(check_sizes(net, err));
    HP_TRY(choose_attention(config, net, err));
    HP_TRY(choose_aggregate(config, shape, net, err));

    const wk_activation_t activation =
        config->model.image.activation == HP_ACTIVATION_TANH ? WK_TANH : WK_RELU;
    builder_t b = {
        .params = params, .he = config->model.init == HP_INIT_HE, .gain = 1.0, .err = err};
    HP_TRY(add_lstm(&b, net));
    /* Without image layers q still has to become as wide as a cell: one plain linear map. A
     * relation or a concatenation of all cells reads the LSTM's state alone. */
    const bool reads_state = net->aggregate == WK_RELATION || net->aggregate == WK_CONCAT;
    const bool asks = !reads_state || net->attention != HP_ATTEND_ALL;
    for (int i = 0; asks && i < (layers > 0 ? layers : 1); i++)
        HP_TRY(add_linear(&b, &net->question, "question.mlp", 0, i == 0 ? net->hidden : net->width,
                          net->width, layers > 0 ? activation : WK_LINEAR));
    for (int l = 0; l < net->trunk.layers; l++) HP_TRY(add_trunk_layer(&b, &net->trunk, l));
    for (int i = 0; i < layers; i++)
        HP_TRY(add_linear(&b, &net->image, "image.embed", 0, i == 0 ? net->channels : net->width,
                          net->width, activation));
    if (net->aggregate == WK_PAIRWISE) HP_TRY(add_projection(&b, net));
    if (net->aggregate == WK_RELATION) HP_TRY(add_relation(&b, net));
    for (int hop = 0; hop < net->stacked.hops; hop++) HP_TRY(add_hop(&b, net, hop));
    const hp_layers_t *hidden = &config->model.classifier.layers;
    int in = net->pooled;
    if (config->model.aggregate.start == HP_START_MEAN)
        b.gain = 1.0 / summed(net, shape->max_cells);
    for (int i = 0; i < hidden->count; i++) {
        HP_TRY(add_linear(&b, &net->classifier, "classifier", 0, in, hidden->size[i], WK_RELU));
        in = hidden->size[i];
    }
    return add_linear(&b, &net->output, "classifier", hidden->count, in, net->answers, WK_LINEAR);
}

hp_status_t wk_model_table(const hp_config_t *config, const wk_model_shape_t *shape,
                           hp_params_t *params, hp_error_t *err) {
    wk_network_t network;
    hp_params_t table = {0};
    hp_status_t status = wk_network_build(config, shape, &network, &table, err);
    if (status != HP_OK) {
        hp_params_release(&table);
        return status;
    }
    *params = table;
    return HP_OK;
}
