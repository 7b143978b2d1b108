/* Who gets which unit: each once, spread evenly, and back again from those who leave. */
#include "ps/units.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static ps_units_t *make(int workers, uint64_t limit, int lead) {
    ps_units_t *u = NULL;
    assert_int_equal(ps_units_create(workers, 0, limit, 0, NULL, lead, &u, NULL), HP_OK);
    return u;
}

static void takes(ps_units_t *u, int worker, uint64_t unit) {
    int w = -1;
    uint64_t got = 0;
    assert_true(ps_units_take(u, &w, &got));
    assert_int_equal(w, worker);
    assert_int_equal(got, unit);
}

static void takes_none(ps_units_t *u) {
    int w;
    uint64_t got;
    assert_false(ps_units_take(u, &w, &got));
}

static void test_spread(void **state) {
    (void)state;
    ps_units_t *u = make(3, 100, -1);
    takes_none(u); /* nobody is here */
    ps_units_room(u, 1, 2);
    takes(u, 1, 0);
    takes_none(u); /* its second waits for the others' first */
    ps_units_room(u, 0, 2);
    takes(u, 0, 1);
    takes_none(u);
    ps_units_room(u, 2, 2);
    takes(u, 2, 2);
    takes(u, 0, 3);
    takes(u, 1, 4);
    takes(u, 2, 5);
    takes_none(u);
    assert_true(ps_units_retire(u, 1, 4));
    assert_false(ps_units_retire(u, 1, 4));
    assert_false(ps_units_retire(u, 0, 2));
    takes(u, 1, 6);
    assert_int_equal(ps_units_retired(u), 1);
    assert_int_equal(ps_units_leased(u), 6);
    assert_int_equal(ps_units_repeated(u), 0);
    ps_units_destroy(u);
}

static void test_lost(void **state) {
    (void)state;
    const uint64_t *out = NULL;
    uint64_t lowest = 0;
    ps_units_t *u = make(2, 6, -1);
    ps_units_room(u, 0, 2);
    ps_units_room(u, 1, 2);
    for (int i = 0; i < 4; i++) takes(u, i % 2, (uint64_t)i);
    assert_true(ps_units_retire(u, 1, 1));
    takes(u, 1, 4);
    assert_false(ps_units_waiting(u, &lowest));
    ps_units_room(u, 0, 0);
    assert_true(ps_units_waiting(u, &lowest));
    assert_int_equal(lowest, 0);
    assert_int_equal(ps_units_outstanding(u, &out), 4);
    assert_true(out[0] == 0 && out[1] == 2 && out[2] == 3 && out[3] == 4);
    assert_true(ps_units_retire(u, 1, 3));
    takes(u, 1, 0);
    assert_int_equal(ps_units_repeated(u), 1);
    assert_true(ps_units_return(u, 1, 4, false));
    takes(u, 1, 2);
    assert_int_equal(ps_units_repeated(u), 2);
    assert_true(ps_units_retire(u, 1, 0));
    assert_true(ps_units_retire(u, 1, 2));
    takes(u, 1, 4);
    assert_int_equal(ps_units_repeated(u), 2); /* nobody had seen anything of 4 */
    assert_true(ps_units_return(u, 1, 4, true));
    assert_int_equal(ps_units_pushed(u), 1);
    takes(u, 1, 4);
    assert_int_equal(ps_units_repeated(u), 3);
    takes(u, 1, 5);
    takes_none(u);
    assert_int_equal(ps_units_pushed(u), 2);
    assert_true(ps_units_whole(u, 3) && !ps_units_whole(u, 4)); /* 4 retired, 2 out */
    assert_false(ps_units_done(u));
    assert_true(ps_units_retire(u, 1, 4));
    assert_true(ps_units_retire(u, 1, 5));
    assert_true(ps_units_done(u));
    assert_int_equal(ps_units_retired(u), 6);
    ps_units_destroy(u);
}

static void test_resumed(void **state) {
    (void)state;
    const uint64_t returned[2] = {3, 7};
    ps_units_t *u = NULL;
    assert_int_equal(ps_units_create(1, 10, 12, 2, returned, -1, &u, NULL), HP_OK);
    ps_units_room(u, 0, 9);
    const uint64_t want[4] = {3, 7, 10, 11};
    for (int i = 0; i < 4; i++) takes(u, 0, want[i]);
    takes_none(u);
    for (int i = 0; i < 4; i++) assert_true(ps_units_retire(u, 0, want[i]));
    assert_true(ps_units_done(u));
    ps_units_destroy(u);
}

static void test_limit(void **state) {
    (void)state;
    ps_units_t *u = make(1, 100, -1);
    ps_units_room(u, 0, 4);
    for (uint64_t i = 0; i < 4; i++) takes(u, 0, i);
    ps_units_limit(u, 2);
    assert_int_equal(ps_units_leased(u), 2);
    assert_int_equal(ps_units_next(u), 2);
    assert_true(ps_units_return(u, 0, 2, false));
    takes_none(u); /* not handed out again */
    assert_true(ps_units_retire(u, 0, 0));
    assert_false(ps_units_done(u));
    assert_true(ps_units_retire(u, 0, 1));
    assert_true(ps_units_done(u));
    ps_units_destroy(u);
}

/* No worker is more than the bound ahead of the slowest that is here. */
static void test_lead(void **state) {
    (void)state;
    ps_units_t *u = make(2, 100, 2);
    int w;
    uint64_t unit, fast = 0;
    ps_units_room(u, 0, 1);
    ps_units_room(u, 1, 1);
    takes(u, 0, 0);
    while (ps_units_take(u, &w, &unit)) {
        assert_int_equal(w, 1);
        assert_true(ps_units_retire(u, 1, unit));
        fast++;
    }
    assert_int_equal(fast, 3); /* may begin while no more than 2 ahead */
    assert_true(ps_units_retire(u, 0, 0));
    assert_true(ps_units_take(u, &w, &unit));
    ps_units_room(u, 0, 0); /* who is gone holds up nobody */
    for (int i = 0; i < 20; i++) {
        assert_true(ps_units_take(u, &w, &unit));
        assert_int_equal(w, 1);
        assert_true(ps_units_retire(u, 1, unit));
    }
    ps_units_destroy(u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spread), cmocka_unit_test(test_lost), cmocka_unit_test(test_resumed),
        cmocka_unit_test(test_limit),  cmocka_unit_test(test_lead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
