/* Presence: one product an image against |x + q|^2 - |q|^2, element by element. */
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"
#include "worker/nn/presence.h"

enum { WIDTH = 21 };

static void test_against_naive(void **state) {
    (void)state;
    check_batch_t b;
    check_make_batch(&b);
    int offset[CHECK_QUESTIONS + 1], total = nn_presence_offsets(&b.batch, offset);
    assert_int_equal(total, 3 * 5 + 1 + 2 * 9 + 2 * 4);
    nn_real *x = check_random(CHECK_CELLS * WIDTH, 1, 1), *norm = check_buffer(CHECK_CELLS);
    nn_real *q = check_random(CHECK_QUESTIONS * WIDTH, 2, 1);
    nn_real *seen = check_random((size_t)total, 3, 1), *naive = check_buffer((size_t)total);
    for (int image_is_zero = 0; image_is_zero < 2; image_is_zero++) {
        if (image_is_zero) memset(x, 0, 5 * WIDTH * sizeof *x);
        nn_squared_norms(CHECK_CELLS, WIDTH, x, norm);
        int64_t madds = nn_presence(&b.batch, WIDTH, x, q, norm, offset, seen);
        assert_int_equal(madds, total * WIDTH);
        naive_presence(&b.batch, WIDTH, x, q, naive);
        check_close("presence", (size_t)total, seen, naive, 1e-12);
    }
    for (int i = 0; i < offset[3]; i++) assert_true(seen[i] == 0); /* the zero image */
    nn_presence_image_only(&b.batch, norm, offset, seen);
    memset(q, 0, CHECK_QUESTIONS * WIDTH * sizeof *q);
    naive_presence(&b.batch, WIDTH, x, q, naive);
    check_close("image_only", (size_t)total, seen, naive, 1e-12);
    check_free(x, CHECK_CELLS * WIDTH);
    check_free(q, CHECK_QUESTIONS * WIDTH);
    check_free(norm, CHECK_CELLS);
    check_free(seen, (size_t)total);
    check_free(naive, (size_t)total);
}

typedef struct {
    check_batch_t b;
    int offset[CHECK_QUESTIONS + 1], total;
    nn_real *x, *q, *mix, *presence;
} context_t;

/* mix.p, p the norms of x + q */
static double loss(void *context) {
    context_t *c = context;
    naive_presence(&c->b.batch, WIDTH, c->x, c->q, c->presence);
    double sum = 0;
    for (int i = 0; i < CHECK_QUESTIONS; i++) {
        double q2 = 0;
        for (int e = 0; e < WIDTH; e++) q2 += c->q[i * WIDTH + e] * c->q[i * WIDTH + e];
        for (int k = c->offset[i]; k < c->offset[i + 1]; k++)
            sum += c->mix[k] * sqrt(fmax(0, c->presence[k] + q2));
    }
    return sum;
}

static void test_gradient(void **state) {
    (void)state;
    context_t c;
    check_make_batch(&c.b);
    c.total = nn_presence_offsets(&c.b.batch, c.offset);
    size_t n_x = CHECK_CELLS * WIDTH, n_q = CHECK_QUESTIONS * WIDTH, n_p = (size_t)c.total;
    c.x = check_random(n_x, 1, 1);
    c.q = check_random(n_q, 2, 1);
    c.mix = check_random(n_p, 3, 1);
    c.presence = check_buffer(n_p);
    memset(c.x, 0, WIDTH * sizeof *c.x); /* m is zero for this cell and question */
    memset(c.q, 0, WIDTH * sizeof *c.q);
    nn_real *q2 = check_buffer(CHECK_QUESTIONS), *norm = check_buffer(CHECK_CELLS);
    nn_real *grad_x = check_buffer(n_x), *grad_q = check_buffer(n_q), *grad_p = check_buffer(n_p);
    nn_real *again = check_buffer(n_q);
    nn_squared_norms(CHECK_QUESTIONS, WIDTH, c.q, q2);
    nn_squared_norms(CHECK_CELLS, WIDTH, c.x, norm);
    nn_presence(&c.b.batch, WIDTH, c.x, c.q, norm, c.offset, c.presence);
    memcpy(grad_p, c.mix, n_p * sizeof *grad_p);
    nn_presence_backward(&c.b.batch, WIDTH, c.x, c.q, q2, c.presence, c.offset, grad_p, grad_x,
                         grad_q);
    memcpy(grad_p, c.mix, n_p * sizeof *grad_p);
    nn_presence_backward(&c.b.batch, WIDTH, c.x, c.q, q2, c.presence, c.offset, grad_p, NULL,
                         again);
    check_gradient("x", c.x + WIDTH, n_x - WIDTH, grad_x + WIDTH, loss, &c);
    check_gradient("q", c.q, n_q, grad_q, loss, &c);
    assert_memory_equal(grad_q, again, n_q * sizeof *again);
    for (int e = 0; e < WIDTH; e++) assert_true(isfinite(grad_x[e]));
    nn_real *of_q[] = {c.q, grad_q, again}, *of_x[] = {c.x, grad_x},
            *of_p[] = {c.mix, c.presence, grad_p};
    for (int i = 0; i < 3; i++) check_free(of_q[i], n_q);
    for (int i = 0; i < 2; i++) check_free(of_x[i], n_x);
    for (int i = 0; i < 3; i++) check_free(of_p[i], n_p);
    check_free(q2, CHECK_QUESTIONS);
    check_free(norm, CHECK_CELLS);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_naive),
                                       cmocka_unit_test(test_gradient)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
