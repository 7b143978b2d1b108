/* Sets of boxes, a different number for each image: from HDF5 with ranges and from the TSV files of
 * bottom-up-attention, into a store and out again. */
#include "common/store.h"
#include "worker/import/vqa.h"

#include <hdf5.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 4, C = 5, MOST = 7 };
static const int count[N] = {2, 7, 1, 4}, first_of[N] = {5, 7, 0, 1}; /* in any order */

static char folder[256], file[600], store_path[600];

static float value(int n, int cell, int c) { return (float)(n * 100 + cell * 10 + c) * 0.5f; }
static float box(int n, int cell, int k) { return (float)(n + cell + k + 1); }

static size_t base64(const void *data, size_t bytes, char *out) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = data;
    size_t n = 0;
    for (size_t i = 0; i < bytes; i += 3) {
        uint32_t word = (uint32_t)in[i] << 16;
        if (i + 1 < bytes) word |= (uint32_t)in[i + 1] << 8;
        if (i + 2 < bytes) word |= in[i + 2];
        for (int k = 0; k < 4; k++)
            out[n++] = i + (size_t)k > bytes ? '=' : digit[word >> (18 - 6 * k) & 63];
    }
    return n;
}

static size_t make_tsv(char *out, const char *end_of_line) {
    size_t n = 0;
    for (int i = 0; i < N; i++) {
        float b[MOST * 4], v[MOST * C];
        for (int cell = 0; cell < count[i]; cell++) {
            for (int k = 0; k < 4; k++) b[cell * 4 + k] = box(i, cell, k);
            for (int c = 0; c < C; c++) v[cell * C + c] = value(i, cell, c);
        }
        n += (size_t)sprintf(out + n, "%d\t20\t40\t%d\t", 10 * (i + 1), count[i]);
        n += base64(b, (size_t)count[i] * 16, out + n);
        out[n++] = '\t';
        n += base64(v, (size_t)count[i] * C * 4, out + n);
        n += (size_t)sprintf(out + n, "%s", end_of_line);
    }
    return n;
}

static void write_file(const char *data, size_t bytes) {
    FILE *f = fopen(file, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    fclose(f);
}

static void put(hid_t f, const char *name, hid_t type, int dims, const hsize_t *size,
                const void *data) {
    hid_t space = H5Screate_simple(dims, size, NULL);
    hid_t set = H5Dcreate2(f, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(set);
    H5Sclose(space);
}

static void make_hdf5(const int range[N][2]) {
    float v[14][C] = {{0}}, b[14][6] = {{0}};
    for (int i = 0; i < N; i++)
        for (int cell = 0; cell < count[i]; cell++) {
            for (int c = 0; c < C; c++) v[first_of[i] + cell][c] = value(i, cell, c);
            for (int k = 0; k < 4; k++) b[first_of[i] + cell][k] = box(i, cell, k);
        }
    hid_t f = H5Fcreate(file, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    put(f, "image_features", H5T_NATIVE_FLOAT, 2, (hsize_t[]){14, C}, v);
    put(f, "spatial_features", H5T_NATIVE_FLOAT, 2, (hsize_t[]){14, 6}, b);
    put(f, "pos_boxes", H5T_NATIVE_INT, 2, (hsize_t[]){N, 2}, range);
    put(f, "widths", H5T_NATIVE_INT, 1, (hsize_t[]){N}, (const int[N]){20, 20, 20, 20});
    put(f, "heights", H5T_NATIVE_FLOAT, 1, (hsize_t[]){N}, (const float[N]){40, 40, 40, 40});
    put(f, "zeros", H5T_NATIVE_INT, 1, (hsize_t[]){N}, (const int[N]){0});
    put(f, "few", H5T_NATIVE_INT, 1, (hsize_t[]){N - 1}, (const int[N - 1]){20, 20, 20});
    H5Fclose(f);
}

static wk_features_options_t options_of(void) {
    return (wk_features_options_t){.path = file,
                                   .dataset = "image_features",
                                   .ids_dataset = "",
                                   .ranges_dataset = "pos_boxes",
                                   .boxes_dataset = "spatial_features",
                                   .pattern = "COCO_*_%012d.jpg",
                                   .layout = WK_LAYOUT_RAGGED};
}

/* Of the processes that read HDF5 none is left, nor its exit status. */
static void no_child(void) { assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); }

static void check(const wk_features_options_t *options, float width, float height) {
    wk_features_t *f = NULL;
    hp_error_t err = {0};
    float got[MOST * C], boxes[MOST * 4];
    if (wk_features_open(options, &f, &err) != HP_OK) fail_msg("%s", err.text);
    const wk_features_shape_t *s = wk_features_shape(f);
    assert_true(s->ragged && s->boxes && s->images == N && s->cells == MOST && s->channels == C);
    for (int n = N - 1; n >= 0; n--) {
        int cells = 0;
        if (wk_features_read(f, (uint64_t)n, got, boxes, &cells, &err) != HP_OK)
            fail_msg("%s", err.text);
        assert_int_equal(cells, count[n]);
        for (int i = 0; i < cells * C; i++) assert_true(got[i] == value(n, i / C, i % C));
        for (int i = 0; i < cells * 4; i++)
            assert_true(boxes[i] == box(n, i / 4, i % 4) / (i % 2 ? height : width));
    }
    wk_features_close(f);
    no_child();
}

static void refuse(const wk_features_options_t *options, const char *says) {
    wk_features_t *f = NULL;
    hp_error_t err = {0};
    float got[MOST * C], boxes[MOST * 4];
    int cells;
    hp_status_t status = wk_features_open(options, &f, &err);
    for (uint64_t n = 0; status == HP_OK && n < N; n++)
        status = wk_features_read(f, n, got, boxes, &cells, &err);
    wk_features_close(f);
    no_child();
    if (status != HP_INPUT || strstr(err.text, says) == NULL || strchr(err.text, '\n') != NULL)
        fail_msg("expected '%s', got %d: %s", says, status, err.text);
}

static void test_hdf5(void **state) {
    (void)state;
    const int good[N][2] = {{5, 7}, {7, 14}, {0, 1}, {1, 5}};
    make_hdf5(good);
    wk_features_options_t options = options_of();
    check(&options, 1, 1);
    options.width_dataset = "widths"; /* pixels become fractions */
    options.height_dataset = "heights";
    check(&options, 20, 40);
    options.height_dataset = "few";
    refuse(&options, "dataset 'few' has 3 sizes for 4 images");
    options.height_dataset = "pos_boxes";
    refuse(&options, "no array of numbers with 1 axes");
    options.height_dataset = "zeros";
    wk_features_t *source = NULL;
    hp_error_t err = {0};
    float got[MOST * C], boxes[MOST * 4];
    int cells = 0;
    assert_int_equal(wk_features_open(&options, &source, &err), HP_OK);
    assert_int_equal(wk_features_read(source, 2, got, boxes, &cells, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "image 2: a width of 20, a height of 0"));
    wk_features_close(source);
    options = options_of();
    options.ranges_dataset = "ranges";
    refuse(&options, "no dataset 'ranges'");
    options.ranges_dataset = "spatial_features";
    refuse(&options, "is not [images][2]");
    options = options_of();
    options.boxes_dataset = "pos_boxes";
    refuse(&options, "no box for each cell");
    for (int i = 0; i < 4; i++) {
        const int bad[4][2] = {{3, 3}, {5, 4}, {-1, 2}, {13, 15}};
        int range[N][2];
        memcpy(range, good, sizeof range);
        memcpy(range[2], bad[i], sizeof bad[i]);
        make_hdf5((const int(*)[2])range);
        options = options_of();
        refuse(&options, "row 2");
    }
}

/* A sparse matrix in rows, as scipy's csr_matrix has it, of images [C][2][2]. */
static void test_sparse(void **state) {
    (void)state;
    const float number[6] = {1, 2, 3, 4, 5, 6};
    const int place[6] = {0, 19, 7, 8, 4, 1};
    const long long row[4] = {0, 2, 2, 6};
    wk_features_options_t options = options_of();
    options.dataset = "/";
    options.boxes_dataset = NULL;
    options.layout = WK_LAYOUT_NCHW;
    for (int bad = 0; bad < 5; bad++) {
        int places[6];
        long long rows[4];
        memcpy(places, place, sizeof place);
        memcpy(rows, row, sizeof row);
        if (bad == 1) places[3] = 20;
        if (bad == 2) rows[2] = 1;
        if (bad == 3) rows[3] = 7;
        hid_t f = H5Fcreate(file, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
        put(f, "data", H5T_NATIVE_FLOAT, 1, (hsize_t[]){6}, number);
        put(f, "indices", H5T_NATIVE_INT, 1, (hsize_t[]){bad == 4 ? 5 : 6}, places);
        put(f, "indptr", H5T_NATIVE_LLONG, 1, (hsize_t[]){4}, rows);
        H5Fclose(f);
        options.raw_dims = 0;
        refuse(&options, "the shape of an image is needed");
        options.raw_dims = 3;
        options.raw_size[0] = C;
        options.raw_size[1] = options.raw_size[2] = 2;
        wk_features_t *source = NULL;
        hp_error_t err = {0};
        float got[4 * C], boxes[16];
        int cells = 0;
        hp_status_t status = wk_features_open(&options, &source, &err);
        for (uint64_t i = 0; status == HP_OK && i < 3; i++) {
            status = wk_features_read(source, i, got, boxes, &cells, &err);
            float want[4 * C] = {0};
            for (long long k = row[i]; k < row[i + 1]; k++)
                want[place[k] % 4 * C + place[k] / 4] = number[k];
            if (status == HP_OK && !bad) assert_memory_equal(got, want, sizeof got);
        }
        wk_features_close(source);
        assert_int_equal(status, bad ? HP_INPUT : HP_OK);
        const char *says[] = {"", "image 2: index 20 of 20", "row 1: numbers 2 to 1",
                              "row 2: numbers 2 to 7 of 6", "6 numbers, 5 indices"};
        assert_non_null(strstr(err.text, says[bad]));
    }
}

static void test_ids_file(void **state) {
    (void)state;
    const int good[N][2] = {{5, 7}, {7, 14}, {0, 1}, {1, 5}};
    char ids[600];
    make_hdf5(good);
    snprintf(ids, sizeof ids, "%s/ids.txt", folder);
    wk_features_options_t options = options_of();
    options.ids_file = ids;
    FILE *f = fopen(ids, "w");
    fputs("COCO_train2014_000000000009.jpg\r\nCOCO_val2014_000000000042.jpg\nabc\n7", f);
    fclose(f);
    wk_features_t *source = NULL;
    assert_int_equal(wk_features_open(&options, &source, NULL), HP_OK);
    const char *want[N] = {"9", "42", "abc", "7"};
    for (int i = 0; i < N; i++) assert_string_equal(wk_features_name(source, (uint64_t)i), want[i]);
    wk_features_close(source);
    f = fopen(ids, "a");
    fputs("\n8\n", f);
    fclose(f);
    refuse(&options, "has 5 ids for 4 images");
}

static void test_tsv(void **state) {
    (void)state;
    char text[8192], bad[8192];
    wk_features_options_t options = options_of();
    const char *end[] = {"\n", "\r\n"};
    for (int i = 0; i < 2; i++) {
        size_t n = make_tsv(text, end[i]);
        write_file(text, n);
        check(&options, 20, 40);
        write_file(text, n - strlen(end[i])); /* no end of line at the end */
        check(&options, 20, 40);
    }
    size_t n = make_tsv(text, "\n");
    for (size_t cut = 40; cut < n - 1; cut += 11) {
        write_file(text, cut);
        wk_features_t *f = NULL;
        hp_error_t err = {0};
        hp_status_t status = wk_features_open(&options, &f, &err);
        assert_true(status == HP_INPUT || (status == HP_OK && wk_features_shape(f)->images < N));
        wk_features_close(f);
    }
    memcpy(bad, text, n);
    *strstr(strchr(bad, '\n') + 1, "20\t40\t7") = 'x';
    write_file(bad, n);
    refuse(&options, "row 2 (byte ");
    memcpy(bad, text, n);
    strstr(bad, "20\t40\t7")[6] = '6';
    write_file(bad, n);
    refuse(&options, "row 2 (image 20): it does not end after 6 boxes of 5 fp32");
    memcpy(bad, text, n);
    bad[n - 12] = '%';
    write_file(bad, n);
    refuse(&options, "row 4 (image 40): the boxes or features are no base64");
    memcpy(bad, text, n);
    memcpy(strstr(bad, "\n20\t"), "\n10\t", 4);
    write_file(bad, n);
    refuse(&options, "id 10 stands at row 0 and again at row 1");
    unsigned seed = 5;
    for (int i = 0; i < 3000; i++) { /* no bytes crash it */
        memcpy(bad, text, n);
        for (int k = 0; k < 3; k++) {
            seed = seed * 1103515245 + 12345;
            bad[seed / 65536 % n] = i % 2 ? (char)(seed >> 8) : "\t\n0=A9-"[seed / 7 % 7];
        }
        write_file(bad, i % 3 ? n : seed / 65536 % n);
        wk_features_t *f = NULL;
        hp_error_t err = {0};
        hp_status_t status = wk_features_open(&options, &f, &err);
        size_t room = status == HP_OK ? (size_t)wk_features_shape(f)->cells : 0;
        float *got =
            calloc(room + 1, 4 * (size_t)(status == HP_OK ? wk_features_shape(f)->channels : 1));
        float *boxes = calloc(room + 1, 16);
        int cells;
        for (uint64_t r = 0; status == HP_OK && r < wk_features_shape(f)->images; r++)
            status = wk_features_read(f, r, got, boxes, &cells, &err);
        assert_true(status == HP_OK || (status == HP_INPUT && err.text[0] != '\0'));
        wk_features_close(f);
        free(got);
        free(boxes);
    }
}

static void test_store(void **state) {
    (void)state;
    char text[8192], questions[600];
    write_file(text, make_tsv(text, "\n"));
    snprintf(questions, sizeof questions, "%s/q.json", folder);
    FILE *q = fopen(questions, "w");
    fputs("[{\"question_id\": 1, \"image_id\": 20, \"question\": \"what is it\"}]", q);
    fclose(q);
    wk_features_options_t options = options_of();
    wk_vqa_split_t split = {"train", 1, 0, {questions}, {NULL}};
    wk_vqa_import_t import = {.out = store_path,
                              .splits = 1,
                              .split = &split,
                              .vocabulary = "train",
                              .features = &options,
                              .dtype = HP_DTYPE_F32,
                              .answers = 10,
                              .least_answer = 1,
                              .least_word = 1,
                              .tokenizer = wk_tokenizer_find("words")};
    wk_vqa_report_t report;
    hp_error_t err = {0};
    if (wk_vqa_import(&import, &report, &err) != HP_OK) fail_msg("%s", err.text);
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    if (hp_store_open(store_path, &store, &err) != HP_OK) fail_msg("%s", err.text);
    const hp_store_info_t *info = hp_store_info(store);
    assert_true(info->boxes && info->grid_height == 0 && info->max_cells == MOST);
    assert_int_equal(hp_store_reader_open(store, &reader, NULL), HP_OK);
    for (int n = 0; n < N; n++) {
        float got[MOST * C], boxes[MOST * 4];
        int cells = 0;
        assert_int_equal(hp_store_read_features(reader, (uint32_t)n, got, MOST, &cells, NULL),
                         HP_OK);
        assert_int_equal(cells, count[n]);
        assert_true(got[cells * C - 1] == value(n, cells - 1, C - 1));
        assert_int_equal(hp_store_read_boxes(reader, (uint32_t)n, boxes, MOST, &cells, NULL),
                         HP_OK);
        assert_int_equal(cells, count[n]);
        assert_true(boxes[cells * 4 - 1] == box(n, cells - 1, 3) / 40);
    }
    hp_store_reader_close(reader);
    hp_store_close(store);
}

static int set_up(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/hanps-ragged-XXXXXX", base ? base : "/tmp");
    if (mkdtemp(folder) == NULL) return 1;
    snprintf(file, sizeof file, "%s/features", folder);
    snprintf(store_path, sizeof store_path, "%s/store", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hdf5), cmocka_unit_test(test_sparse), cmocka_unit_test(test_ids_file),
        cmocka_unit_test(test_tsv),  cmocka_unit_test(test_store),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
