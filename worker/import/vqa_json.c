#include "worker/import/vqa_json.h"

#include "common/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <yajl/yajl_parse.h>

enum { CHUNK = 1 << 18, MAX_DEPTH = 64, MAX_ANSWERS = 100000, MAX_TEXT = 1 << 20 };

typedef enum {
    KEY_OTHER,
    KEY_LIST, /* "questions" or "annotations" of the outer object */
    KEY_QUESTION_ID,
    KEY_IMAGE_ID,
    KEY_QUESTION,
    KEY_QUESTION_TYPE,
    KEY_ANSWER_TYPE,
    KEY_TARGET,
    KEY_ANSWERS,
    KEY_ANSWER,
    KEY_ANSWER_ID,
    KEY_CONFIDENCE
} key_t_;

/* Where the parser is. OUTER: in the outer object. LIST: between records. */
typedef enum { AT_START, AT_OUTER, AT_LIST, AT_RECORD, AT_ANSWERS, AT_ANSWER, AT_END } place_t;

typedef struct {
    wk_vqa_set_t *set;
    const char *path;
    bool annotations;
    hp_error_t *err;
    hp_status_t status; /* what a callback ended the parser with */
    place_t place;
    int skip; /* depth within a value that nobody wants */
    bool listed;
    key_t_ key;
    uint64_t records;
    unsigned have; /* bits of the keys seen in the record */
    wk_vqa_question_t now;
    wk_vqa_answer_t answer;
    bool answer_text;
} parser_t;

static const char *list_name(const parser_t *p) {
    return p->annotations ? "annotations" : "questions";
}

/* Ends the parse: 0 is yajl's "stop". The place is put before the text by the caller of yajl. */
static int HP_PRINTF(2, 3) stop(parser_t *p, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (p->place >= AT_RECORD && p->place <= AT_ANSWER && p->have & 1u << KEY_QUESTION_ID)
        p->status =
            hp_fail(p->err, HP_INPUT, "record %llu (question_id %lld): %s",
                    (unsigned long long)p->records + 1, (long long)p->now.question_id, text);
    else if (p->place >= AT_LIST && p->place <= AT_ANSWER)
        p->status =
            hp_fail(p->err, HP_INPUT, "record %llu: %s", (unsigned long long)p->records + 1, text);
    else
        p->status = hp_fail(p->err, HP_INPUT, "%s", text);
    return 0;
}

static int library(parser_t *p, hp_status_t status) { /* a failure already described */
    p->status = status;
    return status == HP_OK;
}

/* ---- the set ------------------------------------------------------------------------------- */

static hp_status_t grow(void **array, size_t *capacity, size_t need, size_t size, hp_error_t *err) {
    if (need <= *capacity) return HP_OK;
    size_t n = *capacity * 2 > need ? *capacity * 2 : need + 1024;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, n, size, "questions", err));
    if (*array != NULL) memcpy(p, *array, *capacity * size);
    hp_free(*array);
    *array = p;
    *capacity = n;
    return HP_OK;
}

static size_t slot_of(const wk_vqa_set_t *set, int64_t id) {
    uint64_t hash = (uint64_t)id * 0x9e3779b97f4a7c15u;
    size_t at = (hash ^ hash >> 32) & (set->table_size - 1);
    while (set->table[at] != 0 && set->question[set->table[at] - 1].question_id != id)
        at = (at + 1) & (set->table_size - 1);
    return at;
}

int64_t wk_vqa_find(const wk_vqa_set_t *set, int64_t id) {
    return set->table_size == 0 ? -1 : (int64_t)set->table[slot_of(set, id)] - 1;
}

static hp_status_t widen(wk_vqa_set_t *set, hp_error_t *err) {
    wk_vqa_set_t wider = *set;
    void *p = NULL;
    wider.table_size = set->table_size ? set->table_size * 2 : 4096;
    HP_TRY(hp_allocate(&p, wider.table_size, sizeof *wider.table, "questions", err));
    wider.table = p;
    for (uint64_t i = 0; i < set->questions; i++)
        wider.table[slot_of(&wider, set->question[i].question_id)] = (uint32_t)i + 1;
    hp_free(set->table);
    *set = wider;
    return HP_OK;
}

hp_status_t wk_vqa_add_question(wk_vqa_set_t *set, const wk_vqa_question_t *q, hp_error_t *err) {
    void *array = set->question;
    if (set->questions >= UINT32_MAX - 1) return hp_fail(err, HP_INPUT, "too many questions");
    HP_TRY(grow(&array, &set->question_capacity, set->questions + 1, sizeof *q, err));
    set->question = array;
    if ((set->questions + 1) * 2 > set->table_size) HP_TRY(widen(set, err));
    set->question[set->questions] = *q;
    set->table[slot_of(set, q->question_id)] = (uint32_t)set->questions + 1;
    set->questions++;
    return HP_OK;
}

void wk_vqa_question(const wk_vqa_set_t *set, const wk_vqa_question_t *q, hp_answer_t *human,
                     hp_question_t *out) {
    const wk_strings_t *strings = set->strings;
    for (uint32_t a = 0; a < q->answers; a++) {
        const wk_vqa_answer_t *from = &set->answer[q->first_answer + a];
        human[a] =
            (hp_answer_t){wk_strings_get(strings, from->text), from->answer_id, from->confidence};
    }
    *out = (hp_question_t){.question_id = q->question_id,
                           .text = wk_strings_get(strings, q->text),
                           .question_type = wk_strings_get(strings, q->question_type),
                           .answer_type = wk_strings_get(strings, q->answer_type),
                           .target = wk_strings_get(strings, q->target),
                           .label = -1,
                           .answers = (int)q->answers,
                           .answer = human};
}

void wk_vqa_release(wk_vqa_set_t *set) {
    hp_free(set->question);
    hp_free(set->answer);
    hp_free(set->table);
    *set = (wk_vqa_set_t){0};
}

/* ---- records ------------------------------------------------------------------------------- */

static int need(parser_t *p, key_t_ key, const char *name) {
    return p->have & 1u << key ? 1 : stop(p, "\"%s\" is missing", name);
}

static int end_question(parser_t *p) {
    if (!need(p, KEY_QUESTION_ID, "question_id") || !need(p, KEY_IMAGE_ID, "image_id") ||
        !need(p, KEY_QUESTION, "question"))
        return 0;
    int64_t twin = wk_vqa_find(p->set, p->now.question_id);
    if (twin >= 0) {
        const wk_vqa_question_t *q = &p->set->question[twin];
        return stop(p,
                    "the question_id is there twice (first in record %u of file %u of the split)",
                    q->record, q->file + 1);
    }
    p->now.file = p->set->files;
    p->now.record = (uint32_t)p->records + 1;
    return library(p, wk_vqa_add_question(p->set, &p->now, p->err));
}

hp_status_t wk_vqa_add_answer(wk_vqa_set_t *set, const wk_vqa_answer_t *answer, hp_error_t *err) {
    void *array = set->answer;
    HP_TRY(grow(&array, &set->answer_capacity, set->answers + 1, sizeof *answer, err));
    set->answer = array;
    set->answer[set->answers++] = *answer;
    return HP_OK;
}

uint32_t wk_vqa_most_frequent(const wk_vqa_set_t *set, const wk_vqa_question_t *q) {
    uint32_t best = 0, best_count = 0;
    for (uint32_t i = 0; i < q->answers; i++) {
        uint32_t count = 0, text = set->answer[q->first_answer + i].text;
        for (uint32_t k = 0; k < q->answers; k++)
            count += set->answer[q->first_answer + k].text == text;
        if (count > best_count) {
            best = text;
            best_count = count;
        }
    }
    return best;
}

static int end_annotation(parser_t *p) {
    if (!need(p, KEY_QUESTION_ID, "question_id") || !need(p, KEY_ANSWERS, "answers")) return 0;
    int64_t number = wk_vqa_find(p->set, p->now.question_id);
    if (number < 0 && p->set->alone) {
        p->now.record = (uint32_t)p->records + 1;
        hp_status_t status = wk_vqa_add_question(p->set, &p->now, p->err);
        if (status != HP_OK) return library(p, status);
        number = (int64_t)p->set->questions - 1;
    }
    if (number < 0) return stop(p, "no question of the split has this question_id");
    wk_vqa_question_t *q = &p->set->question[number];
    if (q->annotated) return stop(p, "the question has an annotation already");
    if (p->have & 1u << KEY_IMAGE_ID && q->image != p->now.image)
        return stop(p, "image_id is %s, but %s in the questions",
                    wk_strings_get(p->set->images, p->now.image),
                    wk_strings_get(p->set->images, q->image));
    if (p->now.answers == 0 && !(p->have & 1u << KEY_TARGET))
        return stop(p, "\"answers\" is empty and \"multiple_choice_answer\" is missing");
    q->annotated = 1;
    q->question_type = p->now.question_type;
    q->answer_type = p->now.answer_type;
    q->first_answer = p->now.first_answer;
    q->answers = p->now.answers;
    q->target = p->have & 1u << KEY_TARGET ? p->now.target : wk_vqa_most_frequent(p->set, q);
    return 1;
}

static int end_answer(parser_t *p) {
    if (!p->answer_text) return stop(p, "an answer without \"answer\"");
    if (p->now.answers == MAX_ANSWERS) return stop(p, "more than %d answers", MAX_ANSWERS);
    hp_status_t status = wk_vqa_add_answer(p->set, &p->answer, p->err);
    if (status != HP_OK) return library(p, status);
    p->now.answers++;
    p->place = AT_ANSWERS;
    return 1;
}

static int begin_record(parser_t *p) {
    p->have = 0;
    p->now = (wk_vqa_question_t){.first_answer = p->set->answers};
    hp_status_t status = wk_strings_add(p->set->strings, "", 0, &p->now.text, p->err);
    p->now.question_type = p->now.answer_type = p->now.target = p->now.text;
    p->place = AT_RECORD;
    return library(p, status);
}

/* ---- yajl's callbacks ---------------------------------------------------------------------- */

/* A scalar where a list or an object is expected. */
static int unexpected(parser_t *p, const char *what) {
    static const char *const want[] = {[AT_START] = "an object or a list",
                                       [AT_OUTER] = "a list",
                                       [AT_LIST] = "an object",
                                       [AT_RECORD] = "another value",
                                       [AT_ANSWERS] = "an object with \"answer\"",
                                       [AT_ANSWER] = "another value",
                                       [AT_END] = "nothing"};
    return stop(p, "%s, expected %s", what, want[p->place]);
}

static const char *key_name(key_t_ key) {
    static const char *const name[] = {"?",           "?",
                                       "question_id", "image_id",
                                       "question",    "question_type",
                                       "answer_type", "multiple_choice_answer",
                                       "answers",     "answer",
                                       "answer_id",   "answer_confidence"};
    return name[key];
}

static int intern(parser_t *p, wk_strings_t *set, const unsigned char *text, size_t bytes,
                  uint32_t *number) {
    if (memchr(text, 0, bytes) != NULL) return stop(p, "\"%s\" contains NUL", key_name(p->key));
    if (bytes > MAX_TEXT)
        return stop(p, "\"%s\" has %zu bytes, %d at most", key_name(p->key), bytes, MAX_TEXT);
    return library(p, wk_strings_add(set, (const char *)text, bytes, number, p->err));
}

static int on_string(void *context, const unsigned char *text, size_t bytes) {
    parser_t *p = context;
    if (p->skip) return 1;
    uint32_t *field = NULL;
    switch (p->key) {
    case KEY_QUESTION:
        field = &p->now.text;
        break;
    case KEY_QUESTION_TYPE:
        field = &p->now.question_type;
        break;
    case KEY_ANSWER_TYPE:
        field = &p->now.answer_type;
        break;
    case KEY_TARGET:
        field = &p->now.target;
        break;
    case KEY_IMAGE_ID:
        field = &p->now.image;
        break;
    case KEY_ANSWER:
        field = &p->answer.text;
        break;
    case KEY_CONFIDENCE:
        p->answer.confidence = bytes == 2 && memcmp(text, "no", 2) == 0      ? 1
                               : bytes == 5 && memcmp(text, "maybe", 5) == 0 ? 2
                               : bytes == 3 && memcmp(text, "yes", 3) == 0   ? 3
                                                                             : 0;
        return 1;
    case KEY_OTHER:
        if (p->place == AT_RECORD || p->place == AT_ANSWER || p->place == AT_OUTER) return 1;
        return unexpected(p, "a string");
    default:
        return stop(p, "\"%s\" is a string, expected %s",
                    p->key == KEY_LIST ? list_name(p) : key_name(p->key),
                    p->key == KEY_LIST || p->key == KEY_ANSWERS ? "a list" : "a whole number");
    }
    p->have |= 1u << p->key;
    if (p->key == KEY_ANSWER) p->answer_text = true;
    if (p->key == KEY_IMAGE_ID && bytes == 0) return stop(p, "\"image_id\" is empty");
    return intern(p, p->key == KEY_IMAGE_ID ? p->set->images : p->set->strings, text, bytes, field);
}

static int on_integer(void *context, long long value) {
    parser_t *p = context;
    if (p->skip) return 1;
    char text[32];
    int bytes = snprintf(text, sizeof text, "%lld", value);
    switch (p->key) {
    case KEY_QUESTION_ID:
        p->now.question_id = value;
        break;
    case KEY_IMAGE_ID:
        p->have |= 1u << p->key;
        return intern(p, p->set->images, (unsigned char *)text, (size_t)bytes, &p->now.image);
    case KEY_ANSWER_ID:
        if (value < -1 || value > INT32_MAX)
            return stop(p, "\"answer_id\" is %lld, expected 0 to %d", value, INT32_MAX);
        p->answer.answer_id = (int32_t)value;
        return 1;
    case KEY_OTHER:
        if (p->place == AT_RECORD || p->place == AT_ANSWER || p->place == AT_OUTER) return 1;
        return unexpected(p, "a number");
    default:
        return stop(p, "\"%s\" is a number, expected %s",
                    p->key == KEY_LIST ? list_name(p) : key_name(p->key),
                    p->key == KEY_LIST || p->key == KEY_ANSWERS ? "a list" : "a string");
    }
    p->have |= 1u << p->key;
    return 1;
}

static int other_scalar(parser_t *p, const char *what) {
    if (p->skip) return 1;
    if (p->key != KEY_OTHER)
        return stop(p, "\"%s\" is %s", p->key == KEY_LIST ? list_name(p) : key_name(p->key), what);
    if (p->place == AT_RECORD || p->place == AT_ANSWER || p->place == AT_OUTER) return 1;
    return unexpected(p, what);
}

static int on_null(void *context) { return other_scalar(context, "null"); }

static int on_boolean(void *context, int value) {
    (void)value;
    return other_scalar(context, "true or false");
}

static int on_double(void *context, double value) {
    (void)value;
    return other_scalar(context, "a number with a fraction");
}

static int on_key(void *context, const unsigned char *text, size_t bytes) {
    parser_t *p = context;
    static const struct {
        place_t place;
        int annotations; /* -1: both */
        const char *name;
        key_t_ key;
    } table[] = {
        {AT_RECORD, -1, "question_id", KEY_QUESTION_ID},
        {AT_RECORD, -1, "image_id", KEY_IMAGE_ID},
        {AT_RECORD, 0, "question", KEY_QUESTION},
        {AT_RECORD, 1, "question_type", KEY_QUESTION_TYPE},
        {AT_RECORD, 1, "answer_type", KEY_ANSWER_TYPE},
        {AT_RECORD, 1, "multiple_choice_answer", KEY_TARGET},
        {AT_RECORD, 1, "answers", KEY_ANSWERS},
        {AT_ANSWER, 1, "answer", KEY_ANSWER},
        {AT_ANSWER, 1, "answer_id", KEY_ANSWER_ID},
        {AT_ANSWER, 1, "answer_confidence", KEY_CONFIDENCE},
    };
    p->key = KEY_OTHER;
    if (p->skip) return 1;
    const char *list = list_name(p);
    if (p->place == AT_OUTER && bytes == strlen(list) && memcmp(text, list, bytes) == 0) {
        p->key = KEY_LIST;
        return p->listed ? stop(p, "\"%s\" is there twice", list) : 1;
    }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].place == p->place &&
            (table[i].annotations < 0 || table[i].annotations == p->annotations) &&
            bytes == strlen(table[i].name) && memcmp(text, table[i].name, bytes) == 0) {
            p->key = table[i].key;
            if (p->place == AT_RECORD && p->have & 1u << p->key)
                return stop(p, "\"%s\" is there twice", table[i].name);
            return 1;
        }
    return 1;
}

static int on_open(parser_t *p, bool list) {
    if (p->skip) {
        if (++p->skip > MAX_DEPTH) return stop(p, "more than %d levels of nesting", MAX_DEPTH);
        return 1;
    }
    switch (p->place) {
    case AT_START:
        p->place = list ? AT_LIST : AT_OUTER;
        return p->listed = list, 1;
    case AT_OUTER:
        if (p->key != KEY_LIST) break;
        if (!list) return stop(p, "\"%s\" is an object, expected a list", list_name(p));
        p->place = AT_LIST;
        p->key = KEY_OTHER;
        return p->listed = true, 1;
    case AT_LIST:
        return list ? stop(p, "a list, expected an object") : begin_record(p);
    case AT_RECORD:
        if (p->key == KEY_ANSWERS) {
            if (!list) return stop(p, "\"answers\" is an object, expected a list");
            p->have |= 1u << KEY_ANSWERS;
            p->place = AT_ANSWERS;
            p->key = KEY_OTHER;
            return 1;
        }
        break;
    case AT_ANSWERS:
        if (list) return stop(p, "a list, expected an object with \"answer\"");
        p->place = AT_ANSWER;
        p->answer = (wk_vqa_answer_t){.answer_id = -1};
        p->answer_text = false;
        return 1;
    case AT_ANSWER:
    case AT_END:
        break;
    }
    if (p->key != KEY_OTHER)
        return stop(p, "\"%s\" is %s", key_name(p->key), list ? "a list" : "an object");
    p->skip = 1;
    return 1;
}

static int on_close(parser_t *p) {
    if (p->skip) {
        p->skip--;
        return 1;
    }
    p->key = KEY_OTHER;
    switch (p->place) {
    case AT_ANSWER:
        return end_answer(p);
    case AT_ANSWERS:
        p->place = AT_RECORD;
        return 1;
    case AT_RECORD:
        if (!(p->annotations ? end_annotation(p) : end_question(p))) return 0;
        p->records++;
        p->place = AT_LIST;
        return 1;
    case AT_LIST:
        p->place = AT_OUTER;
        return 1;
    default:
        p->place = AT_END;
        return 1;
    }
}

static int on_map(void *context) { return on_open(context, false); }
static int on_array(void *context) { return on_open(context, true); }
static int on_end(void *context) { return on_close(context); }

/* ---- the file ------------------------------------------------------------------------------ */

/* yajl's message without its picture of the text, which takes several lines. */
static void yajl_line(yajl_handle handle, char *out, size_t size) {
    unsigned char *text = yajl_get_error(handle, 0, NULL, 0);
    snprintf(out, size, "%s", text ? (const char *)text : "not JSON");
    if (text != NULL) yajl_free_error(handle, text);
    out[strcspn(out, "\n")] = '\0';
}

static hp_status_t parse_fd(parser_t *p, yajl_handle handle, int fd, unsigned char *buffer) {
    uint64_t line = 1, byte = 0;
    while (true) {
        ssize_t n = read(fd, buffer, CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return hp_fail_errno(p->err, HP_INPUT, "%s", p->path);
        yajl_status status =
            n > 0 ? yajl_parse(handle, buffer, (size_t)n) : yajl_complete_parse(handle);
        size_t used = status == yajl_status_ok ? (size_t)n : yajl_get_bytes_consumed(handle);
        if (used > (size_t)n) used = (size_t)n;
        for (size_t i = 0; i < used; i++) line += buffer[i] == '\n';
        byte += used;
        if (status == yajl_status_client_canceled)
            return hp_fail_prefix(p->err, "%s, line %llu, byte %llu", p->path,
                                  (unsigned long long)line, (unsigned long long)byte);
        if (status != yajl_status_ok) {
            char text[256];
            yajl_line(handle, text, sizeof text);
            return hp_fail(p->err, HP_INPUT, "%s, line %llu, byte %llu: record %llu: not JSON: %s",
                           p->path, (unsigned long long)line, (unsigned long long)byte,
                           (unsigned long long)p->records + 1, text);
        }
        if (n == 0) break;
    }
    if (!p->listed)
        return hp_fail(p->err, HP_INPUT, "%s: neither a list nor an object with \"%s\"", p->path,
                       list_name(p));
    return HP_OK;
}

static hp_status_t parse(wk_vqa_set_t *set, const char *path, bool annotations, hp_error_t *err) {
    static const yajl_callbacks callbacks = {
        on_null, on_boolean, on_integer, on_double, NULL,   on_string,
        on_map,  on_key,     on_end,     on_array,  on_end,
    };
    hp_error_t local = {0};
    parser_t p = {.set = set, .path = path, .annotations = annotations};
    p.err = err != NULL ? err : &local;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
    void *buffer = NULL;
    hp_status_t status = hp_allocate(&buffer, CHUNK, 1, "a buffer", err);
    yajl_handle handle = status == HP_OK ? yajl_alloc(&callbacks, NULL, &p) : NULL;
    if (status == HP_OK && handle == NULL) status = hp_fail(err, HP_MEMORY, "out of memory");
    if (status == HP_OK) status = parse_fd(&p, handle, fd, buffer);
    if (handle != NULL) yajl_free(handle);
    hp_free(buffer);
    close(fd);
    return status;
}

hp_status_t wk_vqa_read_questions(wk_vqa_set_t *set, const char *path, hp_error_t *err) {
    HP_TRY(parse(set, path, false, err));
    set->files++;
    return HP_OK;
}

hp_status_t wk_vqa_read_annotations(wk_vqa_set_t *set, const char *path, hp_error_t *err) {
    return parse(set, path, true, err);
}
