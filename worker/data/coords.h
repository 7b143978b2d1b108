/* A cell's place in the image as further channels of its features, from -1 (left, top) to 1.
 *
 *   xy    x, y: on a grid from the first column's and row's centre to the last's, 0 where there is
 *         one alone; of boxes the centre
 *   box   x1, y1, x2, y2: the box, or the grid's cell */
#ifndef WK_COORDS_H
#define WK_COORDS_H

#include "common/config.h"
#include "common/store.h"

#include <stdbool.h>

int wk_coords_channels(hp_coords_t coords);

/* The centre of column or row i of n: from -1, the first, to 1, the last; 0 of one alone. */
double wk_coords_centre(int i, int n);

/* Boxes are needed: the cells lie on no grid. */
bool wk_coords_from_boxes(hp_coords_t coords, const hp_store_info_t *info);

enum { WK_COORDS = 4 }; /* at most */

/* Those of a cell; returns their number. boxes: [cells][4], fractions of the image's width and
 * height; not read where there is a grid, or no coordinates. */
int wk_coords_place(hp_coords_t coords, const hp_store_info_t *info, const float *boxes, int cell,
                    float out[WK_COORDS]);

/* Are these fractions? Detectors' boxes may reach a little beyond the image. */
bool wk_coords_are_fractions(const float *boxes, int n);

#endif
