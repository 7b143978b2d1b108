/* Files with features, changed at random: an error that says which file, or numbers; never a crash
 * or a read outside (under the sanitizers), never more than one line. */
#include "worker/import/features.h"

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

#include <zlib.h>

enum { CELLS = 3, CHANNELS = 6, ROOM = 8192 };

static char folder[256], changed[300];
static unsigned seed = 11;

static unsigned dice(unsigned sides) {
    seed = seed * 1103515245 + 12345;
    return seed / 65536 % sides;
}

static void write_file(const char *path, const void *data, size_t bytes) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

static void put(unsigned char **at, unsigned long long value, int bytes) {
    for (int i = 0; i < bytes; i++, value >>= 8) *(*at)++ = (unsigned char)value;
}

static size_t make_npy(unsigned char *out) {
    static const char header[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 6), }";
    float value[CELLS * CHANNELS];
    for (int i = 0; i < CELLS * CHANNELS; i++) value[i] = (float)i;
    memcpy(out, "\x93NUMPY\1\0", 8);
    memset(out + 8, ' ', 120);
    out[8] = 118;
    out[9] = 0;
    memcpy(out + 10, header, sizeof header - 1);
    out[127] = '\n';
    memcpy(out + 128, value, sizeof value);
    return 128 + sizeof value;
}

/* A zip archive with the member x.npy. */
static size_t make_npz(unsigned char *out, bool deflated) {
    unsigned char npy[512], packed[1024], *at = out, *central;
    size_t bytes = make_npy(npy), n = bytes;
    memcpy(packed, npy, bytes);
    if (deflated) {
        z_stream z = {.next_in = npy,
                      .avail_in = (unsigned)bytes,
                      .next_out = packed,
                      .avail_out = sizeof packed};
        assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        n = z.total_out;
        deflateEnd(&z);
    }
    for (int part = 0; part < 2; part++) {
        central = at;
        put(&at, part ? 0x02014b50 : 0x04034b50, 4);
        if (part) put(&at, 20, 2);
        put(&at, 20, 2);
        put(&at, 0, 2);
        put(&at, deflated ? 8 : 0, 2);
        put(&at, 0, 4); /* time */
        put(&at, crc32_z(0, npy, bytes), 4);
        put(&at, n, 4);
        put(&at, bytes, 4);
        put(&at, 5, 2);
        put(&at, 0, part ? 16 : 2); /* no more, and the member is at 0 */
        memcpy(at, "x.npy", 5);
        at += 5;
        if (part == 0) {
            memcpy(at, packed, n);
            at += n;
        }
    }
    size_t first = (size_t)(central - out), length = (size_t)(at - central);
    put(&at, 0x06054b50, 4);
    put(&at, 0, 4);
    put(&at, 1, 2);
    put(&at, 1, 2);
    put(&at, length, 4);
    put(&at, first, 4);
    put(&at, 0, 2);
    return (size_t)(at - out);
}

static size_t make_safetensors(unsigned char *out) {
    static const char header[] =
        "{\"features\": {\"dtype\": \"F32\", \"shape\": [3, 6], \"data_offsets\": [0, 72]}, "
        "\"pos_boxes\": {\"dtype\": \"I64\", \"shape\": [2, 2], \"data_offsets\": [72, 104]}, "
        "\"ids\": {\"dtype\": \"I32\", \"shape\": [2], \"data_offsets\": [104, 112]}}";
    unsigned char *at = out;
    put(&at, sizeof header - 1, 8);
    memcpy(at, header, sizeof header - 1);
    at += sizeof header - 1;
    for (int i = 0; i < CELLS * CHANNELS; i++) put(&at, 0x3f800000u + (unsigned)i, 4);
    for (int i = 0; i < 4; i++) put(&at, (unsigned)(i == 0 ? 0 : i < 3 ? 1 : 3), 8);
    put(&at, 5, 4);
    put(&at, 6, 4);
    return (size_t)(at - out);
}

static size_t make_tsv(unsigned char *out) {
    int n = sprintf((char *)out, "5\t20\t40\t1\t");
    memset(out + n, 'A', 24 + 1 + 32); /* four and six zeros in base64, but for the ends */
    n += 22;
    out[n++] = '=';
    out[n++] = '=';
    out[n++] = '\t';
    n += 32;
    out[n++] = '\n';
    return (size_t)n;
}

/* Opens and reads what it can. */
static hp_status_t read_all(const wk_features_options_t *options, hp_error_t *err) {
    wk_features_t *f = NULL;
    *err = (hp_error_t){0};
    HP_TRY(wk_features_open(options, &f, err));
    const wk_features_shape_t *s = wk_features_shape(f);
    size_t n = (size_t)s->cells * (size_t)s->channels;
    float *out = malloc(n * sizeof *out + 1), *boxes = malloc((size_t)s->cells * 16);
    assert_true(out != NULL && boxes != NULL);
    hp_status_t status = HP_OK;
    for (uint64_t i = 0; status == HP_OK && i < s->images; i++) {
        int cells = 0;
        status = wk_features_read(f, i, out, boxes, &cells, err);
        if (status == HP_OK) assert_in_range(cells, 1, s->cells);
    }
    free(out);
    free(boxes);
    wk_features_close(f);
    return status;
}

/* Every single byte changed, then many at once, then every length. */
static void mutate(const wk_features_options_t *options, const unsigned char *data, size_t bytes) {
    unsigned char copy[ROOM];
    hp_error_t err;
    int refused = 0;
    write_file(changed, data, bytes);
    if (read_all(options, &err) != HP_OK) fail_msg("%s", err.text);
    for (size_t i = 0; i < 5 * bytes; i++) {
        size_t n = i < 4 * bytes ? bytes : i - 4 * bytes;
        memcpy(copy, data, bytes);
        if (i < 2 * bytes) {
            copy[i % bytes] ^= i < bytes ? (unsigned char)(1 << dice(8)) : 0xff;
        } else if (i < 4 * bytes) {
            for (unsigned k = 0; k < 1 + dice(4); k++)
                copy[dice((unsigned)bytes)] =
                    (unsigned char)"\0\xff\x7f\x80[]{}09,:\"'\\\n"[dice(16)];
        }
        write_file(changed, copy, n);
        hp_status_t status = read_all(options, &err);
        if (status == HP_OK) continue;
        refused++;
        assert_true(status == HP_INPUT || status == HP_MEMORY);
        assert_non_null(strstr(err.text, folder));
        assert_null(strchr(err.text, '\n'));
    }
    assert_true(refused > (int)bytes); /* every length but the whole, and more */
}

static wk_features_options_t options_of(const char *path, wk_layout_t layout) {
    return (wk_features_options_t){.path = path,
                                   .dataset = "features",
                                   .ids_dataset = "ids",
                                   .ranges_dataset = "pos_boxes",
                                   .pattern = "%d.x",
                                   .layout = layout,
                                   .raw_dtype = HP_DTYPE_F32};
}

static void test_folder(void **state) {
    (void)state;
    unsigned char data[ROOM];
    char second[300];
    wk_features_options_t options = options_of(folder, WK_LAYOUT_NSC);
    snprintf(second, sizeof second, "%s/2.x", folder);
    snprintf(changed, sizeof changed, "%s/1.x", folder);
    size_t bytes = make_npy(data);
    write_file(second, data, bytes);
    mutate(&options, data, bytes);
    for (int deflated = 0; deflated < 2; deflated++) {
        bytes = make_npz(data, deflated);
        mutate(&options, data, bytes);
    }
    assert_int_equal(unlink(changed), 0);
    assert_int_equal(unlink(second), 0);
}

static void test_file(void **state) {
    (void)state;
    unsigned char data[ROOM];
    snprintf(changed, sizeof changed, "%s/all.safetensors", folder);
    wk_features_options_t options = options_of(changed, WK_LAYOUT_RAGGED);
    mutate(&options, data, make_safetensors(data));
    snprintf(changed, sizeof changed, "%s/all.tsv", folder);
    mutate(&options, data, make_tsv(data));
}

static int make_folder(void **state) {
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/hanps-damage-XXXXXX", tmp != NULL ? tmp : "/tmp");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_folder), cmocka_unit_test(test_file)};
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
