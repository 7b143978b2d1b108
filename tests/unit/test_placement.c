/* Servers over hosts: spread, packed, alone. */
#include "common/placement.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 12 };

/* hosts: a letter a rank. The order as digits and letters, or the error. */
static const char *place(hp_placement_t placement, const char *hosts, int servers) {
    static char text[sizeof(hp_error_t)];
    static const char name[][2] = {"a", "b", "c", "d"};
    const char *host[MOST] = {NULL};
    int n = (int)strlen(hosts), order[MOST];
    hp_error_t err;
    for (int r = 0; r < n; r++) host[r] = name[hosts[r] - 'a'];
    if (hp_placement_order(placement, n, host, servers, order, &err) != HP_OK) {
        snprintf(text, sizeof text, "%s", err.text);
        return text;
    }
    for (int r = 0; r < n; r++) text[r] = "0123456789AB"[order[r]];
    text[n] = '\0';
    return text;
}

static void test_one_host(void **state) {
    (void)state;
    assert_string_equal(place(HP_SPREAD, "aaaa", 2), "0123");
    assert_string_equal(place(HP_PACKED, "aaaa", 3), "0123");
    assert_string_equal(place(HP_ALONE, "aaaa", 2),
                        "cluster.placement: alone needs two hosts or more");
}

static void test_spread(void **state) {
    (void)state;
    assert_string_equal(place(HP_SPREAD, "aabbcc", 3),
                        "024135"); /* hosts filled one after another */
    assert_string_equal(place(HP_SPREAD, "aabbcc", 2), "021345");
    assert_string_equal(place(HP_SPREAD, "aabbcc", 4),
                        "024135"); /* the fourth goes to the first host */
    assert_string_equal(place(HP_SPREAD, "abcabc", 3), "012345"); /* dealt by turns */
    assert_string_equal(place(HP_SPREAD, "abbbb", 3), "01234");
    assert_string_equal(place(HP_SPREAD, "baab", 1), "0123");
}

static void test_packed(void **state) {
    (void)state;
    assert_string_equal(place(HP_PACKED, "abcabc", 2), "031245");
    assert_string_equal(place(HP_PACKED, "abcabc", 3), "031245");
    assert_string_equal(place(HP_PACKED, "abcabc", 4), "031425");
    assert_string_equal(place(HP_PACKED, "bbaa", 3), "0123");
}

static void test_alone(void **state) {
    (void)state;
    assert_string_equal(place(HP_ALONE, "abcabc", 2), "031245");
    assert_string_equal(place(HP_ALONE, "aabbbcc", 5), "0123456");
    assert_string_equal(
        place(HP_ALONE, "aabbbcc", 3),
        "cluster.placement: alone: 3 servers do not fill whole hosts; allowed here: 2, 5 servers");
}

static void test_describe(void **state) {
    (void)state;
    const char *host[] = {"a", "b", "a", "b", "c"};
    char text[128], little[12];
    hp_placement_describe(5, host, 2, text, sizeof text);
    assert_string_equal(text, "a: 1 server, 1 worker; b: 1 server, 1 worker; c: 1 worker");
    hp_placement_describe(5, host, 4, text, sizeof text);
    assert_string_equal(text, "a: 2 servers; b: 2 servers; c: 1 worker");
    hp_placement_describe(5, host, 4, little, sizeof little);
    assert_string_equal(little, "a: 2 server");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_host), cmocka_unit_test(test_spread),
        cmocka_unit_test(test_packed),   cmocka_unit_test(test_alone),
        cmocka_unit_test(test_describe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
