/* NLVR (Suhr et al. 2017, "A corpus of natural language for visual reasoning"), in its official
 * layout: FOLDER/{train,dev,test}/{train,dev,test}.json, one object a line, and
 * FOLDER/train/images/<directory>/train-<identifier>-<permutation>.png. */
#ifndef WK_NLVR_H
#define WK_NLVR_H

#include "worker/import/pixels.h"

#define WK_NLVR_QUESTION_TYPE "statement"
#define WK_NLVR_ANSWER_TYPE   "true/false"

/* question_id of sentence 1304, its image 2, permutation p: 130402p. */
enum { WK_NLVR_IDS = 1000 }; /* of a sentence */

typedef struct {
    const char *folder;
    int permutations;      /* 1 to 6 orders of the three boxes: images of an example */
    int valid_directories; /* the last of train's image directories become the split `valid`:
                              sentences repeat within a directory, so whole ones are held out */
} wk_nlvr_options_t;

/* Splits train, valid, dev, test: those there are; train must be. */
hp_status_t wk_nlvr_read(const wk_nlvr_options_t *options, wk_pixel_set_t *set,
                         hp_error_t *err) HP_MUST_CHECK;

#endif
