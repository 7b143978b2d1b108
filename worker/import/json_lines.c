#include "worker/import/json_lines.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

enum { MAX_LINE = 16 << 20, MAX_DEPTH = 32, MAX_ANSWERS = 100000, NUMBER = 64 };

typedef struct {
    wk_json_lines_t *into;
    yajl_val tree; /* of the line */
    hp_error_t *err;
} reader_t;

bool wk_json_is_flat(const char *json, int most) {
    int depth = 0;
    bool inside = false;
    for (; *json != '\0'; json++) {
        if (*json == '\\' && inside && json[1] != '\0')
            json++;
        else if (*json == '"')
            inside = !inside;
        else if (!inside && (*json == '{' || *json == '[') && ++depth > most)
            return false;
        else if (!inside && (*json == '}' || *json == ']'))
            depth--;
    }
    return true;
}

static yajl_val find(yajl_val object, const char *key) {
    return yajl_tree_get(object, (const char *[]){key, NULL}, yajl_t_any);
}

/* A string, a whole number, true or false, as text; NULL: anything else. */
static const char *scalar(yajl_val v, char number[NUMBER]) {
    if (YAJL_IS_STRING(v)) return YAJL_GET_STRING(v);
    if (YAJL_IS_TRUE(v)) return "true";
    if (YAJL_IS_FALSE(v)) return "false";
    if (!YAJL_IS_INTEGER(v)) return NULL;
    snprintf(number, NUMBER, "%lld", YAJL_GET_INTEGER(v));
    return number;
}

static hp_status_t intern(const reader_t *r, wk_strings_t *set, const char *text,
                          uint32_t *number_p) {
    return wk_strings_add(set, text, strlen(text), number_p, r->err);
}

/* A string under `key`, or `initial` where there is none. */
static hp_status_t take_string(const reader_t *r, const char *key, const char *initial,
                               const char **text_p) {
    yajl_val v = find(r->tree, key);
    *text_p = v != NULL ? YAJL_GET_STRING(v) : initial;
    if (*text_p != NULL) return HP_OK;
    return hp_fail(r->err, HP_INPUT, "\"%s\" is %s, expected a string", key,
                   v == NULL ? "missing" : "something else");
}

static hp_status_t find_split(const reader_t *r, wk_vqa_set_t **set_p) {
    wk_json_lines_t *into = r->into;
    const char *name = NULL;
    HP_TRY(take_string(r, "split", "train", &name));
    for (int s = 0; s < into->splits; s++)
        if (strcmp(into->name[s], name) == 0) {
            *set_p = &into->set[s];
            return HP_OK;
        }
    if (name[0] == '\0' || strlen(name) >= sizeof into->name[0])
        return hp_fail(r->err, HP_INPUT, "\"split\" is '%.20s', expected 1 to %zu bytes", name,
                       sizeof into->name[0] - 1);
    if (into->splits == WK_JSON_LINES_SPLITS)
        return hp_fail(r->err, HP_INPUT, "more than %d splits", WK_JSON_LINES_SPLITS);
    wk_vqa_set_t *set = &into->set[into->splits];
    memcpy(into->name[into->splits++], name, strlen(name) + 1);
    *set = (wk_vqa_set_t){.strings = into->strings, .images = into->images};
    *set_p = set;
    return HP_OK;
}

static hp_status_t add_answer(const reader_t *r, wk_vqa_set_t *set, yajl_val v,
                              wk_vqa_question_t *q) {
    char number[NUMBER];
    yajl_val text = YAJL_IS_OBJECT(v) ? find(v, "answer") : v;
    const char *answer = scalar(text, number);
    if (answer == NULL)
        return hp_fail(r->err, HP_INPUT,
                       "\"answers\", entry %" PRIu32 ": expected a string, or an object with "
                       "\"answer\"",
                       q->answers + 1);
    wk_vqa_answer_t a = {.answer_id = (int32_t)q->answers + 1};
    if (YAJL_IS_OBJECT(v)) {
        yajl_val id = find(v, "answer_id");
        if (YAJL_IS_INTEGER(id) && YAJL_GET_INTEGER(id) >= 0 && YAJL_GET_INTEGER(id) <= INT32_MAX)
            a.answer_id = (int32_t)YAJL_GET_INTEGER(id);
        else if (id != NULL)
            return hp_fail(r->err, HP_INPUT, "\"answer_id\" is something else, expected 0 to %d",
                           INT32_MAX);
        const char *confidence = YAJL_GET_STRING(find(v, "answer_confidence"));
        a.confidence = confidence == NULL                 ? 0
                       : strcmp(confidence, "no") == 0    ? 1
                       : strcmp(confidence, "maybe") == 0 ? 2
                       : strcmp(confidence, "yes") == 0   ? 3
                                                          : 0;
    }
    HP_TRY(intern(r, set->strings, answer, &a.text));
    q->answers++;
    return wk_vqa_add_answer(set, &a, r->err);
}

static hp_status_t take_answers(const reader_t *r, wk_vqa_set_t *set, wk_vqa_question_t *q) {
    yajl_val one = find(r->tree, "answer"), many = find(r->tree, "answers");
    char number[NUMBER];
    q->first_answer = set->answers;
    if (many != NULL && !YAJL_IS_ARRAY(many))
        return hp_fail(r->err, HP_INPUT, "\"answers\" is something else, expected a list");
    if (many != NULL && YAJL_GET_ARRAY(many)->len > MAX_ANSWERS)
        return hp_fail(r->err, HP_INPUT, "more than %d answers", MAX_ANSWERS);
    for (size_t i = 0; many != NULL && i < YAJL_GET_ARRAY(many)->len; i++)
        HP_TRY(add_answer(r, set, YAJL_GET_ARRAY(many)->values[i], q));
    if (one != NULL) {
        const char *text = scalar(one, number);
        if (text == NULL)
            return hp_fail(r->err, HP_INPUT,
                           "\"answer\" is something else, expected a string, a whole number, true "
                           "or false");
        HP_TRY(intern(r, set->strings, text, &q->target));
        q->annotated = 1;
        if (q->answers > 0) return HP_OK;
        q->answers = 1;
        return wk_vqa_add_answer(set, &(wk_vqa_answer_t){.text = q->target, .answer_id = 1},
                                 r->err);
    }
    if (q->answers == 0) return HP_OK;
    q->target = wk_vqa_most_frequent(set, q);
    q->annotated = 1;
    return HP_OK;
}

/* As VQA has them. */
static const char *type_of(const char *answer) {
    if (strcmp(answer, "yes") == 0 || strcmp(answer, "no") == 0) return "yes/no";
    size_t digits = strspn(answer, "0123456789.,-");
    return digits > 0 && answer[digits] == '\0' && strpbrk(answer, "0123456789") != NULL ? "number"
                                                                                         : "other";
}

/* The first two words. */
static void first_words(const char *question, char out[64]) {
    size_t used = 0, words = 0;
    for (const char *p = question; *p != '\0' && used < 63; p++) {
        unsigned char c = (unsigned char)*p;
        if (isspace(c)) {
            if (used == 0 || out[used - 1] == ' ') continue;
            if (++words == 2) break;
            out[used++] = ' ';
        } else if (c != '?' && c != ',') {
            out[used++] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
        }
    }
    while (used > 0 && ((unsigned char)out[used - 1] & 0xC0) == 0x80 && used == 63) used--;
    if (used > 0 && (unsigned char)out[used - 1] >= 0xC0) used--; /* half a character */
    if (used > 0 && out[used - 1] == ' ') used--;
    out[used] = '\0';
}

static hp_status_t take_types(const reader_t *r, wk_vqa_set_t *set, const char *question,
                              wk_vqa_question_t *q) {
    char words[64];
    const char *type = NULL;
    first_words(question, words);
    HP_TRY(take_string(r, "question_type", words, &type));
    HP_TRY(intern(r, set->strings, type, &q->question_type));
    HP_TRY(take_string(r, "answer_type",
                       q->annotated ? type_of(wk_strings_get(set->strings, q->target)) : "",
                       &type));
    return intern(r, set->strings, type, &q->answer_type);
}

static hp_status_t take_line(const reader_t *r, uint32_t file, uint32_t line) {
    wk_vqa_set_t *set = NULL;
    char number[NUMBER];
    const char *question = NULL;
    wk_vqa_question_t q = {.file = file, .record = line, .question_id = r->into->lines};
    HP_TRY(find_split(r, &set));
    yajl_val id = find(r->tree, "question_id"), image = find(r->tree, "image");
    if (id != NULL && !YAJL_IS_INTEGER(id))
        return hp_fail(r->err, HP_INPUT,
                       "\"question_id\" is something else, expected a whole number");
    if (id != NULL) q.question_id = YAJL_GET_INTEGER(id);
    const char *name =
        YAJL_IS_STRING(image) || YAJL_IS_INTEGER(image) ? scalar(image, number) : NULL;
    if (name == NULL || name[0] == '\0')
        return hp_fail(r->err, HP_INPUT, "\"image\" is %s, expected a string or a whole number",
                       image == NULL  ? "missing"
                       : name != NULL ? "empty"
                                      : "something else");
    HP_TRY(take_string(r, "question", NULL, &question));
    HP_TRY(intern(r, set->images, name, &q.image));
    HP_TRY(intern(r, set->strings, "", &q.target));
    HP_TRY(intern(r, set->strings, question, &q.text));
    HP_TRY(take_answers(r, set, &q));
    HP_TRY(take_types(r, set, question, &q));
    int64_t twin = wk_vqa_find(set, q.question_id);
    if (twin >= 0 && set->question != NULL)
        return hp_fail(r->err, HP_INPUT,
                       "question_id %" PRId64 " is there twice (first in line %u)", q.question_id,
                       set->question[twin].record);
    return wk_vqa_add_question(set, &q, r->err);
}

static hp_status_t parse_line(reader_t *r, const char *text, size_t bytes, uint32_t file,
                              uint32_t line) {
    char why[256] = "";
    if (bytes > MAX_LINE) return hp_fail(r->err, HP_INPUT, "more than %d bytes", MAX_LINE);
    if (strlen(text) != bytes) return hp_fail(r->err, HP_INPUT, "contains NUL");
    if (strstr(text, "\\u0000") != NULL) return hp_fail(r->err, HP_INPUT, "contains \\u0000");
    if (!wk_json_is_flat(text, MAX_DEPTH))
        return hp_fail(r->err, HP_INPUT, "more than %d levels of nesting", MAX_DEPTH);
    r->tree = yajl_tree_parse(text, why, sizeof why);
    why[strcspn(why, "\n")] = '\0';
    hp_status_t status = HP_OK;
    if (!YAJL_IS_OBJECT(r->tree))
        status = hp_fail(r->err, HP_INPUT, "expected a JSON object%s%s", why[0] != '\0' ? ": " : "",
                         why);
    else
        status = take_line(r, file, line);
    yajl_tree_free(r->tree);
    return status;
}

hp_status_t wk_json_lines_read(wk_json_lines_t *into, const char *path, uint32_t file,
                               hp_error_t *err) {
    FILE *in = fopen(path, "r");
    if (in == NULL) return hp_fail_errno(err, HP_INPUT, "%s", path);
    reader_t r = {.into = into, .err = err};
    char *text = NULL;
    size_t room = 0;
    uint32_t line = 0;
    int64_t before = into->lines;
    hp_status_t status = HP_OK;
    ssize_t n = 0;
    while (status == HP_OK && (n = getline(&text, &room, in)) > 0) {
        line++;
        if (strspn(text, " \t\r\n") == (size_t)n) continue;
        status = parse_line(&r, text, (size_t)n, file, line);
        into->lines++;
    }
    bool failed = status == HP_OK && ferror(in) != 0;
    if (failed) hp_fail_errno(err, HP_INPUT, "%s", path);
    free(text);
    fclose(in);
    if (failed) return HP_INPUT;
    if (status != HP_OK) return hp_fail_prefix(err, "%s, line %" PRIu32, path, line);
    if (into->lines == before) return hp_fail(err, HP_INPUT, "%s: no question in it", path);
    return HP_OK;
}
