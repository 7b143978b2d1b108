/* Batch normalisation (Ioffe and Szegedy 2015) of rows, column by column; a convolution's output is
 * one row for each position. Training takes the statistics of the rows at hand, which are those of
 * a unit's distinct images; evaluation takes running averages, which the servers keep: as in
 * PyTorch, of the unbiased variance. */
#ifndef NN_BATCHNORM_H
#define NN_BATCHNORM_H

#include "common/memory.h"
#include "worker/nn/real.h"

#include <stdbool.h>

#define NN_BATCHNORM_EPS 1e-5 /* PyTorch's */

typedef struct {
    int channels;
    int block;                /* rows whose sums are taken together */
    nn_real *factor, *offset; /* [channels]: out = factor x + offset */
    double *sum[2];           /* [channels] */
    double *part[2];          /* [blocks][channels]: the sums of each block */
} nn_batchnorm_t;

/* For up to so many rows. */
void nn_batchnorm_take(nn_batchnorm_t *norm, hp_arena_t *arena, int channels, int rows);

/* mean and var (biased: divided by rows) of x [rows][channels]; both [channels]. rows > 0. */
void nn_batchnorm_statistics(nn_batchnorm_t *norm, int rows, const nn_real *x, nn_real *mean,
                             nn_real *var);

/* out = (x - mean) / sqrt(var + eps) gamma + beta, and the larger of that and 0 where relu. out may
 * be x. mean and var are the statistics of x in training, running averages in evaluation. */
void nn_batchnorm_forward(nn_batchnorm_t *norm, int rows, bool relu, const nn_real *x,
                          const nn_real *mean, const nn_real *var, const nn_real *gamma,
                          const nn_real *beta, nn_real *out);

/* In training, after forward of the same x, statistics and relu. grad [rows][channels] comes in as
 * the gradient of out and leaves as that of x. grad_gamma and grad_beta are overwritten. Every
 * row's gradient is dense, wherever it came from: the statistics tie all rows together. */
void nn_batchnorm_backward(nn_batchnorm_t *norm, int rows, bool relu, const nn_real *x,
                           const nn_real *mean, const nn_real *var, nn_real *grad,
                           nn_real *grad_gamma, nn_real *grad_beta);

#endif
