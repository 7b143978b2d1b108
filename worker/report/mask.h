/* A picture with the cells that were selected: as pixels, and as an SVG overlay. */
#ifndef WK_MASK_H
#define WK_MASK_H

#include "common/status.h"
#include "worker/report/picture.h"

#include <stdio.h>

/* Plain data; pointers belong to the caller. */
typedef struct {
    int rows, columns; /* of the grid, row by row; 0, 0: the cells lie on no grid */
    int cells;         /* of the image */
    int selected;
    const int *cell;       /* [selected], ascending */
    const float *presence; /* [cells], any monotone measure; NULL: the model has none */
} wk_mask_t;

/* The picture, about 480 pixels on its longer side (small ones enlarged in whole steps), what was
 * not selected dimmed, the less the more present it was, and an outline around what was. Without a
 * picture (NULL) the grid alone. */
hp_status_t wk_mask_draw(const wk_picture_t *picture, const wk_mask_t *mask, wk_picture_t *out,
                         hp_error_t *err) HP_MUST_CHECK;

/* <svg> that is stretched over the picture. Classes: veil, grid, edge (the selection), heat (eight
 * levels of presence). Writes nothing where there is no grid. */
void wk_mask_svg(FILE *out, const wk_mask_t *mask);

#endif
