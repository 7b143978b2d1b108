/* The fuzzer's main.
 *
 * With libFuzzer (`make fuzz`, HP_LIBFUZZER): the target is HANPS_FUZZ_TARGET, the rest is
 * libFuzzer's own. Without (`make test`): fuzz [--seed S] [--runs N] [TARGET]... mutates the seeds
 * of each target by chance N times, a pure function of the seed. What fails is left in a file that
 * is named, and `fuzz TARGET FILE` runs it again. `fuzz --seeds TARGET FOLDER` writes the seeds. */
#include "tests/fuzz/target.h"

#include "common/clock.h"
#include "common/random.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef HP_LIBFUZZER

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    const char *target = getenv("HANPS_FUZZ_TARGET");
    if (target == NULL || !fuzz_open(target)) {
        fprintf(stderr, "HANPS_FUZZ_TARGET: no such target\n");
        exit(2);
    }
    atexit(fuzz_close);
    if (freopen("/dev/null", "w", stdout) == NULL) exit(3);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    fuzz_one(data, bytes);
    return 0;
}

#else

enum { MOST_BYTES = 1 << 16, MOST_SEEDS = 64 };

typedef struct {
    unsigned char *data;
    size_t bytes;
} input_t;

static input_t seeds[MOST_SEEDS];
static int seed_count;
static unsigned char now[2 * MOST_BYTES];
static size_t now_bytes;
static char failing[256];

/* Before the process ends: what it was given. */
static void keep(int number) {
    int fd = open(failing, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd >= 0 && write(fd, now, now_bytes) == (ssize_t)now_bytes) {
        static const char text[] = "the input is kept in ";
        (void)!write(2, text, sizeof text - 1);
        (void)!write(2, failing, strlen(failing));
        (void)!write(2, "\n", 1);
    }
    signal(number, SIG_DFL);
    raise(number);
}

static bool read_seed(const char *path) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) return false;
    input_t *s = &seeds[seed_count];
    s->data = malloc(MOST_BYTES);
    ssize_t n = s->data != NULL ? read(fd, s->data, MOST_BYTES) : -1;
    close(fd);
    if (n < 0) return false;
    s->bytes = (size_t)n;
    seed_count++;
    return true;
}

static int ascending(const void *a, const void *b) { return strcmp(a, b); }

/* The files of tests/fuzz/KIND/TARGET. */
static bool read_folder(const char *kind, const char *target) {
    char folder[256], name[MOST_SEEDS][256], path[600];
    snprintf(folder, sizeof folder, "tests/fuzz/%s/%s", kind, target);
    while (seed_count > 0) free(seeds[--seed_count].data);
    DIR *dir = opendir(folder);
    int n = 0;
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
        if (e->d_name[0] != '.' && n < MOST_SEEDS)
            snprintf(name[n++], sizeof name[0], "%s", e->d_name);
    if (dir != NULL) closedir(dir);
    qsort(name, (size_t)n, sizeof name[0], ascending);
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%.255s/%.255s", folder, name[i]);
        if (!read_seed(path)) return false;
    }
    return seed_count > 0;
}

static bool read_seeds(const char *target) {
    if (fuzz_made_seed() == NULL) return read_folder("corpus", target);
    while (seed_count > 0) free(seeds[--seed_count].data);
    return read_seed(fuzz_made_seed());
}

/* What was found once, and must be refused. */
static void run_refused(const char *target) {
    if (!read_folder("refused", target)) return;
    for (int i = 0; i < seed_count; i++)
        if (fuzz_one(seeds[i].data, seeds[i].bytes)) {
            fprintf(stderr, "fuzz %s: file %d of tests/fuzz/refused is taken\n", target, i);
            exit(1);
        }
}

static size_t below(hp_random_t *r, size_t n) { return (size_t)hp_random_below(r, n); }

/* Moves what follows `at` by `by` bytes. */
static void insert(size_t at, size_t by) {
    if (now_bytes + by > MOST_BYTES) return;
    memmove(now + at + by, now + at, now_bytes - at);
    now_bytes += by;
}

static void cut(size_t at, size_t by) {
    if (by > now_bytes - at) by = now_bytes - at;
    memmove(now + at, now + at + by, now_bytes - at - by);
    now_bytes -= by;
}

static void change(hp_random_t *r) {
    static const char *const word[] = {
        "-1",   "0",       "1e999",    "null",       "{}", "[]", "\"\"",
        "true", "\\u0000", "\xff\xfe", "4294967296", "..", "/",  "99999999999999999999",
        "%s%n", "\\ud800", "NaN"};
    static const uint64_t number[] = {0,
                                      1,
                                      0x7f,
                                      0xff,
                                      0x7fff,
                                      0xffff,
                                      0x7fffffff,
                                      0xffffffff,
                                      0x7fffffffffffffff,
                                      0xffffffffffffffff,
                                      1 << 20};
    const size_t at = below(r, now_bytes + 1);
    const input_t *other = &seeds[below(r, (size_t)seed_count)];
    switch (below(r, 9)) {
    case 0:
        if (at < now_bytes) now[at] ^= (unsigned char)(1u << below(r, 8));
        return;
    case 1:
        if (at < now_bytes) now[at] = (unsigned char)hp_random_u32(r);
        return;
    case 2:
        cut(at, 1 + below(r, 16));
        return;
    case 3:
        now_bytes = at; /* truncated */
        return;
    case 4: { /* something twice */
        const size_t n = below(r, now_bytes - at + 1), room = n < 4096 ? n : 4096;
        if (now_bytes + room > MOST_BYTES) return;
        insert(at, room);
        memmove(now + at, now + at + room, room);
        return;
    }
    case 5: {
        const char *w = word[below(r, sizeof word / sizeof *word)];
        const size_t n = strlen(w);
        if (now_bytes + n > MOST_BYTES) return;
        insert(at, n);
        memcpy(now + at, w, n);
        return;
    }
    case 6: {
        const uint64_t v = number[below(r, sizeof number / sizeof *number)];
        const size_t n = (size_t)1 << below(r, 4);
        if (at + n <= now_bytes) memcpy(now + at, &v, n);
        return;
    }
    case 7: { /* the rest of another seed */
        const size_t from = below(r, other->bytes + 1), n = other->bytes - from;
        if (at + n > MOST_BYTES) return;
        memcpy(now + at, other->data + from, n);
        now_bytes = at + n;
        return;
    }
    default:
        cut(at, 1 + below(r, 256));
    }
}

static void mutate(hp_random_t *r) {
    const input_t *s = &seeds[below(r, (size_t)seed_count)];
    memcpy(now, s->data, s->bytes);
    now_bytes = s->bytes;
    for (size_t n = 1 + below(r, 4); n > 0; n--) change(r);
}

static void run_target(const char *target, uint64_t seed, uint64_t most) {
    if (!fuzz_open(target) || !read_seeds(target)) {
        fprintf(stderr, "fuzz: no target, or no seeds in tests/fuzz/corpus/%s\n", target);
        exit(2);
    }
    const char *tmp = getenv("TMPDIR");
    snprintf(failing, sizeof failing, "%s/hanps-fuzz-%s", tmp != NULL ? tmp : "/tmp", target);
    const double begin = hp_clock();
    uint64_t runs = 0;
    for (; runs < (uint64_t)seed_count; runs++) { /* the seeds as they are */
        memcpy(now, seeds[runs].data, seeds[runs].bytes);
        now_bytes = seeds[runs].bytes;
        if (!fuzz_one(now, now_bytes)) {
            fprintf(stderr, "fuzz %s: seed %d is not taken\n", target, (int)runs);
            exit(1);
        }
    }
    uint64_t taken = runs;
    for (; runs < most; runs++) {
        hp_random_t r = hp_random(seed, HP_RANDOM_TEST, 0xF022, runs);
        mutate(&r);
        taken += fuzz_one(now, now_bytes);
    }
    run_refused(target);
    fuzz_close();
    fprintf(stderr, "%-14s %8llu runs, %llu taken, in %.1f s\n", target, (unsigned long long)runs,
            (unsigned long long)taken, hp_clock() - begin);
}

/* The seeds as files, for libFuzzer. */
static int write_seeds(const char *target, const char *to) {
    char path[600];
    if (!fuzz_open(target) || !read_seeds(target)) return 2;
    for (int i = 0; i < seed_count; i++) {
        snprintf(path, sizeof path, "%.300s/seed-%d", to, i);
        FILE *out = fopen(path, "wb");
        if (out == NULL || fwrite(seeds[i].data, 1, seeds[i].bytes, out) != seeds[i].bytes ||
            fclose(out) != 0)
            return 3;
    }
    fuzz_close();
    return 0;
}

static void run_file(const char *target, const char *path) {
    seed_count = 0;
    if (!read_seed(path) || !fuzz_open(target)) {
        fprintf(stderr, "fuzz: no target %s, or no file %s\n", target, path);
        exit(2);
    }
    fprintf(stderr, "%s\n", fuzz_one(seeds[0].data, seeds[0].bytes) ? "taken" : "refused");
    fuzz_close();
}

int main(int argc, char **argv) {
    uint64_t seed = 1;
    uint64_t runs = 1000;
    int first = 1;
    for (; first + 1 < argc && argv[first][0] == '-'; first += 2) {
        if (strcmp(argv[first], "--seed") == 0) seed = strtoull(argv[first + 1], NULL, 10);
        if (strcmp(argv[first], "--runs") == 0) runs = strtoull(argv[first + 1], NULL, 10);
    }
    if (freopen("/dev/null", "w", stdout) == NULL) return 3;
    if (argc == 4 && strcmp(argv[1], "--seeds") == 0) return write_seeds(argv[2], argv[3]);
    if (argc - first == 2 && access(argv[first + 1], R_OK) == 0) {
        run_file(argv[first], argv[first + 1]);
        return 0;
    }
    signal(SIGABRT, keep);
    signal(SIGSEGV, keep);
    signal(SIGBUS, keep);
    signal(SIGFPE, keep);
    const char *const *name =
        first < argc ? (const char *const *)(argv + first) : fuzz_target_names;
    int n = 0;
    while (name[n] != NULL) n++;
    for (int i = 0; i < n; i++) run_target(name[i], seed, runs);
    while (seed_count > 0) free(seeds[--seed_count].data);
    return 0;
}

#endif
