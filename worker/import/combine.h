/* New stores out of others: several merged into one, or a part of one. Records of images are copied
 * as they are, encoded or not. */
#ifndef WK_COMBINE_H
#define WK_COMBINE_H

#include "common/status.h"
#include "common/store.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *out;
    int stores;
    const char *const *store; /* their paths */
    /* Words and answers of the first store alone, so that its models can read the result; else
     * those of the others are appended. */
    bool first_vocabulary;
    /* What is kept; the vocabulary is, whatever else. An image without a question that is kept is
     * left out, unless the stores have no questions. */
    int splits;
    const char *const *split; /* NULL: all */
    /* Other splits, of one store: question q goes to split[split_of[q]], or nowhere where that is
     * no split's number. NULL: they stay where they are. [questions] */
    const uint8_t *split_of;
    const char *images; /* a text file with an image's name on each line; NULL: all */
    uint64_t most;      /* questions of a split, the first ones; 0: all */
    bool encode;        /* features anew, by `encoding`; else as the stores have them */
    hp_encoding_t encoding;
    const char *command; /* provenance */
    /* Called now and then. May be NULL. */
    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total);
    void *context;
} wk_combine_t;

typedef struct {
    uint64_t images, kept_images; /* kept from an interrupted one */
    uint64_t shared;              /* images that came more than once, the same each time */
    uint64_t questions, unlabelled;
    int words, answers, splits;
} wk_combine_report_t;

/* HP_INPUT where the stores do not fit each other (shapes, dtype, metric, tokenizer; an image of
 * one name that is not the same; a question_id twice in a split), or nothing is left. Interrupted,
 * the same call goes on. */
hp_status_t wk_combine(const wk_combine_t *combine, wk_combine_report_t *report,
                       hp_error_t *err) HP_MUST_CHECK;

#endif
