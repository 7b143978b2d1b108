#include "worker/validate.h"

#include "common/checkpoint.h"
#include "common/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct wk_validate {
    const hp_config_t *config;
    hp_store_t *store;
    const char *run;
    wk_part_t valid;
    wk_metric_t metric;
    wk_model_limits_t limits;
    int32_t *answer; /* [valid.range.count] */
    int64_t step;    /* of `weights`; -1: none */
    float *weights;
};

int wk_validate_parts(uint64_t questions, int batch_size) {
    enum { MOST = 32 };
    uint64_t batches = (questions + (uint64_t)batch_size - 1) / (uint64_t)batch_size;
    return batches < MOST ? (int)batches : MOST;
}

static hp_status_t keep_answer(void *context, const wk_answered_t *answered, hp_error_t *err) {
    (void)err;
    wk_validate_t *v = context;
    v->answer[answered->question - v->valid.range.first] = answered->answer;
    return HP_OK;
}

static wk_evaluate_options_t options_of(wk_validate_t *v) {
    return (wk_evaluate_options_t){.config = v->config,
                                   .store = v->store,
                                   .split = &v->valid.range,
                                   .cut = v->valid.cut,
                                   .each = keep_answer,
                                   .context = v};
}

static hp_status_t create(wk_validate_t *v, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(wk_part_find(v->store, v->config, v->config->data.valid, &v->valid, err));
    HP_TRY(hp_allocate(&p, v->valid.range.count, sizeof *v->answer, "answers", err));
    v->answer = p;
    wk_evaluate_options_t options = options_of(v);
    return wk_evaluate_limits(&options, &v->limits, err);
}

hp_status_t wk_validate_create(const hp_config_t *config, hp_store_t *store, const char *run,
                               wk_validate_t **validate_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(wk_validate_t), "validation", err));
    wk_validate_t *v = p;
    *v = (wk_validate_t){.config = config, .store = store, .run = run, .step = -1};
    v->metric = hp_store_info(store)->metric == HP_METRIC_VQA ? WK_VQA_2021 : WK_EXACT;
    if (create(v, err) != HP_OK) {
        wk_validate_destroy(v);
        return hp_fail_prefix(err, "data.valid");
    }
    *validate_p = v;
    return HP_OK;
}

void wk_validate_destroy(wk_validate_t *v) {
    if (v == NULL) return;
    hp_free(v->answer);
    hp_free(v->weights);
    hp_free(v);
}

wk_model_limits_t wk_validate_limits(const wk_validate_t *v) { return v->limits; }

static hp_status_t read_weights(wk_validate_t *v, const hp_params_t *params, int64_t step,
                                hp_error_t *err) {
    hp_checkpoint_t *checkpoint = NULL;
    char which[32];
    void *p = NULL;
    if (v->step == step) return HP_OK;
    if (v->weights == NULL)
        HP_TRY(hp_allocate(&p, (size_t)params->total, sizeof(float), "weights to evaluate", err));
    if (v->weights == NULL) v->weights = p;
    v->step = -1;
    snprintf(which, sizeof which, "%" PRId64, step);
    HP_TRY(hp_checkpoint_open(v->run, which, &checkpoint, NULL, err));
    hp_status_t status =
        hp_checkpoint_read(checkpoint, 0, params->total, v->weights, NULL, NULL, err);
    hp_checkpoint_close(checkpoint);
    if (status == HP_OK) v->step = step;
    return status;
}

static void take_tally(const wk_validate_t *v, const wk_tally_t *tally, hp_scores_t *scores) {
    snprintf(scores->metric, sizeof scores->metric, "%s", wk_metric_name(v->metric));
    scores->examples = tally->overall.count;
    scores->score = tally->overall.sum[v->metric];
    for (int i = 0; i < tally->answer_types && i < HP_SCORES_GROUPS; i++) {
        const wk_type_score_t *type = &tally->answer_type[i];
        snprintf(scores->group[i].name, HP_SCORES_NAME, "%s", type->name);
        scores->group[i].examples = type->count;
        scores->group[i].score = type->sum[v->metric];
        scores->groups = i + 1;
    }
}

hp_status_t wk_validate_part(wk_validate_t *v, wk_model_t *model, int64_t step, int part, int parts,
                             hp_scores_t *scores, hp_error_t *err) {
    wk_evaluate_options_t options = options_of(v);
    wk_evaluation_t evaluation = {0};
    wk_tally_t tally = {0};
    HP_TRY(read_weights(v, wk_model_params(model), step, err));
    for (uint64_t i = 0; i < v->valid.range.count; i++) v->answer[i] = WK_NOT_ASKED;
    options.model = model;
    options.weights = v->weights;
    options.part = part;
    options.parts = parts;
    HP_TRY(wk_evaluate(&options, &evaluation, err));
    HP_TRY(wk_score_split(v->store, &v->valid.range, v->answer, NULL, NULL, &tally, err));
    *scores = (hp_scores_t){.labelled = evaluation.labelled,
                            .selected = evaluation.selected,
                            .loss = evaluation.loss_sum};
    take_tally(v, &tally, scores);
    wk_tally_release(&tally);
    return HP_OK;
}
