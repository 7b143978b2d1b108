/* Batch normalisation: the naive twin, finite differences through the statistics, evaluation. */
#include "common/gemm.h"
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"
#include "worker/nn/batchnorm.h"

enum { CHANNELS = 3 };

typedef struct {
    nn_batchnorm_t norm;
    hp_arena_t arena;
    int rows;
    bool relu;
    size_t n;
    nn_real *x, *mix, *out, *gamma, *beta, *mean, *var;
} setup_t;

static void open_setup(setup_t *t, int rows, bool relu) {
    *t = (setup_t){.rows = rows, .relu = relu, .n = (size_t)rows * CHANNELS};
    hp_error_t err;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) assert_int_equal(hp_arena_commit(&t->arena, "batchnorm", &err), HP_OK);
        nn_batchnorm_take(&t->norm, &t->arena, CHANNELS, rows);
    }
    check_spoil(&t->arena);
    t->x = check_random(t->n, 1, 2);
    t->mix = check_random(t->n, 2, 1);
    t->out = check_buffer(t->n);
    t->gamma = check_random(CHANNELS, 3, 1);
    t->beta = check_random(CHANNELS, 4, 1);
    t->mean = check_buffer(CHANNELS);
    t->var = check_buffer(CHANNELS);
}

static void close_setup(setup_t *t) {
    nn_real *wide[] = {t->x, t->mix, t->out}, *narrow[] = {t->gamma, t->beta, t->mean, t->var};
    for (int i = 0; i < 3; i++) check_free(wide[i], t->n);
    for (int i = 0; i < 4; i++) check_free(narrow[i], CHANNELS);
    hp_arena_release(&t->arena);
}

static double loss(void *context) {
    setup_t *t = context;
    nn_batchnorm_statistics(&t->norm, t->rows, t->x, t->mean, t->var);
    nn_batchnorm_forward(&t->norm, t->rows, t->relu, t->x, t->mean, t->var, t->gamma, t->beta,
                         t->out);
    double sum = 0;
    for (size_t i = 0; i < t->n; i++) sum += t->mix[i] * t->out[i];
    return sum;
}

static void check_rows(int rows, bool relu) {
    setup_t t;
    open_setup(&t, rows, relu);
    nn_real *naive = check_buffer(t.n), *grad = check_buffer(t.n);
    nn_real *grad_gamma = check_random(CHANNELS, 5, 1), *grad_beta = check_random(CHANNELS, 6, 1);
    loss(&t);
    naive_batchnorm(rows, CHANNELS, relu, t.x, t.gamma, t.beta, naive);
    check_close("batchnorm", t.n, t.out, naive, 1e-11);
    memcpy(grad, t.mix, t.n * sizeof *grad);
    nn_batchnorm_backward(&t.norm, rows, relu, t.x, t.mean, t.var, grad, grad_gamma, grad_beta);
    check_gradient("x", t.x, t.n, grad, loss, &t);
    check_gradient("gamma", t.gamma, CHANNELS, grad_gamma, loss, &t);
    check_gradient("beta", t.beta, CHANNELS, grad_beta, loss, &t);
    check_free(naive, t.n);
    check_free(grad, t.n);
    check_free(grad_gamma, CHANNELS);
    check_free(grad_beta, CHANNELS);
    close_setup(&t);
}

static void test_gradients(void **state) {
    (void)state;
    check_rows(17, false);
    check_rows(17, true);
    check_rows(2, false);
    check_rows(1, true); /* the variance is zero: out is beta */
}

/* More rows than one block: every sum is made of parts. Some of x's gradients, of each block. */
static void test_blocks(void **state) {
    (void)state;
    enum { ROWS = 25000, SOME = 3 };
    setup_t t;
    open_setup(&t, ROWS, true);
    assert_true(t.norm.block < ROWS / 2);
    nn_real *naive = check_buffer(t.n), *grad = check_buffer(t.n), *again = check_buffer(t.n);
    nn_real *grad_gamma = check_buffer(CHANNELS), *grad_beta = check_buffer(CHANNELS);
    nn_real gamma_again[CHANNELS], beta_again[CHANNELS];
    hp_gemm_set_threads(2);
    loss(&t);
    naive_batchnorm(ROWS, CHANNELS, true, t.x, t.gamma, t.beta, naive);
    check_close("batchnorm", t.n, t.out, naive, 1e-11);
    memcpy(naive, t.out, t.n * sizeof *naive);
    memcpy(again, t.mix, t.n * sizeof *again);
    nn_batchnorm_backward(&t.norm, ROWS, true, t.x, t.mean, t.var, again, gamma_again, beta_again);
    hp_gemm_set_threads(1);
    loss(&t);
    memcpy(grad, t.mix, t.n * sizeof *grad);
    nn_batchnorm_backward(&t.norm, ROWS, true, t.x, t.mean, t.var, grad, grad_gamma, grad_beta);
    /* The same bits for any number of threads. */
    assert_memory_equal(naive, t.out, t.n * sizeof *naive);
    assert_memory_equal(again, grad, t.n * sizeof *grad);
    assert_memory_equal(gamma_again, grad_gamma, sizeof gamma_again);
    assert_memory_equal(beta_again, grad_beta, sizeof beta_again);
    for (int b = 0; b * t.norm.block < ROWS; b++) {
        const size_t at = (size_t)(b * t.norm.block) * CHANNELS;
        check_gradient("x", t.x + at, SOME, grad + at, loss, &t);
    }
    check_gradient("gamma", t.gamma, CHANNELS, grad_gamma, loss, &t);
    check_gradient("beta", t.beta, CHANNELS, grad_beta, loss, &t);
    nn_real *const wide[] = {naive, grad, again};
    for (int i = 0; i < 3; i++) check_free(wide[i], t.n);
    check_free(grad_gamma, CHANNELS);
    check_free(grad_beta, CHANNELS);
    close_setup(&t);
}

/* A column that is constant, and one far from zero whose variance must survive; in one block, and
 * in several. */
static void check_statistics(int rows, double tolerance) {
    setup_t t;
    open_setup(&t, rows, false);
    for (int r = 0; r < rows; r++) {
        t.x[r * CHANNELS] = 3;
        t.x[r * CHANNELS + 1] = 1e8 + r % 2;
    }
    nn_batchnorm_statistics(&t.norm, rows, t.x, t.mean, t.var);
    assert_true(t.mean[0] == 3 && t.var[0] == 0);
    assert_true(fabs(t.mean[1] - (1e8 + 0.5)) <= 1e8 * tolerance);
    assert_true(fabs(t.var[1] - 0.25) <= tolerance);
    close_setup(&t);
}

static void test_statistics(void **state) {
    (void)state;
    check_statistics(100, 0);
    check_statistics(25000, 1e-12);
}

/* Evaluation: statistics from outside, a row at a time gives what all rows give; in place. */
static void test_running(void **state) {
    (void)state;
    setup_t t;
    open_setup(&t, 6, true);
    for (int c = 0; c < CHANNELS; c++) {
        t.mean[c] = 0.3 * c;
        t.var[c] = 1 + c;
    }
    nn_batchnorm_forward(&t.norm, 6, true, t.x, t.mean, t.var, t.gamma, t.beta, t.out);
    for (int r = 0; r < 6; r++) {
        nn_real *row = t.x + r * CHANNELS;
        nn_batchnorm_forward(&t.norm, 1, true, row, t.mean, t.var, t.gamma, t.beta, row);
    }
    assert_memory_equal(t.x, t.out, t.n * sizeof *t.x);
    close_setup(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_statistics), cmocka_unit_test(test_running)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
