/* What a program must know that uses a model's weights: FILE.json beside an export.
 * docs/pytorch.md describes it. */
#ifndef CLI_MODEL_DESCRIBE_H
#define CLI_MODEL_DESCRIBE_H

#include "common/status.h"
#include "worker/trained.h"

hp_status_t cli_model_describe(const wk_trained_t *trained, const char *weights, const char *path,
                               hp_error_t *err) HP_MUST_CHECK;

#endif
