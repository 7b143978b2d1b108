/* What the files of the model share; not for others. */
#ifndef WK_MODEL_PARTS_H
#define WK_MODEL_PARTS_H

#include "common/memory.h"
#include "worker/model.h"
#include "worker/nn/batchnorm.h"
#include "worker/nn/concat.h"
#include "worker/nn/conv.h"
#include "worker/nn/lstm.h"
#include "worker/nn/pairwise.h"
#include "worker/nn/relation.h"
#include "worker/nn/select.h"
#include "worker/nn/stacked.h"

enum { WK_STACK_LAYERS = HP_CONFIG_LAYERS };
enum { WK_DROPOUT_QUESTION = 1000 }; /* layer of the mask; the classifier's are its layers */
enum { WK_STACKS = 4 };              /* question, image, classifier, output */

typedef enum { WK_LINEAR, WK_RELU, WK_TANH } wk_activation_t;

/* A linear layer; weight and bias are rows of the parameter table. */
typedef struct {
    int in, out;
    wk_activation_t activation;
    int weight, bias;
} wk_linear_t;

typedef struct {
    int count;
    wk_linear_t layer[WK_STACK_LAYERS];
} wk_stack_t;

enum { WK_TRUNK_LAYERS = HP_CONFIG_LAYERS, WK_PIXEL_CHANNELS = 3 };

/* The trunk from pixels; layers 0: cells come from the store. With batch normalisation `bias` is
 * its own, and the convolution has none. */
typedef struct {
    int layers;
    bool batch_norm, coords;
    nn_conv_shape_t conv[WK_TRUNK_LAYERS];
    int rows, columns, channels; /* of the cells */
    int weight[WK_TRUNK_LAYERS], bias[WK_TRUNK_LAYERS], gamma[WK_TRUNK_LAYERS];
    int running_mean[WK_TRUNK_LAYERS], running_var[WK_TRUNK_LAYERS];
} wk_trunk_t;

typedef struct {
    nn_conv_t conv[WK_TRUNK_LAYERS];
    hp_convolution_t *library[WK_TRUNK_LAYERS]; /* NULL: by im2col */
    nn_batchnorm_t norm[WK_TRUNK_LAYERS];
    nn_real *product[WK_TRUNK_LAYERS]; /* [positions][filters] before batch normalisation */
    nn_real *out[WK_TRUNK_LAYERS];     /* after the ReLU */
    nn_real *mean[WK_TRUNK_LAYERS], *var[WK_TRUNK_LAYERS]; /* [filters], as forward used them */
    nn_real *cells;   /* [cells][channels], where coordinates are appended */
    nn_real *grad[2]; /* the largest layer's output */
} wk_trunk_work_t;

typedef enum { WK_CROSS_ENTROPY, WK_BINARY, WK_SOFT } wk_loss_t; /* nn/loss.h */

/* How cells become one vector. */
typedef enum { WK_SUM, WK_PAIRWISE, WK_RELATION, WK_CONCAT, WK_STACKED } wk_aggregate_t;

/* The network as a configuration and the data's shape define it; a pure function of them. */
typedef struct {
    int words, embedding, hidden, width /* of x and q */, channels, pooled, answers;
    int embedding_weight, weight_ih, weight_hh, bias_ih, bias_hh;
    wk_trunk_t trunk;
    wk_stack_t question; /* q = MLP(last hidden state); empty: nothing reads q */
    wk_stack_t image;    /* x = the 1x1 network over the cells; empty: x is the features */
    wk_aggregate_t aggregate;
    int projection; /* of the pairwise operator */
    nn_pairwise_shape_t pairwise;
    nn_relation_shape_t relation;
    int relation_weight[NN_RELATION_LAYERS], relation_bias[NN_RELATION_LAYERS];
    nn_concat_shape_t concat;
    nn_stacked_shape_t stacked;
    int stacked_weight[NN_STACKED_HOPS][4]; /* image, question, bias, score */
    wk_stack_t classifier;                  /* hidden layers */
    wk_stack_t output;                      /* the layer to the answers; dropout stands before it */
    double dropout, question_dropout;
    wk_loss_t loss;
    hp_attention_t attention;
    nn_select_t select;
    bool straight_through; /* gradients reach cells that were not selected: every cell is a row */
} wk_network_t;

/* Adds the network's rows to an empty table. */
hp_status_t wk_network_build(const hp_config_t *config, const wk_model_shape_t *shape,
                             wk_network_t *network, hp_params_t *params,
                             hp_error_t *err) HP_MUST_CHECK;

struct wk_model {
    wk_network_t network;
    hp_params_t params;
    wk_model_limits_t limits;
    int max_cells; /* of one image */
    size_t slots;  /* selected cells of one batch */
    hp_arena_t arena;
    bool ready; /* forward was done, backward was not yet */

    /* question */
    unsigned char *mark; /* [words] */
    int32_t *sparse_row; /* [tokens] */
    nn_lstm_t lstm;
    nn_real *word;                          /* [tokens][embedding], in the LSTM's order */
    nn_real *grad_word;                     /* as word */
    nn_real *last;                          /* [questions][hidden] */
    nn_real *question_out[WK_STACK_LAYERS]; /* [questions][out of the layer] */

    wk_trunk_work_t trunk;
    const nn_real *cells; /* of the last forward: the batch's, or the trunk's */

    /* image; after selection an array of cells is packed in place to the selected rows */
    nn_real *image_out[WK_STACK_LAYERS]; /* [cells][out] */
    nn_real *gathered;      /* [rows][channels], without image layers or with an engine in float */
    nn_real *norm;          /* [cells] |x|^2 */
    nn_real *question_norm; /* [questions] |q|^2 */
    int *presence_offset;   /* [questions + 1] */
    nn_real *presence;      /* [sum over questions of their image's cells] */
    nn_selected_t selected;
    nn_selected_t every;    /* straight-through: all cells of every question */
    unsigned char *gate;    /* [slots of every]: 1 where the cell was selected */
    nn_real *grad_presence; /* [slots of every] */
    const nn_real *x;       /* packed rows of the last forward */

    nn_pairwise_t pairwise;
    nn_relation_t relation;
    nn_stacked_t stacked;
    nn_real *grad_state; /* [questions][hidden], where the aggregation reads `last`; else NULL */
    nn_real *pooled;     /* [questions][pooled] */
    nn_real *classifier_out[WK_STACK_LAYERS], *output_out[WK_STACK_LAYERS];
    double *log_sum; /* [questions] */

    /* model_engine.c */
    hp_gemm_engine_t *engine;           /* NULL: OpenBLAS */
    bool bf16;                          /* of the engine's products */
    hp_bf16_t **rounded;                /* [parameters] the stacks' weights; else NULL */
    hp_bf16_t *rounded_in[WK_STACKS];   /* [cells or questions][in of the first layer] */
    hp_bf16_t *rounded_grad[2];         /* [rows or questions][widest layer] */
    hp_bf16_t *rounded_ih, *rounded_hh; /* the LSTM's weights */

    nn_real *grad_question[3]; /* [questions][widest layer of a question] */
    nn_real *grad_row[2];      /* [rows][widest layer of a cell] */
};

/* One pass over one batch. */
typedef struct {
    wk_model_t *model;
    const wk_network_t *network;
    const nn_real *weights;
    const nn_batch_t *batch;
    const wk_pass_t *pass;
    nn_real *grads; /* backward only */
    int64_t madds;
    hp_error_t *err;
} wk_run_t;

static inline const nn_real *wk_weight(const wk_run_t *run, int param) {
    return run->weights + run->model->params.param[param].offset;
}

static inline nn_real *wk_grad(const wk_run_t *run, int param) {
    return run->grads + run->model->params.param[param].offset;
}

/* The same, set to zero: for what is added up. */
nn_real *wk_grad_cleared(const wk_run_t *run, int param);

/* The parameter is about to be read; its gradient will not change any more. */
hp_status_t wk_need(const wk_run_t *run, int param) HP_MUST_CHECK;
hp_status_t wk_finish(const wk_run_t *run, int param) HP_MUST_CHECK;

/* Aggregation of the selected cells (model_aggregate.c): model->x and the question's vector to
 * model->pooled, and back. Gradients are overwritten. */
typedef struct {
    nn_real *q;     /* [questions][width] */
    nn_real *x;     /* [rows][width]; NULL: the cells are frozen */
    nn_real *state; /* [questions][hidden], of the LSTM's last state; NULL: it is not read */
} wk_grads_t;
void wk_aggregate_take(wk_model_t *model, int rows);
hp_status_t wk_aggregate_forward(wk_run_t *run) HP_MUST_CHECK;
hp_status_t wk_aggregate_backward(wk_run_t *run, const nn_real *grad,
                                  const wk_grads_t *to) HP_MUST_CHECK;

/* Rounded weights of a bf16 engine; else NULL. */
static inline const hp_bf16_t *wk_rounded(const wk_run_t *run, int param) {
    return run->model->rounded != NULL ? run->model->rounded[param] : NULL;
}

/* With an engine (model_engine.c): its opening by the configuration, its workspace, and what runs
 * in the place of OpenBLAS. In bf16 `out` of all but a stack's last layer holds hp_bf16_t. */
hp_status_t wk_engine_open(const hp_config_t *config, wk_model_t *model,
                           hp_error_t *err) HP_MUST_CHECK;
void wk_engine_take(wk_model_t *model, int rows);
void wk_engine_lstm(wk_run_t *run);
void wk_engine_aggregate(wk_run_t *run);
hp_status_t wk_engine_forward(wk_run_t *run, const wk_stack_t *stack, int rows, const nn_real *in,
                              nn_real *const *out) HP_MUST_CHECK;
/* *grad: of the output in, of the input out. */
hp_status_t wk_engine_backward(wk_run_t *run, const wk_stack_t *stack, int rows, const nn_real *in,
                               nn_real *const *out, nn_real **grad, nn_real **spare) HP_MUST_CHECK;
/* Over the selected rows. *grad_p: of x in; where there is a trunk, of the cells out. */
hp_status_t wk_engine_image_backward(wk_run_t *run, nn_real **grad_p) HP_MUST_CHECK;
hp_status_t wk_engine_status(const wk_run_t *run) HP_MUST_CHECK;

/* The trunk (model_trunk.c). Shapes alone, without rows of the table; workspace; cells from pixels;
 * and back from grad_cells [rows][channels], the selected cells' gradient. */
hp_status_t wk_trunk_shape(const hp_config_t *config, int height, int width, wk_trunk_t *trunk,
                           hp_error_t *err) HP_MUST_CHECK;
/* Whether oneDNN's convolution is wanted for any layer. */
bool wk_trunk_wants_library(const hp_config_t *config);
/* Before the first wk_trunk_take: the layers by oneDNN are prepared. The rest is im2col. */
hp_status_t wk_trunk_open(const hp_config_t *config, wk_model_t *model,
                          hp_error_t *err) HP_MUST_CHECK;
void wk_trunk_close(wk_model_t *model);
void wk_trunk_take(wk_model_t *model, int rows);
hp_status_t wk_trunk_forward(wk_run_t *run, const nn_real **cells_p) HP_MUST_CHECK;
hp_status_t wk_trunk_backward(wk_run_t *run, const nn_real *grad_cells) HP_MUST_CHECK;

/* q of the last forward; NULL where nothing reads it. */
static inline nn_real *wk_question_vector(const wk_model_t *model) {
    const int layers = model->network.question.count;
    return layers > 0 ? model->question_out[layers - 1] : NULL;
}

/* x [rows][width] from x [cells][width], in place: a packed row never lies after its cell. */
void wk_pack_rows(const nn_selected_t *selected, int width, nn_real *x);

#endif
