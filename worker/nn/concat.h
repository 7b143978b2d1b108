/* The selected cells of a question side by side, in the order of the image, with the question
 * behind them:
 *
 *     out = [o_1; o_2; ...; o_n; q]
 *
 * What an MLP over a grid reads: the "CNN+MLP" that Relation Networks are compared with (Santoro et
 * al. 2017). Where a question has fewer than n cells, zeros stand in the place of those it lacks.
 * An object is a packed row x_i, or x_i + shift with a shift for each question. */
#ifndef NN_CONCAT_H
#define NN_CONCAT_H

#include "worker/nn/select.h"

typedef struct {
    int cells;          /* n; no question has more */
    int width;          /* of an object */
    int question_width; /* of q */
} nn_concat_shape_t;

static inline int nn_concat_out(const nn_concat_shape_t *shape) {
    return shape->cells * shape->width + shape->question_width;
}

/* out: [questions][nn_concat_out]; x: [rows][width], packed; shift: [questions][width], or NULL;
 * q: [questions][question_width]. */
void nn_concat_forward(const nn_concat_shape_t *shape, const nn_selected_t *selected,
                       const nn_real *x, const nn_real *shift, const nn_real *q, nn_real *out);

/* grad_x [rows][width], grad_shift [questions][width] and grad_q [questions][question_width] are
 * added to. grad_x may be NULL: x is not trained; grad_shift where there is no shift. */
void nn_concat_backward(const nn_concat_shape_t *shape, const nn_selected_t *selected,
                        const nn_real *grad_out, nn_real *grad_x, nn_real *grad_shift,
                        nn_real *grad_q);

#endif
