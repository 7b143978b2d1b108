/* The whole model from pixels: finite differences through convolutions and batch statistics, the
 * naive trunk, running averages, grids, straight-through's surrogate. And every file of configs/ in
 * reduced size, from pixels or features as it says: finite differences of all its weights. */
#include "tests/numeric/fixture.h"
#include "worker/nn/batchnorm.h"

#include <glob.h>

/* 6x5 pixels; layers of stride 2 leave 3x3, then 2x2 cells. */
enum {
    HEIGHT = 6,
    WIDTH = 5,
    ROWS = 2,
    COLUMNS = 2,
    CELLS = ROWS * COLUMNS,
    PIXELS = HEIGHT * WIDTH * 3
};

static const wk_model_shape_t shape = {.channels = 3,
                                       .max_cells = CELLS,
                                       .words = FIX_WORDS,
                                       .answers = FIX_ANSWERS,
                                       .pixel_height = HEIGHT,
                                       .pixel_width = WIDTH};

static hp_config_t trunk_config(hp_attention_t attention, hp_aggregate_t aggregate, int layers,
                                bool batch_norm, bool coords) {
    hp_config_t c = fix_config(attention, aggregate, layers);
    strcpy(c.model.image.trunk, "cnn");
    c.model.image.filters = (hp_layers_t){2, {3, 4}};
    c.model.image.kernels = (hp_layers_t){2, {3, 3}};
    c.model.image.stride = 2;
    c.model.image.batch_norm = batch_norm;
    c.data.coords = coords ? HP_COORDS_XY : HP_COORDS_NONE;
    c.model.attention.cells = 2;
    return c;
}

/* The questions and images of fix_make_batch, with pixels. */
typedef struct {
    fix_batch_t b;
    nn_real *pixels;
    size_t n;
} pixel_batch_t;

static void open_batch(pixel_batch_t *p, bool grouped) {
    fix_make_batch(&p->b, grouped);
    nn_batch_t *batch = &p->b.batch;
    p->n = (size_t)batch->images * PIXELS;
    p->pixels = check_buffer(p->n);
    for (int i = 0; i < batch->images; i++) {
        static const int of_question[CHECK_QUESTIONS] = {0, 0, 0, 1, 2, 2, 3, 3};
        const int image = grouped ? i : of_question[i]; /* not grouped: image i is question i's */
        nn_real *one = check_random(PIXELS, 30 + (uint64_t)image, 1);
        memcpy(p->pixels + i * PIXELS, one, PIXELS * sizeof *one);
        check_free(one, PIXELS);
        p->b.cell_offset[i + 1] = (i + 1) * CELLS;
    }
    batch->cells = NULL;
    batch->pixels = p->pixels;
    batch->channels = 3;
}

static void close_batch(pixel_batch_t *p) { check_free(p->pixels, p->n); }

static double loss(void *context) { return fix_forward(context); }

static void check_differences(const hp_config_t *config, bool grouped) {
    const bool trunk = strcmp(config->model.image.trunk, "cnn") == 0;
    pixel_batch_t p;
    open_batch(&p, grouped);
    fix_batch_t cells;
    fix_make_batch(&cells, grouped);
    fixture_t f;
    fix_open_shape(&f, config, trunk ? &shape : &fix_shape);
    f.batch = trunk ? &p.b.batch : &cells.batch;
    fix_forward(&f);
    fix_selection_t kept;
    fix_keep(&f, &kept);
    f.pass.fixed = &kept.selection;
    fix_forward(&f);
    fix_backward(&f);
    for (int i = 0; i < f.params->count; i++) {
        const hp_param_t *row = &f.params->param[i];
        if (row->kind == HP_PARAM_WEIGHT)
            check_gradient(row->name, f.weights + row->offset, (size_t)row->count,
                           f.grads + row->offset, loss, &f);
    }
    fix_close(&f);
    close_batch(&p);
}

static void test_differences(void **state) {
    (void)state;
    for (int i = 0; i < 8; i++) {
        const bool norm = i & 1, coords = i & 2, grouped = i & 4;
        hp_config_t c = trunk_config(HP_ATTEND_HAN, HP_AGGREGATE_SUM, 2, norm, coords);
        check_differences(&c, grouped);
        c = trunk_config(HP_ATTEND_HAN, HP_AGGREGATE_RELATION, 0, norm, coords);
        check_differences(&c, grouped);
        c = trunk_config(HP_ATTEND_ALL, HP_AGGREGATE_RELATION, 0, norm, coords);
        check_differences(&c, grouped);
        c = trunk_config(HP_ATTEND_ADAHAN, HP_AGGREGATE_PAIRWISE, 1, norm, coords);
        check_differences(&c, grouped);
        c = trunk_config(HP_ATTEND_SOFT, HP_AGGREGATE_SUM, 1, norm, coords);
        check_differences(&c, grouped);
    }
}

static const nn_real *weight(const fixture_t *f, const char *fmt, int l) {
    char name[HP_PARAM_NAME];
    snprintf(name, sizeof name, fmt, l);
    const int i = hp_params_find(f->params, name);
    assert_true(i >= 0);
    return f->weights + f->params->param[i].offset;
}

/* Batch normalisation and ReLU of a layer's output: by its own statistics in training, by running
 * averages in evaluation. */
static void naive_norm(const fixture_t *f, int l, int rows, int filters, nn_real *x) {
    const nn_real *gamma = weight(f, "image.trunk.%d.bn.weight", l);
    const nn_real *beta = weight(f, "image.trunk.%d.bn.bias", l);
    const nn_real *mean = weight(f, "image.trunk.%d.bn.running_mean", l);
    const nn_real *var = weight(f, "image.trunk.%d.bn.running_var", l);
    if (f->pass.train) {
        naive_batchnorm(rows, filters, true, x, gamma, beta, x);
        return;
    }
    for (int i = 0; i < rows * filters; i++) {
        const int k = i % filters;
        x[i] = (x[i] - mean[k]) / sqrt(var[k] + NN_BATCHNORM_EPS) * gamma[k] + beta[k];
        if (x[i] < 0) x[i] = 0;
    }
}

/* cells: [images][CELLS][4, or 6 with coordinates]. */
static void naive_cells(const fixture_t *f, int images, const nn_real *pixels, nn_real *cells) {
    const bool norm = f->config.model.image.batch_norm;
    const bool coords = f->config.data.coords == HP_COORDS_XY;
    nn_real out[2][CHECK_QUESTIONS * 9 * 4];
    nn_conv_shape_t s = {HEIGHT, WIDTH, 3, 3, 3, 2, 1};
    for (int l = 0; l < 2; l++) {
        naive_conv(&s, images, !norm, l == 0 ? pixels : out[0],
                   weight(f, "image.trunk.%d.conv.weight", l),
                   norm ? NULL : weight(f, "image.trunk.%d.conv.bias", l), out[l]);
        if (norm)
            naive_norm(f, l, images * nn_conv_out_height(&s) * nn_conv_out_width(&s), s.filters,
                       out[l]);
        s = (nn_conv_shape_t){3, 3, 3, 4, 3, 2, 1};
    }
    for (int i = 0; i < images * CELLS; i++) {
        for (int k = 0; k < 4; k++) *cells++ = out[1][i * 4 + k];
        if (coords) {
            *cells++ = i % 2 == 0 ? -1 : 1;
            *cells++ = i % CELLS / 2 == 0 ? -1 : 1;
        }
    }
}

typedef struct {
    fixture_t *f;
    const nn_real *base, *pixels;
    nn_batch_t then; /* with the cells that base makes */
    const wk_selection_t *selection;
} surrogate_t;

static double surrogate(void *context) {
    const surrogate_t *s = context;
    const fixture_t *f = s->f;
    nn_real cells[CHECK_QUESTIONS * CELLS * 6];
    naive_cells(f, f->batch->images, s->pixels, cells);
    nn_batch_t now = s->then;
    now.cells = cells;
    double sum = 0;
    for (int q = 0; q < now.questions; q++) {
        nn_real logits[FIX_ANSWERS];
        const int first = s->selection->offset[q];
        if (now.label[q] < 0) continue;
        naive_straight_through(&f->config, f->params, f->weights, &now, s->base, &s->then, q,
                               s->selection->offset[q + 1] - first, s->selection->cell + first,
                               logits);
        sum += naive_cross_entropy(FIX_ANSWERS, logits, now.label[q]);
    }
    return sum;
}

/* Straight-through from pixels: the gradient is that of the surrogate, and reaches the convolutions
 * from all cells. */
static void check_straight_through(const hp_config_t *given, bool grouped) {
    pixel_batch_t p;
    open_batch(&p, grouped);
    hp_config_t config = *given;
    config.model.classifier.dropout = 0;
    fixture_t f;
    fix_open_shape(&f, &config, &shape);
    f.batch = &p.b.batch;
    const double expected = fix_forward(&f);
    fix_selection_t kept;
    fix_keep(&f, &kept);
    fix_backward(&f);
    nn_real *base = check_buffer(f.total), cells[CHECK_QUESTIONS * CELLS * 6];
    memcpy(base, f.weights, f.total * sizeof *base);
    surrogate_t s = {&f, base, p.pixels, p.b.batch, &kept.selection};
    naive_cells(&f, p.b.batch.images, p.pixels, cells);
    s.then.cells = cells;
    s.then.channels = config.data.coords == HP_COORDS_XY ? 6 : 4;
    assert_true(fabs(surrogate(&s) - expected) < 1e-11 * expected);
    for (int i = 0; i < f.params->count; i++) {
        const hp_param_t *row = &f.params->param[i];
        if (row->kind == HP_PARAM_WEIGHT)
            check_gradient(row->name, f.weights + row->offset, (size_t)row->count,
                           f.grads + row->offset, surrogate, &s);
    }
    check_free(base, f.total);
    fix_close(&f);
    close_batch(&p);
}

static void test_straight_through(void **state) {
    (void)state;
    for (int i = 0; i < 8; i++) {
        const bool norm = i & 1, coords = i & 2, grouped = i & 4;
        hp_config_t c = trunk_config(HP_ATTEND_STRAIGHT_THROUGH, HP_AGGREGATE_SUM, 0, norm, coords);
        check_straight_through(&c, grouped);
        c = trunk_config(HP_ATTEND_STRAIGHT_THROUGH, HP_AGGREGATE_RELATION, 1, norm, coords);
        check_straight_through(&c, grouped);
    }
}

static void shrink(hp_layers_t *layers, int size) {
    for (int i = 0; i < layers->count; i++) layers->size[i] = size - i % 2;
}

/* The parts and the number of layers are the file's; sizes are small ones. */
static hp_config_t reduced(const char *path) {
    hp_config_t c;
    hp_error_t err = {.text = ""};
    hp_config_default(&c);
    if (hp_config_load(&c, path, &err) != HP_OK) fail_msg("%s", err.text);
    const hp_config_t small = fix_config(HP_ATTEND_HAN, HP_AGGREGATE_SUM, 1);
    c.model.question.embedding = small.model.question.embedding;
    c.model.question.lstm = small.model.question.lstm;
    c.model.image.width = small.model.image.width;
    c.model.image.filters = (hp_layers_t){2, {3, 4}};
    c.model.image.kernels = (hp_layers_t){1, {3}};
    if (c.model.attention.cells > 2) c.model.attention.cells = 2;
    c.model.attention.width = small.model.attention.width;
    c.model.aggregate.head_width = small.model.aggregate.head_width;
    shrink(&c.model.aggregate.layers, 5);
    shrink(&c.model.classifier.layers, 7);
    c.model.classifier.dropout = 0.3; /* its mask depends on the seed alone */
    c.model.precision = HP_FP32;
    c.model.gemm = HP_GEMM_OPENBLAS;
    return c;
}

static void test_configs(void **state) {
    (void)state;
    glob_t found = {0};
    assert_int_equal(glob("configs/*.yaml", 0, NULL, &found), 0);
    assert_int_equal(glob("configs/*/*.yaml", GLOB_APPEND, NULL, &found), 0);
    int checked = 0, from_pixels = 0, surrogates = 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const hp_config_t c = reduced(found.gl_pathv[i]);
        const bool straight = c.model.attention.kind == HP_ATTEND_STRAIGHT_THROUGH;
        print_message("%s\n", found.gl_pathv[i]);
        for (int grouped = 0; grouped < 2; grouped++)
            if (straight)
                check_straight_through(&c, grouped);
            else
                check_differences(&c, grouped);
        checked++;
        surrogates += straight;
        from_pixels += strcmp(c.model.image.trunk, "cnn") == 0;
    }
    globfree(&found);
    assert_true(checked >= 36 && from_pixels >= 10 && from_pixels < checked && surrogates >= 1);
}

static void check_naive(bool norm, bool coords) {
    pixel_batch_t p;
    open_batch(&p, true);
    hp_config_t config = trunk_config(HP_ATTEND_HAN, HP_AGGREGATE_RELATION, 1, norm, coords);
    fixture_t f;
    fix_open_shape(&f, &config, &shape);
    for (int i = 0; i < f.params->count; i++) /* variances are not negative */
        for (int64_t e = 0; e < f.params->param[i].count; e++)
            if (f.params->param[i].kind == HP_PARAM_BUFFER)
                f.weights[f.params->param[i].offset + e] =
                    fabs(f.weights[f.params->param[i].offset + e]);
    f.batch = &p.b.batch;
    f.pass.train = false;
    fix_forward(&f);
    const int channels = coords ? 6 : 4;
    nn_real cells[CHECK_IMAGES * CELLS * 6];
    naive_cells(&f, CHECK_IMAGES, p.pixels, cells);
    nn_batch_t features = p.b.batch;
    features.cells = cells;
    features.channels = channels;
    for (int q = 0; q < CHECK_QUESTIONS; q++) {
        nn_real logits[FIX_ANSWERS], presence[CHECK_MAX_CELLS];
        const int first = f.result.selection.offset[q];
        naive_model(&config, f.params, f.weights, &features, q,
                    f.result.selection.offset[q + 1] - first, f.result.selection.cell + first,
                    logits, presence);
        check_close("logits", FIX_ANSWERS, f.result.logits + q * FIX_ANSWERS, logits, 1e-12);
        check_close("presence", CELLS, f.result.presence + q * CELLS, presence, 1e-12);
    }
    fix_close(&f);
    close_batch(&p);
}

static void test_naive(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) check_naive(i & 1, i & 2);
}

/* A step moves the running averages a tenth of the way to the batch's statistics; the variance's is
 * of the unbiased one. */
static void test_running(void **state) {
    (void)state;
    pixel_batch_t p;
    open_batch(&p, true);
    hp_config_t config = trunk_config(HP_ATTEND_HAN, HP_AGGREGATE_SUM, 1, true, true);
    fixture_t f;
    fix_open_shape(&f, &config, &shape);
    f.batch = &p.b.batch;
    fix_forward(&f);
    fix_backward(&f);
    const nn_conv_shape_t s = {HEIGHT, WIDTH, 3, 3, 3, 2, 1};
    nn_real map[CHECK_IMAGES * 9 * 3];
    naive_conv(&s, CHECK_IMAGES, false, p.pixels, weight(&f, "image.trunk.%d.conv.weight", 0), NULL,
               map);
    const int64_t mean_at = weight(&f, "image.trunk.%d.bn.running_mean", 0) - f.weights;
    const int64_t var_at = weight(&f, "image.trunk.%d.bn.running_var", 0) - f.weights;
    for (int k = 0; k < 3; k++) {
        double mean = 0, var = 0;
        const int n = CHECK_IMAGES * 9;
        for (int i = 0; i < n; i++) mean += map[i * 3 + k] / n;
        for (int i = 0; i < n; i++) var += pow(map[i * 3 + k] - mean, 2) / (n - 1);
        assert_true(fabs(f.grads[mean_at + k] - (0.9 * f.weights[mean_at + k] + 0.1 * mean)) <
                    1e-12);
        assert_true(fabs(f.grads[var_at + k] - (0.9 * f.weights[var_at + k] + 0.1 * var)) < 1e-12);
    }
    fix_close(&f);
    close_batch(&p);
}

/* Without batch normalisation the same example gives the same loss and gradient, grouped or not. */
static void test_grouping(void **state) {
    (void)state;
    pixel_batch_t p, apart;
    open_batch(&p, true);
    open_batch(&apart, false);
    hp_config_t config = trunk_config(HP_ATTEND_HAN, HP_AGGREGATE_RELATION, 1, false, true);
    fixture_t f, g;
    fix_open_shape(&f, &config, &shape);
    fix_open_shape(&g, &config, &shape);
    f.batch = &p.b.batch;
    g.batch = &apart.b.batch;
    const double expected = fix_forward(&f);
    assert_true(fabs(fix_forward(&g) - expected) < 1e-12 * expected);
    fix_backward(&f);
    fix_backward(&g);
    check_close("gradient", f.total, g.grads, f.grads, 1e-11);
    fix_close(&f);
    fix_close(&g);
    close_batch(&p);
    close_batch(&apart);
}

/* Paddings of their own: the naive convolution, layer by layer, and finite differences. */
static void test_paddings(void **state) {
    (void)state;
    hp_config_t c = trunk_config(HP_ATTEND_HAN, HP_AGGREGATE_SUM, 1, false, false);
    c.model.image.kernels = (hp_layers_t){2, {2, 3}};
    c.model.image.paddings = (hp_layers_t){2, {0, 1}}; /* 6x5 pixels: 3x2, then 2x1 cells */
    hp_error_t err;
    int rows, columns;
    assert_int_equal(wk_model_grid(&c, HEIGHT, WIDTH, &rows, &columns, &err), HP_OK);
    assert_true(rows == 2 && columns == 1);
    c.model.image.paddings = (hp_layers_t){1, {1}}; /* of both: 4x3, then 2x2 */
    assert_int_equal(wk_model_grid(&c, HEIGHT, WIDTH, &rows, &columns, &err), HP_OK);
    assert_true(rows == ROWS && columns == COLUMNS);
    pixel_batch_t p;
    open_batch(&p, true);
    fixture_t f;
    fix_open_shape(&f, &c, &shape);
    f.batch = &p.b.batch;
    fix_forward(&f);
    nn_real a[CHECK_IMAGES * 12 * 3], cells[CHECK_IMAGES * CELLS * 4];
    naive_conv(&(nn_conv_shape_t){HEIGHT, WIDTH, 3, 3, 2, 2, 1}, CHECK_IMAGES, true, p.pixels,
               weight(&f, "image.trunk.%d.conv.weight", 0),
               weight(&f, "image.trunk.%d.conv.bias", 0), a);
    naive_conv(&(nn_conv_shape_t){4, 3, 3, 4, 3, 2, 1}, CHECK_IMAGES, true, a,
               weight(&f, "image.trunk.%d.conv.weight", 1),
               weight(&f, "image.trunk.%d.conv.bias", 1), cells);
    check_close("cells", CHECK_IMAGES * CELLS * 4, f.model->cells, cells, 1e-12);
    fix_close(&f);
    close_batch(&p);
    check_differences(&c, true);
}

static void refused(hp_config_t c, int height, int width, const char *expected) {
    hp_error_t err = {.text = ""};
    int rows, columns;
    assert_int_equal(wk_model_grid(&c, height, width, &rows, &columns, &err), HP_INPUT);
    if (strstr(err.text, expected) == NULL) fail_msg("\"%s\" lacks \"%s\"", err.text, expected);
}

static void test_grid(void **state) {
    (void)state;
    hp_config_t c = trunk_config(HP_ATTEND_HAN, HP_AGGREGATE_SUM, 1, true, true);
    hp_error_t err;
    int rows, columns;
    assert_int_equal(wk_model_grid(&c, HEIGHT, WIDTH, &rows, &columns, &err), HP_OK);
    assert_true(rows == ROWS && columns == COLUMNS);
    c.model.image.filters = (hp_layers_t){4, {24, 24, 24, 24}};
    c.model.image.kernels = (hp_layers_t){1, {3}};
    assert_int_equal(wk_model_grid(&c, 75, 128, &rows, &columns, &err), HP_OK);
    assert_true(rows == 5 && columns == 8);
    c.model.image.kernels = (hp_layers_t){2, {3, 3}};
    refused(c, 75, 75, "model.image.kernels: 2 of them; allowed: 1 or 4");
    c.model.image.kernels.count = 1;
    c.model.image.paddings = (hp_layers_t){3, {1, 1, 1}};
    refused(c, 75, 75, "model.image.paddings: 3 of them; allowed: 0, 1 or 4");
    c.model.image.paddings.count = 0;
    c.model.image.filters.count = 0;
    refused(c, 75, 75, "model.image.filters");
    c = trunk_config(HP_ATTEND_HAN, HP_AGGREGATE_SUM, 1, true, true);
    refused(c, 0, 0, "needs a store with pixels");
    c.model.image.kernels = (hp_layers_t){1, {4}}; /* padded by 2: 1x1 pixels give 2x2 */
    assert_int_equal(wk_model_grid(&c, 1, 1, &rows, &columns, &err), HP_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configs),          cmocka_unit_test(test_naive),
        cmocka_unit_test(test_differences),      cmocka_unit_test(test_running),
        cmocka_unit_test(test_grouping),         cmocka_unit_test(test_grid),
        cmocka_unit_test(test_straight_through), cmocka_unit_test(test_paddings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
