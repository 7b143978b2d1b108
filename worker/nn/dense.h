/* The fully connected layer of linear.h by an engine (oneDNN): bias and activation are part of the
 * product. With a bf16 engine weights and inputs are bf16, gradients of parameters and sums are
 * float; with another all of it is float. */
#ifndef NN_DENSE_H
#define NN_DENSE_H

#include "common/gemm.h"

typedef struct {
    hp_gemm_engine_t *engine;
    int in_width, out_width;
    hp_gemm_activation_t activation;
    const void *weight; /* [out_width][in_width]; hp_bf16_t where the engine is a bf16 one */
} nn_dense_t;

typedef struct {
    void *data; /* float or hp_bf16_t */
    hp_gemm_type_t type;
} nn_array_t;

/* in: [rows][in_width]; bias: [out_width]; out: [rows][out_width], either type. Returns the
 * multiply-adds, as the others do. */
int64_t nn_dense_forward(const nn_dense_t *layer, int rows, nn_array_t in, const float *bias,
                         nn_array_t out);

/* First half of backward: passed = grad [rows][out_width] through the activation, `out` being what
 * forward wrote; then grad_weight and grad_bias are overwritten. passed may be grad, of one type.
 */
int64_t nn_dense_backward_weight(const nn_dense_t *layer, int rows, nn_array_t in, nn_array_t out,
                                 nn_array_t grad, nn_array_t passed, float *grad_weight,
                                 float *grad_bias);

/* Second half: grad_in [rows][in_width] = passed weight. */
int64_t nn_dense_backward_in(const nn_dense_t *layer, int rows, nn_array_t passed,
                             nn_array_t grad_in);

#endif
