/* Values of options that importers share. */
#ifndef CLI_IMPORT_OPTIONS_H
#define CLI_IMPORT_OPTIONS_H

#include "common/status.h"
#include "worker/import/text.h"

/* --size HEIGHTxWIDTH. */
hp_status_t cli_parse_size(const char *text, int *height_p, int *width_p,
                           hp_error_t *err) HP_MUST_CHECK;

/* --tokenizer NAME. */
hp_status_t cli_parse_tokenizer(const char *text, const wk_tokenizer_t **tokenizer_p,
                                hp_error_t *err) HP_MUST_CHECK;

#endif
