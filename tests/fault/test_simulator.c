/* Servers and workers under thousands of schedules: threads are interleaved, messages delayed and
 * reordered by a seed (schedule.h, transport_chaos.h). Whatever happens, everything must end, every
 * unit be used, and `sync` give the bytes of the plain computation. Where a server dies, all others
 * say so and end soon, and the run goes on from a whole checkpoint. A worker that is cut off for
 * long is given up; if it speaks again it comes back.
 *
 * HANPS_SEED=n HANPS_SCHEDULES=k: k schedules from seed n on. A schedule that fails names its seed.
 * Without either, seeds that once failed are played too. */
#include "common/checkpoint.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/transport_chaos.h"
#include "tests/fault/schedule.h"
#include "tests/support/fake_run.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MOST_RANKS = 16,
    AT_ONCE = 2,
    TIMEOUT_S = 120,
    SHORT = 200,
    LONGEST_S = 25,     /* less than any time limit that a rank would wait for the end of a run */
    LONGEST_LOSS_S = 60 /* where a worker is waited for until it is given up */
};

typedef struct {
    uint64_t seed;
    fake_t fake;
    hp_chaos_t chaos;
    bool plain; /* a loopback that does not misbehave */
    bool resumes;
    int held_rank; /* whose link is down for a while; -1: none */
    int held_after_us, held_us;
    bool loses; /* it is a worker, and given up meanwhile: it returns, or is dead */
    bool dies;
    int dead_server;            /* it dies after that time; -1: none */
    double end_after;           /* its death the last of the others ended */
    bool repeats;               /* steps after the last checkpoint were lost, and made again */
    int servers[2], workers[2]; /* of the first run and of the one that goes on */
    int64_t steps;
    hp_status_t status;
    schedule_stats_t stats;
} case_t;

static void describe(const case_t *c) {
    static const char *const name[] = {"sync", "bounded", "async"};
    const fake_t *f = &c->fake;
    fprintf(
        stderr,
        "  %s, %d servers, %d workers%s, %" PRId64 " steps, %d units a step, %d slots, clip %g, "
        "stop after %" PRId64 ", quit after %" PRId64 ", checkpoint every %" PRId64 "%s\n",
        name[f->config.cluster.consistency], f->config.cluster.servers, f->workers,
        f->resume ? ", resumed" : "", f->config.run.steps, hp_config_step_units(&f->config),
        f->config.cluster.slots, f->config.optimizer.clip_norm, f->stop_after, f->quit_after,
        f->config.checkpoint.every_steps, f->config.cluster.wire == HP_BF16 ? ", bf16 wire" : "");
}

static void fail(const case_t *c, const char *what) {
    const fake_t *f = &c->fake;
    fprintf(stderr, "schedule %" PRIu64 ": %s: ended at step %" PRId64 " (%s) %s\n", c->seed, what,
            f->outcome.step, hp_status_name(c->status), f->err.text);
    describe(c);
    _exit(1);
}

static void gave_up(void *context) {
    const case_t *c = context;
    describe(c);
    fprintf(stderr, "  %s %s\n", hp_status_name(c->status), c->fake.err.text);
}

/* ---- a run ---- */

typedef struct {
    case_t *of;
    hp_transport_t *transport;
    pthread_t thread;
    hp_status_t status;
    hp_error_t err;
    double ended;
} rank_t;

static void *run_rank(void *context) {
    rank_t *r = context;
    r->status = fake_rank(&r->of->fake, r->transport, &r->err);
    r->ended = hp_clock();
    if (r->status == HP_OK)
        atomic_fetch_add(&r->of->fake.pending, hp_transport_pending(r->transport));
    return NULL;
}

static void run_ranks(void *context) {
    case_t *c = context;
    fake_t *f = &c->fake;
    int n = f->config.cluster.servers + f->workers;
    hp_transport_t *endpoint[MOST_RANKS];
    rank_t rank[MOST_RANKS];
    hp_status_t made = c->plain ? hp_transport_loopback(n, endpoint, &f->err)
                                : hp_transport_loopback_chaos(n, &c->chaos, endpoint, &f->err);
    if (made != HP_OK) abort();
    atomic_store(&f->pending, 0);
    for (int i = 0; i < n; i++) {
        rank[i] = (rank_t){.of = c, .transport = endpoint[i]};
        if (pthread_create(&rank[i].thread, NULL, run_rank, &rank[i]) != 0) abort();
    }
    if (c->held_rank >= 0 && c->held_rank < n) {
        usleep((useconds_t)c->held_after_us);
        hp_chaos_set(endpoint[c->held_rank], c->dies ? HP_CHAOS_STOPPED : HP_CHAOS_HELD);
        usleep((useconds_t)c->held_us);
        if (!c->dies) hp_chaos_set(endpoint[c->held_rank], HP_CHAOS_RUNS);
    }
    double died = 0;
    if (c->dead_server >= 0) {
        usleep((useconds_t)c->held_after_us);
        hp_chaos_set(endpoint[c->dead_server], HP_CHAOS_STOPPED);
        died = hp_clock();
    }
    c->status = HP_OK;
    c->end_after = 0;
    f->spoken = 0;
    for (int i = 0; i < n; i++) {
        pthread_join(rank[i].thread, NULL);
        if (i == c->dead_server || (c->loses && i == c->held_rank)) continue;
        if (rank[i].ended - died > c->end_after) c->end_after = rank[i].ended - died;
        f->spoken += rank[i].status != HP_OK && !rank[i].err.told;
        if (c->status != HP_OK || rank[i].status == HP_OK) continue;
        c->status = rank[i].status;
        f->err = rank[i].err;
    }
    for (int i = 0; i < n; i++) hp_transport_close(endpoint[i], true);
}

/* ---- what must hold ---- */

static void same_as_reference(const case_t *c, int64_t step) {
    const fake_t *f = &c->fake;
    char which[32];
    hp_checkpoint_t *checkpoint = NULL;
    hp_error_t err;
    int64_t n = f->params.total;
    float *must = hp_calloc((size_t)n, sizeof *must), *is = hp_calloc((size_t)n, sizeof *is);
    snprintf(which, sizeof which, "%" PRId64, step);
    if (hp_checkpoint_open(f->run, which, &checkpoint, NULL, &err) != HP_OK ||
        hp_checkpoint_verify(checkpoint, &err) != HP_OK ||
        hp_checkpoint_read(checkpoint, 0, n, is, NULL, NULL, &err) != HP_OK)
        fail(c, err.text);
    fake_reference(f, f->config.cluster.sync_shards, step, must);
    if (memcmp(is, must, (size_t)n * sizeof *is) != 0)
        fail(c, "other bytes than the plain computation");
    if (hp_checkpoint_position(checkpoint)->next_unit !=
        (uint64_t)step * (uint64_t)f->config.cluster.sync_shards)
        fail(c, "a wrong position in a checkpoint");
    hp_checkpoint_close(checkpoint);
    hp_free(must);
    hp_free(is);
}

static uint64_t retired_units(const hp_checkpoint_t *checkpoint) {
    const hp_position_t *p = hp_checkpoint_position(checkpoint);
    return p->next_unit - (uint64_t)p->outstanding;
}

/* Checkpoints are whole, their chunks' versions grow; in `sync` they are the plain computation's.
 */
static void check_checkpoints(const case_t *c, int64_t newest) {
    const fake_t *f = &c->fake;
    int count = 0;
    int64_t *step = NULL, best, last[64] = {0}, version_of[64] = {0};
    hp_error_t err;
    if (hp_checkpoint_list(f->run, &count, &step, &best, &err) != HP_OK) fail(c, err.text);
    if (count == 0 && newest >= 0) fail(c, "no checkpoint");
    for (int i = 0; i < count; i++) {
        char which[32];
        hp_checkpoint_t *checkpoint = NULL;
        snprintf(which, sizeof which, "%" PRId64, step[i]);
        if (hp_checkpoint_open(f->run, which, &checkpoint, NULL, &err) != HP_OK) fail(c, err.text);
        if (hp_checkpoint_verify(checkpoint, &err) != HP_OK) fail(c, err.text);
        for (int64_t k = 0, e = 0; k < 64 && e < f->params.total; k++, e += 997) {
            int64_t version = 0, updates = 0;
            if (hp_checkpoint_chunk(checkpoint, e, &version, &updates, &err) != HP_OK)
                fail(c, err.text);
            if (updates < last[k] || version < version_of[k] || updates > version)
                fail(c, "a version went back");
            last[k] = updates;
            version_of[k] = version;
            if (f->config.cluster.consistency != HP_SYNC &&
                (uint64_t)updates * (uint64_t)f->config.cluster.accumulate <
                    retired_units(checkpoint))
                fail(c, "a retired unit is not in a checkpoint");
        }
        hp_checkpoint_close(checkpoint);
        if (f->config.cluster.consistency == HP_SYNC) same_as_reference(c, step[i]);
    }
    if (newest >= 0 && step[count - 1] != newest)
        fail(c, "the newest checkpoint is not of the end");
    hp_free(step);
}

/* Every unit that the newest checkpoint does not name as outstanding was used, and no more than
 * once, except those that were counted as repeated. A worker that dies may never learn that its
 * unit was used; in `sync` the bytes have shown it. */
static void check_units(const case_t *c) {
    const fake_t *f = &c->fake;
    hp_checkpoint_t *checkpoint = NULL;
    hp_error_t err;
    if (hp_checkpoint_open(f->run, "last", &checkpoint, NULL, &err) != HP_OK) fail(c, err.text);
    const hp_position_t *p = hp_checkpoint_position(checkpoint);
    uint64_t repeated = 0;
    const bool shown = c->dies && f->config.cluster.consistency == HP_SYNC;
    for (uint64_t u = 0, out = 0; u < FAKE_UNITS; u++) {
        int used = atomic_load(&f->used[u]);
        bool outstanding = out < (uint64_t)p->outstanding && p->outstanding_unit[out] == u;
        out += outstanding;
        if (used == 0 && u < p->next_unit && !outstanding && !shown) fail(c, "a unit was lost");
        repeated += used > 1 ? (uint64_t)(used - 1) : 0;
    }
    if (repeated > f->outcome.units_repeated) fail(c, "a repeated unit was not counted");
    hp_checkpoint_close(checkpoint);
}

/* Server 0 could not begin: all end soon, and one says why. */
static void check_barred(const case_t *c) {
    if (c->status != HP_IO) fail(c, "it does not say why it could not begin");
    if (c->fake.spoken != 1) fail(c, "not exactly one rank says why it could not begin");
    if (c->stats.seconds > LONGEST_S) fail(c, "some rank waited for a time limit");
}

/* A server died. True: in time to matter. */
static bool check_loss(const case_t *c) {
    const fake_t *f = &c->fake;
    char name[64];
    if (c->status == HP_OK) return false;
    snprintf(name, sizeof name, "server %d (rank %d)", c->dead_server, c->dead_server);
    if (c->status != HP_PEER) fail(c, "a lost server is called by another name");
    bool late = strstr(f->err.text, "does not answer the goodbye") != NULL; /* it was over */
    bool missing = strstr(f->err.text, "still missing: rank") != NULL;
    if (!late && !missing && strstr(f->err.text, name) == NULL)
        fail(c, "it is not said which server is lost");
    if (c->end_after > f->config.cluster.server_seconds + 15)
        fail(c, "it took too long to end without a server");
    check_checkpoints(c, -1);
    return true;
}

/* A `sync` run that came to its end, and was not asked to stop, has evaluated what it was to,
 * whatever came in between. */
static void check_evaluations(const case_t *c) {
    const fake_t *f = &c->fake;
    int64_t every = f->config.valid.every_steps, end = f->outcome.step;
    hp_checkpoint_t *checkpoint = NULL;
    char name[320];
    if (every == 0 || f->config.cluster.consistency != HP_SYNC || f->stop_after > 0) return;
    if (end < f->config.run.steps) return;
    for (int64_t step = 1; step <= end; step++) {
        snprintf(name, sizeof name, "%s/eval/valid-%08" PRId64 ".json", f->run, step);
        if ((step % every == 0 || step == end) && access(name, R_OK) != 0)
            fail(c, "a step was not evaluated");
    }
    if (hp_checkpoint_open(f->run, "best", &checkpoint, NULL, NULL) != HP_OK)
        fail(c, "there is no best checkpoint");
    hp_checkpoint_close(checkpoint);
}

static void check_run(const case_t *c) {
    const fake_t *f = &c->fake;
    if (c->status != HP_OK) fail(c, "it failed");
    if (c->stats.seconds > (c->loses ? LONGEST_LOSS_S : LONGEST_S))
        fail(c, "some rank waited for a time limit");
    if (!c->loses && atomic_load(&f->pending) != 0) fail(c, "messages are left");
    if (!c->loses && !f->outcome.clean) fail(c, "not every rank said goodbye");
    if (f->gather && atomic_load(&f->most_lead) > f->config.cluster.staleness)
        fail(c, "a worker was further ahead than the bound");
    bool early = f->outcome.step < f->config.run.steps;
    if (f->outcome.step > f->config.run.steps) fail(c, "it went too far");
    if (early && f->stop_after == 0) fail(c, "it ended early");
    if (early != f->outcome.stopped) fail(c, "it does not say that it was stopped");
    check_checkpoints(c, f->outcome.step);
    if (!c->repeats) check_units(c);
    check_evaluations(c);
}

/* ---- cases ---- */

static int upto(hp_random_t *r, int least, int most) {
    return least + (int)hp_random_below(r, (uint64_t)(most - least + 1));
}

/* A worker is cut off until it is given up, or longer. */
static void lose_worker(case_t *c, hp_random_t *r) {
    fake_t *f = &c->fake;
    c->loses = true;
    c->dies = upto(r, 0, 2) == 0;
    c->held_us = upto(r, 500000, 4000000);
    c->held_after_us = upto(r, 0, 600000);
    f->pause_us = upto(r, 0, 300000);
    if (f->workers < 3) f->quit_after = 0; /* some worker must be left */
    f->config.cluster.suspend_seconds = 0.7;
    f->config.cluster.dead_seconds = 1.5;
    f->config.cluster.spares = upto(r, 0, 2);
    f->workers += f->config.cluster.spares;
    c->held_rank = c->servers[0] + upto(r, 0, f->workers - 1);
}

static void make_case(case_t *c, uint64_t seed) {
    static const hp_consistency_t consistency[] = {HP_SYNC, HP_SYNC, HP_ASYNC, HP_BOUNDED};
    hp_random_t r = hp_random(seed, HP_RANDOM_TEST, 0xCA5E, 0);
    fake_t *f = &c->fake;
    c->seed = seed;
    for (int i = 0; i < 2; i++) {
        c->servers[i] = upto(&r, 1, 3);
        c->workers[i] = upto(&r, 1, 4);
    }
    f->dense = upto(&r, 0, 3) == 0;
    fake_begin(f, consistency[upto(&r, 0, 3)], c->servers[0], c->workers[0], 1);
    c->steps = upto(&r, 1, 6);
    f->config.run.steps = c->steps;
    f->config.run.seed = upto(&r, 1, 1000);
    f->config.cluster.sync_shards = upto(&r, 1, 4);
    f->config.cluster.slots = upto(&r, 1, 3);
    f->config.cluster.staleness = upto(&r, 0, 3);
    f->config.optimizer.clip_norm = upto(&r, 0, 2) == 0 ? 0.5 : 0;
    f->config.checkpoint.every_steps = upto(&r, 0, 2);
    f->config.checkpoint.keep = 100;
    f->seed = upto(&r, 0, 1) ? seed : 0;
    f->slow_us = upto(&r, 0, 3) == 0 ? 20000 : 0;
    if (upto(&r, 0, 2) == 0) f->stop_after = upto(&r, 1, 10);
    if (c->workers[0] > 1 && upto(&r, 0, 2) == 0) f->quit_after = upto(&r, 1, 3);
    c->plain = upto(&r, 0, 3) == 0;
    c->held_rank = c->plain ? -1 : upto(&r, -4, 6);
    c->held_after_us = upto(&r, 0, 300000);
    c->held_us = upto(&r, 0, 1000000);
    c->resumes = upto(&r, 0, 1) == 0;
    f->barred = upto(&r, 0, 9) == 0;
    c->dead_server = -1;
    f->config.cluster.server_seconds = 30;
    f->config.cluster.start_seconds = f->config.cluster.server_seconds;
    f->config.cluster.give_up_seconds = 2.5; /* longer than a link is down */
    c->chaos = (hp_chaos_t){.seed = seed,
                            .delay = upto(&r, 0, 30),
                            .delay_share = upto(&r, 0, 3) * 0.25,
                            .copy_share = upto(&r, 0, 2) * 0.5};
    if (!c->plain && !f->barred && upto(&r, 0, 2) == 0)
        c->dead_server = upto(&r, 0, c->servers[0] - 1);
    /* sooner than a worker that leaves gives the servers up */
    if (c->dead_server > 0 && f->quit_after > 0)
        f->config.cluster.server_seconds = f->config.cluster.start_seconds = 10;
    int accumulate = upto(&r, 0, 1) == 0 ? upto(&r, 2, 4) : 1;
    if (f->config.cluster.consistency != HP_SYNC) f->config.cluster.accumulate = accumulate;
    if (upto(&r, 0, 2) == 0) f->config.checkpoint.every_minutes = 1e-4;
    if (!c->plain && !f->barred && c->dead_server < 0 && c->workers[0] > 1 && upto(&r, 0, 1) == 0)
        lose_worker(c, &r);
    if (upto(&r, 0, 2) == 0) {
        f->peak = upto(&r, 1, 6);
        f->config.valid.every_steps = upto(&r, 1, 3);
    }
    f->gather = f->config.cluster.consistency == HP_BOUNDED && !c->loses && !f->barred &&
                c->dead_server < 0;
    f->config.cluster.server_threads = upto(&r, 0, 3);
    f->config.cluster.wire = upto(&r, 0, 2) == 0 ? HP_BF16 : HP_FP32;
}

static void make_folder(const fake_t *f, const char *name) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", f->run, name);
    if (mkdir(path, 0777) != 0) abort();
}

static bool has_checkpoint(const fake_t *f) {
    int count = 0;
    int64_t *step = NULL, best;
    if (hp_checkpoint_list(f->run, &count, &step, &best, NULL) != HP_OK) abort();
    hp_free(step);
    return count > 0;
}

static void run_case(uint64_t seed) {
    static case_t c;
    make_case(&c, seed);
    make_folder(&c.fake, "log");
    make_folder(&c.fake, "checkpoints");
    schedule_run(seed, run_ranks, gave_up, &c, &c.stats);
    if (c.fake.barred)
        check_barred(&c);
    else if (c.dead_server >= 0)
        c.repeats = check_loss(&c);
    else
        check_run(&c);
    if ((c.resumes || c.repeats) && !c.fake.barred) {
        c.dead_server = -1;
        if (c.loses) c.held_rank = -1;
        c.fake.config.cluster.spares = 0;
        c.loses = false;
        fake_again(&c.fake, c.servers[1], c.workers[1], c.steps + 2);
        if (!has_checkpoint(&c.fake)) c.fake.resume = NULL;
        schedule_run(hp_random_mix(seed, 1), run_ranks, gave_up, &c, &c.stats);
        check_run(&c);
    }
    if (getenv("HANPS_TEST_VERBOSE"))
        fprintf(stderr, "schedule %" PRIu64 ": %" PRIu64 " switches, %.3f s\n", seed,
                c.stats.switches, c.stats.seconds);
    fake_end(&c.fake);
}

/* Each schedule in a process of its own: a crash or a hang takes nothing with it. */
static pid_t start_case(uint64_t seed) {
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid > 0) return pid;
    alarm(TIMEOUT_S);
    run_case(seed);
    _exit(0);
}

static uint64_t from_environment(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

int main(void) {
    /* 646: a worker leaves and a server dies; 1003, 1850: a worker that is given up and lives when
     * the run ends without it; 2128: one that dies between its commit and the word that its
     * gradient arrived */
    static const uint64_t once[] = {646, 1003, 1850, 2128};
    const bool usual = getenv("HANPS_SEED") == NULL && getenv("HANPS_SCHEDULES") == NULL;
    uint64_t first = from_environment("HANPS_SEED", 1);
    uint64_t numbered = from_environment("HANPS_SCHEDULES", SHORT), begun = 0, done = 0;
    uint64_t count = numbered + (usual ? sizeof once / sizeof *once : 0);
    struct {
        pid_t pid;
        uint64_t seed;
    } running[AT_ONCE] = {{0, 0}};
    uint64_t most = from_environment("HANPS_FAILURES", 5), failed = 0;
    /* The folders of runs are small and many. */
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
    while (done < count && failed < most) {
        for (int i = 0; i < AT_ONCE && begun < count; i++)
            if (running[i].pid == 0) {
                running[i].seed = begun < numbered ? first + begun : once[begun - numbered];
                begun++;
                running[i].pid = start_case(running[i].seed);
            }
        int status = 0;
        pid_t pid = wait(&status);
        for (int i = 0; i < AT_ONCE; i++)
            if (running[i].pid == pid) {
                running[i].pid = 0;
                if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
                    fprintf(stderr, "seed %" PRIu64 " failed (%s %d)\n", running[i].seed,
                            WIFSIGNALED(status) ? "signal" : "exit status",
                            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
                    failed++;
                }
            }
        done++;
    }
    printf("%" PRIu64 " schedules, %" PRIu64 " failed\n", done, failed);
    return failed > 0;
}
