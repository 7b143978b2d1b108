/* Stacked attention (SAN; Yang et al. 2016, equations 15 to 22) over the cells of a question. From
 * u_0 = q, for each hop, with all sums over the question's cells:
 *
 *     h_i = tanh(W_I v_i + W_Q u + b)    p = softmax_i(w.h_i)    u <- u + sum_i p_i v_i
 *
 * and out = u after the last hop. v are the packed rows x; the question meets the image in h alone.
 * The bias of the score in the paper is left out: the softmax cancels it. (The authors' code
 * applies tanh to each term of h and to the score too; this is the paper's form.) W_I v is computed
 * once for each packed row, so questions of an image share it. */
#ifndef NN_STACKED_H
#define NN_STACKED_H

#include "common/gemm.h"
#include "worker/nn/select.h"

#include <stdbool.h>

enum { NN_STACKED_HOPS = 8 };

typedef struct {
    int width;     /* of v, q and u */
    int attention; /* width of h */
    int hops;      /* 1 or more */
} nn_stacked_shape_t;

/* Of each hop: image [attention][width] (W_I), question [attention][width] (W_Q) and bias
 * [attention] as torch.nn.Linear has them; score [attention] (w). */
typedef struct {
    const nn_real *image[NN_STACKED_HOPS], *question[NN_STACKED_HOPS];
    const nn_real *bias[NN_STACKED_HOPS], *score[NN_STACKED_HOPS];
    /* image and question, for a bf16 engine; else NULL */
    const hp_bf16_t *image_rounded[NN_STACKED_HOPS], *question_rounded[NN_STACKED_HOPS];
} nn_stacked_weights_t;

/* Added to by backward. x may be NULL (frozen). */
typedef struct {
    nn_real *image[NN_STACKED_HOPS], *question[NN_STACKED_HOPS];
    nn_real *bias[NN_STACKED_HOPS], *score[NN_STACKED_HOPS];
    nn_real *x, *q;
} nn_stacked_grads_t;

typedef struct {
    nn_stacked_shape_t shape;
    bool train;
    nn_real *row;                /* [rows][attention]: W_I v of the hop at hand */
    nn_real *question;           /* [questions][attention]: W_Q u + b */
    nn_real *h[NN_STACKED_HOPS]; /* [slots][attention]; not `train`: h[0] alone, [max_cells] */
    nn_real *p[NN_STACKED_HOPS]; /* [slots], the attention of each hop */
    nn_real *u[NN_STACKED_HOPS]; /* [questions][width], before the hop */
    nn_real *grad_row, *grad_question; /* as row and question */
    nn_real *grad_u;                   /* [questions][width] */
    nn_real *grad_p;                   /* [max_cells] */
    hp_gemm_engine_t *engine; /* of the products; NULL: OpenBLAS. May be set after the take. */
} nn_stacked_t;

/* Take the workspace for up to so many packed rows, questions and slots, max_cells of one question.
 * `train`: with what backward needs. */
void nn_stacked_take(nn_stacked_t *stacked, hp_arena_t *arena, const nn_stacked_shape_t *shape,
                     int rows, int questions, size_t slots, int max_cells, bool train);

/* x: [rows][width], packed; q, out: [questions][width]. Returns the multiply-adds, as does
 * backward. */
int64_t nn_stacked_forward(nn_stacked_t *stacked, const nn_selected_t *selected,
                           const nn_stacked_weights_t *weights, const nn_real *x, const nn_real *q,
                           nn_real *out);

/* After forward of the same selection and input, with `train`. */
int64_t nn_stacked_backward(nn_stacked_t *stacked, const nn_selected_t *selected,
                            const nn_stacked_weights_t *weights, const nn_real *x,
                            const nn_real *grad_out, const nn_stacked_grads_t *grads);

#endif
