/* The n-th LMDB read, and the n-th allocation, of a store that is opened and read from end to end
 * fails, for every n until none does: the failure is told, and nothing else happens. */
#include "common/store.h"
#include "tests/fault/faults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char folder[] = "/tmp/hanps-reads-XXXXXX", store[64];

static int setup(void **state) {
    (void)state;
    char command[512];
    const char *hanps = getenv("HANPS");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(store, sizeof store, "%s/store", folder);
    snprintf(command, sizeof command,
             "%s data synth sort-of-clevr --out %s --images 4 --valid 1 --test 1 >/dev/null",
             hanps != NULL ? hanps : "build/hanps", store);
    return system(command);
}

static int teardown(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static hp_status_t read_records(hp_store_t *s, hp_store_reader_t *reader, hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(s);
    uint32_t images = 0;
    for (uint64_t q = 0; q < info->questions; q++) {
        hp_question_t question;
        HP_TRY(hp_store_read_question(reader, q, &question, err));
        if (question.image >= images) images = question.image + 1;
    }
    for (uint32_t i = 0; i < images; i++) {
        const void *data = NULL;
        size_t bytes = 0;
        HP_TRY(hp_store_read_image(reader, i, HP_RECORD_FEATURES, &data, &bytes, err));
    }
    return HP_OK;
}

static hp_status_t read_all(hp_error_t *err) {
    hp_store_t *s = NULL;
    hp_store_reader_t *reader = NULL;
    HP_TRY(hp_store_open(store, &s, err));
    hp_status_t status = hp_store_reader_open(s, &reader, err);
    if (status == HP_OK) {
        status = read_records(s, reader, err);
        hp_store_reader_close(reader);
    }
    hp_store_close(s);
    return status;
}

static void fails_at_each(fault_t kind, hp_status_t wanted, int least) {
    for (int n = 1;; n++) {
        hp_error_t err = {0};
        fault_arm(kind, n, false);
        hp_status_t status = read_all(&err);
        if (fault_disarm() == 0) {
            assert_int_equal(status, HP_OK);
            if (n <= least) fail_msg("%s: %d of them", fault_name[kind], n - 1);
            return;
        }
        if (status != wanted || err.text[0] == '\0')
            fail_msg("%s %d: %s '%s'", fault_name[kind], n, hp_status_name(status), err.text);
    }
}

static void test_reads(void **state) {
    (void)state;
    fails_at_each(FAULT_READ, HP_IO, 50);
}

static void test_memory(void **state) {
    (void)state;
    fails_at_each(FAULT_MEMORY, HP_MEMORY, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
