/* The speed of a model: forward and backward over one synthetic batch, without data, servers or
 * Adam. */
#ifndef WK_BENCH_H
#define WK_BENCH_H

#include "worker/model.h"

#include <stdint.h>

typedef enum {
    WK_BENCH_OWN,      /* the model selects */
    WK_BENCH_SAME,     /* questions of an image select the same cells */
    WK_BENCH_DIFFERENT /* they select different ones, as far as there are cells */
} wk_bench_selection_t;

typedef struct {
    wk_model_shape_t shape;
    int questions;              /* of the batch */
    double questions_per_image; /* on average */
    int tokens;                 /* of a question, on average */
    wk_bench_selection_t selection;
    int cells; /* of a question, where the model does not select */
} wk_bench_plan_t;

/* Of one step; seconds. */
typedef struct {
    double forward_s, backward_s;
    double embed_backward_s; /* of backward: the image embedding's part */
    int64_t forward_madds, backward_madds;
    int64_t rows; /* distinct cells selected in the batch: what backward goes over */
} wk_bench_step_t;

typedef struct wk_bench wk_bench_t;

hp_status_t wk_bench_create(const hp_config_t *config, const wk_bench_plan_t *plan,
                            wk_bench_t **bench_p, hp_error_t *err) HP_MUST_CHECK;
void wk_bench_destroy(wk_bench_t *bench); /* NULL is fine */
const hp_params_t *wk_bench_params(const wk_bench_t *bench);
const nn_batch_t *wk_bench_batch(const wk_bench_t *bench);

/* Of the last step, [params->count]: seconds after which forward first read a parameter, and
 * backward had its gradient; below 0: it did not. */
const double *wk_bench_need(const wk_bench_t *bench);
const double *wk_bench_final(const wk_bench_t *bench);

hp_status_t wk_bench_step(wk_bench_t *bench, wk_bench_step_t *step, hp_error_t *err) HP_MUST_CHECK;

#endif
