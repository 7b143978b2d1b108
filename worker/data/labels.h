/* What people answered, as classes: one of them by chance, or all of them with weights. */
#ifndef WK_LABELS_H
#define WK_LABELS_H

#include "common/config.h"
#include "common/store.h"

#include <stdbool.h>
#include <stdint.h>

enum { WK_LABELS_MOST = 16 }; /* different classes of one question that count */

typedef struct wk_labels wk_labels_t;

/* `answer` [answers]: the store's classes, which must outlive this. */
hp_status_t wk_labels_create(int answers, const char *const *answer, wk_labels_t **labels_p,
                             hp_error_t *err) HP_MUST_CHECK;
void wk_labels_destroy(wk_labels_t *labels); /* NULL is fine */

int32_t wk_labels_find(const wk_labels_t *labels, const char *text); /* -1: no class */

/* The class of one of the question's answers, each of those that are classes being as likely; a
 * function of (seed, key), key being that of the example and the epoch. Its label where none is. */
int32_t wk_labels_sample(const wk_labels_t *labels, const hp_question_t *question, uint64_t seed,
                         uint64_t key);

/* The classes among the question's answers and their weights: min(1, 0.3 n) for one that n people
 * gave, the VQA accuracy of ten answers; or `shares`: n over the number of answers. Where there are
 * fewer than two answers, or none is a class, the label (or else the only answer's class) with
 * weight 1. Returns how many, at most WK_LABELS_MOST. */
int wk_labels_soft(const wk_labels_t *labels, const hp_question_t *question, bool shares,
                   int32_t *answer, float *weight);

/* Which questions can be trained on: *label_p, a column over all questions of the store, of which
 * those of `range` are valid, is -1 where they cannot. NULL where the store's own column of labels
 * says so: most_frequent. Otherwise a question without a label has the class of one of its answers
 * that are classes, if there is one. Free with hp_free. */
hp_status_t wk_labels_trainable(hp_store_t *store, hp_labels_t kind, const hp_split_t *range,
                                int32_t **label_p, hp_error_t *err) HP_MUST_CHECK;

#endif
