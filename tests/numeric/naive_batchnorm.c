#include "tests/numeric/naive.h"

#include "worker/nn/batchnorm.h"

#include <math.h>

void naive_batchnorm(int rows, int channels, bool relu, const nn_real *x, const nn_real *gamma,
                     const nn_real *beta, nn_real *out) {
    for (int c = 0; c < channels; c++) {
        double mean = 0, var = 0;
        for (int r = 0; r < rows; r++) mean += x[r * channels + c] / rows;
        for (int r = 0; r < rows; r++) {
            double d = x[r * channels + c] - mean;
            var += d * d / rows;
        }
        for (int r = 0; r < rows; r++) {
            double y =
                (x[r * channels + c] - mean) / sqrt(var + NN_BATCHNORM_EPS) * gamma[c] + beta[c];
            out[r * channels + c] = relu && y < 0 ? 0 : y;
        }
    }
}
