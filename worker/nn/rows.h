/* Small loops over rows of numbers, where a matrix product would be too much. */
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
static inline void nn_axpy(int n, nn_real a, const nn_real *x, nn_real *y) {
    for (int i = 0; i < n; i++) y[i] += a * x[i];
}

/* y += x */
static inline void nn_add(int n, const nn_real *x, nn_real *y) {
    for (int i = 0; i < n; i++) y[i] += x[i];
}

/* x.y in a fixed order of summation. Sixteen partial sums: a compiler that must not reorder
 * additions can then use vector registers, and the rounding error is that of a sum a sixteenth as
 * long. */
static inline nn_real nn_dot(int n, const nn_real *x, const nn_real *y) {
    nn_real part[16] = {0};
    int i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) part[j] += x[i + j] * y[i + j];
    nn_real sum = 0;
    for (; i < n; i++) sum += x[i] * y[i];
    for (int j = 0; j < 16; j++) sum += part[j];
    return sum;
}

/* v = softmax(v), n > 0. The largest is taken off first: no overflow. */
static inline void nn_softmax(int n, nn_real *v) {
    nn_real max = v[0], sum = 0;
    for (int i = 1; i < n; i++)
        if (v[i] > max) max = v[i];
    for (int i = 0; i < n; i++) sum += v[i] = nn_exp(v[i] - max);
    for (int i = 0; i < n; i++) v[i] /= sum;
}

/* x = tanh(x), [rows][width] */
static inline void nn_tanh_rows(int rows, int width, nn_real *x) {
    for (int r = 0; r < rows; r++, x += width)
        for (int i = 0; i < width; i++) x[i] = nn_tanh(x[i]);
}

/* grad: from the gradient of y = tanh(x) to that of x. */
static inline void nn_tanh_rows_backward(int rows, int width, const nn_real *y, nn_real *grad) {
    for (int r = 0; r < rows; r++, y += width, grad += width)
        for (int i = 0; i < width; i++) grad[i] *= 1 - y[i] * y[i];
}

#endif
