/* The pairwise operator: the naive twin, finite differences, grouped and not, more cells than a
 * tile. */
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"

enum { WIDTH = 5, QUESTIONS = CHECK_QUESTIONS };

typedef struct {
    const nn_selected_t *selected;
    hp_arena_t arena;
    nn_pairwise_t pairwise;
    nn_real *weight, *x, *q, *mix, *out; /* the loss is mix.out */
    nn_real *grad_weight, *grad_x, *grad_q;
    size_t n_weight, n_x, n_q, n_out;
} setup_t;

static void open_setup(setup_t *t, const nn_selected_t *selected, const nn_pairwise_shape_t *shape,
                       int max_cells) {
    *t = (setup_t){.selected = selected};
    hp_error_t err;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) assert_int_equal(hp_arena_commit(&t->arena, "pairwise", &err), HP_OK);
        nn_pairwise_take(&t->pairwise, &t->arena, shape, selected->rows, selected->questions,
                         max_cells, true);
    }
    int wide = nn_pairwise_out(shape);
    t->n_weight = (size_t)(3 * wide * shape->width);
    t->n_x = (size_t)(selected->rows * shape->width);
    t->n_q = (size_t)(selected->questions * shape->width);
    t->n_out = (size_t)(selected->questions * wide);
    t->weight = check_random(t->n_weight, 1, 0.5);
    t->x = check_random(t->n_x, 2, 1);
    t->q = check_random(t->n_q, 3, 1);
    t->mix = check_random(t->n_out, 4, 1);
    t->out = check_buffer(t->n_out);
    t->grad_weight = check_buffer(t->n_weight);
    t->grad_x = check_buffer(t->n_x);
    t->grad_q = check_buffer(t->n_q);
}

static void close_setup(setup_t *t) {
    check_free(t->weight, t->n_weight);
    check_free(t->x, t->n_x);
    check_free(t->q, t->n_q);
    check_free(t->mix, t->n_out);
    check_free(t->out, t->n_out);
    check_free(t->grad_weight, t->n_weight);
    check_free(t->grad_x, t->n_x);
    check_free(t->grad_q, t->n_q);
    hp_arena_release(&t->arena);
}

static double loss(void *context) {
    setup_t *t = context;
    check_spoil(&t->arena);
    nn_pairwise_forward(&t->pairwise, t->selected, t->weight, t->x, t->q, t->out);
    double sum = 0;
    for (size_t i = 0; i < t->n_out; i++) sum += t->mix[i] * t->out[i];
    return sum;
}

static void backward(setup_t *t) {
    loss(t);
    nn_pairwise_backward(&t->pairwise, t->selected, t->weight, t->x, t->q, t->mix, t->grad_weight,
                         t->grad_x, t->grad_q);
}

static void compare_naive(setup_t *t) {
    nn_real *naive = check_buffer(t->n_out);
    loss(t);
    naive_pairwise(&t->pairwise.shape, t->selected, t->weight, t->x, t->q, naive);
    check_close("pairwise", t->n_out, t->out, naive, 1e-12);
    check_free(naive, t->n_out);
}

static void check_kind(nn_select_kind_t kind, int k, const nn_pairwise_shape_t *shape) {
    check_batch_t b;
    check_make_batch(&b);
    hp_arena_t arena;
    nn_selected_t s;
    check_select(&b, kind, k, &arena, &s);
    setup_t t;
    open_setup(&t, &s, shape, CHECK_MAX_CELLS);
    compare_naive(&t);
    backward(&t);
    check_gradient("weight", t.weight, t.n_weight, t.grad_weight, loss, &t);
    check_gradient("x", t.x, t.n_x, t.grad_x, loss, &t);
    check_gradient("q", t.q, t.n_q, t.grad_q, loss, &t);
    nn_real *frozen = check_buffer(t.n_q);
    memcpy(frozen, t.grad_q, t.n_q * sizeof *frozen);
    memset(t.grad_q, 0, t.n_q * sizeof *frozen);
    loss(&t);
    nn_pairwise_backward(&t.pairwise, &s, t.weight, t.x, t.q, t.mix, t.grad_weight, NULL, t.grad_q);
    assert_memory_equal(frozen, t.grad_q, t.n_q * sizeof *frozen);
    check_free(frozen, t.n_q);
    close_setup(&t);
    hp_arena_release(&arena);
}

static void test_gradients(void **state) {
    (void)state;
    check_kind(NN_SELECT_ALL, 0, &(nn_pairwise_shape_t){WIDTH, 2, 3, false});
    check_kind(NN_SELECT_LARGEST, 1, &(nn_pairwise_shape_t){WIDTH, 2, 3, false});
    check_kind(NN_SELECT_LARGEST, 3, &(nn_pairwise_shape_t){WIDTH, 3, 2, true});
    check_kind(NN_SELECT_ADAPTIVE, 0, &(nn_pairwise_shape_t){WIDTH, 1, 4, true});
}

/* The same questions with rows of their own: same output, and gradients that add up to the same. */
static void test_grouping(void **state) {
    (void)state;
    check_batch_t b;
    check_make_batch(&b);
    hp_arena_t arena;
    nn_selected_t s, apart;
    check_select(&b, NN_SELECT_LARGEST, 3, &arena, &s);
    int row[QUESTIONS * 3], row_of[QUESTIONS * 3];
    check_ungroup(&s, row, row_of, &apart);
    assert_true(apart.rows > s.rows);
    nn_pairwise_shape_t shape = {WIDTH, 2, 3, true};
    setup_t one, two;
    open_setup(&one, &s, &shape, CHECK_MAX_CELLS);
    open_setup(&two, &apart, &shape, CHECK_MAX_CELLS);
    nn_gather_rows(apart.rows, WIDTH, one.x, row_of, two.x);
    backward(&one);
    backward(&two);
    check_close("out", one.n_out, two.out, one.out, 1e-13);
    check_close("grad_weight", one.n_weight, two.grad_weight, one.grad_weight, 1e-12);
    check_close("grad_q", one.n_q, two.grad_q, one.grad_q, 1e-12);
    nn_real *sum = check_buffer(one.n_x);
    memset(sum, 0, one.n_x * sizeof *sum);
    for (int r = 0; r < apart.rows; r++)
        for (int c = 0; c < WIDTH; c++) sum[row_of[r] * WIDTH + c] += two.grad_x[r * WIDTH + c];
    check_close("grad_x", one.n_x, sum, one.grad_x, 1e-12);
    check_free(sum, one.n_x);
    close_setup(&one);
    close_setup(&two);
    hp_arena_release(&arena);
}

/* One image of more cells than a tile of scores has rows, all of them selected. */
static void test_tiles(void **state) {
    (void)state;
    enum { CELLS = 2 * NN_PAIRWISE_TILE + 5 };
    int offset[] = {0, CELLS}, row[CELLS];
    for (int i = 0; i < CELLS; i++) row[i] = i;
    nn_selected_t s = {
        .images = 1, .questions = 1, .slots = CELLS, .rows = CELLS, .offset = offset, .row = row};
    setup_t t;
    open_setup(&t, &s, &(nn_pairwise_shape_t){3, 1, 2, false}, CELLS);
    compare_naive(&t);
    backward(&t);
    check_gradient("weight", t.weight, t.n_weight, t.grad_weight, loss, &t);
    check_gradient("x", t.x, t.n_x, t.grad_x, loss, &t);
    close_setup(&t);
}

/* A zero image: every cell is q alone; out is k Wv q. */
static void test_zero_image(void **state) {
    (void)state;
    int offset[] = {0, 4}, row[] = {0, 1, 2, 3};
    nn_selected_t s = {
        .images = 1, .questions = 1, .slots = 4, .rows = 4, .offset = offset, .row = row};
    setup_t t;
    open_setup(&t, &s, &(nn_pairwise_shape_t){3, 1, 2, false}, 4);
    memset(t.x, 0, t.n_x * sizeof *t.x);
    compare_naive(&t);
    for (int e = 0; e < 2; e++) {
        double v = 0;
        for (int c = 0; c < 3; c++) v += t.weight[(4 + e) * 3 + c] * t.q[c];
        assert_true(fabs(t.out[e] - 4 * v) < 1e-12);
    }
    close_setup(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_grouping),
        cmocka_unit_test(test_tiles),
        cmocka_unit_test(test_zero_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
