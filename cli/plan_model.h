/* What a run on a cluster will be like: the arithmetic of hanps plan, without measuring, printing
 * or files.
 *
 * Hosts are alike and undisturbed, a link carries both ways at once, reading data keeps up. Two
 * things limit a run. A worker's cycle: forward, backward, the rest of its push, its servers' Adam,
 * the rest of its pull, laid out chunk by chunk as worker/client does it: a chunk is pushed when
 * its last gradient is final, the pull is asked for with the commit, Adam goes chunk by chunk in
 * the order of need, and forward begins when the push is sent and waits for each parameter. And
 * what all workers share: servers' links, their thread for messages, their Adam, their slots,
 * hosts' cores: a round, in which every worker does a unit, takes at least as long as each of them
 * is busy. In sync all workers push, and then pull, at once, and share the links while they do. */
#ifndef CLI_PLAN_MODEL_H
#define CLI_PLAN_MODEL_H

#include "cli/plan_layout.h"
#include "common/params.h"

#include <stddef.h>

enum { PLAN_THREADS = 4 }; /* of a server, at most, where they are `auto` */

/* Of one machine; times in seconds. */
typedef struct {
    int cores;
    double memory;  /* bytes of a host */
    double copy;    /* bytes/s that memcpy reads and writes, one thread */
    double message; /* bytes/s that one thread sends, or receives, over TCP */
    double
        reply;   /* of a small pull within one process: what a round trip costs without a network */
    int threads; /* of the worker whose step was measured */
    double forward, backward;
    double adam[PLAN_THREADS]; /* of a number, by threads: [0] is one */
    double fold[PLAN_THREADS]; /* adding a push to the sum, the same */
} plan_rates_t;

typedef struct {
    const hp_config_t *config; /* model, batch and cluster; not the numbers of ranks */
    const hp_params_t *params;
    /* [params->count] the share of forward after which a parameter is first read, and of backward
     * after which its gradient is final */
    const double *need, *final;
    double rows; /* distinct words of a batch */
    plan_rates_t rates;
    double bandwidth, latency; /* of a host's link each way, bytes/s; one way, seconds */
    double worker_bytes;       /* memory of a worker */
} plan_work_t;

typedef enum {
    PLAN_COMPUTE,
    PLAN_ADAM,
    PLAN_LINK, /* of servers or of workers */
    PLAN_LATENCY,
    PLAN_MESSAGES, /* a rank's only thread that communicates */
    PLAN_MEMORY,
    PLAN_CAUSES
} plan_cause_t;

typedef struct {
    double step;       /* seconds: of a step in sync, else of a worker's unit */
    double examples;   /* a second, of all workers */
    double push, pull; /* bytes of a unit on the wire, and where a worker's servers are beside it */
    double server_link, worker_link; /* bytes/s of the busiest host with a server, and of the
                                        busiest without; the larger of both directions; 0: none */
    double server_bytes, worker_bytes, host_bytes; /* memory: of a rank, and of the fullest host */
    plan_cause_t cause; /* what would give most if it cost nothing; memory where it does not fit */
    double without;     /* examples a second if it did cost nothing */
    bool of_servers;    /* PLAN_LINK: workers share those of servers, and wait for one another */
} plan_result_t;

/* HP_INPUT where the layout is not possible, or has more servers than the model has chunks. */
hp_status_t plan_predict(const plan_work_t *work, const plan_layout_t *layout,
                         plan_result_t *result, hp_error_t *err) HP_MUST_CHECK;

/* Distinct words among so many drawn from a vocabulary as in a text: the word of rank r comes in
 * proportion to 1/r (Zipf). Real questions, which repeat their beginnings, have a third fewer. */
double plan_distinct_words(int vocabulary, double tokens);

#endif
