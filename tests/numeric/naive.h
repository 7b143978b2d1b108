/* The modules again, written as the equations stand: slow, one element at a time, m built in full.
 * The tests compare both. Arguments are the modules' own. */
#ifndef TESTS_NUMERIC_NAIVE_H
#define TESTS_NUMERIC_NAIVE_H

#include "worker/nn/pairwise.h"
#include "worker/nn/select.h"

/* |x_i + q|^2 - |q|^2 */
void naive_presence(const nn_batch_t *batch, int width, const nn_real *x, const nn_real *q,
                    nn_real *presence);

/* Sorts all cells. Writes ascending cells to out, returns their number. p: [n]; q2: |q|^2. */
int naive_select(const nn_select_t *select, int n, const nn_real *p, nn_real q2, int *out);

void naive_pool(const nn_selected_t *selected, int width, const nn_real *x, const nn_real *q,
                nn_real *out);

void naive_pairwise(const nn_pairwise_shape_t *shape, const nn_selected_t *selected,
                    const nn_real *weight, const nn_real *x, const nn_real *q, nn_real *out);

#endif
