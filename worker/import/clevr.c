#include "worker/import/clevr.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <yajl/yajl_parse.h>

enum { PATH = WK_CLEVR_PATH, CHUNK = 1 << 16, TEXT = 1024, NAME = 256 };

/* Depths in the file: 1 the object, 2 the list of questions, 3 a question, 4 its program, 5 a step.
 */
enum { TOP = 1, LIST, QUESTION, PROGRAM, STEP };

typedef enum {
    KEY_OTHER,
    KEY_QUESTIONS,
    KEY_INDEX,
    KEY_FILE,
    KEY_QUESTION,
    KEY_ANSWER,
    KEY_PROGRAM,
    KEY_FUNCTION
} clevr_key_t;

typedef struct {
    const wk_clevr_taker_t *taker;
    const char *folder, *name;
    hp_error_t *err;
    hp_status_t status;
    int depth;
    bool listed, in_list;
    clevr_key_t key, question_key; /* of the innermost object; of the question */
    uint64_t records;
    int64_t index; /* -1: none */
    char question[TEXT], file[NAME], answer[NAME], function[NAME];
    bool answered;
} parser_t;

const char *wk_clevr_type(const char *function) {
    static const char *const table[][2] = {
        {"count", "count"},
        {"exist", "exist"},
        {"equal_integer", "compare integer"},
        {"less_than", "compare integer"},
        {"greater_than", "compare integer"},
        {"query_size", "query attribute"},
        {"query_color", "query attribute"},
        {"query_material", "query attribute"},
        {"query_shape", "query attribute"},
        {"equal_size", "compare attribute"},
        {"equal_color", "compare attribute"},
        {"equal_material", "compare attribute"},
        {"equal_shape", "compare attribute"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(function, table[i][0]) == 0) return table[i][1];
    return "";
}

static int fail(parser_t *p, const char *what) {
    p->status = hp_fail(p->err, HP_INPUT, "question %" PRIu64 ": %s", p->records + 1, what);
    return 0;
}

static int end_question(parser_t *p) {
    char path[PATH];
    if (p->question[0] == '\0' || p->file[0] == '\0')
        return fail(p, "'question' and 'image_filename' are needed, as strings");
    if (strchr(p->file, '/') != NULL) return fail(p, "'image_filename' has a '/'");
    int n = snprintf(path, sizeof path, "%s/images/%s/%s", p->folder, p->name, p->file);
    if (n < 0 || n >= PATH) return fail(p, "the image's path is too long");
    const wk_pixel_record_t record = {.id = p->index >= 0 ? p->index : (int64_t)p->records,
                                      .image = p->file,
                                      .path = path,
                                      .text = p->question,
                                      .question_type = p->function,
                                      .answer_type = wk_clevr_type(p->function),
                                      .answer = p->answered ? p->answer : NULL};
    p->status = p->taker->add(p->taker->context, &record, p->err);
    if (p->status != HP_OK) {
        hp_fail_prefix(p->err, "question %" PRIu64, p->records + 1);
        return 0;
    }
    p->records++;
    return 1;
}

static int on_start_map(void *context) {
    parser_t *p = context;
    p->depth++;
    p->key = KEY_OTHER;
    if (p->in_list && p->depth == QUESTION) {
        p->index = -1;
        p->question[0] = p->file[0] = p->answer[0] = p->function[0] = '\0';
        p->answered = false;
        p->question_key = KEY_OTHER;
    }
    return 1;
}

static int on_end_map(void *context) {
    parser_t *p = context;
    int ok = p->in_list && p->depth == QUESTION ? end_question(p) : 1;
    p->depth--;
    p->key = KEY_OTHER;
    return ok;
}

static int on_start_array(void *context) {
    parser_t *p = context;
    if (++p->depth == LIST && p->key == KEY_QUESTIONS) p->in_list = p->listed = true;
    return 1;
}

static int on_end_array(void *context) {
    parser_t *p = context;
    if (p->depth-- == LIST) p->in_list = false;
    p->key = KEY_OTHER;
    return 1;
}

static bool is(const unsigned char *text, size_t bytes, const char *word) {
    return bytes == strlen(word) && memcmp(text, word, bytes) == 0;
}

static int on_key(void *context, const unsigned char *text, size_t bytes) {
    static const struct {
        const char *name;
        clevr_key_t key;
    } known[] = {{"question_index", KEY_INDEX},
                 {"image_filename", KEY_FILE},
                 {"question", KEY_QUESTION},
                 {"answer", KEY_ANSWER},
                 {"program", KEY_PROGRAM}};
    parser_t *p = context;
    p->key = KEY_OTHER;
    if (p->depth == TOP && is(text, bytes, "questions")) p->key = KEY_QUESTIONS;
    if (!p->in_list) return 1;
    if (p->depth == QUESTION) {
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (is(text, bytes, known[i].name)) p->key = known[i].key;
        p->question_key = p->key;
    }
    if (p->depth == STEP && p->question_key == KEY_PROGRAM &&
        (is(text, bytes, "function") || is(text, bytes, "type")))
        p->key = KEY_FUNCTION;
    return 1;
}

static int take(parser_t *p, char *out, size_t room, const unsigned char *text, size_t bytes) {
    if (bytes >= room) return fail(p, "a string is too long");
    memcpy(out, text, bytes);
    out[bytes] = '\0';
    if (strlen(out) != bytes) return fail(p, "a string has a NUL character");
    return 1;
}

static int on_string(void *context, const unsigned char *text, size_t bytes) {
    parser_t *p = context;
    if (!p->in_list) return 1;
    if (p->depth == STEP && p->key == KEY_FUNCTION) /* the last one stays */
        return take(p, p->function, NAME, text, bytes);
    if (p->depth != QUESTION) return 1;
    switch (p->key) {
    case KEY_FILE:
        return take(p, p->file, NAME, text, bytes);
    case KEY_QUESTION:
        return take(p, p->question, TEXT, text, bytes);
    case KEY_ANSWER:
        p->answered = true;
        return take(p, p->answer, NAME, text, bytes);
    default:
        return 1;
    }
}

static int on_integer(void *context, long long value) {
    parser_t *p = context;
    if (p->in_list && p->depth == QUESTION && p->key == KEY_INDEX) p->index = value;
    return 1;
}

static hp_status_t parse(parser_t *p, yajl_handle json, FILE *file) {
    unsigned char chunk[CHUNK];
    size_t n;
    yajl_status state = yajl_status_ok;
    while (state == yajl_status_ok && (n = fread(chunk, 1, sizeof chunk, file)) > 0)
        state = yajl_parse(json, chunk, n);
    if (ferror(file)) return hp_fail_errno(p->err, HP_IO, "reading");
    if (state == yajl_status_ok) state = yajl_complete_parse(json);
    if (state == yajl_status_ok) return HP_OK;
    if (state == yajl_status_client_canceled) return p->status;
    unsigned char *why = yajl_get_error(json, 0, NULL, 0);
    hp_fail(p->err, HP_INPUT, "question %" PRIu64 ": %s", p->records + 1, (const char *)why);
    yajl_free_error(json, why);
    p->err->text[strcspn(p->err->text, "\n")] = '\0';
    return HP_INPUT;
}

static hp_status_t read_file(parser_t *p, const char *path, hp_error_t *err) {
    static const yajl_callbacks callbacks = {.yajl_integer = on_integer,
                                             .yajl_string = on_string,
                                             .yajl_start_map = on_start_map,
                                             .yajl_map_key = on_key,
                                             .yajl_end_map = on_end_map,
                                             .yajl_start_array = on_start_array,
                                             .yajl_end_array = on_end_array};
    FILE *file = fopen(path, "rb");
    if (file == NULL) return hp_fail_errno(err, HP_INPUT, "%s", path);
    yajl_handle json = yajl_alloc(&callbacks, NULL, p);
    hp_status_t status =
        json != NULL ? parse(p, json, file) : hp_fail(err, HP_MEMORY, "out of memory: the parser");
    if (json != NULL) yajl_free(json);
    fclose(file);
    if (status == HP_OK && p->records == 0)
        status =
            hp_fail(err, HP_INPUT, "%s",
                    p->listed ? "the list 'questions' is empty" : "there is no list 'questions'");
    return status == HP_OK ? HP_OK : hp_fail_prefix(err, "%s", path);
}

const char *wk_clevr_split(int split) {
    static const char *const name[WK_CLEVR_SPLITS] = {"train", "val", "test"};
    return name[split];
}

hp_status_t wk_clevr_path(const char *folder, int split, char path[WK_CLEVR_PATH],
                          hp_error_t *err) {
    int n =
        snprintf(path, PATH, "%s/questions/CLEVR_%s_questions.json", folder, wk_clevr_split(split));
    return n >= 0 && n < PATH ? HP_OK : hp_fail(err, HP_INPUT, "the path is too long");
}

hp_status_t wk_clevr_read_to(const char *folder, const wk_clevr_taker_t *taker, hp_error_t *err) {
    for (int i = 0; i < WK_CLEVR_SPLITS; i++) {
        char path[PATH];
        hp_error_t local = {0};
        parser_t p = {.taker = taker,
                      .folder = folder,
                      .name = wk_clevr_split(i),
                      .err = err != NULL ? err : &local};
        HP_TRY(wk_clevr_path(folder, i, path, err));
        if (i > 0 && access(path, F_OK) != 0) continue;
        HP_TRY(taker->begin(taker->context, p.name, path, p.err));
        HP_TRY(read_file(&p, path, p.err));
    }
    return HP_OK;
}

typedef struct {
    wk_pixel_set_t *set;
    int split;
} into_t;

static hp_status_t begin_pixels(void *context, const char *split, const char *path,
                                hp_error_t *err) {
    into_t *into = context;
    HP_TRY(wk_pixels_split(into->set, split, &into->split, err));
    return wk_pixels_source(into->set, path, err);
}

static hp_status_t add_pixels(void *context, const wk_pixel_record_t *question, hp_error_t *err) {
    into_t *into = context;
    return wk_pixels_add(into->set, into->split, question, err);
}

hp_status_t wk_clevr_read(const char *folder, wk_pixel_set_t *set, hp_error_t *err) {
    into_t into = {.set = set};
    const wk_clevr_taker_t taker = {&into, begin_pixels, add_pixels};
    return wk_clevr_read_to(folder, &taker, err);
}
