/* A worker's side of the parameter server: units, pull, push. One thread of the rank does all its
 * communication; the calls below hand work to it and wait. They are made from the compute thread,
 * wk_client_next_unit from a prefetch thread.
 *
 * wk_client_begin, _need, _final and _commit may return HP_INTERRUPTED: the unit is not wanted any
 * more (the run ends, or the unit was given to another worker). It is no failure: drop the unit's
 * batch, call wk_client_abort where begin had succeeded, and go on with the next unit; at the end
 * of the run that is the one with `last`. */
#ifndef WK_CLIENT_H
#define WK_CLIENT_H

#include "common/config.h"
#include "common/message.h"
#include "common/params.h"
#include "common/trace.h"
#include "common/transport.h"

typedef struct wk_client wk_client_t;

/* A unit of work: batch `unit` of the run. Or, in between, a part of an evaluation: no unit is
 * begun for it, wk_client_evaluated answers it. */
typedef struct {
    uint64_t unit;
    int64_t step;  /* `sync`: the step it belongs to, which fixes the weights' version; else -1 */
    bool last;     /* no work is left: the run is over, or it is being stopped */
    bool evaluate; /* score part `part` of `parts` of data.valid with the checkpoint of `step` */
    int part, parts;
} wk_unit_t;

/* Counted since the last wk_client_take_stats. */
typedef struct {
    double push_s, pull_s, wait_s; /* the compute thread's waiting, by cause; wait: for a unit */
    double pulled_s; /* of the last pull, from asking to having all weights; 0: none came */
    uint64_t pushed_bytes, pulled_bytes;
    int64_t step;      /* the newest step seen */
    int64_t staleness; /* of the last acknowledged push, in steps; the largest over chunks */
} wk_client_stats_t;

/* Not collective, but the servers must be there or come up: waits for them up to a limit. `params`,
 * and the configuration's cluster section, must be the servers'. Starts the communication thread.
 */
hp_status_t wk_client_open(hp_transport_t *transport, const hp_config_t *config,
                           const hp_params_t *params, wk_client_t **client_p,
                           hp_error_t *err) HP_MUST_CHECK;

/* Says goodbye to the servers, ends the thread. *clean_p (may be NULL): every rank is well, so that
 * the transport may be closed in good order. *lead_lost_p (may be NULL): it failed because server
 * 0 was lost, which nobody else can tell. */
hp_status_t wk_client_close(wk_client_t *client, bool *clean_p, bool *lead_lost_p, hp_error_t *err);

/* Thread safe. The unit that will come after those taken so far, without waiting for weights: what
 * a prefetch thread reads ahead. Blocks until one is known. Units are taken in this order. The last
 * one also comes to a worker that was given up when the run has ended well without it. */
hp_status_t wk_client_next_unit(wk_client_t *client, wk_unit_t *unit_p,
                                hp_error_t *err) HP_MUST_CHECK;

/* Begin a unit: starts pulling its weights, first-needed chunks first, and asks for the slots of
 * its push. *weights_p ([params->total] floats) is valid, and not overwritten, until
 * wk_client_commit or wk_client_abort returns. *grads_p is where the gradient goes. */
hp_status_t wk_client_begin(wk_client_t *client, const wk_unit_t *unit, const float **weights_p,
                            float **grads_p, hp_error_t *err) HP_MUST_CHECK;

/* Block until the parameter (row of the table) has arrived. */
hp_status_t wk_client_need(wk_client_t *client, int param, hp_error_t *err) HP_MUST_CHECK;

/* The parameter's gradient is final: chunks that are complete begin to travel. Sparse rows are
 * given once, before the first `final` of the sparse parameter. */
hp_status_t wk_client_sparse_rows(wk_client_t *client, int param, int rows, const int32_t *row,
                                  hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_client_final(wk_client_t *client, int param, hp_error_t *err) HP_MUST_CHECK;

/* All gradients are final: commit the push of `examples` examples. Returns when the gradient block
 * may be reused. The unit retires when every server has acknowledged, which may be later. */
hp_status_t wk_client_commit(wk_client_t *client, int64_t examples, hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_client_abort(wk_client_t *client, hp_error_t *err) HP_MUST_CHECK;

/* What a part of an evaluation came to; scores NULL: it failed, and why. */
hp_status_t wk_client_evaluated(wk_client_t *client, const wk_unit_t *part,
                                const hp_scores_t *scores, const char *why,
                                hp_error_t *err) HP_MUST_CHECK;

/* Ask the servers for a checkpoint and the end of the run (a signal, hanps stop). Safe from any
 * thread. */
void wk_client_request_stop(wk_client_t *client);

void wk_client_take_stats(wk_client_t *client, wk_client_stats_t *out);

/* Before the first unit: the compute thread's waiting goes to `compute`, and the way of gradients
 * and weights to two rows more. */
hp_status_t wk_client_trace(wk_client_t *client, hp_trace_t *trace, hp_trace_row_t *compute,
                            hp_error_t *err) HP_MUST_CHECK;

#endif
