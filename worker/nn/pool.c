#include "worker/nn/pool.h"

#include "common/parallel.h"
#include "worker/nn/rows.h"

/* index: of the question's cells, in rows after `first`. */
static void pool_question(int width, const nn_real *first, const int *index, int count,
                          const nn_real *q, nn_real *out) {
    for (int c = 0; c < width; c++) out[c] = (nn_real)count * q[c];
    for (int s = 0; s < count; s++) nn_add(width, nn_row_const(first, index[s], width), out);
}

typedef struct {
    const nn_selected_t *selected;
    const nn_batch_t *batch; /* x: cells of the batch; NULL: packed rows */
    int width;
    const nn_real *x, *q, *grad_out;
    nn_real *out, *grad_q, *grad_x;
} pooling_t;

static void pool_questions(void *context, int64_t first, int64_t last) {
    const pooling_t *p = context;
    const nn_selected_t *selected = p->selected;
    for (int64_t i = first; i < last; i++) {
        int begin = selected->offset[i], count = selected->offset[i + 1] - begin;
        const int *index = (p->batch != NULL ? selected->cell : selected->row) + begin;
        int64_t origin = p->batch != NULL ? p->batch->cell_offset[p->batch->image[i]] : 0;
        pool_question(p->width, p->x + origin * p->width, index, count, p->q + i * p->width,
                      p->out + i * p->width);
    }
}

static void pool(pooling_t *p) {
    const int questions = p->selected->questions;
    const int64_t each = questions > 0 ? p->selected->slots / questions + 1 : 1;
    hp_parallel(questions, hp_parallel_rows(each * p->width), pool_questions, p);
}

void nn_pool_forward(const nn_selected_t *selected, int width, const nn_real *x, const nn_real *q,
                     nn_real *out) {
    pool(&(pooling_t){.selected = selected, .width = width, .x = x, .q = q, .out = out});
}

void nn_pool_forward_cells(const nn_batch_t *batch, const nn_selected_t *selected, int width,
                           const nn_real *x, const nn_real *q, nn_real *out) {
    pool(&(pooling_t){
        .selected = selected, .batch = batch, .width = width, .x = x, .q = q, .out = out});
}

/* Some columns: questions that share a cell add to it in their order. */
static void spread_columns(void *context, int64_t first, int64_t last) {
    const pooling_t *p = context;
    const nn_selected_t *selected = p->selected;
    const int n = (int)(last - first);
    for (int i = 0; i < selected->questions; i++) {
        int begin = selected->offset[i], end = selected->offset[i + 1];
        const nn_real *g = nn_row_const(p->grad_out, i, p->width) + first;
        nn_axpy(n, (nn_real)(end - begin), g, nn_row(p->grad_q, i, p->width) + first);
        for (int s = begin; s < end && p->grad_x != NULL; s++)
            nn_add(n, g, nn_row(p->grad_x, selected->row[s], p->width) + first);
    }
}

void nn_pool_backward(const nn_selected_t *selected, int width, const nn_real *grad_out,
                      nn_real *grad_q, nn_real *grad_x) {
    pooling_t p = {.selected = selected,
                   .width = width,
                   .grad_out = grad_out,
                   .grad_q = grad_q,
                   .grad_x = grad_x};
    hp_parallel(width, hp_parallel_rows(selected->slots), spread_columns, &p);
}
