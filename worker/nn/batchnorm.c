#include "worker/nn/batchnorm.h"

#include "worker/nn/rows.h"

#include <math.h>
#include <string.h>

void nn_batchnorm_take(nn_batchnorm_t *norm, hp_arena_t *arena, int channels) {
    *norm = (nn_batchnorm_t){.channels = channels};
    size_t n = (size_t)channels;
    norm->factor = hp_arena_take(arena, n, sizeof(nn_real));
    norm->offset = hp_arena_take(arena, n, sizeof(nn_real));
    for (int i = 0; i < 2; i++) norm->sum[i] = hp_arena_take(arena, n, sizeof(double));
}

static void clear(nn_batchnorm_t *norm) {
    for (int i = 0; i < 2; i++) memset(norm->sum[i], 0, (size_t)norm->channels * sizeof(double));
}

/* Two passes, in double: a mean far from zero costs the variance nothing. */
void nn_batchnorm_statistics(nn_batchnorm_t *norm, int rows, const nn_real *x, nn_real *mean,
                             nn_real *var) {
    int n = norm->channels;
    double *restrict total = norm->sum[0], *restrict square = norm->sum[1];
    clear(norm);
    for (int r = 0; r < rows; r++) {
        const nn_real *row = nn_row_const(x, r, n);
        for (int c = 0; c < n; c++) total[c] += (double)row[c];
    }
    for (int c = 0; c < n; c++) total[c] /= rows;
    for (int r = 0; r < rows; r++) {
        const nn_real *row = nn_row_const(x, r, n);
        for (int c = 0; c < n; c++) {
            double d = (double)row[c] - total[c];
            square[c] += d * d;
        }
    }
    for (int c = 0; c < n; c++) {
        mean[c] = (nn_real)total[c];
        var[c] = (nn_real)(square[c] / rows);
    }
}

static double deviation(nn_real var) { return sqrt((double)var + NN_BATCHNORM_EPS); }

void nn_batchnorm_forward(nn_batchnorm_t *norm, int rows, bool relu, const nn_real *x,
                          const nn_real *mean, const nn_real *var, const nn_real *gamma,
                          const nn_real *beta, nn_real *out) {
    int n = norm->channels;
    nn_real *factor = norm->factor, *offset = norm->offset;
    for (int c = 0; c < n; c++) {
        factor[c] = (nn_real)((double)gamma[c] / deviation(var[c]));
        offset[c] = beta[c] - factor[c] * mean[c];
    }
    for (int r = 0; r < rows; r++) {
        const nn_real *from = nn_row_const(x, r, n);
        nn_real *to = nn_row(out, r, n);
        for (int c = 0; c < n; c++) {
            nn_real y = factor[c] * from[c] + offset[c];
            to[c] = relu && y < 0 ? 0 : y;
        }
    }
}

/* With z = (x - mean) / deviation and means over the rows:
 * dx = gamma / deviation (dy - mean(dy) - z mean(dy z)) */
void nn_batchnorm_backward(nn_batchnorm_t *norm, int rows, const nn_real *x, const nn_real *out,
                           const nn_real *mean, const nn_real *var, const nn_real *gamma,
                           nn_real *grad, nn_real *grad_gamma, nn_real *grad_beta) {
    int n = norm->channels;
    double *restrict sum = norm->sum[0], *restrict product = norm->sum[1];
    clear(norm);
    for (int r = 0; r < rows; r++) {
        const nn_real *from = nn_row_const(x, r, n);
        const nn_real *y = out != NULL ? nn_row_const(out, r, n) : NULL;
        nn_real *g = nn_row(grad, r, n);
        for (int c = 0; c < n; c++) {
            if (y != NULL && !(y[c] > 0)) g[c] = 0;
            sum[c] += (double)g[c];
            product[c] += (double)g[c] * (double)(from[c] - mean[c]);
        }
    }
    for (int c = 0; c < n; c++) {
        double inverse = 1 / deviation(var[c]);
        grad_gamma[c] = (nn_real)(product[c] * inverse);
        grad_beta[c] = (nn_real)sum[c];
        norm->factor[c] = (nn_real)((double)gamma[c] * inverse);
        sum[c] /= rows;
        product[c] *= inverse * inverse / rows;
    }
    for (int r = 0; r < rows; r++) {
        const nn_real *from = nn_row_const(x, r, n);
        nn_real *g = nn_row(grad, r, n);
        for (int c = 0; c < n; c++)
            g[c] = norm->factor[c] *
                   (nn_real)((double)g[c] - sum[c] - (double)(from[c] - mean[c]) * product[c]);
    }
}
