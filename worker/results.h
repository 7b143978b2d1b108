/* Answers by question, as the official VQA evaluation reads them: a JSON list of {"question_id",
 * "answer"}. Other keys are passed over. Read as a stream. */
#ifndef WK_RESULTS_H
#define WK_RESULTS_H

#include "common/status.h"
#include "worker/import/text.h"

#include <stdint.h>

typedef struct {
    int64_t question_id;
    uint32_t answer; /* number in `strings` */
    uint32_t used;   /* for the reader's own book-keeping: 0 at first */
} wk_result_answer_t;

/* Zero it before use. */
typedef struct {
    wk_strings_t strings;
    wk_result_answer_t *answer; /* by question_id, ascending */
    uint64_t answers;
    size_t capacity;
} wk_results_t;

/* HP_INPUT: the line says file, line, record and what is expected; a question with two answers is
 * an error. Release with wk_results_release, whatever was returned. */
hp_status_t wk_results_read(const char *path, wk_results_t *results, hp_error_t *err) HP_MUST_CHECK;
wk_result_answer_t *wk_results_find(const wk_results_t *results, int64_t question_id); /* or NULL */
void wk_results_release(wk_results_t *results);

#endif
