/* A visual question answering model built from a configuration: binds the parameter table and the
 * workspace, runs forward and backward over a batch. Knows nothing of ranks, stores or files. */
#ifndef WK_MODEL_H
#define WK_MODEL_H

#include "common/config.h"
#include "common/params.h"
#include "worker/nn/batch.h"

typedef struct wk_model wk_model_t;

/* What the data fixes. */
typedef struct {
    int channels;  /* of a cell, appended coordinates included; of a pixel where there is a trunk */
    int max_cells; /* of one image */
    int words;     /* vocabulary */
    int answers;   /* classes */
    int pixel_height, pixel_width; /* of an image that a trunk reads; not read for features */
    int grid_height, grid_width;   /* how cells lie, for pictures; 0, 0: on no grid */
} wk_model_shape_t;

/* The largest batch the workspace must hold. */
typedef struct {
    int images, questions, tokens, cells;
} wk_model_limits_t;

/* Called as parameters come into use and as their gradients become final. Either may be NULL.
 * `need` may block until the parameter's value is there; an error ends the pass. Indices are rows
 * of the parameter table. */
typedef struct {
    hp_status_t (*need)(void *context, int param, hp_error_t *err);
    hp_status_t (*final)(void *context, int param, hp_error_t *err);
    void *context;
} wk_model_hooks_t;

/* A selection given from outside (finite differences, tests). CSR over questions; cells count from
 * the image's first, ascending. */
typedef struct {
    const int *offset; /* [questions + 1] */
    const int *cell;   /* [offset[questions]] */
} wk_selection_t;

typedef struct {
    bool train;                  /* dropout on */
    bool same_weights;           /* as in the model's pass before: not rounded to bf16 again */
    uint64_t seed;               /* of random choices, with batch->key */
    const wk_selection_t *fixed; /* NULL: the model selects */
    wk_model_hooks_t hooks;
} wk_pass_t;

/* Pointers are into the model's workspace, valid until its next forward. */
typedef struct {
    double loss_sum;       /* cross entropy summed over labelled questions */
    int labelled, correct; /* questions with a label; those whose largest logit is the label */
    const nn_real *logits; /* [questions][answers] */
    wk_selection_t selection;
    const nn_real *presence; /* [sum over questions of their image's cells]: |m|^2 - |q|^2, or NULL
                                where the attention has none */
    const int *presence_offset;            /* [questions + 1] */
    int64_t forward_madds, backward_madds; /* multiply-adds of matrix products of the last passes */
    int64_t embed_backward_madds;          /* those of the image embedding's backward alone */
    double embed_backward_s;               /* and its seconds, a trunk's included */
    int64_t embed_backward_madds_dense;    /* what they would be if every cell had a gradient */
    int sparse_rows;           /* distinct rows of the sparse parameter with a gradient */
    const int32_t *sparse_row; /* [sparse_rows], ascending */
} wk_result_t;

/* The parameter table of a model: a pure function of configuration and shape. The caller releases
 * it with hp_params_release. HP_INPUT where the parts do not fit together. */
hp_status_t wk_model_table(const hp_config_t *config, const wk_model_shape_t *shape,
                           hp_params_t *params, hp_error_t *err) HP_MUST_CHECK;

/* hp_gemm_describe of the backend that the configuration chooses. */
void wk_model_describe_products(const hp_config_t *config, char *text, size_t size);

/* The grid of cells that the configured trunk makes of an image: what max_cells and a batch's
 * cell_offset must be. HP_INPUT where a kernel does not fit. */
hp_status_t wk_model_grid(const hp_config_t *config, int height, int width, int *rows_p,
                          int *columns_p, hp_error_t *err) HP_MUST_CHECK;

/* Whether batches must give the cells rounded: a bf16 model with image layers reads nothing else of
 * them. */
bool wk_model_reads_half(const hp_config_t *config);

/* Allocates all workspace for batches up to `limits`; nothing is allocated afterwards. The limits
 * must let rows of cells be counted by int. */
hp_status_t wk_model_create(const hp_config_t *config, const wk_model_shape_t *shape,
                            const wk_model_limits_t *limits, wk_model_t **model_p,
                            hp_error_t *err) HP_MUST_CHECK;
/* The workspace that wk_model_create would allocate. */
hp_status_t wk_model_measure(const hp_config_t *config, const wk_model_shape_t *shape,
                             const wk_model_limits_t *limits, size_t *bytes_p,
                             hp_error_t *err) HP_MUST_CHECK;
void wk_model_destroy(wk_model_t *model);
const hp_params_t *wk_model_params(const wk_model_t *model);
size_t wk_model_workspace_bytes(const wk_model_t *model);

/* The trunk alone, as it is used in evaluation: pixels [images][height][width][3], as a batch has
 * them, to cells [images * cells of one][*width_p]; coordinates, where the configuration has them,
 * are the last two of a cell. `images` is within the limits; the result is the model's until its
 * next pass. HP_INTERNAL: no trunk. */
hp_status_t wk_model_trunk(wk_model_t *model, const nn_real *weights, int images,
                           const nn_real *pixels, const nn_real **cells_p, int *width_p,
                           hp_error_t *err) HP_MUST_CHECK;

/* weights: the flat block [params->total]. The batch must stay as it is until backward is done.
 * HP_INTERNAL, before anything is written, where the batch is beyond the limits or not well formed:
 * a word, an answer or an image that is not there, a question without words. */
hp_status_t wk_model_forward(wk_model_t *model, const nn_real *weights, const nn_batch_t *batch,
                             const wk_pass_t *pass, wk_result_t *result,
                             hp_error_t *err) HP_MUST_CHECK;

/* Gradient of loss_sum of the last forward, once: activations are packed in place on the way.
 * batch and pass are those of the forward. Overwrites grads [params->total]; of a parameter with
 * sparse rows only the rows listed in result->sparse_row are written. Each parameter's `final` hook
 * is called once, as soon as its gradient will not change. Also updates result's counts. */
hp_status_t wk_model_backward(wk_model_t *model, const nn_real *weights, const nn_batch_t *batch,
                              const wk_pass_t *pass, nn_real *grads, wk_result_t *result,
                              hp_error_t *err) HP_MUST_CHECK;

#endif
