/* Sum pooling: the naive twin, finite differences, cells read in place. */
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"
#include "worker/nn/pool.h"

enum { WIDTH = 7, OUT = CHECK_QUESTIONS * WIDTH };

typedef struct {
    const nn_selected_t *selected;
    nn_real *x, *q, *weight, *out;
} context_t;

static double loss(void *context) {
    context_t *c = context;
    nn_pool_forward(c->selected, WIDTH, c->x, c->q, c->out);
    double sum = 0;
    for (int i = 0; i < OUT; i++) sum += c->weight[i] * c->out[i];
    return sum;
}

static void check_kind(nn_select_kind_t kind, int k) {
    check_batch_t b;
    check_make_batch(&b);
    hp_arena_t arena;
    nn_selected_t s;
    check_select(&b, kind, k, &arena, &s);
    size_t nx = (size_t)s.rows * WIDTH;
    nn_real *cells = check_random(CHECK_CELLS * WIDTH, 1, 1);
    context_t c = {&s, check_buffer(nx), check_random(OUT, 2, 1), check_random(OUT, 3, 1),
                   check_buffer(OUT)};
    nn_gather_rows(s.rows, WIDTH, cells, s.row_cell, c.x);
    nn_real *naive = check_buffer(OUT), *grad_x = check_random(nx, 4, 1);
    nn_real *grad_q = check_random(OUT, 5, 1), *before_x = check_random(nx, 4, 1);
    nn_real *before_q = check_random(OUT, 5, 1);
    loss(&c);
    naive_pool(&s, WIDTH, c.x, c.q, naive);
    check_close("pool", OUT, c.out, naive, 1e-13);
    nn_pool_forward_cells(&b.batch, &s, WIDTH, cells, c.q, naive);
    assert_memory_equal(c.out, naive, OUT * sizeof(nn_real));
    nn_pool_backward(&s, WIDTH, c.weight, grad_q, grad_x);
    for (size_t i = 0; i < nx; i++) grad_x[i] -= before_x[i]; /* gradients are added */
    for (size_t i = 0; i < OUT; i++) grad_q[i] -= before_q[i];
    check_gradient("x", c.x, nx, grad_x, loss, &c);
    check_gradient("q", c.q, OUT, grad_q, loss, &c);
    nn_pool_backward(&s, WIDTH, c.weight, grad_q, NULL); /* x is frozen */
    check_free(cells, CHECK_CELLS * WIDTH);
    check_free(c.x, nx);
    check_free(grad_x, nx);
    check_free(before_x, nx);
    nn_real *of_out[] = {c.q, c.weight, c.out, naive, grad_q, before_q};
    for (size_t i = 0; i < sizeof of_out / sizeof *of_out; i++) check_free(of_out[i], OUT);
    hp_arena_release(&arena);
}

static void test_pool(void **state) {
    (void)state;
    check_kind(NN_SELECT_ALL, 0);
    check_kind(NN_SELECT_LARGEST, 1);
    check_kind(NN_SELECT_LARGEST, 3);
    check_kind(NN_SELECT_ADAPTIVE, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pool)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
