/* Word embedding: lookup, and a gradient that touches only the rows of words that occurred. */
#ifndef NN_EMBEDDING_H
#define NN_EMBEDDING_H

#include "worker/nn/real.h"

#include <stdint.h>

/* out[r] = weight[token[index[r]]]
 * weight: [words][width]; index: [rows], the order wanted; out: [rows][width]. */
void nn_embedding_forward(int rows, int width, const nn_real *weight, const int32_t *token,
                          const int *index, nn_real *out);

/* The distinct tokens, ascending, into row [at most `tokens`]; returns their number. mark: [words]
 * bytes of scratch. */
int nn_embedding_rows(int tokens, int words, const int32_t *token, unsigned char *mark,
                      int32_t *row);

/* grad_weight[word] = the sum of grad_out[r] over r with token[index[r]] = word, for the words in
 * distinct [distinct_rows]; other rows are not touched. grad_out: [rows][width]. */
void nn_embedding_backward(int rows, int width, const int32_t *token, const int *index,
                           int distinct_rows, const int32_t *distinct, const nn_real *grad_out,
                           nn_real *grad_weight);

#endif
