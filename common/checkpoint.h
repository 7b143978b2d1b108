/* Sharded checkpoints: RUN/checkpoints/step-%08d/ holds a file for each server's shard (weights,
 * both Adam moments, versions) and a protobuf manifest (parameter table, shard plan, hashes, data
 * position, resolved configuration). The manifest is renamed into place last: a checkpoint exists
 * when its manifest does. docs/checkpoint.md describes the format. */
#ifndef HP_CHECKPOINT_H
#define HP_CHECKPOINT_H

#include "common/params.h"
#include "common/status.h"

#include <stdint.h>

typedef struct hp_checkpoint hp_checkpoint_t;

/* Open for reading: verifies the manifest and the sizes. `which`: a step, "last" or "best". "last" falls back to
 * the newest whole checkpoint; what was passed over and why is written to `note` (1024 bytes; may be NULL). */
hp_status_t hp_checkpoint_open(const char *run, const char *which, hp_checkpoint_t **checkpoint_p,
                               char *note, hp_error_t *err) HP_MUST_CHECK;
void hp_checkpoint_close(hp_checkpoint_t *checkpoint);

int64_t hp_checkpoint_step(const hp_checkpoint_t *checkpoint);
const hp_params_t *hp_checkpoint_params(const hp_checkpoint_t *checkpoint);

/* Read elements [begin, end) of the flat block, from whatever shards hold them, verifying hashes.
 * first_moment, second_moment and version (of each element's chunk, [end - begin] not needed: see
 * checkpoint.c) may be NULL. */
hp_status_t hp_checkpoint_read(hp_checkpoint_t *checkpoint, int64_t begin, int64_t end,
                               float *weights, float *first_moment, float *second_moment,
                               hp_error_t *err) HP_MUST_CHECK;

#endif
