/* Sharded checkpoints: RUN/checkpoints/step-%08d/ holds a file for each server's shard (weights,
 * both Adam moments, versions) and a protobuf manifest (parameter table, chunks, hashes, data
 * position, resolved configuration). The manifest is renamed into place last: a checkpoint exists
 * when its manifest does. docs/checkpoint.md describes the format.
 *
 * Writing: server 0 calls hp_checkpoint_begin, then each server (any thread, any process that sees
 * the folder) writes its shard, then server 0 collects the hp_checkpoint_part_t of all and calls
 * hp_checkpoint_commit. Whatever fails on the way, earlier checkpoints stay as they are and nothing
 * new looks whole. */
#ifndef HP_CHECKPOINT_H
#define HP_CHECKPOINT_H

#include "common/params.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HP_CHECKPOINT_PATH 1024

/* ---- the state of a run that is not weights ---- */

typedef struct {
    int64_t step;       /* optimizer steps done */
    uint64_t next_unit; /* units below it were handed out */
    int outstanding;    /* of those, handed out and not retired: a resume hands them out again */
    const uint64_t *outstanding_unit; /* [outstanding], ascending */
    uint64_t units_repeated;
    uint64_t epoch;       /* passes over the training split begun */
    uint64_t incarnation; /* starts of this run, from 1 */
    uint64_t seed;
    int sync_shards;         /* G: units of a synchronous step */
    int servers, workers;    /* that wrote it */
    const char *consistency; /* "sync", "bounded", "async" */
    const char *config_yaml; /* resolved */
    const char *store_digest;
    const char *build; /* library and CPU kernel of the matrix products */
} hp_checkpoint_state_t;

/* A piece of the flat block as a shard holds it. */
typedef struct {
    int64_t begin, end; /* elements of the flat block */
    int64_t t;          /* Adam's steps on this chunk */
    uint64_t version;   /* of the published weights */
} hp_checkpoint_chunk_t;

/* ---- writing ---- */

/* Server 0, at the start of a run: makes RUN/checkpoints, and removes what interrupted writes left.
 */
hp_status_t hp_checkpoint_clean(const char *run, hp_error_t *err) HP_MUST_CHECK;

/* Server 0, before any shard of this step is opened: makes an empty folder for it. A checkpoint of
 * the same step that is there is removed, its manifest first. */
hp_status_t hp_checkpoint_begin(const char *run, int64_t step, hp_error_t *err) HP_MUST_CHECK;

/* One shard's file. Not thread safe, but any one thread may do it. `chunks` is how many will be
 * appended. */
typedef struct hp_checkpoint_shard hp_checkpoint_shard_t;
hp_status_t hp_checkpoint_shard_open(const char *run, int64_t step, int shard, int shards,
                                     int chunks, hp_checkpoint_shard_t **shard_p,
                                     hp_error_t *err) HP_MUST_CHECK;
/* weights, first_moment, second_moment: [end - begin]. Either moment may be NULL: zeros. */
hp_status_t hp_checkpoint_shard_append(hp_checkpoint_shard_t *shard,
                                       const hp_checkpoint_chunk_t *chunk, const float *weights,
                                       const float *first_moment, const float *second_moment,
                                       hp_error_t *err) HP_MUST_CHECK;

/* What server 0 must know of a shard: plain data, fit for a message between like machines. */
typedef struct {
    int32_t shard, chunks;
    uint64_t bytes;  /* of the file */
    uint64_t digest; /* XXH3 of the headers of its chunks, which hold the hashes of the data */
} hp_checkpoint_part_t;

/* fsync, rename to the final name, fsync of the folder. Releases the shard in any case; after a
 * failure its temporary file is removed. */
hp_status_t hp_checkpoint_shard_finish(hp_checkpoint_shard_t *shard, hp_checkpoint_part_t *part_p,
                                       hp_error_t *err) HP_MUST_CHECK;
void hp_checkpoint_shard_abort(hp_checkpoint_shard_t *shard); /* NULL is fine */

/* Server 0, when all parts are in (any order): checks that the shards are there, as their servers
 * described them, and cover the whole block once; then writes the manifest. After a failure the
 * folder is left without a manifest; hp_checkpoint_drop or hp_checkpoint_clean removes it. */
hp_status_t hp_checkpoint_commit(const char *run, const hp_params_t *params,
                                 const hp_checkpoint_state_t *state, int parts,
                                 const hp_checkpoint_part_t *part, hp_error_t *err) HP_MUST_CHECK;

/* Removes a checkpoint, its manifest first. */
hp_status_t hp_checkpoint_drop(const char *run, int64_t step, hp_error_t *err) HP_MUST_CHECK;

/* Keeps the newest `keep` checkpoints, the best, and the newest that is whole. */
hp_status_t hp_checkpoint_prune(const char *run, int keep, hp_error_t *err) HP_MUST_CHECK;

/* RUN/checkpoints/best names the step. */
hp_status_t hp_checkpoint_mark_best(const char *run, int64_t step, hp_error_t *err) HP_MUST_CHECK;

/* ---- reading ---- */

typedef struct hp_checkpoint hp_checkpoint_t;

/* Open for reading: verifies the manifest's hash, that shards are there with the right sizes and
 * headers, and that chunks cover the block exactly once; the data is verified as it is read.
 * `which`: a step, "last" or "best". "last" falls back to the newest whole checkpoint; what was
 * passed over and why is written to `note` (1024 bytes; may be NULL; empty: nothing was). HP_INPUT:
 * there is none. */
hp_status_t hp_checkpoint_open(const char *run, const char *which, hp_checkpoint_t **checkpoint_p,
                               char *note, hp_error_t *err) HP_MUST_CHECK;
void hp_checkpoint_close(hp_checkpoint_t *checkpoint); /* NULL is fine */

int64_t hp_checkpoint_step(const hp_checkpoint_t *checkpoint);
const hp_params_t *hp_checkpoint_params(const hp_checkpoint_t *checkpoint);
const hp_checkpoint_state_t *hp_checkpoint_state(const hp_checkpoint_t *checkpoint);
const char *hp_checkpoint_date(const hp_checkpoint_t *checkpoint); /* ISO 8601, UTC */
uint64_t hp_checkpoint_bytes(const hp_checkpoint_t *checkpoint);
int hp_checkpoint_shards(const hp_checkpoint_t *checkpoint);

/* Chunks in order of `begin`. */
int hp_checkpoint_chunks(const hp_checkpoint_t *checkpoint);
hp_checkpoint_chunk_t hp_checkpoint_chunk(const hp_checkpoint_t *checkpoint, int i);

/* Adam's steps and the version of elements [begin, end): the largest over the chunks that overlap.
 */
void hp_checkpoint_clock(const hp_checkpoint_t *checkpoint, int64_t begin, int64_t end,
                         int64_t *t_p, uint64_t *version_p);

/* Read elements [begin, end) of the flat block, from whatever shards hold them, verifying the hash
 * of each chunk once. weights, first_moment and second_moment ([end - begin]) may each be NULL. One
 * thread at a time. HP_CORRUPT: a hash does not match. */
hp_status_t hp_checkpoint_read(hp_checkpoint_t *checkpoint, int64_t begin, int64_t end,
                               float *weights, float *first_moment, float *second_moment,
                               hp_error_t *err) HP_MUST_CHECK;

/* Verify every hash. */
hp_status_t hp_checkpoint_verify(hp_checkpoint_t *checkpoint, hp_error_t *err) HP_MUST_CHECK;

/* Steps of RUN/checkpoints, whole or not, ascending; hp_free(*steps_p). *best_p: -1 where none is
 * marked. A run without checkpoints gives 0. */
hp_status_t hp_checkpoint_list(const char *run, int *count_p, int64_t **steps_p, int64_t *best_p,
                               hp_error_t *err) HP_MUST_CHECK;

#endif
