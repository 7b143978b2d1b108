/* Values of options that importers share. */
#ifndef CLI_IMPORT_OPTIONS_H
#define CLI_IMPORT_OPTIONS_H

#include "common/status.h"
#include "common/store.h"
#include "worker/import/text.h"

/* --size HEIGHTxWIDTH. */
hp_status_t cli_parse_size(const char *text, int *height_p, int *width_p,
                           hp_error_t *err) HP_MUST_CHECK;

/* --tokenizer NAME. */
hp_status_t cli_parse_tokenizer(const char *text, const wk_tokenizer_t **tokenizer_p,
                                hp_error_t *err) HP_MUST_CHECK;

/* The value of --dtype, and of options like it: what features are stored as. */
hp_status_t cli_parse_dtype(const char *option, const char *text, hp_dtype_t *dtype_p,
                            hp_error_t *err) HP_MUST_CHECK;

/* --encoding NAME. */
hp_status_t cli_parse_encoding(const char *text, hp_encoding_t *encoding_p,
                               hp_error_t *err) HP_MUST_CHECK;

#endif
