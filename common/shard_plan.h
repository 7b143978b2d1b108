/* The shard plan: the flat block cut into chunks, and the chunks dealt to servers. A pure function
 * of the parameter table and the number of servers; every rank computes the same.
 *
 * Where the cuts lie depends on the table alone, not on the number of servers: sums that run chunk
 * by chunk give the same bits on any number, and a checkpoint is read by any number. Chunks are
 * small at the start of the block and grow: those that forward needs first arrive first, those that
 * backward finishes last are short, and the small ones level the servers' bytes. A chunk never
 * mixes a parameter with sparse rows, or a buffer, with another; there it holds whole rows. */
#ifndef HP_SHARD_PLAN_H
#define HP_SHARD_PLAN_H

#include "common/bf16.h"
#include "common/params.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int64_t begin, end;          /* elements of the flat block; padding belongs to some chunk */
    int first_param, last_param; /* rows of the table it touches, inclusive */
    int server;
    bool buffer;         /* averaged, not trained */
    bool half;           /* its numbers travel as bf16, else as float */
    int rows, row_width; /* of a parameter with sparse rows; rows 0: a dense chunk */
    int first_row;
    int order; /* the smallest forward_order of its parameters */
} hp_chunk_t;

typedef struct {
    int chunks;
    hp_chunk_t *chunk; /* [chunks], ascending in begin, without gaps */
    int *by_need;      /* [chunks]: chunk numbers, first needed first */
    int servers;
    int64_t *server_floats; /* [servers]: elements of each */
} hp_shard_plan_t;

hp_status_t hp_shard_plan_create(const hp_params_t *params, int servers, hp_shard_plan_t *plan_p,
                                 hp_error_t *err) HP_MUST_CHECK;
/* bf16 on the wire, for all that is trained: a buffer's slow average would stand still in bf16. */
void hp_shard_plan_halve(hp_shard_plan_t *plan);
void hp_shard_plan_release(hp_shard_plan_t *plan);

static inline int64_t hp_chunk_floats(const hp_chunk_t *chunk) { return chunk->end - chunk->begin; }

/* Bytes of so many of a chunk's numbers as they travel, gradients or weights. */
static inline size_t hp_chunk_bytes(const hp_chunk_t *chunk, int64_t numbers) {
    return (size_t)numbers * (chunk->half ? sizeof(hp_bf16_t) : sizeof(float));
}

/* How a chunk's gradient travels. Dense: its numbers. Sparse rows: a head of HP_ROWS_HEAD 4-byte
 * words, the first being the number n of rows that follow; their n numbers within the chunk as
 * int32, ascending, padded with zeros to a multiple of HP_ROWS_HEAD; the rows. */
#define HP_ROWS_HEAD 16
static inline int64_t hp_rows_index_words(int64_t n) {
    return (n + HP_ROWS_HEAD - 1) / HP_ROWS_HEAD * HP_ROWS_HEAD;
}
static inline size_t hp_chunk_push_bytes(const hp_chunk_t *chunk, int64_t rows) {
    if (chunk->rows == 0) return hp_chunk_bytes(chunk, hp_chunk_floats(chunk));
    return (size_t)(HP_ROWS_HEAD + hp_rows_index_words(rows)) * sizeof(int32_t) +
           hp_chunk_bytes(chunk, rows * chunk->row_width);
}

/* A number that two ranks share only if their tables and plans, and `setting`, are the same. */
uint64_t hp_shard_plan_digest(const hp_params_t *params, const hp_shard_plan_t *plan,
                              uint64_t setting);

#endif
