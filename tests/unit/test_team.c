/* Ranks that share tasks, over the loopback, plain and misbehaving: results in order for any number
 * of ranks, a failure on any rank, rank 0 that fails to take. */
#include "common/team.h"
#include "common/transport_chaos.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 8, TASKS = 41 };

typedef struct {
    int fails_rank, fails_task; /* -1: nobody; the task is a count of the rank's own */
    int take_fails;             /* -1: never; the how manieth result */
    bool wrong_start;           /* fails_rank does not come to begin */
    int tasks;
} play_t;

typedef struct {
    const play_t *play;
    hp_transport_t *transport;
    int taken;
    hp_status_t all, last;
    hp_error_t err;
} role_t;

/* Result i: some of i's bytes, from none to many more than a message that is copied. */
static size_t bytes_of(int task) { return (size_t)task * (size_t)task * 37 % 20011; }

static hp_status_t take(void *context, const void *data, size_t bytes, hp_error_t *err) {
    role_t *role = context;
    const unsigned char *at = data;
    assert_int_equal(bytes, bytes_of(role->taken));
    for (size_t i = 0; i < bytes; i++) assert_int_equal(at[i], (role->taken + (int)i) & 255);
    if (role->taken == role->play->take_fails) return hp_fail(err, HP_IO, "the disk is full");
    role->taken++;
    return HP_OK;
}

static hp_status_t compute(const role_t *role, hp_team_t *team, hp_error_t *err) {
    int done = 0;
    for (int task = hp_team_rank(team); task < role->play->tasks; task += hp_team_size(team)) {
        if (hp_team_rank(team) == role->play->fails_rank && done++ == role->play->fails_task)
            return hp_fail(err, HP_CORRUPT, "task %d is damaged", task);
        for (size_t i = 0; i < bytes_of(task); i++) {
            const unsigned char byte = (unsigned char)((task + (int)i) & 255);
            HP_TRY(hp_team_append(team, &byte, 1, err));
        }
        HP_TRY(hp_team_put(team, err));
    }
    return HP_OK;
}

static void *run_rank(void *argument) {
    role_t *role = argument;
    const play_t *play = role->play;
    hp_team_t *team = NULL;
    hp_status_t status = hp_team_on(role->transport, &team, &role->err);
    const int rank = hp_team_rank(team);
    int64_t number = rank == 0 ? 7 : 0;
    if (status == HP_OK && play->wrong_start && rank == play->fails_rank)
        status = hp_fail(&role->err, HP_INPUT, "no store here");
    status = hp_team_agree(team, status, &number, sizeof number, &role->err);
    if (status == HP_OK) {
        assert_int_equal(number, 7);
        status = hp_team_begin(team, take, role, &role->err);
        if (status == HP_OK) status = compute(role, team, &role->err);
        status = hp_team_end(team, status, &role->err);
    }
    role->all = status;
    role->last = hp_team_close(team, status);
    return NULL;
}

static role_t run_ranks(int n, const play_t *play, const hp_chaos_t *chaos) {
    hp_transport_t *end[MOST];
    pthread_t thread[MOST];
    role_t role[MOST];
    hp_error_t err;
    if (chaos != NULL)
        assert_int_equal(hp_transport_loopback_chaos(n, chaos, end, &err), HP_OK);
    else
        assert_int_equal(hp_transport_loopback(n, end, &err), HP_OK);
    for (int r = 0; r < n; r++) {
        role[r] = (role_t){.play = play, .transport = end[r]};
        assert_int_equal(pthread_create(&thread[r], NULL, run_rank, &role[r]), 0);
    }
    for (int r = 0; r < n; r++) pthread_join(thread[r], NULL);
    for (int r = 1; r < n; r++) assert_int_equal(role[r].last, HP_OK); /* rank 0 was heard */
    assert_int_equal(role[0].last, role[0].all);
    return role[0];
}

static void each_way(void (*check)(int n, const hp_chaos_t *chaos)) {
    for (int n = 2; n <= 5; n++) check(n, NULL);
    for (uint64_t seed = 1; seed <= 6; seed++) {
        const hp_chaos_t chaos = {
            .seed = seed, .delay = (int)seed * 3, .delay_share = 0.5, .copy_share = 0.5};
        check(2 + (int)seed % 4, &chaos);
    }
}

static void check_order(int n, const hp_chaos_t *chaos) {
    static const int tasks[] = {TASKS, 0, 1, 3};
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
        const play_t play = {-1, 0, -1, false, tasks[i]};
        const role_t first = run_ranks(n, &play, chaos);
        assert_int_equal(first.all, HP_OK);
        assert_int_equal(first.taken, tasks[i]);
    }
}

static void test_order(void **state) {
    (void)state;
    each_way(check_order);
}

static void test_alone(void **state) {
    (void)state;
    play_t play = {-1, 0, -1, false, TASKS};
    role_t role = {.play = &play};
    run_rank(&role);
    assert_int_equal(role.last, HP_OK);
    assert_int_equal(role.taken, TASKS);
    play.take_fails = 5;
    role = (role_t){.play = &play};
    run_rank(&role);
    assert_int_equal(role.last, HP_IO);
    assert_int_equal(role.taken, 5);
    assert_string_equal(role.err.text, "the disk is full");
}

static void check_failures(int n, const hp_chaos_t *chaos) {
    char wanted[64];
    for (int task = 0; task < 8; task += 3) {
        const play_t other = {n - 1, task, -1, false, TASKS};
        role_t first = run_ranks(n, &other, chaos);
        assert_int_equal(first.all, HP_CORRUPT);
        snprintf(wanted, sizeof wanted, ": task %d is damaged", n - 1 + task * n);
        assert_non_null(strstr(first.err.text, wanted));
        assert_int_equal(strncmp(first.err.text, "rank ", 5), 0);
        const play_t root = {0, task, -1, false, TASKS};
        first = run_ranks(n, &root, chaos);
        assert_int_equal(first.all, HP_CORRUPT);
        snprintf(wanted, sizeof wanted, "task %d is damaged", task * n);
        assert_string_equal(first.err.text, wanted);
        const play_t disk = {-1, 0, task, false, TASKS};
        first = run_ranks(n, &disk, chaos);
        assert_int_equal(first.all, HP_IO);
        assert_int_equal(first.taken, task);
        assert_string_equal(first.err.text, "the disk is full");
    }
}

static void test_failures(void **state) {
    (void)state;
    each_way(check_failures);
}

static void check_start(int n, const hp_chaos_t *chaos) {
    for (int rank = 0; rank < n; rank += n - 1) {
        const play_t play = {rank, 0, -1, true, TASKS};
        const role_t first = run_ranks(n, &play, chaos);
        assert_int_equal(first.all, HP_INPUT);
        assert_int_equal(first.taken, 0);
        assert_non_null(strstr(first.err.text, "no store here"));
    }
}

static void test_start(void **state) {
    (void)state;
    each_way(check_start);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
