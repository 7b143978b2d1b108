/* The Relation Network: the naive twin, finite differences, grouped and not, activations kept and
 * computed again, and the surrogate of the straight-through estimator. */
#include "common/gemm.h"
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"

enum { WIDTH = 4, QUESTION = 3, MAX_LAYERS = 3 };

typedef struct {
    const nn_selected_t *selected;
    hp_arena_t arena;
    nn_relation_t relation;
    nn_relation_weights_t weights;
    nn_relation_in_t in;
    nn_relation_grads_t grads;
    nn_real *weight[MAX_LAYERS], *bias[MAX_LAYERS], *x, *shift, *q, *mix, *out;
    size_t n_weight[MAX_LAYERS], n_bias[MAX_LAYERS], n_x, n_shift, n_q, n_out;
    double *gate; /* of the surrogate: [slots] */
} setup_t;

static void open_setup(setup_t *t, const nn_selected_t *selected, const nn_relation_shape_t *shape,
                       bool shifted, int64_t pairs) {
    *t = (setup_t){.selected = selected};
    hp_error_t err;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) assert_int_equal(hp_arena_commit(&t->arena, "relation", &err), HP_OK);
        nn_relation_take(&t->relation, &t->arena, shape, selected->rows, selected->questions, pairs,
                         true);
    }
    for (int l = 0; l < shape->layers; l++) {
        int in = l > 0 ? shape->size[l - 1] : 2 * shape->width + shape->question_width;
        t->n_weight[l] = (size_t)(shape->size[l] * in);
        t->n_bias[l] = (size_t)shape->size[l];
        t->weights.weight[l] = t->weight[l] = check_random(t->n_weight[l], 10 + (uint64_t)l, 0.6);
        t->weights.bias[l] = t->bias[l] = check_random(t->n_bias[l], 20 + (uint64_t)l, 0.5);
        t->grads.weight[l] = check_buffer(t->n_weight[l]);
        t->grads.bias[l] = check_buffer(t->n_bias[l]);
    }
    t->n_x = (size_t)(selected->rows * shape->width);
    t->n_shift = (size_t)(selected->questions * shape->width);
    t->n_q = (size_t)(selected->questions * shape->question_width);
    t->n_out = (size_t)(selected->questions * nn_relation_out(shape));
    t->in.x = t->x = check_random(t->n_x, 1, 1);
    t->shift = check_random(t->n_shift, 2, 1);
    if (shifted) t->in.shift = t->shift;
    t->in.q = t->q = check_random(t->n_q, 3, 1);
    t->mix = check_random(t->n_out, 4, 1);
    t->out = check_buffer(t->n_out);
    t->grads.x = check_buffer(t->n_x);
    t->grads.shift = check_buffer(t->n_shift);
    t->grads.q = check_buffer(t->n_q);
}

static void close_setup(setup_t *t) {
    for (int l = 0; l < t->relation.shape.layers; l++) {
        check_free(t->weight[l], t->n_weight[l]);
        check_free(t->bias[l], t->n_bias[l]);
        check_free(t->grads.weight[l], t->n_weight[l]);
        check_free(t->grads.bias[l], t->n_bias[l]);
    }
    check_free(t->x, t->n_x);
    check_free(t->shift, t->n_shift);
    check_free(t->q, t->n_q);
    check_free(t->mix, t->n_out);
    check_free(t->out, t->n_out);
    check_free(t->grads.x, t->n_x);
    check_free(t->grads.shift, t->n_shift);
    check_free(t->grads.q, t->n_q);
    hp_arena_release(&t->arena);
}

static double mixed(const setup_t *t) {
    double sum = 0;
    for (size_t i = 0; i < t->n_out; i++) sum += t->mix[i] * t->out[i];
    return sum;
}

static double loss(void *context) {
    setup_t *t = context;
    check_spoil(&t->arena);
    nn_relation_forward(&t->relation, t->selected, &t->weights, &t->in, t->out);
    return mixed(t);
}

static double surrogate(void *context) {
    setup_t *t = context;
    naive_relation(&t->relation.shape, t->selected, t->gate, &t->weights, &t->in, t->out);
    return mixed(t);
}

static void backward(setup_t *t) {
    loss(t);
    nn_relation_backward(&t->relation, t->selected, &t->weights, &t->in, t->mix, &t->grads);
}

static void compare_naive(setup_t *t) {
    nn_real *naive = check_buffer(t->n_out);
    loss(t);
    naive_relation(&t->relation.shape, t->selected, NULL, &t->weights, &t->in, naive);
    check_close("relation", t->n_out, t->out, naive, 1e-12);
    check_free(naive, t->n_out);
}

static void check_all(setup_t *t) {
    compare_naive(t);
    backward(t);
    for (int l = 0; l < t->relation.shape.layers; l++) {
        check_gradient("weight", t->weight[l], t->n_weight[l], t->grads.weight[l], loss, t);
        check_gradient("bias", t->bias[l], t->n_bias[l], t->grads.bias[l], loss, t);
    }
    check_gradient("x", t->x, t->n_x, t->grads.x, loss, t);
    check_gradient("q", t->q, t->n_q, t->grads.q, loss, t);
    if (t->in.shift != NULL) check_gradient("shift", t->shift, t->n_shift, t->grads.shift, loss, t);
}

static void check_kind(nn_select_kind_t kind, int k, const nn_relation_shape_t *shape,
                       bool shifted) {
    check_batch_t b;
    check_make_batch(&b);
    hp_arena_t arena;
    nn_selected_t s;
    check_select(&b, kind, k, &arena, &s);
    setup_t t;
    open_setup(&t, &s, shape, shifted, 0);
    check_all(&t);
    close_setup(&t);
    hp_arena_release(&arena);
}

static const nn_relation_shape_t deep = {WIDTH, QUESTION, 3, {5, 6, 4}};

static void test_gradients(void **state) {
    (void)state;
    check_kind(NN_SELECT_ALL, 0, &deep, false);
    check_kind(NN_SELECT_LARGEST, 1, &deep, true);
    check_kind(NN_SELECT_LARGEST, 3, &deep, true);
    check_kind(NN_SELECT_ADAPTIVE, 0, &(nn_relation_shape_t){WIDTH, QUESTION, 1, {5}}, false);
}

/* More pairs than a tile, in two questions of one image: kept and computed again. */
static void test_tiles(void **state) {
    (void)state;
    enum { CELLS = 25 };
    int offset[] = {0, CELLS, 2 * CELLS - 3}, row[2 * CELLS];
    for (int i = 0; i < CELLS; i++) {
        row[i] = i;
        row[CELLS + i] = i + 3;
    }
    nn_selected_t s = {.images = 1,
                       .questions = 2,
                       .slots = 2 * CELLS - 3,
                       .rows = CELLS,
                       .offset = offset,
                       .row = row};
    nn_relation_shape_t shape = {2, 2, 2, {3, 2}};
    setup_t again, kept;
    open_setup(&again, &s, &shape, true, 0);
    check_all(&again);
    assert_false(again.relation.kept);
    open_setup(&kept, &s, &shape, true, 2 * CELLS * CELLS);
    backward(&kept);
    assert_true(kept.relation.kept);
    backward(&again); /* on top of what it had */
    for (size_t i = 0; i < kept.n_x; i++) assert_true(kept.grads.x[i] != 0);
    for (int l = 0; l < shape.layers; l++)
        for (size_t i = 0; i < kept.n_weight[l]; i++) kept.grads.weight[l][i] *= 2;
    for (int l = 0; l < shape.layers; l++)
        check_close("weight", kept.n_weight[l], again.grads.weight[l], kept.grads.weight[l], 1e-12);
    close_setup(&again);
    close_setup(&kept);
}

static void compare_threads(const setup_t *one, const setup_t *more) {
    for (int l = 0; l < one->relation.shape.layers; l++) {
        check_close("weight", one->n_weight[l], more->grads.weight[l], one->grads.weight[l], 1e-11);
        check_close("bias", one->n_bias[l], more->grads.bias[l], one->grads.bias[l], 1e-11);
    }
    check_close("x", one->n_x, more->grads.x, one->grads.x, 1e-11);
    check_close("shift", one->n_shift, more->grads.shift, one->grads.shift, 1e-11);
    check_close("q", one->n_q, more->grads.q, one->grads.q, 1e-11);
}

/* Layers that are wide enough to be shared out by columns, pairs by tiles of which the last is not
 * full: what one thread gives, and what the naive twin gives. */
static void check_threads(const nn_relation_shape_t *shape) {
    enum { CELLS = 25 };
    int offset[] = {0, CELLS, 2 * CELLS - 3}, row[2 * CELLS];
    for (int i = 0; i < 2 * CELLS; i++) row[i] = i < CELLS ? i : i - CELLS + 3;
    nn_selected_t s = {.images = 1, .questions = 2, .rows = CELLS, .offset = offset, .row = row};
    s.slots = offset[2];
    setup_t one, more;
    hp_gemm_set_threads(1);
    open_setup(&one, &s, shape, true, 0);
    backward(&one);
    for (int threads = 2; threads <= 3; threads++) {
        hp_gemm_set_threads(threads);
        open_setup(&more, &s, shape, true, 2 * CELLS * CELLS);
        compare_naive(&more);
        backward(&more);
        compare_threads(&one, &more);
        close_setup(&more);
    }
    hp_gemm_set_threads(1);
    close_setup(&one);
}

static void test_threads(void **state) {
    (void)state;
    check_threads(&(nn_relation_shape_t){WIDTH, QUESTION, 2, {161, 195}});
    check_threads(&(nn_relation_shape_t){WIDTH, QUESTION, 1, {163}});
}

static void test_grouping(void **state) {
    (void)state;
    check_batch_t b;
    check_make_batch(&b);
    hp_arena_t arena;
    nn_selected_t s, apart;
    check_select(&b, NN_SELECT_LARGEST, 3, &arena, &s);
    int row[CHECK_QUESTIONS * 3], row_of[CHECK_QUESTIONS * 3];
    check_ungroup(&s, row, row_of, &apart);
    setup_t one, two;
    open_setup(&one, &s, &deep, true, 1000);
    open_setup(&two, &apart, &deep, true, 1000);
    nn_gather_rows(apart.rows, WIDTH, one.x, row_of, two.x);
    backward(&one);
    backward(&two);
    check_close("out", one.n_out, two.out, one.out, 1e-12);
    check_close("shift", one.n_shift, two.grads.shift, one.grads.shift, 1e-12);
    for (int l = 0; l < deep.layers; l++)
        check_close("weight", one.n_weight[l], two.grads.weight[l], one.grads.weight[l], 1e-12);
    nn_real *sum = check_buffer(one.n_x);
    for (int r = 0; r < apart.rows; r++)
        for (int c = 0; c < WIDTH; c++) sum[row_of[r] * WIDTH + c] += two.grads.x[r * WIDTH + c];
    check_close("x", one.n_x, sum, one.grads.x, 1e-12);
    check_free(sum, one.n_x);
    close_setup(&one);
    close_setup(&two);
    hp_arena_release(&arena);
}

/* sum b_i b_j g over all cells: with b hard its value is the relation over the selected cells, and
 * differences in b give the gate's gradient, for cells that were not selected too. */
static void test_straight_through(void **state) {
    (void)state;
    check_batch_t b;
    check_make_batch(&b);
    hp_arena_t arena, arena_all;
    nn_selected_t s, all;
    check_select(&b, NN_SELECT_LARGEST, 2, &arena, &s);
    check_select(&b, NN_SELECT_ALL, 0, &arena_all, &all);
    unsigned char hard[CHECK_QUESTIONS * CHECK_MAX_CELLS] = {0};
    double gate[CHECK_QUESTIONS * CHECK_MAX_CELLS];
    for (int q = 0; q < CHECK_QUESTIONS; q++)
        for (int i = s.offset[q]; i < s.offset[q + 1]; i++) {
            hard[all.offset[q] + s.cell[i]] = 1;
            s.row[i] = all.row[all.offset[q] + s.cell[i]]; /* rows of all cells */
        }
    s.rows = all.rows;
    for (int i = 0; i < all.slots; i++) gate[i] = hard[i];
    setup_t t, whole;
    open_setup(&t, &s, &deep, true, 1000);
    open_setup(&whole, &all, &deep, true, 0);
    whole.gate = gate;
    double expected = surrogate(&whole);
    assert_true(fabs(loss(&t) - expected) < 1e-11 * (1 + fabs(expected)));
    nn_real *grad_gate = check_buffer((size_t)all.slots);
    nn_relation_gate_backward(&t.relation, &all, hard, &t.weights, t.mix, grad_gate);
    check_gradient("gate", gate, (size_t)all.slots, grad_gate, surrogate, &whole);
    int reached = 0;
    for (int i = 0; i < all.slots; i++) reached += !hard[i] && grad_gate[i] != 0;
    assert_true(reached > 0);
    /* Backward after it still gives the gradient of the forward pass. */
    nn_relation_backward(&t.relation, &s, &t.weights, &t.in, t.mix, &t.grads);
    check_gradient("x", t.x, t.n_x, t.grads.x, loss, &t);
    check_free(grad_gate, (size_t)all.slots);
    close_setup(&t);
    close_setup(&whole);
    hp_arena_release(&arena);
    hp_arena_release(&arena_all);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_threads),          cmocka_unit_test(test_grouping),
        cmocka_unit_test(test_straight_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
