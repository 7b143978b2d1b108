/* Which parameter is to blame for a gradient that the servers will refuse. */
#include "common/vector.h"
#include "worker/client_internal.h"

#include <math.h>

static double squares(const wk_client_t *c, int param) {
    const hp_param_t *p = &c->params->param[param];
    const float *grads = c->grads + p->offset;
    if (p->kind == HP_PARAM_BUFFER) return 0;
    if (!p->sparse_rows) return hp_sum_squares(grads, p->count);
    int64_t width = p->count / p->shape[0];
    double sum = 0; /* other rows hold what an earlier unit left */
    for (int i = 0; i < c->sparse_count[param]; i++)
        sum += hp_sum_squares(grads + c->sparse_row[param][i] * width, width);
    return sum;
}

uint32_t wk_client_worst(const wk_client_t *c) {
    double most = -1;
    int worst = 0;
    for (int i = 0; i < c->params->count; i++) {
        double sum = squares(c, i);
        if (!isfinite(sum)) return (uint32_t)i;
        if (sum > most) worst = i;
        if (sum > most) most = sum;
    }
    return (uint32_t)worst;
}
