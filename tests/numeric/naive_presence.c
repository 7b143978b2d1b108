#include "tests/numeric/naive.h"

void naive_presence(const nn_batch_t *batch, int width, const nn_real *x, const nn_real *q,
                    nn_real *presence) {
    for (int i = 0; i < batch->questions; i++) {
        int begin = batch->cell_offset[batch->image[i]];
        int end = batch->cell_offset[batch->image[i] + 1];
        for (int cell = begin; cell < end; cell++) {
            nn_real m2 = 0, q2 = 0;
            for (int c = 0; c < width; c++) {
                nn_real m = x[cell * width + c] + q[i * width + c];
                m2 += m * m;
                q2 += q[i * width + c] * q[i * width + c];
            }
            *presence++ = m2 - q2;
        }
    }
}
