#include "worker/evaluate.h"

#include "common/clock.h"
#include "worker/data/batch.h"
#include "worker/data/prefetch.h"
#include "worker/data/sampler.h"
#include "worker/import/nlvr.h"
#include "worker/model.h"

#include <math.h>
#include <string.h>
#include <strings.h>

typedef struct {
    const wk_evaluate_options_t *options;
    wk_sampler_t *sampler;
    wk_batch_plan_t plan;
    wk_prefetch_t *prefetch;
    wk_model_t *model, *own; /* own: NULL where one was given */
    uint64_t examples, labelled, selected;
    double loss;
} job_t;

static hp_status_t plan(job_t *job, hp_error_t *err) {
    const wk_evaluate_options_t *o = job->options;
    const hp_config_t *config = o->config;
    wk_sampler_options_t sampling = {
        .image = hp_store_question_image(o->store),
        .label = hp_store_question_label(o->store),
        .first = o->split->first,
        .count = o->split->count,
        .cut = o->cut,
        .batch_size = config->data.batch_size,
        .group_by_image = true,
        .gather = true,
        .max_questions_per_image = config->data.max_questions_per_image,
    };
    HP_TRY(wk_sampler_create(&sampling, &job->sampler, err));
    return wk_batch_plan(config, hp_store_info(o->store), sampling.batch_size,
                         wk_sampler_max_images(job->sampler), &job->plan, err);
}

hp_status_t wk_evaluate_limits(const wk_evaluate_options_t *options, wk_model_limits_t *limits,
                               hp_error_t *err) {
    job_t job = {.options = options};
    hp_status_t status = plan(&job, err);
    *limits = job.plan.limits;
    wk_sampler_destroy(job.sampler);
    return status;
}

static hp_status_t prepare(job_t *job, hp_error_t *err) {
    const wk_evaluate_options_t *o = job->options;
    HP_TRY(plan(job, err));
    if (o->model == NULL)
        HP_TRY(wk_model_create(o->config, &job->plan.shape, &job->plan.limits, &job->own, err));
    job->model = o->model != NULL ? o->model : job->own;
    wk_prefetch_options_t reading = {.store = o->store,
                                     .plan = &job->plan,
                                     .sampler = job->sampler,
                                     .depth = o->config->data.prefetch,
                                     .part = o->part,
                                     .parts = o->parts,
                                     .dealt = o->dealt};
    return wk_prefetch_open(&reading, &job->prefetch, err);
}

static int largest(const float *logits, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

hp_status_t wk_answered(const wk_batch_t *batch, const wk_result_t *result, int k, int answers,
                        wk_answered_t *answered, hp_error_t *err) {
    const nn_batch_t *nn = &batch->nn;
    const int *selected = result->selection.offset + k;
    const float *logits = result->logits + (size_t)k * (size_t)answers;
    for (int i = 0; i < answers; i++)
        if (!isfinite(logits[i]))
            return hp_fail(err, HP_NONFINITE,
                           "question %u of the store: the model's output is not finite",
                           batch->example[k].question);
    int image = nn->image[k];
    *answered = (wk_answered_t){
        .question = batch->example[k].question,
        .image = batch->image[image],
        .answer = largest(logits, answers),
        .answers = answers,
        .logits = logits,
        .cells = nn->cell_offset[image + 1] - nn->cell_offset[image],
        .selected = selected[1] - selected[0],
        .cell = result->selection.cell + selected[0],
        .presence = result->presence != NULL ? result->presence + result->presence_offset[k] : NULL,
    };
    return HP_OK;
}

static hp_status_t report(job_t *job, const wk_batch_t *batch, const wk_result_t *result,
                          hp_error_t *err) {
    for (int k = 0; k < batch->nn.questions; k++) {
        wk_answered_t answered;
        HP_TRY(wk_answered(batch, result, k, job->plan.shape.answers, &answered, err));
        job->selected += (uint64_t)answered.selected;
        HP_TRY(job->options->each(job->options->context, &answered, err));
    }
    return HP_OK;
}

static hp_status_t run(job_t *job, hp_error_t *err) {
    HP_TRY(prepare(job, err));
    wk_pass_t pass = {.train = false, .seed = (uint64_t)job->options->config->run.seed};
    for (;;) {
        const wk_batch_t *batch = NULL;
        HP_TRY(wk_prefetch_take(job->prefetch, &batch, err));
        if (batch == NULL) return HP_OK;
        wk_result_t result = {0};
        HP_TRY(
            wk_model_forward(job->model, job->options->weights, &batch->nn, &pass, &result, err));
        pass.same_weights = true;
        job->examples += (uint64_t)batch->nn.questions;
        job->labelled += (uint64_t)result.labelled;
        job->loss += result.loss_sum;
        HP_TRY(report(job, batch, &result, err));
        if (job->options->batch != NULL)
            HP_TRY(job->options->batch(job->options->context, &result, err));
    }
}

void wk_evaluation_means(wk_evaluation_t *e) {
    e->cells_mean = e->examples > 0 ? (double)e->selected / (double)e->examples : 0;
    e->loss_mean = e->labelled > 0 ? e->loss_sum / (double)e->labelled : 0;
}

hp_status_t wk_evaluate(const wk_evaluate_options_t *options, wk_evaluation_t *result,
                        hp_error_t *err) {
    job_t job = {.options = options};
    double start = hp_clock();
    hp_status_t status = run(&job, err);
    wk_prefetch_close(job.prefetch);
    wk_model_destroy(job.own);
    wk_sampler_destroy(job.sampler);
    if (status != HP_OK) return status;
    *result = (wk_evaluation_t){
        .examples = job.examples,
        .labelled = job.labelled,
        .selected = job.selected,
        .loss_sum = job.loss,
        .seconds = hp_clock() - start,
    };
    wk_evaluation_means(result);
    return HP_OK;
}

hp_status_t wk_score_question(wk_scorer_t *scorer, const hp_question_t *q, const char *answer,
                              wk_tally_t *tally, double score[WK_METRICS], hp_error_t *err) {
    for (int m = 0; m < WK_METRICS; m++) score[m] = 0;
    if (answer != NULL) HP_TRY(wk_score(scorer, answer, q, score, err));
    if (strcmp(q->answer_type, WK_NLVR_ANSWER_TYPE) == 0 &&
        strcmp(q->question_type, WK_NLVR_QUESTION_TYPE) == 0) {
        bool right = answer != NULL && q->target != NULL && strcasecmp(answer, q->target) == 0;
        for (int m = 0; m < WK_METRICS; m++) score[m] = right;
        HP_TRY(wk_tally_add_statement(tally, q->question_id / WK_NLVR_IDS, right, err));
    }
    return wk_tally_add(tally, q->answer_type, q->question_type, score, err);
}

static hp_status_t score_all(hp_store_t *store, hp_store_reader_t *reader, wk_scorer_t *scorer,
                             const hp_split_t *split, const int32_t *answer, wk_scored_t each,
                             void *context, wk_tally_t *tally, hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(store);
    for (uint64_t i = 0; i < split->count; i++) {
        hp_question_t q;
        double score[WK_METRICS];
        if (answer[i] == WK_NOT_ASKED) continue;
        const char *text = answer[i] >= 0 ? info->answer[answer[i]] : "";
        HP_TRY(hp_store_read_question(reader, split->first + i, &q, err));
        HP_TRY(wk_score_question(scorer, &q, text, tally, score, err));
        if (each != NULL) HP_TRY(each(context, &q, text, score, err));
    }
    return HP_OK;
}

hp_status_t wk_score_split(hp_store_t *store, const hp_split_t *split, const int32_t *answer,
                           wk_scored_t each, void *context, wk_tally_t *tally, hp_error_t *err) {
    hp_store_reader_t *reader = NULL;
    wk_scorer_t *scorer = NULL;
    *tally = (wk_tally_t){0};
    hp_status_t status = hp_store_reader_open(store, &reader, err);
    if (status == HP_OK) status = wk_scorer_create(&scorer, err);
    if (status == HP_OK)
        status = score_all(store, reader, scorer, split, answer, each, context, tally, err);
    wk_scorer_destroy(scorer);
    hp_store_reader_close(reader);
    if (status != HP_OK) wk_tally_release(tally);
    return status;
}
