/* Sum pooling over the selected cells of m = x + q, without building m:
 *
 *     out = sum_i (x_i + q) = sum_i x_i + k q,    k the question's number of selected cells */
#ifndef NN_POOL_H
#define NN_POOL_H

#include "worker/nn/select.h"

/* out: [questions][width]; x: [rows][width], the packed rows; q: [questions][width]. */
void nn_pool_forward(const nn_selected_t *selected, int width, const nn_real *x, const nn_real *q,
                     nn_real *out);

/* The same, reading the cells where they lie; x: [cells of the batch][width]. */
void nn_pool_forward_cells(const nn_batch_t *batch, const nn_selected_t *selected, int width,
                           const nn_real *x, const nn_real *q, nn_real *out);

/* grad_q [questions][width] and grad_x [rows][width] are added to. grad_x may be NULL: x is the
 * features themselves, which are not trained. */
void nn_pool_backward(const nn_selected_t *selected, int width, const nn_real *grad_out,
                      nn_real *grad_q, nn_real *grad_x);

#endif
