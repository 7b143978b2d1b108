#include "common/shard_plan.h"

#include "common/memory.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { CHUNK_MIN = 1024, CHUNK_MAX = 1 << 20, GRAIN = 16 }; /* elements */

/* Size of the chunk that begins at element `at` of `total`: a sixteenth of the block in 1024ths,
 * three in 128ths, the rest in 32nds. */
static int64_t chunk_size(int64_t at, int64_t total) {
    int64_t share = at < total / 16 ? 1024 : at < total / 4 ? 128 : 32;
    int64_t size = (total / share + GRAIN - 1) / GRAIN * GRAIN;
    return size < CHUNK_MIN ? CHUNK_MIN : size > CHUNK_MAX ? CHUNK_MAX : size;
}

static bool alone(const hp_param_t *p) { return p->sparse_rows || p->kind == HP_PARAM_BUFFER; }

/* Where the region that begins with parameter `first` ends, and the first parameter after it. A
 * region is one parameter that stands alone, or a run of others. */
static int64_t region_end(const hp_params_t *params, int first, int *next_p) {
    int next = first + 1;
    if (!alone(&params->param[first]))
        while (next < params->count && !alone(&params->param[next])) next++;
    *next_p = next;
    return next < params->count ? params->param[next].offset : params->total;
}

/* Sets the parameters a dense chunk touches. Padding belongs to the parameter before it. */
static void find_params(const hp_params_t *params, int first, int next, hp_chunk_t *c) {
    c->first_param = first;
    while (c->first_param + 1 < next && params->param[c->first_param + 1].offset <= c->begin)
        c->first_param++;
    c->last_param = c->first_param;
    while (c->last_param + 1 < next && params->param[c->last_param + 1].offset < c->end)
        c->last_param++;
    c->order = params->param[c->first_param].forward_order;
    for (int i = c->first_param; i <= c->last_param; i++)
        if (params->param[i].forward_order < c->order) c->order = params->param[i].forward_order;
}

/* Cut all regions; with out == NULL only count. */
static int cut(const hp_params_t *params, hp_chunk_t *out) {
    int n = 0, next = 0;
    for (int first = 0; first < params->count; first = next) {
        int64_t end = region_end(params, first, &next);
        const hp_param_t *p = &params->param[first];
        int64_t width = p->sparse_rows ? p->count / p->shape[0] : 0;
        for (int64_t at = p->offset; at < end;) {
            int64_t size = chunk_size(at, params->total);
            hp_chunk_t c = {.begin = at, .buffer = p->kind == HP_PARAM_BUFFER};
            if (p->sparse_rows) {
                int64_t row = (at - p->offset) / width, rows = (size + width - 1) / width;
                if (rows > p->shape[0] - row) rows = p->shape[0] - row;
                c.first_row = (int)row;
                c.rows = (int)rows;
                c.row_width = (int)width;
                c.end = row + rows == p->shape[0] ? end : at + rows * width;
            } else {
                c.end = end - at < size + size / 4 ? end : at + size;
            }
            find_params(params, first, next, &c);
            if (out != NULL) out[n] = c;
            at = c.end;
            n++;
        }
    }
    return n;
}

typedef struct {
    int64_t key;
    int chunk;
} sorted_t;

static int ascending(const void *a, const void *b) {
    const sorted_t *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : x->chunk - y->chunk;
}

/* Largest first, each to the server with the fewest bytes so far. */
static void deal(hp_shard_plan_t *plan, sorted_t *sorted) {
    for (int i = 0; i < plan->chunks; i++)
        sorted[i] = (sorted_t){-hp_chunk_floats(&plan->chunk[i]), i};
    qsort(sorted, (size_t)plan->chunks, sizeof *sorted, ascending);
    for (int i = 0; i < plan->chunks; i++) {
        hp_chunk_t *c = &plan->chunk[sorted[i].chunk];
        for (int s = 1; s < plan->servers; s++)
            if (plan->server_floats[s] < plan->server_floats[c->server]) c->server = s;
        plan->server_floats[c->server] += hp_chunk_floats(c);
    }
}

hp_status_t hp_shard_plan_create(const hp_params_t *params, int servers, hp_shard_plan_t *plan_p,
                                 hp_error_t *err) {
    hp_shard_plan_t plan = {.chunks = cut(params, NULL), .servers = servers};
    void *chunk = NULL, *by_need = NULL, *floats = NULL, *sorted = NULL;
    size_t n = (size_t)plan.chunks;
    if (plan.chunks < servers)
        return hp_fail(err, HP_INPUT, "%d servers for a model of %d chunks: fewer will do", servers,
                       plan.chunks);
    hp_status_t st = hp_allocate(&chunk, n, sizeof *plan.chunk, "shard plan", err);
    if (st == HP_OK) st = hp_allocate(&by_need, n, sizeof *plan.by_need, "shard plan", err);
    if (st == HP_OK)
        st = hp_allocate(&floats, (size_t)servers, sizeof *plan.server_floats, "shard plan", err);
    if (st == HP_OK) st = hp_allocate(&sorted, n, sizeof(sorted_t), "shard plan", err);
    plan.chunk = chunk;
    plan.by_need = by_need;
    plan.server_floats = floats;
    if (st != HP_OK) {
        hp_shard_plan_release(&plan);
        return st;
    }
    cut(params, plan.chunk);
    deal(&plan, sorted);
    sorted_t *need = sorted;
    for (int i = 0; i < plan.chunks; i++) need[i] = (sorted_t){plan.chunk[i].order, i};
    qsort(need, n, sizeof *need, ascending);
    for (int i = 0; i < plan.chunks; i++) plan.by_need[i] = need[i].chunk;
    hp_free(sorted);
    *plan_p = plan;
    return HP_OK;
}

void hp_shard_plan_halve(hp_shard_plan_t *plan) {
    for (int i = 0; i < plan->chunks; i++) plan->chunk[i].half = !plan->chunk[i].buffer;
}

void hp_shard_plan_release(hp_shard_plan_t *plan) {
    hp_free(plan->chunk);
    hp_free(plan->by_need);
    hp_free(plan->server_floats);
    *plan = (hp_shard_plan_t){0};
}

uint64_t hp_shard_plan_digest(const hp_params_t *params, const hp_shard_plan_t *plan,
                              uint64_t setting) {
    uint64_t h = XXH3_64bits_withSeed(&params->total, sizeof params->total, setting);
    for (int i = 0; i < params->count; i++) {
        const hp_param_t *p = &params->param[i];
        int64_t v[5] = {p->offset, p->count, p->kind, p->sparse_rows, p->forward_order};
        h = XXH3_64bits_withSeed(v, sizeof v, h);
        h = XXH3_64bits_withSeed(p->name, strlen(p->name), h);
    }
    for (int i = 0; i < plan->chunks; i++) {
        const hp_chunk_t *c = &plan->chunk[i];
        int64_t v[4] = {c->begin, c->end, c->server, c->half};
        h = XXH3_64bits_withSeed(v, sizeof v, h);
    }
    return h;
}
