/* hanps masks: what a trained model looked at. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "common/gemm.h"
#include "common/run_folder.h"
#include "worker/report/masks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IDS_MAX = WK_MASKS_SHOWN, SETS_MAX = 32 };

static const char usage[] =
    "usage: hanps masks RUN [OPTION]...\n\n"
    "Answers questions with a trained model and writes, for each, the image with the cells that "
    "were\n"
    "selected, the answer and the truth: PNG files and one page, index.html, that needs no "
    "network.\n\n"
    "  --split NAME         the split, or NAME:SHARE as in data.valid, the default\n"
    "  --count N            questions, spread over the split, two of an image (24)\n"
    "  --questions ID,...   these questions instead\n"
    "  --checkpoint STEP    or last, best (last)\n"
    "  --out DIR            (RUN/masks)\n"
    "  --metric NAME        exact, vqa_2021 or vqa_2016 (exact or vqa_2021, as the store says)\n"
    "  --score N            questions of the split that the page's accuracy speaks of (20000)\n"
    "  --set KEY=VALUE      over the run's configuration: data.store=...\n";

typedef struct {
    const char *run, *split, *checkpoint, *out, *metric;
    int64_t count, scored;
    int ids, sets;
    int64_t id[IDS_MAX];
    const char *set[SETS_MAX];
} arguments_t;

static hp_status_t take_ids(const cli_option_t *option, char *text, hp_error_t *err) {
    arguments_t *a = option->to.any;
    for (a->ids = 0; *text != '\0' || a->ids == 0;) {
        char one[32];
        size_t n = strcspn(text, ",");
        if (a->ids == IDS_MAX)
            return hp_fail(err, HP_INPUT, "--questions: at most %d are allowed", IDS_MAX);
        snprintf(one, sizeof one, "%.*s", (int)(n < sizeof one ? n : sizeof one - 1), text);
        HP_TRY(cli_whole("--questions", one, INT64_MIN, INT64_MAX, &a->id[a->ids++], err));
        text += n;
        if (*text == ',' && *++text == '\0')
            return hp_fail(err, HP_INPUT, "--questions: a number is missing at the end");
    }
    return HP_OK;
}

static hp_status_t parse(int argc, char **argv, arguments_t *a, bool *help, hp_error_t *err) {
    const cli_option_t options[] = {CLI_TEXT("split", &a->split),
                                    CLI_WHOLE("count", &a->count, 1, WK_MASKS_SHOWN),
                                    CLI_OTHER("questions", take_ids, a),
                                    CLI_TEXT("checkpoint", &a->checkpoint),
                                    CLI_TEXT("out", &a->out),
                                    CLI_TEXT("metric", &a->metric),
                                    CLI_WHOLE("score", &a->scored, 1, 1000000000),
                                    CLI_LIST("set", a->set, &a->sets, SETS_MAX),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, help, err));
    if (*help) return HP_OK;
    HP_TRY(cli_one_operand(argc, argv, "RUN", &a->run, err));
    return HP_OK;
}

static void print_note(void *context, const char *text) {
    (void)context;
    fprintf(stderr, "hanps masks: %s\n", text);
}

static hp_status_t make_page(const arguments_t *a, const wk_trained_t *trained, hp_error_t *err) {
    wk_masks_options_t options = {
        .trained = trained,
        .run = a->run,
        .out = a->out,
        .split = a->split != NULL ? a->split : trained->config.data.valid,
        .count = (int)a->count,
        .ids = a->ids,
        .id = a->id,
        .scored = (uint64_t)a->scored,
        .note = print_note,
    };
    char out[HP_RUN_PATH];
    if (options.split[0] == '\0')
        return hp_fail(err, HP_INPUT, "--split is needed: data.valid of the run names none");
    if (a->out == NULL) {
        HP_TRY(hp_run_path(a->run, "masks", out, err));
        options.out = out;
    }
    wk_masks_outcome_t outcome = {0};
    int metric = hp_store_info(trained->store)->metric == HP_METRIC_EXACT ? WK_EXACT : WK_VQA_2021;
    if (a->metric != NULL) HP_TRY(wk_metric_find(a->metric, &metric, err));
    options.metric = (wk_metric_t)metric;
    hp_gemm_set_threads(trained->config.cluster.threads);
    HP_TRY(wk_masks(&options, &outcome, err));
    printf("%d questions (%d right, %d partly, %d wrong), accuracy on %" PRIu64
           " of %s: %.2f %%, cells: %.1f\n%s\n",
           outcome.shown, outcome.right, outcome.partly, outcome.wrong, outcome.scored,
           options.split, outcome.accuracy, outcome.cells_mean, outcome.page);
    return HP_OK;
}

hp_status_t cli_masks(int argc, char **argv, hp_error_t *err) {
    arguments_t a = {.count = 24, .scored = WK_MASKS_SCORED, .checkpoint = "last"};
    bool help = false;
    HP_TRY(parse(argc, argv, &a, &help, err));
    if (help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    wk_trained_t trained = {0};
    HP_TRY(wk_trained_open(a.run, a.checkpoint, a.sets, a.set, &trained, err));
    if (trained.note[0] != '\0') print_note(NULL, trained.note);
    hp_status_t status = make_page(&a, &trained, err);
    wk_trained_close(&trained);
    return status;
}
