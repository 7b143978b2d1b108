/* Accuracy of answers.
 *
 * The official VQA accuracy exists in two versions of vqaEval.py (GT-Vision-Lab/VQA), which differ
 * in what is normalised before answers are compared.
 *
 * 2016 (458a8b2, until March 2021; the paper's): the prediction always, by punctuation, digits and
 * articles; the human answers by punctuation alone, and only where they are not all the same.
 *
 * 2021 (a013f00): prediction and human answers alike, and only where the latter are not all the
 * same.
 *
 * Score: for each human answer, min(1, matches among the other humans' / 3); the mean over the
 * humans. "Other" means a record that is not equal (answer, confidence, id): records without ids
 * that are equal leave together.
 *
 * Text is UTF-8; lower case is made of ASCII letters only. */
#ifndef WK_METRIC_H
#define WK_METRIC_H

#include "common/status.h"
#include "common/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { WK_VQA_2016, WK_VQA_2021, WK_EXACT, WK_METRICS } wk_metric_t;

const char *wk_metric_name(wk_metric_t metric); /* "vqa_2016", "vqa_2021", "exact" */
/* --metric NAME: HP_INPUT for a name that is none. */
hp_status_t wk_metric_find(const char *name, int *metric_p, hp_error_t *err) HP_MUST_CHECK;

/* How tables write an answer type, and its place in them: Yes/No, Number, Other of VQA, then all
 * others as they are, by name. */
const char *wk_answer_type_title(const char *name);
int wk_answer_type_place(const char *name); /* 0, 1, 2; 3: another */

/* vqaEval.py's processPunctuation; `out` holds strlen(in) + 1 bytes and is not `in`. */
void wk_vqa_punctuation(const char *in, char *out);
/* processDigitArticle; `out` holds 2 strlen(in) + 1 bytes and is not `in`. */
void wk_vqa_digit_article(const char *in, char *out);

/* Buffers for scoring; one thread at a time. */
typedef struct wk_scorer wk_scorer_t;
hp_status_t wk_scorer_create(wk_scorer_t **scorer_p, hp_error_t *err) HP_MUST_CHECK;
void wk_scorer_destroy(wk_scorer_t *scorer);

/* Scores of a prediction, in 0 .. 1, one for each metric. Without two human
 * answers at least both VQA scores are the exact match with the question's target. */
hp_status_t wk_score(wk_scorer_t *scorer, const char *prediction, const hp_question_t *question,
                     double score[WK_METRICS], hp_error_t *err) HP_MUST_CHECK;

/* Scores gathered over a split, overall and by type. */
typedef struct {
    char *name;
    uint64_t count;
    double sum[WK_METRICS];
} wk_type_score_t;

/* A prediction about an NLVR sentence and one of its images. */
typedef struct {
    int64_t sentence;
    bool correct;
} wk_statement_t;

typedef struct {
    wk_type_score_t overall;
    uint64_t statements;
    size_t statement_capacity;
    wk_statement_t *statement;
    int answer_types, question_types;
    wk_type_score_t *answer_type;   /* in alphabetical order */
    wk_type_score_t *question_type; /* the same */
} wk_tally_t;

hp_status_t wk_tally_add(wk_tally_t *tally, const char *answer_type, const char *question_type,
                         const double score[WK_METRICS], hp_error_t *err) HP_MUST_CHECK;
/* NLVR's consistency (metrics_images.py of lil-lab/nlvr): how many sentences have all their images
 * answered rightly.
 * wk_tally_sentences returns how many sentences there are in all. */
hp_status_t wk_tally_add_statement(wk_tally_t *tally, int64_t sentence, bool correct,
                                   hp_error_t *err) HP_MUST_CHECK;
uint64_t wk_tally_sentences(wk_tally_t *tally, uint64_t *consistent_p);
void wk_tally_release(wk_tally_t *tally);

/* 100 sum / count with two decimals, as Python's round gives it; 0 where nothing was counted. */
double wk_percent(const wk_type_score_t *score, wk_metric_t metric);

#endif
