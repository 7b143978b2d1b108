/* A fully connected layer, with a ReLU or without; on cells it is the 1x1 convolution. Layout of
 * torch.nn.Linear: weight [out_width][in_width]. */
#ifndef NN_LINEAR_H
#define NN_LINEAR_H

#include "worker/nn/real.h"

#include <stdbool.h>
#include <stdint.h>

/* out = in weight^T + bias, and the larger of that and 0 where relu.
 * in: [rows][in_width]; bias: [out_width]; out: [rows][out_width]. Returns the multiply-adds. */
int64_t nn_linear_forward(int rows, int in_width, int out_width, bool relu, const nn_real *in,
                          const nn_real *weight, const nn_real *bias, nn_real *out);

/* grad [rows][width] passes the ReLU that gave `out` (NULL: there is none), in place, and its rows
 * are added to sum [width]. */
void nn_mask_and_sum(int rows, int width, const nn_real *out, nn_real *grad, nn_real *sum);

/* Backward comes in two halves, so that the parameters' gradients can leave before the second.
 *
 * First half: grad_out [rows][out_width] passes the ReLU in place (`out` is what forward wrote;
 * NULL where the layer has no ReLU), then grad_weight and grad_bias are overwritten. */
int64_t nn_linear_backward_weight(int rows, int in_width, int out_width, const nn_real *in,
                                  const nn_real *out, nn_real *grad_out, nn_real *grad_weight,
                                  nn_real *grad_bias);

/* Second half: grad_in [rows][in_width] = grad_out weight, grad_out as the first half left it. */
int64_t nn_linear_backward_in(int rows, int in_width, int out_width, const nn_real *weight,
                              const nn_real *grad_out, nn_real *grad_in);

#endif
