/* The configuration: every kind of error with its place, --set, extends, round trip, mutated files.
 */
#include "common/config.h"
#include "common/config_keys.h"
#include "common/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct {
    char folder[64], path[96];
} files_t;

static int make_files(void **state) {
    static files_t files;
    snprintf(files.folder, sizeof files.folder, "/tmp/hanps-config-XXXXXX");
    if (mkdtemp(files.folder) == NULL) return 1;
    snprintf(files.path, sizeof files.path, "%s/a.yaml", files.folder);
    *state = &files;
    return 0;
}

static int remove_files(void **state) {
    files_t *files = *state;
    const char *name[] = {"a.yaml", "b.yaml", "c.yaml", "sub/d.yaml", "sub", ""};
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/%s", files->folder, name[i]);
        remove(path);
    }
    return 0;
}

static void put(const files_t *files, const char *name, const char *text, size_t bytes) {
    char path[160];
    snprintf(path, sizeof path, "%s/%s", files->folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    fclose(f);
}

static hp_status_t load(const files_t *files, const char *text, hp_config_t *config,
                        hp_error_t *err) {
    put(files, "a.yaml", text, strlen(text));
    return hp_config_load(config, files->path, err);
}

static void test_table(void **state) {
    (void)state;
    assert_in_range(hp_keys_count, 1, 256); /* reader_t.seen */
    for (int i = 0; i < hp_keys_count; i++) {
        const hp_key_t *key = &hp_keys[i];
        assert_ptr_equal(hp_key_find(key->path), key);
        assert_non_null(strchr(key->path, '.'));
        assert_true(key->doc[strlen(key->doc) - 1] == '.');
        hp_config_t config;
        hp_config_default(&config);
        if (key->type == HP_KEY_LAYERS) continue;
        assert_true(hp_key_parse(key, &config, 1, &key->initial, false) || key->initial[0] == '\0');
        char text[HP_KEY_TEXT];
        hp_key_format(key, &config, 0, text);
        if (key->type != HP_KEY_DOUBLE) assert_string_equal(text, key->initial);
        hp_key_allowed(key, text);
        assert_true(strlen(text) > 5);
    }
}

static void test_defaults(void **state) {
    (void)state;
    hp_config_t c;
    hp_config_default(&c);
    assert_int_equal(c.run.steps, 20000);
    assert_string_equal(c.data.store, "data/vqacp");
    assert_int_equal(c.data.feature_norm, HP_NORM_IMAGE_RMS);
    assert_int_equal(c.model.attention.kind, HP_ATTEND_HAN);
    assert_int_equal(c.model.attention.cells, 16);
    assert_int_equal(c.model.classifier.layers.count, 2);
    assert_int_equal(c.model.classifier.layers.size[0], 1024);
    assert_int_equal(c.model.classifier.layers.size[1], 2048);
    assert_true(c.optimizer.lr == 1e-4 && c.optimizer.beta2 == 0.999 && c.optimizer.eps == 1e-8);
    assert_int_equal(c.cluster.consistency, HP_ASYNC);
    assert_int_equal(c.cluster.threads, 0);
    assert_int_equal(c.cluster.slots, 2);
    assert_int_equal(hp_config_check(&c, NULL), HP_OK);
}

static void test_good_files(void **state) {
    hp_config_t c, d;
    hp_config_default(&d);
    assert_int_equal(load(*state, "", &c, NULL), HP_OK);
    assert_memory_equal(&c, &d, sizeof c);
    assert_int_equal(load(*state, "# only a comment\nmodel:\n", &c, NULL), HP_OK);
    assert_memory_equal(&c, &d, sizeof c);
    assert_int_equal(load(*state,
                          "run: {steps: 5}\n"
                          "model:\n  attention: {kind: \"adahan\"}\n"
                          "  classifier: {layers: []}\n"
                          "data: {valid: '', store: a b/c, train: 12}\n"
                          "cluster: {threads: auto, consistency: sync}\n"
                          "optimizer: {lr: 3.5e-3}\n",
                          &c, NULL),
                     HP_OK);
    assert_int_equal(c.run.steps, 5);
    assert_int_equal(c.model.attention.kind, HP_ATTEND_ADAHAN);
    assert_int_equal(c.model.classifier.layers.count, 0);
    assert_string_equal(c.data.valid, "");
    assert_string_equal(c.data.store, "a b/c");
    assert_string_equal(c.data.train, "12");
    assert_int_equal(c.cluster.consistency, HP_SYNC);
    assert_true(c.optimizer.lr == 3.5e-3);
}

static const struct {
    const char *yaml, *want; /* the end of the message, after the file's name */
} wrong[] = {
    {"model:\n  attention:\n    cels: 3\n",
     ":3:5: model.attention.cels: no such key; did you mean model.attention.cells?"},
    {"model: {cells: 3}\n", ":1:9: model.cells: no such key; did you mean model.attention.cells?"},
    {"modl: {attention: {cells: 3}}\n", ":1:1: modl: no such key; did you mean model?"},
    {"model:\n  atention: {cells: 3}\n",
     ":2:3: model.atention: no such key; did you mean model.attention?"},
    {"attention: {cells: 3}\n", ":1:1: attention: no such key; did you mean model.attention?"},
    {"quite_another: 3\n", ":1:1: quite_another: no such key; 'hanps config --keys' lists them"},
    {"model:\n  attention:\n    cells: many\n",
     ":3:12: model.attention.cells: many is not allowed: an integer from 1 to 65536"},
    {"model: {attention: {cells: 0}}\n",
     ":1:28: model.attention.cells: 0 is not allowed: an integer from 1 to 65536"},
    {"model: {attention: {cells: 1.5}}\n",
     ":1:28: model.attention.cells: 1.5 is not allowed: an integer from 1 to 65536"},
    {"model: {attention: {cells: 99999999999999999999}}\n",
     ":1:28: model.attention.cells: 99999999999999999999 is not allowed: an integer from 1 to "
     "65536"},
    {"model: {attention: {cells: \"16\"}}\n",
     ":1:28: model.attention.cells: \"16\" is not allowed: an integer from 1 to 65536"},
    {"model: {attention: {cells: [16]}}\n",
     ":1:28: model.attention.cells: a list is not allowed: an integer from 1 to 65536"},
    {"model: {attention: {cells: {a: 1}}}\n",
     ":1:28: model.attention.cells: a section is not allowed: an integer from 1 to 65536"},
    {"model: {attention: {cells: }}\n",
     ":1:28: model.attention.cells: an empty value is not allowed: an integer from 1 to 65536"},
    {"model: {attention: {kind: hann}}\n",
     ":1:27: model.attention.kind: hann is not allowed: one of all, han, adahan, random, lowest, "
     "image_only"},
    {"cluster: {consistency: }\n",
     ":1:24: cluster.consistency: an empty value is not allowed: one of sync, bounded, async"},
    {"optimizer: {kind: sgd}\n", ":1:19: optimizer.kind: sgd is not allowed: only adam"},
    {"optimizer: {lr: .nan}\n", ":1:17: optimizer.lr: .nan is not allowed: a number from 0 to 10"},
    {"optimizer: {lr: 1e400}\n",
     ":1:17: optimizer.lr: 1e400 is not allowed: a number from 0 to 10"},
    {"optimizer: {lr: 0x1p-3}\n",
     ":1:17: optimizer.lr: 0x1p-3 is not allowed: a number from 0 to 10"},
    {"data: {shuffle: yes}\n", ":1:17: data.shuffle: yes is not allowed: true or false"},
    {"data: {train: }\n",
     ":1:15: data.train: an empty value is not allowed: a text of at most 63 bytes"},
    {"data: {train: 0123456789012345678901234567890123456789012345678901234567890123}\n",
     ":1:15: data.train: 0123456789012345678901234567890123456789012345678901234567890123 is not "
     "allowed: a text of at most 63 bytes"},
    {"cluster: {threads: automatic}\n",
     ":1:20: cluster.threads: automatic is not allowed: an integer from 0 to 1024, or auto"},
    {"model: {classifier: {layers: [8, 0]}}\n",
     ":1:34: model.classifier.layers: 0 is not allowed: a list of at most 8 integers from 1 to "
     "65536"},
    {"model: {classifier: {layers: 8}}\n",
     ":1:30: model.classifier.layers: 8 is not allowed: a list of at most 8 integers from 1 to "
     "65536"},
    {"model: {classifier: {layers: [1, 2, 3, 4, 5, 6, 7, 8, 9]}}\n",
     ":1:55: model.classifier.layers: a longer list is not allowed: a list of at most 8 integers "
     "from 1 to 65536"},
    {"model: 5\n", ":1:8: model: 5 is not allowed: a section of keys"},
    {"model: [a]\n", ":1:8: model: a list is not allowed: a section of keys"},
    {"- a\n", ":1:1: the whole file: a list is not allowed: a section of keys"},
    {"run:\n  seed: 1\n  seed: 2\n", ":3:9: run.seed: given twice"},
    {"run.seed: 1\nrun:\n  seed: 2\n", ":3:9: run.seed: given twice"},
    {"run:\n  seed: 1\nrun:\n  steps: 2\n", ":3:1: run: given twice"},
    {"run:\ndata: {prefetch: 3}\nrun: {}\n", ":3:1: run: given twice"},
    {"model:\n  image: {layers: 1}\n  image: {width: 8}\n", ":3:3: model.image: given twice"},
    {"model: {image: {layers: 1}}\nmodel.image: {width: 8}\n", ":2:1: model.image: given twice"},
    {"? [a]\n: b\n", ":1:3: a key must be a name"},
    {"run: {seed: 1\n", ":2:1: did not find expected ',' or '}'"},
    {"run: *x\n", ":1:6: found undefined alias"},
    {"run: &x\n  seed: *x\n", ":1:6: run.seed: a section is not allowed: an integer from 0 to "
                              "9007199254740992"},
    {"run: {seed: 1}\n---\nrun: {seed: 2}\n", ":3:1: a second document: one is allowed"},
    {"extends: none.yaml\n", ":1:10: extends: "},
    {"extends: a.yaml\n", ":1:10: extends: "},
    {"extends: [b]\n", ":1:10: extends: not allowed: the name of one file"},
    {"data: {train: \"a\\0b\"}\n",
     ":1:15: data.train: a is not allowed: a text of at most 63 bytes"},
    {"\xff\xfe\xff", ": byte "},
    {"a: \x01\n", ": byte "},
};

static void test_wrong_files(void **state) {
    files_t *files = *state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        hp_config_t c;
        memset(&c, 0x5a, sizeof c);
        hp_error_t err = {0};
        assert_int_equal(load(files, wrong[i].yaml, &c, &err), HP_INPUT);
        size_t n = strlen(files->path);
        assert_memory_equal(err.text, files->path, n);
        if (strncmp(err.text + n, wrong[i].want, strlen(wrong[i].want)) != 0)
            assert_string_equal(err.text + n, wrong[i].want);
        assert_null(strchr(err.text, '\n'));
        assert_int_equal(((unsigned char *)&c)[0], 0x5a); /* untouched */
    }
    hp_error_t err;
    hp_config_t c;
    assert_int_equal(hp_config_load(&c, "/nowhere/x.yaml", &err), HP_INPUT);
    assert_string_equal(err.text, "/nowhere/x.yaml: No such file or directory");
    assert_int_equal(hp_config_load(&c, "/tmp", &err), HP_INPUT);
    assert_string_equal(err.text, "/tmp: no regular file");
}

static void test_extends(void **state) {
    files_t *files = *state;
    char folder[96];
    snprintf(folder, sizeof folder, "%s/sub", files->folder);
    mkdir(folder, 0700);
    const char *d = "extends: ../b.yaml\nrun: {seed: 4}\n", *b = "run: {seed: 2, steps: 22}\n";
    put(files, "sub/d.yaml", d, strlen(d));
    put(files, "b.yaml", b, strlen(b));
    hp_config_t c;
    hp_error_t err;
    assert_int_equal(load(files, "run: {max_minutes: 1}\nextends: sub/d.yaml\n", &c, &err), HP_OK);
    assert_int_equal(c.run.seed, 4); /* the nearer file wins, wherever `extends` stands */
    assert_int_equal(c.run.steps, 22);
    assert_true(c.run.max_minutes == 1);
    b = "extends: a.yaml\n";
    put(files, "b.yaml", b, strlen(b));
    assert_int_equal(hp_config_load(&c, files->path, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "sub/../b.yaml:1:10: extends: "));
    assert_non_null(strstr(err.text, "a loop"));
    b = "\nmodel: {x: 1}\n"; /* an error stands in the file it is in */
    put(files, "b.yaml", b, strlen(b));
    assert_int_equal(hp_config_load(&c, files->path, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "/b.yaml:2:9: model.x: no such key"));
}

static void test_set(void **state) {
    (void)state;
    hp_config_t c, before;
    hp_error_t err;
    hp_config_default(&c);
    assert_int_equal(hp_config_set(&c, "model.classifier.layers=[1024, 2048, 7]", &err), HP_OK);
    assert_int_equal(c.model.classifier.layers.count, 3);
    assert_int_equal(c.model.classifier.layers.size[2], 7);
    assert_int_equal(hp_config_set(&c, "model.classifier.layers=[]", &err), HP_OK);
    assert_int_equal(c.model.classifier.layers.count, 0);
    assert_int_equal(hp_config_set(&c, "data.store=/a/b=c d", &err), HP_OK);
    assert_string_equal(c.data.store, "/a/b=c d");
    assert_int_equal(hp_config_set(&c, "data.valid=\"\"", &err), HP_OK);
    assert_string_equal(c.data.valid, "");
    assert_int_equal(hp_config_set(&c, "cluster.sync_shards=auto", &err), HP_OK);
    assert_int_equal(hp_config_set(&c, "model.attention={kind: adahan, cells: 9}", &err), HP_OK);
    assert_int_equal(c.model.attention.cells, 9);
    const struct {
        const char *set, *want;
    } bad[] = {
        {"model.attention.cells=x",
         "--set model.attention.cells: x is not allowed: an integer from 1 to 65536"},
        {"model.attention.cels=1",
         "--set model.attention.cels: no such key; did you mean model.attention.cells?"},
        {"model.attention=1", "--set model.attention: 1 is not allowed: a section of keys"},
        {"run.steps=", "--set run.steps: no value"},
        {"run.steps", "--set run.steps: not allowed: key.path=value"},
        {"=1", "--set =1: not allowed: key.path=value"},
        {"model.classifier.layers=[1", "--set did not find expected ',' or ']'"},
        {"extends=x", "--set extends: no such key; 'hanps config --keys' lists them"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        memcpy(&before, &c, sizeof c);
        assert_int_equal(hp_config_set(&c, bad[i].set, &err), HP_INPUT);
        assert_string_equal(err.text, bad[i].want);
        assert_memory_equal(&before, &c, sizeof c);
    }
    assert_int_equal(hp_config_set(&c, "run.epochs=2", &err), HP_OK);
    assert_int_equal(hp_config_check(&c, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "set run.steps: 0"));
    assert_int_equal(hp_config_set(&c, "run.steps=0", &err), HP_OK);
    assert_int_equal(hp_config_check(&c, &err), HP_OK);
    assert_int_equal(hp_config_set(&c, "run.epochs=0", &err), HP_OK);
    assert_int_equal(hp_config_check(&c, &err), HP_INPUT);
}

/* A random allowed value of the key. */
static void randomise(const hp_key_t *key, hp_config_t *c, hp_random_t *random) {
    char *at = (char *)c + key->offset;
    if (key->choices != NULL) {
        for (;;) {
            char names[128], *save = NULL;
            snprintf(names, sizeof names, "%s", key->choices);
            const char *pick = NULL;
            for (char *p = strtok_r(names, "|", &save); p; p = strtok_r(NULL, "|", &save))
                if (pick == NULL || hp_random_below(random, 3) == 0) pick = p;
            assert_true(hp_key_parse(key, c, 1, &pick, false));
            return;
        }
    }
    double u = hp_random_uniform(random), range = key->max - key->min;
    switch (key->type) {
    case HP_KEY_INT:
        *(int *)at = (int)(key->min + u * u * u * range);
        break;
    case HP_KEY_INT64:
        *(int64_t *)at = (int64_t)(key->min + u * u * u * range);
        break;
    case HP_KEY_DOUBLE:
        *(double *)at = key->min + u * u * u * u * range;
        break;
    case HP_KEY_BOOL:
        *(bool *)at = u < 0.5;
        break;
    case HP_KEY_STRING: {
        static const char *const piece[] = {"a",        " ",  "\n", "\"",   "\\",  "'",
                                            "#",        ": ", "-",  "é",    "\t",  "\xe2\x80\xa8",
                                            "\xc2\x85", "%",  "{",  "\x7f", "null"};
        memset(at, 0, key->size);
        for (size_t n = 0; n + 8 < key->size && hp_random_below(random, 12) != 0;) {
            const char *p = piece[hp_random_below(random, sizeof piece / sizeof *piece)];
            memcpy(at + n, p, strlen(p));
            n += strlen(p);
        }
        break;
    }
    case HP_KEY_LAYERS: {
        hp_layers_t *layers = (hp_layers_t *)at;
        memset(layers, 0, sizeof *layers);
        layers->count = (int)hp_random_below(random, HP_CONFIG_LAYERS + 1);
        for (int i = 0; i < layers->count; i++)
            layers->size[i] = 1 + (int)hp_random_below(random, (uint64_t)key->max);
        break;
    }
    case HP_KEY_CHOICE:
        break;
    }
}

static void test_round_trip(void **state) {
    files_t *files = *state;
    hp_random_t random = hp_random(7, HP_RANDOM_TEST, 1, 0);
    for (int round = 0; round < 200; round++) {
        hp_config_t c, back;
        hp_config_default(&c);
        for (int i = 0; i < hp_keys_count && round > 0; i++) randomise(&hp_keys[i], &c, &random);
        FILE *f = fopen(files->path, "w");
        assert_non_null(f);
        assert_int_equal(hp_config_write(&c, f, NULL), HP_OK);
        fclose(f);
        hp_error_t err = {0};
        hp_status_t status = hp_config_load(&back, files->path, &err);
        assert_string_equal(err.text, "");
        assert_int_equal(status, HP_OK);
        assert_memory_equal(&back, &c, sizeof c);
    }
    FILE *full = fopen("/dev/full", "w");
    if (full == NULL) return;
    hp_config_t c;
    hp_config_default(&c);
    hp_error_t err;
    assert_int_equal(hp_config_write(&c, full, &err), HP_IO);
    fclose(full);
}

static void test_resumable(void **state) {
    (void)state;
    hp_config_t a, b;
    hp_error_t err;
    hp_config_default(&a);
    hp_config_default(&b);
    assert_int_equal(hp_config_resumable(&a, &b, &err), HP_OK);
    b.optimizer.lr = 1;
    b.run.steps = 7;
    b.cluster.servers = 3;
    b.cluster.consistency = HP_SYNC;
    assert_int_equal(hp_config_resumable(&a, &b, &err), HP_OK);
    b.data.batch_size = 64;
    assert_int_equal(hp_config_resumable(&a, &b, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "data.batch_size cannot change"));
    assert_non_null(strstr(err.text, "config --keys"));
}

static void test_document(void **state) {
    (void)state;
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    assert_int_equal(hp_config_document(f, NULL), HP_OK);
    fclose(f);
    for (int i = 0; i < hp_keys_count; i++) assert_non_null(strstr(text, hp_keys[i].path));
    for (char *line = text; *line != '\0'; line += strcspn(line, "\n") + 1)
        assert_in_range(strcspn(line, "\n"), 0, 100);
    free(text);
}

/* Mutated files: never a crash; success, or one line of HP_INPUT. */
static void test_mutated(void **state) {
    files_t *files = *state;
    hp_random_t random = hp_random(8, HP_RANDOM_TEST, 2, 0);
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    hp_config_t c;
    hp_config_default(&c);
    assert_int_equal(hp_config_write(&c, f, NULL), HP_OK);
    fclose(f);
    static const char bytes[] = "{}[]:,&*!|>'\"%@`#?-\n\t \\0a~\x80\xff";
    char *copy = malloc(size + 64);
    int good = 0;
    for (int round = 0; round < 3000; round++) {
        size_t n = size;
        memcpy(copy, text, n);
        for (int change = 1 + (int)hp_random_below(&random, 4); change > 0 && n > 8; change--) {
            size_t at = hp_random_below(&random, (uint32_t)n);
            char byte = bytes[hp_random_below(&random, sizeof bytes)];
            size_t cut = hp_random_below(&random, 16);
            switch (hp_random_below(&random, 4)) {
            case 0:
                copy[at] = byte;
                break;
            case 1:
                memmove(copy + at + 1, copy + at, n - at);
                copy[at] = byte;
                n++;
                break;
            case 2:
                if (at + cut < n) {
                    memmove(copy + at, copy + at + cut, n - at - cut);
                    n -= cut;
                }
                break;
            default:
                if (at > n / 2) n = at;
            }
        }
        put(files, "a.yaml", copy, n);
        hp_error_t err = {0};
        hp_status_t status = hp_config_load(&c, files->path, &err);
        assert_true(status == HP_OK || status == HP_INPUT);
        good += status == HP_OK;
        if (status != HP_OK) assert_true(err.text[0] != '\0' && strchr(err.text, '\n') == NULL);
    }
    assert_in_range(good, 1, 2999);
    free(copy);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),      cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_good_files), cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_extends),    cmocka_unit_test(test_set),
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_resumable),
        cmocka_unit_test(test_document),   cmocka_unit_test(test_mutated),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
