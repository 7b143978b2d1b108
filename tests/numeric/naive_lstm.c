#include "tests/numeric/naive.h"

#include <math.h>

static double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }

/* Row `row` of W_ih x + b_ih + W_hh h + b_hh. */
static double gate(int row, int in_width, int hidden, const nn_real *x, const nn_real *h,
                   const nn_real *weight_ih, const nn_real *weight_hh, const nn_real *bias_ih,
                   const nn_real *bias_hh) {
    double sum = bias_ih[row] + bias_hh[row];
    for (int c = 0; c < in_width; c++) sum += weight_ih[row * in_width + c] * x[c];
    for (int c = 0; c < hidden; c++) sum += weight_hh[row * hidden + c] * h[c];
    return sum;
}

void naive_lstm(int words, int in_width, int hidden, const nn_real *in, const nn_real *weight_ih,
                const nn_real *weight_hh, const nn_real *bias_ih, const nn_real *bias_hh,
                nn_real *out) {
    nn_real h[NAIVE_HIDDEN] = {0}, c[NAIVE_HIDDEN] = {0}, next[NAIVE_HIDDEN];
    for (int t = 0; t < words; t++, in += in_width) {
        for (int k = 0; k < hidden; k++) {
            double z[4];
            for (int g = 0; g < 4; g++)
                z[g] = gate(g * hidden + k, in_width, hidden, in, h, weight_ih, weight_hh, bias_ih,
                            bias_hh);
            double i = sigmoid(z[0]), f = sigmoid(z[1]), g = tanh(z[2]), o = sigmoid(z[3]);
            c[k] = f * c[k] + i * g;
            next[k] = o * tanh(c[k]);
        }
        for (int k = 0; k < hidden; k++) h[k] = next[k];
    }
    for (int k = 0; k < hidden; k++) out[k] = h[k];
}
