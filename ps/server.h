/* A parameter server: holds a shard of the weights, reduces gradients, runs Adam, publishes
 * weights, writes its part of a checkpoint. Server 0 also hands out units and decides. */
#ifndef PS_SERVER_H
#define PS_SERVER_H

#include "common/config.h"
#include "common/log.h"
#include "common/params.h"
#include "common/trace.h"
#include "common/transport.h"

#include <stdatomic.h>

typedef struct {
    int64_t steps;  /* where the run ends */
    int64_t step;   /* where it ended */
    uint64_t units; /* units retired */
    uint64_t units_repeated;
    double seconds;
    bool early;     /* ended before config's steps: no evaluation was better any more */
    bool stopped;   /* by a signal, hanps stop or max_minutes: not at its natural end */
    bool lead_lost; /* the run ended because server 0 was lost: nobody else tells */
    bool clean;     /* every rank said goodbye: for hp_transport_close. Known also on failure */
} ps_outcome_t;

typedef struct {
    hp_transport_t *transport;
    const hp_config_t *config;
    const hp_params_t *params;
    int threads;          /* that run Adam; 0 is 1 */
    int servers, workers; /* ranks 0 .. servers-1 are servers, the rest workers */
    const char *run;      /* run folder */
    const char
        *resume; /* NULL: from the start; else the checkpoint, as hp_checkpoint_open takes it */
    const char *config_yaml; /* resolved configuration, for the manifest */
    uint64_t epoch_examples; /* examples of the training split, to turn epochs into steps */
    int valid_parts; /* in how many parts data.valid is evaluated while training; 0: not at all */
    hp_log_t *log;
    atomic_int *stop; /* set by a signal handler: checkpoint and end; NULL: none */
    /* for log lines and checkpoints; 0 and NULL where not known */
    int64_t start; /* how often the run was started */
    const char *store_digest, *kernel;
    int pixel_height, pixel_width; /* of the images that a trunk reads */
    hp_trace_t *trace; /* until every worker has pushed the steps that it is of; NULL: none */
} ps_server_options_t;

/* Runs the event loop until the run is over; the calling thread becomes the communication thread.
 */
hp_status_t ps_server_run(const ps_server_options_t *options, ps_outcome_t *outcome,
                          hp_error_t *err) HP_MUST_CHECK;

/* Bytes that a server allocates, with what a checkpoint keeps while it is written. */
hp_status_t ps_server_memory(const hp_config_t *config, const hp_params_t *params, int servers,
                             int server, size_t *bytes_p, hp_error_t *err) HP_MUST_CHECK;

#endif
