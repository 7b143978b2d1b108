/* Small loops over rows of numbers, where a matrix product would be too much. An array that is
 * written does not overlap the one that is read. */
#ifndef NN_ROWS_H
#define NN_ROWS_H

#include "worker/nn/activation.h"
#include "worker/nn/real.h"

#include <stddef.h>

/* Row r of a row-major matrix of `width` columns. */
static inline nn_real *nn_row(nn_real *x, int r, int width) {
    return x + (size_t)r * (size_t)width;
}
static inline const nn_real *nn_row_const(const nn_real *x, int r, int width) {
    return x + (size_t)r * (size_t)width;
}

/* y += a x */
void nn_axpy(int n, nn_real a, const nn_real *restrict x, nn_real *restrict y);

/* y += x */
void nn_add(int n, const nn_real *restrict x, nn_real *restrict y);

/* x.y in a fixed order of summation. Sixteen partial sums: a compiler that must not reorder
 * additions can then use vector registers, and the rounding error is that of a sum a sixteenth as
 * long. */
nn_real nn_dot(int n, const nn_real *x, const nn_real *y);

/* v = softmax(v), n > 0. The largest is taken off first: no overflow. */
void nn_softmax(int n, nn_real *v);

/* x = tanh(x), [rows][width] */
void nn_tanh_rows(int rows, int width, nn_real *x);

/* grad: from the gradient of y = tanh(x) to that of x. */
void nn_tanh_rows_backward(int rows, int width, const nn_real *restrict y, nn_real *restrict grad);

#endif
