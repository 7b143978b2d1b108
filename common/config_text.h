/* A configuration in memory, as YAML and as JSON. */
#ifndef HP_CONFIG_TEXT_H
#define HP_CONFIG_TEXT_H

#include "common/config.h"

#include <yajl/yajl_gen.h>

/* As hp_config_write has it; release *text_p with hp_free. */
hp_status_t hp_config_yaml(const hp_config_t *config, char **text_p, hp_error_t *err) HP_MUST_CHECK;

/* A value of the JSON being made: one object, whose keys are those of --set
 * ("model.attention.cells"); numbers, true and false, strings, lists of numbers. */
void hp_config_put_json(const hp_config_t *config, yajl_gen gen);

#endif
