#include "tests/numeric/naive.h"

#include <math.h>

typedef struct {
    const nn_pairwise_shape_t *shape;
    const nn_selected_t *selected;
    const nn_real *weight, *x, *q;
    int question;
} context_t;

/* Element `e` of the query (kind 0), key (1) or value (2) of slot s in a head: a row of W times m.
 */
static nn_real project(const context_t *c, int kind, int head, int e, int s) {
    int d = c->shape->width, wide = c->shape->heads * c->shape->head_width;
    const nn_real *w =
        c->weight + (size_t)(kind * wide + head * c->shape->head_width + e) * (size_t)d;
    nn_real sum = 0;
    for (int i = 0; i < d; i++)
        sum += w[i] * (c->x[c->selected->row[s] * d + i] + c->q[c->question * d + i]);
    return sum;
}

static nn_real score(const context_t *c, int head, int l, int i) {
    nn_real sum = 0;
    for (int e = 0; e < c->shape->head_width; e++)
        sum += project(c, 0, head, e, l) * project(c, 1, head, e, i);
    return c->shape->scale ? sum / sqrt((double)c->shape->head_width) : sum;
}

void naive_pairwise(const nn_pairwise_shape_t *shape, const nn_selected_t *selected,
                    const nn_real *weight, const nn_real *x, const nn_real *q, nn_real *out) {
    int wide = shape->heads * shape->head_width;
    for (int n = 0; n < selected->questions * wide; n++) out[n] = 0;
    for (int n = 0; n < selected->questions; n++) {
        context_t c = {shape, selected, weight, x, q, n};
        int begin = selected->offset[n], end = selected->offset[n + 1];
        for (int head = 0; head < shape->heads; head++)
            for (int l = begin; l < end; l++) {
                nn_real total = 0;
                for (int i = begin; i < end; i++) total += exp(score(&c, head, l, i));
                for (int i = begin; i < end; i++) {
                    nn_real a = exp(score(&c, head, l, i)) / total;
                    for (int e = 0; e < shape->head_width; e++)
                        out[n * wide + head * shape->head_width + e] +=
                            a * project(&c, 2, head, e, i);
                }
            }
    }
}
