/* Sharded checkpoints: RUN/checkpoints/step-%08d/ holds a file for each server's shard (weights,
 * both Adam moments, versions) and a protobuf manifest (parameter table, shard plan, hashes, data
 * position, resolved configuration). The manifest is renamed into place last: a checkpoint exists
 * when its manifest does. docs/checkpoint.md describes the format. */
#ifndef HP_CHECKPOINT_H
#define HP_CHECKPOINT_H

#include "common/params.h"
#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

/* Where a run stands in its data. */
typedef struct {
    int64_t step;
    uint64_t next_unit; /* units from here on were never handed out */
    uint64_t units_repeated;
    int sync_shards; /* units of a step; 0 where a step is a unit */
    int outstanding; /* units below next_unit that are not retired: to be handed out first */
    const uint64_t *outstanding_unit; /* ascending */
} hp_position_t;

/* A chunk as its server hands it to the writer. Chunks are cut by hp_shard_plan, alike for every
 * number of servers. */
typedef struct {
    int64_t begin, end; /* elements of the flat block */
    int64_t version;    /* updates published */
    int64_t updates;    /* of them, Adam's steps: its t */
    const float *weights, *first_moment, *second_moment; /* [end - begin]; moments NULL: zero */
} hp_shard_chunk_t;

/* What server 0 must know of a shard's file for the manifest. Plain data: it travels in a message. */
typedef struct {
    int32_t server, chunks;
    uint64_t bytes;
    uint8_t hash[16];
} hp_shard_record_t;

/* Write and sync one server's file of checkpoint `step`, making the folder where it is not there.
 * Called from a background thread of each server. On failure nothing of it stays. */
hp_status_t hp_checkpoint_write_shard(const char *run, int64_t step, int server, int chunks,
                                      const hp_shard_chunk_t *chunk, hp_shard_record_t *record_p,
                                      hp_error_t *err) HP_MUST_CHECK;

/* Server 0, when every shard is reported: the manifest, renamed into place last; then the whole
 * checkpoints beyond the newest `keep` are removed. */
hp_status_t hp_checkpoint_commit(const char *run, const hp_params_t *params,
                                 const hp_position_t *position, const char *config_yaml,
                                 int servers, const hp_shard_record_t *record, int keep,
                                 hp_error_t *err) HP_MUST_CHECK;

/* A checkpoint that failed on some server: remove what was written of it. */
void hp_checkpoint_discard(const char *run, int64_t step);

typedef struct hp_checkpoint hp_checkpoint_t;

/* Open for reading: verifies the manifest and the sizes. `which`: a step, "last" or "best". "last" falls back to
 * the newest whole checkpoint; what was passed over and why is written to `note` (1024 bytes; may be NULL). */
hp_status_t hp_checkpoint_open(const char *run, const char *which, hp_checkpoint_t **checkpoint_p,
                               char *note, hp_error_t *err) HP_MUST_CHECK;
void hp_checkpoint_close(hp_checkpoint_t *checkpoint);

int64_t hp_checkpoint_step(const hp_checkpoint_t *checkpoint);
const hp_params_t *hp_checkpoint_params(const hp_checkpoint_t *checkpoint);

const hp_position_t *hp_checkpoint_position(const hp_checkpoint_t *checkpoint);

/* Version and updates of the chunk that begins at element `begin`. */
hp_status_t hp_checkpoint_chunk(const hp_checkpoint_t *checkpoint, int64_t begin,
                                int64_t *version_p, int64_t *updates_p,
                                hp_error_t *err) HP_MUST_CHECK;

/* Read elements [begin, end) of the flat block, from whatever shards hold them, verifying hashes.
 * The moments may be NULL. */
hp_status_t hp_checkpoint_read(hp_checkpoint_t *checkpoint, int64_t begin, int64_t end,
                               float *weights, float *first_moment, float *second_moment,
                               hp_error_t *err) HP_MUST_CHECK;

#endif
