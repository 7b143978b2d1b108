#include "cli/bench_work.h"

#include "cli/bench_machine.h"

#include <stdio.h>
#include <string.h>

enum { MAX_STEPS = 1000 };

/* The cases of a model that selects k cells: the questions of an image may want the same ones. */
typedef struct {
    const char *name, *title;
    wk_bench_selection_t selection;
    bool all;     /* cells, instead of the configuration's number */
    bool grouped; /* the questions of an image share its embedding */
} case_t;

static const case_t selecting[] = {
    {"same", "k cells, the same for an image's questions", WK_BENCH_SAME, false, true},
    {"own", "k cells, as the model selects", WK_BENCH_OWN, false, true},
    {"different", "k cells, others for each question", WK_BENCH_DIFFERENT, false, true},
    {"all", "all cells", WK_BENCH_SAME, true, true},
    {"own_ungrouped", "k cells, every question an image of its own", WK_BENCH_OWN, false, false},
    {"all_ungrouped", "all cells, every question an image of its own", WK_BENCH_SAME, true, false},
};
static const case_t plain[] = {{"own", "as configured", WK_BENCH_OWN, false, true}};

static wk_model_shape_t features_shape(bool small) {
    return (wk_model_shape_t){.channels = small ? 32 : 2048,
                              .max_cells = 100,
                              .words = small ? 50 : 15000,
                              .answers = small ? 10 : 1000};
}

static hp_status_t pixels_shape(const hp_config_t *config, bool small, wk_model_shape_t *shape,
                                hp_error_t *err) {
    int rows, columns;
    const int side = small ? 32 : 128;
    HP_TRY(wk_model_grid(config, side, side, &rows, &columns, err));
    *shape = (wk_model_shape_t){.channels = 3,
                                .max_cells = rows * columns,
                                .words = 85,
                                .answers = 28,
                                .pixel_height = side,
                                .pixel_width = side,
                                .grid_height = rows,
                                .grid_width = columns};
    return HP_OK;
}

hp_status_t cli_bench_shape(const hp_config_t *config, const char *path, bool small,
                            cli_bench_work_t *work, hp_error_t *err) {
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    const int length = dot != NULL ? (int)(dot - name) : (int)strlen(name);
    *work = (cli_bench_work_t){.features = strcmp(config->model.image.trunk, "cnn") != 0};
    snprintf(work->name, sizeof work->name, "%.*s", length, name);
    work->questions_per_image = !config->data.group_by_image ? 1 : work->features ? 3.6 : 10;
    if (!work->features) return pixels_shape(config, small, &work->shape, err);
    work->shape = features_shape(small);
    return HP_OK;
}

static hp_status_t run_case(const hp_config_t *base, const cli_bench_work_t *work,
                            const case_t *which, cli_bench_case_t *out, hp_error_t *err) {
    hp_config_t config = *base;
    wk_bench_plan_t plan = {.shape = work->shape,
                            .questions = config.data.batch_size,
                            .questions_per_image = which->grouped ? work->questions_per_image : 1,
                            .tokens = work->features ? 7 : 18,
                            .selection = which->selection};
    if (which->all) config.model.attention.cells = plan.shape.max_cells;
    plan.cells = config.model.attention.cells;
    wk_bench_t *bench = NULL;
    HP_TRY(wk_bench_create(&config, &plan, &bench, err));
    int steps = (int)(config.run.steps < MAX_STEPS ? config.run.steps : MAX_STEPS);
    double total[MAX_STEPS], forward[MAX_STEPS], backward[MAX_STEPS], embed[MAX_STEPS];
    wk_bench_step_t step;
    hp_status_t status = wk_bench_step(bench, &step, err);
    for (int i = 0; i < steps && status == HP_OK; i++) {
        status = wk_bench_step(bench, &step, err);
        forward[i] = step.forward_s;
        backward[i] = step.backward_s;
        embed[i] = step.embed_backward_s;
        total[i] = step.forward_s + step.backward_s;
    }
    if (status == HP_OK) {
        *out = (cli_bench_case_t){.name = which->name, .title = which->title, .median = step};
        out->median.forward_s = cli_bench_median(steps, forward);
        out->median.backward_s = cli_bench_median(steps, backward);
        out->median.embed_backward_s = cli_bench_median(steps, embed);
        out->step_s = cli_bench_median(steps, total);
        out->questions = wk_bench_batch(bench)->questions;
        out->images = wk_bench_batch(bench)->images;
    }
    wk_bench_destroy(bench);
    return status;
}

hp_status_t cli_bench_measure(const hp_config_t *config, const char *only, cli_bench_work_t *work,
                              void (*done)(void *context, const cli_bench_case_t *which),
                              void *context, hp_error_t *err) {
    const bool selects = config->model.attention.kind == HP_ATTEND_HAN && work->features;
    const case_t *cases = selects ? selecting : plain;
    const int n = selects ? (int)(sizeof selecting / sizeof *selecting) : 1;
    for (int i = 0; i < n; i++) {
        cli_bench_case_t *c = &work->of[work->cases];
        if (only != NULL && strcmp(only, cases[i].name) != 0) continue;
        HP_TRY(run_case(config, work, &cases[i], c, err));
        work->cases++;
        done(context, c);
    }
    if (work->cases > 0) return HP_OK;
    return hp_fail(err, HP_INPUT, "--case %s: %s has none of that name", only, work->name);
}
