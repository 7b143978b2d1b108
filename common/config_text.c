#include "common/config_text.h"

#include "common/config_keys.h"
#include "common/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_text(yajl_gen gen, const char *text) {
    yajl_gen_string(gen, (const unsigned char *)text, strlen(text));
}

static void put_value(const hp_key_t *key, const hp_config_t *config, int item, yajl_gen gen) {
    char text[HP_KEY_TEXT];
    hp_key_format(key, config, item, text);
    bool word = key->zero != NULL && strcmp(text, key->zero) == 0;
    if (key->type == HP_KEY_BOOL)
        yajl_gen_bool(gen, strcmp(text, "true") == 0);
    else if (key->type == HP_KEY_CHOICE || key->type == HP_KEY_STRING || word)
        put_text(gen, text);
    else
        yajl_gen_number(gen, text, strlen(text));
}

void hp_config_put_json(const hp_config_t *config, yajl_gen gen) {
    yajl_gen_map_open(gen);
    for (int i = 0; i < hp_keys_count; i++) {
        const hp_key_t *key = &hp_keys[i];
        put_text(gen, key->path);
        if (key->type != HP_KEY_LAYERS) {
            put_value(key, config, 0, gen);
            continue;
        }
        yajl_gen_array_open(gen);
        for (int k = 0; k < hp_key_items(key, config); k++) put_value(key, config, k, gen);
        yajl_gen_array_close(gen);
    }
    yajl_gen_map_close(gen);
}

hp_status_t hp_config_yaml(const hp_config_t *config, char **text_p, hp_error_t *err) {
    size_t bytes = 0;
    char *text = NULL, *copy = NULL;
    FILE *memory = open_memstream(&text, &bytes);
    if (memory == NULL) return hp_fail_errno(err, HP_MEMORY, "no memory for the configuration");
    hp_status_t status = hp_config_write(config, memory, err);
    if (fclose(memory) != 0 && status == HP_OK)
        status = hp_fail_errno(err, HP_MEMORY, "no memory for the configuration");
    if (status == HP_OK && (copy = hp_strdup(text)) == NULL)
        status = hp_fail(err, HP_MEMORY, "no memory for the configuration");
    free(text);
    if (status == HP_OK) *text_p = copy;
    return status;
}
