/* Convolution by oneDNN against seven loops, in float and in bf16, for any number of images. */
#include "common/convolution.h"
#include "common/gemm.h"
#include "common/memory.h"
#include "common/random.h"
#include "tests/support/older_cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 7 /* images: parts of 4, 2 and 1 */ };

typedef struct {
    hp_convolution_shape_t shape;
    hp_convolution_use_t use;
    hp_convolution_t *conv; /* NULL: none on this CPU */
    void *room;
    int out_height, out_width;
    size_t in, out, weights; /* numbers: of an image, of its output, of the weights */
} setup_t;

static float *numbers(size_t count, uint64_t stream) {
    hp_random_t r = hp_random(1, HP_RANDOM_TEST, 0, stream);
    float *x = hp_calloc(count, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < count; i++) x[i] = (float)hp_random_normal(&r);
    return x;
}

static void open_setup(setup_t *t, const hp_convolution_shape_t *s, const hp_convolution_use_t *u) {
    hp_error_t err = {.text = ""};
    *t = (setup_t){.shape = *s,
                   .use = *u,
                   .out_height = (s->height + 2 * s->padding - s->kernel) / s->stride + 1,
                   .out_width = (s->width + 2 * s->padding - s->kernel) / s->stride + 1,
                   .in = (size_t)(s->height * s->width * s->channels),
                   .weights = (size_t)(s->filters * s->channels * s->kernel * s->kernel)};
    t->out = (size_t)(t->out_height * t->out_width * s->filters);
    if (hp_convolution_open(s, u, &t->conv, &err) != HP_OK) fail_msg("%s", err.text);
    if (t->conv == NULL) return;
    const size_t bytes = hp_convolution_bytes(t->conv);
    t->room = hp_calloc(bytes, 1);
    assert_non_null(t->room);
    memset(t->room, 0xff, bytes); /* nothing is expected there: a NaN would be seen */
    hp_convolution_bind(t->conv, t->room);
}

static void close_setup(setup_t *t) {
    hp_error_t err = {.text = ""};
    if (t->conv != NULL && hp_convolution_status(t->conv, &err) != HP_OK) fail_msg("%s", err.text);
    hp_convolution_close(t->conv);
    hp_free(t->room);
}

/* As a product reads it. */
static double seen(const setup_t *t, float x) {
    return (double)(t->use.bf16 ? hp_bf16_to_float(hp_bf16_from_float(x)) : x);
}

typedef struct {
    const float *in, *weight, *grad_out;
    double *out, *grad_weight, *grad_in;
} naive_t;

/* All three at once, over one output's patch. */
static void naive_patch(const setup_t *t, const naive_t *n, int image, int oy, int ox, int f) {
    const hp_convolution_shape_t *s = &t->shape;
    const size_t o = (size_t)image * t->out + (size_t)((oy * t->out_width + ox) * s->filters + f);
    for (int ky = 0; ky < s->kernel; ky++)
        for (int kx = 0; kx < s->kernel; kx++) {
            const int y = oy * s->stride - s->padding + ky, x = ox * s->stride - s->padding + kx;
            if (y < 0 || y >= s->height || x < 0 || x >= s->width) continue;
            for (int c = 0; c < s->channels; c++) {
                const size_t i =
                    (size_t)image * t->in + (size_t)((y * s->width + x) * s->channels + c);
                const size_t w =
                    (size_t)(((f * s->channels + c) * s->kernel + ky) * s->kernel + kx);
                n->out[o] += seen(t, n->in[i]) * seen(t, n->weight[w]);
                n->grad_in[i] += seen(t, n->grad_out[o]) * seen(t, n->weight[w]);
                n->grad_weight[w] += seen(t, n->grad_out[o]) * seen(t, n->in[i]);
            }
        }
}

static void naive(const setup_t *t, const naive_t *n, int images, const float *bias) {
    const int filters = t->shape.filters;
    for (int image = 0; image < images; image++)
        for (int oy = 0; oy < t->out_height; oy++)
            for (int ox = 0; ox < t->out_width; ox++)
                for (int f = 0; f < filters; f++) naive_patch(t, n, image, oy, ox, f);
    for (size_t o = 0; o < (size_t)images * t->out && t->use.finish; o++) {
        n->out[o] += (double)bias[o % (size_t)filters];
        if (n->out[o] < 0) n->out[o] = 0;
    }
}

/* Errors of float sums, measured by the largest number. */
static void compare(const char *what, size_t count, const float *have, const double *want) {
    double most = 1;
    for (size_t i = 0; i < count; i++)
        if (fabs(want[i]) > most) most = fabs(want[i]);
    for (size_t i = 0; i < count; i++)
        if (!(fabs((double)have[i] - want[i]) < 1e-5 * most))
            fail_msg("%s %zu of %zu: %g, not %g", what, i, count, (double)have[i], want[i]);
}

static void check_images(setup_t *t, int images) {
    const size_t in = (size_t)MOST * t->in, out = (size_t)MOST * t->out;
    float *x = numbers(in, 1), *w = numbers(t->weights, 2),
          *b = numbers((size_t)t->shape.filters, 3);
    float *g = numbers(out, 4), *y = numbers(out + 1, 5), *gx = numbers(in + 1, 6);
    float *gw = numbers(t->weights, 7); /* overwritten */
    const naive_t n = {x, w, g, hp_calloc(out, 8), hp_calloc(t->weights, 8), hp_calloc(in, 8)};
    const size_t some_in = (size_t)images * t->in, some_out = (size_t)images * t->out;
    const float behind_y = y[some_out], behind_x = gx[some_in];
    naive(t, &n, images, b);
    hp_convolution_forward(t->conv, images, x, w, b, y);
    hp_convolution_backward(t->conv, images, x, w, g, gw, t->use.grad_in ? gx : NULL);
    compare("out", some_out, y, n.out);
    compare("grad_weight", t->weights, gw, n.grad_weight);
    if (t->use.grad_in) compare("grad_in", some_in, gx, n.grad_in);
    assert_true(y[some_out] == behind_y && gx[some_in] == behind_x);
    void *const each[] = {x, w, b, g, y, gx, gw, n.out, n.grad_weight, n.grad_in};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) hp_free(each[i]);
}

static const hp_convolution_shape_t shapes[] = {
    /* height width channels filters kernel stride padding */
    {7, 5, 3, 24, 3, 2, 1},  {9, 8, 24, 24, 3, 2, 1},  {6, 6, 1, 2, 2, 2, 0},
    {9, 8, 3, 64, 7, 2, 3},  {4, 4, 1, 1, 3, 3, 2},    {5, 4, 64, 17, 3, 1, 1},
    {2, 2, 2, 1, 5, 1, 2},   {5, 5, 1, 512, 5, 1, 0},  {3, 4, 512, 8, 1, 1, 0},
    {7, 7, 16, 16, 2, 3, 0}, {5, 6, 130, 33, 3, 2, 1},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void test_shapes(void **state) {
    (void)state;
    int prepared = 0;
    hp_gemm_set_threads(1);
    for (int s = 0; s < SHAPES; s++)
        for (int kind = 0; kind < 8; kind++) {
            const hp_convolution_use_t use = {
                .images = MOST, .bf16 = kind & 1, .finish = kind & 2, .grad_in = kind & 4};
            setup_t t;
            open_setup(&t, &shapes[s], &use);
            for (int images = 0; images <= MOST && t.conv != NULL; images += kind == 7 ? 1 : 3)
                check_images(&t, images);
            if (t.conv != NULL) prepared++;
            close_setup(&t);
        }
#ifdef __x86_64__
    if (hp_gemm_has_engine()) assert_true(prepared >= SHAPES * 4 / 2);
#endif
    if (!hp_gemm_has_engine()) assert_int_equal(prepared, 0);
    hp_convolution_close(NULL);
}

/* Another convolution elsewhere in memory, for more images: the same bits, whatever ran before. */
static void test_same_bits(void **state) {
    (void)state;
    const hp_convolution_shape_t shape = {19, 19, 24, 24, 3, 2, 1};
    for (int kind = 0; kind < 4; kind++) {
        const hp_convolution_use_t use = {.images = MOST, .bf16 = kind & 1, .grad_in = true};
        setup_t one, other;
        hp_gemm_set_threads(1 + (kind >> 1));
        open_setup(&one, &shape, &use);
        const hp_convolution_use_t more = {.images = 5 * MOST, .bf16 = use.bf16, .grad_in = true};
        open_setup(&other, &shape, &more);
        float *x = numbers(MOST * one.in, 1), *w = numbers(one.weights, 2);
        float *g = numbers(MOST * one.out, 3), *gw[2], *gx[2], *y[2];
        for (int i = 0; i < 2; i++) {
            setup_t *t = i == 0 ? &one : &other;
            gw[i] = numbers(t->weights, 4);
            gx[i] = numbers(MOST * t->in, 5);
            y[i] = numbers(MOST * t->out, 6);
            if (t->conv == NULL) continue;
            for (int images = i == 0 ? 5 : 1; images <= 5; images++) {
                hp_convolution_forward(t->conv, images, x, w, NULL, y[i]);
                hp_convolution_backward(t->conv, images, x, w, g, gw[i], gx[i]);
            }
        }
        assert_memory_equal(y[0], y[1], 5 * one.out * sizeof *y[0]);
        assert_memory_equal(gw[0], gw[1], one.weights * sizeof *gw[0]);
        assert_memory_equal(gx[0], gx[1], 5 * one.in * sizeof *gx[0]);
        void *const each[] = {x, w, g, gw[0], gw[1], gx[0], gx[1], y[0], y[1]};
        for (size_t i = 0; i < sizeof each / sizeof *each; i++) hp_free(each[i]);
        close_setup(&one);
        close_setup(&other);
    }
    hp_gemm_set_threads(1);
}

/* A run that has diverged must be seen, through the ReLU too. */
static void test_nan(void **state) {
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        setup_t t;
        const hp_convolution_use_t use = {.images = 1, .bf16 = bf16, .finish = true};
        open_setup(&t, &(hp_convolution_shape_t){5, 5, 24, 24, 3, 1, 1}, &use);
        if (t.conv != NULL) {
            float *x = numbers(t.in, 1), *w = numbers(t.weights, 2), *gw = numbers(t.weights, 3);
            float *y = numbers(t.out, 4);
            const float bias[24] = {0};
            x[12 * 24 + 7] = NAN; /* the middle pixel: the nine outputs around it */
            hp_convolution_forward(t.conv, 1, x, w, bias, y);
            hp_convolution_backward(t.conv, 1, x, w, y, gw, NULL);
            for (int o = 0; o < 25 * 24; o++) {
                const int row = o / 24 / 5, column = o / 24 % 5;
                assert_int_equal(isnan(y[o]) != 0, row % 4 != 0 && column % 4 != 0);
            }
            assert_true(isnan(gw[0]));
            hp_free(x), hp_free(w), hp_free(gw), hp_free(y);
        }
        close_setup(&t);
    }
}

static void test_describe(void **state) {
    (void)state;
    char text[256] = "?";
    hp_convolution_describe(false, text, sizeof text);
    if (!hp_gemm_has_engine()) assert_string_equal(text, "");
#ifdef __x86_64__
    if (hp_gemm_has_engine()) assert_int_equal(strncmp(text, "oneDNN ", 7), 0);
#endif
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes),
                                       cmocka_unit_test(test_same_bits), cmocka_unit_test(test_nan),
                                       cmocka_unit_test(test_describe)};
    (void)argc;
    return older_cpu_too(cmocka_run_group_tests(tests, NULL, NULL), argv);
}
