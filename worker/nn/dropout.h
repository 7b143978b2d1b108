/* Dropout, keyed by example and layer: the mask is the same however the example is batched. */
#ifndef NN_DROPOUT_H
#define NN_DROPOUT_H

#include "worker/nn/real.h"

#include <stdint.h>

/* In place: each value of x [rows][width] becomes 0 with probability rate (0 <= rate < 1), else is
 * divided by 1 - rate. The mask of a row is a function of (seed, key[row], layer) alone, so
 * backward is the same call on the gradient. key: [rows]. */
void nn_dropout(int rows, int width, double rate, uint64_t seed, uint64_t layer,
                const uint64_t *key, nn_real *x);

#endif
