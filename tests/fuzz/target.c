#include "tests/fuzz/target.h"

#include "cli/command.h"
#include "common/checkpoint.h"
#include "common/config.h"
#include "common/store.h"
#include "tests/support/made_checkpoint.h"
#include "worker/import/text.h"
#include "worker/vectors.h"

#include <fcntl.h>
#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUESTIONS                                                                                  \
    "[{\"question_id\": 10, \"image_id\": 1, \"question\": \"What colour is it?\"},"               \
    " {\"question_id\": 11, \"image_id\": 1, \"question\": \"Is it big?\"}]"
#define ANSWERS(id, a)                                                                             \
    "{\"question_id\": " id ", \"image_id\": 1, \"question_type\": \"what\", "                     \
    "\"answer_type\": \"other\", \"multiple_choice_answer\": \"" a "\", \"answers\": "             \
    "[{\"answer\": \"" a "\", \"answer_id\": 1}, {\"answer\": \"b\", \"answer_id\": 2}]}"
#define ANNOTATIONS "[" ANSWERS("10", "red") ", " ANSWERS("11", "yes") "]"

/* 2 x 2 pixels, grey. */
static const unsigned char picture[] = {
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44,
    0x52, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x08, 0x00, 0x00, 0x00, 0x00, 0x57,
    0xdd, 0x52, 0xf8, 0x00, 0x00, 0x00, 0x0e, 0x49, 0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0xd0,
    0x08, 0x60, 0xa8, 0x58, 0x00, 0x00, 0x03, 0x9e, 0x01, 0x91, 0xd5, 0x57, 0xf0, 0xf9, 0x00,
    0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82};

enum { ARGUMENTS = 24 };

/* `file` is what the fuzzer writes; `argument` names files within the folder as @name, with or
 * without something before it. */
typedef struct {
    const char *name, *file;
    hp_status_t (*command)(int argc, char **argv, hp_error_t *err); /* NULL: `read` */
    hp_status_t (*read)(hp_error_t *err);
    const char *argument[ARGUMENTS];
} target_t;

static char folder[64];
static const target_t *target;

enum { PATH_BYTES = 400 };

static const char *in_folder(const char *name, char path[PATH_BYTES]) {
    snprintf(path, PATH_BYTES, "%s/%.300s", folder, name);
    return path;
}

static hp_status_t read_config(hp_error_t *err) {
    char path[PATH_BYTES];
    hp_config_t config;
    hp_config_default(&config);
    HP_TRY(hp_config_load(&config, in_folder("config.yaml", path), err));
    return hp_config_check(&config, err);
}

static hp_status_t read_manifest(hp_error_t *err) {
    char path[PATH_BYTES];
    hp_store_t *store = NULL;
    HP_TRY(hp_store_open(in_folder("store", path), &store, err));
    hp_store_close(store);
    return HP_OK;
}

static hp_status_t read_checkpoint(hp_error_t *err) {
    hp_checkpoint_t *checkpoint = NULL;
    char note[HP_CHECKPOINT_NOTE];
    HP_TRY(hp_checkpoint_open(folder, "last", &checkpoint, note, err));
    hp_status_t status = hp_checkpoint_verify(checkpoint, err);
    hp_checkpoint_close(checkpoint);
    return status;
}

static hp_status_t read_vectors(hp_error_t *err) {
    static const char *const words[] = {"what", "colour", "is", "it"};
    char path[PATH_BYTES];
    float rows[4][3] = {{0}};
    wk_vectors_report_t report;
    return wk_vectors_read(in_folder("vectors.txt", path), 4, words, 3, true, rows[0], &report,
                           err);
}

static void fail(const char *what, const hp_error_t *err) {
    fprintf(stderr, "fuzz %s: %s: %s\n", target->name, what, err != NULL ? err->text : "");
    abort();
}

/* The words of the text by every tokeniser: none is empty, and the room is enough. */
static hp_status_t read_words(hp_error_t *err) {
    enum { MOST = 1 << 17, GUARD = 16 };
    static char text[MOST];
    static const char guard[GUARD] = "0123456789abcde";
    char path[PATH_BYTES];
    (void)err;
    FILE *in = fopen(in_folder("words.txt", path), "rb");
    if (in == NULL) abort();
    text[fread(text, 1, sizeof text - 1, in)] = '\0';
    fclose(in);
    for (const wk_tokenizer_t *t = wk_tokenizers(); t->name != NULL; t++) {
        size_t room = wk_tokens_room(t, text);
        char *out = malloc(room + GUARD);
        if (out == NULL) abort();
        memcpy(out + room, guard, GUARD);
        int words = wk_tokenize(t, text, out);
        const char *word = out;
        for (; words > 0; words--, word += strlen(word) + 1)
            if (word >= out + room || *word == '\0') fail(t->name, NULL);
        if (memcmp(out + room, guard, GUARD) != 0) fail("more than the room", NULL);
        free(out);
    }
    return HP_OK;
}

#define VQA       "import", "vqa", "--out", "@store", "--questions", "@q.json"
#define ANSWERED  VQA, "--annotations", "@a.json"
#define FOLDER(p) ANSWERED, "--features", "@features", "--names", p
#define SHOWN     ANSWERED, "--features", "@one.safetensors", "--ids", "@ids.txt"
#define WEIGHTS   "@weights", "--run", "@run", "--set", "data.store=@store"

static const target_t targets[] = {
    {"questions", "q.json", cli_data, NULL, {ANSWERED}},
    {"annotations", "a.json", cli_data, NULL, {ANSWERED}},
    {"npy", "features/1.npy", cli_data, NULL, {FOLDER("%d.npy")}},
    {"npz", "features/1.npz", cli_data, NULL, {FOLDER("%d.npz"), "--features-dataset", "x"}},
    {"boxes",
     "features/1.npz",
     cli_data,
     NULL,
     {FOLDER("%d.npz"), "--features-dataset", "x", "--boxes-dataset", "b", "--image-sizes", "w,h",
      "--layout", "ncellsc"}},
    {"raw",
     "features/1.bin",
     cli_data,
     NULL,
     {FOLDER("%d.bin"), "--shape", "*x4", "--layout", "ncellsc"}},
    {"safetensors", "f.safetensors", cli_data, NULL, {ANSWERED, "--features", "@f.safetensors"}},
    {"tensors",
     "f.safetensors",
     cli_data,
     NULL,
     {ANSWERED, "--features", "@f.safetensors", "--layout", "ragged", "--boxes-dataset", "b",
      "--image-sizes", "w,h"}},
    {"hdf5", "f.h5", cli_data, NULL, {ANSWERED, "--features", "@f.h5"}},
    {"ragged", "f.h5", cli_data, NULL, {ANSWERED, "--features", "@f.h5", "--layout", "ragged"}},
    {"csr",
     "f.h5",
     cli_data,
     NULL,
     {ANSWERED, "--features", "@f.h5", "--features-dataset", "/", "--shape", "1x2x2", "--layout",
      "nchw", "--ids-dataset", ""}},
    {"tsv", "f.tsv", cli_data, NULL, {ANSWERED, "--features", "@f.tsv"}},
    {"ids", "ids.txt", cli_data, NULL, {SHOWN}},
    {"jsonl", "q.jsonl", cli_data, NULL, {"import", "jsonl", "@q.jsonl", "--out", "@store"}},
    {"pictures",
     "q.jsonl",
     cli_data,
     NULL,
     {"import", "jsonl", "@q.jsonl", "--out", "@store", "--pixels", "@images/train",
      "--pixel-names", "%s.png", "--size", "4x4"}},
    {"images",
     "images.txt",
     cli_data,
     NULL,
     {"subset", "@whole", "--out", "@store", "--images", "@images.txt"}},
    {"import_weights", "weights", cli_import_weights, NULL, {WEIGHTS, "--config", "@config.yaml"}},
    {"description", "weights.json", cli_import_weights, NULL, {WEIGHTS}},
    {"vectors", "vectors.txt", NULL, read_vectors, {NULL}},
    {"words", "words.txt", NULL, read_words, {NULL}},
    {"png",
     "pixels/1.png",
     cli_data,
     NULL,
     {ANSWERED, "--pixels", "@pixels", "--pixel-names", "%d.png", "--size", "4x4"}},
    {"jpeg",
     "pixels/1.jpg",
     cli_data,
     NULL,
     {ANSWERED, "--pixels", "@pixels", "--pixel-names", "%d.jpg", "--size", "4x4"}},
    {"clevr",
     "questions/CLEVR_train_questions.json",
     cli_data,
     NULL,
     {"import", "clevr", "@", "--out", "@store", "--size", "4x4"}},
    {"clevrfeatures",
     "questions/CLEVR_train_questions.json",
     cli_data,
     NULL,
     {"import", "clevr", "@", "--out", "@store", "--features", "@one.safetensors", "--ids-dataset",
      ""}},
    {"nlvr",
     "train/train.json",
     cli_data,
     NULL,
     {"import", "nlvr", "@", "--out", "@store", "--size", "4x4", "--valid-directories", "0"}},
    {"results", "r.json", cli_score, NULL, {"@r.json", "--annotations", "@a.json"}},
    {"config", "config.yaml", NULL, read_config, {NULL}},
    {"store", "store/manifest.pb", NULL, read_manifest, {NULL}},
    {"checkpoint", "checkpoints/step-00000002/manifest.pb", NULL, read_checkpoint, {NULL}},
};
enum { TARGETS = sizeof targets / sizeof *targets };

const char *const fuzz_target_names[TARGETS + 1] = {"questions",
                                                    "annotations",
                                                    "npy",
                                                    "npz",
                                                    "boxes",
                                                    "raw",
                                                    "safetensors",
                                                    "tensors",
                                                    "hdf5",
                                                    "ragged",
                                                    "csr",
                                                    "tsv",
                                                    "ids",
                                                    "jsonl",
                                                    "pictures",
                                                    "images",
                                                    "import_weights",
                                                    "description",
                                                    "vectors",
                                                    "words",
                                                    "png",
                                                    "jpeg",
                                                    "clevr",
                                                    "clevrfeatures",
                                                    "nlvr",
                                                    "results",
                                                    "config",
                                                    "store",
                                                    "checkpoint",
                                                    NULL};

static void write_bytes(const char *name, const void *data, size_t bytes) {
    char path[PATH_BYTES];
    int fd = open(in_folder(name, path), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes) abort();
    close(fd);
}

static void write_text(const char *name, const char *text) {
    write_bytes(name, text, strlen(text));
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

static void remove_all(const char *name) {
    char path[PATH_BYTES];
    nftw(in_folder(name, path), remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static hp_status_t run_command(const target_t *t, hp_error_t *err) {
    static char name[] = "fuzz";
    char path[ARGUMENTS][PATH_BYTES], *argv[ARGUMENTS + 1] = {name};
    int argc = 1;
    for (const char *const *a = t->argument; *a != NULL; a++, argc++) {
        const char *at = strchr(*a, '@');
        if (at != NULL)
            snprintf(path[argc], PATH_BYTES, "%.*s%s/%s", (int)(at - *a), *a, folder, at + 1);
        else
            snprintf(path[argc], PATH_BYTES, "%s", *a);
        argv[argc] = path[argc];
    }
    argv[argc] = NULL;
    optind = 0; /* getopt_long begins anew */
    return t->command(argc, argv, err);
}

/* Of questions without images: q.json and a.json as they are. */
static bool make_store(void) {
    static const target_t import = {.command = cli_data, .argument = {ANSWERED}};
    hp_error_t err;
    return run_command(&import, &err) == HP_OK;
}

/* The same with an image, whose id is in ids.txt. */
static bool make_shown_store(void) {
    static const target_t import = {.command = cli_data, .argument = {SHOWN}};
    hp_error_t err;
    write_text("ids.txt", "1\n");
    return run_command(&import, &err) == HP_OK;
}

static bool make_whole(void) {
    char from[PATH_BYTES], to[PATH_BYTES];
    return make_shown_store() && rename(in_folder("store", from), in_folder("whole", to)) == 0;
}

/* What a file of weights needs beside it, and the description of one: the file. */
static bool make_model(void) {
    static unsigned char data[1 << 16];
    write_text("config.yaml",
               "data: {train: train, valid: train, batch_size: 2}\n"
               "model: {question: {embedding: 1, lstm: 2}, image: {layers: 1, width: 2},"
               " attention: {kind: han, cells: 1}, classifier: {layers: [2]}}\n");
    FILE *in = fopen("tests/fuzz/corpus/import_weights/plain.safetensors", "rb");
    if (in == NULL) return false;
    size_t n = fread(data, 1, sizeof data, in);
    fclose(in);
    write_bytes("weights", data, n);
    return make_shown_store();
}

static bool make_a_checkpoint(void) {
    hp_params_t params = made_table(6);
    const made_t made = {folder, &params, 2, 2, 1, -1};
    hp_error_t err;
    hp_status_t status = make_checkpoint(&made, 9, &err);
    hp_params_release(&params);
    return status == HP_OK;
}

const char *fuzz_made_seed(void) {
    static const char *const made[] = {"store", "checkpoint"};
    static char path[PATH_BYTES];
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        if (strcmp(target->name, made[i]) == 0) return in_folder(target->file, path);
    return NULL;
}

bool fuzz_open(const char *name) {
    static const char *const folders[] = {
        "features", "pixels",       "questions",      "images",      "images/train",
        "train",    "train/images", "train/images/1", "checkpoints", "checkpoints/step-00000002"};
    char path[PATH_BYTES];
    target = NULL;
    for (int i = 0; i < TARGETS; i++)
        if (strcmp(targets[i].name, name) == 0) target = &targets[i];
    snprintf(folder, sizeof folder, "%s/hanps-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (target == NULL || mkdtemp(folder) == NULL) return false;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (mkdir(in_folder(folders[i], path), 0777) != 0) return false;
    write_text("q.json", QUESTIONS);
    write_text("a.json", ANNOTATIONS);
    write_bytes("images/train/a.png", picture, sizeof picture);
    for (int i = 0; i < 4; i++) {
        char name_of[64];
        snprintf(name_of, sizeof name_of, "train/images/1/train-1-%d-0.png", i);
        write_bytes(name_of, picture, sizeof picture);
    }
    static const char one[] = "\x48\0\0\0\0\0\0\0{\"features\":{\"dtype\":\"F32\",\"shape\":[1,1,1,"
                              "2],\"data_offsets\":[0,8]}}     "
                              "\0\0\x80\x3f\0\0\0";
    write_bytes("one.safetensors", one, sizeof one);
    if (strcmp(name, "store") == 0) return make_store();
    if (strcmp(name, "images") == 0) return make_whole();
    if (target->command == cli_import_weights) return make_model();
    if (strcmp(name, "checkpoint") == 0) return make_a_checkpoint();
    return true;
}

static void check_store(hp_status_t status, const hp_error_t *err) {
    char path[PATH_BYTES];
    hp_store_t *store = NULL;
    hp_error_t opening = {.text = ""};
    hp_status_t opened = hp_store_open(in_folder("store", path), &store, &opening);
    if (opened == HP_OK) hp_store_close(store);
    if (status == HP_OK && opened != HP_OK) fail("the store does not open", &opening);
    if (status != HP_OK && opened == HP_OK) fail("a store that looks whole was left", err);
    remove_all("store");
    remove_all("store.partial");
}

static void check_run(hp_status_t status, const hp_error_t *err) {
    char path[PATH_BYTES], note[HP_CHECKPOINT_NOTE];
    hp_checkpoint_t *checkpoint = NULL;
    hp_error_t opening = {.text = ""};
    in_folder("run", path);
    if (status != HP_OK && access(path, F_OK) == 0) fail("a run was left", err);
    if (status != HP_OK) return;
    if (hp_checkpoint_open(path, "last", &checkpoint, note, &opening) != HP_OK)
        fail("the run has no checkpoint", &opening);
    hp_checkpoint_close(checkpoint);
    remove_all("run");
}

bool fuzz_one(const unsigned char *data, size_t bytes) {
    hp_error_t err = {.text = ""};
    write_bytes(target->file, data, bytes);
    hp_status_t status = target->command != NULL ? run_command(target, &err) : target->read(&err);
    if (status != HP_OK) {
        if (hp_status_exit_code(status) != 2) fail("not the exit status of bad input", &err);
        if (err.text[0] == '\0') fail("no word on what is wrong", NULL);
        for (const char *c = err.text; *c != '\0'; c++)
            if ((unsigned char)*c < ' ' || *c == 0x7f) fail("more than a line of text", &err);
        if (getenv("HANPS_TEST_VERBOSE") != NULL)
            fprintf(stderr, "fuzz %s: %s\n", target->name, err.text);
    }
    if (target->command == cli_data) check_store(status, &err);
    if (target->command == cli_import_weights) check_run(status, &err);
    return status == HP_OK;
}

void fuzz_close(void) { remove_all("."); }
