/* Batches against a naive twin that reads the store by itself; the prefetcher. */
#include "worker/data/batch.h"
#include "worker/data/labels.h"
#include "worker/data/prefetch.h"
#include "worker/train.h"

#include "common/memory.h"
#include "common/random.h"
#include "common/store_write.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { IMAGES = 7, QUESTIONS = 40, HEIGHT = 2, WIDTH = 3, CELLS = 6, CHANNELS = 21, BATCH = 8 };

static char folder[64], path[128];
static float features[IMAGES][CELLS][CHANNELS];
static int image_of[QUESTIONS], tokens_of[QUESTIONS], label_of[QUESTIONS];

static void write_store(void) {
    hp_error_t err = {0};
    hp_store_writer_t *w = NULL;
    hp_store_plan_t plan = {.feature_dtype = HP_DTYPE_F32,
                            .grid_height = HEIGHT,
                            .grid_width = WIDTH,
                            .max_cells = CELLS,
                            .channels = CHANNELS,
                            .metric = HP_METRIC_EXACT};
    static const char *const words[] = {"?", "a", "b", "c"}, *const answers[] = {"x", "y", "z"};
    hp_random_t r = hp_random(8, HP_RANDOM_TEST, 0, 0);
    assert_int_equal(hp_store_writer_open(path, &plan, &w, &err), HP_OK);
    for (int i = 0; i < IMAGES; i++) {
        for (int c = 0; c < CELLS; c++)
            for (int k = 0; k < CHANNELS; k++)
                features[i][c][k] = i == 3 ? 0 : (float)hp_random_normal(&r); /* image 3 is zero */
        if (i == 2) memset(features[i][1], 0, sizeof features[i][1]);         /* a zero cell */
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        hp_store_image_t image = {.name = name, .features = features[i], .cells = CELLS};
        assert_int_equal(hp_store_write_image(w, &image, NULL, &err), HP_OK);
    }
    assert_int_equal(hp_store_write_split(w, "train", &err), HP_OK);
    for (int q = 0; q < QUESTIONS; q++) {
        int32_t token[4];
        image_of[q] = q < IMAGES ? q : (int)hp_random_below(&r, IMAGES);
        tokens_of[q] = q == 5 ? 0 : 1 + (int)hp_random_below(&r, 4);
        label_of[q] = (int)hp_random_below(&r, 4) - 1;
        for (int t = 0; t < tokens_of[q]; t++) token[t] = (q + t) % 4;
        static const char *const said[] = {"x", "y", "z", "w"}; /* w is no class */
        hp_answer_t answer[10];
        for (int a = 0; a < 10; a++) /* of every third question */
            answer[a] = (hp_answer_t){.text = said[hp_random_below(&r, 4)], .answer_id = a + 1};
        hp_question_t question = {.question_id = 100 + q,
                                  .answers = q % 3 == 0 ? 10 : 0,
                                  .answer = answer,
                                  .image = (uint32_t)image_of[q],
                                  .text = "t",
                                  .tokens = tokens_of[q],
                                  .token = token,
                                  .question_type = "what",
                                  .answer_type = "other",
                                  .target = "x",
                                  .label = label_of[q]};
        assert_int_equal(hp_store_write_question(w, &question, &err), HP_OK);
    }
    assert_int_equal(hp_store_write_words(w, 4, words, &err), HP_OK);
    assert_int_equal(hp_store_write_answers(w, 3, answers, &err), HP_OK);
    if (hp_store_writer_finish(w, &err) != HP_OK) fail_msg("%s", err.text);
}

static int setup(void **state) {
    (void)state;
    strcpy(folder, "/tmp/hanps-test-XXXXXX");
    if (mkdtemp(folder) == NULL) return 1;
    snprintf(path, sizeof path, "%s/store", folder);
    write_store();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static void close_to(double a, double b) {
    if (fabs(a - b) > 2e-6 * (1 + fabs(b))) fail_msg("%.9g is not %.9g", a, b);
}

/* Channel k of cell c of image i, by the definition. */
static double want(const hp_config_t *config, int i, int c, int k) {
    double image = 0, cell = 0;
    if (config->data.blank_images) return 0;
    if (k == CHANNELS) return -1 + 2.0 * (c % WIDTH) / (WIDTH - 1);
    if (k == CHANNELS + 1) return -1 + 2.0 * (c / WIDTH) / (HEIGHT - 1);
    for (int a = 0; a < CELLS; a++)
        for (int b = 0; b < CHANNELS; b++) {
            double square = (double)features[i][a][b] * features[i][a][b];
            image += square;
            if (a == c) cell += square;
        }
    double x = features[i][c][k];
    switch (config->data.feature_norm) {
    case HP_NORM_IMAGE_RMS:
        return image > 0 ? x * sqrt(CELLS) / sqrt(image) : 0;
    case HP_NORM_IMAGE:
        return image > 0 ? x / sqrt(image) : 0;
    case HP_NORM_CELL:
        return cell > 0 ? x / sqrt(cell) : 0;
    default:
        return x;
    }
}

static void check_batch(const hp_config_t *config, const wk_batch_t *batch, const wk_example_t *e,
                        int n) {
    const nn_batch_t *nn = &batch->nn;
    int image = -1, labelled = 0;
    assert_int_equal(nn->questions, n);
    for (int k = 0; k < n; k++) {
        int q = (int)e[k].question;
        if (e[k].opens || k == 0) image++;
        assert_int_equal(nn->image[k], image);
        assert_int_equal(batch->image[image], image_of[q]);
        assert_int_equal(nn->label[k], label_of[q]);
        labelled += label_of[q] >= 0;
        assert_true(nn->key[k] == hp_random_mix(e[k].epoch, e[k].question));
        assert_int_equal(batch->example[k].question, q);
        int begin = nn->token_offset[k], tokens = nn->token_offset[k + 1] - begin;
        assert_int_equal(tokens, tokens_of[q] > 0 ? tokens_of[q] : 1);
        for (int t = 0; t < tokens_of[q]; t++) assert_int_equal(nn->token[begin + t], (q + t) % 4);
        if (tokens_of[q] == 0) assert_int_equal(nn->token[begin], 0);
    }
    assert_int_equal(nn->images, image + 1);
    assert_int_equal(batch->labelled, labelled);
    assert_int_equal(nn->channels, CHANNELS + (config->data.coords == HP_COORDS_XY ? 2 : 0));
    for (int i = 0; i <= image; i++) {
        assert_int_equal(nn->cell_offset[i], i * CELLS);
        for (int c = 0; c < CELLS; c++)
            for (int k = 0; k < nn->channels; k++)
                close_to(nn->cells[(i * CELLS + c) * nn->channels + k],
                         want(config, (int)batch->image[i], c, k));
    }
}

/* `label` NULL: as the store has them. */
static wk_sampler_t *sampler_of(hp_store_t *store, const int32_t *label, bool labelled_only) {
    wk_sampler_options_t o = {.image = hp_store_question_image(store),
                              .label = label != NULL ? label : hp_store_question_label(store),
                              .count = QUESTIONS,
                              .seed = 1,
                              .batch_size = BATCH,
                              .labelled_only = labelled_only,
                              .group_by_image = true,
                              .shuffle = true,
                              .max_questions_per_image = 3};
    wk_sampler_t *s = NULL;
    assert_int_equal(wk_sampler_create(&o, &s, NULL), HP_OK);
    return s;
}

static void test_values(void **state) {
    (void)state;
    hp_error_t err = {0};
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    assert_int_equal(hp_store_open(path, &store, &err), HP_OK);
    assert_int_equal(hp_store_reader_open(store, &reader, &err), HP_OK);
    wk_sampler_t *sampler = sampler_of(store, NULL, false);
    for (int mode = 0; mode < 16; mode++) {
        hp_config_t config;
        hp_config_default(&config);
        config.data.feature_norm = (hp_feature_norm_t)(mode & 3);
        config.data.coords = mode & 4 ? HP_COORDS_XY : HP_COORDS_NONE;
        config.data.blank_images = mode & 8;
        wk_batch_plan_t plan;
        wk_batch_memory_t *memory = NULL;
        assert_int_equal(wk_batch_plan(&config, hp_store_info(store), BATCH,
                                       wk_sampler_max_images(sampler), &plan, &err),
                         HP_OK);
        assert_int_equal(plan.shape.words, 4);
        assert_int_equal(plan.shape.answers, 3);
        assert_int_equal(wk_batch_create(&plan, &memory, &err), HP_OK);
        for (uint64_t u = 0; u < 12; u++) {
            wk_example_t e[BATCH];
            wk_batch_t batch;
            wk_sampler_unit(sampler, u, e);
            if (wk_batch_build(memory, &plan, reader, e, BATCH, &batch, &err) != HP_OK)
                fail_msg("%s", err.text);
            check_batch(&config, &batch, e, BATCH);
        }
        wk_batch_destroy(memory);
    }
    wk_sampler_destroy(sampler);
    hp_store_reader_close(reader);
    hp_store_close(store);
}

/* What a bf16 model reads: the same numbers rounded, once. */
static void test_rounded(void **state) {
    (void)state;
    hp_error_t err = {0};
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    assert_int_equal(hp_store_open(path, &store, &err), HP_OK);
    assert_int_equal(hp_store_reader_open(store, &reader, &err), HP_OK);
    wk_sampler_t *sampler = sampler_of(store, NULL, false);
    for (int mode = 0; mode < 16; mode++) {
        wk_batch_plan_t plan[2];
        wk_batch_memory_t *memory[2] = {NULL, NULL};
        wk_batch_t batch[2];
        wk_example_t e[BATCH];
        wk_sampler_unit(sampler, (uint64_t)mode, e);
        for (int bf16 = 0; bf16 < 2; bf16++) {
            hp_config_t config;
            hp_config_default(&config);
            config.model.precision = bf16 ? HP_BF16 : HP_FP32;
            config.data.feature_norm = (hp_feature_norm_t)(mode & 3);
            config.data.coords = mode & 4 ? HP_COORDS_XY : HP_COORDS_NONE;
            config.data.blank_images = mode & 8;
            assert_int_equal(wk_batch_plan(&config, hp_store_info(store), BATCH,
                                           wk_sampler_max_images(sampler), &plan[bf16], &err),
                             HP_OK);
            assert_int_equal(wk_batch_create(&plan[bf16], &memory[bf16], &err), HP_OK);
            assert_int_equal(
                wk_batch_build(memory[bf16], &plan[bf16], reader, e, BATCH, &batch[bf16], &err),
                HP_OK);
        }
        const nn_batch_t *wide = &batch[0].nn, *half = &batch[1].nn;
        assert_true(wide->half == NULL && half->cells == NULL);
        const int numbers = wide->cell_offset[wide->images] * wide->channels;
        assert_int_equal(half->cell_offset[half->images] * half->channels, numbers);
        for (int i = 0; i < numbers; i++)
            assert_int_equal(half->half[i], hp_bf16_from_float(wide->cells[i]));
        for (int bf16 = 0; bf16 < 2; bf16++) wk_batch_destroy(memory[bf16]);
    }
    wk_sampler_destroy(sampler);
    hp_store_reader_close(reader);
    hp_store_close(store);
}

typedef struct {
    uint64_t next, end;
    hp_status_t status;
} units_t;

static hp_status_t give(void *context, wk_unit_t *unit, hp_error_t *err) {
    units_t *u = context;
    if (u->next == u->end) {
        if (u->status != HP_OK) return hp_fail(err, u->status, "no more");
        *unit = (wk_unit_t){.last = true};
        return HP_OK;
    }
    *unit = (wk_unit_t){.unit = 3 * u->next, .step = (int64_t)u->next};
    u->next++;
    return HP_OK;
}

static int32_t heaviest(const wk_labels_t *labels, const hp_question_t *q, bool shares) {
    int32_t class[WK_LABELS_MOST], best = -1;
    float weight[WK_LABELS_MOST], most = 0;
    const int n = wk_labels_soft(labels, q, shares, class, weight);
    for (int i = 0; i < n; i++)
        if (weight[i] > most) {
            most = weight[i];
            best = class[i];
        }
    return best;
}

/* What an epoch holds: a question whose most frequent answer is no class is left out of it, unless
 * the others count and one of them is. */
static void test_trainable(void **state) {
    (void)state;
    hp_error_t err = {0};
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    assert_int_equal(hp_store_open(path, &store, &err), HP_OK);
    assert_int_equal(hp_store_reader_open(store, &reader, &err), HP_OK);
    uint64_t size[3];
    for (int kind = 0; kind < 3; kind++) {
        bool in_epoch[QUESTIONS] = {0};
        hp_config_t config;
        wk_batch_plan_t plan;
        wk_batch_memory_t *memory = NULL;
        wk_batch_t batch;
        hp_config_default(&config);
        config.data.batch_size = BATCH;
        config.data.labels = (hp_labels_t)kind;
        assert_int_equal(wk_train_examples(&config, store, &size[kind], &err), HP_OK);
        assert_int_equal(wk_batch_plan(&config, hp_store_info(store), BATCH, BATCH, &plan, &err),
                         HP_OK);
        wk_batch_training(&config, &plan);
        assert_int_equal(wk_batch_create(&plan, &memory, &err), HP_OK);
        int32_t *label = NULL;
        const hp_split_t *split = hp_store_info(store)->split;
        assert_int_equal(wk_labels_trainable(store, config.data.labels, split, &label, &err),
                         HP_OK);
        wk_sampler_t *sampler = sampler_of(store, label, true);
        hp_free(label);
        assert_int_equal(wk_sampler_size(sampler), size[kind]);
        for (uint64_t u = 0; u * BATCH < size[kind]; u++) {
            wk_example_t e[BATCH];
            wk_sampler_unit(sampler, u, e);
            assert_int_equal(wk_batch_build(memory, &plan, reader, e, BATCH, &batch, &err), HP_OK);
            assert_int_equal(batch.labelled, BATCH); /* each of them has something to teach */
            for (int k = 0; k < BATCH; k++) {
                in_epoch[e[k].question] = true;
                assert_in_range(batch.nn.label[k], 0, 2);
            }
        }
        for (uint64_t i = 0; i < QUESTIONS; i++) {
            hp_question_t q;
            bool known = label_of[i] >= 0;
            assert_int_equal(hp_store_read_question(reader, i, &q, &err), HP_OK);
            for (int a = 0; kind != HP_LABELS_MOST_FREQUENT && a < q.answers; a++)
                known = known || strcmp(q.answer[a].text, "w") != 0;
            assert_int_equal(in_epoch[i], known);
        }
        wk_sampler_destroy(sampler);
        wk_batch_destroy(memory);
    }
    assert_true(size[HP_LABELS_MOST_FREQUENT] < size[HP_LABELS_SOFT]);
    assert_true(size[HP_LABELS_SAMPLED] == size[HP_LABELS_SOFT]);
    hp_store_reader_close(reader);
    hp_store_close(store);
}

/* Several people's answers: as the store has them, by the example's key. */
static void test_people(void **state) {
    (void)state;
    hp_error_t err = {0};
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    wk_labels_t *labels = NULL;
    assert_int_equal(hp_store_open(path, &store, &err), HP_OK);
    assert_int_equal(hp_store_reader_open(store, &reader, &err), HP_OK);
    const hp_store_info_t *info = hp_store_info(store);
    assert_int_equal(wk_labels_create(info->answers, info->answer, &labels, &err), HP_OK);
    int other = 0, several = 0, labelled = 0;
    for (int mode = 0; mode < 4; mode++) { /* sampled, not in training, scores, shares */
        hp_config_t config;
        hp_config_default(&config);
        config.data.labels = mode < 2 ? HP_LABELS_SAMPLED : HP_LABELS_SOFT;
        if (mode == 3) config.model.classifier.soft_loss = HP_SOFT_CROSS_ENTROPY;
        wk_batch_plan_t plan;
        wk_batch_memory_t *memory = NULL;
        wk_batch_t batch;
        wk_example_t example[BATCH];
        assert_int_equal(wk_batch_plan(&config, info, BATCH, BATCH, &plan, &err), HP_OK);
        if (mode == 0) wk_batch_training(&config, &plan);
        assert_int_equal(wk_batch_create(&plan, &memory, &err), HP_OK);
        for (int first = 0; first + BATCH <= QUESTIONS; first += BATCH) {
            for (int k = 0; k < BATCH; k++)
                example[k] =
                    (wk_example_t){.question = (uint32_t)(first + k), .epoch = 7, .opens = true};
            assert_int_equal(wk_batch_build(memory, &plan, reader, example, BATCH, &batch, &err),
                             HP_OK);
            for (int k = 0; k < BATCH; k++) {
                hp_question_t q;
                int32_t class[WK_LABELS_MOST];
                float weight[WK_LABELS_MOST];
                assert_int_equal(hp_store_read_question(reader, (uint64_t)(first + k), &q, &err),
                                 HP_OK);
                int32_t want = mode == 0 ? wk_labels_sample(labels, &q, (uint64_t)config.run.seed,
                                                            batch.nn.key[k])
                                         : q.label;
                if (mode > 1 && q.label < 0) want = heaviest(labels, &q, mode == 3);
                assert_int_equal(batch.nn.label[k], want);
                labelled += want >= 0;
                other += mode == 0 && want != q.label;
                assert_true((batch.nn.target.offset != NULL) == (mode > 1));
                if (mode < 2) continue;
                const nn_targets_t *t = &batch.nn.target;
                int n = wk_labels_soft(labels, &q, mode == 3, class, weight);
                assert_int_equal(t->offset[k + 1] - t->offset[k], n);
                for (int i = 0; i < n; i++) {
                    assert_int_equal(t->answer[t->offset[k] + i], class[i]);
                    assert_true(t->weight[t->offset[k] + i] == weight[i]);
                }
                several += n > 1;
            }
            assert_int_equal(batch.labelled, labelled);
            labelled = 0;
        }
        wk_batch_destroy(memory);
    }
    assert_true(other > 3 && several > 10);
    wk_labels_destroy(labels);
    hp_store_reader_close(reader);
    hp_store_close(store);
}

static void test_prefetch(void **state) {
    (void)state;
    hp_error_t err = {0};
    hp_store_t *store = NULL;
    hp_config_t config;
    hp_config_default(&config);
    assert_int_equal(hp_store_open(path, &store, &err), HP_OK);
    wk_sampler_t *sampler = sampler_of(store, NULL, true), *twin = sampler_of(store, NULL, true);
    wk_batch_plan_t plan;
    assert_int_equal(wk_batch_plan(&config, hp_store_info(store), BATCH, BATCH, &plan, &err),
                     HP_OK);
    for (int depth = 1; depth < 4; depth++) {
        units_t units = {.end = 20, .status = depth == 2 ? HP_PEER : HP_OK};
        wk_prefetch_options_t o = {.store = store,
                                   .plan = &plan,
                                   .sampler = sampler,
                                   .depth = depth,
                                   .next = give,
                                   .context = &units};
        wk_prefetch_t *p = NULL;
        const wk_batch_t *batch = NULL;
        assert_int_equal(wk_prefetch_open(&o, &p, &err), HP_OK);
        for (uint64_t u = 0; u < 20; u++) {
            wk_example_t e[BATCH];
            assert_int_equal(wk_prefetch_take(p, &batch, &err), HP_OK);
            assert_non_null(batch);
            assert_int_equal(batch->unit, 3 * u);
            assert_int_equal(batch->step, u);
            if (u % 5 == 0) usleep(2000); /* what is held is not overwritten */
            wk_sampler_unit(twin, 3 * u, e);
            check_batch(&config, batch, e, BATCH);
        }
        assert_int_equal(wk_prefetch_take(p, &batch, &err), units.status); /* an error comes last */
        assert_null(batch);
        wk_prefetch_close(p);
    }
    /* Closing in the middle. */
    units_t many = {.end = UINT64_MAX};
    wk_prefetch_options_t o = {.store = store,
                               .plan = &plan,
                               .sampler = sampler,
                               .depth = 2,
                               .next = give,
                               .context = &many};
    wk_prefetch_t *p = NULL;
    assert_int_equal(wk_prefetch_open(&o, &p, &err), HP_OK);
    wk_prefetch_close(p);
    /* One pass: every example once, the last batch cut. */
    o.next = NULL;
    uint64_t seen = 0, size = wk_sampler_size(sampler);
    assert_int_equal(wk_prefetch_open(&o, &p, &err), HP_OK);
    for (const wk_batch_t *batch;; seen += (uint64_t)batch->nn.questions) {
        assert_int_equal(wk_prefetch_take(p, &batch, &err), HP_OK);
        if (batch == NULL) break;
        assert_true(batch->nn.questions == BATCH || seen + BATCH > size);
    }
    assert_int_equal(seen, size);
    wk_prefetch_close(p);
    wk_sampler_destroy(sampler);
    wk_sampler_destroy(twin);
    hp_store_close(store);
}

static void test_bad(void **state) {
    (void)state;
    hp_error_t err = {0};
    hp_config_t config;
    hp_config_default(&config);
    wk_model_shape_t shape;
    hp_store_info_t info = {.feature_dtype = HP_DTYPE_NONE, .words = 1, .answers = 1};
    assert_int_equal(wk_batch_shape(&config, &info, &shape, &err), HP_INPUT);
    info.feature_dtype = HP_DTYPE_F16;
    info.max_cells = 5;
    info.channels = 4;
    assert_int_equal(wk_batch_shape(&config, &info, &shape, &err), HP_OK);
    config.data.coords = HP_COORDS_XY; /* of cells that lie on no grid */
    assert_int_equal(wk_batch_shape(&config, &info, &shape, &err), HP_INPUT);
    config.data.coords = HP_COORDS_NONE;
    info.answers = 0;
    assert_int_equal(wk_batch_shape(&config, &info, &shape, &err), HP_INPUT);
    info.answers = 2;
    info.max_cells = 1 << 20;
    wk_batch_plan_t plan;
    assert_int_equal(wk_batch_plan(&config, &info, 1 << 16, 1 << 16, &plan, &err), HP_INPUT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),    cmocka_unit_test(test_rounded),
        cmocka_unit_test(test_prefetch),  cmocka_unit_test(test_people),
        cmocka_unit_test(test_trainable), cmocka_unit_test(test_bad),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
