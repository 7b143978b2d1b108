#include "worker/nn/relation.h"

#include "common/parallel.h"
#include "common/vector.h"
#include "worker/nn/dense.h"
#include "worker/nn/gemm.h"
#include "worker/nn/linear.h"
#include "worker/nn/rows.h"

#include <string.h>

void nn_relation_take(nn_relation_t *relation, hp_arena_t *arena, const nn_relation_shape_t *shape,
                      int rows, int questions, int64_t pairs, bool train) {
    *relation = (nn_relation_t){.shape = *shape,
                                .capacity = pairs > NN_RELATION_TILE ? pairs : NN_RELATION_TILE};
    size_t first = (size_t)shape->size[0] * sizeof(nn_real), widest = 0;
    relation->row = hp_arena_take(arena, 2 * (size_t)rows, first);
    relation->question = hp_arena_take(arena, (size_t)questions, first);
    for (int l = 0; l < shape->layers; l++) {
        size_t bytes = (size_t)shape->size[l] * sizeof(nn_real);
        if (bytes > widest) widest = bytes;
        relation->act[l] = hp_arena_take(arena, (size_t)relation->capacity, bytes);
    }
    relation->pair = hp_arena_take(arena, 3 * NN_RELATION_TILE, sizeof(int));
    if (!train) return;
    relation->grad_row = hp_arena_take(arena, 2 * (size_t)rows, first);
    relation->grad_question = hp_arena_take(arena, (size_t)questions, first);
    for (int i = 0; i < 2; i++)
        relation->grad_pair[i] = hp_arena_take(arena, NN_RELATION_TILE, widest);
}

/* A walk over the ordered pairs of slots of each question, questions in order. With a gate, pairs
 * of which neither slot is open are passed over. */
typedef struct {
    const nn_selected_t *selected;
    const unsigned char *gate;
    int question, i, j; /* the next pair; slots count from the question's first */
} walk_t;

/* Some pairs: entry t of each array belongs to pair t. */
typedef struct {
    int count;
    int *question, *left, *right;
    nn_real *act[NN_RELATION_LAYERS];
} tile_t;

/* Up to NN_RELATION_TILE next pairs; their activations lie from pair `at` of the workspace. */
static tile_t next_tile(const nn_relation_t *relation, walk_t *walk, int64_t at) {
    tile_t tile = {.question = relation->pair,
                   .left = relation->pair + NN_RELATION_TILE,
                   .right = relation->pair + 2 * NN_RELATION_TILE};
    for (int l = 0; l < relation->shape.layers; l++)
        tile.act[l] = relation->act[l] + (size_t)at * (size_t)relation->shape.size[l];
    const nn_selected_t *selected = walk->selected;
    while (walk->question < selected->questions && tile.count < NN_RELATION_TILE) {
        int begin = selected->offset[walk->question];
        int k = selected->offset[walk->question + 1] - begin;
        if (walk->i >= k) {
            walk->question++;
            walk->i = walk->j = 0;
            continue;
        }
        int left = begin + walk->i, right = begin + walk->j;
        if (++walk->j == k) {
            walk->j = 0;
            walk->i++;
        }
        if (walk->gate != NULL && !walk->gate[left] && !walk->gate[right]) continue;
        tile.question[tile.count] = walk->question;
        tile.left[tile.count] = left;
        tile.right[tile.count++] = right;
    }
    return tile;
}

static int64_t count_pairs(const nn_selected_t *selected) {
    int64_t pairs = 0;
    for (int q = 0; q < selected->questions; q++) {
        int64_t k = selected->offset[q + 1] - selected->offset[q];
        pairs += k * k;
    }
    return pairs;
}

static int first_in(const nn_relation_shape_t *shape) {
    return 2 * shape->width + shape->question_width;
}

/* What the first layer needs of each row and each question. */
static int64_t project(nn_relation_t *relation, const nn_selected_t *selected,
                       const nn_relation_weights_t *weights, const nn_relation_in_t *in) {
    const nn_relation_shape_t *shape = &relation->shape;
    int d = shape->width, h = shape->size[0], ld = first_in(shape), e = shape->question_width;
    const nn_real *a = weights->weight[0], *b = a + d, *c = b + d;
    const hp_bf16_t *ra = weights->rounded[0], *rb = nn_rounded_at(ra, d),
                    *rc = nn_rounded_at(rb, d);
    int64_t madds = nn_product(relation->engine, false, true, selected->rows, h, d, in->x, d, a, ra,
                               ld, false, relation->row, 2 * h);
    madds += nn_product(relation->engine, false, true, selected->rows, h, d, in->x, d, b, rb, ld,
                        false, relation->row + h, 2 * h);
    for (int q = 0; q < selected->questions; q++)
        memcpy(nn_row(relation->question, q, h), weights->bias[0], (size_t)h * sizeof(nn_real));
    madds += nn_product(relation->engine, false, true, selected->questions, h, e, in->q, e, c, rc,
                        ld, true, relation->question, h);
    if (in->shift == NULL) return madds;
    madds += nn_product(relation->engine, false, true, selected->questions, h, d, in->shift, d, a,
                        ra, ld, true, relation->question, h);
    return madds + nn_product(relation->engine, false, true, selected->questions, h, d, in->shift,
                              d, b, rb, ld, true, relation->question, h);
}

/* out = the ReLU of a sum. */
HP_VECTOR static void add_three(int n, const nn_real *restrict a, const nn_real *restrict b,
                                const nn_real *restrict c, nn_real *restrict out) {
    for (int i = 0; i < n; i++) {
        nn_real y = a[i] + b[i] + c[i];
        out[i] = y < 0 ? 0 : y; /* a NaN stays one */
    }
}

/* Layer l of g, above the first. */
static int64_t layer_forward(const nn_relation_t *relation, const nn_relation_weights_t *weights,
                             const tile_t *tile, int l) {
    const int in = relation->shape.size[l - 1], wide = relation->shape.size[l];
    if (relation->engine == NULL)
        return nn_linear_forward(tile->count, in, wide, true, tile->act[l - 1], weights->weight[l],
                                 weights->bias[l], tile->act[l]);
    /* By void pointers: in the double build, which has no engine, these are no floats. */
    const void *weight = weights->weight[l], *bias = weights->bias[l];
    const nn_dense_t layer = {.engine = relation->engine,
                              .in_width = in,
                              .out_width = wide,
                              .activation = HP_GEMM_RELU,
                              .weight = weights->rounded[l] != NULL ? weights->rounded[l] : weight};
    return nn_dense_forward(&layer, tile->count, (nn_array_t){tile->act[l - 1], HP_GEMM_FLOAT},
                            bias, (nn_array_t){tile->act[l], HP_GEMM_FLOAT});
}

/* A tile, shared out among threads: by its pairs, or by the columns of what its pairs add up to,
 * each of which one thread sums in the order of the pairs. */
typedef struct {
    const nn_relation_t *relation;
    const nn_selected_t *selected;
    const tile_t *tile;
    const nn_real *from; /* [questions][width of the last layer], or [pairs] of the first */
    nn_real *to;
} share_t;

static void pairs_forward(void *context, int64_t begin, int64_t end) {
    const share_t *s = context;
    const int h = s->relation->shape.size[0], *row = s->selected->row;
    for (int t = (int)begin; t < (int)end; t++) {
        const nn_real *left = nn_row_const(s->relation->row, row[s->tile->left[t]], 2 * h);
        const nn_real *right = nn_row_const(s->relation->row, row[s->tile->right[t]], 2 * h) + h;
        const nn_real *question = nn_row_const(s->relation->question, s->tile->question[t], h);
        add_three(h, left, right, question, nn_row(s->tile->act[0], t, h));
    }
}

/* g of a tile's pairs. */
static int64_t tile_forward(const nn_relation_t *relation, const nn_selected_t *selected,
                            const nn_relation_weights_t *weights, const tile_t *tile) {
    const nn_relation_shape_t *shape = &relation->shape;
    share_t share = {.relation = relation, .selected = selected, .tile = tile};
    hp_parallel(tile->count, hp_parallel_rows(shape->size[0]), pairs_forward, &share);
    int64_t madds = 0;
    for (int l = 1; l < shape->layers; l++) madds += layer_forward(relation, weights, tile, l);
    return madds;
}

/* Each pair's g to its question's sum. */
static void columns_out(void *context, int64_t begin, int64_t end) {
    const share_t *s = context;
    const int wide = nn_relation_out(&s->relation->shape), n = (int)(end - begin);
    const nn_real *act = s->tile->act[s->relation->shape.layers - 1];
    for (int t = 0; t < s->tile->count; t++)
        nn_add(n, nn_row_const(act, t, wide) + begin,
               nn_row(s->to, s->tile->question[t], wide) + begin);
}

int64_t nn_relation_forward(nn_relation_t *relation, const nn_selected_t *selected,
                            const nn_relation_weights_t *weights, const nn_relation_in_t *in,
                            nn_real *out) {
    const int wide = nn_relation_out(&relation->shape);
    memset(out, 0, (size_t)selected->questions * (size_t)wide * sizeof *out);
    relation->kept = count_pairs(selected) <= relation->capacity;
    int64_t madds = project(relation, selected, weights, in), at = 0;
    walk_t walk = {.selected = selected};
    for (tile_t tile; (tile = next_tile(relation, &walk, at)).count > 0;) {
        madds += tile_forward(relation, selected, weights, &tile);
        share_t share = {.relation = relation, .tile = &tile, .to = out};
        hp_parallel(wide, hp_parallel_rows(tile.count), columns_out, &share);
        if (relation->kept) at += tile.count;
    }
    return madds;
}

/* Layers above the first; grad_pair[0] comes in as the gradient of out of each pair. Returns in
 * *grad_p the gradient of what the first layer gives. */
static int64_t tile_backward(const nn_relation_t *relation, const nn_relation_weights_t *weights,
                             const tile_t *tile, const nn_relation_grads_t *grads,
                             const nn_real **grad_p) {
    const nn_relation_shape_t *shape = &relation->shape;
    nn_real *grad = relation->grad_pair[0], *spare = relation->grad_pair[1];
    int64_t madds = 0;
    for (int l = shape->layers - 1; l > 0; l--) {
        int wide = shape->size[l], in = shape->size[l - 1];
        nn_mask_and_sum(tile->count, wide, tile->act[l], grad, grads->bias[l]);
        madds += nn_product(relation->engine, true, false, wide, in, tile->count, grad, wide,
                            tile->act[l - 1], NULL, in, true, grads->weight[l], in);
        madds += nn_product(relation->engine, false, false, tile->count, in, wide, grad, wide,
                            weights->weight[l], weights->rounded[l], in, false, spare, in);
        nn_real *swap = grad;
        grad = spare;
        spare = swap;
    }
    *grad_p = grad;
    return madds;
}

/* grad_pair[0]: the gradient of out, for each pair. */
static void pairs_grad(void *context, int64_t begin, int64_t end) {
    const share_t *s = context;
    const int wide = nn_relation_out(&s->relation->shape);
    for (int t = (int)begin; t < (int)end; t++)
        memcpy(nn_row(s->relation->grad_pair[0], t, wide),
               nn_row_const(s->from, s->tile->question[t], wide), (size_t)wide * sizeof(nn_real));
}

/* grad through the ReLU that gave act, added to the three sums. */
HP_VECTOR static void add_to_three(int n, const nn_real *restrict act, const nn_real *restrict grad,
                                   nn_real *restrict a, nn_real *restrict b, nn_real *restrict c) {
    for (int i = 0; i < n; i++) {
        const nn_real g = act[i] > 0 ? grad[i] : 0;
        a[i] += g;
        b[i] += g;
        c[i] += g;
    }
}

/* The first layer's gradient to those of its rows and questions. */
static void columns_grad(void *context, int64_t begin, int64_t end) {
    const share_t *s = context;
    const nn_relation_t *relation = s->relation;
    const int h = relation->shape.size[0], *row = s->selected->row, n = (int)(end - begin);
    for (int t = 0; t < s->tile->count; t++)
        add_to_three(n, nn_row_const(s->tile->act[0], t, h) + begin,
                     nn_row_const(s->from, t, h) + begin,
                     nn_row(relation->grad_row, row[s->tile->left[t]], 2 * h) + begin,
                     nn_row(relation->grad_row, row[s->tile->right[t]], 2 * h) + h + begin,
                     nn_row(relation->grad_question, s->tile->question[t], h) + begin);
}

/* The first layer, from grad_row and grad_question. */
static int64_t project_backward(const nn_relation_t *relation, const nn_selected_t *selected,
                                const nn_relation_weights_t *weights, const nn_relation_in_t *in,
                                const nn_relation_grads_t *grads) {
    const nn_relation_shape_t *shape = &relation->shape;
    int d = shape->width, h = shape->size[0], ld = first_in(shape), e = shape->question_width;
    int rows = selected->rows, questions = selected->questions;
    const nn_real *grad_question = relation->grad_question;
    int64_t madds = 0;
    for (int side = 0; side < 2; side++) { /* A, then B */
        const nn_real *grad_row = relation->grad_row + side * h, *w = weights->weight[0] + side * d;
        const hp_bf16_t *rw = nn_rounded_at(weights->rounded[0], side * d);
        nn_real *grad_w = grads->weight[0] + side * d;
        madds += nn_product(relation->engine, true, false, h, d, rows, grad_row, 2 * h, in->x, NULL,
                            d, true, grad_w, ld);
        if (grads->x != NULL)
            madds += nn_product(relation->engine, false, false, rows, d, h, grad_row, 2 * h, w, rw,
                                ld, true, grads->x, d);
        if (in->shift == NULL) continue;
        madds += nn_product(relation->engine, true, false, h, d, questions, grad_question, h,
                            in->shift, NULL, d, true, grad_w, ld);
        madds += nn_product(relation->engine, false, false, questions, d, h, grad_question, h, w,
                            rw, ld, true, grads->shift, d);
    }
    for (int q = 0; q < questions; q++)
        nn_add(h, nn_row_const(grad_question, q, h), grads->bias[0]);
    madds += nn_product(relation->engine, true, false, h, e, questions, grad_question, h, in->q,
                        NULL, e, true, grads->weight[0] + 2 * d, ld);
    return madds + nn_product(relation->engine, false, false, questions, e, h, grad_question, h,
                              weights->weight[0] + 2 * d, nn_rounded_at(weights->rounded[0], 2 * d),
                              ld, true, grads->q, e);
}

int64_t nn_relation_backward(nn_relation_t *relation, const nn_selected_t *selected,
                             const nn_relation_weights_t *weights, const nn_relation_in_t *in,
                             const nn_real *grad_out, const nn_relation_grads_t *grads) {
    int wide = nn_relation_out(&relation->shape), h = relation->shape.size[0];
    memset(relation->grad_row, 0, 2 * (size_t)selected->rows * (size_t)h * sizeof(nn_real));
    memset(relation->grad_question, 0, (size_t)selected->questions * (size_t)h * sizeof(nn_real));
    int64_t madds = 0, at = 0;
    walk_t walk = {.selected = selected};
    for (tile_t tile; (tile = next_tile(relation, &walk, at)).count > 0;) {
        if (relation->kept)
            at += tile.count;
        else
            madds += tile_forward(relation, selected, weights, &tile);
        share_t share = {relation, selected, &tile, grad_out, NULL};
        hp_parallel(tile.count, hp_parallel_rows(wide), pairs_grad, &share);
        madds += tile_backward(relation, weights, &tile, grads, &share.from);
        hp_parallel(h, hp_parallel_rows(tile.count), columns_grad, &share);
    }
    return madds + project_backward(relation, selected, weights, in, grads);
}

int64_t nn_relation_gate_backward(nn_relation_t *relation, const nn_selected_t *all,
                                  const unsigned char *gate, const nn_relation_weights_t *weights,
                                  const nn_real *grad_out, nn_real *grad_gate) {
    int wide = nn_relation_out(&relation->shape), last = relation->shape.layers - 1;
    memset(grad_gate, 0, (size_t)all->slots * sizeof *grad_gate);
    relation->kept = false; /* the first tile's activations are overwritten */
    int64_t madds = 0;
    walk_t walk = {.selected = all, .gate = gate};
    for (tile_t tile; (tile = next_tile(relation, &walk, 0)).count > 0;) {
        madds += tile_forward(relation, all, weights, &tile);
        for (int t = 0; t < tile.count; t++) {
            nn_real value = nn_dot(wide, nn_row(tile.act[last], t, wide),
                                   nn_row_const(grad_out, tile.question[t], wide));
            if (gate[tile.right[t]]) grad_gate[tile.left[t]] += value;
            if (gate[tile.left[t]]) grad_gate[tile.right[t]] += value;
        }
    }
    return madds;
}
