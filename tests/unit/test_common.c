/* Status, memory, random numbers and the parameter table. */
#include "common/memory.h"
#include "common/params.h"
#include "common/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_status(void **state) {
    (void)state;
    assert_int_equal(hp_status_exit_code(HP_OK), 0);
    assert_int_equal(hp_status_exit_code(HP_INPUT), 2);
    assert_int_equal(hp_status_exit_code(HP_IO), 3);
    assert_int_equal(hp_status_exit_code(HP_INTERRUPTED), 130);
    for (int i = 0; i < HP_STATUS_COUNT; i++) assert_true(hp_status_text((hp_status_t)i)[0] != '?');
    hp_error_t line;
    assert_int_equal(hp_fail(&line, HP_INPUT, "file '%s': %d", "a\nb\t\x1b[31m\x7f\xc3\xa9", 3),
                     HP_INPUT);
    assert_string_equal(line.text, "file 'a?b??[31m?\xc3\xa9': 3");
    assert_int_equal(hp_fail_prefix(&line, "in\r%s", "x"), HP_INPUT);
    assert_string_equal(line.text, "in?x: file 'a?b??[31m?\xc3\xa9': 3");
    hp_error_t err;
    assert_int_equal(hp_fail(&err, HP_INPUT, "key %d", 7), HP_INPUT);
    assert_int_equal(hp_fail_prefix(&err, "file %s", "a"), HP_INPUT);
    assert_string_equal(err.text, "file a: key 7");
    assert_false(err.told);
    assert_int_equal(hp_fail(NULL, HP_IO, "x"), HP_IO);
}

static void test_arena(void **state) {
    (void)state;
    hp_arena_t arena = {0};
    unsigned char *p[3] = {0};
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 3; i++) p[i] = hp_arena_take(&arena, (size_t)i + 1, 40);
        if (pass == 0) {
            assert_null(p[0]);
            assert_int_equal(hp_arena_commit(&arena, "test", NULL), HP_OK);
        }
    }
    for (int i = 0; i < 3; i++) {
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % HP_ALIGN, 0);
        memset(p[i], i, ((size_t)i + 1) * 40);
    }
    assert_true(p[1] >= p[0] + 40 && p[2] >= p[1] + 80);
    assert_null(hp_arena_take(&arena, 1000, 1));
    hp_arena_release(&arena);
    assert_null(hp_calloc(SIZE_MAX / 2, 3));
    hp_arena_t huge = {0};
    hp_arena_take(&huge, SIZE_MAX / 2, 3);
    assert_int_equal(hp_arena_commit(&huge, "huge", NULL), HP_MEMORY);
}

static void test_random(void **state) {
    (void)state;
    hp_random_t a = hp_random(1, HP_RANDOM_TEST, 2, 3), b = hp_random(1, HP_RANDOM_TEST, 2, 4);
    hp_random_t c = hp_random(1, HP_RANDOM_TEST, 2, 3);
    int same = 0;
    for (int i = 0; i < 1000; i++) {
        uint32_t x = hp_random_u32(&a);
        assert_int_equal(x, hp_random_u32(&c));
        same += x == hp_random_u32(&b);
    }
    assert_in_range(same, 0, 2);
    double mean = 0, square = 0, uniform = 0;
    int n = 100000, count[7] = {0};
    for (int i = 0; i < n; i++) {
        double z = hp_random_normal(&a);
        mean += z / n;
        square += z * z / n;
        double u = hp_random_uniform(&a);
        assert_true(u >= 0 && u < 1);
        uniform += u / n;
        count[hp_random_below(&a, 7)]++;
    }
    assert_true(fabs(mean) < 0.015 && fabs(square - 1) < 0.03 && fabs(uniform - 0.5) < 0.01);
    for (int i = 0; i < 7; i++) assert_in_range(count[i], n / 7 - 600, n / 7 + 600);
    uint32_t v[50], seen = 0;
    for (uint32_t i = 0; i < 50; i++) v[i] = i;
    hp_random_shuffle(&a, v, 50);
    uint64_t set = 0;
    for (uint32_t i = 0; i < 50; i++) {
        set |= (uint64_t)1 << v[i];
        seen += v[i] == i;
    }
    assert_true(set == ((uint64_t)1 << 50) - 1 && seen < 10);
}

/* Known answers of Philox 4x32-10 (Random123's kat_vectors): counter and key all zero. */
static void test_philox(void **state) {
    (void)state;
    hp_random_t r = {.used = 4};
    const uint32_t want[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    for (int i = 0; i < 4; i++) assert_int_equal(hp_random_u32(&r), want[i]);
}

static void test_params(void **state) {
    (void)state;
    hp_params_t t = {0};
    int index = -1;
    int64_t big[] = {7, 5}, one[] = {3}, bad[] = {0};
    assert_int_equal(hp_params_add(&t, "a.weight", 2, big, HP_PARAM_WEIGHT, HP_INIT_NORMAL, 0.1,
                                   true, &index, NULL),
                     HP_OK);
    assert_int_equal(
        hp_params_add(&t, "a.bias", 1, one, HP_PARAM_WEIGHT, HP_INIT_ONE, 0, false, &index, NULL),
        HP_OK);
    assert_int_equal(index, 1);
    assert_int_equal(t.param[1].offset, 48);
    assert_int_equal(t.total, 64);
    assert_int_equal(
        hp_params_add(&t, "a.bias", 1, one, HP_PARAM_WEIGHT, HP_INIT_ONE, 0, false, NULL, NULL),
        HP_INTERNAL);
    assert_int_equal(
        hp_params_add(&t, "b", 1, bad, HP_PARAM_WEIGHT, HP_INIT_ONE, 0, false, NULL, NULL),
        HP_INPUT);
    float whole[64], part[64];
    hp_params_initialise(&t, 9, 0, 64, whole);
    for (int64_t begin = 0; begin < 64; begin += 5)
        for (int64_t end = begin; end <= 64; end += 7) {
            hp_params_initialise(&t, 9, begin, end, part);
            assert_memory_equal(part, whole + begin, (size_t)(end - begin) * sizeof *part);
        }
    assert_true(whole[48] == 1.0f && whole[51] == 0.0f && whole[35] == 0.0f && whole[0] != 0.0f);
    hp_params_initialise(&t, 10, 0, 64, part);
    assert_memory_not_equal(part, whole, sizeof whole);
    assert_int_equal(hp_params_find(&t, "a.bias"), 1);
    assert_int_equal(hp_params_find(&t, "c"), -1);
    assert_int_equal(hp_params_same(&t, &t, NULL), HP_OK);
    hp_params_release(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_status), cmocka_unit_test(test_arena),  cmocka_unit_test(test_random),
        cmocka_unit_test(test_philox), cmocka_unit_test(test_params),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
