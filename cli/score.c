/* hanps score: the accuracy of answers that somebody's model gave, without the model. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/scores.h"
#include "common/file.h"
#include "common/memory.h"
#include "worker/evaluate.h"
#include "worker/import/vqa_json.h"
#include "worker/results.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: hanps score RESULTS.json --annotations FILE... [OPTION]...\n"
    "       hanps score RESULTS.json --store STORE --split NAME [OPTION]...\n\n"
    "Scores answers, [{\"question_id\": 1, \"answer\": \"yes\"}, ...], as the official evaluations "
    "do:\n"
    "VQA accuracy of both versions, overall and by answer and question type; with a store of NLVR "
    "also\n"
    "the consistency, with one of CLEVR the types of its programs. Every question needs an "
    "answer.\n\n"
    "  --annotations FILE  annotations in VQA's JSON; may be given several times\n"
    "  --store STORE       or a store that hanps has imported, and\n"
    "  --split NAME        the split of it that was answered\n"
    "  --metric NAME       what 'overall' means: exact, vqa_2021 (the official evaluation), "
    "vqa_2016\n"
    "                      (the official evaluation until March 2021); default: vqa_2021, or as "
    "the\n"
    "                      store says\n"
    "  --missing wrong     a question without an answer counts as wrong (refuse)\n"
    "  --json FILE         write the figures as JSON too\n";

enum { MAX_FILES = 32 };

typedef struct {
    const char *results, *store, *split, *metric, *json;
    int files;
    const char *file[MAX_FILES];
    bool missing_wrong, help;
} args_t;

typedef struct {
    const args_t *args;
    wk_results_t results;
    cli_scores_t scores;
    wk_scorer_t *scorer;
    uint64_t missing;
    int64_t first_missing;
    hp_answer_t *human;
    size_t human_room;
} job_t;

static hp_status_t take_missing(const cli_option_t *option, char *text, hp_error_t *err) {
    bool *wrong = option->to.any;
    *wrong = strcmp(text, "wrong") == 0;
    if (!*wrong && strcmp(text, "refuse") != 0)
        return hp_fail(err, HP_INPUT, "--missing %s: allowed are refuse, wrong", text);
    return HP_OK;
}

static hp_status_t parse(int argc, char **argv, args_t *args, hp_error_t *err) {
    const cli_option_t options[] = {CLI_LIST("annotations", args->file, &args->files, MAX_FILES),
                                    CLI_TEXT("store", &args->store),
                                    CLI_TEXT("split", &args->split),
                                    CLI_TEXT("metric", &args->metric),
                                    CLI_OTHER("missing", take_missing, &args->missing_wrong),
                                    CLI_TEXT("json", &args->json),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, &args->help, err));
    if (args->help) return HP_OK;
    HP_TRY(cli_one_operand(argc, argv, "RESULTS.json", &args->results, err));
    if ((args->files > 0) == (args->store != NULL))
        return hp_fail(err, HP_INPUT, "either --annotations FILE or --store STORE is needed");
    if ((args->split != NULL) != (args->store != NULL))
        return hp_fail(err, HP_INPUT, "--split NAME goes with --store STORE");
    return HP_OK;
}

static hp_status_t score_question(job_t *job, const hp_question_t *q, hp_error_t *err) {
    wk_result_answer_t *found = wk_results_find(&job->results, q->question_id);
    double score[WK_METRICS];
    if (found == NULL && job->missing++ == 0) job->first_missing = q->question_id;
    if (found != NULL) found->used = 1;
    job->scores.humans |= q->answers > 1;
    return wk_score_question(
        job->scorer, q, found != NULL ? wk_strings_get(&job->results.strings, found->answer) : NULL,
        &job->scores.tally, score, err);
}

/* What the official evaluation refuses too: answers that are not those of the questions. */
static hp_status_t check_all(const job_t *job, hp_error_t *err) {
    uint64_t strange = 0;
    int64_t first = 0;
    for (uint64_t i = 0; i < job->results.answers; i++)
        if (!job->results.answer[i].used && strange++ == 0)
            first = job->results.answer[i].question_id;
    if (strange > 0)
        return hp_fail(err, HP_INPUT,
                       "%s: no question has question_id %" PRId64 " (%" PRIu64 " such answers)",
                       job->args->results, first, strange);
    if (job->missing > 0 && !job->args->missing_wrong)
        return hp_fail(err, HP_INPUT,
                       "%s: no answer to question_id %" PRId64 " (%" PRIu64
                       " such questions; '--missing wrong' counts them as wrong)",
                       job->args->results, job->first_missing, job->missing);
    return HP_OK;
}

static hp_status_t score_annotations(job_t *job, wk_vqa_set_t *set, hp_error_t *err) {
    for (int f = 0; f < job->args->files; f++)
        HP_TRY(wk_vqa_read_annotations(set, job->args->file[f], err));
    HP_TRY(cli_scores_metric(job->args->metric, HP_METRIC_VQA, &job->scores.metric, err));
    for (uint64_t i = 0; i < set->questions; i++) {
        const wk_vqa_question_t *q = &set->question[i];
        if (q->answers > job->human_room) {
            void *p = NULL;
            HP_TRY(hp_allocate(&p, 2 * (size_t)q->answers, sizeof *job->human, "answers", err));
            hp_free(job->human);
            job->human = p;
            job->human_room = 2 * (size_t)q->answers;
        }
        hp_question_t question = {0};
        wk_vqa_question(set, q, job->human, &question);
        HP_TRY(score_question(job, &question, err));
    }
    return HP_OK;
}

static hp_status_t score_store(job_t *job, hp_store_t *store, hp_store_reader_t *reader,
                               hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(store);
    int split = 0;
    HP_TRY(cli_scores_metric(job->args->metric, info->metric, &job->scores.metric, err));
    HP_TRY(hp_store_find_split(store, job->args->split, &split, err));
    for (uint64_t i = 0; i < info->split[split].count; i++) {
        hp_question_t q;
        HP_TRY(hp_store_read_question(reader, info->split[split].first + i, &q, err));
        HP_TRY(score_question(job, &q, err));
    }
    return HP_OK;
}

static hp_status_t score(job_t *job, hp_error_t *err) {
    wk_strings_t strings = {0}, images = {0};
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    wk_vqa_set_t set = {.strings = &strings, .images = &images, .alone = true};
    hp_status_t status = wk_scorer_create(&job->scorer, err);
    if (status == HP_OK) status = wk_results_read(job->args->results, &job->results, err);
    if (status == HP_OK && job->args->store != NULL) {
        status = hp_store_open(job->args->store, &store, err);
        if (status == HP_OK) status = hp_store_reader_open(store, &reader, err);
        if (status == HP_OK) status = score_store(job, store, reader, err);
    } else if (status == HP_OK) {
        status = score_annotations(job, &set, err);
    }
    if (status == HP_OK) status = check_all(job, err);
    hp_store_reader_close(reader);
    hp_store_close(store);
    wk_vqa_release(&set);
    wk_strings_release(&strings);
    wk_strings_release(&images);
    return status;
}

static hp_status_t write_json(job_t *job, hp_error_t *err) {
    yajl_gen gen = yajl_gen_alloc(NULL);
    if (gen == NULL) return hp_fail(err, HP_MEMORY, "out of memory for the JSON");
    yajl_gen_config(gen, yajl_gen_beautify, 1);
    yajl_gen_map_open(gen);
    cli_put_key(gen, "examples");
    yajl_gen_integer(gen, (long long)job->scores.tally.overall.count);
    cli_put_key(gen, "missing");
    yajl_gen_integer(gen, (long long)job->missing);
    cli_scores_put(gen, &job->scores);
    cli_scores_put_all(gen, &job->scores);
    yajl_gen_map_close(gen);
    hp_status_t status = cli_write_json(gen, job->args->json, err);
    yajl_gen_free(gen);
    return status;
}

hp_status_t cli_score(int argc, char **argv, hp_error_t *err) {
    args_t args = {0};
    HP_TRY(parse(argc, argv, &args, err));
    if (args.help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    if (args.json != NULL && hp_check_place(args.json, err) != HP_OK)
        return hp_fail_prefix(err, "--json");
    job_t job = {.args = &args};
    hp_status_t status = score(&job, err);
    if (status == HP_OK) {
        printf("%s\n\n", args.results);
        cli_scores_print(&job.scores);
        if (job.missing > 0)
            printf("\n%" PRIu64 " questions without an answer count as wrong\n", job.missing);
        if (args.json != NULL) status = write_json(&job, err);
    }
    wk_scorer_destroy(job.scorer);
    wk_results_release(&job.results);
    wk_tally_release(&job.scores.tally);
    hp_free(job.human);
    return status;
}
