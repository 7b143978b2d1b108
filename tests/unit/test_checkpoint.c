/* Checkpoints: what is written is read, on any number of shards; whatever is damaged is found; what
 * fails or is interrupted leaves nothing that looks whole. */
#include "common/checkpoint.h"
#include "common/checkpoint_format.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/random.h"
#include "proto/checkpoint.pb-c.h"
#include "tests/support/made_checkpoint.h"

#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { CHUNK = MADE_CHUNK };

static char run[256];

static int setup(void **state) {
    (void)state;
    /* Thousands of small files: memory where there is some. */
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(run, sizeof run, "%s/hanps-checkpoint-XXXXXX", base);
    return mkdtemp(run) == NULL ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", run);
    return system(command);
}

static void path_of(char out[512], int64_t step, const char *file) {
    snprintf(out, 512, "%s/checkpoints/step-%08" PRId64 "%s%s", run, step, file[0] ? "/" : "",
             file);
}

static bool there(int64_t step, const char *file) {
    char path[512];
    path_of(path, step, file);
    return access(path, F_OK) == 0;
}

/* Values are those of seed `step`. */
static hp_status_t write_shards(const hp_params_t *params, int64_t step, int servers,
                                hp_shard_record_t *record, hp_error_t *err) {
    made_t made = {run, params, step, servers, (uint64_t)step, -1};
    return make_shards(&made, record, err);
}

static hp_status_t write_keeping(const hp_params_t *params, int64_t step, int servers, int keep,
                                 hp_error_t *err) {
    made_t made = {run, params, step, servers, (uint64_t)step, -1};
    return make_checkpoint(&made, keep, err);
}

static float value(int64_t step, int64_t i, int k) { return made_value((uint64_t)step, i, k); }
static bool has_moments(int64_t chunk) { return made_with_moments(chunk); }

static void write_step(const hp_params_t *params, int64_t step, int servers) {
    hp_error_t err = {0};
    if (write_keeping(params, step, servers, 100, &err) != HP_OK) fail_msg("%s", err.text);
}

static void check_whole(hp_checkpoint_t *c, const hp_params_t *params, int64_t step) {
    float *w = hp_calloc((size_t)params->total, sizeof *w),
          *m = hp_calloc((size_t)params->total, 4), *v = hp_calloc((size_t)params->total, 4);
    hp_error_t err = {0};
    if (hp_checkpoint_read(c, 0, params->total, w, m, v, &err) != HP_OK) fail_msg("%s", err.text);
    for (int64_t i = 0; i < params->total; i++) {
        bool moments = has_moments(i / CHUNK);
        assert_true(w[i] == value(step, i, 0));
        assert_true(m[i] == (moments ? value(step, i, 1) : 0));
        assert_true(v[i] == (moments ? value(step, i, 2) : 0));
    }
    hp_free(w);
    hp_free(m);
    hp_free(v);
}

static void test_round_trip(void **state) {
    (void)state;
    hp_params_t params = made_table(12);
    for (int servers = 1; servers <= 5; servers++) {
        int64_t step = 100 + servers;
        write_step(&params, step, servers);
        hp_checkpoint_t *c = NULL;
        char note[HP_CHECKPOINT_NOTE];
        hp_error_t err = {0};
        assert_int_equal(hp_checkpoint_open(run, "last", &c, note, &err), HP_OK);
        assert_string_equal(note, "");
        assert_int_equal(hp_checkpoint_step(c), step);
        assert_int_equal(hp_checkpoint_shards(c), servers);
        assert_int_equal(hp_params_same(hp_checkpoint_params(c), &params, &err), HP_OK);
        for (int i = 0; i < params.count; i++)
            assert_memory_equal(&hp_checkpoint_params(c)->param[i], &params.param[i],
                                sizeof params.param[i]);
        const hp_position_t *p = hp_checkpoint_position(c);
        assert_true(p->next_unit == 100 && p->units_repeated == 4 && p->sync_shards == 2 &&
                    p->outstanding == 3 && p->epoch == 3 && p->incarnation == 2 && p->workers == 5);
        assert_true(p->outstanding_unit[0] == 90 && p->outstanding_unit[2] == 99);
        assert_string_equal(p->store_digest, "abc");
        assert_string_equal(p->kernel, "OpenBLAS test");
        assert_true(p->pixel_height == 75 && p->pixel_width == 80);
        assert_string_equal(hp_checkpoint_config(c), "run: {seed: 1}\n");
        assert_int_equal(strlen(hp_checkpoint_date(c)), 20);
        for (int64_t e = 0; e < params.total; e += 17) {
            int64_t version, updates;
            assert_int_equal(hp_checkpoint_chunk(c, e, &version, &updates, &err), HP_OK);
            assert_true(version == 10 * (e / CHUNK) + step && updates == e / CHUNK);
        }
        hp_random_t r = hp_random(7, HP_RANDOM_TEST, 0, 0);
        for (int k = 0; k < 200; k++) { /* ranges across chunks and shards, read twice */
            float w[500], m[500];
            int64_t begin = (int64_t)hp_random_below(&r, (uint64_t)params.total);
            int64_t n = (int64_t)hp_random_below(&r, 500);
            if (n > params.total - begin) n = params.total - begin;
            assert_int_equal(hp_checkpoint_read(c, begin, begin + n, w, m, NULL, &err), HP_OK);
            for (int64_t i = 0; i < n; i++) {
                assert_true(w[i] == value(step, begin + i, 0));
                assert_true(m[i] ==
                            (has_moments((begin + i) / CHUNK) ? value(step, begin + i, 1) : 0));
            }
        }
        check_whole(c, &params, step);
        assert_int_equal(hp_checkpoint_verify(c, &err), HP_OK);
        assert_int_equal(hp_checkpoint_read(c, 0, params.total + 1, NULL, NULL, NULL, &err),
                         HP_INTERNAL);
        hp_checkpoint_close(c);
    }
    hp_params_release(&params);
}

static hp_status_t open_error(const char *which, char note[HP_CHECKPOINT_NOTE], hp_error_t *err) {
    hp_checkpoint_t *c = NULL;
    *err = (hp_error_t){0};
    hp_status_t status = hp_checkpoint_open(run, which, &c, note, err);
    hp_checkpoint_close(c);
    return status;
}

static void test_names(void **state) {
    (void)state;
    hp_error_t err;
    char note[HP_CHECKPOINT_NOTE];
    hp_params_t params = made_table(3);
    assert_int_equal(open_error("last", note, &err), HP_INPUT);
    assert_int_equal(hp_checkpoint_clean(run, &err), HP_OK);
    assert_int_equal(open_error("last", note, &err), HP_INPUT);
    assert_int_equal(open_error("best", note, &err), HP_INPUT);
    write_step(&params, 7, 1);
    assert_int_equal(open_error("8", note, &err), HP_INPUT);
    assert_int_equal(open_error("7x", note, &err), HP_INPUT);
    assert_int_equal(open_error("-1", note, &err), HP_INPUT);
    assert_int_equal(open_error("", note, &err), HP_INPUT);
    assert_int_equal(open_error("7", note, &err), HP_OK);
    assert_int_equal(open_error("00000007", note, &err), HP_OK);
    hp_params_release(&params);
}

/* The files of one small checkpoint, and what becomes of it when one is changed. */
static const char *const small_file[] = {"manifest.pb", "shard-0000-of-0002.bin",
                                         "shard-0001-of-0002.bin"};

static void put(const char *path, const void *data, size_t bytes) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    fclose(f);
}

static void test_flipped_bit(void **state) {
    (void)state;
    hp_params_t params = made_table(3);
    hp_error_t err;
    char note[HP_CHECKPOINT_NOTE], path[512];
    write_step(&params, 5, 2);
    for (size_t f = 0; f < 3; f++) {
        unsigned char *data = NULL;
        size_t bytes = 0;
        path_of(path, 5, small_file[f]);
        assert_int_equal(hp_read_file(path, 1 << 20, &data, &bytes, &err), HP_OK);
        for (size_t bit = 0; bit < 8 * bytes; bit++) {
            data[bit / 8] ^= (unsigned char)(1u << bit % 8);
            put(path, data, bytes);
            data[bit / 8] ^= (unsigned char)(1u << bit % 8);
            if (open_error("last", note, &err) != HP_CORRUPT)
                fail_msg("%s: bit %zu is not missed", small_file[f], bit);
            assert_non_null(strstr(note, "step 5 is passed over"));
        }
        put(path, data, bytes);
        assert_int_equal(open_error("last", note, &err), HP_OK);
        hp_free(data);
    }
    hp_params_release(&params);
}

static void test_truncated(void **state) {
    (void)state;
    hp_params_t params = made_table(3);
    hp_error_t err;
    char note[HP_CHECKPOINT_NOTE], path[512];
    write_step(&params, 5, 2);
    for (size_t f = 0; f < 3; f++) {
        unsigned char *data = NULL;
        size_t bytes = 0;
        path_of(path, 5, small_file[f]);
        assert_int_equal(hp_read_file(path, 1 << 20, &data, &bytes, &err), HP_OK);
        for (size_t n = 0; n < bytes; n++) {
            put(path, data, n);
            assert_int_equal(open_error("last", note, &err), HP_CORRUPT);
            assert_int_equal(open_error("5", note, &err), HP_CORRUPT); /* sizes alone tell */
        }
        put(path, data, bytes);
        FILE *more = fopen(path, "ab");
        fputc(0, more);
        fclose(more);
        assert_int_equal(open_error("5", note, &err), HP_CORRUPT);
        assert_int_equal(unlink(path), 0);
        assert_int_not_equal(open_error("5", note, &err), HP_OK);
        assert_int_not_equal(open_error("last", note, &err), HP_OK);
        put(path, data, bytes);
        assert_int_equal(open_error("last", note, &err), HP_OK);
        hp_free(data);
    }
    hp_params_release(&params);
}

static void test_fall_back(void **state) {
    (void)state;
    hp_params_t params = made_table(6);
    hp_error_t err;
    char note[HP_CHECKPOINT_NOTE], path[512];
    for (int64_t step = 10; step <= 40; step += 10) write_step(&params, step, 2);
    path_of(path, 40, "manifest.pb");
    assert_int_equal(unlink(path), 0);
    path_of(path, 30, "shard-0001-of-0002.bin");
    unsigned char *data = NULL;
    size_t bytes = 0;
    assert_int_equal(hp_read_file(path, 1 << 20, &data, &bytes, &err), HP_OK);
    data[bytes - 1] ^= 1;
    put(path, data, bytes);
    hp_free(data);
    hp_checkpoint_t *c = NULL;
    assert_int_equal(hp_checkpoint_open(run, "last", &c, note, &err), HP_OK);
    assert_int_equal(hp_checkpoint_step(c), 20);
    check_whole(c, &params, 20);
    hp_checkpoint_close(c);
    assert_non_null(strstr(note, "step 40 is passed over"));
    assert_non_null(strstr(note, "step 30 is passed over"));
    assert_non_null(strstr(note, "shard-0001-of-0002.bin"));
    assert_null(strchr(note, '\n'));
    assert_int_equal(hp_checkpoint_open(run, "30", &c, note, &err), HP_OK); /* not read yet */
    assert_int_equal(hp_checkpoint_verify(c, &err), HP_CORRUPT);
    hp_checkpoint_close(c);
    hp_params_release(&params);
}

static void test_interrupted(void **state) {
    (void)state;
    hp_params_t params = made_table(6);
    hp_error_t err;
    hp_shard_record_t record[4];
    char note[HP_CHECKPOINT_NOTE], path[512], old[520];
    write_step(&params, 10, 2);
    assert_int_equal(write_shards(&params, 20, 3, record, &err), HP_OK); /* killed here */
    assert_int_equal(open_error("20", note, &err), HP_INPUT);
    assert_int_equal(open_error("last", note, &err), HP_OK);
    assert_string_equal(note, "");
    assert_int_equal(hp_checkpoint_clean(run, &err), HP_OK);
    path_of(path, 20, "");
    strcat(path, ".tmp");
    assert_int_not_equal(access(path, F_OK), 0);
    /* killed while one was replaced: its predecessor is back */
    path_of(path, 10, "");
    snprintf(old, sizeof old, "%s.old", path);
    assert_int_equal(rename(path, old), 0);
    assert_int_equal(write_shards(&params, 10, 2, record, &err), HP_OK);
    assert_int_equal(hp_checkpoint_clean(run, &err), HP_OK);
    assert_int_equal(open_error("last", note, &err), HP_OK);
    assert_int_not_equal(access(old, F_OK), 0);
    /* killed while one was removed: its manifest went first */
    write_step(&params, 30, 2);
    path_of(path, 30, "manifest.pb");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(hp_checkpoint_clean(run, &err), HP_OK);
    assert_false(there(30, ""));
    assert_true(there(10, "manifest.pb"));
    hp_params_release(&params);
}

static void test_replace(void **state) {
    (void)state;
    hp_params_t params = made_table(6);
    hp_error_t err = {0};
    hp_shard_record_t record[4];
    write_step(&params, 10, 3);
    write_step(&params, 10, 2); /* again, and on another number of servers */
    assert_false(there(10, "shard-0000-of-0003.bin"));
    hp_checkpoint_t *c = NULL;
    assert_int_equal(hp_checkpoint_open(run, "last", &c, NULL, &err), HP_OK);
    check_whole(c, &params, 10);
    hp_checkpoint_close(c);
    assert_int_equal(write_shards(&params, 10, 3, record, &err), HP_OK);
    hp_checkpoint_discard(run, 10);
    assert_int_equal(hp_checkpoint_open(run, "last", &c, NULL, &err), HP_OK);
    assert_int_equal(hp_checkpoint_shards(c), 2);
    hp_checkpoint_close(c);
    hp_params_release(&params);
}

static void test_keep(void **state) {
    (void)state;
    hp_params_t params = made_table(3);
    hp_error_t err;
    for (int64_t step = 1; step <= 6; step++) {
        assert_int_equal(write_keeping(&params, step, 1, 2, &err), HP_OK);
        if (step == 2) assert_int_equal(hp_checkpoint_mark_best(run, 2, &err), HP_OK);
    }
    int count;
    int64_t *steps, best;
    assert_int_equal(hp_checkpoint_list(run, &count, &steps, &best, &err), HP_OK);
    assert_true(count == 3 && steps[0] == 2 && steps[1] == 5 && steps[2] == 6 && best == 2);
    hp_free(steps);
    hp_checkpoint_t *c = NULL;
    assert_int_equal(hp_checkpoint_open(run, "best", &c, NULL, &err), HP_OK);
    assert_int_equal(hp_checkpoint_step(c), 2);
    hp_checkpoint_close(c);
    hp_params_release(&params);
}

/* What servers report must be there, and be the whole block once. */
static void test_refused(void **state) {
    (void)state;
    hp_params_t params = made_table(6), longer = made_table(7);
    hp_error_t err;
    hp_shard_record_t record[4], other[4];
    hp_position_t position = {.step = 10};
    assert_int_equal(write_shards(&params, 10, 2, record, &err), HP_OK);
    memcpy(other, record, sizeof other);
    other[1].hash[3] ^= 1;
    assert_int_equal(hp_checkpoint_commit(run, &params, &position, "", 2, other, 3, -1, &err),
                     HP_CORRUPT);
    memcpy(other, record, sizeof other);
    other[1].bytes++;
    assert_int_equal(hp_checkpoint_commit(run, &params, &position, "", 2, other, 3, -1, &err),
                     HP_CORRUPT);
    assert_int_equal(hp_checkpoint_commit(run, &longer, &position, "", 2, record, 3, -1, &err),
                     HP_CORRUPT);
    memcpy(other, record, sizeof other);
    other[0] = record[1];
    assert_int_equal(hp_checkpoint_commit(run, &params, &position, "", 2, other, 3, -1, &err),
                     HP_INTERNAL);
    position.step = 11; /* the folder is not there */
    assert_int_equal(hp_checkpoint_commit(run, &params, &position, "", 2, record, 3, -1, &err),
                     HP_IO);
    assert_false(there(10, "") || there(11, ""));
    position.step = 10;
    assert_int_equal(hp_checkpoint_commit(run, &params, &position, NULL, 2, record, 3, -1, &err),
                     HP_OK);
    hp_params_release(&params);
    hp_params_release(&longer);
}

/* A file may grow to `limit` bytes only: every write fails at some point. */
static void test_file_limit(void **state) {
    (void)state;
    hp_params_t params = made_table(6);
    hp_error_t err;
    char note[HP_CHECKPOINT_NOTE];
    struct rlimit saved, limit;
    write_step(&params, 10, 2);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    signal(SIGXFSZ, SIG_IGN);
    int failed = 0;
    for (rlim_t bytes = 0; bytes < 4000; bytes += 61) {
        limit = (struct rlimit){bytes, saved.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        hp_status_t status = write_keeping(&params, 20, 2, 100, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
        if (status == HP_OK) {
            assert_int_equal(open_error("20", note, &err), HP_OK);
            char command[400];
            snprintf(command, sizeof command, "rm -r %s/checkpoints/step-00000020", run);
            assert_int_equal(system(command), 0);
            continue;
        }
        failed++;
        assert_int_equal(status, HP_IO);
        assert_non_null(strstr(err.text, "File too large"));
        assert_false(there(20, ""));
        assert_int_equal(open_error("last", note, &err), HP_OK);
        assert_string_equal(note, "");
        hp_checkpoint_discard(run, 20);
    }
    signal(SIGXFSZ, SIG_DFL);
    assert_true(failed > 10);
    hp_params_release(&params);
}

/* A file system of 64 KiB that is filled. */
static void test_disk_full(void **state) {
    (void)state;
    char root[300];
    snprintf(root, sizeof root, "%s/checkpoints", run);
    assert_int_equal(mkdir(root, 0777), 0);
    if (mount("none", root, "tmpfs", 0, "size=64k") != 0) {
        print_message("no tmpfs: %s\n", strerror(errno));
        skip();
    }
    hp_params_t params = made_table(12);
    hp_error_t err;
    char note[HP_CHECKPOINT_NOTE];
    int64_t step = 1;
    hp_status_t status = HP_OK;
    while (step < 100 && status == HP_OK) status = write_keeping(&params, step++, 2, 100, &err);
    int64_t failed = step - 1;
    assert_int_equal(status, HP_IO);
    assert_non_null(strstr(err.text, "No space left"));
    assert_false(there(failed, ""));
    hp_checkpoint_discard(run, failed);
    hp_checkpoint_t *c = NULL;
    assert_int_equal(hp_checkpoint_open(run, "last", &c, note, &err), HP_OK);
    assert_string_equal(note, "");
    assert_int_equal(hp_checkpoint_step(c), failed - 1);
    check_whole(c, &params, failed - 1);
    hp_checkpoint_close(c);
    assert_int_equal(mount("none", root, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_int_equal(write_keeping(&params, failed, 2, 100, &err), HP_IO);
    assert_non_null(strstr(err.text, "Read-only"));
    assert_int_equal(open_error("last", note, &err), HP_OK);
    assert_int_equal(umount(root), 0);
    hp_params_release(&params);
}

/* Mutated manifests whose hash is right: no crash, and no read beyond what is there. */
static void test_fuzz(void **state) {
    (void)state;
    hp_params_t params = made_table(4);
    hp_error_t err;
    char path[512], note[HP_CHECKPOINT_NOTE];
    write_step(&params, 5, 2);
    path_of(path, 5, "manifest.pb");
    unsigned char *data = NULL;
    size_t bytes = 0;
    assert_int_equal(hp_read_file(path, 1 << 20, &data, &bytes, &err), HP_OK);
    Hanps__CheckpointFile *file = hanps__checkpoint_file__unpack(NULL, bytes, data);
    assert_non_null(file);
    size_t inner = file->manifest.len;
    uint8_t *original = hp_calloc(inner, 1), *out = hp_calloc(bytes + 64, 1);
    memcpy(original, file->manifest.data, inner);
    hp_random_t r = hp_random(11, HP_RANDOM_TEST, 0, 0);
    int opened = 0;
    for (int k = 0; k < 20000; k++) {
        memcpy(file->manifest.data, original, inner);
        for (uint64_t n = 1 + hp_random_below(&r, 3); n > 0; n--) {
            uint8_t *byte = &file->manifest.data[hp_random_below(&r, inner)];
            *byte = hp_random_below(&r, 2) ? (uint8_t)hp_random_u32(&r)
                                           : (uint8_t)(*byte ^ (1u << hp_random_below(&r, 8)));
        }
        hp_digest(file->manifest.data, inner, file->digest.data);
        put(path, out, hanps__checkpoint_file__pack(file, out));
        hp_checkpoint_t *c = NULL;
        if (hp_checkpoint_open(run, "5", &c, note, &err) != HP_OK) continue;
        opened++;
        float *w = hp_calloc((size_t)hp_checkpoint_params(c)->total, sizeof *w);
        assert_non_null(w);
        hp_status_t read =
            hp_checkpoint_read(c, 0, hp_checkpoint_params(c)->total, w, NULL, NULL, &err);
        hp_status_t verified = hp_checkpoint_verify(c, &err);
        (void)read;
        (void)verified;
        hp_free(w);
        hp_checkpoint_close(c);
    }
    assert_true(opened > 0);
    hanps__checkpoint_file__free_unpacked(file, NULL);
    hp_free(original);
    hp_free(out);
    hp_free(data);
    hp_params_release(&params);
}

int main(void) {
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_round_trip), CASE(test_names),       CASE(test_flipped_bit), CASE(test_truncated),
        CASE(test_fall_back),  CASE(test_interrupted), CASE(test_replace),     CASE(test_keep),
        CASE(test_refused),    CASE(test_file_limit),  CASE(test_disk_full),   CASE(test_fuzz),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
