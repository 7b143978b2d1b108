/* The wire header to the byte, and that nothing wrong is let in. */
#include "common/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const hp_message_t sample = {.kind = HP_MSG_COMMIT,
                                    .incarnation = 0x04030201,
                                    .flags = HP_MSG_NONFINITE,
                                    .unit = 0x1817161514131211,
                                    .step = 0x2827262524232221,
                                    .count = 0x34333231,
                                    .value = 0x4847464544434241,
                                    .real = 2.0};

/* What another build must understand. The kinds' numbers are part of it. */
static void test_bytes(void **state) {
    (void)state;
    unsigned char out[HP_COPIED];
    const unsigned char want[56] = {
        0x48, 0x50, 0x4d, 0x53, 2,    0,    0,    0,    0x01, 0x02, 0x03, 0x04, 4,    0,
        0,    0,    0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24,
        0x25, 0x26, 0x27, 0x28, 0x31, 0x32, 0x33, 0x34, 0,    0,    0,    0,    0x41, 0x42,
        0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0,    0,    0,    0,    0,    0,    0,    0x40};
    assert_int_equal(hp_message_pack(&sample, NULL, 0, out), 64);
    assert_int_equal(out[4], HP_MESSAGE_VERSION);
    assert_int_equal(out[6], HP_MSG_COMMIT);
    for (size_t i = 0; i < sizeof want; i++)
        if (i != 4 && i != 6) assert_int_equal(out[i], want[i]);
}

static void test_round_trip(void **state) {
    (void)state;
    unsigned char out[HP_COPIED];
    hp_message_t m;
    for (unsigned kind = 1; kind < HP_MSG_KINDS; kind++)
        assert_true(hp_message_name(kind)[0] != '?');
    assert_string_equal(hp_message_name(HP_MSG_KINDS), "?");
    size_t n = hp_message_pack(&sample, NULL, 0, out);
    assert_int_equal(hp_message_check(out, n, &m, NULL), HP_OK);
    assert_true(m.unit == sample.unit && m.value == sample.value && m.real == 2.0);
    const hp_message_t norms = {.kind = HP_MSG_NORMS};
    unsigned char payload[HP_MESSAGE_PAYLOAD];
    memset(payload, 7, sizeof payload);
    n = hp_message_pack(&norms, payload, sizeof payload, out);
    assert_int_equal(n, HP_COPIED);
    assert_int_equal(hp_message_check(out, n, &m, NULL), HP_OK);
    assert_int_equal(m.length, sizeof payload);
}

/* Any flipped bit, any other length. */
static void test_damage(void **state) {
    (void)state;
    unsigned char out[HP_COPIED], payload[40] = {1, 2, 3};
    hp_message_t m;
    hp_error_t err;
    const hp_message_t fail = {.kind = HP_MSG_FAIL, .count = HP_IO};
    size_t n = hp_message_pack(&fail, payload, sizeof payload, out);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        out[bit / 8] ^= (unsigned char)(1u << bit % 8);
        assert_int_equal(hp_message_check(out, n, &m, &err), HP_CORRUPT);
        assert_true(err.text[0] != '\0');
        out[bit / 8] ^= (unsigned char)(1u << bit % 8);
    }
    for (size_t length = 0; length < n; length++)
        assert_int_equal(hp_message_check(out, length, &m, &err), HP_CORRUPT);
    assert_int_equal(hp_message_check(out, n, &m, &err), HP_OK);
}

/* Well-formed, and yet not possible. */
static void test_nonsense(void **state) {
    (void)state;
    const struct {
        hp_message_t m;
        size_t payload;
    } wrong[] = {{{.kind = HP_MSG_NONE}, 0},
                 {{.kind = HP_MSG_KINDS}, 0},
                 {{.kind = HP_MSG_OFFER}, 8},
                 {{.kind = HP_MSG_NORMS}, 0},
                 {{.kind = HP_MSG_REFUSED}, 1025},
                 {{.kind = HP_MSG_OFFER, .flags = HP_MSG_FLAGS + 1}, 0},
                 {{.kind = HP_MSG_PULL, .step = -1}, 0},
                 {{.kind = HP_MSG_COMMIT, .real = -1}, 0},
                 {{.kind = HP_MSG_COMMIT, .real = __builtin_nan("")}, 0}};
    unsigned char out[HP_COPIED], payload[2048] = {0};
    hp_message_t m;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        size_t n = hp_message_pack(&wrong[i].m, payload, wrong[i].payload, out);
        assert_int_equal(hp_message_check(out, n, &m, NULL), HP_CORRUPT);
    }
}

/* No two messages that can be under way at once share a tag. */
static void test_tags(void **state) {
    (void)state;
    assert_true(hp_tag_push(255, (1 << HP_TAG_CHUNK_BITS) - 1) <= HP_TAG_MAX);
    assert_true(hp_tag_pull(255, (1 << HP_TAG_CHUNK_BITS) - 1) <= HP_TAG_MAX);
    assert_true(hp_tag_push(0, 0) != hp_tag_pull(0, 0));
    assert_true(hp_tag_push(1, 5) != hp_tag_push(2, 5));
    assert_true(hp_tag_pull(1, 5) != hp_tag_pull(1, 6));
    assert_int_equal(hp_tag_pull(256, 3), hp_tag_pull(0, 3));
    assert_true(hp_tag_push(0, 1) != HP_TAG_CONTROL && hp_tag_pull(0, 1) != HP_TAG_CONTROL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),  cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_damage), cmocka_unit_test(test_nonsense),
        cmocka_unit_test(test_tags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
