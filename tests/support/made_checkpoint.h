/* Checkpoints made up for tests: a small table, values that are a pure function of a seed. */
#ifndef TESTS_MADE_CHECKPOINT_H
#define TESTS_MADE_CHECKPOINT_H

#include "common/checkpoint.h"

#include <stdbool.h>

#define MADE_CHUNK 48 /* elements of a chunk; the table may have 128 of them */

typedef struct {
    const char *run;
    const hp_params_t *params;
    int64_t step;
    int servers;
    uint64_t seed;
    int64_t changed; /* this element's second moment is another; -1: none */
} made_t;

/* `rows` matrices; release with hp_params_release. */
hp_params_t made_table(int rows);

/* Element i of plane k (weights, first and second moment); a chunk without moments reads as zeros.
 */
float made_value(uint64_t seed, int64_t i, int k);
bool made_with_moments(int64_t chunk);

/* Chunk c has version 10 c + step and c updates; chunks are dealt to servers in turns. */
hp_status_t make_shards(const made_t *made, hp_shard_record_t *record,
                        hp_error_t *err) HP_MUST_CHECK;
hp_status_t make_checkpoint(const made_t *made, int keep, hp_error_t *err) HP_MUST_CHECK;

#endif
