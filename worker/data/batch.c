#include "worker/data/batch.h"

#include "common/memory.h"
#include "common/random.h"
#include "common/vector.h"
#include "worker/data/coords.h"
#include "worker/data/labels.h"
#include "worker/data/pixel_norm.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#define LANES 16

struct wk_batch_memory {
    hp_arena_t arena;
    float *cells;    /* [limits.cells][shape.channels]; or pixels [limits.images][pixels] */
    hp_bf16_t *half; /* the cells, instead, where the model reads bf16 */
    float *raw; /* an image as it was read [shape.max_cells][info->channels], or pixels before they
                   are cropped */
    float *boxes;      /* [shape.max_cells][4], where coordinates come from boxes */
    int *cell_offset;  /* [limits.images + 1] */
    int *image;        /* [limits.questions] */
    int *token_offset; /* [limits.questions + 1] */
    int32_t *token;    /* [limits.tokens] */
    int32_t *label;    /* [limits.questions] */
    uint64_t *key;     /* [limits.questions] */
    wk_example_t *example;
    uint32_t *ordinal;   /* [limits.images] */
    wk_labels_t *labels; /* where several answers count */
    int *target_offset;  /* [limits.questions + 1], where labels are soft */
    int32_t *target;     /* [limits.questions][WK_LABELS_MOST] at most */
    float *target_weight;
};

static bool from_pixels(const hp_config_t *config) {
    return strcmp(config->model.image.trunk, "cnn") == 0;
}

/* Numbers of an image whose pixels are read. */
static size_t pixels_of(const wk_model_shape_t *shape) {
    return (size_t)shape->pixel_height * (size_t)shape->pixel_width * (size_t)shape->channels;
}

static hp_status_t pixel_shape(const hp_config_t *config, const hp_store_info_t *info,
                               wk_model_shape_t *shape, hp_error_t *err) {
    if (info->pixel_height < 1 || info->pixel_width < 1)
        return hp_fail(err, HP_INPUT,
                       "model.image.trunk: cnn reads pixels, and store '%s' has none",
                       config->data.store);
    if (config->data.coords == HP_COORDS_BOX)
        return hp_fail(err, HP_INPUT,
                       "data.coords: box is for features; to the cells of model.image.trunk: cnn "
                       "xy can be appended");
    int rows, columns;
    HP_TRY(wk_model_grid(config, info->pixel_height, info->pixel_width, &rows, &columns, err));
    *shape = (wk_model_shape_t){.channels = 3,
                                .max_cells = rows * columns,
                                .words = info->words,
                                .answers = info->answers,
                                .pixel_height = info->pixel_height,
                                .pixel_width = info->pixel_width,
                                .grid_height = rows,
                                .grid_width = columns};
    return HP_OK;
}

static hp_status_t feature_shape(const hp_config_t *config, const hp_store_info_t *info,
                                 wk_model_shape_t *shape, hp_error_t *err) {
    if (info->feature_dtype == HP_DTYPE_NONE)
        return hp_fail(err, HP_INPUT, "store '%s' has no features", config->data.store);
    if (wk_coords_from_boxes(config->data.coords, info) && !info->boxes)
        return hp_fail(err, HP_INPUT,
                       "data.coords: the cells of store '%s' lie on no grid and have no boxes",
                       config->data.store);
    *shape =
        (wk_model_shape_t){.channels = info->channels + wk_coords_channels(config->data.coords),
                           .max_cells = info->max_cells,
                           .words = info->words,
                           .answers = info->answers,
                           .grid_height = info->grid_height,
                           .grid_width = info->grid_width};
    return HP_OK;
}

hp_status_t wk_batch_shape(const hp_config_t *config, const hp_store_info_t *info,
                           wk_model_shape_t *shape, hp_error_t *err) {
    if (info->answers < 1 || info->words < 1)
        return hp_fail(err, HP_INPUT, "store '%s' has no %s", config->data.store,
                       info->answers < 1 ? "answers" : "words");
    return from_pixels(config) ? pixel_shape(config, info, shape, err)
                               : feature_shape(config, info, shape, err);
}

hp_status_t wk_batch_plan(const hp_config_t *config, const hp_store_info_t *info, int questions,
                          int images, wk_batch_plan_t *plan, hp_error_t *err) {
    wk_batch_plan_t p = {.info = info,
                         .norm = config->data.feature_norm,
                         .coords = config->data.coords,
                         .blank = config->data.blank_images,
                         .half = wk_model_reads_half(config),
                         .pixels = from_pixels(config),
                         .labels = config->data.labels,
                         .shares = config->model.classifier.soft_loss == HP_SOFT_CROSS_ENTROPY,
                         .pixel_norm = config->data.pixel_norm};
    if (p.labels == HP_LABELS_SAMPLED) p.labels = HP_LABELS_MOST_FREQUENT;
    HP_TRY(wk_batch_shape(config, info, &p.shape, err));
    int64_t tokens = (int64_t)questions * (info->max_tokens > 0 ? info->max_tokens : 1);
    int64_t cells = (int64_t)images * p.shape.max_cells;
    if (tokens > INT_MAX || cells > INT_MAX)
        return hp_fail(err, HP_INPUT, "data.batch_size: %d is too large for this store", questions);
    p.limits = (wk_model_limits_t){
        .images = images, .questions = questions, .tokens = (int)tokens, .cells = (int)cells};
    *plan = p;
    return HP_OK;
}

void wk_batch_training(const hp_config_t *config, wk_batch_plan_t *plan) {
    plan->labels = config->data.labels;
    plan->seed = (uint64_t)config->run.seed;
    plan->augment = (wk_augment_t){.pad = config->data.augment.pad,
                                   .rotate = config->data.augment.rotate,
                                   .fill = config->data.augment.fill,
                                   .seed = (uint64_t)config->run.seed};
    plan->augmented = plan->pixels && (plan->augment.pad > 0 || plan->augment.rotate > 0);
}

static void take_all(wk_batch_memory_t *m, const wk_batch_plan_t *plan) {
    const wk_model_limits_t *l = &plan->limits;
    size_t questions = (size_t)l->questions, images = (size_t)l->images;
    size_t numbers = plan->pixels ? images * pixels_of(&plan->shape)
                                  : (size_t)l->cells * (size_t)plan->shape.channels;
    if (plan->half)
        m->half = hp_arena_take(&m->arena, numbers, sizeof *m->half);
    else
        m->cells = hp_arena_take(&m->arena, numbers, sizeof(float));
    if (!plan->pixels)
        m->raw = hp_arena_take(
            &m->arena, (size_t)plan->shape.max_cells * (size_t)plan->info->channels, sizeof(float));
    if (!plan->pixels && wk_coords_from_boxes(plan->coords, plan->info))
        m->boxes = hp_arena_take(&m->arena, (size_t)plan->shape.max_cells * 4, sizeof(float));
    if (plan->augmented) m->raw = hp_arena_take(&m->arena, pixels_of(&plan->shape), sizeof(float));
    m->cell_offset = hp_arena_take(&m->arena, images + 1, sizeof(int));
    m->image = hp_arena_take(&m->arena, questions, sizeof(int));
    m->token_offset = hp_arena_take(&m->arena, questions + 1, sizeof(int));
    m->token = hp_arena_take(&m->arena, (size_t)l->tokens, sizeof(int32_t));
    m->label = hp_arena_take(&m->arena, questions, sizeof(int32_t));
    m->key = hp_arena_take(&m->arena, questions, sizeof(uint64_t));
    m->example = hp_arena_take(&m->arena, questions, sizeof(wk_example_t));
    m->ordinal = hp_arena_take(&m->arena, images, sizeof(uint32_t));
    if (plan->labels != HP_LABELS_SOFT) return;
    m->target_offset = hp_arena_take(&m->arena, questions + 1, sizeof(int));
    m->target = hp_arena_take(&m->arena, questions * WK_LABELS_MOST, sizeof(int32_t));
    m->target_weight = hp_arena_take(&m->arena, questions * WK_LABELS_MOST, sizeof(float));
}

size_t wk_batch_bytes(const wk_batch_plan_t *plan) {
    wk_batch_memory_t measured = {.arena = {.base = NULL}};
    take_all(&measured, plan);
    return measured.arena.size;
}

hp_status_t wk_batch_create(const wk_batch_plan_t *plan, wk_batch_memory_t **memory_p,
                            hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(wk_batch_memory_t), "batch", err));
    wk_batch_memory_t *m = p;
    take_all(m, plan);
    hp_status_t status = hp_arena_commit(&m->arena, "a batch", err);
    if (status == HP_OK && plan->labels != HP_LABELS_MOST_FREQUENT)
        status = wk_labels_create(plan->info->answers, plan->info->answer, &m->labels, err);
    if (status != HP_OK) {
        wk_batch_destroy(m);
        return status;
    }
    take_all(m, plan);
    *memory_p = m;
    return HP_OK;
}

void wk_batch_destroy(wk_batch_memory_t *m) {
    if (m == NULL) return;
    hp_arena_release(&m->arena);
    wk_labels_destroy(m->labels);
    hp_free(m);
}

/* Sum of squares; in lanes, so that the compiler can use vectors without changing the result. */
HP_VECTOR static double sum_of_squares(const float *x, int n) {
    float lane[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) lane[j] += x[i + j] * x[i + j];
    double sum = 0;
    for (int j = 0; j < LANES; j++) sum += lane[j];
    for (; i < n; i++) sum += (double)x[i] * x[i];
    return sum;
}

HP_VECTOR static void scale(int n, float factor, const float *restrict x, float *restrict out) {
    for (int i = 0; i < n; i++) out[i] = x[i] * factor;
}

HP_VECTOR static void scale_half(int n, float factor, const float *restrict x,
                                 hp_bf16_t *restrict out) {
    for (int i = 0; i < n; i++) out[i] = hp_bf16_from_float(x[i] * factor);
}

/* What an image's cells [n][channels] are multiplied by; 1 where each has its own. */
static double image_factor(hp_feature_norm_t norm, const float *cells, int n, int channels) {
    double whole = 0;
    if (norm != HP_NORM_IMAGE_RMS && norm != HP_NORM_IMAGE) return 1;
    for (int c = 0; c < n; c++)
        whole += sum_of_squares(cells + (size_t)c * (size_t)channels, channels);
    if (whole == 0) return 1;
    return (norm == HP_NORM_IMAGE_RMS ? sqrt(n) : 1) / sqrt(whole);
}

static double cell_factor(const float *cell, int channels) {
    const double square = sum_of_squares(cell, channels);
    return square > 0 ? 1 / sqrt(square) : 1;
}

/* Of a store whose cells lie on no grid. */
static hp_status_t read_boxes(wk_batch_memory_t *m, const wk_batch_plan_t *plan,
                              hp_store_reader_t *reader, uint32_t image, int cells,
                              hp_error_t *err) {
    int n = 0;
    HP_TRY(hp_store_read_boxes(reader, image, m->boxes, plan->shape.max_cells, &n, err));
    if (n != cells)
        return hp_fail(err, HP_CORRUPT, "image %lu has %d cells, but %d boxes",
                       (unsigned long)image, cells, n);
    if (!wk_coords_are_fractions(m->boxes, n))
        return hp_fail(err, HP_INPUT,
                       "data.coords: the boxes of image %lu are no fractions of its width and "
                       "height; import with --image-sizes",
                       (unsigned long)image);
    return HP_OK;
}

/* From m->raw to the batch, in one pass: normalised, rounded where the model wants it so, with
 * coordinates. */
static void write_cells(wk_batch_memory_t *m, const wk_batch_plan_t *plan, int n, size_t at) {
    const int channels = plan->info->channels;
    const double whole = image_factor(plan->norm, m->raw, n, channels);
    for (int c = 0; c < n; c++, at += (size_t)plan->shape.channels) {
        const float *cell = m->raw + (size_t)c * (size_t)channels;
        const double own = plan->norm == HP_NORM_CELL ? cell_factor(cell, channels) : whole;
        float place[WK_COORDS];
        const int places = wk_coords_place(plan->coords, plan->info, m->boxes, c, place);
        if (plan->half) {
            scale_half(channels, (float)own, cell, m->half + at);
            hp_bf16_round(m->half + at + channels, place, places);
        } else {
            scale(channels, (float)own, cell, m->cells + at);
            memcpy(m->cells + at + channels, place, (size_t)places * sizeof *place);
        }
    }
}

/* The image's cells, from number `at` of the batch's on. */
static hp_status_t read_image(wk_batch_memory_t *m, const wk_batch_plan_t *plan,
                              hp_store_reader_t *reader, uint32_t image, size_t at, int *cells_p,
                              hp_error_t *err) {
    int n = plan->info->grid_height * plan->info->grid_width;
    if (!plan->blank || n == 0)
        HP_TRY(hp_store_read_features(reader, image, m->raw, plan->shape.max_cells, &n, err));
    *cells_p = n;
    const size_t count = (size_t)n * (size_t)plan->shape.channels;
    if (!plan->blank && m->boxes != NULL) HP_TRY(read_boxes(m, plan, reader, image, n, err));
    if (!plan->blank)
        write_cells(m, plan, n, at);
    else if (plan->half)
        memset(m->half + at, 0, count * sizeof *m->half);
    else
        memset(m->cells + at, 0, count * sizeof *m->cells);
    return HP_OK;
}

hp_status_t wk_batch_read_pixels(const wk_batch_plan_t *plan, hp_store_reader_t *reader,
                                 uint32_t image, float *out, hp_error_t *err) {
    const size_t n = pixels_of(&plan->shape);
    if (plan->blank) {
        memset(out, 0, n * sizeof *out);
        return HP_OK;
    }
    const void *data;
    size_t bytes;
    HP_TRY(hp_store_read_image(reader, image, HP_RECORD_PIXELS, &data, &bytes, err));
    if (bytes != n)
        return hp_fail(err, HP_CORRUPT, "image %lu has %zu bytes of pixels, not %zu",
                       (unsigned long)image, bytes, n);
    const unsigned char *from = data;
    const int channels = plan->shape.channels;
    wk_pixel_norm(plan->pixel_norm, from, n / (size_t)channels, channels, out);
    return HP_OK;
}

static hp_status_t add_pixels(wk_batch_memory_t *m, const wk_batch_plan_t *plan,
                              hp_store_reader_t *reader, uint32_t image, uint64_t epoch, float *out,
                              hp_error_t *err) {
    if (!plan->augmented || plan->blank) return wk_batch_read_pixels(plan, reader, image, out, err);
    HP_TRY(wk_batch_read_pixels(plan, reader, image, m->raw, err));
    wk_augment(&plan->augment, epoch, image, plan->shape.pixel_height, plan->shape.pixel_width,
               m->raw, out);
    return HP_OK;
}

/* Image number i of the batch. */
static hp_status_t add_image(wk_batch_memory_t *m, const wk_batch_plan_t *plan,
                             hp_store_reader_t *reader, uint32_t image, uint64_t epoch, int i,
                             hp_error_t *err) {
    int begin = m->cell_offset[i], cells = plan->shape.max_cells;
    if (plan->pixels)
        HP_TRY(add_pixels(m, plan, reader, image, epoch,
                          m->cells + (size_t)i * pixels_of(&plan->shape), err));
    else
        HP_TRY(read_image(m, plan, reader, image, (size_t)begin * (size_t)plan->shape.channels,
                          &cells, err));
    m->cell_offset[i + 1] = begin + cells;
    m->ordinal[i] = image;
    return HP_OK;
}

/* The label that is learnt, and the others where they count: then a question whose most frequent
 * answer is no class has the one of the most weight as its label. After the question's key. */
static void take_labels(wk_batch_memory_t *m, const wk_batch_plan_t *plan, const hp_question_t *q,
                        int k) {
    m->label[k] = q->label;
    if (plan->labels == HP_LABELS_SAMPLED)
        m->label[k] = wk_labels_sample(m->labels, q, plan->seed, m->key[k]);
    if (plan->labels != HP_LABELS_SOFT) return;
    if (k == 0) m->target_offset[0] = 0;
    const int begin = m->target_offset[k];
    const float *weight = m->target_weight + begin;
    const int n =
        wk_labels_soft(m->labels, q, plan->shares, m->target + begin, m->target_weight + begin);
    m->target_offset[k + 1] = begin + n;
    int most = 0;
    for (int i = 1; i < n; i++)
        if (weight[i] > weight[most]) most = i;
    if (q->label < 0 && n > 0) m->label[k] = m->target[begin + most];
}

static hp_status_t read_question(wk_batch_memory_t *m, const wk_batch_plan_t *plan,
                                 hp_store_reader_t *reader, const wk_example_t *example, int k,
                                 hp_question_t *q, hp_error_t *err) {
    HP_TRY(hp_store_read_question(reader, example->question, q, err));
    int begin = m->token_offset[k];
    if (q->tokens > plan->limits.tokens - begin)
        return hp_fail(err, HP_CORRUPT, "question %lld has %d words; the store's longest has %d",
                       (long long)q->question_id, q->tokens, plan->info->max_tokens);
    if (q->tokens > 0) memcpy(m->token + begin, q->token, (size_t)q->tokens * sizeof *q->token);
    int tokens = q->tokens;
    if (tokens == 0) { /* a question without a word is one unknown word */
        if (begin >= plan->limits.tokens)
            return hp_fail(err, HP_CORRUPT, "question %lld is empty", (long long)q->question_id);
        m->token[begin] = 0;
        tokens = 1;
    }
    m->token_offset[k + 1] = begin + tokens;
    m->key[k] = hp_random_mix(example->epoch, example->question);
    take_labels(m, plan, q, k);
    m->example[k] = *example;
    return HP_OK;
}

static void finish(const wk_batch_memory_t *m, const wk_batch_plan_t *plan, int images, int n,
                   int labelled, wk_batch_t *batch) {
    *batch = (wk_batch_t){
        .nn = {.images = images,
               .cell_offset = m->cell_offset,
               .cells = plan->pixels ? NULL : m->cells,
               .half = m->half,
               .pixels = plan->pixels ? m->cells : NULL,
               .channels = plan->shape.channels,
               .questions = n,
               .image = m->image,
               .token_offset = m->token_offset,
               .token = m->token,
               .label = m->label,
               .target = {m->target_offset, m->target, m->target_weight},
               .key = m->key},
        .example = m->example,
        .image = m->ordinal,
        .labelled = labelled,
    };
}

hp_status_t wk_batch_ask(wk_batch_memory_t *m, const wk_batch_plan_t *plan,
                         hp_store_reader_t *reader, uint32_t image, const int32_t *token,
                         int tokens, wk_batch_t *batch, hp_error_t *err) {
    if (tokens < 1 || tokens > plan->limits.tokens)
        return hp_fail(err, HP_INTERNAL, "a question of %d words", tokens);
    m->cell_offset[0] = m->token_offset[0] = 0;
    HP_TRY(add_image(m, plan, reader, image, 0, 0, err));
    memcpy(m->token, token, (size_t)tokens * sizeof *token);
    m->token_offset[1] = tokens;
    m->image[0] = 0;
    m->label[0] = -1;
    if (plan->labels == HP_LABELS_SOFT) m->target_offset[0] = m->target_offset[1] = 0;
    m->key[0] = 0;
    m->example[0] = (wk_example_t){0};
    finish(m, plan, 1, 1, 0, batch);
    return HP_OK;
}

hp_status_t wk_batch_build(wk_batch_memory_t *m, const wk_batch_plan_t *plan,
                           hp_store_reader_t *reader, const wk_example_t *example, int n,
                           wk_batch_t *batch, hp_error_t *err) {
    int images = 0, labelled = 0;
    m->cell_offset[0] = m->token_offset[0] = 0;
    for (int k = 0; k < n; k++) {
        hp_question_t q;
        HP_TRY(read_question(m, plan, reader, &example[k], k, &q, err));
        if (k == 0 || example[k].opens) {
            if (images >= plan->limits.images)
                return hp_fail(err, HP_INTERNAL, "a batch has more than %d images", images);
            HP_TRY(add_image(m, plan, reader, q.image, example[k].epoch, images++, err));
        }
        m->image[k] = images - 1;
        labelled += m->label[k] >= 0;
    }
    finish(m, plan, images, n, labelled, batch);
    return HP_OK;
}
