#include "worker/nn/presence.h"

#include "worker/nn/gemm.h"
#include "worker/nn/rows.h"

#include <string.h>

static int cells_of(const nn_batch_t *batch, int image) {
    return batch->cell_offset[image + 1] - batch->cell_offset[image];
}

int nn_presence_offsets(const nn_batch_t *batch, int *offset) {
    offset[0] = 0;
    for (int q = 0; q < batch->questions; q++)
        offset[q + 1] = offset[q] + cells_of(batch, batch->image[q]);
    return offset[batch->questions];
}

void nn_squared_norms(int rows, int width, const nn_real *x, nn_real *norm) {
    for (int r = 0; r < rows; r++) {
        const nn_real *row = nn_row_const(x, r, width);
        norm[r] = nn_dot(width, row, row);
    }
}

void nn_presence_image_only(const nn_batch_t *batch, const nn_real *norm, const int *offset,
                            nn_real *presence) {
    for (int q = 0; q < batch->questions; q++) {
        int image = batch->image[q];
        memcpy(presence + offset[q], norm + batch->cell_offset[image],
               (size_t)cells_of(batch, image) * sizeof *presence);
    }
}

int64_t nn_presence(const nn_batch_t *batch, int width, const nn_real *x, const nn_real *q,
                    const nn_real *norm, const int *offset, nn_real *presence) {
    int64_t madds = 0;
    nn_presence_image_only(batch, norm, offset, presence);
    for (int first = 0, end; first < batch->questions; first = end) {
        int image = batch->image[first], n = cells_of(batch, image);
        for (end = first + 1; end < batch->questions && batch->image[end] == image;) end++;
        /* [questions of the image][n] += 2 q x^T */
        madds += nn_gemm(false, true, end - first, n, width, 2, nn_row_const(q, first, width),
                         width, nn_row_const(x, batch->cell_offset[image], width), width, 1,
                         presence + offset[first], n);
    }
    return madds;
}
