/* Other splits of a store's questions: a part held out by chance, question by question or image by
 * image; or training and test questions whose answers are distributed differently, as VQA-CP's
 * (Agrawal et al. 2018, "Don't Just Assume; Look and Answer", section 3). */
#ifndef WK_REDEAL_H
#define WK_REDEAL_H

#include "common/status.h"
#include "common/store.h"

#include <stdint.h>

typedef enum { WK_REDEAL_RANDOM, WK_REDEAL_IMAGE, WK_REDEAL_PRIORS } wk_redeal_how_t;

enum { WK_REDEAL_SPLITS = 64, WK_REDEAL_LEFT_OUT = 0xff };

typedef struct {
    wk_redeal_how_t how;
    const char *from; /* the split whose questions are dealt; NULL: all questions (PRIORS alone) */
    const char *kept, *held; /* splits of the result: what stays, what goes; kept NULL: `from` */
    double share;            /* of the questions, or of the images, that go; 0 < share < 1 */
    uint64_t seed;
} wk_redeal_t;

/* Which split each question of the store is in now. Release `of` with hp_free. */
typedef struct {
    int splits;
    const char *split[WK_REDEAL_SPLITS]; /* names; owned by the store and the options */
    uint8_t *of;                         /* [questions]; WK_REDEAL_LEFT_OUT: none */
    uint64_t kept, held, left_out;       /* questions */
    /* Of PRIORS: between kept and held, the mean over held questions of their type's distance in
     * total variation between the answers' distributions, 0 alike .. 1 nothing in common; and the
     * share of held questions whose answer some kept question has. */
    double distance, covered;
} wk_dealt_t;

/* RANDOM, IMAGE: by a shuffle. PRIORS: questions of one type and one answer go together. In an
 * order by chance such a group goes to `held` if its type keeps another group; then for each word
 * of its type and its answer that no kept group has, the largest group that has it is kept, where
 * there is one; until the share is reached. Questions without an answer are left out. HP_INPUT:
 * nothing would be left in one of the two. */
hp_status_t wk_redeal(hp_store_t *store, const wk_redeal_t *redeal, wk_dealt_t *dealt,
                      hp_error_t *err) HP_MUST_CHECK;

#endif
