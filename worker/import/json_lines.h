/* Questions in JSON Lines, for data sets of any origin: one object a line,
 *
 *     {"image": "a.png" or 17, "question": "...", "answer": "yes", "split": "train"}
 *
 * or "answers": ["yes", "no", ...] of several people, or of objects {"answer", "answer_id",
 * "answer_confidence"}. A line without an answer is a question of a test split. May be there too:
 * "question_id" (else the line's number, from 0, over all files), "question_type" (else the first
 * two words), "answer_type" (else yes/no, number or other), "split" (else train). Other keys are
 * passed over; so are empty lines. */
#ifndef WK_JSON_LINES_H
#define WK_JSON_LINES_H

#include "common/status.h"
#include "worker/import/vqa_json.h"

enum { WK_JSON_LINES_SPLITS = 64 };

typedef struct {
    wk_strings_t *strings, *images; /* shared by all splits */
    int splits;
    char name[WK_JSON_LINES_SPLITS][64]; /* in the order in which they came */
    wk_vqa_set_t set[WK_JSON_LINES_SPLITS];
    int64_t lines; /* so far */
} wk_json_lines_t;

/* Adds the questions of a file; `file` is its number, for messages later. HP_INPUT: the line says
 * file, line and what is expected. Sets are released by the caller. */
hp_status_t wk_json_lines_read(wk_json_lines_t *into, const char *path, uint32_t file,
                               hp_error_t *err) HP_MUST_CHECK;

/* Whether a tree of this JSON can be built and released without deep recursion. */
bool wk_json_is_flat(const char *json, int most);

#endif
