/* Coordinates from a grid and from boxes; batches of images with 1 to 100 cells each. */
#include "common/random.h"
#include "common/store_write.h"
#include "worker/data/batch.h"
#include "worker/data/coords.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { IMAGES = 6, MOST = 100, CHANNELS = 3 };
static const int cells_of[IMAGES] = {10, 100, 1, 36, 2, 57};

static char folder[256];

static float value(int i, int c, int k) { return (c + k) % 3 ? 0 : (float)(i + 1) + (float)c / 64; }
static float box(int i, int c, int k) { return (float)((i + 3 * c + 5 * k) % 17) / 16; }

static void close_to(double a, double b) {
    if (!(a - b < 1e-6 && b - a < 1e-6)) fail_msg("%.9g, not %.9g", a, b);
}

static void test_grid(void **state) {
    (void)state;
    const hp_store_info_t info = {.grid_height = 2, .grid_width = 4, .channels = 1};
    float out[WK_COORDS];
    for (int c = 0; c < 8; c++) {
        assert_int_equal(wk_coords_place(HP_COORDS_XY, &info, NULL, c, out), 2);
        close_to(out[0], -1 + 2.0 * (c % 4) / 3);
        close_to(out[1], c < 4 ? -1 : 1);
    }
    assert_int_equal(wk_coords_place(HP_COORDS_BOX, &info, NULL, 5, out), 4);
    const float want[WK_COORDS] = {-0.5F, 0, 0, 1}; /* second row, second column */
    for (int k = 0; k < WK_COORDS; k++) close_to(out[k], want[k]);
    assert_int_equal(wk_coords_place(HP_COORDS_NONE, &info, NULL, 5, out), 0);
    assert_false(wk_coords_from_boxes(HP_COORDS_BOX, &info));
    float good[4] = {-0.01F, 0, 1.01F, 1}, bad[4] = {0, 0, 640, 480};
    assert_true(wk_coords_are_fractions(good, 1));
    assert_false(wk_coords_are_fractions(bad, 1));
}

static void make(const char *name, char path[512], bool boxes, float scale,
                 hp_encoding_t encoding) {
    hp_error_t err = {0};
    hp_store_writer_t *w = NULL;
    hp_store_plan_t plan = {.feature_dtype = HP_DTYPE_F32,
                            .encoding = encoding,
                            .max_cells = MOST,
                            .channels = CHANNELS,
                            .boxes = boxes};
    static const char *const words[] = {"?"}, *const answers[] = {"x"};
    snprintf(path, 512, "%s/%s", folder, name);
    assert_int_equal(hp_store_writer_open(path, &plan, &w, &err), HP_OK);
    for (int i = 0; i < IMAGES; i++) {
        float cells[MOST * CHANNELS], corners[MOST * 4];
        char id[16];
        for (int c = 0; c < cells_of[i]; c++) {
            for (int k = 0; k < CHANNELS; k++) cells[c * CHANNELS + k] = value(i, c, k);
            for (int k = 0; k < 4; k++) corners[c * 4 + k] = scale * box(i, c, k);
        }
        snprintf(id, sizeof id, "%d", i);
        hp_store_image_t image = {
            .name = id, .features = cells, .cells = cells_of[i], .boxes = boxes ? corners : NULL};
        assert_int_equal(hp_store_write_image(w, &image, NULL, &err), HP_OK);
    }
    assert_int_equal(hp_store_write_words(w, 1, words, &err), HP_OK);
    assert_int_equal(hp_store_write_answers(w, 1, answers, &err), HP_OK);
    assert_int_equal(hp_store_write_split(w, "train", &err), HP_OK);
    for (int i = 0; i < IMAGES; i++) {
        int32_t token = 0;
        hp_question_t q = {.question_id = i, .image = (uint32_t)i, .tokens = 1, .token = &token};
        assert_int_equal(hp_store_write_question(w, &q, &err), HP_OK);
    }
    assert_int_equal(hp_store_writer_finish(w, &err), HP_OK);
}

/* All images in one batch, in reverse. */
static hp_status_t build(const char *path, hp_coords_t coords, bool blank, wk_batch_memory_t **m_p,
                         wk_batch_t *batch, hp_error_t *err) {
    hp_config_t config;
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    wk_batch_plan_t plan;
    wk_example_t example[IMAGES];
    hp_config_default(&config);
    config.data.coords = coords;
    config.data.blank_images = blank;
    config.data.feature_norm = HP_NORM_NONE;
    for (int i = 0; i < IMAGES; i++)
        example[i] = (wk_example_t){.question = (uint32_t)(IMAGES - 1 - i), .opens = true};
    assert_int_equal(hp_store_open(path, &store, err), HP_OK);
    assert_int_equal(hp_store_reader_open(store, &reader, err), HP_OK);
    hp_status_t status = wk_batch_plan(&config, hp_store_info(store), IMAGES, IMAGES, &plan, err);
    if (status == HP_OK) status = wk_batch_create(&plan, m_p, err);
    if (status == HP_OK) status = wk_batch_build(*m_p, &plan, reader, example, IMAGES, batch, err);
    hp_store_reader_close(reader);
    hp_store_close(store);
    return status;
}

static void check(const char *path, hp_coords_t coords, bool blank) {
    hp_error_t err = {0};
    wk_batch_memory_t *m = NULL;
    wk_batch_t batch;
    if (build(path, coords, blank, &m, &batch, &err) != HP_OK) fail_msg("%s", err.text);
    const nn_batch_t *nn = &batch.nn;
    int channels = CHANNELS + wk_coords_channels(coords), at = 0;
    assert_int_equal(nn->channels, channels);
    for (int n = 0; n < IMAGES; n++) {
        int i = IMAGES - 1 - n;
        assert_int_equal(nn->cell_offset[n], at);
        for (int c = 0; c < cells_of[i]; c++, at++) {
            const float *cell = nn->cells + (size_t)at * (size_t)channels;
            for (int k = 0; k < CHANNELS; k++) close_to(cell[k], blank ? 0 : value(i, c, k));
            if (coords == HP_COORDS_XY)
                for (int k = 0; k < 2; k++)
                    close_to(cell[CHANNELS + k], blank ? 0 : box(i, c, k) + box(i, c, k + 2) - 1);
            if (coords == HP_COORDS_BOX)
                for (int k = 0; k < 4; k++)
                    close_to(cell[CHANNELS + k], blank ? 0 : 2 * box(i, c, k) - 1);
        }
    }
    assert_int_equal(nn->cell_offset[IMAGES], at);
    wk_batch_destroy(m);
}

static void test_ragged(void **state) {
    (void)state;
    char path[512];
    for (hp_encoding_t e = HP_ENCODING_RAW; e <= HP_ENCODING_AUTO; e++) {
        make(hp_encoding_name(e), path, true, 1, e);
        for (hp_coords_t coords = HP_COORDS_NONE; coords <= HP_COORDS_BOX; coords++)
            for (int blank = 0; blank < 2; blank++) check(path, coords, blank);
    }
}

static void test_refused(void **state) {
    (void)state;
    char path[512];
    hp_error_t err = {0};
    wk_batch_memory_t *m = NULL;
    wk_batch_t batch;
    make("pixels", path, true, 600, HP_ENCODING_RAW);
    assert_int_equal(build(path, HP_COORDS_BOX, false, &m, &batch, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "no fractions of its width and height"));
    wk_batch_destroy(m);
    m = NULL;
    make("bare", path, false, 1, HP_ENCODING_RAW);
    assert_int_equal(build(path, HP_COORDS_XY, false, &m, &batch, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "lie on no grid and have no boxes"));
    assert_int_equal(build(path, HP_COORDS_NONE, false, &m, &batch, &err), HP_OK);
    wk_batch_destroy(m);
}

static int set_up(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/hanps-coords-XXXXXX", base != NULL ? base : "/tmp");
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state) {
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_grid), cmocka_unit_test(test_ragged),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
