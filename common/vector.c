#include "common/vector.h"

#include <string.h>

enum { LANES = 16 };

double hp_sum_squares(const float *x, int64_t n) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] += (double)x[i + j] * (double)x[i + j];
    for (int j = 0; i + j < n; j++) lane[j] += (double)x[i + j] * (double)x[i + j];
    double sum = 0;
    for (int j = 0; j < LANES; j++) sum += lane[j];
    return sum;
}

/* Through local arrays, so that the compiler need not ask whether y and x overlap. */
void hp_add(float *y, const float *x, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        float a[LANES], b[LANES];
        memcpy(a, y + i, sizeof a);
        memcpy(b, x + i, sizeof b);
        for (int j = 0; j < LANES; j++) a[j] += b[j];
        memcpy(y + i, a, sizeof a);
    }
    for (; i < n; i++) y[i] += x[i];
}
