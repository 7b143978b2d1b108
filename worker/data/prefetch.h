/* Reads batches ahead of training, in a thread of its own with its own reader of the store. */
#ifndef WK_PREFETCH_H
#define WK_PREFETCH_H

#include "common/store.h"
#include "common/trace.h"
#include "worker/client.h"
#include "worker/data/batch.h"
#include "worker/data/sampler.h"

typedef struct {
    hp_store_t *store;
    const wk_batch_plan_t *plan; /* batches of limits.questions questions */
    wk_sampler_t *sampler;       /* used by the thread alone while the prefetcher is open */
    int depth;                   /* batches read ahead, at least 1 */
    /* Gives the next unit; blocks until one is known; unit->last ends. Called from the thread.
     * NULL: the units of one epoch, the last one cut at its end; of these, part `part` of `parts`
     * (0: all): so many that follow one another, or where `dealt` every parts-th. */
    hp_status_t (*next)(void *context, wk_unit_t *unit, hp_error_t *err);
    void *context;
    int part, parts;
    bool dealt;
    /* NULL: no trace. What the thread does; what wk_prefetch_take waits for, in its caller's row */
    hp_trace_row_t *row, *taker_row;
} wk_prefetch_options_t;

typedef struct wk_prefetch wk_prefetch_t;

hp_status_t wk_prefetch_open(const wk_prefetch_options_t *options, wk_prefetch_t **prefetch_p,
                             hp_error_t *err) HP_MUST_CHECK;

/* The next batch, or NULL at the end. Valid until the next call. An error of the thread arrives
 * after the batches that were read before it. */
hp_status_t wk_prefetch_take(wk_prefetch_t *prefetch, const wk_batch_t **batch_p,
                             hp_error_t *err) HP_MUST_CHECK;

/* Seconds that wk_prefetch_take has waited so far, by cause: for the batch to be read, and for a
 * unit to read. */
void wk_prefetch_waited(wk_prefetch_t *prefetch, double *data_s, double *unit_s);

/* Ends the thread. A `next` that blocks must have been made to return. NULL is fine. */
void wk_prefetch_close(wk_prefetch_t *prefetch);

#endif
