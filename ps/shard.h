/* A server's part of the weights: for each of its chunks the published weights, both moments, the
 * gradient being summed, and clocks.
 *
 * Weights and moments lie in counted buffers. A published buffer is never written again; an update
 * writes the weights to a fresh one and publishes that, so a pull neither tears nor waits. Moments
 * are updated in place, unless a snapshot holds them: then the update writes fresh buffers too, and
 * the snapshot keeps the old ones: copy on write without a copy. Buffers are recycled.
 *
 * Where the wire is bf16, what is published is the weights rounded, written in the pass that
 * updates them; the weights themselves are then updated in place like the moments. A single push
 * stays bf16 until that pass reads it; sums are float.
 *
 * One thread updates (fold, norm, update, snapshot); any thread takes and gives buffers. */
#ifndef PS_SHARD_H
#define PS_SHARD_H

#include "common/checkpoint.h"
#include "common/config.h"
#include "common/shard_plan.h"
#include "ps/adam.h"

typedef struct ps_shard ps_shard_t;

typedef struct ps_buffer {
    int refs; /* under the shard's lock */
    int chunk;
    bool half;              /* bf16, as published where the wire has it; else float */
    struct ps_buffer *next; /* while free */
    void *data;
} ps_buffer_t;

/* `plan` and `params` must outlive the shard. keep: the weights before the newest are kept too.
 * decay_on: the weights to which the decays of `adam` apply. */
hp_status_t ps_shard_create(const hp_shard_plan_t *plan, const hp_params_t *params, int server,
                            const ps_adam_t *adam, hp_decay_on_t decay_on, bool lazy, bool keep,
                            ps_shard_t **shard_p, hp_error_t *err) HP_MUST_CHECK;
/* Most bytes of a server's shard: what Adam reads and writes, and the copies that a cut keeps. */
size_t ps_shard_memory(const hp_shard_plan_t *plan, int server);
void ps_shard_destroy(ps_shard_t *shard);

/* Version 0: initial weights, or what a checkpoint holds. */
void ps_shard_initialise(ps_shard_t *shard, uint64_t seed);
hp_status_t ps_shard_load(ps_shard_t *shard, hp_checkpoint_t *checkpoint,
                          hp_error_t *err) HP_MUST_CHECK;

/* Chunks of this server count from 0 in the order in which forward needs them. */
int ps_shard_chunks(const ps_shard_t *shard);
const hp_chunk_t *ps_shard_chunk(const ps_shard_t *shard, int chunk);
int ps_shard_number(const ps_shard_t *shard, int chunk); /* in the plan */
int ps_shard_local(const ps_shard_t *shard, int number); /* -1: another server's */

/* The weights of a sequence (how many updates had been published since this process began), held
 * until given back: the newest, or those before where they are kept. NULL: not here. */
ps_buffer_t *ps_shard_take(ps_shard_t *shard, int chunk, int64_t sequence);
void ps_shard_give(ps_shard_t *shard, ps_buffer_t *buffer);
int64_t ps_shard_sequence(ps_shard_t *shard, int chunk);

/* Add a push's chunk (as hp_chunk_push_bytes counts it) to the sum. `first`: the sum was empty; a
 * dense chunk is then taken by exchanging *part_p with memory of the sum. weight: a gradient (not a
 * buffer) is multiplied by it first, where it is not 1. */
void ps_shard_fold(ps_shard_t *shard, int chunk, bool first, double weight, void **part_p);

/* Squared norm of the sum. */
double ps_shard_norm(const ps_shard_t *shard, int chunk);

typedef struct {
    bool skip;    /* no gradient: only the sequence and the version advance */
    double scale; /* of the summed gradient */
    double rate;  /* the learning rate: that of `adam` is not read */
    int units;    /* in the sum: what a buffer is divided by */
} ps_update_t;

/* One step from the sum; publishes, and empties the sum. */
hp_status_t ps_shard_update(ps_shard_t *shard, int chunk, const ps_update_t *update,
                            hp_error_t *err) HP_MUST_CHECK;

/* The state of all chunks, held until released. Arrays are [ps_shard_chunks], the caller's. */
void ps_shard_hold(ps_shard_t *shard, hp_shard_chunk_t *chunk, ps_buffer_t *(*held)[3]);
void ps_shard_release(ps_shard_t *shard, ps_buffer_t *(*held)[3]);

/* Bytes of buffers allocated so far. */
uint64_t ps_shard_bytes(ps_shard_t *shard);

#endif
