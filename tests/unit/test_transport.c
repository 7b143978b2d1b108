/* The transport's test body over the loopback, plain and misbehaving, and what only a loopback
 * does: closing with messages under way, stopping and holding a rank, losing a message, repeating.
 */
#include "common/memory.h"
#include "common/transport_chaos.h"
#include "tests/support/transport_body.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 8 };

typedef struct {
    hp_transport_t *t;
    bool sleeps;
} role_t;

static void *play(void *argument) {
    role_t *role = argument;
    transport_body(role->t, role->sleeps);
    hp_transport_close(role->t, true);
    return NULL;
}

static void run_body(int n, const hp_chaos_t *chaos, bool sleeps) {
    hp_transport_t *end[MOST];
    pthread_t thread[MOST];
    role_t role[MOST];
    hp_error_t err;
    if (chaos != NULL)
        assert_int_equal(hp_transport_loopback_chaos(n, chaos, end, &err), HP_OK);
    else
        assert_int_equal(hp_transport_loopback(n, end, &err), HP_OK);
    for (int i = 0; i < n; i++) {
        role[i] = (role_t){end[i], sleeps};
        assert_int_equal(pthread_create(&thread[i], NULL, play, &role[i]), 0);
    }
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
}

static void test_body(void **state) {
    (void)state;
    for (int n = 1; n <= 5; n++) run_body(n, NULL, n == 2);
}

static void test_body_chaos(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        hp_chaos_t chaos = {
            .seed = seed, .delay = (int)seed * 3, .delay_share = 0.5, .copy_share = 0.5};
        run_body(1 + (int)seed % 4, &chaos, false);
    }
}

typedef struct {
    int calls;
    hp_status_t status;
} seen_t;

static void see(void *context, const hp_completion_t *c) {
    seen_t *seen = context;
    seen->calls++;
    seen->status = c->status;
}

static hp_status_t send(hp_transport_t *t, int to, uint32_t tag, const void *data, size_t bytes,
                        seen_t *seen) {
    return hp_transport_send(t, to, tag, data, bytes, seen ? see : NULL, seen, NULL);
}

static void receive(hp_transport_t *t, int from, uint32_t tag, void *data, size_t bytes,
                    seen_t *seen) {
    assert_int_equal(hp_transport_receive(t, from, tag, data, bytes, see, seen, NULL, NULL), HP_OK);
}

static void turn(hp_transport_t **end, int n, int times) {
    for (int k = 0; k < times; k++)
        for (int i = 0; i < n; i++) hp_transport_progress(end[i]);
}

static void test_close(void **state) {
    (void)state;
    hp_transport_t *end[3];
    char *out = hp_calloc(1, 10000), in[10000];
    memset(out, 5, 10000);
    assert_int_equal(hp_transport_loopback(3, end, NULL), HP_OK);
    seen_t to_closed = {0}, too_late = {0}, from_closed = {0}, copied = {0}, unmatched = {0};
    /* sends that the receiver has and has not seen when it closes */
    assert_int_equal(send(end[0], 1, 1, out, 10000, &to_closed), HP_OK);
    hp_transport_progress(end[1]);
    assert_int_equal(send(end[0], 1, 2, out, 10000, &to_closed), HP_OK);
    /* a receive of its own, a message of its own that nobody received, and a copied one */
    receive(end[1], 0, 7, in, sizeof in, &unmatched);
    assert_int_equal(send(end[1], 2, 3, out, 10000, &from_closed), HP_OK);
    assert_int_equal(send(end[1], 2, 4, out, 100, NULL), HP_OK);
    hp_transport_progress(end[2]);
    hp_transport_close(end[1], true);
    hp_free(out); /* the endpoint is closed: its buffers may go */
    assert_int_equal(send(end[0], 1, 5, in, 1, &too_late), HP_OK);
    seen_t got = {0};
    receive(end[2], 1, 3, in, sizeof in, &got);
    receive(end[2], 1, 4, in, sizeof in, &copied);
    hp_transport_t *left[2] = {end[0], end[2]};
    turn(left, 2, 3);
    assert_int_equal(to_closed.calls, 2);
    assert_int_equal(to_closed.status, HP_PEER);
    assert_int_equal(too_late.calls, 1);
    assert_int_equal(too_late.status, HP_PEER);
    assert_int_equal(from_closed.calls + unmatched.calls + got.calls, 0);
    assert_int_equal(copied.calls, 1); /* what was copied still arrives */
    assert_int_equal(in[99], 5);
    hp_transport_close(end[0], false);
    hp_transport_close(end[2], true);
}

/* A sender closes while the receiver is about to copy from its buffer, many times. */
static void *close_now(void *argument) {
    hp_transport_close(argument, true);
    return NULL;
}

static void test_close_race(void **state) {
    (void)state;
    for (int k = 0; k < 200; k++) {
        hp_transport_t *end[2];
        pthread_t thread;
        char *out = hp_calloc(1, 100000), *in = hp_calloc(1, 100000);
        assert_int_equal(hp_transport_loopback(2, end, NULL), HP_OK);
        seen_t sent = {0}, got = {0};
        assert_int_equal(send(end[0], 1, 1, out, 100000, &sent), HP_OK);
        receive(end[1], 0, 1, in, 100000, &got);
        assert_int_equal(pthread_create(&thread, NULL, close_now, end[0]), 0);
        hp_transport_progress(end[1]);
        pthread_join(thread, NULL);
        memset(out, 1, 100000);
        hp_free(out);
        hp_transport_progress(end[1]);
        hp_transport_close(end[1], true);
        hp_free(in);
    }
}

static void test_stop(void **state) {
    (void)state;
    hp_transport_t *end[3];
    hp_chaos_t chaos = {.seed = 3};
    char a[8], b[8] = "abc";
    assert_int_equal(hp_transport_loopback_chaos(3, &chaos, end, NULL), HP_OK);
    seen_t sent = {0}, got = {0}, other = {0};
    receive(end[1], 0, 1, a, sizeof a, &got);
    hp_chaos_set(end[1], HP_CHAOS_STOPPED);
    assert_int_equal(send(end[0], 1, 1, b, sizeof b, &sent), HP_OK);
    assert_int_equal(send(end[1], 2, 1, b, sizeof b, NULL), HP_OK);
    receive(end[2], HP_ANY_SOURCE, 1, a, sizeof a, &other);
    turn(end, 3, 50);
    assert_int_equal(sent.calls + got.calls + other.calls, 0);
    assert_int_equal(hp_transport_pending(end[0]), 1);
    assert_int_equal(send(end[0], 2, 1, b, sizeof b, &sent), HP_OK); /* the others go on */
    turn(end, 3, 50);
    assert_int_equal(sent.calls, 1);
    assert_int_equal(other.calls, 1);
    for (int i = 0; i < 3; i++) hp_transport_close(end[i], true);
}

static void test_hold(void **state) {
    (void)state;
    hp_transport_t *end[2];
    hp_chaos_t chaos = {.seed = 3, .lose = 3};
    int in[2] = {0}, one = 1, two = 2, three = 3;
    assert_int_equal(hp_transport_loopback_chaos(2, &chaos, end, NULL), HP_OK);
    seen_t sent = {0}, got = {0};
    receive(end[1], 0, 1, &in[0], sizeof one, &got);
    receive(end[1], 0, 1, &in[1], sizeof one, &got);
    hp_chaos_set(end[0], HP_CHAOS_HELD);
    assert_int_equal(send(end[0], 1, 1, &one, sizeof one, &sent), HP_OK);
    assert_int_equal(send(end[0], 1, 1, &two, sizeof two, &sent), HP_OK);
    turn(end, 2, 20);
    assert_int_equal(sent.calls + got.calls, 0);
    hp_chaos_set(end[0], HP_CHAOS_RUNS);
    turn(end, 2, 3);
    assert_int_equal(sent.calls, 2);
    assert_int_equal(got.calls, 2);
    assert_true(in[0] == 1 && in[1] == 2);
    receive(end[1], 0, 1, &in[0], sizeof one, &got);
    assert_int_equal(send(end[0], 1, 1, &three, sizeof three, &sent),
                     HP_OK); /* the third is lost */
    turn(end, 2, 20);
    assert_int_equal(sent.calls + got.calls, 4);
    for (int i = 0; i < 2; i++) hp_transport_close(end[i], true);
}

typedef struct {
    uint32_t *log;
    int count;
    uint32_t name;
} entry_t;

static void note(void *context, const hp_completion_t *c) {
    entry_t *entry = context;
    entry[0].log[(*(int *)entry[0].log)++ + 1] = entry->name + (uint32_t)c->source * 1000;
}

/* One thread drives all endpoints: the same seed gives the same order, another seed another. */
static uint64_t schedule(uint64_t seed) {
    enum { N = 4, EACH = 30 };
    hp_transport_t *end[N];
    hp_chaos_t chaos = {.seed = seed, .delay = 9, .delay_share = 0.7};
    static uint32_t log[N * EACH + 8];
    static entry_t entry[N * EACH];
    static char in[N * EACH];
    char out = 1;
    memset(log, 0, sizeof log);
    assert_int_equal(hp_transport_loopback_chaos(N, &chaos, end, NULL), HP_OK);
    for (int k = 0; k < (N - 1) * EACH; k++) {
        entry[k] = (entry_t){.log = log, .name = (uint32_t)k};
        assert_int_equal(hp_transport_receive(end[0], HP_ANY_SOURCE, (uint32_t)(k % EACH), &in[k],
                                              1, note, &entry[k], NULL, NULL),
                         HP_OK);
    }
    for (int r = 1; r < N; r++)
        for (int k = 0; k < EACH; k++)
            assert_int_equal(send(end[r], 0, (uint32_t)k, &out, 1, NULL), HP_OK);
    turn(end, N, 100);
    assert_int_equal(log[0], (N - 1) * EACH);
    uint64_t hash = 1;
    for (int k = 0; k <= (N - 1) * EACH; k++) hash = hash * 0x100000001B3u ^ log[k];
    for (int i = 0; i < N; i++) hp_transport_close(end[i], true);
    return hash;
}

static void test_repeat(void **state) {
    (void)state;
    uint64_t first = schedule(1);
    assert_true(schedule(1) == first);
    int same = 0;
    for (uint64_t seed = 2; seed < 10; seed++) same += schedule(seed) == first;
    assert_int_equal(same, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_close),      cmocka_unit_test(test_close_race),
        cmocka_unit_test(test_stop),       cmocka_unit_test(test_hold),
        cmocka_unit_test(test_repeat),     cmocka_unit_test(test_body),
        cmocka_unit_test(test_body_chaos),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
