/* The thread that computes: sums gradients and runs Adam, job by job in the order given. With
 * `threads` above 1 the chunks of a job are shared out among so many. It never communicates; the
 * communication thread gives it jobs and takes back what is done. */
#ifndef PS_APPLIER_H
#define PS_APPLIER_H

#include "common/trace.h"
#include "common/transport.h"
#include "ps/shard.h"

typedef struct ps_applier ps_applier_t;

/* What to do for each chunk, in this order. */
typedef struct {
    void **part;   /* [chunks] fold this push into the sum; NULL: none. Dense parts are exchanged */
    bool first;    /* the sum is empty */
    double weight; /* of the push in the sum */
    double *norm;  /* [chunks] write the squared norm of the sum; NULL: no */
    bool update;   /* step and publish */
    ps_update_t how;
    hp_shard_chunk_t *hold; /* [chunks] at last hold the state of all chunks; NULL: no */
    ps_buffer_t *(*held)[3];

    uint64_t step; /* that the update makes, for the trace */
    void *context; /* the giver's */
    hp_status_t status;
    hp_error_t err;
} ps_job_t;

/* `transport` is woken when a chunk is published and when a job is done. trace: NULL is none, else
 * with room for `jobs` jobs. */
hp_status_t ps_applier_start(ps_shard_t *shard, hp_transport_t *transport, int capacity,
                             int threads, hp_trace_t *trace, size_t jobs, ps_applier_t **applier_p,
                             hp_error_t *err) HP_MUST_CHECK;
/* Jobs not begun are dropped. NULL is fine. */
void ps_applier_stop(ps_applier_t *applier);

/* HP_INTERNAL: more than `capacity` jobs given and not taken back. */
hp_status_t ps_applier_give(ps_applier_t *applier, const ps_job_t *job,
                            hp_error_t *err) HP_MUST_CHECK;
/* The next job that is done, in order. */
bool ps_applier_take(ps_applier_t *applier, ps_job_t *job_p);

int ps_applier_queue(ps_applier_t *applier);
double ps_applier_seconds(ps_applier_t *applier); /* spent in jobs so far */

#endif
