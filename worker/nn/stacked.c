#include "worker/nn/stacked.h"

#include "common/vector.h"
#include "worker/nn/gemm.h"
#include "worker/nn/rows.h"

#include <string.h>

void nn_stacked_take(nn_stacked_t *stacked, hp_arena_t *arena, const nn_stacked_shape_t *shape,
                     int rows, int questions, size_t slots, int max_cells, bool train) {
    *stacked = (nn_stacked_t){.shape = *shape, .train = train};
    size_t wide = (size_t)shape->width * sizeof(nn_real);
    size_t inner = (size_t)shape->attention * sizeof(nn_real);
    size_t n = (size_t)questions;
    stacked->row = hp_arena_take(arena, (size_t)rows, inner);
    stacked->question = hp_arena_take(arena, n, inner);
    for (int hop = 0; hop < shape->hops; hop++) {
        if (train || hop == 0)
            stacked->h[hop] = hp_arena_take(arena, train ? slots : (size_t)max_cells, inner);
        stacked->p[hop] = hp_arena_take(arena, slots, sizeof(nn_real));
        stacked->u[hop] = hp_arena_take(arena, n, wide);
    }
    if (!train) return;
    stacked->grad_row = hp_arena_take(arena, (size_t)rows, inner);
    stacked->grad_question = hp_arena_take(arena, n, inner);
    stacked->grad_u = hp_arena_take(arena, n, wide);
    stacked->grad_p = hp_arena_take(arena, (size_t)max_cells, sizeof(nn_real));
}

/* h of a question's first cell in a hop. */
static nn_real *hidden(const nn_stacked_t *stacked, int hop, int begin) {
    return stacked->train ? nn_row(stacked->h[hop], begin, stacked->shape.attention)
                          : stacked->h[0];
}

/* h = tanh(x + y) */
HP_VECTOR static void tanh_sum(int n, const nn_real *restrict x, const nn_real *restrict y,
                               nn_real *restrict h) {
    for (int i = 0; i < n; i++) h[i] = nn_tanh(x[i] + y[i]);
}

/* u += the question's attended cells. */
static void attend(nn_stacked_t *stacked, const nn_selected_t *selected, int hop, int question,
                   const nn_real *score, const nn_real *x, nn_real *u) {
    int a = stacked->shape.attention, d = stacked->shape.width;
    int begin = selected->offset[question], k = selected->offset[question + 1] - begin;
    if (k == 0) return;
    const int *row = selected->row + begin;
    const nn_real *shared = nn_row_const(stacked->question, question, a);
    nn_real *h = hidden(stacked, hop, begin), *p = stacked->p[hop] + begin;
    for (int s = 0; s < k; s++, h += a) {
        const nn_real *own = nn_row_const(stacked->row, row[s], a);
        tanh_sum(a, own, shared, h);
        p[s] = nn_dot(a, score, h);
    }
    nn_softmax(k, p);
    for (int s = 0; s < k; s++) nn_axpy(d, p[s], nn_row_const(x, row[s], d), u);
}

/* Multiply-adds of what is done slot by slot. */
static int64_t slot_madds(const nn_stacked_t *stacked, const nn_selected_t *selected) {
    return (int64_t)selected->slots * (stacked->shape.attention + stacked->shape.width);
}

int64_t nn_stacked_forward(nn_stacked_t *stacked, const nn_selected_t *selected,
                           const nn_stacked_weights_t *weights, const nn_real *x, const nn_real *q,
                           nn_real *out) {
    int d = stacked->shape.width, a = stacked->shape.attention, questions = selected->questions;
    size_t bytes = (size_t)questions * (size_t)d * sizeof *out;
    int64_t madds = 0;
    memcpy(out, q, bytes);
    for (int hop = 0; hop < stacked->shape.hops; hop++) {
        memcpy(stacked->u[hop], out, bytes);
        for (int i = 0; i < questions; i++)
            memcpy(nn_row(stacked->question, i, a), weights->bias[hop], (size_t)a * sizeof *out);
        madds +=
            nn_product(stacked->engine, false, true, selected->rows, a, d, x, d,
                       weights->image[hop], weights->image_rounded[hop], d, false, stacked->row, a);
        madds += nn_product(stacked->engine, false, true, questions, a, d, stacked->u[hop], d,
                            weights->question[hop], weights->question_rounded[hop], d, true,
                            stacked->question, a);
        for (int i = 0; i < questions; i++)
            attend(stacked, selected, hop, i, weights->score[hop], x, nn_row(out, i, d));
        madds += slot_madds(stacked, selected);
    }
    return madds;
}

/* Of one cell: through tanh to both terms of its sum, and to the score. */
HP_VECTOR static void cell_backward(int n, nn_real grad, const nn_real *restrict score,
                                    const nn_real *restrict h, nn_real *restrict own,
                                    nn_real *restrict shared, nn_real *restrict grad_score) {
    for (int c = 0; c < n; c++) {
        nn_real z = grad * score[c] * (1 - h[c] * h[c]);
        own[c] += z;
        shared[c] += z;
        grad_score[c] += grad * h[c];
    }
}

/* One question's part of grad_row and grad_question, and of the gradients of score and x. */
static void attend_backward(nn_stacked_t *stacked, const nn_selected_t *selected, int hop,
                            int question, const nn_real *score, const nn_real *x,
                            const nn_stacked_grads_t *grads) {
    int a = stacked->shape.attention, d = stacked->shape.width;
    int begin = selected->offset[question], k = selected->offset[question + 1] - begin;
    const int *row = selected->row + begin;
    const nn_real *g = nn_row_const(stacked->grad_u, question, d);
    const nn_real *h = hidden(stacked, hop, begin), *p = stacked->p[hop] + begin;
    nn_real *grad_p = stacked->grad_p, *shared = nn_row(stacked->grad_question, question, a);
    for (int s = 0; s < k; s++) grad_p[s] = nn_dot(d, g, nn_row_const(x, row[s], d));
    nn_real mean = nn_dot(k, p, grad_p);
    for (int s = 0; s < k; s++, h += a) {
        cell_backward(a, p[s] * (grad_p[s] - mean), score, h, nn_row(stacked->grad_row, row[s], a),
                      shared, grads->score[hop]);
        if (grads->x != NULL) nn_axpy(d, p[s], g, nn_row(grads->x, row[s], d));
    }
}

int64_t nn_stacked_backward(nn_stacked_t *stacked, const nn_selected_t *selected,
                            const nn_stacked_weights_t *weights, const nn_real *x,
                            const nn_real *grad_out, const nn_stacked_grads_t *grads) {
    int d = stacked->shape.width, a = stacked->shape.attention;
    int questions = selected->questions, rows = selected->rows;
    nn_real *grad_u = stacked->grad_u, *grad_row = stacked->grad_row;
    nn_real *grad_question = stacked->grad_question;
    int64_t madds = 0;
    memcpy(grad_u, grad_out, (size_t)questions * (size_t)d * sizeof *grad_u);
    for (int hop = stacked->shape.hops - 1; hop >= 0; hop--) {
        memset(grad_row, 0, (size_t)rows * (size_t)a * sizeof *grad_row);
        memset(grad_question, 0, (size_t)questions * (size_t)a * sizeof *grad_question);
        for (int i = 0; i < questions; i++)
            attend_backward(stacked, selected, hop, i, weights->score[hop], x, grads);
        for (int i = 0; i < questions; i++)
            nn_add(a, nn_row(grad_question, i, a), grads->bias[hop]);
        madds += nn_product(stacked->engine, true, false, a, d, rows, grad_row, a, x, NULL, d, true,
                            grads->image[hop], d);
        madds += nn_product(stacked->engine, true, false, a, d, questions, grad_question, a,
                            stacked->u[hop], NULL, d, true, grads->question[hop], d);
        if (grads->x != NULL)
            madds +=
                nn_product(stacked->engine, false, false, rows, d, a, grad_row, a,
                           weights->image[hop], weights->image_rounded[hop], d, true, grads->x, d);
        madds +=
            nn_product(stacked->engine, false, false, questions, d, a, grad_question, a,
                       weights->question[hop], weights->question_rounded[hop], d, true, grad_u, d);
        madds += 2 * slot_madds(stacked, selected);
    }
    for (int i = 0; i < questions; i++) nn_add(d, nn_row(grad_u, i, d), nn_row(grads->q, i, d));
    return madds;
}
