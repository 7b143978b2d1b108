/* The configuration as YAML, and the documentation of its keys. */
#include "common/config_keys.h"

#include <string.h>
#include <yaml.h>

enum { DEPTH = 8 };

static bool emit(yaml_emitter_t *emitter, int made, yaml_event_t *event) {
    return made && yaml_emitter_emit(emitter, event);
}

static bool emit_scalar(yaml_emitter_t *emitter, const char *text, size_t length, bool quoted) {
    yaml_event_t event;
    return emit(emitter,
                yaml_scalar_event_initialize(
                    &event, NULL, NULL, (const yaml_char_t *)text, (int)length, !quoted, 1,
                    quoted ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE),
                &event);
}

static bool emit_section(yaml_emitter_t *emitter, bool begin) {
    yaml_event_t event;
    return emit(
        emitter,
        begin ? yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE)
              : yaml_mapping_end_event_initialize(&event),
        &event);
}

static bool emit_value(yaml_emitter_t *emitter, const hp_key_t *key, const hp_config_t *config) {
    char text[HP_KEY_TEXT];
    yaml_event_t event;
    bool list = key->type == HP_KEY_LAYERS, quoted = key->type == HP_KEY_STRING && !key->choices;
    if (list &&
        !emit(emitter,
              yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_FLOW_SEQUENCE_STYLE),
              &event))
        return false;
    for (int i = 0; i < hp_key_items(key, config); i++) {
        hp_key_format(key, config, i, text);
        if (!emit_scalar(emitter, text, strlen(text), quoted)) return false;
    }
    return !list || emit(emitter, yaml_sequence_end_event_initialize(&event), &event);
}

/* Sections that two paths share: "a.b.c" and "a.b.d" share 2. Returns the shared bytes in *length.
 */
static int shared_sections(const char *a, const char *b, size_t *length) {
    int shared = 0;
    *length = 0;
    for (size_t i = 0; a[i] != '\0' && a[i] == b[i]; i++)
        if (a[i] == '.') {
            shared++;
            *length = i + 1;
        }
    return shared;
}

static int sections_of(const char *path) {
    int n = 0;
    for (; *path != '\0'; path++) n += *path == '.';
    return n;
}

/* Keys of a section are neighbours in the table. */
static bool emit_keys(yaml_emitter_t *emitter, const hp_config_t *config) {
    const char *last = "";
    for (int i = 0; i < hp_keys_count; i++) {
        const char *path = hp_keys[i].path;
        size_t at;
        int shared = shared_sections(last, path, &at);
        for (int open = sections_of(last); open > shared; open--)
            if (!emit_section(emitter, false)) return false;
        for (const char *dot; (dot = strchr(path + at, '.')) != NULL; at = (size_t)(dot - path) + 1)
            if (!emit_scalar(emitter, path + at, (size_t)(dot - path) - at, false) ||
                !emit_section(emitter, true))
                return false;
        if (!emit_scalar(emitter, path + at, strlen(path + at), false) ||
            !emit_value(emitter, &hp_keys[i], config))
            return false;
        last = path;
    }
    for (int open = sections_of(last); open > 0; open--)
        if (!emit_section(emitter, false)) return false;
    return true;
}

static bool emit_document(yaml_emitter_t *emitter, const hp_config_t *config) {
    yaml_event_t event;
    return emit(emitter, yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING), &event) &&
           emit(emitter, yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1),
                &event) &&
           emit_section(emitter, true) && emit_keys(emitter, config) &&
           emit_section(emitter, false) &&
           emit(emitter, yaml_document_end_event_initialize(&event, 1), &event) &&
           emit(emitter, yaml_stream_end_event_initialize(&event), &event) &&
           yaml_emitter_flush(emitter);
}

hp_status_t hp_config_write(const hp_config_t *config, FILE *out, hp_error_t *err) {
    yaml_emitter_t emitter;
    if (!yaml_emitter_initialize(&emitter))
        return hp_fail(err, HP_MEMORY, "out of memory: writing the configuration");
    yaml_emitter_set_output_file(&emitter, out);
    yaml_emitter_set_unicode(&emitter, 1);
    yaml_emitter_set_width(&emitter, -1);
    bool ok = emit_document(&emitter, config);
    yaml_emitter_delete(&emitter);
    if (!ok || fflush(out) != 0 || ferror(out))
        return hp_fail_errno(err, HP_IO, "cannot write the configuration");
    return HP_OK;
}

void hp_config_text(const hp_config_t *config, const char *path, char *out, size_t bytes) {
    const hp_key_t *key = hp_key_find(path);
    char text[HP_KEY_TEXT] = "";
    if (key != NULL) hp_key_format(key, config, 0, text);
    snprintf(out, bytes, "%s", text);
}

/* `text` in lines of at most `width` columns, each after `indent` spaces. */
static void wrap(FILE *out, const char *text, int indent, size_t width) {
    while (*text != '\0') {
        size_t n = strlen(text);
        if (n > width)
            for (n = width; n > 1 && text[n] != ' ';) n--;
        fprintf(out, "%*s%.*s\n", indent, "", (int)n, text);
        text += n;
        text += *text == ' ';
    }
}

hp_status_t hp_config_document(FILE *out, hp_error_t *err) {
    fputs("Keys of a configuration file (YAML). A dot stands for a section: model.attention.cells "
          "is\n\n    model:\n      attention:\n        cells: 16\n\n"
          "'extends: FILE' reads another file first, relative to this one. '--set KEY=VALUE' comes "
          "last.\nKeys marked * can change when a run is resumed.\n",
          out);
    for (int i = 0; i < hp_keys_count; i++) {
        const hp_key_t *key = &hp_keys[i];
        char allowed[HP_KEY_TEXT];
        hp_key_allowed(key, allowed);
        fprintf(out, "\n%s%s: %s\n", key->path, key->resumable ? " *" : "", key->initial);
        wrap(out, key->doc, 4, 92);
        char line[HP_KEY_TEXT + 64];
        snprintf(line, sizeof line, "Allowed: %s%s%s.", allowed, key->unit ? "; unit: " : "",
                 key->unit ? key->unit : "");
        wrap(out, line, 4, 92);
    }
    if (fflush(out) != 0 || ferror(out)) return hp_fail_errno(err, HP_IO, "cannot write");
    return HP_OK;
}
