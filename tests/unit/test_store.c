/* The store: what is written is read back, bit for bit; damage is found and never crashes. */
#include "common/random.h"
#include "common/store.h"
#include "common/store_convert.h"
#include "common/store_verify.h"
#include "common/store_write.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "proto/store.pb-c.h"

enum { IMAGES = 7, QUESTIONS = 40, CELLS = 6, CHANNELS = 5, SIDE = 4 };

static char folder[256];

static void path_of(char out[512], const char *name) { snprintf(out, 512, "%s/%s", folder, name); }

static void feature(uint32_t image, float *out) {
    hp_random_t r = hp_random(3, HP_RANDOM_TEST, image, 0);
    for (int i = 0; i < CELLS * CHANNELS; i++) out[i] = (float)(hp_random_uniform(&r) * 6 - 1);
}

static hp_store_plan_t plan_of(const char *identity) {
    static const hp_store_source_t source[] = {{"a.json", 17}};
    return (hp_store_plan_t){.feature_dtype = HP_DTYPE_F16,
                             .grid_height = 2,
                             .grid_width = 3,
                             .max_cells = CELLS,
                             .channels = CHANNELS,
                             .pixel_height = SIDE,
                             .pixel_width = SIDE,
                             .pictures = true,
                             .metric = HP_METRIC_EXACT,
                             .code_bits = 11,
                             .tokenizer = "words",
                             .command = "a test",
                             .sources = 1,
                             .source = source,
                             .identity = identity};
}

static void write_image(hp_store_writer_t *w, uint32_t i) {
    float value[CELLS * CHANNELS];
    uint16_t half[CELLS * CHANNELS];
    uint8_t pixel[SIDE * SIDE * 3];
    char name[32], picture[9000];
    feature(i, value);
    hp_convert_from_f32(hp_convert_best(), HP_DTYPE_F16, value, CELLS * CHANNELS, half);
    memset(pixel, (int)i + 1, sizeof pixel);
    memset(picture, 'a' + (int)i, sizeof picture);
    snprintf(name, sizeof name, "image-%u", i);
    hp_store_image_t image = {.name = name,
                              .features = half,
                              .cells = CELLS,
                              .pixels = pixel,
                              .picture = i % 2 ? picture : NULL,
                              .picture_bytes = i % 2 ? sizeof picture : 0};
    uint32_t ordinal = 99;
    assert_int_equal(hp_store_write_image(w, &image, &ordinal, NULL), HP_OK);
    assert_int_equal(ordinal, i);
}

static void write_questions(hp_store_writer_t *w) {
    const char *word[] = {"<unknown>", "what", "is", "this"}, *answer[] = {"yes", "no, thanks"};
    assert_int_equal(hp_store_write_words(w, 4, word, NULL), HP_OK);
    for (int i = 0; i < QUESTIONS; i++) {
        if (i == 0 || i == 30)
            assert_int_equal(hp_store_write_split(w, i ? "test" : "train", NULL), HP_OK);
        int32_t token[] = {1, 2, 3, 0};
        hp_answer_t human[40];
        for (int a = 0; a < 40; a++) human[a] = (hp_answer_t){answer[a % 2], a - 1, a % 4};
        hp_question_t q = {.question_id = -5 + (int64_t)i * 10000000000,
                           .image = (uint32_t)(i * 3 % IMAGES),
                           .text = "What is this?",
                           .tokens = i % 5,
                           .token = token,
                           .code = (uint32_t)i,
                           .question_type = "what is",
                           .target = answer[i % 2],
                           .label = i % 3 - 1,
                           .answers = i,
                           .answer = human};
        assert_int_equal(hp_store_write_question(w, &q, NULL), HP_OK);
    }
    assert_int_equal(hp_store_write_answers(w, 2, answer, NULL), HP_OK);
}

static void make_store(const char *path) {
    hp_store_writer_t *w = NULL;
    hp_store_plan_t plan = plan_of(NULL);
    hp_error_t err = {0};
    if (hp_store_writer_open(path, &plan, &w, &err) != HP_OK) fail_msg("%s", err.text);
    for (uint32_t i = 0; i < IMAGES; i++) write_image(w, i);
    write_questions(w);
    if (hp_store_writer_finish(w, &err) != HP_OK) fail_msg("%s", err.text);
}

static void check_info(const hp_store_info_t *info) {
    assert_int_equal(info->feature_dtype, HP_DTYPE_F16);
    assert_int_equal(info->grid_height * 10 + info->grid_width, 23);
    assert_int_equal(info->max_cells, CELLS);
    assert_int_equal(info->channels, CHANNELS);
    assert_int_equal(info->pixel_height, SIDE);
    assert_true(info->pictures);
    assert_int_equal(info->images, IMAGES);
    assert_int_equal(info->questions, QUESTIONS);
    assert_int_equal(info->words, 4);
    assert_string_equal(info->word[3], "this");
    assert_int_equal(info->answers, 2);
    assert_string_equal(info->answer[1], "no, thanks");
    assert_int_equal(info->splits, 2);
    assert_string_equal(info->split[1].name, "test");
    assert_int_equal(info->split[1].first, 30);
    assert_int_equal(info->split[1].count, 10);
    assert_int_equal(info->metric, HP_METRIC_EXACT);
    assert_int_equal(info->code_bits, 11);
    assert_int_equal(info->max_tokens, 4);
    assert_int_equal(strlen(info->digest), 32);
    assert_non_null(strstr(info->source, "a test"));
}

static void check_questions(hp_store_t *store, hp_store_reader_t *reader) {
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < QUESTIONS; i++) {
            hp_question_t q;
            assert_int_equal(hp_store_read_question(reader, (uint64_t)i, &q, NULL), HP_OK);
            assert_true(q.question_id == -5 + (int64_t)i * 10000000000);
            assert_int_equal(q.image, i * 3 % IMAGES);
            assert_int_equal(q.image, hp_store_question_image(store)[i]);
            assert_int_equal(q.label, i % 3 - 1);
            assert_int_equal(q.label, hp_store_question_label(store)[i]);
            assert_string_equal(q.text, "What is this?");
            assert_string_equal(q.answer_type, "");
            assert_int_equal(q.tokens, i % 5);
            for (int t = 0; t < q.tokens; t++) assert_int_equal(q.token[t], (t + 1) % 4);
            assert_int_equal(q.answers, i);
            for (int a = 0; a < i; a++) {
                assert_string_equal(q.answer[a].text, a % 2 ? "no, thanks" : "yes");
                assert_int_equal(q.answer[a].answer_id, a - 1);
                assert_int_equal(q.answer[a].confidence, a % 4);
            }
        }
}

static void check_images(hp_store_reader_t *reader) {
    for (uint32_t i = 0; i < IMAGES; i++) {
        float want[CELLS * CHANNELS], got[CELLS * CHANNELS];
        const char *name;
        const void *data;
        size_t bytes;
        int cells = 0;
        hp_store_prefetch_image(reader, i, HP_RECORD_FEATURES);
        feature(i, want);
        assert_int_equal(hp_store_read_features(reader, i, got, CELLS, &cells, NULL), HP_OK);
        assert_int_equal(cells, CELLS);
        for (int k = 0; k < CELLS * CHANNELS; k++)
            assert_true(fabsf(got[k] - want[k]) <= 0x1p-11f * fabsf(want[k]) + 0x1p-24f);
        assert_int_equal(hp_store_read_features(reader, i, got, 1, &cells, NULL), HP_INTERNAL);
        assert_int_equal(hp_store_read_image_name(reader, i, &name, NULL), HP_OK);
        assert_int_equal(atoi(name + 6), i);
        assert_int_equal(hp_store_read_image(reader, i, HP_RECORD_PIXELS, &data, &bytes, NULL),
                         HP_OK);
        assert_int_equal(bytes, SIDE * SIDE * 3);
        assert_int_equal(((const uint8_t *)data)[bytes - 1], i + 1);
        hp_status_t status = hp_store_read_image(reader, i, HP_RECORD_PICTURE, &data, &bytes, NULL);
        assert_int_equal(status, i % 2 ? HP_OK : HP_INPUT);
        if (i % 2) assert_true(bytes == 9000 && *(const char *)data == (char)('a' + (int)i));
    }
}

static void check_store(const char *path) {
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    hp_error_t err = {0};
    int split = -1;
    hp_question_t q;
    float got[1];
    int cells;
    if (hp_store_open(path, &store, &err) != HP_OK) fail_msg("%s", err.text);
    check_info(hp_store_info(store));
    assert_int_equal(hp_store_find_split(store, "test", &split, NULL), HP_OK);
    assert_int_equal(split, 1);
    assert_int_equal(hp_store_find_split(store, "valid", &split, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "train, test"));
    assert_int_equal(hp_store_reader_open(store, &reader, NULL), HP_OK);
    check_questions(store, reader);
    check_images(reader);
    assert_int_equal(hp_store_read_question(reader, QUESTIONS, &q, NULL), HP_INPUT);
    assert_int_equal(hp_store_read_features(reader, IMAGES, got, 1, &cells, NULL), HP_INPUT);
    hp_store_reader_close(reader);
    hp_store_close(store);
}

static void test_round_trip(void **state) {
    (void)state;
    char path[512], partial[600];
    path_of(path, "round");
    make_store(path);
    check_store(path);
    snprintf(partial, sizeof partial, "%s.partial", path);
    assert_int_not_equal(access(partial, F_OK), 0);
    hp_store_writer_t *w = NULL;
    hp_store_plan_t plan = plan_of(NULL);
    assert_int_equal(hp_store_writer_open(path, &plan, &w, NULL), HP_INPUT); /* it exists */
}

static void test_resume(void **state) {
    (void)state;
    char path[512];
    path_of(path, "resume");
    hp_store_writer_t *w = NULL, *second = NULL;
    hp_store_t *store = NULL;
    hp_error_t err;
    hp_store_plan_t plan = plan_of("one"), other = plan_of("two");
    const char *name;
    assert_int_equal(hp_store_writer_open(path, &plan, &w, NULL), HP_OK);
    for (uint32_t i = 0; i < 3; i++) write_image(w, i);
    assert_int_equal(hp_store_writer_open(path, &plan, &second, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "another import"));
    hp_store_writer_abandon(w);
    assert_int_equal(hp_store_open(path, &store, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "not finished"));
    assert_int_equal(hp_store_writer_open(path, &other, &w, &err), HP_INPUT);
    assert_int_equal(hp_store_writer_open(path, &plan, &w, NULL), HP_OK);
    assert_int_equal(hp_store_writer_images(w), 3);
    assert_int_equal(hp_store_writer_image_name(w, 2, &name, NULL), HP_OK);
    assert_string_equal(name, "image-2");
    for (uint32_t i = 3; i < IMAGES; i++) write_image(w, i);
    write_questions(w);
    hp_store_writer_abandon(w); /* after questions */
    assert_int_equal(hp_store_writer_open(path, &plan, &w, NULL), HP_OK);
    assert_int_equal(hp_store_writer_images(w), IMAGES);
    write_questions(w);
    assert_int_equal(hp_store_writer_finish(w, NULL), HP_OK);
    check_store(path);
    path_of(path, "again"); /* without an identity what is left is replaced */
    plan.identity = NULL;
    assert_int_equal(hp_store_writer_open(path, &plan, &w, NULL), HP_OK);
    write_image(w, 0);
    hp_store_writer_abandon(w);
    make_store(path);
    check_store(path);
}

static void test_misuse(void **state) {
    (void)state;
    char path[512];
    path_of(path, "misuse");
    hp_store_plan_t plan = {.feature_dtype = HP_DTYPE_F32, .max_cells = 3, .channels = 2};
    hp_store_writer_t *w = NULL;
    float value[6] = {1, 2, 3, 4, 5, 6};
    hp_store_image_t image = {.name = "a", .features = value, .cells = 3};
    assert_int_equal(hp_store_writer_open(path, &plan, &w, NULL), HP_OK);
    assert_int_equal(hp_store_write_image(w, &image, NULL, NULL), HP_OK);
    assert_int_equal(hp_store_write_image(w, &image, NULL, NULL), HP_INPUT); /* twice */
    image = (hp_store_image_t){.name = "b", .features = value, .cells = 4};
    assert_int_equal(hp_store_write_image(w, &image, NULL, NULL), HP_INPUT);
    image = (hp_store_image_t){.name = "b", .features = value, .cells = 1};
    assert_int_equal(hp_store_write_image(w, &image, NULL, NULL), HP_OK); /* ragged */
    int32_t token[] = {9};
    hp_question_t q = {.image = 2, .tokens = 1, .token = token, .label = 3};
    assert_int_equal(hp_store_write_question(w, &q, NULL), HP_INTERNAL); /* no split */
    assert_int_equal(hp_store_write_split(w, "s", NULL), HP_OK);
    assert_int_equal(hp_store_write_split(w, "s", NULL), HP_INPUT);
    assert_int_equal(hp_store_write_question(w, &q, NULL), HP_INTERNAL); /* no image */
    q.image = 1;
    assert_int_equal(hp_store_write_question(w, &q, NULL), HP_OK);
    assert_int_equal(hp_store_writer_finish(w, NULL), HP_INTERNAL); /* no such word */
    hp_store_t *store = NULL;
    assert_int_equal(hp_store_open(path, &store, NULL), HP_INPUT);
}

static void test_ragged(void **state) {
    (void)state;
    char path[512];
    path_of(path, "ragged");
    hp_store_plan_t plan = {.feature_dtype = HP_DTYPE_F32, .max_cells = 3, .channels = 2};
    hp_store_writer_t *w = NULL;
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    float value[6] = {1, 2, 3, 4, 5, 6}, got[6];
    assert_int_equal(hp_store_writer_open(path, &plan, &w, NULL), HP_OK);
    for (int i = 1; i <= 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        hp_store_image_t image = {.name = name, .features = value, .cells = i};
        assert_int_equal(hp_store_write_image(w, &image, NULL, NULL), HP_OK);
    }
    assert_int_equal(hp_store_writer_finish(w, NULL), HP_OK);
    assert_int_equal(hp_store_open(path, &store, NULL), HP_OK); /* no questions at all */
    assert_int_equal(hp_store_reader_open(store, &reader, NULL), HP_OK);
    for (uint32_t i = 0; i < 3; i++) {
        int cells = 0;
        assert_int_equal(hp_store_read_features(reader, i, got, 3, &cells, NULL), HP_OK);
        assert_int_equal(cells, i + 1);
        assert_memory_equal(got, value, (i + 1) * 2 * sizeof *got);
    }
    hp_store_reader_close(reader);
    hp_store_close(store);
}

/* A truncated file is refused before it is mapped: no length may crash. */
static void test_truncated(void **state) {
    (void)state;
    char path[512], name[600];
    path_of(path, "short");
    make_store(path);
    static const char *const file[] = {"data.mdb", "manifest.pb"};
    for (int f = 0; f < 2; f++) {
        struct stat st;
        snprintf(name, sizeof name, "%s/%s", path, file[f]);
        assert_int_equal(stat(name, &st), 0);
        char *whole = malloc((size_t)st.st_size);
        int fd = open(name, O_RDWR);
        assert_true(whole != NULL && read(fd, whole, (size_t)st.st_size) == st.st_size);
        for (off_t n = st.st_size - 1; n >= 0; n -= n > 300 ? st.st_size / 97 + 1 : 1) {
            hp_store_t *store = NULL;
            hp_error_t err = {0};
            assert_int_equal(ftruncate(fd, n), 0);
            hp_status_t status = hp_store_open(path, &store, &err);
            if (status != HP_CORRUPT && !(f == 1 && status == HP_INPUT))
                fail_msg("%s of %lld bytes: %s", file[f], (long long)n, err.text);
            assert_null(strchr(err.text, '\n'));
        }
        assert_true(pwrite(fd, whole, (size_t)st.st_size, 0) == st.st_size);
        close(fd);
        free(whole);
        check_store(path);
    }
}

/* Every bit of the manifest counts. */
static void test_manifest_bits(void **state) {
    (void)state;
    char path[512], name[600];
    unsigned char data[4096];
    path_of(path, "bits");
    make_store(path);
    snprintf(name, sizeof name, "%s/manifest.pb", path);
    int fd = open(name, O_RDWR);
    ssize_t n = read(fd, data, sizeof data);
    assert_true(n > 0 && n < (ssize_t)sizeof data);
    for (ssize_t i = 0; i < n * 8; i++) {
        unsigned char flipped = data[i / 8] ^ (unsigned char)(1 << i % 8);
        hp_store_t *store = NULL;
        hp_error_t err;
        assert_int_equal(pwrite(fd, &flipped, 1, i / 8), 1);
        hp_status_t status = hp_store_open(path, &store, &err);
        assert_true(status == HP_CORRUPT || (i < 16 && status == HP_INPUT)); /* a version */
        assert_int_equal(pwrite(fd, &data[i / 8], 1, i / 8), 1);
    }
    data[1] = 2; /* version 2, for encoded features */
    assert_int_equal(pwrite(fd, data, 2, 0), 2);
    hp_store_t *store = NULL;
    hp_error_t err;
    assert_int_equal(hp_store_open(path, &store, &err), HP_CORRUPT);
    assert_non_null(strstr(err.text, "version 2"));
    data[1] = 3;
    assert_int_equal(pwrite(fd, data, 2, 0), 2);
    assert_int_equal(hp_store_open(path, &store, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "version 3"));
    assert_int_equal(ftruncate(fd, 0), 0); /* empty: damaged, not of another version */
    assert_int_equal(hp_store_open(path, &store, &err), HP_CORRUPT);
    assert_non_null(strstr(err.text, "damaged"));
    close(fd);
}

/* The manifest, whole by its hash, speaks of features with one channel more than the records have.
 */
static void another_shape(const char *path) {
    char name[600];
    uint8_t data[4096], inner[4096], outer[4200];
    XXH128_canonical_t digest;
    snprintf(name, sizeof name, "%s/manifest.pb", path);
    int fd = open(name, O_RDWR);
    ssize_t n = read(fd, data, sizeof data);
    assert_in_range(n, 1, sizeof data - 1);
    Hanps__StoreFile *file = hanps__store_file__unpack(NULL, (size_t)n, data);
    assert_non_null(file);
    Hanps__StoreManifest *m =
        hanps__store_manifest__unpack(NULL, file->manifest.len, file->manifest.data);
    assert_non_null(m);
    m->channels++;
    Hanps__StoreFile out = HANPS__STORE_FILE__INIT;
    out.version = file->version;
    out.manifest = (ProtobufCBinaryData){hanps__store_manifest__pack(m, inner), inner};
    XXH128_canonicalFromHash(&digest, XXH3_128bits(inner, out.manifest.len));
    out.digest = (ProtobufCBinaryData){sizeof digest, digest.digest};
    size_t bytes = hanps__store_file__pack(&out, outer);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_true(pwrite(fd, outer, bytes, 0) == (ssize_t)bytes);
    close(fd);
    hanps__store_manifest__free_unpacked(m, NULL);
    hanps__store_file__free_unpacked(file, NULL);
}

typedef struct {
    int lines;
    char all[8192];
} findings_t;

static void collect(void *context, const char *line) {
    findings_t *f = context;
    f->lines++;
    size_t n = strlen(f->all);
    snprintf(f->all + n, sizeof f->all - n, "%s\n", line);
}

static hp_status_t verify(const char *path, findings_t *f) {
    hp_store_verify_hooks_t hooks = {.found = collect, .context = f};
    hp_store_verify_t result;
    hp_error_t err = {0};
    *f = (findings_t){0};
    hp_status_t status = hp_store_verify(path, &hooks, &result, &err);
    assert_true((status == HP_OK) == (f->lines == 0 && err.text[0] == '\0'));
    return status;
}

static void test_another_shape(void **state) {
    (void)state;
    char path[512];
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    hp_error_t err;
    float out[CELLS * (CHANNELS + 1)];
    int cells = 0;
    path_of(path, "shape");
    make_store(path);
    another_shape(path);
    assert_int_equal(hp_store_open(path, &store, &err), HP_OK);
    assert_int_equal(hp_store_reader_open(store, &reader, &err), HP_OK);
    assert_int_equal(hp_store_read_features(reader, 2, out, CELLS, &cells, &err), HP_CORRUPT);
    assert_non_null(strstr(err.text, "features of image 2 have 60 bytes, not 6 cells of 12"));
    hp_store_reader_close(reader);
    hp_store_close(store);
    findings_t f;
    assert_int_equal(verify(path, &f), HP_CORRUPT);
    assert_non_null(strstr(f.all, "features of image 2 has 60 bytes: not the manifest's shape"));
}

/* Where the bytes are in the file, or -1. */
static off_t place_of(const unsigned char *file, size_t bytes, const void *what, size_t n) {
    const unsigned char *at = memmem(file, bytes, what, n);
    return at == NULL ? -1 : at - file;
}

/* A flipped bit anywhere in the data is found: in each kind of record, which is then named, in the
 * tree, and in what no record uses. Nothing crashes the caller. */
static void test_verify_bits(void **state) {
    (void)state;
    char path[512], name[600];
    struct stat st;
    findings_t f;
    path_of(path, "verify");
    make_store(path);
    assert_int_equal(verify(path, &f), HP_OK);
    snprintf(name, sizeof name, "%s/data.mdb", path);
    assert_int_equal(stat(name, &st), 0);
    size_t bytes = (size_t)st.st_size;
    unsigned char *file = malloc(bytes);
    int fd = open(name, O_RDWR);
    assert_true(file != NULL && read(fd, file, bytes) == st.st_size);
    float value[CELLS * CHANNELS];
    uint16_t half[CELLS * CHANNELS];
    feature(4, value);
    hp_convert_from_f32(hp_convert_best(), HP_DTYPE_F16, value, CELLS * CHANNELS, half);
    uint8_t pixel[SIDE * SIDE * 3];
    memset(pixel, 6, sizeof pixel);
    const struct {
        off_t at;
        const char *says;
    } record[] = {
        {place_of(file, bytes, half, sizeof half) + 7, "features of image 4 is damaged"},
        {place_of(file, bytes, pixel, sizeof pixel) + 1, "pixels of image 5 is damaged"},
        {place_of(file, bytes, "bbbbbbbbbb", 10) + 3, "picture of image 1 is damaged"},
        {place_of(file, bytes, "image-6", 7) + 6, "name of image 6 is damaged"},
        {place_of(file, bytes, "What is this?", 13) + 2, "is damaged"},
        {place_of(file, bytes, "question_label", 14) + 16, "data.mdb is damaged"},
    };
    for (size_t i = 0; i < sizeof record / sizeof *record; i++) {
        assert_true(record[i].at >= 16);
        unsigned char flipped = file[record[i].at] ^ 4;
        assert_int_equal(pwrite(fd, &flipped, 1, record[i].at), 1);
        assert_int_equal(verify(path, &f), HP_CORRUPT);
        if (strstr(f.all, record[i].says) == NULL) fail_msg("%s, not: %s", record[i].says, f.all);
        assert_non_null(strstr(f.all, "between bytes"));
        assert_int_equal(pwrite(fd, &file[record[i].at], 1, record[i].at), 1);
    }
    hp_random_t r = hp_random(8, HP_RANDOM_TEST, 0, 0);
    for (int i = 0; i < 300; i++) {
        off_t at = (off_t)(i < 100 ? (size_t)i : hp_random_below(&r, bytes)); /* LMDB's head too */
        unsigned char flipped = file[at] ^ (unsigned char)(1 << hp_random_below(&r, 8));
        assert_int_equal(pwrite(fd, &flipped, 1, at), 1);
        assert_int_equal(verify(path, &f), HP_CORRUPT);
        assert_int_equal(pwrite(fd, &file[at], 1, at), 1);
    }
    assert_int_equal(verify(path, &f), HP_OK);
    assert_int_equal(ftruncate(fd, st.st_size - 4096), 0);
    assert_int_equal(verify(path, &f), HP_CORRUPT);
    assert_int_equal(ftruncate(fd, st.st_size + 1), 0);
    assert_int_equal(verify(path, &f), HP_CORRUPT);
    close(fd);
    free(file);
}

static void test_no_store(void **state) {
    (void)state;
    char path[512];
    hp_store_t *store = NULL;
    hp_error_t err;
    path_of(path, "nowhere");
    assert_int_equal(hp_store_open(path, &store, &err), HP_INPUT);
    assert_int_equal(hp_store_open("/dev/null", &store, &err), HP_INPUT);
    assert_int_equal(hp_store_open("/tmp", &store, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "manifest.pb"));
    hp_store_close(NULL);
    hp_store_reader_close(NULL);
    hp_store_writer_abandon(NULL);
}

/* All forms give the same bits, and those of the definition: every fp16, its neighbours in fp32,
 * and the midpoints between two. */
static void test_convert(void **state) {
    (void)state;
    enum { N = 65536 };
    static uint16_t half[N], back[N], back2[N];
    static float a[N + 1], b[N], probe[N];
    for (int i = 0; i < N; i++) half[i] = (uint16_t)i;
    hp_convert_to_f32(HP_CONVERT_SCALAR, HP_DTYPE_F16, half, N, a);
    assert_true(a[0x3c00] == 1 && a[0xc000] == -2 && a[1] == 0x1p-24f && a[0x7bff] == 65504);
    assert_true(isinf(a[0x7c00]) && isnan(a[0x7e00]) && signbit(a[0x8000]));
    for (int level = HP_CONVERT_SCALAR; level <= (int)hp_convert_best(); level++) {
        hp_convert_level_t l = (hp_convert_level_t)level;
        hp_convert_to_f32(l, HP_DTYPE_F16, half, N - 3, b); /* a tail too */
        assert_memory_equal(a, b, (N - 3) * sizeof *a);
        hp_convert_from_f32(l, HP_DTYPE_F16, a, N, back);
        for (int i = 0; i < N; i++)
            if (!isnan(a[i])) assert_int_equal(back[i], half[i]);
        for (int p = 0; p < 3; p++) {
            for (int i = 0; i < N; i++) {
                uint32_t bits;
                memcpy(&bits, &a[i], 4);
                bits += p == 0 ? 0x1000 : p == 1 ? 0xfff : 0x1001;
                memcpy(&probe[i], &bits, 4);
                if (p == 0 && (i & 0x7c00) == 0) probe[i] = ((float)i + 0.5f) * 0x1p-24f;
            }
            hp_convert_from_f32(HP_CONVERT_SCALAR, HP_DTYPE_F16, probe, N, back);
            hp_convert_from_f32(l, HP_DTYPE_F16, probe, N, back2);
            assert_memory_equal(back, back2, sizeof back);
            for (int i = 0; p == 0 && i < 0x7bff; i++) /* ties to even */
                assert_int_equal(back[i], (i + 1) & ~1);
        }
    }
    unsigned char odd[5] = {0, 0, 0x3c, 0, 0xc0}; /* unaligned */
    hp_convert_to_f32(hp_convert_best(), HP_DTYPE_F16, odd + 1, 2, b);
    assert_true(b[0] == 1 && b[1] == -2);
    float value[4] = {1.00390625f, 3.3e38f, 65519, 65520}, out[4];
    uint16_t bf[4];
    hp_convert_from_f32(hp_convert_best(), HP_DTYPE_BF16, value, 4, bf);
    hp_convert_to_f32(hp_convert_best(), HP_DTYPE_BF16, bf, 4, out);
    assert_true(out[0] == 1.0f && bf[0] == 0x3f80 && fabsf(out[1] / value[1] - 1) < 0.004f);
    assert_int_equal(hp_convert_find_bad(HP_DTYPE_F16, value, 4), 1);
    assert_int_equal(hp_convert_find_bad(HP_DTYPE_F16, value + 2, 2), 1);
    assert_int_equal(hp_convert_find_bad(HP_DTYPE_F32, value, 4), 4);
    assert_int_equal(hp_convert_find_bad(HP_DTYPE_BF16, value, 4), 4);
    value[2] = NAN;
    assert_int_equal(hp_convert_find_bad(HP_DTYPE_F32, value, 4), 2);
    uint8_t u8[3] = {0, 255, 51};
    hp_convert_to_f32(hp_convert_best(), HP_DTYPE_U8, u8, 3, out);
    assert_true(out[0] == 0 && out[1] == 1 && out[2] == 0.2f);
}

static int set_up(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/hanps-store-XXXXXX", base ? base : "/tmp");
    return mkdtemp(folder) == NULL;
}

static int tear_down(void **state) {
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_resume),
        cmocka_unit_test(test_misuse),      cmocka_unit_test(test_ragged),
        cmocka_unit_test(test_truncated),   cmocka_unit_test(test_manifest_bits),
        cmocka_unit_test(test_verify_bits), cmocka_unit_test(test_no_store),
        cmocka_unit_test(test_convert),     cmocka_unit_test(test_another_shape),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
