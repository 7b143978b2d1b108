/* One work of hanps bench: forward and backward of a configuration's model over synthetic batches.
 */
#ifndef CLI_BENCH_WORK_H
#define CLI_BENCH_WORK_H

#include "common/config.h"
#include "worker/bench.h"

enum { CLI_BENCH_CASES = 6 };

/* What is measured of a work; medians over the steps. */
typedef struct {
    const char *name, *title;
    int questions, images;
    double step_s;
    wk_bench_step_t median;
} cli_bench_case_t;

typedef struct {
    char name[64]; /* of the configuration's file, without .yaml */
    wk_model_shape_t shape;
    double questions_per_image;
    bool features; /* of a store, and not pixels for a trunk: what a whole training can read */
    int cases;
    cli_bench_case_t of[CLI_BENCH_CASES];
} cli_bench_work_t;

/* The shape of the work: VQA-CP's, or, where the model has a trunk, CLEVR's. */
hp_status_t cli_bench_shape(const hp_config_t *config, const char *path, bool small,
                            cli_bench_work_t *work, hp_error_t *err) HP_MUST_CHECK;

/* Measures run.steps steps of each case, or of the one named, after one to warm up; `done` is
 * called after each. HP_INPUT: the work has no case of that name. */
hp_status_t cli_bench_measure(const hp_config_t *config, const char *only, cli_bench_work_t *work,
                              void (*done)(void *context, const cli_bench_case_t *which),
                              void *context, hp_error_t *err) HP_MUST_CHECK;

static inline double cli_bench_flops(const cli_bench_case_t *c) {
    return 2 * (double)(c->median.forward_madds + c->median.backward_madds);
}

#endif
