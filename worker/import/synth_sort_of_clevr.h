/* Makes a store of Sort-of-CLEVR (sort_of_clevr.h): pixels, patches as features, questions with
 * their bit code, exact match as metric. */
#ifndef WK_SYNTH_SORT_OF_CLEVR_H
#define WK_SYNTH_SORT_OF_CLEVR_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

#define WK_SYNTH_IMAGES_MAX 100000000u /* of a split */

typedef struct {
    const char *out; /* the store's path */
    uint64_t seed;
    uint32_t train, valid, test; /* images of the splits; 0: no such split, but train */
    bool patches;                /* features beside the pixels */
    const char *command;         /* provenance */
} wk_synth_options_t;

/* Image i of a split is a pure function of (seed, split, i): fewer images are a prefix of more, and
 * the splits stay the same whatever the sizes of the others. */
hp_status_t wk_synth_sort_of_clevr(const wk_synth_options_t *options,
                                   hp_error_t *err) HP_MUST_CHECK;

#endif
