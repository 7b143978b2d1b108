#include "tests/numeric/naive.h"

#include <math.h>
#include <string.h>

enum { WIDEST = 64 };

/* w.tanh(W_I v + W_Q u + b) */
static nn_real score(const nn_stacked_shape_t *shape, const nn_stacked_weights_t *weights, int hop,
                     const nn_real *v, const nn_real *u) {
    nn_real sum = 0;
    for (int a = 0; a < shape->attention; a++) {
        nn_real z = weights->bias[hop][a];
        for (int c = 0; c < shape->width; c++)
            z += weights->image[hop][a * shape->width + c] * v[c] +
                 weights->question[hop][a * shape->width + c] * u[c];
        sum += weights->score[hop][a] * tanh(z);
    }
    return sum;
}

void naive_stacked(const nn_stacked_shape_t *shape, const nn_selected_t *selected,
                   const nn_stacked_weights_t *weights, const nn_real *x, const nn_real *q,
                   nn_real *out) {
    int d = shape->width;
    for (int n = 0; n < selected->questions; n++) {
        nn_real u[WIDEST];
        memcpy(u, q + n * d, (size_t)d * sizeof *u);
        for (int hop = 0; hop < shape->hops; hop++) {
            nn_real next[WIDEST], total = 0;
            memcpy(next, u, sizeof next);
            for (int s = selected->offset[n]; s < selected->offset[n + 1]; s++)
                total += exp(score(shape, weights, hop, x + selected->row[s] * d, u));
            for (int s = selected->offset[n]; s < selected->offset[n + 1]; s++) {
                const nn_real *v = x + selected->row[s] * d;
                nn_real p = exp(score(shape, weights, hop, v, u)) / total;
                for (int c = 0; c < d; c++) next[c] += p * v[c];
            }
            memcpy(u, next, sizeof u);
        }
        memcpy(out + n * d, u, (size_t)d * sizeof *u);
    }
}
