#include "worker/train.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/metrics.h"
#include "common/run_folder.h"
#include "worker/client.h"
#include "worker/data/batch.h"
#include "worker/data/labels.h"
#include "worker/data/prefetch.h"
#include "worker/data/sampler.h"
#include "worker/model.h"
#include "worker/validate.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const wk_train_options_t *options;
    wk_client_t *client;
    wk_sampler_t *sampler;
    wk_batch_plan_t plan;
    wk_prefetch_t *prefetch;
    wk_model_t *model;
    wk_validate_t *validate; /* NULL: no evaluation while training */
    hp_metrics_t *metrics;
    hp_trace_row_t *row; /* of this thread */
    double begin;        /* clock at the first unit */
    uint64_t unit;       /* that is computed */
    double hook_s;       /* time within the hooks of the pass that runs */
    bool asked_to_stop, log_failed;
    wk_train_totals_t totals;
} trainer_t;

/* One unit's figures, for the log. */
typedef struct {
    double begin, end, data_s, forward_s, backward_s;
    wk_result_t result;
    wk_client_stats_t client;
} unit_stats_t;

static hp_status_t next_unit(void *context, wk_unit_t *unit, hp_error_t *err) {
    return wk_client_next_unit(((trainer_t *)context)->client, unit, err);
}

/* The hooks' own time is waiting or handing over, not arithmetic: it is taken off the pass's. */
static hp_status_t need(void *context, int param, hp_error_t *err) {
    trainer_t *t = context;
    double begin = hp_clock();
    hp_status_t status = wk_client_need(t->client, param, err);
    t->hook_s += hp_clock() - begin;
    return status;
}

static hp_status_t final(void *context, int param, hp_error_t *err) {
    trainer_t *t = context;
    double begin = hp_clock();
    hp_status_t status = wk_client_final(t->client, param, err);
    double end = hp_clock();
    t->hook_s += end - begin;
    hp_trace_span(t->row, HP_TRACE_PACK, begin, end, t->unit);
    return status;
}

static hp_status_t open_log(trainer_t *t, hp_error_t *err) {
    char name[64], path[HP_RUN_PATH];
    snprintf(name, sizeof name, "log/worker-%04d.jsonl", t->options->worker);
    HP_TRY(hp_run_path(t->options->run, name, path, err));
    return hp_metrics_open(path, &t->metrics, err);
}

static hp_status_t sample(const hp_config_t *config, hp_store_t *store, wk_sampler_t **sampler_p,
                          hp_error_t *err) {
    wk_part_t part;
    int32_t *trainable = NULL;
    HP_TRY(wk_part_train(store, config, &part, err));
    HP_TRY(wk_labels_trainable(store, config->data.labels, &part.range, &trainable, err));
    wk_sampler_options_t sampling = {
        .image = hp_store_question_image(store),
        .label = trainable != NULL ? trainable : hp_store_question_label(store),
        .first = part.range.first,
        .count = part.range.count,
        .cut = part.cut,
        .seed = (uint64_t)config->run.seed,
        .batch_size = config->data.batch_size,
        .labelled_only = true,
        .group_by_image = config->data.group_by_image,
        .shuffle = config->data.shuffle,
        .max_questions_per_image = config->data.max_questions_per_image,
        .distinct = strcmp(config->model.image.trunk, "cnn") == 0,
    };
    hp_status_t status = wk_sampler_create(&sampling, sampler_p, err);
    hp_free(trainable);
    if (status == HP_OK) return HP_OK;
    return hp_fail_prefix(err, "data.train: %s of '%s'", config->data.train, config->data.store);
}

static hp_status_t plan_batches(const hp_config_t *config, hp_store_t *store,
                                wk_sampler_t **sampler_p, wk_batch_plan_t *plan, hp_error_t *err) {
    HP_TRY(sample(config, store, sampler_p, err));
    HP_TRY(wk_batch_plan(config, hp_store_info(store), config->data.batch_size,
                         wk_sampler_max_images(*sampler_p), plan, err));
    wk_batch_training(config, plan);
    return HP_OK;
}

hp_status_t wk_train_examples(const hp_config_t *config, hp_store_t *store, uint64_t *examples_p,
                              hp_error_t *err) {
    wk_sampler_t *sampler = NULL;
    HP_TRY(sample(config, store, &sampler, err));
    *examples_p = wk_sampler_size(sampler);
    wk_sampler_destroy(sampler);
    return HP_OK;
}

hp_status_t wk_train_memory(const hp_config_t *config, hp_store_t *store, size_t *bytes_p,
                            hp_error_t *err) {
    wk_sampler_t *sampler = NULL;
    wk_batch_plan_t plan;
    hp_params_t params = {0};
    size_t bytes = 0;
    hp_status_t status = plan_batches(config, store, &sampler, &plan, err);
    if (status == HP_OK) status = wk_model_measure(config, &plan.shape, &plan.limits, &bytes, err);
    if (status == HP_OK) status = wk_model_table(config, &plan.shape, &params, err);
    if (status == HP_OK)
        *bytes_p = bytes + 3 * (size_t)params.total * sizeof(float) +
                   ((size_t)config->data.prefetch + 1) * wk_batch_bytes(&plan);
    hp_params_release(&params);
    wk_sampler_destroy(sampler);
    return status;
}

static int larger(int a, int b) { return a > b ? a : b; }

/* The model serves both, and must be large enough for both. */
static hp_status_t prepare_validation(trainer_t *t, wk_model_limits_t *limits, hp_error_t *err) {
    const wk_train_options_t *o = t->options;
    if (o->config->valid.every_steps == 0) return HP_OK;
    HP_TRY(wk_validate_create(o->config, o->store, o->run, &t->validate, err));
    wk_model_limits_t most = wk_validate_limits(t->validate);
    limits->images = larger(limits->images, most.images);
    limits->questions = larger(limits->questions, most.questions);
    limits->tokens = larger(limits->tokens, most.tokens);
    limits->cells = larger(limits->cells, most.cells);
    return HP_OK;
}

/* Rows with room for all spans that a step may have: for each parameter a wait and the handing over
 * of its gradient. Waits that are cut up by other messages count as one, or nearly. */
static hp_status_t open_trace(trainer_t *t, hp_trace_row_t **reading_p, hp_error_t *err) {
    hp_trace_t *trace = t->options->trace;
    const hp_params_t *params = t->options->params;
    const size_t steps = (size_t)hp_trace_steps(trace) + 2, spans = 32 + 2 * (size_t)params->count;
    HP_TRY(hp_trace_row(trace, "compute", "unit", 1, steps * spans, &t->row, err));
    HP_TRY(hp_trace_row(trace, "data", "unit", 1, 4 * steps, reading_p, err));
    return wk_client_trace(t->client, trace, t->row, err);
}

static hp_status_t prepare(trainer_t *t, hp_error_t *err) {
    const wk_train_options_t *o = t->options;
    const hp_config_t *config = o->config;
    HP_TRY(plan_batches(config, o->store, &t->sampler, &t->plan, err));
    wk_model_limits_t limits = t->plan.limits;
    hp_trace_row_t *reading_row = NULL;
    HP_TRY(prepare_validation(t, &limits, err));
    HP_TRY(wk_model_create(config, &t->plan.shape, &limits, &t->model, err));
    HP_TRY(open_log(t, err));
    HP_TRY(wk_client_open(o->transport, config, o->params, &t->client, err));
    HP_TRY(open_trace(t, &reading_row, err));
    wk_prefetch_options_t reading = {.store = o->store,
                                     .plan = &t->plan,
                                     .sampler = t->sampler,
                                     .depth = config->data.prefetch,
                                     .next = next_unit,
                                     .context = t,
                                     .row = reading_row,
                                     .taker_row = t->row};
    return wk_prefetch_open(&reading, &t->prefetch, err);
}

static hp_status_t send_sparse_rows(trainer_t *t, const wk_result_t *result, hp_error_t *err) {
    const hp_params_t *params = t->options->params;
    for (int p = 0; p < params->count; p++)
        if (params->param[p].sparse_rows)
            HP_TRY(
                wk_client_sparse_rows(t->client, p, result->sparse_rows, result->sparse_row, err));
    return HP_OK;
}

/* Forward and backward of a unit that has begun. */
static hp_status_t compute(trainer_t *t, const wk_batch_t *batch, const float *weights,
                           float *grads, unit_stats_t *stats, hp_error_t *err) {
    wk_pass_t pass = {.train = true,
                      .seed = (uint64_t)t->options->config->run.seed,
                      .hooks = {.need = need, .final = final, .context = t}};
    wk_result_t *result = &stats->result;
    t->hook_s = 0;
    t->unit = batch->unit;
    double begin = hp_clock();
    HP_TRY(wk_model_forward(t->model, weights, &batch->nn, &pass, result, err));
    double middle = hp_clock();
    stats->forward_s = middle - begin - t->hook_s;
    t->hook_s = 0;
    /* Its gradient is not finite either: the servers refuse it, and end a run that gives only such.
     */
    if (!isfinite(result->loss_sum) && t->totals.nonfinite++ == 0)
        hp_log(t->options->log, HP_LOG_WARN,
               "the loss of unit %llu is not finite and its gradient refused; a smaller "
               "optimizer.lr or optimizer.clip_norm may help",
               (unsigned long long)batch->unit);
    HP_TRY(send_sparse_rows(t, result, err));
    HP_TRY(wk_model_backward(t->model, weights, &batch->nn, &pass, grads, result, err));
    double end = hp_clock();
    stats->backward_s = end - middle - t->hook_s;
    hp_trace_span(t->row, HP_TRACE_FORWARD, begin, middle, batch->unit);
    hp_trace_span(t->row, HP_TRACE_BACKWARD, middle, end, batch->unit);
    return HP_OK;
}

/* HP_INTERRUPTED from the client means that the unit is not wanted any more; it is dropped. */
static hp_status_t do_unit(trainer_t *t, const wk_batch_t *batch, unit_stats_t *stats, bool *done_p,
                           hp_error_t *err) {
    wk_unit_t unit = {.unit = batch->unit, .step = batch->step};
    const float *weights = NULL;
    float *grads = NULL;
    *done_p = false;
    hp_status_t status = wk_client_begin(t->client, &unit, &weights, &grads, err);
    if (status == HP_INTERRUPTED) return HP_OK;
    if (status != HP_OK) return status;
    status = compute(t, batch, weights, grads, stats, err);
    if (status == HP_OK) status = wk_client_commit(t->client, stats->result.labelled, err);
    if (status == HP_OK) {
        *done_p = true;
        return HP_OK;
    }
    hp_error_t aborting;
    hp_status_t aborted = wk_client_abort(t->client, &aborting);
    if (status != HP_INTERRUPTED) return status; /* the first error is the one that counts */
    if (aborted != HP_OK && err != NULL) *err = aborting;
    return aborted;
}

static void add_totals(wk_train_totals_t *sum, const wk_batch_t *batch, const unit_stats_t *s,
                       double begin) {
    sum->units++;
    sum->examples += (uint64_t)batch->nn.questions;
    sum->step = s->client.step;
    sum->seconds = hp_clock() - begin;
    sum->data_s += s->data_s;
    sum->forward_s += s->forward_s;
    sum->backward_s += s->backward_s;
    sum->push_s += s->client.push_s;
    sum->pull_s += s->client.pull_s;
    sum->wait_s += s->client.wait_s;
    if (isfinite(s->result.loss_sum)) sum->loss_sum += s->result.loss_sum;
    sum->labelled += (uint64_t)s->result.labelled;
    sum->correct += (uint64_t)s->result.correct;
    sum->pushed_bytes += s->client.pushed_bytes;
    sum->pulled_bytes += s->client.pulled_bytes;
}

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

/* A line of the log. A log that cannot be written does not end the training. */
static void write_line(trainer_t *t, const wk_batch_t *batch, const unit_stats_t *s) {
    hp_metrics_t *m = t->metrics;
    const wk_result_t *r = &s->result;
    int questions = batch->nn.questions;
    double elapsed = s->end - s->begin;
    hp_metrics_int(m, "step", batch->step >= 0 ? batch->step : s->client.step);
    hp_metrics_int(m, "unit", (int64_t)batch->unit);
    hp_metrics_int(m, "start", t->options->start);
    hp_metrics_real(m, "time_s", hp_clock() - t->begin);
    hp_metrics_int(m, "examples", questions);
    hp_metrics_real(m, "examples_per_s", ratio(questions, elapsed));
    hp_metrics_real(m, "loss", ratio(r->loss_sum, r->labelled));
    hp_metrics_real(m, "accuracy", ratio(r->correct, r->labelled));
    hp_metrics_real(m, "step_s", elapsed);
    hp_metrics_real(m, "data_s", s->data_s);
    hp_metrics_real(m, "forward_s", s->forward_s);
    hp_metrics_real(m, "backward_s", s->backward_s);
    hp_metrics_real(m, "push_s", s->client.push_s);
    hp_metrics_real(m, "pull_s", s->client.pull_s);
    hp_metrics_real(m, "wait_s", s->client.wait_s);
    if (s->client.pulled_s > 0) hp_metrics_real(m, "pulled_s", s->client.pulled_s);
    hp_metrics_int(m, "pushed_bytes", (int64_t)s->client.pushed_bytes);
    hp_metrics_int(m, "pulled_bytes", (int64_t)s->client.pulled_bytes);
    hp_metrics_int(m, "staleness", s->client.staleness);
    hp_metrics_int(m, "images", batch->nn.images);
    hp_metrics_real(m, "cells_mean", ratio(r->selection.offset[questions], questions));
    hp_metrics_int(m, "forward_madds", r->forward_madds);
    hp_metrics_int(m, "backward_madds", r->backward_madds);
    hp_metrics_real(m, "embed_backward_share",
                    ratio((double)r->embed_backward_madds, (double)r->embed_backward_madds_dense));
    hp_metrics_text(m, "host", hp_transport_host(t->options->transport));
    const wk_train_totals_t *sum = &t->totals; /* of this start: the last line is a summary */
    hp_metrics_int(m, "total_units", (int64_t)sum->units);
    hp_metrics_int(m, "total_examples", (int64_t)sum->examples);
    hp_metrics_real(m, "total_data_s", sum->data_s);
    hp_metrics_real(m, "total_forward_s", sum->forward_s);
    hp_metrics_real(m, "total_backward_s", sum->backward_s);
    hp_metrics_real(m, "total_push_s", sum->push_s);
    hp_metrics_real(m, "total_pull_s", sum->pull_s);
    hp_metrics_real(m, "total_wait_s", sum->wait_s);
    hp_metrics_real(m, "total_evaluate_s", sum->evaluate_s);
    hp_error_t err;
    if (hp_metrics_line(m, &err) != HP_OK && !t->log_failed) {
        hp_log(t->options->log, HP_LOG_WARN, "%s; training goes on", err.text);
        t->log_failed = true;
    }
}

/* A failure here is server 0's to tell; training goes on. */
static hp_status_t evaluate(trainer_t *t, const wk_batch_t *batch, hp_error_t *err) {
    const wk_unit_t part = {
        .step = batch->step, .evaluate = true, .part = batch->part, .parts = batch->parts};
    hp_scores_t scores;
    hp_error_t why = {.text = "it has no data.valid"};
    double begin = hp_clock();
    bool done = t->validate != NULL && wk_validate_part(t->validate, t->model, part.step, part.part,
                                                        part.parts, &scores, &why) == HP_OK;
    double end = hp_clock();
    t->totals.evaluate_s += end - begin;
    hp_trace_span(t->row, HP_TRACE_EVALUATE, begin, end, HP_TRACE_UNNUMBERED);
    return wk_client_evaluated(t->client, &part, done ? &scores : NULL, why.text, err);
}

static void ask_to_stop(trainer_t *t) {
    if (t->asked_to_stop || t->client == NULL) return;
    t->asked_to_stop = true;
    wk_client_request_stop(t->client);
}

static hp_status_t loop(trainer_t *t, hp_error_t *err) {
    const wk_train_options_t *o = t->options;
    double data_before = 0, unit_before = 0;
    t->begin = hp_clock();
    for (;;) {
        const wk_batch_t *batch = NULL;
        unit_stats_t stats = {.begin = hp_clock()};
        bool done = false;
        double data_s, unit_s;
        if (o->stop != NULL && atomic_load(o->stop) != 0) ask_to_stop(t);
        HP_TRY(wk_prefetch_take(t->prefetch, &batch, err));
        if (batch == NULL) return HP_OK;
        if (batch->evaluate) {
            HP_TRY(evaluate(t, batch, err));
            continue;
        }
        if (t->totals.units == 0) { /* a spare may have slept for long */
            t->begin = stats.begin = hp_clock();
            wk_prefetch_waited(t->prefetch, &data_before, &unit_before);
        }
        HP_TRY(do_unit(t, batch, &stats, &done, err));
        if (!done) continue;
        wk_prefetch_waited(t->prefetch, &data_s, &unit_s);
        wk_client_take_stats(t->client, &stats.client);
        stats.data_s = data_s - data_before;
        stats.client.wait_s = unit_s - unit_before;
        data_before = data_s;
        unit_before = unit_s;
        stats.end = hp_clock();
        hp_trace_span(t->row, HP_TRACE_STEP, stats.begin, stats.end, batch->unit);
        add_totals(&t->totals, batch, &stats, t->begin);
        write_line(t, batch, &stats);
        if (t->totals.units == (uint64_t)hp_trace_steps(o->trace)) hp_trace_end(o->trace, o->log);
        if (o->progress != NULL) {
            wk_train_progress_t seen = {
                .step = stats.client.step,
                .loss = ratio(stats.result.loss_sum, stats.result.labelled),
                .accuracy = ratio(stats.result.correct, stats.result.labelled),
                .totals = &t->totals,
            };
            o->progress(o->context, &seen);
        }
    }
}

hp_status_t wk_train(const wk_train_options_t *options, wk_train_totals_t *totals,
                     hp_error_t *err) {
    trainer_t t = {.options = options};
    hp_status_t status = prepare(&t, err);
    if (status == HP_OK) status = loop(&t, err);
    /* After a failure of this worker the others need not go on alone: stop with a checkpoint. That
     * also makes a `next` return on which the prefetch thread may be blocked. */
    if (status != HP_OK) ask_to_stop(&t);
    wk_prefetch_close(t.prefetch);
    hp_metrics_close(t.metrics); /* before goodbye: the closing table reads it */
    hp_error_t closing;
    if (t.client != NULL) {
        hp_status_t closed =
            wk_client_close(t.client, &t.totals.clean, &t.totals.lead_lost, &closing);
        if (status == HP_OK && closed != HP_OK) {
            status = closed;
            if (err != NULL) *err = closing;
        }
    }
    hp_trace_end(options->trace, options->log);
    wk_validate_destroy(t.validate);
    wk_model_destroy(t.model);
    wk_sampler_destroy(t.sampler);
    *totals = t.totals;
    return status;
}
