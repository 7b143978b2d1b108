/* A worker's training loop: unit -> batch -> forward -> backward -> commit, until no work is left.
 */
#ifndef WK_TRAIN_H
#define WK_TRAIN_H

#include "common/config.h"
#include "common/log.h"
#include "common/params.h"
#include "common/store.h"
#include "common/trace.h"
#include "common/transport.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What a worker did, as its log's last line also says. */
typedef struct {
    uint64_t units, examples;
    int64_t step;   /* the newest that the servers have reported */
    double seconds; /* from the first unit to the last */
    double data_s, forward_s, backward_s, push_s, pull_s, wait_s;
    double evaluate_s; /* in evaluations, between units */
    double loss_sum;
    uint64_t labelled, correct;
    uint64_t nonfinite; /* units whose loss was not finite */
    uint64_t pushed_bytes, pulled_bytes;
    bool clean;     /* no rank was lost: for hp_transport_close */
    bool lead_lost; /* it failed because server 0 was lost */
} wk_train_totals_t;

/* Seen after each unit by `progress`; the totals are those since the start. */
typedef struct {
    int64_t step;          /* the newest the servers have reported */
    double loss, accuracy; /* of this unit; accuracy in 0 .. 1 */
    const wk_train_totals_t *totals;
} wk_train_progress_t;

typedef struct {
    hp_transport_t *transport;
    const hp_config_t *config;
    const hp_params_t *params;
    hp_store_t *store;
    const char *run; /* the run's folder: the log goes to RUN/log/worker-%04d.jsonl */
    int worker;      /* 0, 1, ...: rank less the number of servers */
    int64_t start;   /* which start of the run this is, for the log */
    hp_log_t *log;
    hp_trace_t *trace; /* of the first units that it computes; NULL: none */
    atomic_int *stop;  /* set by a signal: the servers are asked to write a checkpoint and end */
    /* Called after each unit; may be NULL. */
    void (*progress)(void *context, const wk_train_progress_t *progress);
    void *context;
} wk_train_options_t;

/* Returns when the servers say that no work is left. HP_NONFINITE: the servers ended the run
 * because gradients were not finite; HP_PEER: they are gone. What was pushed stays. */
hp_status_t wk_train(const wk_train_options_t *options, wk_train_totals_t *totals,
                     hp_error_t *err) HP_MUST_CHECK;

/* Examples of an epoch: the questions of data.train that can be trained on. HP_INPUT: none. */
hp_status_t wk_train_examples(const hp_config_t *config, hp_store_t *store, uint64_t *examples_p,
                              hp_error_t *err) HP_MUST_CHECK;

/* Bytes that a worker allocates: the model's workspace, weights twice and their gradient, batches.
 */
hp_status_t wk_train_memory(const hp_config_t *config, hp_store_t *store, size_t *bytes_p,
                            hp_error_t *err) HP_MUST_CHECK;

#endif
