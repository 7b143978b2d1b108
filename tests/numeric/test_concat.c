/* Cells side by side: the naive twin, finite differences, images with fewer cells than places. */
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"
#include "worker/nn/concat.h"

enum { WIDTH = 5, ASKED = 3 };

typedef struct {
    nn_concat_shape_t shape;
    const nn_selected_t *selected;
    nn_real *x, *shift, *q, *weight, *out;
    size_t size;
} context_t;

static double loss(void *context) {
    context_t *c = context;
    nn_concat_forward(&c->shape, c->selected, c->x, c->shift, c->q, c->out);
    double sum = 0;
    for (size_t i = 0; i < c->size; i++) sum += c->weight[i] * c->out[i];
    return sum;
}

static void check_added(const char *what, nn_real *x, size_t n, nn_real *grad, uint64_t seed,
                        context_t *c) {
    nn_real *before = check_random(n, seed, 1);
    for (size_t i = 0; i < n; i++) grad[i] -= before[i];
    check_gradient(what, x, n, grad, loss, c);
    check_free(before, n);
}

static void check_kind(nn_select_kind_t kind, int k, bool shifted) {
    check_batch_t b;
    check_make_batch(&b);
    hp_arena_t arena;
    nn_selected_t s;
    check_select(&b, kind, k, &arena, &s);
    const int places = kind == NN_SELECT_ALL ? CHECK_MAX_CELLS : k;
    const size_t nx = (size_t)s.rows * WIDTH, ns = CHECK_QUESTIONS * WIDTH,
                 nq = CHECK_QUESTIONS * ASKED;
    nn_real *shift = check_random(ns, 2, 1);
    context_t c = {.shape = {places, WIDTH, ASKED},
                   .selected = &s,
                   .x = check_random(nx, 1, 1),
                   .shift = shifted ? shift : NULL,
                   .q = check_random(nq, 3, 1)};
    c.size = CHECK_QUESTIONS * (size_t)nn_concat_out(&c.shape);
    c.weight = check_random(c.size, 4, 1);
    c.out = check_buffer(c.size);
    nn_real *naive = check_buffer(c.size);
    loss(&c);
    naive_concat(&c.shape, &s, c.x, c.shift, c.q, naive);
    assert_memory_equal(c.out, naive, c.size * sizeof *naive);
    nn_real *grad_x = check_random(nx, 5, 1), *grad_shift = check_random(ns, 6, 1),
            *grad_q = check_random(nq, 7, 1);
    nn_concat_backward(&c.shape, &s, c.weight, grad_x, shifted ? grad_shift : NULL, grad_q);
    check_added("x", c.x, nx, grad_x, 5, &c);
    if (shifted) check_added("shift", c.shift, ns, grad_shift, 6, &c);
    check_added("q", c.q, nq, grad_q, 7, &c);
    nn_concat_backward(&c.shape, &s, c.weight, NULL, NULL, grad_q); /* x is frozen */
    check_free(c.x, nx);
    check_free(grad_x, nx);
    check_free(shift, ns);
    check_free(grad_shift, ns);
    check_free(c.q, nq);
    check_free(grad_q, nq);
    check_free(c.weight, c.size);
    check_free(c.out, c.size);
    check_free(naive, c.size);
    hp_arena_release(&arena);
}

static void test_concat(void **state) {
    (void)state;
    for (int shifted = 0; shifted < 2; shifted++) {
        check_kind(NN_SELECT_ALL, 0, shifted != 0);
        check_kind(NN_SELECT_LARGEST, 1, shifted != 0);
        check_kind(NN_SELECT_LARGEST, 3, shifted != 0);
        check_kind(NN_SELECT_LARGEST, CHECK_MAX_CELLS, shifted != 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_concat)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
