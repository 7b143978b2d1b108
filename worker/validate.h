/* A worker's part in the evaluations while training: scores parts of data.valid with the weights of
 * a checkpoint, in the training model's workspace. */
#ifndef WK_VALIDATE_H
#define WK_VALIDATE_H

#include "common/message.h"
#include "worker/evaluate.h"

typedef struct wk_validate wk_validate_t;

/* `run`: its folder, where the checkpoints are; it, configuration and store must outlive this.
 * HP_INPUT: data.valid is no split, or has no question. */
hp_status_t wk_validate_create(const hp_config_t *config, hp_store_t *store, const char *run,
                               wk_validate_t **validate_p, hp_error_t *err) HP_MUST_CHECK;
void wk_validate_destroy(wk_validate_t *validate);

/* What a model must hold to be given to wk_validate_part. */
wk_model_limits_t wk_validate_limits(const wk_validate_t *validate);

/* Part `part` of `parts` with the weights of step `step`, which are read once. The result depends
 * on (step, part, parts) alone. */
hp_status_t wk_validate_part(wk_validate_t *validate, wk_model_t *model, int64_t step, int part,
                             int parts, hp_scores_t *scores, hp_error_t *err) HP_MUST_CHECK;

/* In how many parts to deal `questions` questions: a pure function, at most 32. */
int wk_validate_parts(uint64_t questions, int batch_size);

#endif
