/* The sparse encoding: lossless to the bit, the same fp32 from every form of the decoder, and no
 * record, however damaged, makes it read or write outside. */
#include "common/random.h"
#include "common/store.h"
#include "common/store_convert.h"
#include "common/store_sparse.h"
#include "common/store_verify.h"
#include "common/store_write.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 3000 };

static char folder[256];

static const hp_dtype_t dtypes[] = {HP_DTYPE_F16, HP_DTYPE_F32, HP_DTYPE_BF16, HP_DTYPE_U8};

/* Random bits, of which a share is zero: with them come infinities, NaNs with payloads, subnormal
 * numbers; and now and then a negative zero. */
static void fill(hp_dtype_t dtype, uint32_t seed, double zeros, size_t count, unsigned char *out) {
    hp_random_t r = hp_random(9, HP_RANDOM_TEST, seed, 0);
    size_t size = hp_dtype_size(dtype);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)(hp_random_uniform(&r) * 4294967296.0);
        if (hp_random_uniform(&r) < 0.01 && size > 1) bits = size == 2 ? 0x8000 : 0x80000000;
        if (hp_random_uniform(&r) < zeros) bits = 0;
        memcpy(out + i * size, &bits, size);
    }
}

/* `bytes` bytes that end where the next page may not be touched. */
static unsigned char *before_a_wall(size_t bytes, void **map_p, size_t *map_bytes_p) {
    size_t page = (size_t)sysconf(_SC_PAGE_SIZE), room = (bytes + page - 1) / page * page;
    unsigned char *map =
        mmap(NULL, room + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(map != MAP_FAILED);
    assert_int_equal(mprotect(map + room, page, PROT_NONE), 0);
    *map_p = map;
    *map_bytes_p = room + page;
    return map + room - bytes;
}

static void check_one(hp_dtype_t dtype, uint32_t seed, double zeros, int cells, int channels) {
    static unsigned char in[4 * MOST], raw[4 * MOST], record[5 * MOST];
    static float want[MOST], got[MOST + 1];
    size_t count = (size_t)cells * (size_t)channels, bytes, map_bytes;
    void *map;
    hp_sparse_t s;
    assert_in_range(count, 1, MOST);
    fill(dtype, seed, zeros, count, in);
    for (hp_encoding_t e = HP_ENCODING_SPARSE; e <= HP_ENCODING_AUTO; e++) {
        bytes = hp_sparse_encode(e, dtype, in, cells, channels, record);
        assert_true(bytes <= hp_sparse_room(dtype, count));
        unsigned char *wall = before_a_wall(bytes, &map, &map_bytes);
        memcpy(wall, record, bytes);
        assert_true(hp_sparse_parse(dtype, wall, bytes, channels, &s));
        assert_true(hp_sparse_check(&s));
        assert_int_equal(s.cells, cells);
        if (e == HP_ENCODING_SPARSE) assert_int_equal(s.form, HP_SPARSE_BITMAP);
        if (e == HP_ENCODING_AUTO)
            assert_true(bytes <= HP_SPARSE_HEADER + count * hp_dtype_size(dtype));
        assert_true(hp_sparse_to_raw(&s, raw));
        assert_memory_equal(raw, in, count * hp_dtype_size(dtype));
        for (hp_convert_level_t l = HP_CONVERT_SCALAR; l <= hp_convert_best(); l++) {
            hp_convert_to_f32(l, dtype, in, count, want);
            memset(got, 0x5a, sizeof got);
            assert_true(hp_sparse_to_f32(l, &s, got));
            assert_memory_equal(got, want, count * sizeof *got);
            assert_int_equal(((unsigned char *)&got[count])[3], 0x5a); /* and nothing behind */
        }
        munmap(map, map_bytes);
    }
}

static void test_every_form(void **state) {
    (void)state;
    static const double zeros[] = {0, 0.06, 0.5, 0.889, 0.99, 1};
    uint32_t seed = 0;
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++)
        for (size_t z = 0; z < sizeof zeros / sizeof *zeros; z++) {
            for (int n = 1; n < 200; n += 1 + n / 9) check_one(dtypes[d], seed++, zeros[z], 1, n);
            check_one(dtypes[d], seed++, zeros[z], 7, 400);
            check_one(dtypes[d], seed++, zeros[z], 2, 64);
        }
}

/* The bytes of docs/store.md. */
static void test_record(void **state) {
    (void)state;
    const uint16_t in[4] = {0, 0x8000, 0, 0x3c00};
    const unsigned char sparse[] = {1, 0, 0,  0, 2, 0, 0, 0, 2, 0, 0, 0,    0, 0,
                                    0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0x3c};
    const unsigned char plain[] = {0, 0, 0, 0, 2, 0, 0, 0,    4, 0, 0, 0,
                                   0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0x3c};
    unsigned char record[64];
    assert_int_equal(hp_sparse_encode(HP_ENCODING_SPARSE, HP_DTYPE_F16, in, 2, 2, record),
                     sizeof sparse);
    assert_memory_equal(record, sparse, sizeof sparse);
    assert_int_equal(hp_sparse_encode(HP_ENCODING_AUTO, HP_DTYPE_F16, in, 2, 2, record),
                     sizeof plain);
    assert_memory_equal(record, plain, sizeof plain);
}

/* A record with one byte changed is refused, or decodes to something, within its bounds. */
static void test_damage(void **state) {
    (void)state;
    static unsigned char in[4 * MOST], record[5 * MOST], raw[4 * MOST];
    static float out[MOST];
    int refused = 0;
    for (size_t d = 0; d < sizeof dtypes / sizeof *dtypes; d++) {
        fill(dtypes[d], 77, 0.7, 5 * 130, in);
        size_t bytes = hp_sparse_encode(HP_ENCODING_SPARSE, dtypes[d], in, 5, 130, record);
        size_t map_bytes;
        void *map;
        unsigned char *wall = before_a_wall(bytes, &map, &map_bytes);
        for (size_t i = 0; i < bytes; i++)
            for (int bit = 0; bit < 8; bit++) {
                hp_sparse_t s;
                memcpy(wall, record, bytes);
                wall[i] ^= (unsigned char)(1 << bit);
                bool parsed = hp_sparse_parse(dtypes[d], wall, bytes, 130, &s);
                if (!parsed || s.cells > 20 || !hp_sparse_check(&s)) {
                    refused++;
                    if (!parsed || s.cells > 20) continue;
                }
                bool bitmap = i >= HP_SPARSE_HEADER && wall + i < s.number;
                for (hp_convert_level_t l = HP_CONVERT_SCALAR; l <= hp_convert_best(); l++)
                    assert_true(hp_sparse_to_f32(l, &s, out) == !bitmap);
                assert_true(hp_sparse_to_raw(&s, raw) == !bitmap);
            }
        for (size_t n = 0; n < bytes; n++) { /* truncated */
            hp_sparse_t s;
            assert_false(hp_sparse_parse(dtypes[d], record, n, 130, &s));
        }
        munmap(map, map_bytes);
    }
    assert_true(refused > 1000);
}

/* ---- in a store ---------------------------------------------------------------------------- */

enum { IMAGES = 9, CELLS = 10, CHANNELS = 48 };

static void path_of(char out[512], const char *name) { snprintf(out, 512, "%s/%s", folder, name); }

static void write_images(const char *path, hp_encoding_t encoding, int from, int to, bool finish) {
    unsigned char value[2 * CELLS * CHANNELS];
    hp_store_plan_t plan = {.feature_dtype = HP_DTYPE_F16,
                            .encoding = encoding,
                            .max_cells = CELLS,
                            .channels = CHANNELS,
                            .identity = "the same"};
    hp_store_writer_t *w = NULL;
    hp_error_t err = {0};
    if (hp_store_writer_open(path, &plan, &w, &err) != HP_OK) fail_msg("%s", err.text);
    assert_int_equal(hp_store_writer_images(w), from);
    for (int i = from; i < to; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        fill(HP_DTYPE_F16, (uint32_t)i, i % 3 ? 0.9 : 0, sizeof value / 2, value);
        hp_store_image_t image = {.name = name, .features = value, .cells = 1 + i % CELLS};
        if (hp_store_write_image(w, &image, NULL, &err) != HP_OK) fail_msg("%s", err.text);
    }
    if (!finish)
        hp_store_writer_abandon(w);
    else if (hp_store_writer_finish(w, &err) != HP_OK)
        fail_msg("%s", err.text);
}

static void check_images(const char *path, hp_encoding_t encoding) {
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    hp_error_t err = {0};
    unsigned char value[2 * CELLS * CHANNELS];
    float got[CELLS * CHANNELS], want[CELLS * CHANNELS];
    if (hp_store_open(path, &store, &err) != HP_OK) fail_msg("%s", err.text);
    assert_int_equal(hp_store_info(store)->feature_encoding, encoding);
    assert_int_equal(hp_store_reader_open(store, &reader, &err), HP_OK);
    for (uint32_t i = 0; i < IMAGES; i++) {
        int cells = 0, expected = 1 + (int)i % CELLS;
        size_t n = (size_t)expected * CHANNELS;
        if (hp_store_read_features(reader, i, got, CELLS, &cells, &err) != HP_OK)
            fail_msg("%s", err.text);
        assert_int_equal(cells, expected);
        fill(HP_DTYPE_F16, i, i % 3 ? 0.9 : 0, sizeof value / 2, value);
        hp_convert_to_f32(hp_convert_best(), HP_DTYPE_F16, value, n, want);
        assert_memory_equal(got, want, n * sizeof *got);
        if (cells > 1)
            assert_int_equal(hp_store_read_features(reader, i, got, 1, &cells, NULL), HP_INTERNAL);
    }
    hp_store_reader_close(reader);
    hp_store_close(store);
}

static uint64_t bytes_of(const char *path, uint32_t image) {
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    const void *data;
    size_t bytes = 0;
    assert_int_equal(hp_store_open(path, &store, NULL), HP_OK);
    assert_int_equal(hp_store_reader_open(store, &reader, NULL), HP_OK);
    assert_int_equal(hp_store_read_image(reader, image, HP_RECORD_FEATURES, &data, &bytes, NULL),
                     HP_OK);
    hp_store_reader_close(reader);
    hp_store_close(store);
    return bytes;
}

static void test_store(void **state) {
    (void)state;
    char path[512];
    for (hp_encoding_t e = HP_ENCODING_RAW; e <= HP_ENCODING_AUTO; e++) {
        path_of(path, hp_encoding_name(e));
        write_images(path, e, 0, 4, false); /* interrupted and gone on with */
        write_images(path, e, 4, IMAGES, true);
        check_images(path, e == HP_ENCODING_RAW ? HP_ENCODING_RAW : HP_ENCODING_SPARSE);
        hp_store_verify_hooks_t hooks = {0};
        hp_store_verify_t result;
        assert_int_equal(hp_store_verify(path, &hooks, &result, NULL), HP_OK);
        /* image 6 has 7 cells and no zeros, image 7 has 8 cells and many */
        assert_int_equal(bytes_of(path, 6),
                         2 * 7 * CHANNELS + (e == HP_ENCODING_RAW      ? 0
                                             : e == HP_ENCODING_SPARSE ? 16 + 8 * 6
                                                                       : 16));
        assert_true((bytes_of(path, 7) < 400) == (e != HP_ENCODING_RAW));
    }
}

/* A store's record is copied as it is; one that is no record is refused. */
static void test_copy(void **state) {
    (void)state;
    char path[512];
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    hp_store_writer_t *w = NULL;
    hp_error_t err = {0};
    path_of(path, "sparse");
    assert_int_equal(hp_store_open(path, &store, &err), HP_OK);
    assert_int_equal(hp_store_reader_open(store, &reader, &err), HP_OK);
    hp_store_plan_t plan = {.feature_dtype = HP_DTYPE_F16,
                            .encoding = HP_ENCODING_SPARSE,
                            .max_cells = CELLS,
                            .channels = CHANNELS};
    path_of(path, "copy");
    assert_int_equal(hp_store_writer_open(path, &plan, &w, &err), HP_OK);
    for (uint32_t i = 0; i < IMAGES; i++) {
        hp_store_image_t image = {.cells = 1 + (int)i % CELLS};
        unsigned char bad[4096];
        assert_int_equal(hp_store_read_image(reader, i, HP_RECORD_FEATURES, &image.features,
                                             &image.encoded_bytes, &err),
                         HP_OK);
        assert_int_equal(hp_store_read_image_name(reader, i, &image.name, &err), HP_OK);
        assert_int_equal(hp_store_write_image(w, &image, NULL, &err), HP_OK);
        assert_in_range(image.encoded_bytes, 20, sizeof bad);
        memcpy(bad, image.features, image.encoded_bytes);
        bad[HP_SPARSE_HEADER] ^= 1;
        image.features = bad;
        image.name = "bad";
        assert_int_equal(hp_store_write_image(w, &image, NULL, &err), HP_CORRUPT);
    }
    assert_int_equal(hp_store_writer_finish(w, &err), HP_OK);
    hp_store_reader_close(reader);
    hp_store_close(store);
    check_images(path, HP_ENCODING_SPARSE);
}

static void found(void *context, const char *line) {
    (void)line;
    ++*(int *)context;
}

/* One bit flipped in each part of the file: verify finds it. */
static void test_flips(void **state) {
    (void)state;
    char path[512], name[600];
    struct stat st;
    path_of(path, "sparse");
    snprintf(name, sizeof name, "%s/data.mdb", path);
    assert_int_equal(stat(name, &st), 0);
    int fd = open(name, O_RDWR);
    assert_true(fd >= 0);
    for (off_t at = 0; at < st.st_size; at += 997) {
        unsigned char byte, changed;
        int lines = 0;
        hp_store_verify_t result;
        hp_store_verify_hooks_t hooks = {.found = found, .context = &lines};
        assert_true(pread(fd, &byte, 1, at) == 1);
        changed = byte ^ (unsigned char)(1 << at % 8);
        assert_true(pwrite(fd, &changed, 1, at) == 1);
        assert_int_equal(hp_store_verify(path, &hooks, &result, NULL), HP_CORRUPT);
        assert_true(lines > 0);
        assert_true(pwrite(fd, &byte, 1, at) == 1);
    }
    close(fd);
}

static int make_folder(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/hanps-sparse-XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
    (void)state;
    char command[400];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_form), cmocka_unit_test(test_record),
        cmocka_unit_test(test_damage),     cmocka_unit_test(test_store),
        cmocka_unit_test(test_copy),       cmocka_unit_test(test_flips),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
