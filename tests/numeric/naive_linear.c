#include "tests/numeric/naive.h"

#include <math.h>

void naive_linear(int in_width, int out_width, bool relu, const nn_real *in, const nn_real *weight,
                  const nn_real *bias, nn_real *out) {
    for (int o = 0; o < out_width; o++) {
        double sum = bias[o];
        for (int i = 0; i < in_width; i++) sum += weight[o * in_width + i] * in[i];
        out[o] = relu && sum < 0.0 ? 0.0 : sum;
    }
}

double naive_cross_entropy(int answers, const nn_real *logits, int label) {
    long double sum = 0.0L; /* the range of long double needs no shift */
    for (int i = 0; i < answers; i++) sum += expl((long double)logits[i]);
    return (double)(logl(sum) - (long double)logits[label]);
}
