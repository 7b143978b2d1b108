#include "common/vector.h"

#include <string.h>

enum { LANES = 16, BLOCK = 1024 };

/* Blocks go through local arrays, so that the compiler need not ask what overlaps. */
typedef struct {
    float x[LANES];
} block_t;

static inline block_t load(const float *x) {
    block_t b;
    memcpy(b.x, x, sizeof b.x);
    return b;
}

static inline block_t load_half(const hp_bf16_t *x) {
    hp_bf16_t half[LANES];
    block_t b;
    memcpy(half, x, sizeof half);
    for (int j = 0; j < LANES; j++) b.x[j] = hp_bf16_to_float(half[j]);
    return b;
}

static inline void add_squares(double *lane, const block_t *b) {
    for (int j = 0; j < LANES; j++) lane[j] += (double)b->x[j] * (double)b->x[j];
}

static inline double total(const double *lane) {
    double sum = 0;
    for (int j = 0; j < LANES; j++) sum += lane[j];
    return sum;
}

HP_VECTOR double hp_sum_squares(const float *x, int64_t n) {
    double lane[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const block_t b = load(x + i);
        add_squares(lane, &b);
    }
    for (int j = 0; i + j < n; j++) lane[j] += (double)x[i + j] * (double)x[i + j];
    return total(lane);
}

/* n: a multiple of LANES, or the last numbers. */
HP_VECTOR static void add_half_squares(double *sums, const hp_bf16_t *x, int64_t n) {
    double lane[LANES];
    memcpy(lane, sums, sizeof lane);
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const block_t b = load_half(x + i);
        add_squares(lane, &b);
    }
    for (int j = 0; i + j < n; j++) {
        const double value = (double)hp_bf16_to_float(x[i + j]);
        lane[j] += value * value;
    }
    memcpy(sums, lane, sizeof lane);
}

double hp_bf16_sum_squares(const hp_bf16_t *x, int64_t n) {
    double lane[LANES] = {0};
    add_half_squares(lane, x, n);
    return total(lane);
}

HP_VECTOR void hp_add(float *y, const float *x, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        block_t a = load(y + i);
        const block_t b = load(x + i);
        for (int j = 0; j < LANES; j++) a.x[j] += b.x[j];
        memcpy(y + i, a.x, sizeof a.x);
    }
    for (; i < n; i++) y[i] += x[i];
}

HP_VECTOR void hp_bf16_add(float *y, const hp_bf16_t *x, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        block_t a = load(y + i);
        const block_t b = load_half(x + i);
        for (int j = 0; j < LANES; j++) a.x[j] += b.x[j];
        memcpy(y + i, a.x, sizeof a.x);
    }
    for (; i < n; i++) y[i] += hp_bf16_to_float(x[i]);
}

HP_VECTOR void hp_bf16_round(hp_bf16_t *restrict out, const float *restrict in, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = hp_bf16_from_float(in[i]);
}

/* In blocks that stay in the first cache. */
double hp_bf16_pack(hp_bf16_t *out, const float *in, int64_t n) {
    double lane[LANES] = {0};
    for (int64_t i = 0; i < n; i += BLOCK) {
        const int64_t count = n - i < BLOCK ? n - i : BLOCK;
        hp_bf16_round(out + i, in + i, count);
        add_half_squares(lane, out + i, count);
    }
    return total(lane);
}

HP_VECTOR void hp_bf16_unpack(float *out, const hp_bf16_t *in, int64_t n) {
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        const block_t b = load_half(in + i);
        memcpy(out + i, b.x, sizeof b.x);
    }
    for (; i < n; i++) out[i] = hp_bf16_to_float(in[i]);
}

HP_VECTOR void hp_scale(float *y, float scale, int64_t n) {
    for (int64_t i = 0; i < n; i++) y[i] *= scale;
}
