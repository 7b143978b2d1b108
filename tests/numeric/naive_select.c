#include "tests/numeric/naive.h"

#include <math.h>
#include <stdbool.h>

/* Whether a comes after b: smaller presence (larger, where `lowest`), or equal and a higher cell.
 */
static bool after(const nn_real *p, bool lowest, int a, int b) {
    nn_real x = lowest ? -p[a] : p[a], y = lowest ? -p[b] : p[b];
    if (isnan(x)) x = -INFINITY;
    if (isnan(y)) y = -INFINITY;
    return x < y || (x == y && a > b);
}

static int adaptive(int n, const nn_real *p, nn_real q2, int *out) {
    int count = 0, best = 0;
    for (int i = 0; i < n; i++) {
        long double sum = 0; /* softmax_i = 1 / sum_j exp(p_j - p_i) */
        for (int j = 0; j < n; j++) sum += expl(sqrtl(p[j] + q2) - sqrtl(p[i] + q2));
        if (1 / sum > 1.0L / n) out[count++] = i;
        if (p[i] > p[best]) best = i;
    }
    if (count == 0) out[count++] = best;
    return count;
}

int naive_select(const nn_select_t *select, int n, const nn_real *p, nn_real q2, int *out) {
    if (select->kind == NN_SELECT_ADAPTIVE) return adaptive(n, p, q2, out);
    int k = select->kind == NN_SELECT_ALL || select->cells > n ? n : select->cells;
    int count = 0;
    for (int i = 0; i < n; i++) {
        int ahead = 0; /* cells that rank before i */
        for (int j = 0; j < n; j++)
            ahead += j != i && after(p, select->kind == NN_SELECT_LOWEST, i, j);
        if (ahead < k) out[count++] = i;
    }
    return count;
}
