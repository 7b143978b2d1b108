#include "common/config.h"

#include "common/config_keys.h"
#include "common/memory.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <yaml.h>

enum { EXTENDS_MAX = 16, PATH_SIZE = 256, SHOWN = 80 };

/* A YAML document on its way into a configuration. */
typedef struct reader {
    const char *file;           /* for messages; NULL: the text of a --set */
    const char *real;           /* canonical path, to find loops */
    const struct reader *below; /* the file that extends this one */
    yaml_document_t document;
    hp_config_t *config;
    bool seen[256]; /* key i of the table was given by this document */
    /* And the sections that begin with key i: bit d, the one of d dots in its path. */
    unsigned char opened[256];
} reader_t;

void hp_config_default(hp_config_t *config) {
    memset(config, 0, sizeof *config); /* padding too: configurations are compared as bytes */
    for (int i = 0; i < hp_keys_count; i++) {
        const char *text = hp_keys[i].initial, *item[HP_CONFIG_LAYERS];
        char copy[HP_KEY_TEXT], *save = NULL;
        int count = 0;
        snprintf(copy, sizeof copy, "%s", text);
        if (hp_keys[i].type == HP_KEY_LAYERS)
            for (char *p = strtok_r(copy, "[, ]", &save); p != NULL && count < HP_CONFIG_LAYERS;
                 p = strtok_r(NULL, "[, ]", &save))
                item[count++] = p;
        else
            item[count++] = copy;
        bool ok = hp_key_parse(&hp_keys[i], config, count, item, false);
        (void)ok; /* a test holds that every default is allowed */
    }
}

/* One printable line of at most SHOWN bytes. */
static const char *shown(const char *text, char out[SHOWN + 4]) {
    size_t n = strlen(text), keep = n < SHOWN ? n : SHOWN;
    while (keep < n && keep > 0 && ((unsigned char)text[keep] & 0xc0) == 0x80) keep--;
    for (size_t i = 0; i < keep; i++)
        out[i] = (unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : text[i];
    memcpy(out + keep, keep < n ? "..." : "", keep < n ? 4 : 1);
    return out;
}

static hp_status_t fail_at(const reader_t *reader, const yaml_mark_t *mark, hp_error_t *err,
                           const char *fmt, ...) HP_PRINTF(4, 5);
static hp_status_t fail_at(const reader_t *reader, const yaml_mark_t *mark, hp_error_t *err,
                           const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (reader->file == NULL) return hp_fail(err, HP_INPUT, "--set %s", text);
    return hp_fail(err, HP_INPUT, "%s:%zu:%zu: %s", reader->file, mark->line + 1, mark->column + 1,
                   text);
}

static hp_status_t fail_unknown(const reader_t *reader, const yaml_node_t *node, const char *path,
                                hp_error_t *err) {
    char clean[SHOWN + 4], nearest[HP_KEY_TEXT];
    if (hp_key_nearest(path, nearest))
        return fail_at(reader, &node->start_mark, err, "%s: no such key; did you mean %s?",
                       shown(path, clean), nearest);
    return fail_at(reader, &node->start_mark, err,
                   "%s: no such key; 'hanps config --keys' lists them", shown(path, clean));
}

static hp_status_t fail_value(const reader_t *reader, const yaml_node_t *node, const hp_key_t *key,
                              const char *value, hp_error_t *err) {
    char allowed[HP_KEY_TEXT], clean[SHOWN + 4];
    hp_key_allowed(key, allowed);
    return fail_at(reader, &node->start_mark, err, "%s: %s is not allowed: %s", key->path,
                   value[0] == '\0' ? "an empty value" : shown(value, clean), allowed);
}

/* The first key of the section, or -1. */
static int find_section(const char *path) {
    size_t n = strlen(path);
    for (int i = 0; i < hp_keys_count; i++)
        if (strncmp(hp_keys[i].path, path, n) == 0 && hp_keys[i].path[n] == '.') return i;
    return -1;
}

static bool is_section(const char *path) { return path[0] == '\0' || find_section(path) >= 0; }

/* False: this document has opened it before. */
static bool open_section(reader_t *reader, const char *path) {
    unsigned char bit = 1;
    for (const char *c = path; *c != '\0'; c++)
        if (*c == '.') bit = (unsigned char)(bit << 1);
    unsigned char *opened = &reader->opened[find_section(path)];
    const bool first = (*opened & bit) == 0;
    *opened |= bit;
    return first;
}

static const char *scalar(const yaml_node_t *node) { return (const char *)node->data.scalar.value; }

static bool plain(const yaml_node_t *node) {
    return node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool has_nul(const yaml_node_t *node) {
    return strlen(scalar(node)) != node->data.scalar.length;
}

static hp_status_t read_list(reader_t *reader, const hp_key_t *key, const yaml_node_t *node,
                             hp_error_t *err) {
    const char *item[HP_CONFIG_LAYERS + 1];
    int count = 0;
    if (key->type != HP_KEY_LAYERS) return fail_value(reader, node, key, "a list", err);
    for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top;
         i++) {
        const yaml_node_t *child = yaml_document_get_node(&reader->document, *i);
        if (child->type != YAML_SCALAR_NODE || !plain(child) || has_nul(child))
            return fail_value(reader, child, key, "this item", err);
        if (count > HP_CONFIG_LAYERS - 1)
            return fail_value(reader, child, key, "a longer list", err);
        item[count] = scalar(child);
        if (!hp_key_parse(key, reader->config, 1, item + count, false))
            return fail_value(reader, child, key, item[count], err);
        count++;
    }
    return hp_key_parse(key, reader->config, count, item, false)
               ? HP_OK
               : fail_value(reader, node, key, "this list", err);
}

static hp_status_t read_key(reader_t *reader, const hp_key_t *key, const yaml_node_t *node,
                            hp_error_t *err) {
    int index = (int)(key - hp_keys);
    if (reader->seen[index])
        return fail_at(reader, &node->start_mark, err, "%s: given twice", key->path);
    reader->seen[index] = true;
    if (node->type == YAML_SEQUENCE_NODE) return read_list(reader, key, node, err);
    if (node->type != YAML_SCALAR_NODE) return fail_value(reader, node, key, "a section", err);
    const char *text = scalar(node);
    if (key->type == HP_KEY_LAYERS || has_nul(node))
        return fail_value(reader, node, key, text, err);
    if (!hp_key_parse(key, reader->config, 1, &text, !plain(node))) {
        char quoted[SHOWN + 8], clean[SHOWN + 4];
        snprintf(quoted, sizeof quoted, plain(node) ? "%s" : "\"%s\"", shown(text, clean));
        return fail_value(reader, node, key, quoted, err);
    }
    return HP_OK;
}

/* Take the node that stands at `path`: a section's keys in turn, or a value. `path` says which; the
 * depth of the recursion is the table's, since every path must lead to a key. */
static hp_status_t read_node(reader_t *reader, const yaml_node_t *node, const char *path,
                             hp_error_t *err) {
    const hp_key_t *key = hp_key_find(path);
    if (key != NULL) return read_key(reader, key, node, err);
    if (!is_section(path)) return fail_unknown(reader, node, path, err);
    if (node->type == YAML_SCALAR_NODE && plain(node) && scalar(node)[0] == '\0') return HP_OK;
    char clean[SHOWN + 4];
    if (node->type != YAML_MAPPING_NODE)
        return fail_at(reader, &node->start_mark, err, "%s: %s is not allowed: a section of keys",
                       path[0] ? path : "the whole file",
                       node->type == YAML_SCALAR_NODE ? shown(scalar(node), clean) : "a list");
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(&reader->document, pair->key);
        const yaml_node_t *value = yaml_document_get_node(&reader->document, pair->value);
        if (name->type != YAML_SCALAR_NODE || has_nul(name))
            return fail_at(reader, &name->start_mark, err, "a key must be a name");
        if (path[0] == '\0' && strcmp(scalar(name), "extends") == 0 && reader->file != NULL)
            continue; /* read before */
        char child[PATH_SIZE];
        int n = snprintf(child, sizeof child, "%s%s%s", path, path[0] ? "." : "", scalar(name));
        if (n >= (int)sizeof child || (hp_key_find(child) == NULL && !is_section(child)) ||
            scalar(name)[0] == '\0')
            return fail_unknown(reader, name, child, err);
        if (hp_key_find(child) == NULL && !open_section(reader, child))
            return fail_at(reader, &name->start_mark, err, "%s: given twice", child);
        HP_TRY(read_node(reader, value, child, err));
    }
    return HP_OK;
}

static hp_status_t fail_yaml(const reader_t *reader, const yaml_parser_t *parser, hp_error_t *err) {
    if (parser->error == YAML_MEMORY_ERROR)
        return hp_fail(err, HP_MEMORY, "out of memory: reading a configuration");
    const char *problem = parser->problem ? parser->problem : "this is no YAML";
    if (parser->error == YAML_READER_ERROR && reader->file != NULL)
        return hp_fail(err, HP_INPUT, "%s: byte %zu: %s", reader->file, parser->problem_offset,
                       problem);
    return fail_at(reader, &parser->problem_mark, err, "%s", problem);
}

static hp_status_t load_file(hp_config_t *config, const char *path, const reader_t *below,
                             int depth, hp_error_t *err);

/* Read the file that `extends` names, if any. */
static hp_status_t read_extends(reader_t *reader, const yaml_node_t *root, int depth,
                                hp_error_t *err) {
    if (root->type != YAML_MAPPING_NODE) return HP_OK;
    const yaml_node_t *value = NULL;
    for (yaml_node_pair_t *pair = root->data.mapping.pairs.start;
         pair < root->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(&reader->document, pair->key);
        if (name->type != YAML_SCALAR_NODE || strcmp(scalar(name), "extends") != 0) continue;
        if (value != NULL) return fail_at(reader, &name->start_mark, err, "extends: given twice");
        value = yaml_document_get_node(&reader->document, pair->value);
        if (value->type != YAML_SCALAR_NODE || scalar(value)[0] == '\0' || has_nul(value))
            return fail_at(reader, &value->start_mark, err,
                           "extends: not allowed: the name of one file");
    }
    if (value == NULL) return HP_OK;
    if (depth >= EXTENDS_MAX)
        return fail_at(reader, &value->start_mark, err, "extends: more than %d files deep",
                       EXTENDS_MAX);
    char path[PATH_MAX];
    const char *slash = strrchr(reader->file, '/');
    int folder = scalar(value)[0] == '/' || slash == NULL ? 0 : (int)(slash - reader->file) + 1;
    if (snprintf(path, sizeof path, "%.*s%s", folder, reader->file, scalar(value)) >=
        (int)sizeof path)
        return fail_at(reader, &value->start_mark, err, "extends: the path is too long");
    char real[PATH_MAX];
    if (realpath(path, real) == NULL) {
        char clean[SHOWN + 4];
        return fail_at(reader, &value->start_mark, err, "extends: %s: %s", shown(path, clean),
                       strerror(errno));
    }
    for (const reader_t *r = reader; r != NULL; r = r->below)
        if (strcmp(r->real, real) == 0)
            return fail_at(reader, &value->start_mark, err, "extends: %s is read already: a loop",
                           path);
    return load_file(reader->config, path, reader, depth + 1, err);
}

/* Take the one document of the parser's input. `prefix` is where it belongs. */
static hp_status_t read_document(reader_t *reader, yaml_parser_t *parser, const char *prefix,
                                 int depth, hp_error_t *err) {
    if (!yaml_parser_load(parser, &reader->document)) return fail_yaml(reader, parser, err);
    hp_status_t status = HP_OK;
    const yaml_node_t *root = yaml_document_get_root_node(&reader->document);
    if (root != NULL) {
        if (reader->file != NULL) status = read_extends(reader, root, depth, err);
        if (status == HP_OK) status = read_node(reader, root, prefix, err);
    } else if (reader->file == NULL) {
        status = fail_at(reader, NULL, err, "%s: no value", prefix);
    }
    yaml_document_delete(&reader->document);
    if (status != HP_OK || root == NULL) return status;
    if (!yaml_parser_load(parser, &reader->document)) return fail_yaml(reader, parser, err);
    const yaml_node_t *more = yaml_document_get_root_node(&reader->document);
    if (more != NULL)
        status = fail_at(reader, &more->start_mark, err, "a second document: one is allowed");
    yaml_document_delete(&reader->document);
    return status;
}

static hp_status_t load_file(hp_config_t *config, const char *path, const reader_t *below,
                             int depth, hp_error_t *err) {
    char real[PATH_MAX];
    struct stat info;
    if (realpath(path, real) == NULL || stat(real, &info) != 0)
        return hp_fail_errno(err, HP_INPUT, "%s", path);
    if (!S_ISREG(info.st_mode)) return hp_fail(err, HP_INPUT, "%s: no regular file", path);
    FILE *file = fopen(real, "rb");
    if (file == NULL) return hp_fail_errno(err, HP_INPUT, "%s", path);
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        fclose(file);
        return hp_fail(err, HP_MEMORY, "out of memory: reading %s", path);
    }
    yaml_parser_set_input_file(&parser, file);
    reader_t reader = {.file = path, .real = real, .below = below, .config = config};
    hp_status_t status = read_document(&reader, &parser, "", depth, err);
    yaml_parser_delete(&parser);
    fclose(file);
    return status;
}

hp_status_t hp_config_load(hp_config_t *config, const char *path, hp_error_t *err) {
    hp_config_t loaded;
    hp_config_default(&loaded);
    HP_TRY(load_file(&loaded, path, NULL, 0, err));
    memcpy(config, &loaded, sizeof loaded);
    return HP_OK;
}

hp_status_t hp_config_set(hp_config_t *config, const char *assignment, hp_error_t *err) {
    char path[PATH_SIZE];
    const char *equals = strchr(assignment, '=');
    char clean[SHOWN + 4];
    if (equals == NULL || equals == assignment || equals - assignment >= (ptrdiff_t)sizeof path)
        return hp_fail(err, HP_INPUT, "--set %s: not allowed: key.path=value",
                       shown(assignment, clean));
    snprintf(path, sizeof path, "%.*s", (int)(equals - assignment), assignment);
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return hp_fail(err, HP_MEMORY, "out of memory: reading --set");
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)equals + 1, strlen(equals + 1));
    hp_config_t changed;
    memcpy(&changed, config, sizeof changed);
    reader_t reader = {.config = &changed};
    hp_status_t status = read_document(&reader, &parser, path, 0, err);
    yaml_parser_delete(&parser);
    if (status == HP_OK) memcpy(config, &changed, sizeof changed);
    return status;
}

hp_status_t hp_config_check(const hp_config_t *config, hp_error_t *err) {
    if (config->run.steps == 0 && config->run.epochs <= 0)
        return hp_fail(err, HP_INPUT,
                       "run.steps and run.epochs are both 0: set one of them above 0");
    if (config->run.steps > 0 && config->run.epochs > 0)
        return hp_fail(err, HP_INPUT,
                       "run.epochs: %g is not allowed beside run.steps: %lld: set run.steps: 0 to "
                       "count in epochs",
                       config->run.epochs, (long long)config->run.steps);
    if (config->cluster.consistency == HP_SYNC && config->cluster.accumulate > 1)
        return hp_fail(
            err, HP_INPUT,
            "cluster.accumulate: %d is not allowed with cluster.consistency: sync, where "
            "cluster.sync_shards are the units of a step",
            config->cluster.accumulate);
    if (config->data.store[0] == '\0')
        return hp_fail(err, HP_INPUT, "data.store: an empty value is not allowed: a store's path");
    if (config->data.train[0] == '\0')
        return hp_fail(err, HP_INPUT, "data.train: an empty value is not allowed: a split's name");
    if ((config->data.augment.pad > 0 || config->data.augment.rotate > 0) &&
        strcmp(config->model.image.trunk, "cnn") != 0)
        return hp_fail(err, HP_INPUT,
                       "data.augment: not allowed with model.image.trunk: %s: only "
                       "pixels, of trunk cnn, can be cropped and rotated",
                       config->model.image.trunk);
    if (config->valid.every_steps > 0 && config->data.valid[0] == '\0')
        return hp_fail(err, HP_INPUT,
                       "valid.every_steps: %lld needs data.valid: the split to evaluate on",
                       (long long)config->valid.every_steps);
    if (config->valid.patience > 0 && config->valid.every_steps == 0)
        return hp_fail(err, HP_INPUT, "valid.patience: %d needs valid.every_steps above 0",
                       config->valid.patience);
    return HP_OK;
}

int hp_config_step_units(const hp_config_t *config) {
    return config->cluster.consistency == HP_SYNC ? config->cluster.sync_shards
                                                  : config->cluster.accumulate;
}

hp_status_t hp_config_resumable(const hp_config_t *old, const hp_config_t *wanted,
                                hp_error_t *err) {
    /* What is cut off the training split changes what is trained on. */
    bool cuts = strchr(old->data.valid, ':') != NULL || strchr(wanted->data.valid, ':') != NULL;
    if (cuts && strcmp(old->data.valid, wanted->data.valid) != 0)
        return hp_fail(err, HP_INPUT,
                       "data.valid cannot change from \"%s\" to \"%s\" when a run is resumed: it "
                       "says what is trained on",
                       old->data.valid, wanted->data.valid);
    for (int i = 0; i < hp_keys_count; i++) {
        const hp_key_t *key = &hp_keys[i];
        if (key->resumable || memcmp((const char *)old + key->offset,
                                     (const char *)wanted + key->offset, key->size) == 0)
            continue;
        return hp_fail(err, HP_INPUT,
                       "%s cannot change when a run is resumed; 'hanps config --keys' marks with * "
                       "those that can",
                       key->path);
    }
    return HP_OK;
}
