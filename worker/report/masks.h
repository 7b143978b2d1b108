/* Answers some questions with a trained model and shows what it looked at: a picture for each and
 * one page, OUT/index.html. */
#ifndef WK_MASKS_H
#define WK_MASKS_H

#include "common/store.h"
#include "worker/metric.h"
#include "worker/trained.h"

#include <stdint.h>

#define WK_MASKS_SHOWN  2000   /* most questions on a page */
#define WK_MASKS_SCORED 20000u /* default of `scored` */

typedef struct {
    const wk_trained_t *trained;
    const char *run; /* its name on the page */
    const char *out; /* folder; made where it is not there, files in it are replaced */
    const char *split;
    wk_metric_t metric;
    int count;         /* questions to show, spread over the split, two of an image */
    int ids;           /* or these: */
    const int64_t *id; /* question_id [ids], all in the split */
    uint64_t scored;   /* questions at the beginning of the split that accuracy speaks of */
    void (*note)(void *context, const char *text); /* a picture that cannot be shown; may be NULL */
    void *context;
} wk_masks_options_t;

typedef struct {
    int shown, right, partly, wrong;
    uint64_t scored;
    double accuracy;   /* percent, of the questions scored */
    double cells_mean; /* of the same */
    int answer_types;
    char page[4096]; /* its path */
} wk_masks_outcome_t;

/* HP_INPUT: no such split, a question that is not in it. HP_IO: a file cannot be written; the page
 * is written last and is whole or not there. */
hp_status_t wk_masks(const wk_masks_options_t *options, wk_masks_outcome_t *outcome,
                     hp_error_t *err) HP_MUST_CHECK;

#endif
