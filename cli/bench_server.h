/* The parameter server alone, for hanps bench: a worker that computes nothing, so that all that is
 * left is messages, Adam and waiting. */
#ifndef CLI_BENCH_SERVER_H
#define CLI_BENCH_SERVER_H

#include "common/config.h"
#include "worker/model.h"

typedef struct {
    int64_t parameters; /* of the model */
    double updates_per_s;
    double bytes_per_s;  /* of pushes and pulls */
    double small_pull_s; /* from asking for the weights of one chunk to having them, median */
    double idle_share;   /* of a core, that a server and a worker without work take together */
} cli_bench_server_t;

/* One server and one worker over the loopback, in one process: `updates` steps of config's model
 * over data of `shape`; then as many units of a model of one small chunk; then `idle_s` seconds
 * without a unit. Files go to a temporary folder (TMPDIR, /tmp), which is removed. */
hp_status_t cli_bench_server(const hp_config_t *config, const wk_model_shape_t *shape, int updates,
                             double idle_s, cli_bench_server_t *out, hp_error_t *err) HP_MUST_CHECK;

#endif
