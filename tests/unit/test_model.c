/* The model in float, as it is shipped: it learns a small batch by heart and allocates nothing in a
 * step. Exactness is shown in double, tests/numeric. */
#include "common/convolution.h"
#include "common/gemm.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/vector.h"
#include "worker/model.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Allocations that hanps's own code makes are counted (OpenBLAS makes some for small products),
 * where no sanitizer has put its own allocator in place. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif
static int allocations;
#ifndef SANITIZED
extern char __executable_start, etext; /* of the linker */
static void count(const void *caller) {
    const uintptr_t at = (uintptr_t)caller;
    allocations += at >= (uintptr_t)&__executable_start && at < (uintptr_t)&etext;
}
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *pointer, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
void *malloc(size_t size) {
    count(__builtin_return_address(0));
    return __libc_malloc(size);
}
void *calloc(size_t items, size_t size) {
    count(__builtin_return_address(0));
    return __libc_calloc(items, size);
}
void *realloc(void *pointer, size_t size) {
    count(__builtin_return_address(0));
    return __libc_realloc(pointer, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
    count(__builtin_return_address(0));
    return __libc_memalign(alignment, size);
}
#endif

enum { IMAGES = 6, PER_IMAGE = 2, QUESTIONS = IMAGES * PER_IMAGE, CELLS = 9, CHANNELS = 20 };
enum { SIDE = 12 /* of an image of pixels: two strides to 3 x 3 cells */ };
enum { WORDS = 12, LENGTH = 3, ANSWERS = 7 };

typedef struct {
    wk_model_t *model;
    const hp_params_t *params;
    float *weights, *grads, cells[IMAGES * CELLS * CHANNELS], pixels[IMAGES * SIDE * SIDE * 3];
    int cell_offset[IMAGES + 1], image[QUESTIONS], token_offset[QUESTIONS + 1];
    int32_t token[QUESTIONS * LENGTH], label[QUESTIONS];
    uint64_t key[QUESTIONS];
    nn_batch_t batch;
    wk_pass_t pass;
    wk_result_t result;
} setup_t;

static void make_batch(setup_t *s) {
    hp_random_t r = hp_random(3, HP_RANDOM_TEST, 0, 0);
    for (int i = 0; i < IMAGES * CELLS * CHANNELS; i++)
        s->cells[i] = (float)hp_random_uniform(&r) - 0.3f;
    hp_random_t of_pixels = hp_random(3, HP_RANDOM_TEST, 1, 0);
    for (int i = 0; i < IMAGES * SIDE * SIDE * 3; i++)
        s->pixels[i] = (float)hp_random_uniform(&of_pixels);
    for (int i = 0; i <= IMAGES; i++) s->cell_offset[i] = i * CELLS;
    for (int q = 0; q <= QUESTIONS; q++) s->token_offset[q] = q * LENGTH;
    for (int q = 0; q < QUESTIONS; q++) {
        s->image[q] = q / PER_IMAGE;
        s->label[q] = (int32_t)hp_random_below(&r, ANSWERS);
        s->key[q] = (uint64_t)q;
        for (int t = 0; t < LENGTH; t++)
            s->token[q * LENGTH + t] = (int32_t)hp_random_below(&r, WORDS);
    }
    s->batch = (nn_batch_t){.images = IMAGES,
                            .cell_offset = s->cell_offset,
                            .cells = s->cells,
                            .channels = CHANNELS,
                            .questions = QUESTIONS,
                            .image = s->image,
                            .token_offset = s->token_offset,
                            .token = s->token,
                            .label = s->label,
                            .key = s->key};
}

typedef struct {
    hp_attention_t attention;
    hp_aggregate_t aggregate;
    hp_activation_t activation;
    hp_gemm_backend_t gemm;
    hp_precision_t precision;
    bool trunk, batch_norm; /* from pixels */
} kind_t;

/* room: how much larger than the batch the workspace is. */
static void open_kind(setup_t *s, const kind_t *kind, int room) {
    memset(s, 0, sizeof *s);
    hp_config_t c;
    hp_config_default(&c);
    c.model.gemm = kind->gemm;
    c.model.precision = kind->precision;
    c.model.image.activation = kind->activation;
    c.model.question.embedding = 8;
    c.model.question.lstm = 16;
    c.model.image.width = 24;
    c.model.attention.kind = kind->attention;
    c.model.attention.cells = 4;
    c.model.aggregate.kind = kind->aggregate;
    c.model.aggregate.heads = 2;
    c.model.aggregate.head_width = 8;
    c.model.classifier.layers = (hp_layers_t){1, {24}};
    wk_model_shape_t shape = {
        .channels = CHANNELS, .max_cells = CELLS, .words = WORDS, .answers = ANSWERS};
    if (kind->trunk) {
        strcpy(c.model.image.trunk, "cnn");
        c.model.image.filters = (hp_layers_t){2, {10, 12}};
        c.model.image.batch_norm = kind->batch_norm;
        shape.channels = 3;
        shape.pixel_height = shape.pixel_width = SIDE;
    }
    const wk_model_limits_t limits = {room * IMAGES, room * QUESTIONS, room * QUESTIONS * LENGTH,
                                      room * IMAGES * CELLS};
    hp_error_t err = {.text = ""};
    if (wk_model_create(&c, &shape, &limits, &s->model, &err) != HP_OK) fail_msg("%s", err.text);
    assert_true(wk_model_workspace_bytes(s->model) > sizeof s->cells);
    s->params = wk_model_params(s->model);
    s->weights = hp_calloc((size_t)s->params->total, sizeof *s->weights);
    s->grads = hp_calloc((size_t)s->params->total, sizeof *s->grads);
    hp_params_initialise(s->params, 1, 0, s->params->total, s->weights);
    make_batch(s);
    if (kind->trunk) {
        s->batch.cells = NULL;
        s->batch.pixels = s->pixels;
    }
    s->pass.train = true;
}

static void open_setup(setup_t *s, hp_attention_t attention, hp_aggregate_t aggregate, int room) {
    open_kind(s, &(kind_t){.attention = attention, .aggregate = aggregate}, room);
}

static void close_setup(setup_t *s) {
    hp_free(s->weights);
    hp_free(s->grads);
    wk_model_destroy(s->model);
}

static double forward(setup_t *s) {
    hp_error_t err = {.text = ""};
    if (wk_model_forward(s->model, s->weights, &s->batch, &s->pass, &s->result, &err) != HP_OK)
        fail_msg("%s", err.text);
    return s->result.loss_sum;
}

static void backward(setup_t *s) {
    hp_error_t err = {.text = ""};
    memset(s->grads, 0, (size_t)s->params->total * sizeof *s->grads);
    if (wk_model_backward(s->model, s->weights, &s->batch, &s->pass, s->grads, &s->result, &err) !=
        HP_OK)
        fail_msg("%s", err.text);
}

/* Adam, on the mean gradient. */
static void learn(setup_t *s, int steps) {
    const size_t n = (size_t)s->params->total;
    double *m = hp_calloc(n, sizeof *m), *v = hp_calloc(n, sizeof *v);
    for (int t = 1; t <= steps; t++) {
        forward(s);
        backward(s);
        for (size_t i = 0; i < n; i++) {
            const double g = (double)s->grads[i] / QUESTIONS;
            m[i] = 0.9 * m[i] + 0.1 * g;
            v[i] = 0.999 * v[i] + 0.001 * g * g;
            const double mean = m[i] / (1 - pow(0.9, t)), square = v[i] / (1 - pow(0.999, t));
            s->weights[i] -= (float)(0.005 * mean / (sqrt(square) + 1e-8));
        }
    }
    hp_free(m);
    hp_free(v);
}

static void test_learns(void **state) {
    (void)state;
    static const hp_attention_t attention[] = {HP_ATTEND_ALL, HP_ATTEND_HAN, HP_ATTEND_ADAHAN};
    for (int a = 0; a < 3; a++)
        for (int g = HP_AGGREGATE_SUM; g <= HP_AGGREGATE_PAIRWISE; g++) {
            setup_t s;
            open_setup(&s, attention[a], (hp_aggregate_t)g, 1);
            const double first = forward(&s);
            learn(&s, 200);
            const double last = forward(&s);
            if (!(last < 0.5 && first > 5 && s.result.correct == QUESTIONS))
                fail_msg("attention %d, aggregate %d: loss %g to %g, %d of %d right",
                         (int)attention[a], g, first, last, s.result.correct, QUESTIONS);
            close_setup(&s);
        }
}

static void test_allocates_nothing(void **state) {
    (void)state;
    for (int g = HP_AGGREGATE_SUM; g <= HP_AGGREGATE_PAIRWISE; g++) {
        setup_t s;
        allocations = 0;
        open_setup(&s, HP_ATTEND_ADAHAN, (hp_aggregate_t)g, 1);
#ifndef SANITIZED
        assert_in_range(allocations, 4, 20); /* they are seen */
#endif
        forward(&s); /* the BLAS may set itself up */
        backward(&s);
        allocations = 0;
        forward(&s);
        backward(&s);
        assert_int_equal(allocations, 0);
        close_setup(&s);
    }
}

/* |a - b| / |b| */
static double distance(const float *a, const float *b, int64_t n) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        size += (double)b[i] * (double)b[i];
    }
    return size > 0 ? sqrt(difference / size) : sqrt(difference);
}

/* A model against its twin by OpenBLAS in fp32, both with the twin's selection. Rounding to bf16
 * moves some sums to the other side of a ReLU, which the gradients of so small a model feel. */
static void compare_twins(const kind_t *kind, double tolerance, double gradient_tolerance) {
    setup_t s, twin;
    kind_t plain = *kind;
    plain.gemm = HP_GEMM_OPENBLAS; /* and im2col */
    plain.precision = HP_FP32;
    open_kind(&s, kind, 1);
    open_kind(&twin, &plain, 2);
    const double wanted = forward(&twin);
    s.pass.fixed = &twin.result.selection;
    const double loss = forward(&s);
    backward(&s);
    backward(&twin);
    assert_true(fabs(loss - wanted) < tolerance * fabs(wanted));
    assert_int_equal(s.result.forward_madds, twin.result.forward_madds);
    assert_int_equal(s.result.backward_madds, twin.result.backward_madds);
    assert_int_equal(s.result.embed_backward_madds, twin.result.embed_backward_madds);
    const double far = distance(s.result.logits, twin.result.logits, (int64_t)QUESTIONS * ANSWERS);
    if (!(far < tolerance)) fail_msg("logits differ by %g of their size", far);
    for (int p = 0; p < s.params->count; p++) {
        const hp_param_t *param = &s.params->param[p];
        const double apart =
            distance(s.grads + param->offset, twin.grads + param->offset, param->count);
        if (!(apart < gradient_tolerance))
            fail_msg("attention %d, aggregate %d: the gradients of %s differ by %g of their size",
                     (int)kind->attention, (int)kind->aggregate, param->name, apart);
    }
    close_setup(&s);
    close_setup(&twin);
}

static void test_engines(void **state) {
    (void)state;
    if (!hp_gemm_has_engine()) skip();
    static const kind_t kinds[] = {{.attention = HP_ATTEND_ALL},
                                   {.attention = HP_ATTEND_HAN},
                                   {.attention = HP_ATTEND_HAN, .activation = HP_ACTIVATION_TANH},
                                   {.attention = HP_ATTEND_ADAHAN},
                                   {.attention = HP_ATTEND_STRAIGHT_THROUGH},
                                   {.attention = HP_ATTEND_HAN, .aggregate = HP_AGGREGATE_PAIRWISE},
                                   {.attention = HP_ATTEND_HAN, .aggregate = HP_AGGREGATE_RELATION},
                                   {.attention = HP_ATTEND_ALL, .aggregate = HP_AGGREGATE_RELATION},
                                   {.attention = HP_ATTEND_SOFT, .activation = HP_ACTIVATION_TANH},
                                   {.attention = HP_ATTEND_HAN, .trunk = true},
                                   {.attention = HP_ATTEND_HAN, .trunk = true, .batch_norm = true}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        kind_t kind = kinds[k];
        compare_twins(&kind, 1e-5, 1e-4); /* by OpenBLAS, convolutions by oneDNN */
        kind.gemm = HP_GEMM_ONEDNN;
        compare_twins(&kind, 1e-5, 1e-4);
        kind.precision = HP_BF16;
        /* A tanh is smooth; a ReLU of a sum near zero goes the other way. */
        const double gradients = kind.activation == HP_ACTIVATION_TANH ? 0.1 : 0.4;
        compare_twins(&kind, 0.02, gradients);
        kind.gemm = HP_GEMM_AUTO;
        compare_twins(&kind, 0.02, gradients);
    }
}

/* Weights said to be those of the pass before are not rounded again, and the bits are the same. */
static void test_same_weights(void **state) {
    (void)state;
    if (!hp_gemm_has_engine()) skip();
    static const hp_aggregate_t aggregate[] = {HP_AGGREGATE_SUM, HP_AGGREGATE_PAIRWISE,
                                               HP_AGGREGATE_RELATION};
    for (size_t a = 0; a < sizeof aggregate / sizeof *aggregate; a++) {
        const kind_t kind = {
            .attention = HP_ATTEND_HAN, .aggregate = aggregate[a], .precision = HP_BF16};
        setup_t s;
        open_kind(&s, &kind, 1);
        const double first = forward(&s);
        s.pass.same_weights = true;
        assert_true(forward(&s) == first);
        for (int p = 0; p < s.params->count; p++) /* matrices that products read */
            for (int64_t i = 0; i < s.params->param[p].count; i++)
                if (s.params->param[p].dims == 2 && !s.params->param[p].sparse_rows)
                    s.weights[s.params->param[p].offset + i] *= 1.5f;
        assert_true(forward(&s) == first);
        s.pass.same_weights = false;
        assert_true(forward(&s) != first);
        close_setup(&s);
    }
}

/* Cells that come rounded: the bits of the model that rounds them itself. */
static void test_rounded_cells(void **state) {
    (void)state;
    if (!hp_gemm_has_engine()) skip();
    static const hp_attention_t attention[] = {HP_ATTEND_ALL, HP_ATTEND_HAN, HP_ATTEND_ADAHAN};
    static hp_bf16_t half[IMAGES * CELLS * CHANNELS];
    for (int a = 0; a < 3; a++) {
        const kind_t kind = {.attention = attention[a], .precision = HP_BF16};
        setup_t s, twin;
        open_kind(&s, &kind, 1);
        open_kind(&twin, &kind, 2);
        hp_bf16_round(half, s.cells, IMAGES * CELLS * CHANNELS);
        s.batch.cells = NULL;
        s.batch.half = half;
        for (int pass = 0; pass < 2; pass++) {
            assert_true(forward(&s) == forward(&twin));
            backward(&s);
            backward(&twin);
            assert_memory_equal(s.grads, twin.grads, (size_t)s.params->total * sizeof *s.grads);
        }
        close_setup(&s);
        close_setup(&twin);
    }
    setup_t plain;
    hp_error_t err = {.text = ""};
    open_kind(&plain, &(kind_t){.attention = HP_ATTEND_HAN}, 1);
    plain.batch.half = half;
    assert_int_equal(wk_model_forward(plain.model, plain.weights, &plain.batch, &plain.pass,
                                      &plain.result, &err),
                     HP_INTERNAL);
    assert_non_null(strstr(err.text, "rounded cells"));
    close_setup(&plain);
}

/* bf16 gradients are good enough to learn by, and a step allocates nothing of ours. */
static void test_bf16_learns(void **state) {
    (void)state;
    if (!hp_gemm_has_engine()) skip();
    for (int g = HP_AGGREGATE_SUM; g <= HP_AGGREGATE_PAIRWISE; g++) {
        setup_t s;
        open_kind(&s,
                  &(kind_t){.attention = HP_ATTEND_ADAHAN,
                            .aggregate = (hp_aggregate_t)g,
                            .precision = HP_BF16},
                  2);
        const double first = forward(&s);
        learn(&s, 200);
        const double last = forward(&s);
        backward(&s);
        if (!(last < 0.5 && first > 5 && s.result.correct == QUESTIONS))
            fail_msg("loss %g to %g, %d of %d right", first, last, s.result.correct, QUESTIONS);
        allocations = 0;
        forward(&s);
        backward(&s);
        assert_int_equal(allocations, 0);
        close_setup(&s);
    }
}

static void test_refused(void **state) {
    (void)state;
    hp_config_t c;
    hp_config_default(&c);
    const wk_model_shape_t shape = {
        .channels = CHANNELS, .max_cells = CELLS, .words = WORDS, .answers = ANSWERS};
    hp_params_t params = {0};
    hp_error_t err = {.text = ""};
    c.model.precision = HP_BF16;
    c.model.gemm = HP_GEMM_OPENBLAS;
    assert_int_equal(wk_model_table(&c, &shape, &params, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "model.gemm: openblas has no bf16"));
    c.model.gemm = HP_GEMM_AUTO;
    if (hp_gemm_has_engine()) return;
    assert_int_equal(wk_model_table(&c, &shape, &params, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "model.precision: bf16 needs oneDNN"));
    c.model.precision = HP_FP32;
    c.model.gemm = HP_GEMM_ONEDNN;
    assert_int_equal(wk_model_table(&c, &shape, &params, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "model.gemm: onednn"));
    c.model.gemm = HP_GEMM_AUTO;
    c.model.image.convolution = HP_CONVOLUTION_ONEDNN;
    assert_int_equal(wk_model_table(&c, &shape, &params, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "model.image.convolution: onednn"));
}

/* Which layers are oneDNN's is told by the configuration alone. */
static void test_convolution(void **state) {
    (void)state;
    static const struct {
        hp_layers_t filters;
        hp_convolution_backend_t convolution;
        hp_gemm_backend_t gemm;
        hp_precision_t precision;
        bool batch_norm, expected;
    } cases[] = {
        {{2, {24, 24}}, HP_CONVOLUTION_AUTO, HP_GEMM_AUTO, HP_FP32, true, true},
        {{2, {24, 24}}, HP_CONVOLUTION_IM2COL, HP_GEMM_AUTO, HP_FP32, true, false},
        {{2, {24, 24}}, HP_CONVOLUTION_AUTO, HP_GEMM_OPENBLAS, HP_FP32, true, false},
        {{2, {24, 24}}, HP_CONVOLUTION_ONEDNN, HP_GEMM_OPENBLAS, HP_FP32, true, true},
        {{1, {24}}, HP_CONVOLUTION_ONEDNN, HP_GEMM_AUTO, HP_FP32, false, false},
        {{2, {256, 512}}, HP_CONVOLUTION_AUTO, HP_GEMM_AUTO, HP_BF16, true, false},
        {{2, {256, 64}}, HP_CONVOLUTION_AUTO, HP_GEMM_AUTO, HP_FP32, true, false},
        {{2, {256, 64}}, HP_CONVOLUTION_AUTO, HP_GEMM_AUTO, HP_BF16, true, true},
        {{2, {256, 64}}, HP_CONVOLUTION_AUTO, HP_GEMM_AUTO, HP_BF16, false, false},
    };
    char there[100], text[256];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        hp_config_t c;
        hp_config_default(&c);
        strcpy(c.model.image.trunk, "cnn");
        c.model.image.filters = cases[i].filters;
        c.model.image.convolution = cases[i].convolution;
        c.model.image.batch_norm = cases[i].batch_norm;
        c.model.gemm = cases[i].gemm;
        c.model.precision = cases[i].precision;
        hp_convolution_describe(c.model.precision == HP_BF16, there, sizeof there);
        wk_model_describe_products(&c, text, sizeof text);
        const bool expected = cases[i].expected && there[0] != '\0';
        if ((strstr(text, "; convolution by oneDNN ") != NULL) != expected)
            fail_msg("case %zu: %s", i, text);
        strcpy(c.model.image.trunk, "features");
        wk_model_describe_products(&c, text, sizeof text);
        assert_null(strstr(text, "convolution"));
    }
}

/* Another workspace elsewhere in memory: the same bytes. Servers rely on it in `sync`. */
static void test_same_bytes(void **state) {
    (void)state;
    static const kind_t kinds[] = {{.attention = HP_ATTEND_HAN},
                                   {.attention = HP_ATTEND_HAN, .aggregate = HP_AGGREGATE_PAIRWISE},
                                   {.attention = HP_ATTEND_HAN, .trunk = true},
                                   {.attention = HP_ATTEND_HAN, .trunk = true, .batch_norm = true}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        setup_t s, other;
        open_kind(&s, &kinds[k], 1);
        open_kind(&other, &kinds[k], 3);
        assert_true(forward(&s) == forward(&other));
        backward(&s);
        backward(&other);
        assert_memory_equal(s.grads, other.grads, (size_t)s.params->total * sizeof *s.grads);
        close_setup(&s);
        close_setup(&other);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns),        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_engines),       cmocka_unit_test(test_same_weights),
        cmocka_unit_test(test_rounded_cells), cmocka_unit_test(test_bf16_learns),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_allocates_nothing),
        cmocka_unit_test(test_convolution)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
