#include "worker/nn/rows.h"

#include "common/vector.h"

HP_VECTOR void nn_axpy(int n, nn_real a, const nn_real *restrict x, nn_real *restrict y) {
    for (int i = 0; i < n; i++) y[i] += a * x[i];
}

HP_VECTOR void nn_add(int n, const nn_real *restrict x, nn_real *restrict y) {
    for (int i = 0; i < n; i++) y[i] += x[i];
}

HP_VECTOR nn_real nn_dot(int n, const nn_real *x, const nn_real *y) {
    nn_real part[16] = {0};
    int i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) part[j] += x[i + j] * y[i + j];
    nn_real sum = 0;
    for (; i < n; i++) sum += x[i] * y[i];
    for (int j = 0; j < 16; j++) sum += part[j];
    return sum;
}

HP_VECTOR void nn_softmax(int n, nn_real *v) {
    nn_real max = v[0], sum = 0;
    for (int i = 1; i < n; i++)
        if (v[i] > max) max = v[i];
    for (int i = 0; i < n; i++) v[i] = nn_exp(v[i] - max);
    for (int i = 0; i < n; i++) sum += v[i];
    for (int i = 0; i < n; i++) v[i] /= sum;
}

HP_VECTOR void nn_tanh_rows(int rows, int width, nn_real *x) {
    for (int r = 0; r < rows; r++, x += width)
        for (int i = 0; i < width; i++) x[i] = nn_tanh(x[i]);
}

HP_VECTOR void nn_tanh_rows_backward(int rows, int width, const nn_real *restrict y,
                                     nn_real *restrict grad) {
    for (int r = 0; r < rows; r++, y += width, grad += width)
        for (int i = 0; i < width; i++) grad[i] *= 1 - y[i] * y[i];
}
