/* hanps data bench: how fast features get from a store into a batch, in both encodings. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/store.h"
#include "common/store_convert.h"
#include "common/store_sparse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: hanps data bench STORE [--images N] [--rounds N] [--json]\n\n"
    "Takes the features of N images (256) and times, on one thread, how they get to fp32: kept "
    "raw,\n"
    "kept sparse, and read from the store as it is; beside a memcpy of the raw record in the same\n"
    "run. Once into 64 MB of a batch, one image after the other, and once into the memory of one\n"
    "image, which stays in the cache. The best of the rounds (5) is printed, as GB/s of the raw\n"
    "record and of the fp32 that comes of it.\n";

enum { MAX_ROUNDS = 1000, FORMS = 4 };
enum { COPY, RAW, SPARSE, STORE };
#define BATCH_BYTES ((size_t)64 << 20) /* of fp32 that is written before it is written again */

static const char *const form_name[FORMS] = {"memcpy", "raw", "sparse", "store"};
static const char *const form_title[FORMS] = {"memcpy of the raw record", "raw to fp32",
                                              "sparse to fp32", "this store to fp32"};

typedef struct {
    hp_store_reader_t *reader;
    const hp_store_info_t *info;
    hp_convert_level_t level;
    int images, rounds, slots;
    size_t room;                            /* numbers of the largest image */
    unsigned char *data[2];                 /* all records, raw and sparse */
    size_t *begin[2];                       /* [images + 1]: where each begins in them */
    float *batch;                           /* [slots][room] */
    double bytes[FORMS], seconds[2][FORMS]; /* of a round: into a batch, into the cache */
    uint64_t numbers, zeros;
} bench_t;

static hp_status_t allocate(bench_t *b, hp_error_t *err) {
    size_t numbers = (size_t)b->info->max_cells * (size_t)b->info->channels;
    size_t images = (size_t)b->images;
    size_t sizes[2] = {numbers * hp_dtype_size(b->info->feature_dtype),
                       hp_sparse_room(b->info->feature_dtype, numbers)};
    void *p = NULL;
    b->room = numbers;
    b->slots = (int)(BATCH_BYTES / (numbers * sizeof(float)) + 1);
    HP_TRY(hp_allocate(&p, (size_t)b->slots * numbers, sizeof(float), "a batch", err));
    b->batch = p;
    for (int k = 0; k < 2; k++) {
        HP_TRY(hp_allocate(&p, images, sizes[k], "records", err));
        b->data[k] = p;
        HP_TRY(hp_allocate(&p, images + 1, sizeof(size_t), "records", err));
        b->begin[k] = p;
    }
    return HP_OK;
}

/* Both forms of all records, spread evenly over the store. */
static hp_status_t load(bench_t *b, hp_error_t *err) {
    hp_dtype_t dtype = b->info->feature_dtype;
    for (int i = 0; i < b->images; i++) {
        uint32_t image = (uint32_t)((uint64_t)i * b->info->images / (uint64_t)b->images);
        unsigned char *raw = b->data[0] + b->begin[0][i], *sparse = b->data[1] + b->begin[1][i];
        int cells = 0;
        hp_sparse_t s;
        HP_TRY(hp_store_read_raw(b->reader, image, raw, b->info->max_cells, &cells, err));
        size_t count = (size_t)cells * (size_t)b->info->channels;
        size_t bytes =
            hp_sparse_encode(HP_ENCODING_SPARSE, dtype, raw, cells, b->info->channels, sparse);
        if (!hp_sparse_parse(dtype, sparse, bytes, b->info->channels, &s))
            return hp_fail(err, HP_INTERNAL, "image %u is not encoded right", image);
        b->numbers += count;
        b->zeros += count - s.kept;
        b->begin[0][i + 1] = b->begin[0][i] + count * hp_dtype_size(dtype);
        b->begin[1][i + 1] = b->begin[1][i] + bytes;
    }
    b->bytes[COPY] = b->bytes[RAW] = (double)b->begin[0][b->images];
    b->bytes[SPARSE] = (double)b->begin[1][b->images];
    return HP_OK;
}

static hp_status_t one(bench_t *b, int form, int i, int slots, hp_error_t *err) {
    hp_dtype_t dtype = b->info->feature_dtype;
    float *out = b->batch + (size_t)(i % slots) * b->room;
    size_t raw_bytes = b->begin[0][i + 1] - b->begin[0][i];
    const unsigned char *raw = b->data[0] + b->begin[0][i], *sparse = b->data[1] + b->begin[1][i];
    uint32_t image = (uint32_t)((uint64_t)i * b->info->images / (uint64_t)b->images);
    int cells = 0;
    hp_sparse_t s;
    switch (form) {
    case COPY:
        memcpy(out, raw, raw_bytes);
        return HP_OK;
    case RAW:
        hp_convert_to_f32(b->level, dtype, raw, raw_bytes / hp_dtype_size(dtype), out);
        return HP_OK;
    case SPARSE:
        if (hp_sparse_parse(dtype, sparse, b->begin[1][i + 1] - b->begin[1][i], b->info->channels,
                            &s) &&
            hp_sparse_to_f32(b->level, &s, out))
            return HP_OK;
        return hp_fail(err, HP_INTERNAL, "image %u does not decode", image);
    default:
        return hp_store_read_features(b->reader, image, out, b->info->max_cells, &cells, err);
    }
}

/* The forms take turns, so that whatever else the machine does meets all of them. */
static hp_status_t measure(bench_t *b, int slots, double *seconds, hp_error_t *err) {
    for (int round = -1; round < b->rounds; round++) /* one to warm up */
        for (int form = 0; form < FORMS; form++) {
            double start = hp_clock();
            for (int i = 0; i < b->images; i++) HP_TRY(one(b, form, i, slots, err));
            double spent = hp_clock() - start + 1e-9;
            if (round == 0 || spent < seconds[form]) seconds[form] = spent;
        }
    return HP_OK;
}

static hp_status_t stored_bytes(bench_t *b, hp_error_t *err) {
    for (int i = 0; i < b->images; i++) {
        const void *data;
        size_t bytes = 0;
        uint32_t image = (uint32_t)((uint64_t)i * b->info->images / (uint64_t)b->images);
        HP_TRY(hp_store_read_image(b->reader, image, HP_RECORD_FEATURES, &data, &bytes, err));
        b->bytes[STORE] += (double)bytes;
    }
    return HP_OK;
}

static void print(const bench_t *b, const char *path, bool json) {
    static const char *const level[] = {"plain C", "AVX2", "AVX-512"};
    static const char *const to[] = {"batch", "cache"};
    double zeros = 100.0 * (double)b->zeros / (double)b->numbers, images = b->images;
    if (json)
        printf("{\"works\": {\"W6\": {\"images\": %d, \"dtype\": \"%s\", \"encoding\": \"%s\", "
               "\"zeros_percent\": %.2f, \"cpu\": \"%s\"",
               b->images, hp_dtype_name(b->info->feature_dtype),
               hp_encoding_name(b->info->feature_encoding), zeros, level[b->level]);
    else
        printf("%s: %d images of at most %d x %d, %s, %.1f %% zeros; %s, one thread, best of %d\n"
               "%-24s %14s %20s %20s\n%-24s %14s %10s %9s %10s %9s\n",
               path, b->images, b->info->max_cells, b->info->channels,
               hp_dtype_name(b->info->feature_dtype), zeros, level[b->level], b->rounds, "GB/s", "",
               "into a batch", "into the cache", "", "bytes an image", "raw", "fp32", "raw",
               "fp32");
    for (int f = 0; f < FORMS; f++) {
        if (json)
            printf(", \"%s\": {\"bytes_per_image\": %.0f", form_name[f], b->bytes[f] / images);
        else
            printf("%-24s %14.0f", form_title[f], b->bytes[f] / images);
        for (int k = 0; k < 2; k++) {
            double raw = b->bytes[RAW] / b->seconds[k][f] * 1e-9;
            double fp32 = f == COPY ? 0 : 4 * (double)b->numbers / b->seconds[k][f] * 1e-9;
            if (json)
                printf(", \"%s_raw_gb_per_s\": %.3f, \"%s_fp32_gb_per_s\": %.3f", to[k], raw, to[k],
                       fp32);
            else if (f == COPY)
                printf(" %10.2f %9s", raw, "");
            else
                printf(" %10.2f %9.2f", raw, fp32);
        }
        printf("%s", json ? "}" : "\n");
    }
    if (json) printf("}}}\n");
}

static hp_status_t run(bench_t *b, hp_store_t *store, const char *path, bool json,
                       hp_error_t *err) {
    b->info = hp_store_info(store);
    b->level = hp_convert_best();
    if (b->info->feature_dtype == HP_DTYPE_NONE || b->info->images == 0)
        return hp_fail(err, HP_INPUT, "store %s has no features", path);
    if ((uint64_t)b->images > b->info->images) b->images = (int)b->info->images;
    HP_TRY(hp_store_reader_open(store, &b->reader, err));
    HP_TRY(allocate(b, err));
    HP_TRY(load(b, err));
    HP_TRY(measure(b, b->slots, b->seconds[0], err));
    HP_TRY(measure(b, 1, b->seconds[1], err));
    HP_TRY(stored_bytes(b, err));
    print(b, path, json);
    return HP_OK;
}

hp_status_t cli_data_bench(int argc, char **argv, hp_error_t *err) {
    bench_t b = {.images = 256, .rounds = 5};
    bool json = false, help = false;
    const cli_option_t options[] = {CLI_NUMBER("images", &b.images, 1, 1000000),
                                    CLI_NUMBER("rounds", &b.rounds, 1, MAX_ROUNDS),
                                    CLI_FLAG("json", &json),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, &help, err));
    if (help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    const char *path = NULL;
    hp_store_t *store = NULL;
    HP_TRY(cli_one_operand(argc, argv, "STORE", &path, err));
    HP_TRY(hp_store_open(path, &store, err));
    hp_status_t status = run(&b, store, path, json, err);
    hp_store_reader_close(b.reader);
    hp_store_close(store);
    hp_free(b.batch);
    for (int k = 0; k < 2; k++) {
        hp_free(b.data[k]);
        hp_free(b.begin[k]);
    }
    return status;
}
