/* The page and the pictures of `hanps masks`: what the model looked at, what it said, what is true.
 */
#ifndef WK_MASKS_PAGE_H
#define WK_MASKS_PAGE_H

#include "worker/report/mask.h"

#include <stdbool.h>
#include <stdint.h>

enum { WK_MASKS_GUESSES = 3 };

/* Plain data; strings belong to the caller. */
typedef struct {
    const char *name;
    double accuracy; /* percent */
    uint64_t questions;
} wk_masks_group_t;

typedef struct {
    const char *run, *split, *source; /* source: where the data comes from */
    const char *model;                /* one line: attention and aggregation */
    int64_t step;
    uint64_t questions; /* that accuracy and cells_mean speak of */
    double accuracy;    /* percent */
    double cells_mean;
    int max_cells;
    int groups; /* accuracy by answer type */
    const wk_masks_group_t *group;
    int right, partly, wrong; /* among the questions on the page */
    bool presence;            /* some cards have presences */
} wk_masks_summary_t;

typedef struct {
    int64_t question_id;
    uint32_t image; /* ordinal: names the picture given to wk_masks_page_picture */
    const char *image_name, *question, *question_type, *truth;
    double score; /* of the first guess, 0 .. 1 */
    int guesses;
    struct {
        const char *text;
        double probability;
    } guess[WK_MASKS_GUESSES]; /* best first */
    int width, height;         /* of the picture; 0, 0: there is none */
    wk_mask_t mask;
} wk_masks_card_t;

/* In this order: begin; for each card its picture, where it was not given before, and the card;
 * end. */
void wk_masks_page_begin(FILE *out, const wk_masks_summary_t *summary);
void wk_masks_page_picture(FILE *out, uint32_t image, const char *type, const void *data,
                           size_t bytes);
void wk_masks_page_card(FILE *out, const wk_masks_card_t *card);
void wk_masks_page_end(FILE *out, const wk_masks_summary_t *summary);

/* The card as one picture: the masked image with question, answer and truth below it. */
hp_status_t wk_masks_picture(const wk_masks_card_t *card, const wk_picture_t *picture,
                             wk_picture_t *out, hp_error_t *err) HP_MUST_CHECK;

#endif
