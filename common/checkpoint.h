/* Sharded checkpoints: RUN/checkpoints/step-%08d/ holds a file for each server's shard (weights,
 * both Adam moments, versions) and a protobuf manifest (parameter table, chunks, hashes, data
 * position, resolved configuration). All is written and synced in step-%08d.tmp/, the manifest
 * last, and the folder is renamed into place: a checkpoint exists when its manifest does.
 * docs/checkpoint.md describes the format.
 *
 * Whatever fails while one is written, earlier checkpoints stay as they are and nothing new looks
 * whole. */
#ifndef HP_CHECKPOINT_H
#define HP_CHECKPOINT_H

#include "common/params.h"
#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

/* Where a run stands in its data, and what is worth knowing of who wrote it. */
typedef struct {
    int64_t step;
    uint64_t next_unit; /* units from here on were never handed out */
    uint64_t units_repeated;
    int sync_shards; /* units of a step; 0 where a step is a unit */
    int outstanding; /* units below next_unit that are not retired: to be handed out first */
    const uint64_t *outstanding_unit; /* ascending */

    /* evaluation while training: the last step that was evaluated, the best one, each 0 for none;
     * the best one's accuracy, 0 to 1, and evaluations since then */
    int64_t evaluated, best_step;
    double best_accuracy;
    int poorer;

    /* optional: 0 and NULL where not known */
    uint64_t epoch;       /* passes over the training split begun */
    uint64_t incarnation; /* starts of the run, from 1 */
    int workers;
    const char *store_digest;
    const char *kernel; /* library and CPU kernel of the matrix products: they fix the bits */
    int pixel_height, pixel_width; /* of the images that a trunk reads */
} hp_position_t;

/* A chunk as its server hands it to the writer. Chunks are cut by hp_shard_plan, alike for every
 * number of servers. */
typedef struct {
    int64_t begin, end;                                  /* elements of the flat block */
    int64_t version;                                     /* updates published */
    int64_t updates;                                     /* of them, Adam's steps: its t */
    const float *weights, *first_moment, *second_moment; /* [end - begin]; moments NULL: zero */
} hp_shard_chunk_t;

/* What server 0 must know of a shard's file for the manifest. Plain data: it travels in a message.
 */
typedef struct {
    int32_t server, chunks;
    uint64_t bytes;
    uint8_t hash[16]; /* XXH3 of the chunks' headers, which hold the hashes of their data */
} hp_shard_record_t;

/* ---- writing ---- */

/* Server 0, before anything else: makes RUN/checkpoints and removes what interrupted writes and
 * removals left there. */
hp_status_t hp_checkpoint_clean(const char *run, hp_error_t *err) HP_MUST_CHECK;

/* The step of the newest checkpoint of RUN/checkpoints, as it lies there and unread, or -1: none.
 * *lost_p: there is none, but there was one: a folder of one has no manifest any more, or the
 * folder `checkpoints`, which every run has, is gone. Nothing is changed. */
int64_t hp_checkpoint_newest(const char *run, bool *lost_p);

/* Write and sync one server's file of checkpoint `step`, making the folder where it is not there.
 * Called from a background thread of each server. On failure nothing of it stays. */
hp_status_t hp_checkpoint_write_shard(const char *run, int64_t step, int server, int servers,
                                      int chunks, const hp_shard_chunk_t *chunk,
                                      hp_shard_record_t *record_p, hp_error_t *err) HP_MUST_CHECK;

/* Server 0, when every shard is reported, record[i] being server i's: checks that the files are
 * there as they were reported and hold every element once, writes the manifest and puts the
 * checkpoint in its place (of one of the same step, too). Then the checkpoints beyond the newest
 * `keep` are removed, except the best and that of step `spare` (-1: none), which is being
 * evaluated; a failure to remove is not an error. On failure the checkpoint is not there;
 * hp_checkpoint_discard removes its files. */
hp_status_t hp_checkpoint_commit(const char *run, const hp_params_t *params,
                                 const hp_position_t *position, const char *config_yaml,
                                 int servers, const hp_shard_record_t *record, int keep,
                                 int64_t spare, hp_error_t *err) HP_MUST_CHECK;

/* That removal alone: checkpoints up to step `written`, but the newest `keep` of them, the best and
 * `spare`. */
void hp_checkpoint_prune(const char *run, int64_t written, int keep, int64_t spare);

/* A whole checkpoint of step 0: weights[params->total] and no moments, for a run that does not
 * begin with the initial values of its seed. Of the position, only what is optional is said. */
hp_status_t hp_checkpoint_write_first(const char *run, const hp_params_t *params,
                                      const float *weights, const char *config_yaml,
                                      const hp_position_t *position, hp_error_t *err) HP_MUST_CHECK;

/* Take it back: the run did not come to start. */
void hp_checkpoint_remove_first(const char *run);

/* A checkpoint that failed on some server: remove what was written of it. */
void hp_checkpoint_discard(const char *run, int64_t step);

/* RUN/checkpoints/best names the step; it is never removed as one too many. */
hp_status_t hp_checkpoint_mark_best(const char *run, int64_t step, hp_error_t *err) HP_MUST_CHECK;

/* ---- reading ---- */

typedef struct hp_checkpoint hp_checkpoint_t;

/* Open for reading: verifies the manifest's hash, that the shards are there with the sizes and
 * headers it names, and that chunks cover the block exactly once. Data is verified as it is read.
 * `which`: a step, "last" or "best". "last" verifies all of it and falls back to the newest whole
 * checkpoint; what was passed over and why is written to `note` (HP_CHECKPOINT_NOTE bytes, empty if
 * nothing was; may be NULL). HP_INPUT: there is none; HP_CORRUPT: the one that was asked for is
 * damaged. */
#define HP_CHECKPOINT_NOTE 1024
hp_status_t hp_checkpoint_open(const char *run, const char *which, hp_checkpoint_t **checkpoint_p,
                               char *note, hp_error_t *err) HP_MUST_CHECK;
void hp_checkpoint_close(hp_checkpoint_t *checkpoint); /* NULL is fine */

int64_t hp_checkpoint_step(const hp_checkpoint_t *checkpoint);
const hp_params_t *hp_checkpoint_params(const hp_checkpoint_t *checkpoint);
const hp_position_t *hp_checkpoint_position(const hp_checkpoint_t *checkpoint);
const char *hp_checkpoint_config(const hp_checkpoint_t *checkpoint); /* YAML */
const char *hp_checkpoint_date(const hp_checkpoint_t *checkpoint);   /* ISO 8601, UTC */
uint64_t hp_checkpoint_bytes(const hp_checkpoint_t *checkpoint);     /* on disk */
int hp_checkpoint_shards(const hp_checkpoint_t *checkpoint);         /* servers that wrote it */
int hp_checkpoint_chunks(const hp_checkpoint_t *checkpoint);

/* Version and updates of the chunk that holds element `element`. */
hp_status_t hp_checkpoint_chunk(const hp_checkpoint_t *checkpoint, int64_t element,
                                int64_t *version_p, int64_t *updates_p,
                                hp_error_t *err) HP_MUST_CHECK;

/* Read elements [begin, end) of the flat block, from whatever shards hold them, verifying hashes.
 * Each array may be NULL. One thread at a time. */
hp_status_t hp_checkpoint_read(hp_checkpoint_t *checkpoint, int64_t begin, int64_t end,
                               float *weights, float *first_moment, float *second_moment,
                               hp_error_t *err) HP_MUST_CHECK;

/* Verify every hash. */
hp_status_t hp_checkpoint_verify(hp_checkpoint_t *checkpoint, hp_error_t *err) HP_MUST_CHECK;

/* Steps of RUN/checkpoints, whole or not, ascending; release with hp_free. *best_p: -1 where none
 * is marked. A run without checkpoints gives 0 of them. */
hp_status_t hp_checkpoint_list(const char *run, int *count_p, int64_t **steps_p, int64_t *best_p,
                               hp_error_t *err) HP_MUST_CHECK;

#endif
