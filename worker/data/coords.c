#include "worker/data/coords.h"

#include <stddef.h>

int wk_coords_channels(hp_coords_t coords) {
    return coords == HP_COORDS_BOX ? 4 : coords == HP_COORDS_XY ? 2 : 0;
}

bool wk_coords_from_boxes(hp_coords_t coords, const hp_store_info_t *info) {
    return coords != HP_COORDS_NONE && info->grid_height * info->grid_width == 0;
}

double wk_coords_centre(int i, int n) {
    return n > 1 ? (double)(2 * i - (n - 1)) / (double)(n - 1) : 0;
}

/* -1 .. 1 over the edges of n columns or rows. */
static float edge(int i, int n) { return -1.0f + 2.0f * (float)i / (float)n; }

int wk_coords_place(hp_coords_t coords, const hp_store_info_t *info, const float *boxes, int cell,
                    float out[WK_COORDS]) {
    static const float none[WK_COORDS] = {0}; /* not read: there is a grid */
    int height = info->grid_height, width = info->grid_width;
    bool grid = height * width > 0;
    int x = grid ? cell % width : 0, y = grid ? cell / width : 0;
    const float *box = boxes != NULL ? boxes + 4 * (size_t)cell : none;
    if (coords == HP_COORDS_XY) {
        out[0] = grid ? (float)wk_coords_centre(x, width) : box[0] + box[2] - 1;
        out[1] = grid ? (float)wk_coords_centre(y, height) : box[1] + box[3] - 1;
    }
    if (coords == HP_COORDS_BOX) {
        out[0] = grid ? edge(x, width) : 2 * box[0] - 1;
        out[1] = grid ? edge(y, height) : 2 * box[1] - 1;
        out[2] = grid ? edge(x + 1, width) : 2 * box[2] - 1;
        out[3] = grid ? edge(y + 1, height) : 2 * box[3] - 1;
    }
    return wk_coords_channels(coords);
}

bool wk_coords_are_fractions(const float *boxes, int n) {
    for (int i = 0; i < 4 * n; i++)
        if (!(boxes[i] >= -0.5f && boxes[i] <= 1.5f)) return false;
    return true;
}
