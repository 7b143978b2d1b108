/* Word vectors in text, as GloVe's (glove.6B.300d.txt): a word and its numbers on each line, one
 * space between; a first line with two numbers, as word2vec writes it, is passed over. */
#ifndef WK_VECTORS_H
#define WK_VECTORS_H

#include "common/status.h"

#include <stdbool.h>

typedef struct {
    int found, missing; /* of the vocabulary's words */
} wk_vectors_report_t;

/* Writes the vectors of word[words] to rows[words][width]; a word that the file has twice takes the
 * first. `zero`: rows of words that it lacks become zero, else they stay. HP_INPUT: another width,
 * or numbers that are none; the line says which. */
hp_status_t wk_vectors_read(const char *path, int words, const char *const *word, int width,
                            bool zero, float *rows, wk_vectors_report_t *report,
                            hp_error_t *err) HP_MUST_CHECK;

#endif
