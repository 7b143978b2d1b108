#include "worker/import/nlvr.h"

#include "worker/import/json_lines.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

enum { PATH = 4096, DIRECTORIES = 100000, DEPTH = 32 };

/* A line of the JSON; strings belong to `tree`. */
typedef struct {
    yajl_val tree;
    const char *sentence, *identifier, *directory, *label; /* label: NULL where there is none */
} line_t;

static const char *get(yajl_val tree, const char *key) {
    yajl_val value = yajl_tree_get(tree, (const char *[]){key, NULL}, yajl_t_string);
    return value != NULL ? YAJL_GET_STRING(value) : NULL;
}

static hp_status_t parse_line(const char *text, size_t bytes, line_t *line, hp_error_t *err) {
    char why[256] = "";
    if (strlen(text) != bytes || strstr(text, "\\u0000") != NULL)
        return hp_fail(err, HP_INPUT, "contains NUL");
    if (!wk_json_is_flat(text, DEPTH))
        return hp_fail(err, HP_INPUT, "more than %d levels of nesting", DEPTH);
    *line = (line_t){.tree = yajl_tree_parse(text, why, sizeof why)};
    why[strcspn(why, "\n")] = '\0';
    if (!YAJL_IS_OBJECT(line->tree))
        return hp_fail(err, HP_INPUT, "not a JSON object%s%s", why[0] != '\0' ? ": " : "", why);
    line->sentence = get(line->tree, "sentence");
    line->identifier = get(line->tree, "identifier");
    line->directory = get(line->tree, "directory");
    line->label = get(line->tree, "label");
    if (line->sentence == NULL || line->identifier == NULL)
        return hp_fail(err, HP_INPUT, "'sentence' and 'identifier' are needed, as strings");
    if (line->label != NULL && strcmp(line->label, "true") != 0 &&
        strcmp(line->label, "false") != 0)
        return hp_fail(err, HP_INPUT, "label '%.40s': true or false is allowed", line->label);
    if (line->directory != NULL &&
        (strchr(line->directory, '/') != NULL || strcmp(line->directory, "..") == 0))
        return hp_fail(err, HP_INPUT, "directory '%.40s': a folder's name is needed",
                       line->directory);
    return HP_OK;
}

/* "1304-2": sentence and image of it. */
static bool parse_identifier(const char *text, int64_t *id_p) {
    int major, minor, end = 0;
    if (sscanf(text, "%9d-%9d%n", &major, &minor, &end) != 2 || text[end] != '\0' || major < 0 ||
        minor < 0 || minor > 99)
        return false;
    *id_p = (int64_t)major * WK_NLVR_IDS + minor * 10;
    return true;
}

static bool parse_directory(const char *text, int *number_p) {
    char *end = NULL;
    long value = text != NULL ? strtol(text, &end, 10) : -1;
    if (value < 0 || end == text || *end != '\0' || value >= DIRECTORIES) return false;
    *number_p = (int)value;
    return true;
}

static hp_status_t add_line(const wk_nlvr_options_t *options, wk_pixel_set_t *set, const char *name,
                            int split, const line_t *line, hp_error_t *err) {
    int64_t id;
    if (!parse_identifier(line->identifier, &id))
        return hp_fail(err, HP_INPUT, "identifier '%.40s': two numbers are needed, as in 1304-2",
                       line->identifier);
    for (int p = 0; p < options->permutations; p++) {
        char image[128], path[PATH];
        snprintf(image, sizeof image, "%s-%s-%d", name, line->identifier, p);
        int n = snprintf(path, sizeof path, "%s/%s/images/%s%s%s.png", options->folder, name,
                         line->directory != NULL ? line->directory : "",
                         line->directory != NULL ? "/" : "", image);
        if (n < 0 || n >= PATH) return hp_fail(err, HP_INPUT, "the path is too long");
        const wk_pixel_record_t record = {.id = id + p,
                                          .image = image,
                                          .path = path,
                                          .text = line->sentence,
                                          .question_type = WK_NLVR_QUESTION_TYPE,
                                          .answer_type = WK_NLVR_ANSWER_TYPE,
                                          .answer = line->label};
        HP_TRY(wk_pixels_add(set, split, &record, err));
    }
    return HP_OK;
}

typedef struct {
    const wk_nlvr_options_t *options;
    wk_pixel_set_t *set;
    const char *name;   /* of the official split */
    int first_valid;    /* directories from here on are held out; -1: none are */
    int split, valid;   /* of the set; valid: -1 until needed */
    int last_directory; /* the highest number seen */
} reader_t;

static hp_status_t take_line(reader_t *r, const line_t *line, bool counting, hp_error_t *err) {
    int directory = -1;
    bool numbered = parse_directory(line->directory, &directory);
    if (r->options->valid_directories > 0 && strcmp(r->name, "train") == 0 && !numbered)
        return hp_fail(err, HP_INPUT, "'directory' must be a number to hold out whole directories");
    if (directory > r->last_directory) r->last_directory = directory;
    if (counting) return HP_OK;
    bool held = r->first_valid >= 0 && directory >= r->first_valid;
    return add_line(r->options, r->set, r->name, held ? r->valid : r->split, line, err);
}

static hp_status_t read_lines(reader_t *r, const char *path, bool counting, hp_error_t *err) {
    FILE *file = fopen(path, "r");
    if (file == NULL) return hp_fail_errno(err, HP_INPUT, "%s", path);
    char *text = NULL;
    size_t room = 0;
    uint64_t number = 0;
    hp_status_t status = HP_OK;
    for (ssize_t n; status == HP_OK && (n = getline(&text, &room, file)) > 0;) {
        line_t line = {0};
        number++;
        if (strspn(text, " \t\r\n") == (size_t)n) continue;
        status = parse_line(text, (size_t)n, &line, err);
        if (status == HP_OK) status = take_line(r, &line, counting, err);
        yajl_tree_free(line.tree);
    }
    free(text);
    fclose(file);
    if (status != HP_OK)
        hp_fail_prefix(err, "%s, line %" PRIu64, path, number);
    else if (number == 0)
        status = hp_fail(err, HP_INPUT, "%s is empty", path);
    return status;
}

static hp_status_t read_split(const wk_nlvr_options_t *options, wk_pixel_set_t *set,
                              const char *name, hp_error_t *err) {
    char path[PATH];
    bool train = strcmp(name, "train") == 0;
    reader_t r = {options, set, name, -1, -1, -1, -1};
    int n = snprintf(path, sizeof path, "%s/%s/%s.json", options->folder, name, name);
    if (n < 0 || n >= PATH) return hp_fail(err, HP_INPUT, "the path is too long");
    if (!train && access(path, F_OK) != 0) return HP_OK;
    HP_TRY(wk_pixels_split(set, name, &r.split, err));
    if (train && options->valid_directories > 0) {
        HP_TRY(read_lines(&r, path, true, err));
        r.first_valid = r.last_directory + 1 - options->valid_directories;
        if (r.first_valid < 1)
            return hp_fail(err, HP_INPUT, "%s: %d directories cannot be held out of %d", path,
                           options->valid_directories, r.last_directory + 1);
        HP_TRY(wk_pixels_split(set, "valid", &r.valid, err));
    }
    HP_TRY(read_lines(&r, path, false, err));
    return wk_pixels_source(set, path, err);
}

hp_status_t wk_nlvr_read(const wk_nlvr_options_t *options, wk_pixel_set_t *set, hp_error_t *err) {
    static const char *const name[] = {"train", "dev", "test"};
    for (int i = 0; i < 3; i++) HP_TRY(read_split(options, set, name[i], err));
    return HP_OK;
}
