#include "cli/answers.h"

#include "cli/predictions.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/gemm.h"
#include "common/memory.h"
#include "common/run_folder.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A batch's result is an entry for each question, each followed by its line, and a sum. */
typedef struct {
    uint64_t question; /* of the part */
    int32_t answer, cells;
    uint64_t line; /* bytes */
} entry_t;

typedef struct {
    double loss;
    uint64_t labelled;
} sum_t;

typedef struct {
    const cli_answers_options_t *options;
    cli_answers_t *answers;
    cli_predictions_t format;
    hp_store_reader_t *reader; /* of texts, for the predictions */
    char *line;                /* what is written to `lines`; by free */
    size_t line_bytes;
    FILE *lines;       /* NULL: no predictions */
    FILE *predictions; /* rank 0 */
    char path[HP_RUN_PATH];
} job_t;

/* ---- each rank ---- */

static hp_status_t make_line(job_t *job, const wk_answered_t *answered, hp_error_t *err) {
    hp_question_t q;
    const char *image = NULL;
    HP_TRY(hp_store_read_question(job->reader, answered->question, &q, err));
    HP_TRY(hp_store_read_image_name(job->reader, answered->image, &image, err));
    rewind(job->lines);
    HP_TRY(cli_prediction_write(&job->format, answered, &q.question_id, image, q.text, q.target,
                                job->lines, err));
    if (fflush(job->lines) != 0) return hp_fail_errno(err, HP_MEMORY, "a prediction");
    return HP_OK;
}

static hp_status_t put_answer(void *context, const wk_answered_t *answered, hp_error_t *err) {
    job_t *job = context;
    hp_team_t *team = job->options->team;
    if (job->lines != NULL) HP_TRY(make_line(job, answered, err));
    const entry_t entry = {.question = answered->question - job->options->part->range.first,
                           .answer = answered->answer,
                           .cells = answered->selected,
                           .line = job->line_bytes};
    HP_TRY(hp_team_append(team, &entry, sizeof entry, err));
    return hp_team_append(team, job->line, job->line_bytes, err);
}

static hp_status_t put_batch(void *context, const wk_result_t *result, hp_error_t *err) {
    job_t *job = context;
    const sum_t sum = {.loss = result->loss_sum, .labelled = (uint64_t)result->labelled};
    HP_TRY(hp_team_append(job->options->team, &sum, sizeof sum, err));
    return hp_team_put(job->options->team, err);
}

/* ---- rank 0 ---- */

static hp_status_t take_batch(void *context, const void *data, size_t bytes, hp_error_t *err) {
    job_t *job = context;
    wk_evaluation_t *e = &job->answers->evaluation;
    const char *at = data, *end = at + bytes - sizeof(sum_t);
    entry_t entry;
    sum_t sum;
    for (; at < end; at += entry.line) {
        memcpy(&entry, at, sizeof entry);
        at += sizeof entry;
        job->answers->answer[entry.question] = entry.answer;
        job->answers->cells[entry.question] = entry.cells;
        e->examples++;
        e->selected += (uint64_t)entry.cells;
        if (entry.line > 0 && fwrite(at, 1, entry.line, job->predictions) != entry.line)
            return hp_fail_errno(err, HP_IO, "cannot write '%s'", job->path);
    }
    memcpy(&sum, end, sizeof sum);
    e->labelled += sum.labelled;
    e->loss_sum += sum.loss;
    return HP_OK;
}

/* PATH.part becomes PATH when all is in it. */
static hp_status_t open_predictions(job_t *job, hp_error_t *err) {
    const cli_answers_options_t *o = job->options;
    if (snprintf(job->path, sizeof job->path, "%s.part", o->predictions) >= HP_RUN_PATH)
        return hp_fail(err, HP_INPUT, "--predictions: the path is too long");
    job->predictions = fopen(job->path, "w");
    return job->predictions != NULL ? HP_OK
                                    : hp_fail_errno(err, HP_IO, "cannot write '%s'", job->path);
}

static hp_status_t close_predictions(job_t *job, hp_status_t status, hp_error_t *err) {
    if (job->predictions == NULL) return status;
    bool good = fflush(job->predictions) == 0 && fsync(fileno(job->predictions)) == 0;
    good = fclose(job->predictions) == 0 && good;
    job->predictions = NULL;
    if (status == HP_OK && (!good || rename(job->path, job->options->predictions) != 0))
        status = hp_fail_errno(err, HP_IO, "cannot write '%s'", job->options->predictions);
    if (status != HP_OK) unlink(job->path);
    return status;
}

static hp_status_t prepare(job_t *job, hp_error_t *err) {
    const cli_answers_options_t *o = job->options;
    cli_answers_t *a = job->answers;
    void *p = NULL;
    if (hp_team_rank(o->team) == 0) {
        const uint64_t count = o->part->range.count;
        HP_TRY(hp_allocate(&p, count, sizeof *a->answer, "answers", err));
        a->answer = p;
        for (uint64_t i = 0; i < count; i++) a->answer[i] = WK_NOT_ASKED;
        HP_TRY(hp_allocate(&p, count, sizeof *a->cells, "answers", err));
        a->cells = p;
        if (o->predictions != NULL) HP_TRY(open_predictions(job, err));
    }
    if (o->predictions == NULL) return HP_OK;
    job->format = (cli_predictions_t){.top = o->top,
                                      .logits = o->logits,
                                      .info = hp_store_info(o->trained->store),
                                      .shape = &o->trained->shape};
    job->lines = open_memstream(&job->line, &job->line_bytes);
    if (job->lines == NULL) return hp_fail_errno(err, HP_MEMORY, "predictions");
    return hp_store_reader_open(o->trained->store, &job->reader, err);
}

static hp_status_t answer_all(job_t *job, hp_error_t *err) {
    const cli_answers_options_t *o = job->options;
    const wk_evaluate_options_t evaluate = {.config = &o->trained->config,
                                            .store = o->trained->store,
                                            .split = &o->part->range,
                                            .cut = o->part->cut,
                                            .part = hp_team_rank(o->team),
                                            .parts = hp_team_size(o->team),
                                            .dealt = true,
                                            .weights = o->trained->weights,
                                            .each = put_answer,
                                            .batch = put_batch,
                                            .context = job};
    wk_evaluation_t own; /* of this rank's batches */
    hp_gemm_set_threads(hp_team_threads(o->team, o->trained->config.cluster.threads));
    HP_TRY(hp_team_agree(o->team, prepare(job, err), NULL, 0, err));
    hp_status_t status = hp_team_begin(o->team, take_batch, job, err);
    if (status == HP_OK) status = wk_evaluate(&evaluate, &own, err);
    return hp_team_end(o->team, status, err);
}

hp_status_t cli_answers(const cli_answers_options_t *options, cli_answers_t *answers,
                        hp_error_t *err) {
    job_t job = {.options = options, .answers = answers};
    const double start = hp_clock();
    *answers = (cli_answers_t){0};
    hp_status_t status = close_predictions(&job, answer_all(&job, err), err);
    answers->evaluation.seconds = hp_clock() - start;
    wk_evaluation_means(&answers->evaluation);
    if (job.lines != NULL) fclose(job.lines);
    free(job.line);
    hp_store_reader_close(job.reader);
    return status;
}

void cli_answers_release(cli_answers_t *answers) {
    hp_free(answers->answer);
    hp_free(answers->cells);
}
