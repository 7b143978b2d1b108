#include "worker/nn/pool.h"

#include "worker/nn/rows.h"

/* index: of the question's cells, in rows after `first`. */
static void pool_question(int width, const nn_real *first, const int *index, int count,
                          const nn_real *q, nn_real *out) {
    for (int c = 0; c < width; c++) out[c] = (nn_real)count * q[c];
    for (int s = 0; s < count; s++) nn_add(width, nn_row_const(first, index[s], width), out);
}

void nn_pool_forward(const nn_selected_t *selected, int width, const nn_real *x, const nn_real *q,
                     nn_real *out) {
    for (int i = 0; i < selected->questions; i++) {
        int begin = selected->offset[i], count = selected->offset[i + 1] - begin;
        size_t at = (size_t)i * (size_t)width;
        pool_question(width, x, selected->row + begin, count, q + at, out + at);
    }
}

void nn_pool_forward_cells(const nn_batch_t *batch, const nn_selected_t *selected, int width,
                           const nn_real *x, const nn_real *q, nn_real *out) {
    for (int i = 0; i < selected->questions; i++) {
        int begin = selected->offset[i], count = selected->offset[i + 1] - begin;
        size_t at = (size_t)i * (size_t)width;
        size_t first = (size_t)batch->cell_offset[batch->image[i]];
        pool_question(width, x + first * (size_t)width, selected->cell + begin, count, q + at,
                      out + at);
    }
}

void nn_pool_backward(const nn_selected_t *selected, int width, const nn_real *grad_out,
                      nn_real *grad_q, nn_real *grad_x) {
    for (int i = 0; i < selected->questions; i++) {
        int begin = selected->offset[i], end = selected->offset[i + 1];
        const nn_real *g = nn_row_const(grad_out, i, width);
        nn_axpy(width, (nn_real)(end - begin), g, nn_row(grad_q, i, width));
        for (int s = begin; s < end && grad_x != NULL; s++)
            nn_add(width, g, nn_row(grad_x, selected->row[s], width));
    }
}
