#include "tests/numeric/naive.h"

void naive_pool(const nn_selected_t *selected, int width, const nn_real *x, const nn_real *q,
                nn_real *out) {
    for (int i = 0; i < selected->questions; i++)
        for (int c = 0; c < width; c++) {
            nn_real sum = 0;
            for (int s = selected->offset[i]; s < selected->offset[i + 1]; s++)
                sum += x[selected->row[s] * width + c] + q[i * width + c];
            out[i * width + c] = sum;
        }
}
