#include "ps/adam.h"

#include "common/vector.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 16 };

typedef struct {
    float beta1, rest1, beta2, rest2, step, root2, eps, scale, l2, decay;
} constants_t;

/* BLOCK elements through local arrays, so that the compiler need not ask what overlaps. */
static inline void block(const constants_t *c, const float *gradient, const float *w_in,
                         float *w_out, const float *m_in, float *m_out, const float *v_in,
                         float *v_out) {
    float g[BLOCK], w[BLOCK], m[BLOCK], v[BLOCK];
    memcpy(g, gradient, sizeof g);
    memcpy(w, w_in, sizeof w);
    memcpy(m, m_in, sizeof m);
    memcpy(v, v_in, sizeof v);
    for (int j = 0; j < BLOCK; j++) {
        float x = g[j] * c->scale + c->l2 * w[j];
        m[j] = c->beta1 * m[j] + c->rest1 * x;
        v[j] = c->beta2 * v[j] + c->rest2 * (x * x);
        w[j] -= c->step * (m[j] / (sqrtf(v[j]) / c->root2 + c->eps)) + c->decay * w[j];
    }
    memcpy(w_out, w, sizeof w);
    memcpy(m_out, m, sizeof m);
    memcpy(v_out, v, sizeof v);
}

HP_VECTOR void ps_adam(const ps_adam_t *adam, int64_t t, int64_t n, const float *gradient,
                       double scale, const float *w_in, float *w_out, const float *m_in,
                       float *m_out, const float *v_in, float *v_out) {
    const constants_t c = {.beta1 = (float)adam->beta1,
                           .rest1 = (float)(1 - adam->beta1),
                           .beta2 = (float)adam->beta2,
                           .rest2 = (float)(1 - adam->beta2),
                           .step = (float)(adam->lr / (1 - pow(adam->beta1, (double)t))),
                           .root2 = (float)sqrt(1 - pow(adam->beta2, (double)t)),
                           .eps = (float)adam->eps,
                           .scale = (float)scale,
                           .l2 = (float)adam->l2,
                           .decay = (float)(adam->lr * adam->decoupled)};
    int64_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK)
        block(&c, gradient + i, w_in + i, w_out + i, m_in + i, m_out + i, v_in + i, v_out + i);
    if (i < n) {
        float g[BLOCK] = {0}, w[BLOCK] = {0}, m[BLOCK] = {0}, v[BLOCK] = {0};
        size_t rest = (size_t)(n - i) * sizeof(float);
        memcpy(g, gradient + i, rest);
        memcpy(w, w_in + i, rest);
        memcpy(m, m_in + i, rest);
        memcpy(v, v_in + i, rest);
        block(&c, g, w, w, m, m, v, v);
        memcpy(w_out + i, w, rest);
        memcpy(m_out + i, m, rest);
        memcpy(v_out + i, v, rest);
    }
}

double ps_clip(double clip_norm, double squared_norm) {
    if (clip_norm <= 0) return 1;
    double coefficient = clip_norm / (sqrt(squared_norm) + 1e-6);
    return coefficient < 1 ? coefficient : 1;
}
