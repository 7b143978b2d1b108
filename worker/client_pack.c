/* A chunk of the gradient that will not change: packed as it travels (a sparse chunk's rows alone,
 * bf16), with its norm. */
#include "common/memory.h"
#include "common/parallel.h"
#include "common/vector.h"
#include "worker/client_internal.h"

#include <string.h>

static int64_t most_pieces(const hp_shard_plan_t *plan) {
    int64_t most = 1;
    for (int k = 0; k < plan->chunks; k++)
        if (hp_chunk_floats(&plan->chunk[k]) > most) most = hp_chunk_floats(&plan->chunk[k]);
    return (most + WK_PIECE - 1) / WK_PIECE;
}

hp_status_t wk_client_create_packed(wk_client_t *c, hp_error_t *err) {
    int64_t bytes = 0;
    bool half = false;
    void *p = NULL;
    for (int k = 0; k < c->plan.chunks; k++) {
        const hp_chunk_t *chunk = &c->plan.chunk[k];
        const bool packs = chunk->rows > 0 || chunk->half;
        c->packed_offset[k] = packs ? bytes : -1;
        half = half || chunk->half;
        if (packs)
            bytes += ((int64_t)hp_chunk_push_bytes(chunk, chunk->rows) + HP_ALIGN - 1) / HP_ALIGN *
                     HP_ALIGN;
    }
    HP_TRY(hp_allocate(&p, (size_t)bytes, 1, "packed gradient", err));
    c->packed = p;
    HP_TRY(hp_allocate(&p, (size_t)most_pieces(&c->plan), sizeof *c->piece_norm, "packed gradient",
                       err));
    c->piece_norm = p;
    if (half) {
        HP_TRY(hp_allocate(&p, (size_t)c->params->total, sizeof *c->half, "packed weights", err));
        c->half = p;
    }
    for (int i = 0; i < c->params->count; i++) {
        if (!c->params->param[i].sparse_rows) continue;
        HP_TRY(hp_allocate(&p, (size_t)c->params->param[i].shape[0], sizeof(int32_t), "sparse rows",
                           err));
        c->sparse_row[i] = p;
    }
    return HP_OK;
}

/* First of the sorted numbers that is not below `value`. */
static int lower_bound(const int32_t *row, int n, int32_t value) {
    int low = 0;
    while (low < n) {
        int middle = low + (n - low) / 2;
        if (row[middle] < value)
            low = middle + 1;
        else
            n = middle;
    }
    return low;
}

/* Packs a sparse chunk's rows to where they travel from; returns their squared norm. */
static double pack_rows(wk_client_t *c, int k) {
    const hp_chunk_t *chunk = &c->plan.chunk[k];
    int32_t *row = c->sparse_row[chunk->first_param];
    int count = c->sparse_count[chunk->first_param];
    if (count < 0) { /* not told: all of them */
        count = (int)c->params->param[chunk->first_param].shape[0];
        for (int i = 0; i < count; i++) row[i] = i;
        c->sparse_count[chunk->first_param] = count;
    }
    int first = lower_bound(row, count, chunk->first_row);
    int n = lower_bound(row, count, chunk->first_row + chunk->rows) - first;
    int32_t *head = (int32_t *)(void *)(c->packed + c->packed_offset[k]);
    void *value = head + HP_ROWS_HEAD + hp_rows_index_words(n);
    double norm = 0;
    memset(head, 0, (size_t)(HP_ROWS_HEAD + hp_rows_index_words(n)) * sizeof *head);
    head[0] = n;
    for (int i = 0; i < n; i++) {
        int64_t r = row[first + i] - chunk->first_row;
        const float *from = c->grads + chunk->begin + r * chunk->row_width;
        head[HP_ROWS_HEAD + i] = (int32_t)r;
        const int64_t at = (int64_t)i * chunk->row_width;
        if (chunk->half) {
            norm += hp_bf16_pack((hp_bf16_t *)value + at, from, chunk->row_width);
            continue;
        }
        memcpy((float *)value + at, from, (size_t)chunk->row_width * sizeof *from);
        norm += hp_sum_squares(from, chunk->row_width);
    }
    c->push_bytes[k] = (int64_t)hp_chunk_push_bytes(chunk, n);
    return norm;
}

/* Pieces of a dense chunk: packed where it travels as bf16, and the norm of each. */
typedef struct {
    const float *grads;
    hp_bf16_t *packed; /* NULL: it travels from grads */
    int64_t n;
    double *norm;
} pieces_t;

static void finish_pieces(void *context, int64_t begin, int64_t end) {
    const pieces_t *p = context;
    for (int64_t i = begin; i < end; i++) {
        const int64_t at = i * WK_PIECE, n = p->n - at < WK_PIECE ? p->n - at : WK_PIECE;
        p->norm[i] = p->packed != NULL ? hp_bf16_pack(p->packed + at, p->grads + at, n)
                                       : hp_sum_squares(p->grads + at, n);
    }
}

static double finish_dense(const wk_client_t *c, const hp_chunk_t *chunk, hp_bf16_t *packed) {
    const int64_t n = hp_chunk_floats(chunk), pieces = (n + WK_PIECE - 1) / WK_PIECE;
    pieces_t all = {c->grads + chunk->begin, packed, n, c->piece_norm};
    double norm = 0;
    hp_parallel(pieces, 1, finish_pieces, &all);
    for (int64_t i = 0; i < pieces; i++) norm += c->piece_norm[i];
    return norm;
}

void wk_client_finish_chunk(wk_client_t *c, int k) {
    const hp_chunk_t *chunk = &c->plan.chunk[k];
    if (chunk->rows > 0) {
        c->chunk_norm[k] = pack_rows(c, k);
        return;
    }
    hp_bf16_t *packed = chunk->half ? (void *)(c->packed + c->packed_offset[k]) : NULL;
    c->push_bytes[k] = (int64_t)hp_chunk_push_bytes(chunk, 0);
    c->chunk_norm[k] = chunk->buffer ? 0 : finish_dense(c, chunk, packed);
}
