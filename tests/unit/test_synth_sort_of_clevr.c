/* The store that `data synth sort-of-clevr` writes, read back. */
#include "common/store.h"
#include "worker/import/sort_of_clevr.h"
#include "worker/import/synth_sort_of_clevr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct {
    hp_store_t *store;
    hp_store_reader_t *reader;
    char path[64];
} set_t;

static void make(set_t *set, const char *folder, const char *name, uint32_t train, uint32_t test,
                 bool patches) {
    snprintf(set->path, sizeof set->path, "%s/%s", folder, name);
    hp_error_t err = {0};
    const wk_synth_options_t options = {.out = set->path,
                                        .seed = 1,
                                        .train = train,
                                        .valid = 2,
                                        .test = test,
                                        .patches = patches,
                                        .command = "test"};
    hp_status_t status = wk_synth_sort_of_clevr(&options, &err);
    if (status != HP_OK) fail_msg("%s", err.text);
    assert_int_equal(hp_store_open(set->path, &set->store, &err), HP_OK);
    assert_int_equal(hp_store_reader_open(set->store, &set->reader, &err), HP_OK);
}

static void drop(set_t *set) {
    hp_store_reader_close(set->reader);
    hp_store_close(set->store);
}

static void test_contents(const set_t *set) {
    const hp_store_info_t *info = hp_store_info(set->store);
    assert_int_equal(info->images, 9 + 2 + 3);
    assert_int_equal(info->questions, 20 * info->images);
    assert_int_equal(info->splits, 3);
    assert_int_equal(info->metric, HP_METRIC_EXACT);
    assert_int_equal(info->code_bits, 11);
    assert_int_equal(info->answers, 10);
    assert_string_equal(info->answer[3], "circle");
    assert_int_equal(info->grid_height * info->grid_width, info->max_cells);
    uint8_t pixels[WK_SOC_SIDE * WK_SOC_SIDE * 3], patches[100 * WK_SOC_CHANNELS];
    float *features = calloc(100 * WK_SOC_CHANNELS, sizeof *features);
    for (uint32_t image = 0; image < 9; image++) {
        wk_soc_scene_t scene;
        wk_soc_scene(1, image, &scene);
        wk_soc_draw(&scene, pixels);
        wk_soc_patches(pixels, patches);
        const void *data = NULL;
        size_t bytes = 0;
        assert_int_equal(
            hp_store_read_image(set->reader, image, HP_RECORD_PIXELS, &data, &bytes, NULL), HP_OK);
        assert_int_equal(bytes, sizeof pixels);
        assert_memory_equal(data, pixels, sizeof pixels);
        /* Every coloured pixel is in a box, and each box touches its object on all four sides. */
        float box[WK_SOC_OBJECTS + 1][4];
        int objects = 0, sides[WK_SOC_OBJECTS] = {0};
        assert_int_equal(
            hp_store_read_objects(set->reader, image, box[0], WK_SOC_OBJECTS + 1, &objects, NULL),
            HP_OK);
        assert_int_equal(objects, WK_SOC_OBJECTS);
        for (int i = 0; i < WK_SOC_SIDE * WK_SOC_SIDE; i++) {
            if (pixels[3 * i] == 255 && pixels[3 * i + 1] == 255 && pixels[3 * i + 2] == 255)
                continue;
            const float x = (float)(i % WK_SOC_SIDE), y = (float)(i / WK_SOC_SIDE);
            bool inside = false; /* of one or of two: objects stand close together */
            for (int o = 0; o < objects; o++) {
                const float *b = box[o];
                if (x < b[0] || x >= b[2] || y < b[1] || y >= b[3]) continue;
                inside = true;
                sides[o] |=
                    (x == b[0]) | (x == b[2] - 1) << 1 | (y == b[1]) << 2 | (y == b[3] - 1) << 3;
            }
            assert_true(inside);
        }
        for (int o = 0; o < objects; o++) assert_int_equal(sides[o], 15);
        int cells = 0;
        assert_int_equal(hp_store_read_features(set->reader, image, features, 100, &cells, NULL),
                         HP_OK);
        assert_int_equal(cells, 100);
        for (int i = 0; i < 100 * WK_SOC_CHANNELS; i++)
            assert_true(features[i] == (float)patches[i] / 255.0f);
    }
    free(features);
    const char *name = NULL;
    assert_int_equal(hp_store_read_image_name(set->reader, 11, &name, NULL), HP_OK);
    assert_string_equal(name, "test-0");
}

static void test_questions(const set_t *set) {
    const hp_store_info_t *info = hp_store_info(set->store);
    for (uint64_t i = 0; i < info->questions; i++) {
        hp_question_t q;
        assert_int_equal(hp_store_read_question(set->reader, i, &q, NULL), HP_OK);
        assert_int_equal(q.image, i / 20);
        assert_string_equal(q.target, info->answer[q.label]);
        assert_int_equal(q.answers, 1);
        assert_string_equal(q.answer[0].text, q.target);
        assert_string_equal(q.answer_type, i % 20 < 10 ? "non-relational" : "relational");
        assert_int_equal(__builtin_popcount(q.code), 3);
        char sentence[256] = "";
        for (int t = 0; t < q.tokens; t++) { /* the words spell the sentence */
            assert_in_range(q.token[t], 1, info->words - 1);
            snprintf(sentence + strlen(sentence), sizeof sentence - strlen(sentence), "%s%s",
                     t > 0 ? " " : "", info->word[q.token[t]]);
        }
        strcat(sentence, "?");
        assert_string_equal(sentence, q.text);
    }
}

/* Everything of the smaller set is in the larger one, split by split. */
static void test_prefix(const set_t *large, const set_t *small) {
    for (int s = 0; s < 3; s++) {
        const hp_split_t *a = &hp_store_info(large->store)->split[s];
        const hp_split_t *b = &hp_store_info(small->store)->split[s];
        assert_string_equal(a->name, b->name);
        assert_true(b->count <= a->count && b->count > 0);
        for (uint64_t i = 0; i < b->count; i++) {
            hp_question_t p, q;
            assert_int_equal(hp_store_read_question(large->reader, a->first + i, &p, NULL), HP_OK);
            assert_int_equal(hp_store_read_question(small->reader, b->first + i, &q, NULL), HP_OK);
            assert_string_equal(p.text, q.text);
            assert_int_equal(p.question_id, q.question_id);
            assert_int_equal(p.label, q.label);
            const void *x = NULL, *y = NULL;
            size_t n = 0, m = 0;
            assert_int_equal(
                hp_store_read_image(large->reader, p.image, HP_RECORD_PIXELS, &x, &n, NULL), HP_OK);
            assert_int_equal(
                hp_store_read_image(small->reader, q.image, HP_RECORD_PIXELS, &y, &m, NULL), HP_OK);
            assert_int_equal(n, m);
            assert_memory_equal(x, y, n);
        }
    }
}

static void test_all(void **state) {
    (void)state;
    char folder[] = "/tmp/hanps-test-XXXXXX", command[64];
    assert_non_null(mkdtemp(folder));
    set_t large = {0}, small = {0};
    make(&large, folder, "large", 9, 3, true);
    make(&small, folder, "small", 4, 2, false);
    assert_int_equal(hp_store_info(small.store)->feature_dtype, HP_DTYPE_NONE);
    test_contents(&large);
    test_questions(&large);
    test_prefix(&large, &small);
    hp_error_t err = {0};
    const wk_synth_options_t taken = {.out = large.path, .train = 1};
    assert_int_equal(wk_synth_sort_of_clevr(&taken, &err), HP_INPUT);
    const wk_synth_options_t none = {.out = "/tmp/hanps-none"};
    assert_int_equal(wk_synth_sort_of_clevr(&none, &err), HP_INPUT);
    drop(&large);
    drop(&small);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
