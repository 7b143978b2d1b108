#include "worker/nn/linear.h"

#include "common/parallel.h"
#include "common/vector.h"
#include "worker/nn/gemm.h"

#include <string.h>

/* x += bias, then the ReLU, in one pass over the product. */
HP_VECTOR static void add_bias(int rows, int width, bool relu, const nn_real *restrict bias,
                               nn_real *restrict x) {
    for (int r = 0; r < rows; r++, x += width) {
        if (relu)
            for (int i = 0; i < width; i++) {
                nn_real y = x[i] + bias[i];
                x[i] = y < 0 ? 0 : y; /* a NaN stays one */
            }
        else
            for (int i = 0; i < width; i++) x[i] += bias[i];
    }
}

typedef struct {
    int rows, width;
    bool relu;
    const nn_real *bias, *y;
    nn_real *x, *sum;
} pass_t;

static void add_bias_rows(void *context, int64_t begin, int64_t end) {
    const pass_t *p = context;
    add_bias((int)(end - begin), p->width, p->relu, p->bias, p->x + begin * p->width);
}

int64_t nn_linear_forward(int rows, int in_width, int out_width, bool relu, const nn_real *in,
                          const nn_real *weight, const nn_real *bias, nn_real *out) {
    int64_t madds = nn_gemm(false, true, rows, out_width, in_width, 1, in, in_width, weight,
                            in_width, 0, out, out_width);
    pass_t pass = {.width = out_width, .relu = relu, .bias = bias, .x = out};
    hp_parallel(rows, hp_parallel_rows(out_width), add_bias_rows, &pass);
    return madds;
}

/* g through the ReLU that gave y (NULL: none), and sum += its rows, in one pass. */
HP_VECTOR static void mask_and_sum(int rows, int width, int stride, const nn_real *restrict y,
                                   nn_real *restrict g, nn_real *restrict sum) {
    for (int r = 0; r < rows; r++, g += stride) {
        if (y == NULL) {
            for (int i = 0; i < width; i++) sum[i] += g[i];
            continue;
        }
        for (int i = 0; i < width; i++) {
            g[i] = y[i] > 0 ? g[i] : 0;
            sum[i] += g[i];
        }
        y += stride;
    }
}

/* Some columns: the sums run over all rows in order, whoever takes which columns. */
static void mask_columns(void *context, int64_t begin, int64_t end) {
    const pass_t *p = context;
    mask_and_sum(p->rows, (int)(end - begin), p->width, p->y != NULL ? p->y + begin : NULL,
                 p->x + begin, p->sum + begin);
}

void nn_mask_and_sum(int rows, int width, const nn_real *out, nn_real *grad, nn_real *sum) {
    pass_t pass = {.rows = rows, .width = width, .y = out, .x = grad, .sum = sum};
    hp_parallel(width, hp_parallel_rows(rows), mask_columns, &pass);
}

int64_t nn_linear_backward_weight(int rows, int in_width, int out_width, const nn_real *in,
                                  const nn_real *out, nn_real *grad_out, nn_real *grad_weight,
                                  nn_real *grad_bias) {
    memset(grad_bias, 0, (size_t)out_width * sizeof *grad_bias);
    nn_mask_and_sum(rows, out_width, out, grad_out, grad_bias);
    return nn_gemm(true, false, out_width, in_width, rows, 1, grad_out, out_width, in, in_width, 0,
                   grad_weight, in_width);
}

int64_t nn_linear_backward_in(int rows, int in_width, int out_width, const nn_real *weight,
                              const nn_real *grad_out, nn_real *grad_in) {
    return nn_gemm(false, false, rows, in_width, out_width, 1, grad_out, out_width, weight,
                   in_width, 0, grad_in, in_width);
}
