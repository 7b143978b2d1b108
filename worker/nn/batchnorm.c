#include "worker/nn/batchnorm.h"

#include "common/parallel.h"
#include "common/vector.h"
#include "worker/nn/rows.h"

#include <math.h>
#include <string.h>

/* Numbers of a block, whose sums are a thread's: few enough to be in a core's second cache still
 * when they are visited again. Blocks are cut by the number of channels alone and added in their
 * order: whoever sums which changes no bit. */
enum { BLOCK = 32768 };

static int rows_of_block(int channels) { return channels < BLOCK ? BLOCK / channels : 1; }

static int count_blocks(const nn_batchnorm_t *norm, int rows) {
    return (rows + norm->block - 1) / norm->block;
}

static int rows_in(const nn_batchnorm_t *norm, int rows, int b) {
    const int left = rows - b * norm->block;
    return left < norm->block ? left : norm->block;
}

void nn_batchnorm_take(nn_batchnorm_t *norm, hp_arena_t *arena, int channels, int rows) {
    *norm = (nn_batchnorm_t){.channels = channels, .block = rows_of_block(channels)};
    const size_t n = (size_t)channels, blocks = (size_t)count_blocks(norm, rows);
    norm->factor = hp_arena_take(arena, n, sizeof(nn_real));
    norm->offset = hp_arena_take(arena, n, sizeof(nn_real));
    for (int i = 0; i < 2; i++) {
        norm->sum[i] = hp_arena_take(arena, n, sizeof(double));
        norm->part[i] = hp_arena_take(arena, blocks * n, sizeof(double));
    }
}

/* What the passes over rows share; those that write go over `to`. */
typedef struct {
    const nn_batchnorm_t *norm;
    int rows;
    bool relu;
    const nn_real *x, *mean;
    nn_real *to;
} pass_t;

/* ---- statistics ---- */

/* Of a block: its mean, and the sum of squared distances from that. */
HP_VECTOR static void moments(int rows, int n, const nn_real *restrict x, double *restrict mean,
                              double *restrict square) {
    const nn_real *row = x;
    for (int c = 0; c < n; c++) mean[c] = square[c] = 0;
    for (int r = 0; r < rows; r++, row += n)
        for (int c = 0; c < n; c++) mean[c] += (double)row[c];
    for (int c = 0; c < n; c++) mean[c] /= rows;
    row = x;
    for (int r = 0; r < rows; r++, row += n)
        for (int c = 0; c < n; c++) {
            const double d = (double)row[c] - mean[c];
            square[c] += d * d;
        }
}

static void moments_of_blocks(void *context, int64_t begin, int64_t end) {
    const pass_t *p = context;
    const int n = p->norm->channels;
    for (int b = (int)begin; b < (int)end; b++)
        moments(rows_in(p->norm, p->rows, b), n, nn_row_const(p->x, b * p->norm->block, n),
                p->norm->part[0] + (size_t)b * (size_t)n, p->norm->part[1] + (size_t)b * (size_t)n);
}

/* In double, and by Chan, Golub and LeVeque 1983 for two blocks: a mean far from zero costs the
 * variance nothing. */
void nn_batchnorm_statistics(nn_batchnorm_t *norm, int rows, const nn_real *x, nn_real *mean,
                             nn_real *var) {
    const int n = norm->channels, blocks = count_blocks(norm, rows);
    double *restrict total = norm->sum[0], *restrict square = norm->sum[1];
    pass_t pass = {.norm = norm, .rows = rows, .x = x};
    hp_parallel(blocks, 1, moments_of_blocks, &pass);
    memcpy(total, norm->part[0], (size_t)n * sizeof *total);
    memcpy(square, norm->part[1], (size_t)n * sizeof *square);
    for (int b = 1; b < blocks; b++) {
        const double *m = norm->part[0] + (size_t)b * (size_t)n,
                     *s = norm->part[1] + (size_t)b * (size_t)n;
        const double before = (double)b * norm->block, own = rows_in(norm, rows, b);
        for (int c = 0; c < n; c++) {
            const double d = m[c] - total[c];
            total[c] += d * (own / (before + own));
            square[c] += s[c] + d * d * (before * own / (before + own));
        }
    }
    for (int c = 0; c < n; c++) {
        mean[c] = (nn_real)total[c];
        var[c] = (nn_real)(square[c] / rows);
    }
}

/* ---- forward ---- */

static double deviation(nn_real var) { return sqrt((double)var + NN_BATCHNORM_EPS); }

HP_VECTOR static void normalise(int rows, int n, bool relu, const nn_real *restrict factor,
                                const nn_real *restrict offset, const nn_real *x, nn_real *out) {
    for (int r = 0; r < rows; r++, x += n, out += n) {
        if (!relu) {
            for (int c = 0; c < n; c++) out[c] = factor[c] * x[c] + offset[c];
            continue;
        }
        for (int c = 0; c < n; c++) {
            const nn_real y = factor[c] * x[c] + offset[c];
            out[c] = y < 0 ? 0 : y; /* a NaN stays one */
        }
    }
}

static void normalise_rows(void *context, int64_t begin, int64_t end) {
    const pass_t *p = context;
    const int n = p->norm->channels;
    normalise((int)(end - begin), n, p->relu, p->norm->factor, p->norm->offset,
              nn_row_const(p->x, (int)begin, n), nn_row(p->to, (int)begin, n));
}

void nn_batchnorm_forward(nn_batchnorm_t *norm, int rows, bool relu, const nn_real *x,
                          const nn_real *mean, const nn_real *var, const nn_real *gamma,
                          const nn_real *beta, nn_real *out) {
    for (int c = 0; c < norm->channels; c++) {
        norm->factor[c] = (nn_real)((double)gamma[c] / deviation(var[c]));
        norm->offset[c] = beta[c] - norm->factor[c] * mean[c];
    }
    pass_t pass = {.norm = norm, .rows = rows, .relu = relu, .x = x, .to = out};
    hp_parallel(rows, hp_parallel_rows(norm->channels), normalise_rows, &pass);
}

/* ---- backward ---- */

/* Sums of g and of g (x - mean), g having passed the ReLU: whether that was open is computed again,
 * with forward's bits, which costs less than to read what forward wrote. */
HP_VECTOR static void sum_gradients(int rows, int n, bool relu, const nn_real *restrict factor,
                                    const nn_real *restrict offset, const nn_real *restrict mean,
                                    const nn_real *restrict x, const nn_real *restrict grad,
                                    double *restrict sum, double *restrict product) {
    for (int c = 0; c < n; c++) sum[c] = product[c] = 0;
    for (int r = 0; r < rows; r++, x += n, grad += n)
        for (int c = 0; c < n; c++) {
            const bool open = !relu || factor[c] * x[c] + offset[c] > 0;
            const double g = open ? (double)grad[c] : 0;
            sum[c] += g;
            product[c] += g * (double)(x[c] - mean[c]);
        }
}

static void sum_blocks(void *context, int64_t begin, int64_t end) {
    const pass_t *p = context;
    const nn_batchnorm_t *norm = p->norm;
    const int n = norm->channels;
    for (int b = (int)begin; b < (int)end; b++)
        sum_gradients(rows_in(norm, p->rows, b), n, p->relu, norm->factor, norm->offset, p->mean,
                      nn_row_const(p->x, b * norm->block, n),
                      nn_row_const(p->to, b * norm->block, n),
                      norm->part[0] + (size_t)b * (size_t)n, norm->part[1] + (size_t)b * (size_t)n);
}

/* grad: from that of out to that of x. */
HP_VECTOR static void spread(int rows, int n, bool relu, const nn_real *restrict factor,
                             const nn_real *restrict offset, const nn_real *restrict mean,
                             const double *restrict sum, const double *restrict product,
                             const nn_real *restrict x, nn_real *restrict grad) {
    for (int r = 0; r < rows; r++, x += n, grad += n)
        for (int c = 0; c < n; c++) {
            const bool open = !relu || factor[c] * x[c] + offset[c] > 0;
            const nn_real g = open ? grad[c] : 0;
            grad[c] =
                factor[c] * (nn_real)((double)g - sum[c] - (double)(x[c] - mean[c]) * product[c]);
        }
}

static void spread_rows(void *context, int64_t begin, int64_t end) {
    const pass_t *p = context;
    const nn_batchnorm_t *norm = p->norm;
    const int n = norm->channels;
    spread((int)(end - begin), n, p->relu, norm->factor, norm->offset, p->mean, norm->sum[0],
           norm->sum[1], nn_row_const(p->x, (int)begin, n), nn_row(p->to, (int)begin, n));
}

/* With z = (x - mean) / deviation and means over the rows:
 * dx = gamma / deviation (dy - mean(dy) - z mean(dy z)) */
void nn_batchnorm_backward(nn_batchnorm_t *norm, int rows, bool relu, const nn_real *x,
                           const nn_real *mean, const nn_real *var, nn_real *grad,
                           nn_real *grad_gamma, nn_real *grad_beta) {
    const int n = norm->channels, blocks = count_blocks(norm, rows);
    double *sum = norm->sum[0], *product = norm->sum[1];
    pass_t pass = {.norm = norm, .rows = rows, .relu = relu, .x = x, .mean = mean, .to = grad};
    hp_parallel(blocks, 1, sum_blocks, &pass);
    for (int c = 0; c < n; c++) {
        sum[c] = product[c] = 0;
        for (int b = 0; b < blocks; b++) {
            sum[c] += norm->part[0][(size_t)b * (size_t)n + (size_t)c];
            product[c] += norm->part[1][(size_t)b * (size_t)n + (size_t)c];
        }
        const double inverse = 1 / deviation(var[c]);
        grad_gamma[c] = (nn_real)(product[c] * inverse);
        grad_beta[c] = (nn_real)sum[c];
        sum[c] /= rows;
        product[c] *= inverse * inverse / rows;
    }
    hp_parallel(rows, hp_parallel_rows(n), spread_rows, &pass);
}
