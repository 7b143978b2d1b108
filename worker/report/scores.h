/* What `hanps eval` found of every question: RUN/eval/SPLIT-STEP.tsv, for tables and paired tests.
 *
 * The first line is "# metric NAME", the second names the columns, then a line a question in the
 * order of the store:
 *   question_id image cells exact vqa_2016 vqa_2021 answer_type question_type answer
 * separated by tabs. `image` is the image's ordinal in the store, `cells` how many were selected,
 * scores are 0 to 1. A tab or a line's end within a text is written as a space. */
#ifndef WK_SCORES_H
#define WK_SCORES_H

#include "common/store.h"
#include "worker/metric.h"

#include <stdio.h>

typedef struct {
    int64_t id;
    uint32_t image;
    int cells;
    int type; /* index in wk_scores_t.type */
    double score[WK_METRICS];
} wk_score_line_t;

typedef struct {
    wk_metric_t metric; /* what `overall` meant */
    uint64_t count;
    wk_score_line_t *line; /* [count] */
    int types;
    char **type; /* answer types, as they first occurred */
} wk_scores_t;

void wk_scores_begin(FILE *out, wk_metric_t metric);
void wk_scores_put(FILE *out, const hp_question_t *question, const char *answer, int cells,
                   const double score[WK_METRICS]);

/* HP_INPUT: not there, or not such a file; the line is named. Release with wk_scores_release, which
 * is fine on a zeroed struct. */
hp_status_t wk_scores_read(const char *path, wk_scores_t *scores, hp_error_t *err) HP_MUST_CHECK;
void wk_scores_release(wk_scores_t *scores);

#endif
