/* A run of servers and workers with a model that is no network: the gradient is a function of the
 * weights and the unit, so what must come out is known without one. */
#ifndef FAKE_RUN_H
#define FAKE_RUN_H

#include "common/config.h"
#include "common/params.h"
#include "common/transport_chaos.h"
#include "ps/server.h"

#include <stdatomic.h>

enum { FAKE_UNITS = 4096, FAKE_WORKERS = 32 };

typedef struct {
    hp_config_t config; /* cluster, optimizer, run.steps, checkpoint */
    int workers;        /* spare ones (config.cluster.spares) among them */
    bool dense;         /* the embedding's gradient travels whole */
    char run[256];      /* folder; made by fake_begin */
    const char *resume; /* NULL or "last" */
    uint64_t seed;      /* of the workers' random delays; 0: none */
    int slow_us;        /* worker 0 takes so much longer for a unit */
    int pause_us;       /* all take so much longer */
    int evaluate_us;    /* and for a part of an evaluation */
    int data_us;        /* and so long before a unit begins */
    int64_t stop_after; /* a worker asks for the end when so many units were committed; 0: never */
    int64_t quit_after; /* worker 0 leaves after so many units of its own; 0: never */
    /* Called by a worker in each unit, after `own` units of its own: 0 when it has begun, 1 when
     * half of the gradient is final, 2 when it is committed. NULL: none. */
    void (*moment)(int worker, int64_t own, int phase);
    bool barred;       /* server 0 cannot begin: it has no folder to write to */
    int64_t peak;      /* the step at which the validation accuracy is highest; 0: no validation */
    int64_t nonfinite; /* gradients of units from here on are not finite; -1: none */
    int loud;          /* the gradient of each so many-th unit is far too large; 0: none */

    hp_chaos_t chaos; /* where lose_of is given: of fake_loopback */

    hp_params_t params;
    atomic_int used[FAKE_UNITS]; /* commits of each unit */
    atomic_llong committed;
    atomic_int units_of[FAKE_WORKERS]; /* commits of each worker */
    bool gather; /* nobody begins before all workers are here; most_lead then counts */
    atomic_int here;
    /* units of each worker, INT_MAX when it has left; by how many one began ahead of the slowest */
    atomic_int done[FAKE_WORKERS], most_lead;
    atomic_int evaluated; /* parts */
    ps_outcome_t outcome; /* server 0's */
    hp_error_t err;       /* of the rank that failed first */
    int spoken;           /* ranks that failed and were not told of it: each says a line */
    atomic_int pending;   /* messages that no rank waited for */
    atomic_int parted;    /* workers that may leave in good order */
    uint64_t sent;        /* messages of the endpoint that loses one */
} fake_t;

/* Defaults, an own run folder. */
void fake_begin(fake_t *f, hp_consistency_t consistency, int servers, int workers, int64_t steps);
/* The same folder once more, going on. */
void fake_again(fake_t *f, int servers, int workers, int64_t steps);
void fake_end(fake_t *f); /* removes the folder */

/* All ranks may leave in good order, also where the run has failed: a launcher that must end ranks
 * whose connections are broken can hang itself. */
bool fake_all_parted(fake_t *f);

/* All ranks as threads over the loopback. The first failure of a rank. */
hp_status_t fake_loopback(fake_t *f);
/* This rank's part over any transport. */
hp_status_t fake_rank(fake_t *f, hp_transport_t *transport, hp_error_t *err);

/* Weights and moments of the newest checkpoint, [3 * params.total]; release with hp_free. Its hash,
 * for comparing processes. NULL: none. */
float *fake_result(const fake_t *f);
uint64_t fake_hash(const fake_t *f);

/* A unit's gradient at these weights, [params.total] both; returns its number of examples. */
int64_t fake_gradient(const fake_t *f, uint64_t unit, const float *weights, float *grads);

/* What `sync` must come to, computed without servers, in the plainest way. [params.total] */
void fake_reference(const fake_t *f, int shards, int64_t steps, float *weights);

#endif
