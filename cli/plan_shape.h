/* What data a plan is for: the store's of the configuration where that is there, else that of
 * hanps bench. */
#ifndef CLI_PLAN_SHAPE_H
#define CLI_PLAN_SHAPE_H

#include "common/config.h"
#include "worker/model.h"

typedef struct {
    bool of_store;
    wk_model_shape_t shape;
    double questions_per_image, tokens; /* of a batch's image; of a question */
    double worker_bytes;                /* memory of a worker */
} plan_shape_t;

/* path: the configuration's file. HP_INPUT, HP_CORRUPT: a store that is there cannot be trained on.
 */
hp_status_t plan_shape(const hp_config_t *config, const char *path, plan_shape_t *shape,
                       hp_error_t *err) HP_MUST_CHECK;

#endif
