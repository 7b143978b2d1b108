#include "cli/model_describe.h"

#include "cli/scores.h"
#include "common/config_text.h"
#include "common/memory.h"
#include "worker/import/text.h"

#include <string.h>

static void put_text(yajl_gen gen, const char *key, const char *text) {
    cli_put_key(gen, key);
    cli_put_key(gen, text);
}

static void put_whole(yajl_gen gen, const char *key, long long value) {
    cli_put_key(gen, key);
    yajl_gen_integer(gen, value);
}

static void put_bool(yajl_gen gen, const char *key, bool value) {
    cli_put_key(gen, key);
    yajl_gen_bool(gen, value);
}

static void put_list(yajl_gen gen, const char *key, int count, const char *const *text) {
    cli_put_key(gen, key);
    yajl_gen_array_open(gen);
    for (int i = 0; i < count; i++) cli_put_key(gen, text[i]);
    yajl_gen_array_close(gen);
}

static void put_tokenizer(yajl_gen gen, const char *name) {
    const wk_tokenizer_t *t = wk_tokenizer_find(name);
    cli_put_key(gen, "tokenizer");
    yajl_gen_map_open(gen);
    put_text(gen, "name", name);
    if (t != NULL) { /* else the store was made by somebody else's rule */
        put_text(gen, "deleted", t->deleted);
        put_text(gen, "spaced", t->spaced);
        put_text(gen, "separate", t->separate);
        put_bool(gen, "possessive", t->possessive);
        put_bool(gen, "keep_case", t->keep_case);
        put_bool(gen, "drop_last", t->drop_last);
        put_bool(gen, "plain", t->plain);
        if (t->treebank != 0) put_text(gen, "nltk", wk_treebank_version(t->treebank));
    }
    yajl_gen_map_close(gen);
}

static void put_shape(yajl_gen gen, const wk_trained_t *t) {
    const hp_store_info_t *info = hp_store_info(t->store);
    cli_put_key(gen, "image");
    yajl_gen_map_open(gen);
    put_text(gen, "dtype", hp_dtype_name(info->feature_dtype));
    put_whole(gen, "channels", t->shape.channels); /* with appended coordinates */
    put_whole(gen, "max_cells", t->shape.max_cells);
    put_whole(gen, "grid_height", t->shape.grid_height);
    put_whole(gen, "grid_width", t->shape.grid_width);
    put_whole(gen, "pixel_height", t->shape.pixel_height);
    put_whole(gen, "pixel_width", t->shape.pixel_width);
    yajl_gen_map_close(gen);
}

hp_status_t cli_model_describe(const wk_trained_t *t, const char *weights, const char *path,
                               hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(t->store);
    const char *base = strrchr(weights, '/');
    char *yaml = NULL;
    HP_TRY(hp_config_yaml(&t->config, &yaml, err));
    yajl_gen gen = yajl_gen_alloc(NULL);
    hp_status_t status = HP_OK;
    if (gen == NULL) {
        status = hp_fail(err, HP_MEMORY, "out of memory for the JSON");
    } else {
        yajl_gen_config(gen, yajl_gen_beautify, 1);
        yajl_gen_map_open(gen);
        put_whole(gen, "hanps_model", 1); /* version of this description */
        put_text(gen, "weights", base != NULL ? base + 1 : weights);
        put_whole(gen, "step", t->step);
        put_text(gen, "store_digest", info->digest);
        put_shape(gen, t);
        put_tokenizer(gen, info->tokenizer);
        put_list(gen, "words", info->words, info->word);
        put_list(gen, "answers", info->answers, info->answer);
        cli_put_key(gen, "config");
        hp_config_put_json(&t->config, gen);
        put_text(gen, "config_yaml", yaml);
        yajl_gen_map_close(gen);
        status = cli_write_json(gen, path, err);
        yajl_gen_free(gen);
    }
    hp_free(yaml);
    return status;
}
