/* Answers a split's questions with given weights, question by question, and scores the answers. */
#ifndef WK_EVALUATE_H
#define WK_EVALUATE_H

#include "common/config.h"
#include "common/store.h"
#include "worker/data/batch.h"
#include "worker/data/part.h"
#include "worker/metric.h"
#include "worker/model.h"

/* One question answered. Pointers are valid during the callback. */
typedef struct {
    uint64_t question; /* ordinal in the store */
    uint32_t image;    /* ordinal of its image */
    int answer;        /* class of the largest logit, the lowest index first */
    int answers;
    const float *logits; /* [answers] */
    int cells;           /* of the image */
    int selected;
    const int *cell;       /* [selected], ascending */
    const float *presence; /* [cells]: |m|^2 - |q|^2; NULL where the attention has none */
} wk_answered_t;

/* Question k of a batch, from what forward gave. HP_NONFINITE: a logit is not a number. */
hp_status_t wk_answered(const wk_batch_t *batch, const wk_result_t *result, int k, int answers,
                        wk_answered_t *answered, hp_error_t *err) HP_MUST_CHECK;

typedef struct {
    const hp_config_t *config; /* data, model and run.seed are used */
    hp_store_t *store;
    const hp_split_t *split; /* or any range of questions */
    wk_cut_t cut;            /* of these, the questions of its images */
    int part, parts;         /* of the batches: part `part` of `parts`; 0, 0: all */
    bool dealt;              /* a part is every parts-th batch, not batches that follow another */
    wk_model_t *model;       /* one that is large enough (wk_evaluate_limits); NULL: an own one */
    const float *weights;    /* the flat block of wk_model_table(config, shape of the store) */
    hp_status_t (*each)(void *context, const wk_answered_t *answered, hp_error_t *err);
    /* After the questions of a batch; NULL is fine. */
    hp_status_t (*batch)(void *context, const wk_result_t *result, hp_error_t *err);
    void *context;
} wk_evaluate_options_t;

typedef struct {
    uint64_t examples;
    double cells_mean;           /* selected cells of a question */
    double loss_mean;            /* over questions whose answer is a class; 0 where there is none */
    uint64_t labelled, selected; /* what the means are of: such questions, and cells */
    double loss_sum;
    double seconds;
} wk_evaluation_t;

/* The means of what `examples`, `labelled`, `selected` and `loss_sum` count. */
void wk_evaluation_means(wk_evaluation_t *evaluation);

/* What the model's workspace must hold for this evaluation. */
hp_status_t wk_evaluate_limits(const wk_evaluate_options_t *options, wk_model_limits_t *limits,
                               hp_error_t *err) HP_MUST_CHECK;

/* Questions of an image are brought together: `each` is called once for every question, not in the
 * order of the store. An error it returns ends the evaluation. Allocates a model and a thread that
 * reads ahead, for its duration. HP_NONFINITE: a logit is not a number. */
hp_status_t wk_evaluate(const wk_evaluate_options_t *options, wk_evaluation_t *result,
                        hp_error_t *err) HP_MUST_CHECK;

/* Score one answer, NULL for none, and add it to the tally; of NLVR its sentence too (there upper
 * and lower case are alike, as its evaluation has it). */
hp_status_t wk_score_question(wk_scorer_t *scorer, const hp_question_t *question,
                              const char *answer, wk_tally_t *tally, double score[WK_METRICS],
                              hp_error_t *err) HP_MUST_CHECK;

enum { WK_NO_ANSWER = -1, WK_NOT_ASKED = -2 };

/* Score answers given as classes: answer[i] is that of question split->first + i, WK_NO_ANSWER for
 * none, which is wrong; WK_NOT_ASKED questions are passed over.
 * `each` may be NULL; it sees every question in the order of the store with its answer's text and
 * scores. The tally is released by the caller (wk_tally_release). */
typedef hp_status_t (*wk_scored_t)(void *context, const hp_question_t *question, const char *answer,
                                   const double score[WK_METRICS], hp_error_t *err);
hp_status_t wk_score_split(hp_store_t *store, const hp_split_t *split, const int32_t *answer,
                           wk_scored_t each, void *context, wk_tally_t *tally,
                           hp_error_t *err) HP_MUST_CHECK;

#endif
