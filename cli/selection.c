/* hanps selection: accuracy, overlap and objects by how and how many cells are selected. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/scores.h"
#include "common/file.h"
#include "common/memory.h"
#include "worker/report/selection.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: hanps selection RUN [OPTION]...\n\n"
    "Answers a split with a trained model, by other ways to select cells and with other numbers "
    "of\n"
    "them, and shows for each: accuracy; overlap, the cells that two questions of one image have "
    "in\n"
    "common; objects, the selected cells that an object reaches into (where the store knows its\n"
    "objects, as Sort-of-CLEVR's does). Beside each stands what as many cells at random give.\n\n"
    "  --split NAME           the split (data.valid of the run's configuration)\n"
    "  --attention KIND,...   han, random, lowest, image_only, adahan, all (the run's own; for "
    "han\n"
    "                         and straight_through also the controls random, lowest, image_only)\n"
    "  --cells K,...          of those kinds that have a number (the run's own)\n"
    "  --checkpoint STEP      or last, best, or all: a line for each (last)\n"
    "  --metric NAME          exact, vqa_2021 or vqa_2016 (as the store says)\n"
    "  --json FILE            write the figures as JSON\n"
    "  --set KEY=VALUE        over the run's configuration: --set data.store=...\n";

enum { LIST_MAX = 64, SETS_MAX = 32, TEXT = 128 };

typedef struct {
    const char *run, *split, *checkpoint, *metric, *json;
    int kinds, sizes, sets;
    const char *kind[LIST_MAX], *size[LIST_MAX]; /* within argv */
    const char *set[SETS_MAX + 2];
} args_t;

typedef struct {
    const args_t *args;
    wk_metric_t metric;
    uint64_t lines;
    yajl_gen gen; /* NULL: no JSON */
} job_t;

/* A list, cut at its commas. */
static hp_status_t take_cut(const cli_option_t *option, char *text, hp_error_t *err) {
    *option->count = 0;
    for (char *item; (item = strsep(&text, ",")) != NULL;) {
        if (item[0] == '\0' || *option->count == LIST_MAX)
            return hp_fail(err, HP_INPUT, "--%s: a list of 1 to %d values is allowed", option->name,
                           LIST_MAX);
        option->to.text[(*option->count)++] = item;
    }
    return HP_OK;
}

static hp_status_t parse(int argc, char **argv, args_t *args, bool *help, hp_error_t *err) {
    const cli_option_t options[] = {
        CLI_TEXT("split", &args->split),
        {.name = "attention", .take = take_cut, .to.text = args->kind, .count = &args->kinds},
        {.name = "cells", .take = take_cut, .to.text = args->size, .count = &args->sizes},
        CLI_TEXT("checkpoint", &args->checkpoint),
        CLI_TEXT("metric", &args->metric),
        CLI_TEXT("json", &args->json),
        CLI_LIST("set", args->set, &args->sets, SETS_MAX),
        {0}};
    HP_TRY(cli_options(argc, argv, options, help, err));
    if (*help) return HP_OK;
    HP_TRY(cli_one_operand(argc, argv, "RUN", &args->run, err));
    return args->json != NULL ? hp_check_place(args->json, err) : HP_OK;
}

static void put_percent(yajl_gen gen, const char *key, double value) {
    if (!isnan(value)) cli_put_real(gen, key, value, 2);
}

static void put_line(const job_t *job, const wk_trained_t *trained, const wk_part_t *part,
                     const char *kind, const wk_selection_report_t *r) {
    yajl_gen gen = job->gen;
    yajl_gen_map_open(gen);
    cli_put_key(gen, "split");
    cli_put_key(gen, part->name);
    cli_put_key(gen, "step");
    yajl_gen_integer(gen, trained->step);
    cli_put_key(gen, "attention");
    cli_put_key(gen, kind);
    cli_put_key(gen, "examples");
    yajl_gen_integer(gen, (long long)r->questions);
    cli_scores_t scores = {.metric = job->metric, .tally = r->tally};
    cli_scores_put(gen, &scores);
    cli_put_real(gen, "cells_mean", r->cells_mean, 2);
    put_percent(gen, "overlap", r->overlap);
    put_percent(gen, "overlap_chance", r->overlap_chance);
    put_percent(gen, "on_objects", r->on_objects);
    put_percent(gen, "on_objects_chance", r->on_objects_chance);
    yajl_gen_map_close(gen);
}

static void print_percent(double value) {
    if (isnan(value))
        printf(" %9s", "-");
    else
        printf(" %9.2f", value);
}

static void print_line(const job_t *job, const wk_trained_t *trained, const wk_part_t *part,
                       const char *kind, const wk_selection_report_t *r) {
    const wk_tally_t *t = &r->tally;
    if (job->lines == 0) {
        printf("%s, split %s, %" PRIu64 " questions, %s\n\n%-16s %10s %8s %9s", job->args->run,
               part->name, r->questions, wk_metric_name(job->metric), "attention", "step", "cells",
               "overall");
        for (int i = 0; i < t->answer_types; i++)
            printf(" %*s", 16, wk_answer_type_title(t->answer_type[i].name));
        printf(" %9s %9s %9s %9s\n", "overlap", "chance", "objects", "chance");
    }
    printf("%-16s %10" PRId64 " %8.2f %9.2f", kind, trained->step, r->cells_mean,
           wk_percent(&t->overall, job->metric));
    for (int i = 0; i < t->answer_types; i++)
        printf(" %16.2f", wk_percent(&t->answer_type[i], job->metric));
    print_percent(r->overlap);
    print_percent(r->overlap_chance);
    print_percent(r->on_objects);
    print_percent(r->on_objects_chance);
    putchar('\n');
    fflush(stdout);
}

/* size NULL: the run's. */
static hp_status_t one(job_t *job, const char *checkpoint, const char *kind, const char *size,
                       hp_error_t *err) {
    const args_t *args = job->args;
    const char *set[SETS_MAX + 2];
    char kind_text[TEXT], size_text[TEXT];
    int sets = args->sets;
    memcpy(set, args->set, (size_t)sets * sizeof *set);
    snprintf(kind_text, sizeof kind_text, "model.attention.kind=%s", kind);
    set[sets++] = kind_text;
    if (size != NULL) {
        snprintf(size_text, sizeof size_text, "model.attention.cells=%s", size);
        set[sets++] = size_text;
    }
    wk_trained_t trained = {0};
    HP_TRY(wk_trained_open(args->run, checkpoint, sets, set, &trained, err));
    if (trained.note[0] != '\0') fprintf(stderr, "hanps selection: warning: %s\n", trained.note);
    const char *name = args->split != NULL ? args->split : trained.config.data.valid;
    wk_part_t part = {0};
    wk_selection_report_t report = {0};
    hp_status_t status = HP_OK;
    if (name[0] == '\0')
        status = hp_fail(err, HP_INPUT, "--split is needed: data.valid of the run names none");
    if (status == HP_OK)
        status = cli_scores_metric(args->metric, hp_store_info(trained.store)->metric, &job->metric,
                                   err);
    if (status == HP_OK) status = wk_part_find(trained.store, &trained.config, name, &part, err);
    if (status == HP_OK) status = wk_selection_measure(&trained, &part, &report, err);
    if (status == HP_OK) {
        print_line(job, &trained, &part, kind, &report);
        if (job->gen != NULL) put_line(job, &trained, &part, kind, &report);
        job->lines++;
    }
    wk_tally_release(&report.tally);
    wk_trained_close(&trained);
    return status;
}

static bool has_number(const char *kind) {
    return strcmp(kind, "adahan") != 0 && strcmp(kind, "all") != 0 && strcmp(kind, "soft") != 0;
}

static hp_status_t every_way(job_t *job, const char *checkpoint, hp_error_t *err) {
    const args_t *args = job->args;
    for (int k = 0; k < args->kinds; k++) {
        const bool sizes = args->sizes > 0 && has_number(args->kind[k]);
        for (int s = 0; s < (sizes ? args->sizes : 1); s++)
            HP_TRY(one(job, checkpoint, args->kind[k], sizes ? args->size[s] : NULL, err));
    }
    return HP_OK;
}

static hp_status_t every_checkpoint(job_t *job, hp_error_t *err) {
    const args_t *args = job->args;
    if (strcmp(args->checkpoint, "all") != 0) return every_way(job, args->checkpoint, err);
    int count = 0;
    int64_t *step = NULL, best;
    HP_TRY(hp_checkpoint_list(args->run, &count, &step, &best, err));
    hp_status_t status =
        count > 0 ? HP_OK : hp_fail(err, HP_INPUT, "run '%s' has no checkpoint", args->run);
    for (int i = 0; status == HP_OK && i < count; i++) {
        char text[32];
        snprintf(text, sizeof text, "%" PRId64, step[i]);
        status = every_way(job, text, err);
    }
    hp_free(step);
    return status;
}

/* Without --attention: the run's own, and the controls of what they control. `own` is filled. */
static hp_status_t choose_kinds(args_t *args, char own[TEXT], hp_error_t *err) {
    static const char *const controls[] = {"random", "lowest", "image_only"};
    if (args->kinds > 0) return HP_OK;
    wk_trained_t trained = {0};
    HP_TRY(wk_trained_open(args->run, "last", args->sets, args->set, &trained, err));
    hp_config_text(&trained.config, "model.attention.kind", own, TEXT);
    wk_trained_close(&trained);
    args->kind[args->kinds++] = own;
    if (strcmp(own, "han") == 0 || strcmp(own, "straight_through") == 0)
        for (int i = 0; i < 3; i++) args->kind[args->kinds++] = controls[i];
    return HP_OK;
}

hp_status_t cli_selection(int argc, char **argv, hp_error_t *err) {
    args_t args = {.checkpoint = "last"};
    bool help = false;
    char own[TEXT];
    HP_TRY(parse(argc, argv, &args, &help, err));
    if (help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    HP_TRY(choose_kinds(&args, own, err));
    job_t job = {.args = &args};
    if (args.json != NULL) {
        job.gen = yajl_gen_alloc(NULL);
        if (job.gen == NULL) return hp_fail(err, HP_MEMORY, "out of memory for the JSON");
        yajl_gen_config(job.gen, yajl_gen_beautify, 1);
        yajl_gen_array_open(job.gen);
    }
    hp_status_t status = every_checkpoint(&job, err);
    if (job.gen != NULL) {
        yajl_gen_array_close(job.gen);
        if (status == HP_OK) status = cli_write_json(job.gen, args.json, err);
        yajl_gen_free(job.gen);
    }
    return status;
}
