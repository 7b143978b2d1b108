#include "worker/results.h"

#include "common/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yajl/yajl_parse.h>

enum { CHUNK = 1 << 18, MAX_TEXT = 1 << 20, MAX_DEPTH = 64 };
/* Depths in the file. */
enum { TOP, LIST, RECORD };

typedef enum { KEY_OTHER, KEY_ID, KEY_ANSWER } results_key_t;

typedef struct {
    wk_results_t *results;
    hp_error_t *err;
    hp_status_t status;
    int depth;
    results_key_t key;
    bool has_id, has_answer;
    uint64_t records;
    wk_result_answer_t now;
} parser_t;

static int HP_PRINTF(2, 3) stop(parser_t *p, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (p->depth >= RECORD && p->has_id)
        p->status = hp_fail(p->err, HP_INPUT, "record %" PRIu64 " (question_id %" PRId64 "): %s",
                            p->records + 1, p->now.question_id, text);
    else if (p->depth >= LIST)
        p->status = hp_fail(p->err, HP_INPUT, "record %" PRIu64 ": %s", p->records + 1, text);
    else
        p->status = hp_fail(p->err, HP_INPUT, "%s", text);
    return 0;
}

static int add(parser_t *p) {
    wk_results_t *r = p->results;
    if (!p->has_id || !p->has_answer)
        return stop(p, "\"%s\" is missing", p->has_id ? "answer" : "question_id");
    if (r->answers == r->capacity) {
        size_t more = r->capacity > 0 ? 2 * r->capacity : 4096;
        void *grown = NULL;
        p->status = hp_allocate(&grown, more, sizeof *r->answer, "answers", p->err);
        if (p->status != HP_OK) return 0;
        if (r->answers > 0) memcpy(grown, r->answer, r->answers * sizeof *r->answer);
        hp_free(r->answer);
        r->answer = grown;
        r->capacity = more;
    }
    r->answer[r->answers++] = p->now;
    p->records++;
    return 1;
}

static int scalar(parser_t *p, const char *what) {
    if (p->depth == TOP) return stop(p, "%s, expected a list of answers", what);
    if (p->depth == LIST) return stop(p, "%s, expected an object", what);
    if (p->depth > RECORD || p->key == KEY_OTHER) return 1;
    return stop(p, "\"%s\" is %s, expected %s", p->key == KEY_ID ? "question_id" : "answer", what,
                p->key == KEY_ID ? "a whole number" : "a string");
}

static int on_null(void *context) { return scalar(context, "null"); }
static int on_boolean(void *context, int value) {
    (void)value;
    return scalar(context, "true or false");
}
static int on_double(void *context, double value) {
    (void)value;
    return scalar(context, "a number with a fraction");
}

static int on_integer(void *context, long long value) {
    parser_t *p = context;
    if (p->depth != RECORD || p->key != KEY_ID) return scalar(p, "a number");
    p->now.question_id = value;
    p->has_id = true;
    return 1;
}

static int on_string(void *context, const unsigned char *text, size_t bytes) {
    parser_t *p = context;
    if (p->depth != RECORD || p->key != KEY_ANSWER) return scalar(p, "a string");
    if (bytes > MAX_TEXT || memchr(text, 0, bytes) != NULL)
        return stop(p, "\"answer\" has NUL, or more than %d bytes", MAX_TEXT);
    p->status =
        wk_strings_add(&p->results->strings, (const char *)text, bytes, &p->now.answer, p->err);
    p->has_answer = true;
    return p->status == HP_OK;
}

static int on_key(void *context, const unsigned char *text, size_t bytes) {
    parser_t *p = context;
    p->key = KEY_OTHER;
    if (p->depth != RECORD) return 1;
    if (bytes == 11 && memcmp(text, "question_id", 11) == 0) p->key = KEY_ID;
    if (bytes == 6 && memcmp(text, "answer", 6) == 0) p->key = KEY_ANSWER;
    return 1;
}

static int on_open(parser_t *p, bool list) {
    if (p->depth == TOP && !list) return stop(p, "an object, expected a list of answers");
    if (p->depth == LIST && list) return stop(p, "a list, expected an object");
    if (p->depth == RECORD && p->key != KEY_OTHER) return scalar(p, list ? "a list" : "an object");
    if (p->depth == MAX_DEPTH) return stop(p, "more than %d levels of nesting", MAX_DEPTH);
    p->depth++;
    if (p->depth == RECORD) p->has_id = p->has_answer = false, p->now = (wk_result_answer_t){0};
    return 1;
}

static int on_map(void *context) { return on_open(context, false); }
static int on_array(void *context) { return on_open(context, true); }

static int on_close(void *context) {
    parser_t *p = context;
    if (p->depth == RECORD && !add(p)) return 0;
    p->depth--;
    p->key = KEY_OTHER;
    return 1;
}

static hp_status_t parse_fd(parser_t *p, yajl_handle handle, int fd, const char *path,
                            unsigned char *buffer) {
    uint64_t line = 1;
    for (ssize_t n = 1; n > 0;) {
        n = read(fd, buffer, CHUNK);
        if (n < 0 && errno == EINTR) {
            n = 1;
            continue;
        }
        if (n < 0) return hp_fail_errno(p->err, HP_INPUT, "%s", path);
        yajl_status status =
            n > 0 ? yajl_parse(handle, buffer, (size_t)n) : yajl_complete_parse(handle);
        size_t used = status == yajl_status_ok ? (size_t)n : yajl_get_bytes_consumed(handle);
        for (size_t i = 0; i < used && i < (size_t)n; i++) line += buffer[i] == '\n';
        if (status == yajl_status_client_canceled)
            return p->status == HP_MEMORY ? p->status
                                          : hp_fail_prefix(p->err, "%s, line %" PRIu64, path, line);
        if (status == yajl_status_ok) continue;
        unsigned char *why = yajl_get_error(handle, 0, NULL, 0);
        hp_fail(p->err, HP_INPUT, "%s, line %" PRIu64 ": record %" PRIu64 ": not JSON: %.*s", path,
                line, p->records + 1, why != NULL ? (int)strcspn((const char *)why, "\n") : 0,
                why != NULL ? (const char *)why : "");
        if (why != NULL) yajl_free_error(handle, why);
        return HP_INPUT;
    }
    return HP_OK;
}

static int by_id(const void *a, const void *b) {
    const wk_result_answer_t *x = a, *y = b;
    return (x->question_id > y->question_id) - (x->question_id < y->question_id);
}

static hp_status_t sort(wk_results_t *r, const char *path, hp_error_t *err) {
    if (r->answers == 0) return HP_OK;
    qsort(r->answer, r->answers, sizeof *r->answer, by_id);
    for (uint64_t i = 1; i < r->answers; i++)
        if (r->answer[i].question_id == r->answer[i - 1].question_id)
            return hp_fail(err, HP_INPUT, "%s: question_id %" PRId64 " is there twice", path,
                           r->answer[i].question_id);
    return HP_OK;
}

hp_status_t wk_results_read(const char *path, wk_results_t *results, hp_error_t *err) {
    static const yajl_callbacks callbacks = {
        on_null, on_boolean, on_integer, on_double, NULL,     on_string,
        on_map,  on_key,     on_close,   on_array,  on_close,
    };
    hp_error_t local = {0};
    parser_t p = {.results = results, .err = err != NULL ? err : &local};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
    void *buffer = NULL;
    hp_status_t status = hp_allocate(&buffer, CHUNK, 1, "a buffer", err);
    yajl_handle handle = status == HP_OK ? yajl_alloc(&callbacks, NULL, &p) : NULL;
    if (status == HP_OK && handle == NULL) status = hp_fail(err, HP_MEMORY, "out of memory");
    if (status == HP_OK) status = parse_fd(&p, handle, fd, path, buffer);
    if (handle != NULL) yajl_free(handle);
    hp_free(buffer);
    close(fd);
    return status == HP_OK ? sort(results, path, err) : status;
}

wk_result_answer_t *wk_results_find(const wk_results_t *results, int64_t question_id) {
    const wk_result_answer_t key = {.question_id = question_id};
    if (results->answers == 0) return NULL;
    return bsearch(&key, results->answer, results->answers, sizeof key, by_id);
}

void wk_results_release(wk_results_t *results) {
    wk_strings_release(&results->strings);
    hp_free(results->answer);
    *results = (wk_results_t){0};
}
