/* The whole path of training, for hanps bench: a synthetic store, one server and one worker. */
#ifndef CLI_BENCH_RUN_H
#define CLI_BENCH_RUN_H

#include "common/config.h"
#include "worker/model.h"

/* Of run.steps steps after the first few, in which memory is touched for the first time; seconds of
 * the worker's compute thread. */
typedef struct {
    double examples_per_s, seconds;
    double data_s, forward_s, backward_s, push_s, pull_s, wait_s;
    double evaluated_per_s; /* examples that hanps eval answers once it runs, from the same store */
} cli_bench_run_t;

/* A new folder in TMPDIR or /tmp, and its removal with all that is in it. */
enum { CLI_BENCH_FOLDER = 128 };
hp_status_t cli_bench_folder(char folder[CLI_BENCH_FOLDER], hp_error_t *err) HP_MUST_CHECK;
void cli_bench_folder_remove(const char *folder);

/* Trains config's model for run.steps steps from a store of random features that is made in a
 * temporary folder (TMPDIR, /tmp) and removed, and evaluates what it has trained. hanps train's
 * closing table goes to stdout. */
hp_status_t cli_bench_run(const hp_config_t *config, const wk_model_shape_t *shape,
                          double questions_per_image, cli_bench_run_t *out,
                          hp_error_t *err) HP_MUST_CHECK;

#endif
