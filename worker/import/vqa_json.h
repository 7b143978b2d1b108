/* The questions and annotations of VQA v1, v2 and VQA-CP, and of whatever follows their format:
 * {"questions": [...]} and {"annotations": [...]}, or bare lists. Read as a stream: memory is what
 * is kept of the records, not the text. */
#ifndef WK_VQA_JSON_H
#define WK_VQA_JSON_H

#include "common/status.h"
#include "common/store.h"
#include "worker/import/text.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    uint32_t text;
    int32_t answer_id;  /* -1: none given */
    int32_t confidence; /* hp_answer_t's */
} wk_vqa_answer_t;

typedef struct {
    int64_t question_id;
    uint32_t image;                                    /* number in `images` */
    uint32_t text, question_type, answer_type, target; /* numbers in `strings` */
    uint32_t answers;
    uint64_t first_answer;
    uint32_t file, record; /* of the question: for messages */
    uint32_t annotated;    /* 0: no annotation yet */
} wk_vqa_question_t;

/* The questions of one split. */
typedef struct {
    wk_strings_t *strings, *images; /* shared by all splits */
    wk_vqa_question_t *question;
    uint64_t questions;
    size_t question_capacity;
    wk_vqa_answer_t *answer;
    uint64_t answers;
    size_t answer_capacity;
    uint32_t *table; /* question number + 1 by question_id */
    size_t table_size;
    uint32_t files;
    bool alone; /* annotations come without questions: each one makes its question */
} wk_vqa_set_t;

/* Adds the questions of a file. HP_INPUT: the line says file, line, record and what is expected. */
hp_status_t wk_vqa_read_questions(wk_vqa_set_t *set, const char *path,
                                  hp_error_t *err) HP_MUST_CHECK;
/* Adds annotations to the questions read so far. */
hp_status_t wk_vqa_read_annotations(wk_vqa_set_t *set, const char *path,
                                    hp_error_t *err) HP_MUST_CHECK;
int64_t wk_vqa_find(const wk_vqa_set_t *set, int64_t question_id); /* -1: none */
/* Add to a set; a question_id must be new (wk_vqa_find), an answer belongs to the question added
 * next.
 */
hp_status_t wk_vqa_add_question(wk_vqa_set_t *set, const wk_vqa_question_t *q,
                                hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_vqa_add_answer(wk_vqa_set_t *set, const wk_vqa_answer_t *answer,
                              hp_error_t *err) HP_MUST_CHECK;
/* The most frequent answer, the first of those: for files that do not say which one to learn. */
uint32_t wk_vqa_most_frequent(const wk_vqa_set_t *set, const wk_vqa_question_t *q);

/* The question as a store has it, but for image, tokens and label. human: [q->answers]; the strings
 * are those of the set. */
void wk_vqa_question(const wk_vqa_set_t *set, const wk_vqa_question_t *q, hp_answer_t *human,
                     hp_question_t *out);
void wk_vqa_release(wk_vqa_set_t *set);

#endif
