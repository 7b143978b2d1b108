#include "worker/nn/pairwise.h"

#include "worker/nn/gemm.h"
#include "worker/nn/rows.h"

#include <math.h>
#include <string.h>

/* Columns of a projected row: queries, keys and values of all heads. */
static int projected(const nn_pairwise_t *pairwise) {
    return 3 * nn_pairwise_out(&pairwise->shape);
}

void nn_pairwise_take(nn_pairwise_t *pairwise, hp_arena_t *arena, const nn_pairwise_shape_t *shape,
                      int rows, int questions, int max_cells, bool train) {
    *pairwise = (nn_pairwise_t){.shape = *shape};
    size_t columns = (size_t)projected(pairwise), cells = (size_t)max_cells;
    size_t row = (size_t)rows * columns, question = (size_t)questions * columns;
    pairwise->row = hp_arena_take(arena, row, sizeof(nn_real));
    pairwise->question = hp_arena_take(arena, question, sizeof(nn_real));
    pairwise->slot = hp_arena_take(arena, cells * columns, sizeof(nn_real));
    pairwise->score = hp_arena_take(arena, NN_PAIRWISE_TILE * cells, sizeof(nn_real));
    pairwise->column = hp_arena_take(arena, cells, sizeof(nn_real));
    if (!train) return;
    pairwise->grad_row = hp_arena_take(arena, row, sizeof(nn_real));
    pairwise->grad_question = hp_arena_take(arena, question, sizeof(nn_real));
    pairwise->grad_slot = hp_arena_take(arena, cells * columns, sizeof(nn_real));
    pairwise->grad_column = hp_arena_take(arena, cells, sizeof(nn_real));
}

/* slot [k][projected] = W m of the question's cells. Returns k. */
static int gather_slots(const nn_pairwise_t *pairwise, const nn_selected_t *selected,
                        int question) {
    int columns = projected(pairwise), begin = selected->offset[question];
    int k = selected->offset[question + 1] - begin;
    const nn_real *shared = nn_row_const(pairwise->question, question, columns);
    for (int s = 0; s < k; s++) {
        const nn_real *own = nn_row_const(pairwise->row, selected->row[begin + s], columns);
        nn_real *slot = nn_row(pairwise->slot, s, columns);
        for (int c = 0; c < columns; c++) slot[c] = own[c] + shared[c];
    }
    return k;
}

static nn_real score_scale(const nn_pairwise_shape_t *shape) {
    return shape->scale ? (nn_real)(1 / sqrt(shape->head_width)) : 1;
}

/* score [rows][k] = softmax of the queries of slots first .. first + rows, and column += its column
 * sums. Returns the multiply-adds. */
static int64_t attend(const nn_pairwise_t *pairwise, int head, int k, int first, int rows) {
    const nn_pairwise_shape_t *shape = &pairwise->shape;
    int columns = projected(pairwise), w = shape->head_width;
    const nn_real *query = nn_row(pairwise->slot, first, columns) + head * w;
    const nn_real *key = pairwise->slot + nn_pairwise_out(shape) + head * w;
    int64_t madds = nn_gemm(false, true, rows, k, w, score_scale(shape), query, columns, key,
                            columns, 0, pairwise->score, k);
    for (int l = 0; l < rows; l++) {
        nn_softmax(k, nn_row(pairwise->score, l, k));
        nn_add(k, nn_row(pairwise->score, l, k), pairwise->column);
    }
    return madds;
}

static int tile_rows(int k, int first) {
    return k - first < NN_PAIRWISE_TILE ? k - first : NN_PAIRWISE_TILE;
}

int64_t nn_pairwise_forward(nn_pairwise_t *pairwise, const nn_selected_t *selected,
                            const nn_real *weight, const nn_real *x, const nn_real *q,
                            nn_real *out) {
    int d = pairwise->shape.width, w = pairwise->shape.head_width;
    int columns = projected(pairwise), wide = nn_pairwise_out(&pairwise->shape);
    int64_t madds = nn_product(pairwise->engine, false, true, selected->rows, columns, d, x, d,
                               weight, pairwise->rounded, d, false, pairwise->row, columns);
    madds += nn_product(pairwise->engine, false, true, selected->questions, columns, d, q, d,
                        weight, pairwise->rounded, d, false, pairwise->question, columns);
    for (int i = 0; i < selected->questions; i++) {
        int k = gather_slots(pairwise, selected, i);
        if (k == 0) memset(nn_row(out, i, wide), 0, (size_t)wide * sizeof(nn_real));
        for (int head = 0; head < pairwise->shape.heads && k > 0; head++) {
            memset(pairwise->column, 0, (size_t)k * sizeof(nn_real));
            for (int first = 0; first < k; first += NN_PAIRWISE_TILE)
                madds += attend(pairwise, head, k, first, tile_rows(k, first));
            /* out = column^T V */
            madds += nn_gemm(false, false, 1, w, k, 1, pairwise->column, k,
                             pairwise->slot + 2 * wide + head * w, columns, 0,
                             nn_row(out, i, wide) + head * w, wide);
        }
    }
    return madds;
}

/* score: from the softmax A to the gradient of what it was taken of, A (da - sum_j A da). */
static void softmax_backward(int rows, int k, const nn_real *da, nn_real *score) {
    for (int l = 0; l < rows; l++) {
        nn_real *a = nn_row(score, l, k), mean = nn_dot(k, a, da);
        for (int i = 0; i < k; i++) a[i] *= da[i] - mean;
    }
}

/* grad_slot of one head, from g [head_width], the gradient of the head's part of out. The softmax
 * is computed again, tile by tile: keeping it would cost the square of the cells. */
static int64_t backward_head(nn_pairwise_t *pairwise, int head, int k, const nn_real *g) {
    const nn_pairwise_shape_t *shape = &pairwise->shape;
    int columns = projected(pairwise), w = shape->head_width, wide = nn_pairwise_out(shape);
    const nn_real *key = pairwise->slot + wide + head * w;
    const nn_real *value = pairwise->slot + 2 * wide + head * w;
    nn_real *grad_query = pairwise->grad_slot + head * w, *grad_key = grad_query + wide;
    nn_real *grad_value = grad_query + 2 * wide, scale = score_scale(shape);
    /* out = sum_i a_i value_i: every row of the softmax has the same gradient, value_i.g */
    int64_t madds =
        nn_gemm(false, true, 1, k, w, 1, g, w, value, columns, 0, pairwise->grad_column, k);
    memset(pairwise->column, 0, (size_t)k * sizeof(nn_real));
    for (int first = 0; first < k; first += NN_PAIRWISE_TILE) {
        int rows = tile_rows(k, first);
        madds += attend(pairwise, head, k, first, rows);
        softmax_backward(rows, k, pairwise->grad_column, pairwise->score);
        madds += nn_gemm(false, false, rows, w, k, scale, pairwise->score, k, key, columns, 0,
                         nn_row(grad_query, first, columns), columns);
        madds += nn_gemm(true, false, k, w, rows, scale, pairwise->score, k,
                         nn_row(pairwise->slot, first, columns) + head * w, columns, first > 0,
                         grad_key, columns);
    }
    for (int i = 0; i < k; i++)
        for (int c = 0; c < w; c++) nn_row(grad_value, i, columns)[c] = pairwise->column[i] * g[c];
    return madds;
}

int64_t nn_pairwise_backward(nn_pairwise_t *pairwise, const nn_selected_t *selected,
                             const nn_real *weight, const nn_real *x, const nn_real *q,
                             const nn_real *grad_out, nn_real *grad_weight, nn_real *grad_x,
                             nn_real *grad_q) {
    int d = pairwise->shape.width, w = pairwise->shape.head_width, columns = projected(pairwise);
    int rows = selected->rows, questions = selected->questions;
    nn_real *grad_row = pairwise->grad_row, *grad_question = pairwise->grad_question;
    int64_t madds = 0;
    memset(grad_row, 0, (size_t)rows * (size_t)columns * sizeof(nn_real));
    memset(grad_question, 0, (size_t)questions * (size_t)columns * sizeof(nn_real));
    for (int i = 0; i < questions; i++) {
        int k = gather_slots(pairwise, selected, i);
        const nn_real *g = nn_row_const(grad_out, i, nn_pairwise_out(&pairwise->shape));
        for (int head = 0; head < pairwise->shape.heads && k > 0; head++)
            madds += backward_head(pairwise, head, k, g + head * w);
        for (int s = 0; s < k; s++) {
            const nn_real *slot = nn_row(pairwise->grad_slot, s, columns);
            nn_add(columns, slot,
                   nn_row(grad_row, selected->row[selected->offset[i] + s], columns));
            nn_add(columns, slot, nn_row(grad_question, i, columns));
        }
    }
    madds += nn_product(pairwise->engine, true, false, columns, d, rows, grad_row, columns, x, NULL,
                        d, true, grad_weight, d);
    madds += nn_product(pairwise->engine, true, false, columns, d, questions, grad_question,
                        columns, q, NULL, d, true, grad_weight, d);
    if (grad_x != NULL)
        madds += nn_product(pairwise->engine, false, false, rows, d, columns, grad_row, columns,
                            weight, pairwise->rounded, d, true, grad_x, d);
    madds += nn_product(pairwise->engine, false, false, questions, d, columns, grad_question,
                        columns, weight, pairwise->rounded, d, true, grad_q, d);
    return madds;
}
