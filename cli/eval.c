/* hanps eval: answers a split with a trained model and scores the answers. */
#include "cli/answers.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/predictions.h"
#include "cli/scores.h"
#include "cli/team.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/run_folder.h"
#include "worker/evaluate.h"
#include "worker/report/scores.h"
#include "worker/trained.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yajl/yajl_gen.h>

static const char usage[] =
    "usage: hanps eval RUN [OPTION]...\n\n"
    "Answers the questions of a split with the weights of a checkpoint and prints the accuracy,\n"
    "overall, by answer type and by question type. The same goes to RUN/eval/SPLIT-STEP.json, and\n"
    "every question's score to SPLIT-STEP.tsv beside it, which 'hanps table' reads; not so with a\n"
    "--set that changes the model or the data.\n\n"
    "Under mpirun the ranks share the images; what is written is the same for any number of them, "
    "as\n"
    "long as each has the same number of threads (--set cluster.threads=N): deploy/run --eval.\n\n"
    "  --split NAME       the split, or NAME:SHARE as in data.valid, which is the default\n"
    "  --checkpoint STEP  or last, or best: of the evaluations while training (last)\n"
    "  --metric NAME      what 'overall' means: exact, vqa_2021 (the official evaluation), "
    "vqa_2016\n"
    "                     (the official evaluation until March 2021, the paper's); default: exact "
    "or\n"
    "                     vqa_2021, as the store says\n"
    "  --json FILE        write the figures as JSON\n"
    "  --results FILE     write the answers as the official evaluation reads them\n"
    "  --predictions FILE write a JSON object a line for each question, in no order: the most "
    "probable\n"
    "                     answers, and the cells that were looked at\n"
    "  --top N            answers in a line of --predictions (5)\n"
    "  --logits           all logits too, in the order of the store's answers\n"
    "  --set KEY=VALUE    over the run's configuration: --set data.store=...\n";

typedef struct {
    const char *run, *split, *checkpoint, *metric, *json, *results, *predictions;
    int top;
    bool logits;
    int sets;
    const char **set; /* room for every argument */
} args_t;

static hp_status_t parse(int argc, char **argv, args_t *args, bool *help_p, hp_error_t *err) {
    const cli_option_t options[] = {CLI_TEXT("split", &args->split),
                                    CLI_TEXT("checkpoint", &args->checkpoint),
                                    CLI_TEXT("metric", &args->metric),
                                    CLI_TEXT("json", &args->json),
                                    CLI_TEXT("results", &args->results),
                                    CLI_TEXT("predictions", &args->predictions),
                                    CLI_NUMBER("top", &args->top, 1, CLI_TOP),
                                    CLI_FLAG("logits", &args->logits),
                                    CLI_LIST("set", args->set, &args->sets, 0),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, help_p, err));
    if (*help_p) return HP_OK;
    HP_TRY(cli_one_operand(argc, argv, "RUN", &args->run, err));
    return HP_OK;
}

/* Everything the evaluation finds. */
typedef struct {
    wk_part_t part;
    int64_t step;
    cli_answers_t answers;
    uint64_t scored; /* place there of the question that is scored next */
    char *questions; /* a line each (worker/report/scores.h); by free */
    size_t questions_bytes;
    FILE *lines; /* into questions, while it is open */
    cli_scores_t scores;
    yajl_gen results; /* NULL: not asked for */
} report_t;

static hp_status_t note_scored(void *context, const hp_question_t *question, const char *answer,
                               const double score[WK_METRICS], hp_error_t *err) {
    (void)err;
    report_t *r = context;
    while (r->answers.answer[r->scored] == WK_NOT_ASKED) r->scored++;
    wk_scores_put(r->lines, question, answer, r->answers.cells[r->scored++], score);
    r->scores.humans |= question->answers > 1;
    if (r->results == NULL) return HP_OK;
    yajl_gen_map_open(r->results);
    cli_put_key(r->results, "question_id");
    yajl_gen_integer(r->results, question->question_id);
    cli_put_key(r->results, "answer");
    cli_put_key(r->results, answer);
    yajl_gen_map_close(r->results);
    return HP_OK;
}

static void put_report(yajl_gen gen, report_t *r) {
    yajl_gen_map_open(gen);
    cli_put_key(gen, "split");
    cli_put_key(gen, r->part.name);
    cli_put_key(gen, "step");
    yajl_gen_integer(gen, r->step);
    cli_put_key(gen, "examples");
    yajl_gen_integer(gen, (long long)r->answers.evaluation.examples);
    cli_scores_put(gen, &r->scores);
    cli_put_real(gen, "cells_mean", r->answers.evaluation.cells_mean, 2);
    cli_put_real(gen, "loss", r->answers.evaluation.loss_mean, 4);
    cli_put_real(gen, "seconds", r->answers.evaluation.seconds, 2);
    cli_scores_put_all(gen, &r->scores);
    yajl_gen_map_close(gen);
}

/* Figures of another configuration than the run's do not go among its own. */
static bool own_config(const args_t *args) {
    static const char *const harmless[] = {"data.store=", "data.batch_size=", "cluster."};
    for (int i = 0; i < args->sets; i++) {
        bool known = false;
        for (size_t k = 0; k < sizeof harmless / sizeof *harmless; k++)
            known = known || strncmp(args->set[i], harmless[k], strlen(harmless[k])) == 0;
        if (!known) return false;
    }
    return true;
}

static hp_status_t keep_in_run(const args_t *args, const report_t *r, yajl_gen gen,
                               hp_error_t *err) {
    char name[128], path[HP_RUN_PATH];
    snprintf(name, sizeof name, "eval/%s-%08" PRId64 ".tsv", r->part.name, r->step);
    HP_TRY(hp_run_path(args->run, name, path, err));
    HP_TRY(hp_write_file(path, r->questions, r->questions_bytes, err));
    snprintf(name, sizeof name, "eval/%s-%08" PRId64 ".json", r->part.name, r->step);
    HP_TRY(hp_run_path(args->run, name, path, err));
    return cli_write_json(gen, path, err);
}

/* RUN/eval has every evaluation; a run folder that cannot be written is no reason to fail. */
static hp_status_t write_json(const args_t *args, report_t *r, hp_error_t *err) {
    yajl_gen gen = yajl_gen_alloc(NULL);
    if (gen == NULL) return hp_fail(err, HP_MEMORY, "out of memory for the JSON");
    yajl_gen_config(gen, yajl_gen_beautify, 1);
    put_report(gen, r);
    hp_status_t status = args->json != NULL ? cli_write_json(gen, args->json, err) : HP_OK;
    hp_error_t ignored;
    if (own_config(args) && keep_in_run(args, r, gen, &ignored) != HP_OK)
        fprintf(stderr, "hanps eval: warning: %s\n", ignored.text);
    yajl_gen_free(gen);
    return status;
}

static void print_report(report_t *r, const char *run) {
    printf("%s, step %" PRId64 ", split %s\n\n", run, r->step, r->part.name);
    cli_scores_print(&r->scores);
    printf("\nselected cells a question %.2f, loss %.4f, %.0f questions/s\n",
           r->answers.evaluation.cells_mean, r->answers.evaluation.loss_mean,
           r->answers.evaluation.seconds > 0
               ? (double)r->answers.evaluation.examples / r->answers.evaluation.seconds
               : 0);
}

static hp_status_t score(hp_store_t *store, report_t *r, hp_error_t *err) {
    r->lines = open_memstream(&r->questions, &r->questions_bytes);
    if (r->lines == NULL) return hp_fail_errno(err, HP_MEMORY, "scores of questions");
    wk_scores_begin(r->lines, r->scores.metric);
    hp_status_t status = wk_score_split(store, &r->part.range, r->answers.answer, note_scored, r,
                                        &r->scores.tally, err);
    if (fclose(r->lines) != 0 && status == HP_OK)
        status = hp_fail_errno(err, HP_MEMORY, "scores of questions");
    return status;
}

static hp_status_t write_all(const args_t *args, const wk_trained_t *trained, report_t *r,
                             hp_error_t *err) {
    if (args->results != NULL) {
        r->results = yajl_gen_alloc(NULL);
        if (r->results == NULL) return hp_fail(err, HP_MEMORY, "out of memory for the results");
        yajl_gen_array_open(r->results);
    }
    HP_TRY(score(trained->store, r, err));
    if (args->results != NULL) {
        yajl_gen_array_close(r->results);
        HP_TRY(cli_write_json(r->results, args->results, err));
    }
    HP_TRY(write_json(args, r, err));
    print_report(r, args->run);
    return HP_OK;
}

static hp_status_t evaluate(const args_t *args, hp_team_t *team, const wk_trained_t *trained,
                            report_t *r, hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(trained->store);
    const char *name = args->split != NULL ? args->split : trained->config.data.valid;
    HP_TRY(cli_scores_metric(args->metric, info->metric, &r->scores.metric, err));
    if (name[0] == '\0')
        return hp_fail(err, HP_INPUT, "--split is needed: data.valid of the run names none");
    HP_TRY(wk_part_find(trained->store, &trained->config, name, &r->part, err));
    r->step = trained->step;
    const cli_answers_options_t answers = {.team = team,
                                           .trained = trained,
                                           .part = &r->part,
                                           .predictions = args->predictions,
                                           .top = args->top,
                                           .logits = args->logits};
    HP_TRY(cli_answers(&answers, &r->answers, err));
    return hp_team_rank(team) == 0 ? write_all(args, trained, r, err) : HP_OK;
}

/* What would be found out only when all is computed. */
static hp_status_t check_outputs(const args_t *args, hp_error_t *err) {
    if (args->json != NULL && hp_check_place(args->json, err) != HP_OK)
        return hp_fail_prefix(err, "--json");
    if (args->results != NULL && hp_check_place(args->results, err) != HP_OK)
        return hp_fail_prefix(err, "--results");
    if (args->predictions != NULL && hp_check_place(args->predictions, err) != HP_OK)
        return hp_fail_prefix(err, "--predictions");
    return HP_OK;
}

/* On every rank; what is wrong with the arguments is so on all of them. */
static hp_status_t run(const args_t *args, hp_team_t *team, hp_error_t *err) {
    wk_trained_t trained = {0};
    report_t report = {0};
    const cli_trained_options_t options = {.command = "eval",
                                           .run = args->run,
                                           .checkpoint = args->checkpoint,
                                           .sets = args->sets,
                                           .set = args->set};
    hp_status_t status = hp_team_rank(team) == 0 ? check_outputs(args, err) : HP_OK;
    status = cli_team_trained(team, status, &options, &trained, err);
    if (status == HP_OK) status = evaluate(args, team, &trained, &report, err);
    if (report.results != NULL) yajl_gen_free(report.results);
    wk_tally_release(&report.scores.tally);
    cli_answers_release(&report.answers);
    free(report.questions);
    wk_trained_close(&trained);
    return status;
}

hp_status_t cli_eval(int argc, char **argv, hp_error_t *err) {
    args_t args = {.checkpoint = "last", .top = 5};
    bool help = false;
    void *set = NULL;
    hp_team_t *team = NULL;
    HP_TRY(hp_allocate(&set, (size_t)argc, sizeof *args.set, "arguments", err));
    args.set = set;
    hp_status_t status = hp_team_open(&team, err);
    if (status == HP_OK) status = parse(argc, argv, &args, &help, err);
    if (help && hp_team_rank(team) == 0) fputs(usage, stdout);
    if (status == HP_OK && !help) status = run(&args, team, err);
    hp_free(set);
    return cli_team_close(team, "eval", status, err);
}
