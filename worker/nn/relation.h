/* The Relation Network (Santoro et al. 2017) over the selected cells of a question:
 *
 *     out = sum_i sum_j g(o_i, o_j, q)
 *
 * over all ordered pairs of selected cells, i = j included; g is a stack of linear layers, a ReLU
 * after each. An object o_i is a packed row x_i, or m_i = x_i + shift with a shift for each
 * question. What follows the sum (f) is the classifier.
 *
 * g's first layer is linear in its input: W [o_i; o_j; q] + b = A x_i + B x_j + (C q + (A + B)
 * shift + b). The three terms are computed for each row and each question, not for each pair,
 * forward and backward. Pairs exist a tile at a time; their activations are kept for backward where
 * the whole batch fits the workspace, else computed again. */
#ifndef NN_RELATION_H
#define NN_RELATION_H

#include "common/gemm.h"
#include "worker/nn/select.h"

#include <stdbool.h>

enum {
    NN_RELATION_LAYERS = 8,
    NN_RELATION_TILE = 512 /* pairs at once */
};

typedef struct {
    int width;          /* of an object */
    int question_width; /* of q */
    int layers;         /* of g, 1 or more */
    int size[NN_RELATION_LAYERS];
} nn_relation_shape_t;

/* Layouts of torch.nn.Linear. weight[0] is [size[0]][2 width + question_width], its columns those
 * of o_i, o_j and q; weight[l] is [size[l]][size[l - 1]]; bias[l] is [size[l]]. */
typedef struct {
    const nn_real *weight[NN_RELATION_LAYERS], *bias[NN_RELATION_LAYERS];
    const hp_bf16_t *rounded[NN_RELATION_LAYERS]; /* weight, for a bf16 engine; else NULL */
} nn_relation_weights_t;

typedef struct {
    const nn_real *x;     /* [rows][width], packed */
    const nn_real *shift; /* [questions][width], or NULL: objects are the rows themselves */
    const nn_real *q;     /* [questions][question_width] */
} nn_relation_in_t;

/* Added to by backward. x may be NULL (frozen); shift is not read where the input has none. */
typedef struct {
    nn_real *weight[NN_RELATION_LAYERS], *bias[NN_RELATION_LAYERS];
    nn_real *x, *shift, *q;
} nn_relation_grads_t;

typedef struct {
    nn_relation_shape_t shape;
    int64_t capacity;                  /* pairs whose activations fit */
    bool kept;                         /* forward left those of all pairs */
    nn_real *row;                      /* [rows][2 size[0]]: A x and B x */
    nn_real *question;                 /* [questions][size[0]] */
    nn_real *act[NN_RELATION_LAYERS];  /* [capacity][size[l]]: what each layer of g gives */
    int *pair;                         /* [3][NN_RELATION_TILE]: question, slot i, slot j */
    nn_real *grad_row, *grad_question; /* as row and question */
    nn_real *grad_pair[2];             /* [NN_RELATION_TILE][widest layer] */
    hp_gemm_engine_t *engine; /* of the products; NULL: OpenBLAS. May be set after the take. */
} nn_relation_t;

static inline int nn_relation_out(const nn_relation_shape_t *shape) {
    return shape->size[shape->layers - 1];
}

/* Take the workspace for up to so many packed rows and questions. `pairs`: how many pairs may keep
 * their activations (the sum of squares of the questions' selected cells, or less to bound the
 * memory; NN_RELATION_TILE at least is taken). `train`: with what backward needs. */
void nn_relation_take(nn_relation_t *relation, hp_arena_t *arena, const nn_relation_shape_t *shape,
                      int rows, int questions, int64_t pairs, bool train);

/* out: [questions][size of the last layer]. Returns the multiply-adds, as do the others. */
int64_t nn_relation_forward(nn_relation_t *relation, const nn_selected_t *selected,
                            const nn_relation_weights_t *weights, const nn_relation_in_t *in,
                            nn_real *out);

/* After forward of the same selection and input. */
int64_t nn_relation_backward(nn_relation_t *relation, const nn_selected_t *selected,
                             const nn_relation_weights_t *weights, const nn_relation_in_t *in,
                             const nn_real *grad_out, const nn_relation_grads_t *grads);

/* The straight-through estimator's part (Bengio et al. 2013): the gradient of
 *
 *     out = sum_i sum_j b_i b_j g(o_i, o_j, q)
 *
 * with respect to b, where b is 1 for a selected cell and 0 for another, so that
 * db_i = sum over selected j of (g(o_i, o_j, q) + g(o_j, o_i, q)).grad_out, for all cells i.
 * all: a selection of every cell, with the same packed rows as forward's; gate: [all->slots], b;
 * grad_gate: [all->slots], overwritten. After forward. */
int64_t nn_relation_gate_backward(nn_relation_t *relation, const nn_selected_t *all,
                                  const unsigned char *gate, const nn_relation_weights_t *weights,
                                  const nn_real *grad_out, nn_real *grad_gate);

#endif
