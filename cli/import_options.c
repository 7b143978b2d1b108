#include "cli/import_options.h"

#include <stdio.h>
#include <string.h>

hp_status_t cli_parse_size(const char *text, int *height_p, int *width_p, hp_error_t *err) {
    char after;
    int height, width;
    if (sscanf(text, "%5dx%5d%c", &height, &width, &after) != 2 || height < 1 || width < 1 ||
        height > 4096 || width > 4096)
        return hp_fail(err, HP_INPUT, "--size %s: HEIGHTxWIDTH is allowed, each 1 to 4096", text);
    *height_p = height;
    *width_p = width;
    return HP_OK;
}

hp_status_t cli_parse_tokenizer(const char *text, const wk_tokenizer_t **tokenizer_p,
                                hp_error_t *err) {
    char names[256] = "";
    *tokenizer_p = wk_tokenizer_find(text);
    if (*tokenizer_p != NULL) return HP_OK;
    for (const wk_tokenizer_t *t = wk_tokenizers(); t->name != NULL; t++) {
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", n > 0 ? ", " : "", t->name);
    }
    return hp_fail(err, HP_INPUT, "--tokenizer %s: allowed are %s", text, names);
}

hp_status_t cli_parse_dtype(const char *option, const char *text, hp_dtype_t *dtype_p,
                            hp_error_t *err) {
    static const hp_dtype_t allowed[] = {HP_DTYPE_F16, HP_DTYPE_BF16, HP_DTYPE_F32};
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (strcmp(hp_dtype_name(allowed[i]), text) == 0) {
            *dtype_p = allowed[i];
            return HP_OK;
        }
    return hp_fail(err, HP_INPUT, "%s %s: allowed are f16, bf16, f32", option, text);
}

hp_status_t cli_parse_encoding(const char *text, hp_encoding_t *encoding_p, hp_error_t *err) {
    for (hp_encoding_t e = HP_ENCODING_RAW; e <= HP_ENCODING_AUTO; e++)
        if (strcmp(hp_encoding_name(e), text) == 0) {
            *encoding_p = e;
            return HP_OK;
        }
    return hp_fail(err, HP_INPUT, "--encoding %s: allowed are raw, sparse, auto", text);
}
