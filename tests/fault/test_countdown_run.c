/* In a whole run the n-th allocation fails, or the n-th message of a rank is lost while all ranks
 * live, for every n until nothing was lost: the run ends in time, well or with one line that says
 * why; in `sync` all it leaves are the bytes of the plain computation, and it goes on from there.
 * And a run in which nothing is lost is left alone, however long a unit or an evaluation takes.
 * Threads and time are the scheduler's (schedule.h), so the n-th is always the same.
 *
 * HANPS_LONG=1: every n, in each mode; HANPS_SEED=n: another schedule; HANPS_TEST_VERBOSE=1: what
 * each came to; HANPS_ONLY="MODE RANK N": one of them, RANK -1 for allocations, without N all. */
#include "common/checkpoint.h"
#include "common/memory.h"
#include "tests/fault/faults.h"
#include "tests/fault/schedule.h"
#include "tests/support/fake_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    STEPS = 3,
    SERVERS = 2,
    WORKERS = 2,
    LONGEST_S = 100, /* of virtual time: start, giving up, goodbyes */
    TIMEOUT_S = 60,
    GIVE_UP_S = 20,
    UNTOUCHED = 10 /* exit status: nothing was lost any more */
};

typedef struct {
    hp_consistency_t consistency;
    int rank; /* whose message is lost; -1: an allocation fails */
    uint64_t n, seed;
    fake_t fake;
    hp_status_t status;
    int failed;
    schedule_stats_t stats;
} case_t;

static void fail(const case_t *c, const char *what) {
    fprintf(stderr, "%s: ended at step %" PRId64 " after %.1f s (%s) %s\n", what,
            c->fake.outcome.step, c->stats.seconds, hp_status_name(c->status), c->fake.err.text);
    _exit(1);
}

static void gave_up(void *context) {
    const case_t *c = context;
    fprintf(stderr, "  %s %s\n", hp_status_name(c->status), c->fake.err.text);
}

static void run_ranks(void *context) {
    case_t *c = context;
    if (c->rank < 0) fault_arm(FAULT_MEMORY, (int)c->n, false);
    c->status = fake_loopback(&c->fake);
    c->failed = fault_disarm();
}

/* All checkpoints are whole, and in `sync` of the right bytes. True: there is one. */
static bool check_checkpoints(const case_t *c, int64_t newest) {
    const fake_t *f = &c->fake;
    const size_t total = (size_t)f->params.total;
    int count = 0;
    int64_t *step = NULL, best;
    hp_error_t err;
    float *must = hp_calloc(total, sizeof *must), *is = hp_calloc(total, sizeof *is);
    if (hp_checkpoint_list(f->run, &count, &step, &best, &err) != HP_OK) fail(c, err.text);
    for (int i = 0; i < count; i++) {
        char which[32];
        hp_checkpoint_t *checkpoint = NULL;
        snprintf(which, sizeof which, "%" PRId64, step[i]);
        if (hp_checkpoint_open(f->run, which, &checkpoint, NULL, &err) != HP_OK ||
            hp_checkpoint_verify(checkpoint, &err) != HP_OK ||
            hp_checkpoint_read(checkpoint, 0, f->params.total, is, NULL, NULL, &err) != HP_OK)
            fail(c, err.text);
        hp_checkpoint_close(checkpoint);
        if (c->consistency != HP_SYNC) continue;
        fake_reference(f, f->config.cluster.sync_shards, step[i], must);
        if (memcmp(is, must, total * sizeof *is) != 0)
            fail(c, "other bytes than the plain computation");
    }
    if (newest >= 0 && (count == 0 || step[count - 1] != newest))
        fail(c, "the newest checkpoint is not of the end");
    hp_free(step);
    hp_free(must);
    hp_free(is);
    return count > 0;
}

static void make(case_t *c) {
    fake_t *f = &c->fake;
    fake_begin(f, c->consistency, SERVERS, WORKERS, STEPS);
    f->config.optimizer.clip_norm = 0.5;
    f->config.checkpoint.every_steps = 1;
    f->config.checkpoint.keep = 100;
    f->config.cluster.start_seconds = f->config.cluster.server_seconds = 10;
    f->config.cluster.suspend_seconds = 2;
    f->config.cluster.dead_seconds = 5;
    f->config.cluster.give_up_seconds = GIVE_UP_S;
    f->peak = 2;
    f->config.valid.every_steps = 2;
    f->gather = true;
    c->seed = 3 * c->seed + (uint64_t)c->consistency;
    f->chaos = (hp_chaos_t){.seed = c->seed, .copy_share = 0.5, .lose_of = 1};
    if (c->rank < 0) return;
    f->chaos.lose = c->n;
    f->chaos.lose_of = c->rank + 1;
}

static int run_case(case_t *c) {
    make(c);
    fake_t *f = &c->fake;
    schedule_run(c->seed, run_ranks, gave_up, c, &c->stats);
    bool untouched = c->rank < 0 ? c->failed == 0 : f->sent < c->n;
    if (getenv("HANPS_TEST_VERBOSE") != NULL)
        printf("rank %d, %" PRIu64 ": %s %s (%d speak), step %" PRId64 ", %.1f s%s\n", c->rank,
               c->n, hp_status_name(c->status), f->err.text, f->spoken, f->outcome.step,
               c->stats.seconds, untouched ? ", untouched" : "");
    if (c->stats.seconds > LONGEST_S) fail(c, "it took too long to end");
    if (untouched && c->status != HP_OK) fail(c, "it failed, and nothing was lost");
    if (c->status != HP_OK && f->err.text[0] == '\0') fail(c, "no word on why it failed");
    /* two: one that cannot even say it to the others, or comes when they have gone */
    if (c->status != HP_OK && (f->spoken < 1 || f->spoken > (c->rank < 0 ? 2 : 1)))
        fail(c, "not exactly one rank says why it failed");
    bool any = check_checkpoints(c, c->status == HP_OK ? STEPS : -1);
    f->chaos.lose = 0;
    c->rank = 0;
    fake_again(f, SERVERS, WORKERS, STEPS + 1);
    if (!any) f->resume = NULL;
    schedule_run(c->seed + 1, run_ranks, gave_up, c, &c->stats);
    if (c->status != HP_OK) fail(c, "it does not go on");
    (void)check_checkpoints(c, STEPS + 1);
    fake_end(f);
    return untouched ? UNTOUCHED : 0;
}

static uint64_t first_seed(void) {
    const char *text = getenv("HANPS_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : 1;
}

/* Each in a process of its own: a crash or a hang takes nothing with it. */
static int in_process(hp_consistency_t consistency, int rank, uint64_t n, uint64_t seed,
                      int (*body)(case_t *)) {
    static case_t c;
    int status = 0;
    c = (case_t){.consistency = consistency, .rank = rank, .n = n, .seed = seed};
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) {
        alarm(TIMEOUT_S);
        int code = body(&c);
        fflush(NULL);
        _exit(code);
    }
    if (waitpid(pid, &status, 0) != pid) abort();
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static const char *const mode[] = {"sync", "bounded", "async"};

/* Failures. */
static int count_down(hp_consistency_t consistency, int rank, uint64_t stride) {
    uint64_t n = 1, runs = 0;
    int failed = 0, code = 0;
    for (; code != UNTOUCHED && failed < 5; n += stride, runs++) {
        code = in_process(consistency, rank, n, first_seed(), run_case);
        if (code == 0 || code == UNTOUCHED) continue;
        fprintf(stderr, "%s, %s %d, number %" PRIu64 ": exit status %d\n", mode[consistency],
                rank < 0 ? "allocations" : "messages of rank", rank, n, code);
        failed++;
    }
    printf("%s, %s %d: %" PRIu64 " runs, until number %" PRIu64 ", %d failed\n", mode[consistency],
           rank < 0 ? "allocations" : "messages of rank", rank, runs, n - stride, failed);
    return failed;
}

/* All take longer than a run may stand still, and nothing is lost. */
static int run_slow(case_t *c) {
    make(c);
    c->fake.pause_us = c->fake.evaluate_us = (GIVE_UP_S + 10) * 1000000;
    schedule_run(c->seed, run_ranks, gave_up, c, &c->stats);
    if (c->status != HP_OK) fail(c, "a run that is slow was given up");
    (void)check_checkpoints(c, STEPS);
    fake_end(&c->fake);
    return 0;
}

/* A checkpoint by time is due before the first step, whose checkpoint is to be evaluated. */
static int run_eager(case_t *c) {
    make(c);
    c->fake.config.cluster.servers = 1;
    c->fake.config.checkpoint.every_minutes = 1e-9;
    c->fake.config.valid.every_steps = 1;
    schedule_run(c->seed, run_ranks, gave_up, c, &c->stats);
    if (c->status != HP_OK) fail(c, "checkpoints stand in one another's way");
    (void)check_checkpoints(c, STEPS);
    fake_end(&c->fake);
    return 0;
}

/* Longer than a worker that leaves would wait for the servers. */
static void dawdle(int worker, int64_t own, int phase) {
    if (worker == 1 && own == 0 && phase == 0) usleep((GIVE_UP_S + 30) * 1000000);
}

/* A worker leaves whose gradient waits on the servers for one of another, who takes its time. */
static int run_leaving(case_t *c) {
    make(c);
    c->fake.quit_after = 1;
    c->fake.moment = dawdle;
    c->fake.peak = 0; /* which it would wait for */
    schedule_run(c->seed, run_ranks, gave_up, c, &c->stats);
    if (c->status != HP_OK) fail(c, "a worker that leaves was not answered");
    (void)check_checkpoints(c, STEPS);
    fake_end(&c->fake);
    return 0;
}

static int whole(hp_consistency_t consistency, const char *what, int (*body)(case_t *)) {
    int code = in_process(consistency, 0, 0, first_seed(), body);
    printf("%s, %s: exit status %d\n", mode[consistency], what, code);
    return code != 0;
}

int main(void) {
    const char *only = getenv("HANPS_ONLY");
    const bool all = getenv("HANPS_LONG") != NULL;
    int failed = 0, rank, number;
    char name[16];
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
    const int given = only != NULL ? sscanf(only, "%15s %d %d", name, &rank, &number) : 0;
    if (given >= 2) {
        int m = strcmp(name, mode[HP_SYNC]) == 0 ? HP_SYNC : HP_ASYNC;
        if (strcmp(name, mode[HP_BOUNDED]) == 0) m = HP_BOUNDED;
        if (given == 2) return count_down((hp_consistency_t)m, rank, 1) > 0;
        const int code =
            in_process((hp_consistency_t)m, rank, (uint64_t)number, first_seed(), run_case);
        return code != 0 && code != UNTOUCHED;
    }
    for (int m = 0; m < 3; m++) {
        failed += whole((hp_consistency_t)m, "slow", run_slow);
        failed += whole((hp_consistency_t)m, "eager", run_eager);
    }
    for (uint64_t seed = 1; seed <= 6; seed++) /* who has the lower unit changes with it */
        failed += in_process(HP_SYNC, 0, 0, seed, run_leaving) != 0;
    for (uint64_t n = 362; n <= 374; n++) { /* a server has begun, and no worker has said hello */
        const int code = in_process(HP_ASYNC, -1, n, first_seed(), run_case);
        failed += code != 0 && code != UNTOUCHED;
    }
    for (rank = -1; rank < SERVERS + WORKERS; rank++) {
        const uint64_t stride = all ? 1 : rank < 0 ? 7 : 2;
        failed += count_down(HP_SYNC, rank, stride);
        failed += count_down(HP_ASYNC, rank, stride);
        if (all) failed += count_down(HP_BOUNDED, rank, stride);
    }
    return failed > 0;
}
