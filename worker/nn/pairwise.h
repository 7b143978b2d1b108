/* The non-local pairwise operator (Malinowski et al. 2018, equation 7) over the selected cells of a
 * question, then a sum. For each head, with m = x + q and all sums over the selected cells:
 *
 *     query_l = Wq m_l    key_i = Wk m_i    value_i = Wv m_i
 *     x~_l = sum_i softmax_i(scale query_l.key_i) value_i        out = sum_l x~_l
 *
 * No residual, bias or output projection. scale is 1 as the paper writes it, or 1/sqrt(head_width)
 * as Vaswani et al. 2017 have it. As out is a sum over l, it needs only the column sums of the
 * softmax: out = sum_i a_i value_i, a_i = sum_l softmax_li.
 *
 * The projections are linear: W m = W x + W q. So each packed row (a distinct cell) and each
 * question is projected once, rows + questions products of length width, instead of one for every
 * slot. For an image with 4 questions of 16 cells, 20 of them distinct, that is 24 instead of 64;
 * where nothing is shared it is one more a question, 1/k of the work, and still never builds m. */
#ifndef NN_PAIRWISE_H
#define NN_PAIRWISE_H

#include "common/gemm.h"
#include "worker/nn/select.h"

#include <stdbool.h>

typedef struct {
    int width; /* of x and q */
    int heads, head_width;
    bool scale;
} nn_pairwise_shape_t;

typedef struct {
    nn_pairwise_shape_t shape;
    nn_real *row;           /* [rows][3 heads head_width]: W x of each packed row */
    nn_real *question;      /* [questions][3 heads head_width]: W q */
    nn_real *grad_row;      /* as row */
    nn_real *grad_question; /* as question */
    nn_real *slot;          /* [max_cells][3 heads head_width]: W m of one question's cells */
    nn_real *grad_slot;     /* as slot */
    nn_real *score;         /* [NN_PAIRWISE_TILE][max_cells] */
    nn_real *column;        /* [max_cells]: column sums of the softmax */
    nn_real *grad_column;   /* as column */
    /* Of the projections; NULL: OpenBLAS. May be set after the take, with the weight rounded where
     * the engine is a bf16 one. Scores and what is weighed by them are small, and stay full. */
    hp_gemm_engine_t *engine;
    const hp_bf16_t *rounded;
} nn_pairwise_t;

/* Rows of the score matrix held at once: memory is linear in the cells. */
#define NN_PAIRWISE_TILE 64

static inline int nn_pairwise_out(const nn_pairwise_shape_t *shape) {
    return shape->heads * shape->head_width;
}

/* Take the workspace for up to so many packed rows and questions, and max_cells selected by one
 * question. `train`: with what backward needs. */
void nn_pairwise_take(nn_pairwise_t *pairwise, hp_arena_t *arena, const nn_pairwise_shape_t *shape,
                      int rows, int questions, int max_cells, bool train);

/* weight: [3 heads head_width][width]: the rows of Wq, then Wk, then Wv, each head by head (as
 * in_proj_weight of torch.nn.MultiheadAttention). x: [rows][width], packed; q: [questions][width].
 * out: [questions][heads head_width]; zero where a question has no cell. Returns the multiply-adds
 * of the matrix products, as does backward. */
int64_t nn_pairwise_forward(nn_pairwise_t *pairwise, const nn_selected_t *selected,
                            const nn_real *weight, const nn_real *x, const nn_real *q,
                            nn_real *out);

/* After forward of the same selection. grad_weight, grad_x and grad_q are added to; grad_x may be
 * NULL where x is not trained. */
int64_t nn_pairwise_backward(nn_pairwise_t *pairwise, const nn_selected_t *selected,
                             const nn_real *weight, const nn_real *x, const nn_real *q,
                             const nn_real *grad_out, nn_real *grad_weight, nn_real *grad_x,
                             nn_real *grad_q);

#endif
