/* Importing VQA data: every layout and number type gives the same features; every fault gives one
 * line that says where, and no store. */
#include "common/store.h"
#include "common/store_convert.h"
#include "worker/import/npy.h"
#include "worker/import/pattern.h"
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
#include <unistd.h>

#include <cmocka.h>

enum { N = 5, H = 2, W = 3, C = 7, CELLS = H * W };

static char folder[256];

static const char *in_folder(const char *name) {
    static char path[256][600]; /* each stays for a while */
    static int next;
    char *p = path[next++ % 256];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static const char *write_text(const char *name, const char *text, size_t bytes) {
    const char *path = in_folder(name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    fclose(f);
    return path;
}

/* A value that fp16 holds exactly. */
static float value(int n, int y, int x, int c) {
    return (float)(n * 64 + (y * W + x) * 8 + c) * 0.25f - 3;
}

/* Image n as the layout has it, C order or Fortran order. */
static void fill(float *out, int n, wk_layout_t layout, bool fortran) {
    bool first = layout == WK_LAYOUT_NCHW || layout == WK_LAYOUT_NCS;
    bool flat = layout == WK_LAYOUT_NSC || layout == WK_LAYOUT_NCS;
    for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
            for (int c = 0; c < C; c++) {
                int a[3] = {y, x, c}, size[3] = {H, W, C}, dims = 3, at = 0;
                if (first) a[0] = c, a[1] = y, a[2] = x, size[0] = C, size[1] = H, size[2] = W;
                if (flat) {
                    dims = 2;
                    a[0] = first ? c : y * W + x;
                    a[1] = first ? y * W + x : c;
                    size[0] = first ? C : CELLS;
                    size[1] = first ? CELLS : C;
                }
                for (int i = 0; i < dims; i++) {
                    int k = fortran ? dims - 1 - i : i;
                    at = at * size[k] + a[k];
                }
                out[at] = value(n, y, x, c);
            }
}

static hid_t half_type(void) {
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
}

typedef struct {
    wk_layout_t layout;
    bool half, chunked, number_ids;
    int images_of_chunk;
} hdf5_t;

static void make_hdf5(const char *path, const hdf5_t *how) {
    float data[N * CELLS * C];
    uint16_t half[N * CELLS * C];
    for (int n = 0; n < N; n++) fill(data + n * CELLS * C, n, how->layout, false);
    hp_convert_from_f32(HP_CONVERT_SCALAR, HP_DTYPE_F16, data, N * CELLS * C, half);
    bool flat = how->layout == WK_LAYOUT_NSC || how->layout == WK_LAYOUT_NCS;
    hsize_t shape[WK_LAYOUT_RAGGED][4] = {{N, H, W, C}, {N, C, H, W}, {N, CELLS, C}, {N, C, CELLS}};
    hsize_t chunk[4] = {(hsize_t)how->images_of_chunk, 2, 2, 2};
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate_simple(flat ? 3 : 4, shape[how->layout], NULL);
    hid_t made = H5Pcreate(H5P_DATASET_CREATE), type = how->half ? half_type() : H5T_IEEE_F32LE;
    if (how->chunked) {
        H5Pset_chunk(made, flat ? 3 : 4, chunk);
        H5Pset_shuffle(made);
        H5Pset_deflate(made, 4);
    }
    hid_t set = H5Dcreate2(file, "features", type, space, H5P_DEFAULT, made, H5P_DEFAULT);
    assert_true(H5Dwrite(set, how->half ? type : H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT,
                         how->half ? (void *)half : (void *)data) >= 0);
    hsize_t n = N;
    hid_t row = H5Screate_simple(1, &n, NULL), ids, id_type = H5Tcopy(H5T_C_S1);
    if (how->number_ids) {
        int32_t id[N] = {10, 20, 30, 40, 50};
        ids = H5Dcreate2(file, "ids", H5T_STD_I32LE, row, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Dwrite(ids, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, id);
    } else {
        const char *id[N] = {"10", "20", "30", "40", "50"};
        H5Tset_size(id_type, H5T_VARIABLE);
        ids = H5Dcreate2(file, "ids", id_type, row, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        H5Dwrite(ids, id_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, id);
    }
    H5Tclose(id_type);
    H5Dclose(ids);
    H5Sclose(row);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(made);
    if (how->half) H5Tclose(type);
    H5Fclose(file);
}

/* A .npy file with a header as numpy writes it. */
static size_t make_npy(char *out, int n, wk_layout_t layout, bool fortran, bool half) {
    float data[CELLS * C];
    const char *shape[] = {"(2, 3, 7)", "(7, 2, 3)", "(6, 7)", "(7, 6)"};
    fill(data, n, layout, fortran);
    int header = snprintf(out + 10, 118, "{'descr': '<f%d', 'fortran_order': %s, 'shape': %s, }",
                          half ? 2 : 4, fortran ? "True" : "False", shape[layout]);
    memset(out + 10 + header, ' ', (size_t)(118 - header));
    memcpy(out, "\x93NUMPY\x01\x00\x76\x00", 10);
    out[127] = '\n';
    if (half)
        hp_convert_from_f32(HP_CONVERT_SCALAR, HP_DTYPE_F16, data, CELLS * C, out + 128);
    else
        memcpy(out + 128, data, sizeof data);
    return 128 + CELLS * C * (half ? 2 : 4);
}

static void check_features(const wk_features_options_t *options) {
    wk_features_t *f = NULL;
    hp_error_t err = {0};
    float got[CELLS * C];
    int cells = 0;
    if (wk_features_open(options, &f, &err) != HP_OK) fail_msg("%s", err.text);
    const wk_features_shape_t *s = wk_features_shape(f);
    assert_int_equal(s->images, N);
    assert_int_equal(s->cells, CELLS);
    assert_int_equal(s->channels, C);
    assert_int_equal(s->grid_height * 10 + s->grid_width, 23);
    for (int pass = 0; pass < 2; pass++)
        for (int n = N - 1; n >= 0; n--) {
            char id[16];
            snprintf(id, sizeof id, "%d", 10 * (n + 1));
            assert_string_equal(wk_features_name(f, (uint64_t)n), id);
            assert_int_equal(wk_features_find(f, id), n);
            if (wk_features_read(f, (uint64_t)n, got, NULL, &cells, &err) != HP_OK)
                fail_msg("%s", err.text);
            for (int i = 0; i < CELLS * C; i++)
                assert_true(got[i] == value(n, i / C / W, i / C % W, i % C));
        }
    assert_int_equal(wk_features_find(f, "11"), -1);
    wk_features_close(f);
}

static wk_features_options_t options_of(const char *path, wk_layout_t layout) {
    return (wk_features_options_t){.path = path,
                                   .dataset = "features",
                                   .ids_dataset = "ids",
                                   .pattern = "%d.npy",
                                   .layout = layout,
                                   .grid_height = H,
                                   .grid_width = W};
}

static void test_hdf5(void **state) {
    (void)state;
    const char *path = in_folder("layouts.h5");
    for (int layout = 0; layout < WK_LAYOUT_RAGGED; layout++)
        for (int form = 0; form < 8; form++) {
            hdf5_t how = {.layout = (wk_layout_t)layout,
                          .half = form & 1,
                          .chunked = form & 2,
                          .number_ids = form & 4,
                          .images_of_chunk = 1 + form % 3};
            make_hdf5(path, &how);
            wk_features_options_t options = options_of(path, how.layout);
            check_features(&options);
        }
}

static void test_npy(void **state) {
    (void)state;
    char data[4096], name[64];
    mkdir(in_folder("npy"), 0777);
    for (int layout = 0; layout < WK_LAYOUT_RAGGED; layout++)
        for (int form = 0; form < 4; form++) {
            for (int n = 0; n < N; n++) {
                size_t bytes = make_npy(data, n, (wk_layout_t)layout, form & 1, form & 2);
                snprintf(name, sizeof name, "npy/%d.npy", 10 * (n + 1));
                write_text(name, data, bytes);
            }
            wk_features_options_t options = options_of(in_folder("npy"), (wk_layout_t)layout);
            check_features(&options);
        }
}

/* ---- a whole import ------------------------------------------------------------------------ */

static const char questions[] =
    "{\"info\": {\"a\": [1, {\"questions\": []}]}, \"questions\": ["
    "{\"question_id\": 1, \"image_id\": 10, \"question\": \"What is the dog's name?\"},\n"
    "{\"question\": \"Is it RED-ish?\", \"image_id\": \"30\", \"question_id\": 2, \"x\": null},"
    "{\"question_id\": -3, \"image_id\": 10, \"question\": \"?!\", \"coco_split\": "
    "\"train2014\"}]}";
static const char annotations[] =
    "[{\"question_id\": 2, \"image_id\": 30, \"answer_type\": \"yes/no\", \"question_type\": \"is "
    "it\", \"multiple_choice_answer\": \"yes\", \"answers\": [{\"answer\": \"no\", \"answer_id\": "
    "1, \"answer_confidence\": \"maybe\"}, {\"answer\": \"yes\"}]},"
    "{\"question_id\": -3, \"answers\": [{\"answer\": \"b\"}, {\"answer\": \"a\"}, {\"answer\": "
    "\"a\"}]},"
    "{\"question_id\": 1, \"multiple_choice_answer\": \"caf\\u00e9\", \"answers\": []}]";
static const char test_questions[] =
    "[{\"question_id\": 1, \"image_id\": 50, \"question\": \"what dog is unseen\"}]";

static hp_status_t import_with(const char *q, size_t q_bytes, const char *a, size_t a_bytes,
                               const wk_features_options_t *features, const char *out,
                               wk_vqa_report_t *report, hp_error_t *err) {
    wk_vqa_split_t split[2] = {
        {"train", 1, 1, {write_text("q.json", q, q_bytes)}, {write_text("a.json", a, a_bytes)}},
        {"test", 1, 0, {write_text("t.json", test_questions, strlen(test_questions))}, {NULL}}};
    wk_vqa_import_t import = {.out = out,
                              .splits = 2,
                              .split = split,
                              .vocabulary = "train",
                              .features = features,
                              .dtype = HP_DTYPE_F16,
                              .answers = 2,
                              .least_answer = 1,
                              .least_word = 1,
                              .tokenizer = wk_tokenizer_find("words"),
                              .command = "test"};
    return wk_vqa_import(&import, report, err);
}

static void check_store(const char *path) {
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    hp_error_t err = {0};
    hp_question_t q;
    if (hp_store_open(path, &store, &err) != HP_OK) fail_msg("%s", err.text);
    const hp_store_info_t *info = hp_store_info(store);
    assert_int_equal(hp_store_reader_open(store, &reader, NULL), HP_OK);
    assert_int_equal(info->images, N);
    assert_int_equal(info->splits, 2);
    /* words by count, then bytes: all occur once */
    const char *word[] = {"<unknown>", "'s",   "dog", "is",  "ish",
                          "it",        "name", "red", "the", "what"};
    assert_int_equal(info->words, 10);
    assert_string_equal(info->word[1], "is"); /* twice */
    assert_string_equal(info->word[2], word[1]);
    assert_int_equal(info->answers, 2);
    assert_string_equal(info->answer[0], "a");
    assert_string_equal(info->answer[1], "caf\xc3\xa9");
    assert_int_equal(hp_store_read_question(reader, 0, &q, NULL), HP_OK);
    assert_true(q.question_id == 1 && q.image == 0 && q.tokens == 6 && q.label == 1);
    const char *want[] = {"what", "is", "the", "dog", "'s", "name"};
    for (int i = 0; i < 6; i++) assert_string_equal(info->word[q.token[i]], want[i]);
    assert_int_equal(hp_store_read_question(reader, 1, &q, NULL), HP_OK);
    assert_true(q.question_id == 2 && q.image == 2 && q.tokens == 4 && q.label == -1);
    assert_string_equal(q.target, "yes");
    assert_string_equal(q.answer_type, "yes/no");
    assert_true(q.answers == 2 && q.answer[0].confidence == 2 && q.answer[0].answer_id == 1);
    assert_true(q.answer[1].confidence == 0 && q.answer[1].answer_id == -1);
    assert_int_equal(hp_store_read_question(reader, 2, &q, NULL), HP_OK);
    assert_true(q.question_id == -3 && q.tokens == 1 && q.token[0] == 0 && q.label == 0);
    assert_int_equal(hp_store_read_question(reader, 3, &q, NULL), HP_OK);
    assert_true(q.question_id == 1 && q.image == 4 && q.answers == 0 && q.label == -1);
    assert_int_equal(q.token[3], 0);
    float got[CELLS * C];
    int cells;
    assert_int_equal(hp_store_read_features(reader, 4, got, CELLS, &cells, NULL), HP_OK);
    assert_true(got[C + 1] == value(4, 0, 1, 1));
    hp_store_reader_close(reader);
    hp_store_close(store);
}

static void test_import(void **state) {
    (void)state;
    const char *path = in_folder("import.h5");
    hdf5_t how = {.layout = WK_LAYOUT_NCHW, .half = true, .number_ids = true};
    make_hdf5(path, &how);
    wk_features_options_t options = options_of(path, WK_LAYOUT_NCHW);
    wk_vqa_report_t report;
    hp_error_t err = {0};
    if (import_with(questions, strlen(questions), annotations, strlen(annotations), &options,
                    in_folder("store"), &report, &err) != HP_OK)
        fail_msg("%s", err.text);
    assert_int_equal(report.unlabelled, 2);
    assert_int_equal(report.questions, 4);
    check_store(in_folder("store"));
}

/* Replace the first `from` of `text` by `to`. */
static char *changed(const char *text, const char *from, const char *to) {
    static char out[4096];
    const char *at = strstr(text, from);
    assert_non_null(at);
    snprintf(out, sizeof out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return out;
}

static void refuse(const char *q, const char *a, const char *says) {
    wk_vqa_report_t report;
    hp_error_t err = {0};
    hp_status_t status =
        import_with(q, strlen(q), a, strlen(a), NULL, in_folder("refused"), &report, &err);
    if (status != HP_INPUT || strstr(err.text, says) == NULL || strchr(err.text, '\n') != NULL)
        fail_msg("expected '%s', got %d: %s", says, status, err.text);
    assert_int_not_equal(access(in_folder("refused"), F_OK), 0);
}

static void test_bad_questions(void **state) {
    (void)state;
    const char *q = questions, *a = annotations;
    refuse("", a, "q.json, line 1, byte 0");
    refuse("nonsense", a, "not JSON");
    refuse("{\"question\": []}", a, "neither a list nor an object with \"questions\"");
    refuse("{\"questions\": 5}", a, "expected a list");
    refuse("{\"questions\": {}}", a, "expected a list");
    refuse("[1]", a, "record 1: a number, expected an object");
    refuse("[[]]", a, "record 1: a list, expected an object");
    refuse("7", a, "expected an object or a list");
    refuse("[]", "[]", "no question in split train");
    refuse(changed(q, "\"question_id\": 2", "\"id\": 2"), a, "line 2, byte");
    refuse(changed(q, "\"question_id\": 2", "\"id\": 2"), a, "\"question_id\" is missing");
    refuse(changed(q, "\"question_id\": 2", "\"question_id\": 1"), a, "there twice");
    refuse(changed(q, "\"question_id\": 2", "\"question_id\": 2.5"), a, "a number with a fraction");
    refuse(changed(q, "\"question_id\": 2", "\"question_id\": 99999999999999999999"), a,
           "record 2: not JSON");
    refuse(changed(q, "\"question_id\": 2", "\"question_id\": \"2\""), a, "a whole number");
    refuse(changed(q, "\"question_id\": 2", "\"question_id\": null"), a, "null");
    refuse(changed(q, "\"image_id\": \"30\"", "\"image_id\": \"\""), a, "empty");
    refuse(changed(q, "\"image_id\": \"30\"", "\"image_id\": [30]"), a, "\"image_id\" is a list");
    refuse(changed(q, "RED", "\\u0000"), a, "contains NUL");
    refuse(changed(q, "RED", "\xff\xfe"), a, "UTF8");
    refuse(changed(q, "\"Is it", "{\"a\": \"Is it"), a, "record 2");
}

static void test_bad_annotations(void **state) {
    (void)state;
    const char *q = questions, *a = annotations;
    refuse(q, changed(a, "\"question_id\": 2", "\"question_id\": 7"), "no question of the split");
    refuse(q, changed(a, "\"question_id\": -3", "\"question_id\": 2"), "an annotation already");
    refuse(q, changed(a, "\"image_id\": 30", "\"image_id\": 31"), "image_id is 31, but 30");
    refuse(q, changed(a, "{\"answer\": \"yes\"}", "\"yes\""), "expected an object with \"answer\"");
    refuse(q, changed(a, "{\"answer\": \"yes\"}", "{}"), "an answer without \"answer\"");
    refuse(q, changed(a, "\"answer_id\": 1", "\"answer_id\": 4294967296"), "\"answer_id\" is");
    refuse(q, changed(a, "\"answers\": []", "\"x\": []"), "\"answers\" is missing");
    refuse(q, changed(a, "\"answers\": []", "\"answers\": {}"), "expected a list");
    refuse(q, "[]", "q.json, record 1 (question_id 1): no annotation in");
    refuse(q, "[]", "(3 such questions)");
    char deep[5000] = "[{\"x\": ";
    memset(deep + 7, '[', 4000);
    refuse(q, deep, "levels of nesting");
}

static void refuse_features(const wk_features_options_t *options, const char *says) {
    wk_vqa_report_t report;
    hp_error_t err = {0};
    hp_status_t status = import_with(questions, strlen(questions), annotations, strlen(annotations),
                                     options, in_folder("refused"), &report, &err);
    if (status != HP_INPUT || strstr(err.text, says) == NULL || strchr(err.text, '\n') != NULL)
        fail_msg("expected '%s', got %d: %s", says, status, err.text);
    assert_int_not_equal(access(in_folder("refused"), F_OK), 0);
}

static void test_bad_hdf5(void **state) {
    (void)state;
    const char *path = in_folder("bad.h5");
    hdf5_t how = {
        .layout = WK_LAYOUT_NHWC, .number_ids = true, .chunked = true, .images_of_chunk = 2};
    make_hdf5(path, &how);
    wk_features_options_t options = options_of(path, WK_LAYOUT_NSC);
    refuse_features(&options, "has 3 axes an image; layout ncellsc has 2");
    options = options_of(path, WK_LAYOUT_NHWC);
    options.dataset = "nothing";
    refuse_features(&options, "no dataset 'nothing'");
    options = options_of(path, WK_LAYOUT_NHWC);
    options.ids_dataset = "";
    refuse_features(&options, "image 10 has no features"); /* rows 0 .. 4 */
    options.ids_dataset = "features";
    refuse_features(&options, "ids for 5 images");
    options = options_of(in_folder("absent.h5"), WK_LAYOUT_NHWC);
    refuse_features(&options, "No such file");
    options = options_of(write_text("text.h5", "hello", 5), WK_LAYOUT_NHWC);
    refuse_features(&options, "text.h5 is no HDF5, safetensors or TSV file");
    struct stat st; /* truncated at any length */
    assert_int_equal(stat(path, &st), 0);
    options = options_of(path, WK_LAYOUT_NHWC);
    for (off_t n = st.st_size - 1; n > 0; n -= st.st_size / 23) {
        assert_int_equal(truncate(path, n), 0);
        refuse_features(&options, "bad.h5");
    }
}

static void test_bad_npy(void **state) {
    (void)state;
    char data[4096];
    mkdir(in_folder("bad"), 0777);
    wk_features_options_t options = options_of(in_folder("bad"), WK_LAYOUT_NHWC);
    refuse_features(&options, "no file is named like '%d.npy'");
    size_t bytes = make_npy(data, 0, WK_LAYOUT_NHWC, false, false);
    for (int n = 1; n <= N; n++) {
        char name[32];
        snprintf(name, sizeof name, "bad/%d.npy", 10 * n);
        write_text(name, data, bytes);
    }
    write_text("bad/10.npy", data, bytes - 1);
    refuse_features(&options, "10.npy: truncated: 167 bytes of numbers");
    write_text("bad/10.npy", data, 60);
    refuse_features(&options, "10.npy: truncated within the .npy header");
    write_text("bad/10.npy", "PK", 2);
    refuse_features(&options, "10.npy: not a .npy file");
    options.pattern = "%d-%d";
    refuse_features(&options, "pattern '%d-%d'");
    options.pattern = "../%d";
    refuse_features(&options, "pattern '../%d'");
    options.pattern = "%d.npy";
    float nan = NAN;
    memcpy(data + 128 + 4 * (C + 2), &nan, 4);
    write_text("bad/10.npy", data, bytes);
    refuse_features(&options, "image 10, cell 1, channel 2: nan");
    float large = 1e6f; /* too large for fp16 */
    memcpy(data + 128 + 4 * (C + 2), &large, 4);
    write_text("bad/10.npy", data, bytes);
    refuse_features(&options, "dtype f16");
    bytes = make_npy(data, 0, WK_LAYOUT_NCHW, false, false);
    write_text("bad/10.npy", data, bytes);
    refuse_features(&options, "the first file");
}

/* Any bytes at all: an error or not, but no crash and no read beyond the end (run with ASan). */
static void test_mutations(void **state) {
    (void)state;
    unsigned seed = 7;
    wk_vqa_report_t report;
    for (int i = 0; i < 600; i++) {
        char q[2048], a[2048];
        size_t qn = strlen(questions), an = strlen(annotations);
        memcpy(q, questions, qn);
        memcpy(a, annotations, an);
        for (int k = 0; k < 1 + i % 3; k++) {
            seed = seed * 1103515245 + 12345;
            char *text = i % 2 ? q : a;
            size_t n = i % 2 ? qn : an, at = seed / 65536 % n;
            text[at] = i % 5 ? "{}[]\",:x0\\"[seed / 7 % 10] : (char)(seed >> 8);
        }
        if (i % 7 == 0) (i % 2 ? &qn : &an)[0] = seed % 300;
        hp_error_t err = {0};
        hp_status_t status = import_with(q, qn, a, an, NULL, in_folder("mutated"), &report, &err);
        assert_true(status == HP_OK || (status == HP_INPUT && err.text[0] != '\0'));
        assert_null(strchr(err.text, '\n'));
        if (status == HP_OK) {
            char command[700];
            snprintf(command, sizeof command, "rm -r '%s'", in_folder("mutated"));
            assert_int_equal(system(command), 0);
        }
    }
    char data[4096];
    size_t bytes = make_npy(data, 0, WK_LAYOUT_NHWC, false, true);
    for (int i = 0; i < 20000; i++) {
        char *copy = malloc(bytes);
        memcpy(copy, data, bytes);
        size_t n = i % 3 ? bytes : (size_t)(i % 140);
        for (int k = 0; k < 2; k++) {
            seed = seed * 1103515245 + 12345;
            copy[seed / 65536 % 128] = i % 2 ? (char)(seed >> 8) : "(){},:'9 "[seed / 7 % 9];
        }
        char *exact = malloc(n ? n : 1); /* so that ASan sees the end */
        memcpy(exact, copy, n);
        wk_npy_t npy;
        hp_error_t err;
        if (wk_npy_parse(exact, n, &npy, &err) == HP_OK) assert_true(npy.offset <= n);
        free(exact);
        free(copy);
    }
}

static void test_patterns(void **state) {
    (void)state;
    wk_pattern_t p;
    char id[64];
    assert_int_equal(wk_pattern_parse("COCO_*_%012d.jpg", &p, NULL), HP_OK);
    assert_true(wk_pattern_match(&p, "COCO_train2014_000000000009.jpg", id, sizeof id));
    assert_string_equal(id, "9");
    assert_false(wk_pattern_match(&p, "COCO_train2014_00000000009.jpg", id, sizeof id));
    assert_false(wk_pattern_match(&p, "COCO_train2014_000000000009.png", id, sizeof id));
    assert_int_equal(wk_pattern_parse("image%d.jpg", &p, NULL), HP_OK);
    assert_true(wk_pattern_match(&p, "image120.jpg", id, sizeof id));
    assert_string_equal(id, "120");
    assert_false(wk_pattern_match(&p, "image.jpg", id, sizeof id));
    assert_false(wk_pattern_match(&p, "imagex1.jpg", id, sizeof id));
    assert_int_equal(wk_pattern_parse("%s.png", &p, NULL), HP_OK);
    assert_true(wk_pattern_match(&p, "dev-1.png", id, sizeof id));
    assert_string_equal(id, "dev-1");
    const char *bad[] = {"x", "%d%d", "%", "%x", "%1d", "a/%d", "%d*", "%099d", "%0s"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(wk_pattern_parse(bad[i], &p, NULL), HP_INPUT);
}

static void test_tokenizers(void **state) {
    (void)state;
    const struct {
        const char *name, *text, *words;
    } table[] = {
        {"words", "What's the T-shirt's price ($5)?", "what|'s|the|t|shirt|'s|price|5"},
        {"ban", "What's this, a T-shirt?", "what|'s|this|a|t-shirt"},
        {"mcan", "What's this, a T-shirt?", "whats|this|a|t|shirt"},
        {"mcb", "Is it 3:00 @ the/bar?", "is|it|300|the|bar"},
        {"kazemi", "What's this, a T-shirt?", "what's|this,|a|t-shirt"},
        {"kazemi", "Caf\xc3\xa9\xef\xbc\x9f", "caf\xc3\xa9"}, /* a question mark of three bytes */
        {"kazemi", "\xef\xbc\x9f", ""},
        {"kaihua", "What's this, a T-shirt from the caf\xc3\xa9 5?",
         "whats|this|a|tshirt|from|the|caf|5"},
        {"iep", "Is the Cube red; what is it?", "Is|the|Cube|red|;|what|is|it"},
        {"punctuation", "a;b, What?", "a|;|b|,|what|?"},
        {"split", "What's in/on it? (a-b)", "What|'|s|in|/|on|it|?|(|a|-|b|)"},
        {"split", "1+1=[2] \\ 50%", "1|+|1|=|[|2|]|\\|50|%"},
        {"spaces", "What 's in it ?  Do n't", "What|'s|in|it|?|Do|n't"},
        {"nltk", "What's on the man's T-shirt?", "what|'s|on|the|man|'s|t-shirt|?"},
        {"nltk", "Aren't these the DOGS' toys?", "are|n't|these|the|dogs|'|toys|?"},
        {"nltk", "Does the sign say 'stop'?", "does|the|sign|say|'|stop|'|?"},
        {"nltk3.9", "Does the sign say 'stop'?", "does|the|sign|say|'stop|'|?"},
        {"nltk", "Is 'a' or 'tis on it?", "is|'|a|'|or|'|tis|on|it|?"},
        {"nltk3.9", "Is 'a' or 'tis on it?", "is|'|a|'|or|'t|is|on|it|?"},
        {"nltk", "\"Hi\" (\"you\") say ''so''?", "``|hi|''|(|``|you|''|)|say|``|so|''|?"},
        {"nltk", "Is it 3:00, 3,000 or a,b at the U.S.?",
         "is|it|3:00|,|3,000|or|a|,|b|at|the|u.s.|?"},
        {"nltk", "It is a. dot. (It says \"the end.\")",
         "it|is|a.|dot.|(|it|says|``|the|end|.|''|)"},
        {"nltk", "One dot. Two.. dots...", "one|dot.|two|..|dots|..."},
        {"nltk", "I cannot, gimme more'n a lemon; wanna?",
         "i|can|not|,|gim|me|more|'n|a|lemon|;|wan|na|?"},
        {"nltk", "50% of [$5] a--b @x #1 <c> & *", "50|%|of|[|$|5|]|a|--|b|@|x|#|1|<|c|>|&|*"},
        {"nltk",
         "\xc2\xab\xc3\x89t\xc3\xa9\xc2\xbb, it\xe2\x80\x99s\xc2\xa0\xe2\x80\x9cok.\xe2\x80\x9d",
         "\xc2\xab|\xc3\xa9t\xc3\xa9|\xc2\xbb|,|it|\xe2\x80\x99|s|\xe2\x80\x9c|ok|.|\xe2\x80\x9d"},
        {"nltk",
         "red\xe2\x80\x94"
         "blue",
         "red|\xe2\x80\x94|blue"},
        {"nltk3.9",
         "red\xe2\x80\x94"
         "blue",
         "red\xe2\x80\x94"
         "blue"},
        {"nltk", "a,\xd9\xa3 '\xc2\xbd", "a,\xd9\xa3|'\xc2\xbd"}, /* \\d, and no \\w */
        {"nltk", "a\t's\n", "a|'s"},
        {"nltk", "\x80'\xff\xe2\x80", "\x80'\xff\xe2\x80"}, /* not UTF-8 */
        {"nltk", "", ""},
        {"words", "  \t\n", ""},
        {"words", "na\xc3\xafve CAF\xc3\x89", "na\xc3\xafve|caf\xc3\x89"},
        {"words", "'s's", "'s|'s"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char out[256], joined[512] = "";
        const wk_tokenizer_t *tokenizer = wk_tokenizer_find(table[i].name);
        assert_true(wk_tokens_room(tokenizer, table[i].text) <= sizeof out);
        int n = wk_tokenize(tokenizer, table[i].text, out);
        const char *word = out;
        for (int k = 0; k < n; k++, word += strlen(word) + 1) {
            if (k) strcat(joined, "|");
            strcat(joined, word);
        }
        assert_string_equal(joined, table[i].words);
    }
    assert_null(wk_tokenizer_find("spacy"));
}

static int set_up(void **state) {
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/hanps-import-XXXXXX", base ? base : "/tmp");
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
        cmocka_unit_test(test_hdf5),
        cmocka_unit_test(test_npy),
        cmocka_unit_test(test_import),
        cmocka_unit_test(test_bad_questions),
        cmocka_unit_test(test_bad_annotations),
        cmocka_unit_test(test_bad_hdf5),
        cmocka_unit_test(test_bad_npy),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_tokenizers),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
