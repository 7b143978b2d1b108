/* Presence: how strongly a cell answers a question, the norm of m = x + q (Malinowski et al. 2018,
 * equations 4 and 5), for all cells of an image and each of its questions, without building m:
 *
 *     |m|^2 = |x|^2 + 2 x.q + |q|^2
 *
 * one small matrix product an image. What is stored leaves |q|^2 out: it is the same for all cells
 * of a question, so ranking does not need it. Always in full precision: rounding x and q to bf16
 * would move cells in and out of the selection. Selection passes no gradient to presence; only the
 * straight-through estimator does. */
#ifndef NN_PRESENCE_H
#define NN_PRESENCE_H

#include "worker/nn/batch.h"

/* offset[q] .. offset[q + 1] are the presences of question q, one for each cell of its image.
 * offset: [questions + 1]. Returns their number, offset[questions]. */
int nn_presence_offsets(const nn_batch_t *batch, int *offset);

/* norm[r] = |x[r]|^2 for x [rows][width]. */
void nn_squared_norms(int rows, int width, const nn_real *x, nn_real *norm);

/* presence[offset[q] + i] = |x_i|^2 + 2 x_i.q
 * x: [cells of the batch][width]; q: [questions][width]; norm: [cells of the batch], |x|^2 as
 * nn_squared_norms gives it; offset: from nn_presence_offsets; presence: [offset[questions]].
 * Returns the multiply-adds. */
int64_t nn_presence(const nn_batch_t *batch, int width, const nn_real *x, const nn_real *q,
                    const nn_real *norm, const int *offset, nn_real *presence);

/* The control that does not see the question: presence[offset[q] + i] = |x_i|^2. */
void nn_presence_image_only(const nn_batch_t *batch, const nn_real *norm, const int *offset,
                            nn_real *presence);

/* The gradient of the norms p = |x + q| = sqrt(presence + |q|^2), whose own is (x + q) / p (zero
 * where p is zero). grad_p: [offset[questions]], overwritten with grad_p / p; question_norm:
 * [questions], |q|^2; grad_x [cells of the batch][width] and grad_q [questions][width] are added
 * to; grad_x may be NULL. Returns the multiply-adds. */
int64_t nn_presence_backward(const nn_batch_t *batch, int width, const nn_real *x, const nn_real *q,
                             const nn_real *question_norm, const nn_real *presence,
                             const int *offset, nn_real *grad_p, nn_real *grad_x, nn_real *grad_q);

#endif
