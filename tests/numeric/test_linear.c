/* Linear layer and ReLU: the naive twin and finite differences. */
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"
#include "worker/nn/linear.h"

enum { ROWS = 5, IN = 4, OUT = 3 };

typedef struct {
    bool relu;
    int rows;
    nn_real *in, *weight, *bias, *out, *mix;
} layer_t;

static double loss(void *context) {
    layer_t *l = context;
    nn_linear_forward(l->rows, IN, OUT, l->relu, l->in, l->weight, l->bias, l->out);
    double sum = 0;
    for (int i = 0; i < l->rows * OUT; i++) sum += l->mix[i] * l->out[i];
    return sum;
}

static void check_layer(bool relu, int rows) {
    size_t n_in = (size_t)rows * IN, n_out = (size_t)rows * OUT, n_weight = OUT * IN;
    layer_t l = {.relu = relu,
                 .rows = rows,
                 .in = check_random(n_in, 1, 1),
                 .weight = check_random(n_weight, 2, 1),
                 .bias = check_random(OUT, 3, 1),
                 .out = check_buffer(n_out),
                 .mix = check_random(n_out, 4, 1)};
    nn_real *grad = check_buffer(n_out), *grad_in = check_buffer(n_in);
    nn_real *grad_weight = check_buffer(n_weight), *grad_bias = check_buffer(OUT);
    for (size_t i = 0; i < n_weight; i++) grad_weight[i] = NAN; /* overwritten, not added to */
    for (size_t i = 0; i < OUT; i++) grad_bias[i] = NAN;

    loss(&l);
    for (int r = 0; r < rows; r++) {
        nn_real naive[OUT];
        naive_linear(IN, OUT, relu, l.in + r * IN, l.weight, l.bias, naive);
        check_close("out", OUT, l.out + r * OUT, naive, 1e-14);
    }
    memcpy(grad, l.mix, n_out * sizeof *grad);
    int64_t madds = nn_linear_backward_weight(rows, IN, OUT, l.in, relu ? l.out : NULL, grad,
                                              grad_weight, grad_bias);
    madds += nn_linear_backward_in(rows, IN, OUT, l.weight, grad, grad_in);
    assert_int_equal(madds, 2 * rows * IN * OUT);
    check_gradient("weight", l.weight, n_weight, grad_weight, loss, &l);
    check_gradient("bias", l.bias, OUT, grad_bias, loss, &l);
    check_gradient("in", l.in, n_in, grad_in, loss, &l);
    check_free(l.in, n_in);
    check_free(l.weight, n_weight);
    check_free(l.bias, OUT);
    check_free(l.out, n_out);
    check_free(l.mix, n_out);
    check_free(grad, n_out);
    check_free(grad_in, n_in);
    check_free(grad_weight, n_weight);
    check_free(grad_bias, OUT);
}

static void test_gradients(void **state) {
    (void)state;
    for (int relu = 0; relu < 2; relu++)
        for (int rows = 0; rows <= ROWS; rows++) check_layer(relu, rows);
}

/* What a diverged run computes must stay visible. */
static void test_nan(void **state) {
    (void)state;
    nn_real in[1] = {NAN}, weight[1] = {1}, bias[1] = {0}, out[1];
    nn_linear_forward(1, 1, 1, true, in, weight, bias, out);
    assert_true(isnan(out[0]));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients),
                                       cmocka_unit_test(test_nan)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
