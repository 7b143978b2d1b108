/* The start of a run: what rank 0 prepares and every rank must know. */
#ifndef CLI_START_H
#define CLI_START_H

#include "common/config.h"
#include "common/log.h"
#include "common/params.h"
#include "common/run_folder.h"
#include "common/store.h"
#include "common/transport.h"
#include "ps/server.h"
#include "worker/model.h"

#define CLI_PATH 1024

/* hanps train's arguments. */
typedef struct {
    const char *config; /* NULL: none given */
    const char *run;
    const char *placement; /* NULL: as the configuration says */
    int servers;           /* 0: as the configuration says */
    int spares;            /* -1: the same */
    int trace;             /* steps to trace; 0: none */
    bool resume;
    int sets;
    const char **set; /* [sets] assignments, owned by argv */
} cli_train_args_t;

/* Plain data: sent to the other ranks as it is, followed by the configuration as YAML. All ranks
 * run the same program; `bytes` and `magic` catch a mixture of builds. */
typedef struct {
    uint64_t magic;
    uint64_t bytes;           /* of this struct */
    int32_t status;           /* HP_OK, or what went wrong on rank 0, which has said so */
    int32_t servers, workers; /* spare ones among them: config.cluster.spares */
    int64_t start;            /* the how manieth start of the run, from 1 */
    int64_t resume_step;      /* the checkpoint to go on from; -1: from the beginning */
    int64_t steps;            /* where the run will end, or 0 where it is not known */
    int64_t total;            /* elements of the parameter block, a check */
    uint64_t epoch_examples, token;
    int32_t trace;       /* steps to trace; 0: none */
    double trace_zero;   /* rank 0's hp_clock when it made the plan: the trace's time 0 */
    int32_t valid_parts; /* of an evaluation while training; 0: none */
    char run[CLI_PATH];
    char digest[33]; /* of the store */
    hp_config_t config;
    wk_model_shape_t shape;
} cli_plan_t;

/* What a rank holds from the start on. */
typedef struct {
    cli_plan_t plan;
    char *yaml; /* the resolved configuration */
    hp_params_t params;
    hp_store_t *store;   /* open on rank 0 and on workers */
    hp_run_lock_t *lock; /* rank 0 */
} cli_start_t;

/* Rank 0 reads the configuration, opens the store, makes or opens the run's folder; every rank gets
 * the plan and checks that it sees the folder and, a worker, the same store. All ranks go on or
 * none: what is wrong on any of them is rank 0's error, the others return its status with an empty
 * text. Collective where transport is not NULL. `ranks` is 2 for one process. Release with
 * cli_start_release in either case. */
hp_status_t cli_start(const cli_train_args_t *args, hp_transport_t *transport, int ranks,
                      hp_log_t *log, cli_start_t *start, hp_error_t *err) HP_MUST_CHECK;
void cli_start_release(cli_start_t *start);

/* RUN/status as rank 0 writes it; failures go to the log. outcome: step and units_repeated. */
void cli_write_status(const cli_plan_t *plan, hp_run_state_t state, const ps_outcome_t *outcome,
                      bool requeue, const char *message, hp_log_t *log);

/* The same by another rank, where rank 0 is lost: the run failed and is to be started again. The
 * first rank that calls it writes. */
void cli_write_loss(const cli_plan_t *plan, int64_t step, const char *why, hp_log_t *log);

#endif
