/* The modules again, written as the equations stand: slow, one element at a time, m built in full.
 * The tests compare both. Arguments are the modules' own. */
#ifndef TESTS_NUMERIC_NAIVE_H
#define TESTS_NUMERIC_NAIVE_H

#include "common/config.h"
#include "common/params.h"
#include "worker/nn/concat.h"
#include "worker/nn/conv.h"
#include "worker/nn/pairwise.h"
#include "worker/nn/relation.h"
#include "worker/nn/stacked.h"
#include "worker/nn/select.h"

#include <stdbool.h>

/* |x_i + q|^2 - |q|^2 */
void naive_presence(const nn_batch_t *batch, int width, const nn_real *x, const nn_real *q,
                    nn_real *presence);

/* Sorts all cells. Writes ascending cells to out, returns their number. p: [n]; q2: |q|^2. */
int naive_select(const nn_select_t *select, int n, const nn_real *p, nn_real q2, int *out);

void naive_pool(const nn_selected_t *selected, int width, const nn_real *x, const nn_real *q,
                nn_real *out);

void naive_pairwise(const nn_pairwise_shape_t *shape, const nn_selected_t *selected,
                    const nn_real *weight, const nn_real *x, const nn_real *q, nn_real *out);

/* sum_i sum_j gate_i gate_j g(o_i, o_j, q), each pair's input written out; gate: [slots], or
 * NULL: 1. */
void naive_relation(const nn_relation_shape_t *shape, const nn_selected_t *selected,
                    const double *gate, const nn_relation_weights_t *weights,
                    const nn_relation_in_t *in, nn_real *out);

/* Place by place; x is m where there is a shift. */
void naive_concat(const nn_concat_shape_t *shape, const nn_selected_t *selected, const nn_real *x,
                  const nn_real *shift, const nn_real *q, nn_real *out);

void naive_stacked(const nn_stacked_shape_t *shape, const nn_selected_t *selected,
                   const nn_stacked_weights_t *weights, const nn_real *x, const nn_real *q,
                   nn_real *out);

/* Every output is a sum over the kernel; bias may be NULL. */
void naive_conv(const nn_conv_shape_t *shape, int images, bool relu, const nn_real *in,
                const nn_real *weight, const nn_real *bias, nn_real *out);

/* Statistics of the rows themselves. */
void naive_batchnorm(int rows, int channels, bool relu, const nn_real *x, const nn_real *gamma,
                     const nn_real *beta, nn_real *out);

/* One row through torch.nn.Linear, and a ReLU or not. weight: [out_width][in_width]. */
void naive_linear(int in_width, int out_width, bool relu, const nn_real *in, const nn_real *weight,
                  const nn_real *bias, nn_real *out);

/* One question through torch.nn.LSTM, as its documentation writes the equations. in:
 * [words][in_width]; weight_ih: [4 hidden][in_width]; weight_hh: [4 hidden][hidden]; out: [hidden],
 * h after the last word. hidden is at most NAIVE_HIDDEN. */
enum { NAIVE_HIDDEN = 64 };
void naive_lstm(int words, int in_width, int hidden, const nn_real *in, const nn_real *weight_ih,
                const nn_real *weight_hh, const nn_real *bias_ih, const nn_real *bias_hh,
                nn_real *out);

/* -log softmax(logits)[label] */
double naive_cross_entropy(int answers, const nn_real *logits, int label);

/* One question through the whole model in evaluation: word by word, cell by cell, m = x + q in full
 * for the cells given. Weights are found by their names. logits: [answers]; presence: |m|^2 - |q|^2
 * of all cells of the image. Widths are at most NAIVE_WIDTH, cells at most NAIVE_CELLS. */
enum { NAIVE_WIDTH = 96, NAIVE_CELLS = 16 };
void naive_model(const hp_config_t *config, const hp_params_t *params, const nn_real *weights,
                 const nn_batch_t *batch, int question, int cells, const int *cell, nn_real *logits,
                 nn_real *presence);

/* The same with the straight-through estimator's surrogate in place of the selection: a function
 * that is smooth where the weights are `base`'s (and the cells `base_batch`'s, which is `batch` but
 * where a trunk makes them), has the value of the hard selection there, and
 * whose gradient is the estimator's. For a sum, sum_i m_i + (sum over cells of m_i - sum_i m_i at
 * base); for a relation, sum_ij b_i b_j g(o_i, o_j, q) with b_i = (1 if selected) + |m_i| - (|m_i|
 * at base). */
void naive_straight_through(const hp_config_t *config, const hp_params_t *params,
                            const nn_real *weights, const nn_batch_t *batch, const nn_real *base,
                            const nn_batch_t *base_batch, int question, int cells, const int *cell,
                            nn_real *logits);

#endif
