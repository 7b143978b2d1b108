/* What a model says of one question, as JSON: what eval --predictions and ask --json write. */
#ifndef CLI_PREDICTIONS_H
#define CLI_PREDICTIONS_H

#include "common/status.h"
#include "common/store.h"
#include "worker/evaluate.h"
#include "worker/model.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <yajl/yajl_gen.h>

enum { CLI_TOP = 1000000 }; /* most answers that are listed */

typedef struct {
    int top;     /* answers that are listed, the most probable first */
    bool logits; /* all of them too */
    const hp_store_info_t *info;
    const wk_model_shape_t *shape;
} cli_predictions_t;

/* Order of the answers, the largest logit first, equal ones by index; fills order[top] and
 * probability[top], top being the smaller of p->top and the answers. Returns top. */
int cli_prediction_top(const cli_predictions_t *p, const wk_answered_t *answered, int *order,
                       double *probability);

/* One line to `out`. id: NULL for a question that is in no store; target: NULL or "" for none. */
hp_status_t cli_prediction_write(const cli_predictions_t *p, const wk_answered_t *answered,
                                 const int64_t *id, const char *image, const char *question,
                                 const char *target, FILE *out, hp_error_t *err) HP_MUST_CHECK;

#endif
