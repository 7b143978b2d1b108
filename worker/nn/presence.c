#include "worker/nn/presence.h"

#include "common/parallel.h"
#include "worker/nn/gemm.h"
#include "worker/nn/rows.h"

#include <math.h>
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

typedef struct {
    int width;
    const nn_real *x;
    nn_real *norm;
} norms_t;

static void norms_of(void *context, int64_t begin, int64_t end) {
    const norms_t *n = context;
    for (int64_t r = begin; r < end; r++) {
        const nn_real *row = n->x + r * n->width;
        n->norm[r] = nn_dot(n->width, row, row);
    }
}

void nn_squared_norms(int rows, int width, const nn_real *x, nn_real *norm) {
    norms_t norms = {width, x, norm};
    hp_parallel(rows, hp_parallel_rows(width), norms_of, &norms);
}

void nn_presence_image_only(const nn_batch_t *batch, const nn_real *norm, const int *offset,
                            nn_real *presence) {
    for (int q = 0; q < batch->questions; q++) {
        int image = batch->image[q];
        memcpy(presence + offset[q], norm + batch->cell_offset[image],
               (size_t)cells_of(batch, image) * sizeof *presence);
    }
}

/* The first question after `first` of another image. */
static int end_of_image(const nn_batch_t *batch, int first) {
    int end = first + 1;
    while (end < batch->questions && batch->image[end] == batch->image[first]) end++;
    return end;
}

int64_t nn_presence(const nn_batch_t *batch, int width, const nn_real *x, const nn_real *q,
                    const nn_real *norm, const int *offset, nn_real *presence) {
    int64_t madds = 0;
    nn_presence_image_only(batch, norm, offset, presence);
    for (int first = 0, end; first < batch->questions; first = end) {
        int image = batch->image[first], n = cells_of(batch, image);
        end = end_of_image(batch, first);
        /* [questions of the image][n] += 2 q x^T */
        madds += nn_gemm(false, true, end - first, n, width, 2, nn_row_const(q, first, width),
                         width, nn_row_const(x, batch->cell_offset[image], width), width, 1,
                         presence + offset[first], n);
    }
    return madds;
}

/* grad_p: from the gradient of p to what m is to be multiplied by. */
static void divide_by_norm(int n, const nn_real *presence, nn_real question_norm, nn_real *grad_p) {
    for (int i = 0; i < n; i++) {
        nn_real square = presence[i] + question_norm;
        grad_p[i] = square > 0 ? grad_p[i] / (nn_real)sqrt((double)square) : 0;
    }
}

int64_t nn_presence_backward(const nn_batch_t *batch, int width, const nn_real *x, const nn_real *q,
                             const nn_real *question_norm, const nn_real *presence,
                             const int *offset, nn_real *grad_p, nn_real *grad_x, nn_real *grad_q) {
    int64_t madds = 0;
    for (int first = 0, end; first < batch->questions; first = end) {
        int image = batch->image[first], n = cells_of(batch, image);
        int cell = batch->cell_offset[image];
        const nn_real *c = grad_p + offset[first], *xs = nn_row_const(x, cell, width);
        end = end_of_image(batch, first);
        for (int i = first; i < end; i++)
            divide_by_norm(n, presence + offset[i], question_norm[i], grad_p + offset[i]);
        /* dq = sum_i c_i (x_i + q); dx_i = sum over questions of c (x_i + q) */
        madds += nn_gemm(false, false, end - first, width, n, 1, c, n, xs, width, 1,
                         nn_row(grad_q, first, width), width);
        if (grad_x != NULL)
            madds +=
                nn_gemm(true, false, n, width, end - first, 1, c, n, nn_row_const(q, first, width),
                        width, 1, nn_row(grad_x, cell, width), width);
        for (int i = first; i < end; i++)
            for (int k = 0; k < n; k++) {
                nn_real scale = grad_p[offset[i] + k];
                nn_axpy(width, scale, nn_row_const(q, i, width), nn_row(grad_q, i, width));
                if (grad_x != NULL)
                    nn_axpy(width, scale, nn_row_const(xs, k, width),
                            nn_row(grad_x, cell + k, width));
            }
    }
    return madds;
}
