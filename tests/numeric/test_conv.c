/* Convolution: the naive twin, finite differences, kernels that overhang, gradients at few
 * positions. */
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"

enum { IMAGES = 2 };

typedef struct {
    nn_conv_t conv;
    hp_arena_t arena;
    nn_real *in, *weight, *bias, *mix, *out, *grad_in, *grad_weight, *grad_bias;
    size_t n_in, n_weight, n_bias, n_out;
} setup_t;

static void open_setup(setup_t *t, const nn_conv_shape_t *shape) {
    *t = (setup_t){0};
    hp_error_t err;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) assert_int_equal(hp_arena_commit(&t->arena, "conv", &err), HP_OK);
        nn_conv_take(&t->conv, &t->arena, shape, IMAGES, true);
    }
    check_spoil(&t->arena);
    t->n_in = (size_t)(IMAGES * shape->height * shape->width * shape->channels);
    t->n_weight = (size_t)(shape->filters * shape->channels * shape->kernel * shape->kernel);
    t->n_bias = (size_t)shape->filters;
    t->n_out =
        (size_t)(IMAGES * nn_conv_out_height(shape) * nn_conv_out_width(shape) * shape->filters);
    t->in = check_random(t->n_in, 1, 1);
    t->weight = check_random(t->n_weight, 2, 1);
    t->bias = check_random(t->n_bias, 3, 1);
    t->mix = check_random(t->n_out, 4, 1);
    t->out = check_buffer(t->n_out);
    t->grad_in = check_random(t->n_in, 5, 1); /* overwritten */
    t->grad_weight = check_random(t->n_weight, 6, 1);
    t->grad_bias = check_random(t->n_bias, 7, 1);
}

static void close_setup(setup_t *t) {
    check_free(t->in, t->n_in);
    check_free(t->weight, t->n_weight);
    check_free(t->bias, t->n_bias);
    check_free(t->mix, t->n_out);
    check_free(t->out, t->n_out);
    check_free(t->grad_in, t->n_in);
    check_free(t->grad_weight, t->n_weight);
    check_free(t->grad_bias, t->n_bias);
    hp_arena_release(&t->arena);
}

static double loss(void *context) {
    setup_t *t = context;
    nn_conv_forward(&t->conv, IMAGES, false, t->in, t->weight, t->bias, t->out);
    double sum = 0;
    for (size_t i = 0; i < t->n_out; i++) sum += t->mix[i] * t->out[i];
    return sum;
}

static void compare_naive(setup_t *t, bool relu, const nn_real *bias) {
    nn_real *naive = check_buffer(t->n_out);
    nn_conv_forward(&t->conv, IMAGES, relu, t->in, t->weight, bias, t->out);
    naive_conv(&t->conv.shape, IMAGES, relu, t->in, t->weight, bias, naive);
    check_close("conv", t->n_out, t->out, naive, 1e-12);
    check_free(naive, t->n_out);
}

/* A few positions with a gradient: the same as all positions, the others zero. */
static void compare_listed(setup_t *t) {
    int filters = t->conv.shape.filters, total = (int)t->n_out / filters, count = 0;
    int *position = hp_calloc((size_t)total, sizeof *position);
    nn_real *packed = check_buffer(t->n_out);
    for (int p = 0; p < total; p++) {
        nn_real *row = t->mix + p * filters;
        if (p % 3 == 1) {
            memcpy(packed + count * filters, row, (size_t)filters * sizeof *row);
            position[count++] = p;
        } else {
            memset(row, 0, (size_t)filters * sizeof *row);
        }
    }
    loss(t);
    nn_conv_backward(&t->conv, IMAGES, 0, NULL, t->in, t->mix, t->grad_weight, t->grad_bias,
                     t->grad_in);
    nn_real *grad_in = check_random(t->n_in, 5, 1), *grad_weight = check_buffer(t->n_weight);
    nn_real *grad_bias = check_buffer(t->n_bias);
    nn_conv_backward(&t->conv, IMAGES, count, position, t->in, packed, grad_weight, grad_bias,
                     grad_in);
    check_close("grad_in", t->n_in, grad_in, t->grad_in, 1e-12);
    check_close("grad_weight", t->n_weight, grad_weight, t->grad_weight, 1e-12);
    check_close("grad_bias", t->n_bias, grad_bias, t->grad_bias, 1e-12);
    nn_conv_backward(&t->conv, IMAGES, count, position, t->in, packed, grad_weight, NULL, NULL);
    check_close("grad_weight", t->n_weight, grad_weight, t->grad_weight, 1e-12);
    check_free(grad_in, t->n_in);
    check_free(grad_weight, t->n_weight);
    check_free(grad_bias, t->n_bias);
    check_free(packed, t->n_out);
    hp_free(position);
}

static void check_shape(const nn_conv_shape_t *shape) {
    setup_t t;
    open_setup(&t, shape);
    compare_naive(&t, false, t.bias);
    compare_naive(&t, true, NULL);
    loss(&t);
    nn_conv_backward(&t.conv, IMAGES, 0, NULL, t.in, t.mix, t.grad_weight, t.grad_bias, t.grad_in);
    check_gradient("in", t.in, t.n_in, t.grad_in, loss, &t);
    check_gradient("weight", t.weight, t.n_weight, t.grad_weight, loss, &t);
    check_gradient("bias", t.bias, t.n_bias, t.grad_bias, loss, &t);
    compare_listed(&t);
    close_setup(&t);
}

static void test_shapes(void **state) {
    (void)state;
    static const nn_conv_shape_t shapes[] = {
        /* height width channels filters kernel stride padding */
        {5, 4, 3, 2, 3, 1, 1}, {7, 5, 2, 3, 3, 2, 1}, {6, 6, 1, 2, 2, 2, 0}, {3, 4, 2, 2, 1, 1, 0},
        {9, 8, 2, 2, 7, 2, 3}, {4, 4, 1, 1, 3, 3, 2}, {2, 2, 2, 1, 5, 1, 2}, {5, 5, 1, 2, 5, 1, 0},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) check_shape(&shapes[i]);
}

/* More positions than a tile holds, in the middle of an image. */
static void test_tiles(void **state) {
    (void)state;
    const nn_conv_shape_t shape = {6, 6, 2, 2, 3, 1, 1};
    setup_t t;
    open_setup(&t, &shape);
    t.conv.tile = 7;
    compare_naive(&t, true, t.bias);
    loss(&t);
    nn_conv_backward(&t.conv, IMAGES, 0, NULL, t.in, t.mix, t.grad_weight, t.grad_bias, t.grad_in);
    check_gradient("in", t.in, t.n_in, t.grad_in, loss, &t);
    check_gradient("weight", t.weight, t.n_weight, t.grad_weight, loss, &t);
    compare_listed(&t);
    close_setup(&t);
}

/* The grids of the papers' trunks. */
static void test_extent(void **state) {
    (void)state;
    int size = 75;
    static const int expected[] = {38, 19, 10, 5};
    for (int i = 0; i < 4; i++) {
        size = nn_conv_extent(size, 3, 2, 1);
        assert_int_equal(size, expected[i]);
    }
    assert_int_equal(nn_conv_extent(128, 3, 2, 1), 64);
    assert_int_equal(nn_conv_extent(2, 5, 1, 0), 0);
    assert_int_equal(nn_conv_extent(5, 5, 2, 0), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes), cmocka_unit_test(test_tiles),
                                       cmocka_unit_test(test_extent)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
