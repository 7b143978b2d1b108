/* Hashes that are computed while a store grows are those of what it is at the end: many small
 * transactions, in which LMDB writes many pages again, interrupted and gone on with. */
#include "common/random.h"
#include "common/store.h"
#include "common/store_verify.h"
#include "common/store_write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { IMAGES = 700, CELLS = 40, CHANNELS = 256, QUESTIONS = 30000 };

static char folder[256];

static void path_of(char out[512], const char *name) { snprintf(out, 512, "%s/%s", folder, name); }

static hp_store_writer_t *open_writer(const char *path, size_t batch_bytes) {
    hp_store_plan_t plan = {.feature_dtype = HP_DTYPE_F32,
                            .max_cells = CELLS,
                            .channels = CHANNELS,
                            .batch_bytes = batch_bytes,
                            .identity = "the same"};
    hp_store_writer_t *w = NULL;
    hp_error_t err = {0};
    if (hp_store_writer_open(path, &plan, &w, &err) != HP_OK) fail_msg("%s", err.text);
    return w;
}

/* Records of many sizes: some in the tree's own pages, some in pages of their own. */
static void write_images(hp_store_writer_t *w, uint64_t to) {
    static float value[CELLS * CHANNELS];
    for (uint64_t i = hp_store_writer_images(w); i < to; i++) {
        char name[200];
        hp_error_t err = {0};
        snprintf(name, sizeof name, "%0*u", 1 + (int)(i * 37 % 150), (unsigned)i);
        hp_random_t r = hp_random(4, HP_RANDOM_TEST, i, 0);
        for (size_t k = 0; k < CELLS * CHANNELS; k += 7) value[k] = (float)hp_random_uniform(&r);
        hp_store_image_t image = {
            .name = name, .features = value, .cells = 1 + (int)(i * 13 % CELLS)};
        if (hp_store_write_image(w, &image, NULL, &err) != HP_OK) fail_msg("%s", err.text);
    }
}

static void finish(hp_store_writer_t *w, uint32_t questions) {
    static const char *const word[] = {"<unknown>", "what"};
    hp_error_t err = {0};
    assert_int_equal(hp_store_write_words(w, 2, word, &err), HP_OK);
    assert_int_equal(hp_store_write_split(w, "train", &err), HP_OK);
    for (uint32_t i = 0; i < questions; i++) {
        int32_t token[] = {1, 0, 1, 1};
        hp_question_t q = {.question_id = i,
                           .image = i % IMAGES,
                           .text = "a question of some length, so that there are some pages",
                           .tokens = 1 + (int)(i % 4),
                           .token = token,
                           .label = -1};
        if (hp_store_write_question(w, &q, &err) != HP_OK) fail_msg("%s", err.text);
    }
    if (hp_store_writer_finish(w, &err) != HP_OK) fail_msg("%s", err.text);
}

static void found(void *context, const char *line) {
    (void)context;
    print_message("%s\n", line);
}

static uint64_t verify(const char *path) {
    hp_store_verify_hooks_t hooks = {.found = found};
    hp_store_verify_t result;
    hp_error_t err = {0};
    if (hp_store_verify(path, &hooks, &result, &err) != HP_OK) fail_msg("%s", err.text);
    return result.bytes;
}

static void test_grown(void **state) {
    (void)state;
    static const size_t batch[] = {20000, 300000, 5000000};
    for (size_t b = 0; b < sizeof batch / sizeof *batch; b++) {
        char path[512], name[16];
        snprintf(name, sizeof name, "%zu", batch[b]);
        path_of(path, name);
        hp_store_writer_t *w = open_writer(path, batch[b]);
        write_images(w, IMAGES);
        finish(w, QUESTIONS);
        assert_true(verify(path) > 4u << 20);
    }
}

static void test_resumed(void **state) {
    (void)state;
    char path[512];
    path_of(path, "resumed");
    for (uint64_t to = 150; to <= IMAGES; to += 110) {
        hp_store_writer_t *w = open_writer(path, 200000);
        assert_int_equal(hp_store_writer_images(w), to == 150 ? 0 : to - 110);
        write_images(w, to);
        hp_store_writer_abandon(w);
    }
    hp_store_writer_t *w = open_writer(path, 200000);
    write_images(w, IMAGES);
    finish(w, QUESTIONS);
    verify(path);
}

static int set_up(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/hanps-blocks-XXXXXX", base != NULL ? base : "/tmp");
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state) {
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_grown),
                                       cmocka_unit_test(test_resumed)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
