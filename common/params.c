#include "common/params.h"

#include "common/memory.h"
#include "common/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PARAM_ALIGN = 16, INIT_BLOCK = 64 };

hp_status_t hp_params_add(hp_params_t *params, const char *name, int dims, const int64_t *shape,
                          hp_param_kind_t kind, hp_init_kind_t init, double init_scale,
                          bool sparse_rows, int *index_p, hp_error_t *err) {
    if (strlen(name) >= HP_PARAM_NAME)
        return hp_fail(err, HP_INTERNAL, "parameter name too long: %s", name);
    if (hp_params_find(params, name) >= 0)
        return hp_fail(err, HP_INTERNAL, "parameter %s twice", name);
    if (dims < 1 || dims > HP_PARAM_DIMS)
        return hp_fail(err, HP_INTERNAL, "parameter %s has %d dimensions", name, dims);
    hp_param_t p = {.dims = dims,
                    .offset = params->total,
                    .count = 1,
                    .kind = kind,
                    .init = init,
                    .init_scale = init_scale,
                    .sparse_rows = sparse_rows,
                    .forward_order = params->count};
    snprintf(p.name, sizeof p.name, "%s", name);
    for (int i = 0; i < dims; i++) {
        if (shape[i] <= 0 || __builtin_mul_overflow(p.count, shape[i], &p.count))
            return hp_fail(err, HP_INPUT, "parameter %s: size %" PRId64 " is not possible", name,
                           shape[i]);
        p.shape[i] = shape[i];
    }
    if (params->count == params->capacity) {
        int capacity = params->capacity ? 2 * params->capacity : 32;
        void *grown = NULL;
        HP_TRY(
            hp_allocate(&grown, (size_t)capacity, sizeof *params->param, "parameter table", err));
        if (params->count > 0)
            memcpy(grown, params->param, (size_t)params->count * sizeof *params->param);
        hp_free(params->param);
        params->param = grown;
        params->capacity = capacity;
    }
    if (p.count > INT64_MAX / 64 - params->total)
        return hp_fail(err, HP_INPUT, "parameter %s: the model is too large", name);
    params->total += (p.count + PARAM_ALIGN - 1) / PARAM_ALIGN * PARAM_ALIGN;
    params->param[params->count] = p;
    if (index_p != NULL) *index_p = params->count;
    params->count++;
    return HP_OK;
}

void hp_params_release(hp_params_t *params) {
    hp_free(params->param);
    *params = (hp_params_t){0};
}

int hp_params_find(const hp_params_t *params, const char *name) {
    for (int i = 0; i < params->count; i++)
        if (strcmp(params->param[i].name, name) == 0) return i;
    return -1;
}

static uint64_t name_hash(const char *s) { /* FNV-1a */
    uint64_t h = 0xCBF29CE484222325u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001B3u;
    return h;
}

/* Elements are drawn in blocks so that a range can start anywhere. */
static void initialise_block(const hp_param_t *p, uint64_t seed, uint64_t name, int64_t block,
                             float out[INIT_BLOCK]) {
    hp_random_t r = hp_random(seed, HP_RANDOM_INIT, name, (uint64_t)block);
    for (int i = 0; i < INIT_BLOCK; i++) {
        double x =
            p->init == HP_INIT_UNIFORM ? 2.0 * hp_random_uniform(&r) - 1.0 : hp_random_normal(&r);
        out[i] = (float)(x * p->init_scale);
    }
}

void hp_params_initialise(const hp_params_t *params, uint64_t seed, int64_t begin, int64_t end,
                          float *out) {
    memset(out, 0, (size_t)(end - begin) * sizeof *out);
    for (int k = 0; k < params->count; k++) {
        const hp_param_t *p = &params->param[k];
        int64_t first = begin > p->offset ? begin : p->offset;
        int64_t last = end < p->offset + p->count ? end : p->offset + p->count;
        if (first >= last || p->init == HP_INIT_ZERO) continue;
        uint64_t name = name_hash(p->name);
        float block[INIT_BLOCK];
        int64_t loaded = -1;
        for (int64_t i = first; i < last; i++) {
            int64_t element = i - p->offset;
            if (p->init == HP_INIT_ONE) {
                out[i - begin] = 1.0f;
                continue;
            }
            if (element / INIT_BLOCK != loaded) {
                loaded = element / INIT_BLOCK;
                initialise_block(p, seed, name, loaded, block);
            }
            out[i - begin] = block[element % INIT_BLOCK];
        }
    }
}

hp_status_t hp_params_same(const hp_params_t *a, const hp_params_t *b, hp_error_t *err) {
    for (int i = 0; i < a->count && i < b->count; i++) {
        const hp_param_t *p = &a->param[i], *q = &b->param[i];
        bool same = strcmp(p->name, q->name) == 0 && p->dims == q->dims && p->kind == q->kind &&
                    p->offset == q->offset &&
                    memcmp(p->shape, q->shape, (size_t)p->dims * sizeof p->shape[0]) == 0;
        if (!same)
            return hp_fail(err, HP_INPUT,
                           "parameter %d differs: %s (%" PRId64 " values) and %s (%" PRId64
                           " values)",
                           i, p->name, p->count, q->name, q->count);
    }
    if (a->count != b->count)
        return hp_fail(err, HP_INPUT, "%d parameters and %d", a->count, b->count);
    return HP_OK;
}
