/* Servers and workers over the loopback, with a model that is no network. */
#include "common/checkpoint.h"
#include "common/memory.h"
#include "tests/support/fake_run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void run_well(fake_t *f) {
    hp_status_t st = fake_loopback(f);
    if (st != HP_OK) fail_msg("%s: %s", hp_status_name(st), f->err.text);
    assert_int_equal(atomic_load(&f->pending), 0);
    assert_true(fake_all_parted(f));
    assert_int_equal(f->outcome.units_repeated, 0); /* nothing fails here */
}

/* The newest checkpoint's weights are those of the plain computation. */
static void is_reference(const fake_t *f, int shards, int64_t steps) {
    size_t n = (size_t)f->params.total;
    float *weights = hp_calloc(n, sizeof *weights), *result = fake_result(f);
    assert_non_null(result);
    fake_reference(f, shards, steps, weights);
    for (size_t i = 0; i < n; i++)
        if (result[i] != weights[i])
            fail_msg("element %zu: %.9g, must be %.9g", i, (double)result[i], (double)weights[i]);
    hp_free(weights);
    hp_free(result);
}

static void last_line(const fake_t *f, int server, char line[4096]) {
    char path[300];
    line[0] = '\0';
    snprintf(path, sizeof path, "%s/log/server-%04d.jsonl", f->run, server);
    FILE *log = fopen(path, "r");
    assert_non_null(log);
    while (fgets(line, 4096, log) != NULL) continue;
    fclose(log);
}

/* Pushes by staleness in the last line of a server's log. Returns their sum, -1: it has none. */
static int64_t logged_staleness(const fake_t *f, int server, int64_t count[16]) {
    char line[4096];
    int64_t sum = 0;
    last_line(f, server, line);
    char *at = strstr(line, "\"staleness\":[");
    if (at == NULL) return -1;
    at += strlen("\"staleness\":");
    for (int i = 0; i < 16; i++) {
        assert_int_equal(*at, i == 0 ? '[' : ',');
        count[i] = strtoll(at + 1, &at, 10);
        sum += count[i];
    }
    assert_int_equal(*at, ']');
    return sum;
}

static void test_sync_small(void **state) {
    (void)state;
    static fake_t f;
    fake_begin(&f, HP_SYNC, 1, 1, 3);
    run_well(&f);
    assert_int_equal(f.outcome.step, 3);
    assert_int_equal(logged_staleness(&f, 0, (int64_t[16]){0}), -1);
    is_reference(&f, 2, 3);
    fake_end(&f);
}

/* The same bits for any number of servers and workers, any timing, and the plain computation. */
static void sync_everywhere(double clip, bool dense, hp_precision_t wire) {
    static fake_t f;
    for (int servers = 1; servers <= 3; servers++)
        for (int workers = 1; workers <= 3; workers++) {
            f.dense = dense;
            fake_begin(&f, HP_SYNC, servers, workers, 5);
            f.config.optimizer.clip_norm = clip;
            f.config.cluster.wire = wire;
            f.config.cluster.server_threads = servers + workers - 1;
            f.config.cluster.slots = 2 + workers % 2;
            f.seed = (uint64_t)(servers * 10 + workers);
            run_well(&f);
            assert_int_equal(f.outcome.step, 5);
            assert_int_equal(f.outcome.units, 10);
            assert_false(f.outcome.stopped);
            is_reference(&f, 2, 5);
            for (int u = 0; u < 10; u++) assert_int_equal(f.used[u], 1);
            fake_end(&f);
        }
}

static void test_sync(void **state) {
    (void)state;
    sync_everywhere(0, false, HP_FP32);
}

static void test_sync_dense(void **state) {
    (void)state;
    sync_everywhere(0, true, HP_FP32);
}

static void test_sync_clip(void **state) {
    (void)state;
    sync_everywhere(0.05, false, HP_FP32);
}

/* bf16 on the wire: the plain computation from weights and gradients that were rounded. */
static void test_sync_half(void **state) {
    (void)state;
    sync_everywhere(0, false, HP_BF16);
    sync_everywhere(0.05, true, HP_BF16);
}

/* Half of the bytes, the head and numbers of sparse rows and control messages aside. */
static void test_half_bytes(void **state) {
    (void)state;
    static fake_t f;
    double bytes[2][2];
    for (int half = 0; half < 2; half++) {
        fake_begin(&f, HP_SYNC, 1, 1, 4);
        f.config.cluster.wire = half ? HP_BF16 : HP_FP32;
        run_well(&f);
        static const char *const key[] = {"\"received_bytes\":", "\"sent_bytes\":"};
        char line[4096];
        last_line(&f, 0, line);
        for (int way = 0; way < 2; way++) {
            const char *at = strstr(line, key[way]);
            assert_non_null(at);
            bytes[half][way] = strtod(at + strlen(key[way]), NULL);
        }
        fake_end(&f);
    }
    for (int way = 0; way < 2; way++)
        assert_true(bytes[1][way] > 0.5 * bytes[0][way] && bytes[1][way] < 0.55 * bytes[0][way]);
}

/* More workers than units of a step, more than units of the run, one slot, unequal speed. */
static void test_sync_odd(void **state) {
    (void)state;
    static fake_t f;
    for (int shards = 1; shards <= 5; shards += 2) {
        fake_begin(&f, HP_SYNC, 2, 6, 3);
        f.config.cluster.sync_shards = shards;
        f.config.cluster.slots = 1;
        f.config.data.prefetch = 3;
        f.slow_us = 3000;
        run_well(&f);
        is_reference(&f, shards, 3);
        fake_end(&f);
    }
}

/* A run that is stopped and goes on, with other numbers of ranks, ends with the same bytes as one
 * that never stopped: weights and moments. */
static void test_sync_resume(void **state) {
    (void)state;
    static fake_t f;
    uint64_t whole = 0;
    fake_begin(&f, HP_SYNC, 2, 2, 12);
    f.config.optimizer.clip_norm = 1;
    run_well(&f);
    whole = fake_hash(&f);
    assert_true(whole != 0);
    fake_end(&f);
    for (int stop = 1; stop < 24; stop += 5) {
        fake_begin(&f, HP_SYNC, 1 + stop % 3, 2, 12);
        f.config.optimizer.clip_norm = 1;
        f.seed = (uint64_t)stop;
        f.stop_after = stop;
        run_well(&f);
        assert_true(f.outcome.stopped == (f.outcome.step < 12));
        fake_again(&f, 1 + (stop + 1) % 3, 3, 12);
        run_well(&f);
        assert_int_equal(f.outcome.step, 12);
        assert_true(fake_hash(&f) == whole);
        fake_end(&f);
    }
}

static void scheduled(fake_t *f, int servers, int64_t steps) {
    fake_begin(f, HP_SYNC, servers, 2, steps);
    f->config.optimizer.weight_decay = 0.3;
    f->config.optimizer.decay_on = HP_DECAY_MATRICES;
    f->config.optimizer.schedule.warmup_from = 0.001;
    f->config.optimizer.schedule.warmup_every = 1;
    f->config.optimizer.schedule.kind = HP_SCHEDULE_STEP;
    f->config.optimizer.schedule.milestones = (hp_layers_t){.count = 2, .size = {6, 9}};
}

/* The rate of each step, and weight decay, whatever the number of servers; also over a stop. */
static void test_sync_schedule(void **state) {
    (void)state;
    static fake_t f;
    for (int servers = 1; servers <= 3; servers++) {
        scheduled(&f, servers, 11);
        if (servers > 1) f.stop_after = 9;
        run_well(&f);
        if (servers > 1) {
            assert_true(f.outcome.stopped);
            fake_again(&f, 4 - servers, 3, 11);
            run_well(&f);
        }
        assert_int_equal(f.outcome.step, 11);
        is_reference(&f, 2, 11);
        fake_end(&f);
    }
    scheduled(&f, 1, 9); /* the second milestone is the run's end */
    assert_int_equal(fake_loopback(&f), HP_INPUT);
    assert_non_null(strstr(f.err.text, "optimizer.schedule.milestones: 9"));
    fake_end(&f);
}

/* Checkpoints beside training change nothing, and each is of exactly its step. */
static void test_sync_checkpoints(void **state) {
    (void)state;
    static fake_t f;
    fake_begin(&f, HP_SYNC, 3, 2, 9);
    f.config.checkpoint.every_steps = 3;
    f.config.checkpoint.keep = 10;
    f.seed = 5;
    run_well(&f);
    is_reference(&f, 2, 9);
    char command[400];
    snprintf(command, sizeof command, "rm -r '%s/checkpoints/step-00000009'", f.run);
    assert_int_equal(system(command), 0);
    hp_checkpoint_t *checkpoint = NULL; /* 6, or 3 where 3 was still being written at 6 */
    assert_int_equal(hp_checkpoint_open(f.run, "last", &checkpoint, NULL, NULL), HP_OK);
    is_reference(&f, 2, hp_checkpoint_step(checkpoint));
    hp_checkpoint_close(checkpoint);
    fake_end(&f);
}

static void validated(fake_t *f, hp_consistency_t consistency, int servers, int workers,
                      int64_t steps, int64_t every) {
    fake_begin(f, consistency, servers, workers, steps);
    f->config.valid.every_steps = every;
    f->config.checkpoint.keep = 1;
    f->peak = 4;
    f->seed = (uint64_t)(servers * 10 + workers);
}

static bool exists(const fake_t *f, const char *format, int64_t step) {
    char name[64], path[400];
    snprintf(name, sizeof name, format, (long long)step);
    snprintf(path, sizeof path, "%s/%s", f->run, name);
    return access(path, R_OK) == 0;
}

/* Every evaluation of a run that ended at `end` left its result, and the best one its checkpoint.
 */
static void evaluated(const fake_t *f, int64_t every, int64_t end, int64_t best) {
    for (int64_t step = 1; step <= end + every; step++) {
        bool due = step <= end && (step % every == 0 || step == end);
        if (exists(f, "eval/valid-%08lld.json", step) != due)
            fail_msg("evaluation of step %lld", (long long)step);
        if (step != end && exists(f, "checkpoints/step-%08lld", step) != (step == best))
            fail_msg("checkpoint of step %lld", (long long)step);
    }
    hp_checkpoint_t *checkpoint = NULL;
    assert_int_equal(hp_checkpoint_open(f->run, "best", &checkpoint, NULL, NULL), HP_OK);
    assert_int_equal(hp_checkpoint_step(checkpoint), best);
    hp_checkpoint_close(checkpoint);
}

/* Evaluations beside training change nothing, whatever the number of ranks; every one is made. */
static void test_sync_valid(void **state) {
    (void)state;
    static fake_t f;
    for (int servers = 1; servers <= 3; servers++)
        for (int workers = 1; workers <= 3; workers += 2)
            for (int64_t every = 1; every <= 4; every += 1 + every / 2) {
                validated(&f, HP_SYNC, servers, workers, 9, every);
                if (workers == 3) f.config.checkpoint.every_steps = 3;
                run_well(&f);
                assert_int_equal(f.outcome.step, 9);
                assert_false(f.outcome.early);
                is_reference(&f, 2, 9);
                evaluated(&f, every, 9, 4);
                assert_int_equal(f.evaluated, 3 * ((9 + every - 1) / every));
                fake_end(&f);
            }
}

/* Two evaluations that are no better: the run ends a whole interval after the second, wherever. */
static void test_sync_early(void **state) {
    (void)state;
    static fake_t f;
    for (int servers = 1; servers <= 3; servers++)
        for (int workers = 1; workers <= 3; workers += 2) {
            validated(&f, HP_SYNC, servers, workers, 40, 2);
            f.config.valid.patience = 2;
            run_well(&f);
            assert_int_equal(f.outcome.step, 10);
            assert_true(f.outcome.early && !f.outcome.stopped);
            is_reference(&f, 2, 10);
            evaluated(&f, 2, 10, 4);
            fake_again(&f, 4 - servers, workers, 40); /* it is over, and stays so */
            run_well(&f);
            assert_int_equal(f.outcome.step, 10);
            evaluated(&f, 2, 10, 4);
            fake_end(&f);
        }
}

/* A stop in between, at any time, loses no evaluation and no decision. */
static void test_sync_valid_resume(void **state) {
    (void)state;
    static fake_t f;
    for (int stop = 1; stop < 20; stop++) {
        validated(&f, HP_SYNC, 1 + stop % 3, 2, 40, 2);
        f.config.valid.patience = 2;
        f.stop_after = stop;
        run_well(&f);
        fake_again(&f, 1 + (stop + 1) % 3, 1 + stop % 4, 40);
        run_well(&f);
        assert_int_equal(f.outcome.step, 10);
        is_reference(&f, 2, 10);
        evaluated(&f, 2, 10, 4);
        fake_end(&f);
    }
}

static void test_async_valid(void **state) {
    (void)state;
    static fake_t f;
    for (int servers = 1; servers <= 3; servers++)
        for (int workers = 1; workers <= 3; workers += 2) {
            validated(&f, HP_ASYNC, servers, workers, 40, 5);
            run_well(&f);
            assert_int_equal(f.outcome.step, 40);
            for (int u = 0; u < 40; u++) assert_int_equal(f.used[u], 1);
            assert_true(exists(&f, "eval/valid-%08lld.json", 40));
            assert_true(f.evaluated >= 6 && f.evaluated % 3 == 0);
            fake_end(&f);
            validated(&f, HP_ASYNC, servers, workers, 4000, 5);
            f.config.valid.patience = 1;
            run_well(&f);
            assert_true(f.outcome.early && !f.outcome.stopped && f.outcome.step < 2000);
            for (int64_t u = 0; u < FAKE_UNITS; u++)
                assert_int_equal(f.used[u], u < f.outcome.step);
            fake_end(&f);
        }
}

/* A worker that leaves while parts are with it: others score them. */
static void test_valid_worker_leaves(void **state) {
    (void)state;
    static fake_t f;
    for (int quit = 1; quit < 6; quit++) {
        validated(&f, HP_SYNC, 2, 3, 9, 1);
        f.quit_after = quit;
        run_well(&f);
        is_reference(&f, 2, 9);
        evaluated(&f, 1, 9, 4);
        fake_end(&f);
    }
}

static void async_once(fake_t *f, int64_t units) {
    run_well(f);
    assert_int_equal(f->outcome.step, units);
    for (int64_t u = 0; u < units; u++) assert_int_equal(f->used[u], 1);
    assert_int_equal(f->used[units], 0);
}

/* Every unit once, whatever the timing; each is a step of Adam on every chunk. */
static void test_async(void **state) {
    (void)state;
    static fake_t f;
    for (int servers = 1; servers <= 3; servers++)
        for (int workers = 1; workers <= 4; workers += 3) {
            fake_begin(&f, HP_ASYNC, servers, workers, 40);
            f.config.cluster.slots = 1 + workers;
            f.config.optimizer.clip_norm = 1;
            f.seed = 77;
            f.slow_us = 2000;
            async_once(&f, 40);
            int64_t count[16];
            for (int i = 0; i < servers; i++) {
                assert_int_equal(logged_staleness(&f, i, count), 40);
                assert_true(workers == 1 ? count[0] == 40 : count[0] < 40);
            }
            hp_checkpoint_t *checkpoint = NULL;
            assert_int_equal(hp_checkpoint_open(f.run, "last", &checkpoint, NULL, NULL), HP_OK);
            assert_int_equal(hp_checkpoint_position(checkpoint)->next_unit, 40);
            assert_int_equal(hp_checkpoint_position(checkpoint)->outstanding, 0);
            for (int64_t e = 0; e < f.params.total; e += 500) {
                int64_t version = 0, updates = 0;
                assert_int_equal(hp_checkpoint_chunk(checkpoint, e, &version, &updates, NULL),
                                 HP_OK);
                assert_int_equal(version, 40);
                assert_int_equal(updates, 40);
            }
            hp_checkpoint_close(checkpoint);
            fake_end(&f);
        }
}

/* One worker in `async` sees its own gradients at once: it is plain Adam. */
static void test_async_one_worker(void **state) {
    (void)state;
    static fake_t f;
    int64_t count[16];
    for (int servers = 1; servers <= 3; servers++) {
        fake_begin(&f, HP_ASYNC, servers, 1, 7);
        async_once(&f, 7);
        is_reference(&f, 1, 7);
        for (int i = 0; i < servers; i++)
            assert_true(logged_staleness(&f, i, count) == 7 && count[0] == 7);
        fake_end(&f);
    }
}

/* Stopped in the middle and gone on with: no unit is lost, none is done twice. */
static void test_async_resume(void **state) {
    (void)state;
    static fake_t f;
    for (int stop = 1; stop < 40; stop += 9) {
        fake_begin(&f, HP_ASYNC, 2, 3, 40);
        f.seed = (uint64_t)stop;
        f.stop_after = stop;
        run_well(&f);
        assert_true(f.outcome.step >= stop && f.outcome.step <= 40);
        fake_again(&f, 3, 2, 40);
        run_well(&f);
        assert_int_equal(f.outcome.step, 40);
        for (int u = 0; u < 40; u++) assert_int_equal(f.used[u], 1);
        assert_int_equal(f.used[40], 0);
        fake_end(&f);
    }
}

/* Units summed before a step. One worker: the bytes of the plain computation, also where it was
 * stopped and went on, and where units are refused. */
static void test_accumulate(void **state) {
    (void)state;
    static fake_t f;
    for (int servers = 1; servers <= 3; servers++)
        for (int stop = 0; stop < 21; stop += 5) {
            fake_begin(&f, servers == 2 ? HP_BOUNDED : HP_ASYNC, servers, 1, 7);
            f.config.cluster.accumulate = 3;
            f.config.optimizer.max_norm = 100;
            f.loud = servers == 3 ? 5 : 0;
            f.stop_after = stop;
            run_well(&f);
            if (stop > 0) {
                assert_true(f.outcome.stopped == (f.outcome.step < 7));
                assert_true(f.outcome.step * 3 >= stop);
                is_reference(&f, 3, f.outcome.step);
                fake_again(&f, 1 + servers % 3, 1, 7);
                run_well(&f);
            }
            assert_int_equal(f.outcome.step, 7);
            for (int u = 0; u < 22; u++) assert_int_equal(f.used[u], u < 21);
            is_reference(&f, 3, 7);
            fake_end(&f);
        }
}

/* The norm of what meets in a step is not known to any server: each push is clipped by itself. */
static void test_accumulate_clip(void **state) {
    (void)state;
    static fake_t f;
    fake_begin(&f, HP_ASYNC, 1, 1, 1);
    f.config.cluster.accumulate = 2;
    f.config.optimizer.clip_norm = 0.01;
    run_well(&f);
    size_t n = (size_t)f.params.total;
    float *once = fake_result(&f), *twice = NULL;
    f.config.optimizer.clip_norm = 0.02;
    fake_end(&f);
    fake_begin(&f, HP_ASYNC, 1, 1, 1);
    f.config.cluster.accumulate = 2;
    f.config.optimizer.clip_norm = 0.02;
    run_well(&f);
    twice = fake_result(&f);
    double sum = 0; /* the first moment is a tenth of the mean gradient: no longer than the limit */
    for (size_t i = 0; i < n; i++) {
        float m = once[n + i], m2 = twice[n + i];
        sum += (double)m * m;
        assert_true(m2 >= 1.99999f * m - 1e-9f * (m < 0) || m < 0);
    }
    assert_true(sum > 0 && sum <= 0.001 * 0.001 * 1.0001);
    hp_free(once);
    hp_free(twice);
    fake_end(&f);
}

/* Several workers: every unit once, whole steps on every chunk, whatever the order. */
static void test_accumulate_many(void **state) {
    (void)state;
    static fake_t f;
    for (int stop = 0; stop < 30; stop += 7) {
        fake_begin(&f, HP_ASYNC, 3, 4, 10);
        f.config.cluster.accumulate = 4;
        f.seed = 31 + (uint64_t)stop;
        f.stop_after = stop;
        run_well(&f);
        if (stop > 0) fake_again(&f, 2, 3, 10);
        if (stop > 0) run_well(&f);
        assert_int_equal(f.outcome.step, 10);
        for (int u = 0; u < 41; u++) assert_int_equal(f.used[u], u < 40);
        hp_checkpoint_t *checkpoint = NULL;
        assert_int_equal(hp_checkpoint_open(f.run, "last", &checkpoint, NULL, NULL), HP_OK);
        assert_int_equal(hp_checkpoint_position(checkpoint)->next_unit, 40);
        assert_int_equal(hp_checkpoint_position(checkpoint)->outstanding, 0);
        for (int64_t e = 0; e < f.params.total; e += 500) {
            int64_t version = 0, updates = 0;
            assert_int_equal(hp_checkpoint_chunk(checkpoint, e, &version, &updates, NULL), HP_OK);
            assert_true(version == 10 && updates == 10);
        }
        hp_checkpoint_close(checkpoint);
        fake_end(&f);
    }
}

/* A worker that leaves early: its units go to others. */
static void test_worker_leaves(void **state) {
    (void)state;
    static fake_t f;
    for (int mode = 0; mode < 2; mode++) {
        fake_begin(&f, mode == 0 ? HP_ASYNC : HP_SYNC, 2, 3, 12);
        f.quit_after = 2;
        f.seed = 3;
        run_well(&f);
        assert_int_equal(f.outcome.step, 12);
        if (mode == 1) is_reference(&f, 2, 12);
        for (int u = 0; u < (mode == 0 ? 12 : 24); u++) assert_int_equal(f.used[u], 1);
        fake_end(&f);
    }
    fake_begin(&f, HP_ASYNC, 1, 1, 12);
    f.quit_after = 2;
    assert_int_equal(fake_loopback(&f), HP_PEER);
    assert_string_equal(f.err.text, "no worker is left");
    assert_int_equal(f.spoken, 1);
    fake_end(&f);
}

/* Gradients that are not finite are refused, alike on every server; several end the run, with a
 * checkpoint of the last good weights. */
static void test_nonfinite(void **state) {
    (void)state;
    static fake_t f;
    for (int servers = 1; servers <= 3; servers++) {
        fake_begin(&f, HP_SYNC, servers, 2, 50);
        f.nonfinite = 8;
        f.config.optimizer.clip_norm = servers == 2 ? 1 : 0;
        assert_int_equal(fake_loopback(&f), HP_NONFINITE);
        assert_true(fake_all_parted(&f));
        assert_int_equal(f.spoken, 1);
        assert_true(f.outcome.step >= 5 && f.outcome.step < 12);
        is_reference(&f, 2, 4);
        fake_end(&f);
    }
    fake_begin(&f, HP_ASYNC, 2, 1, 50);
    f.nonfinite = 3;
    assert_int_equal(fake_loopback(&f), HP_NONFINITE);
    assert_true(fake_all_parted(&f));
    assert_non_null(strstr(f.err.text, "the gradient of lstm.weight is not finite"));
    is_reference(&f, 1, 3);
    fake_end(&f);
}

/* The number after "key": in the last line of server 0's log; of a list, the sum. */
static int64_t logged(const fake_t *f, const char *key) {
    char path[300], line[4096] = "", name[64];
    snprintf(path, sizeof path, "%s/log/server-0000.jsonl", f->run);
    FILE *log = fopen(path, "r");
    assert_non_null(log);
    while (fgets(line, sizeof line, log) != NULL) continue;
    fclose(log);
    snprintf(name, sizeof name, "\"%s\":", key);
    char *at = strstr(line, name);
    assert_non_null(at);
    at += strlen(name);
    int64_t sum = 0;
    bool list = *at == '[';
    do {
        sum += strtoll(at + list, &at, 10);
    } while (list && *at == ',');
    return sum;
}

/* Gradients that are too large are left out of a step, alike on every server: the bytes are those
 * of a plain computation without them. A step of such units alone changes nothing. */
static void test_oversized(void **state) {
    (void)state;
    static fake_t f;
    for (int servers = 1; servers <= 3; servers++)
        for (int shards = 1; shards <= 3; shards++) {
            fake_begin(&f, HP_SYNC, servers, 4 - servers, 8);
            f.config.cluster.sync_shards = shards;
            f.config.optimizer.max_norm = 100;
            f.config.optimizer.max_refused = 1000;
            f.config.optimizer.clip_norm = servers == 2 ? 1 : 0;
            f.loud = 3;
            run_well(&f);
            assert_int_equal(f.outcome.step, 8);
            is_reference(&f, shards, 8);
            assert_int_equal(logged(&f, "refused"), 8 * shards / 3);
            assert_int_equal(logged(&f, "refused_by_worker"), 8 * shards / 3);
            fake_end(&f);
        }
    fake_begin(&f, HP_ASYNC, 2, 1, 50);
    f.loud = 1;
    f.config.optimizer.max_norm = 100;
    f.config.optimizer.max_refused = 7;
    assert_int_equal(fake_loopback(&f), HP_NONFINITE);
    assert_true(fake_all_parted(&f));
    assert_non_null(strstr(f.err.text, "7 units in a row are refused"));
    assert_non_null(strstr(f.err.text, "above optimizer.max_norm 100, most of it in lstm.weight"));
    assert_int_equal(logged(&f, "refused"), f.outcome.step);
    fake_end(&f);
}

static void test_bounded(void **state) {
    (void)state;
    static fake_t f;
    for (int staleness = 0; staleness <= 4; staleness += 2)
        for (int prefetch = 1; prefetch <= 4; prefetch += 3) {
            fake_begin(&f, HP_BOUNDED, 2, 3, 40);
            f.config.cluster.staleness = staleness;
            f.gather = true;
            f.config.data.prefetch = prefetch;
            f.slow_us = 4000;
            async_once(&f, 40);
            /* never above the bound, and the fast ones get to it */
            assert_int_equal(f.most_lead, staleness);
            fake_end(&f);
        }
}

/* Spares do nothing until a worker is gone; then one of them, and no other, works. */
static void test_spares(void **state) {
    (void)state;
    static fake_t f;
    for (int mode = 0; mode < 2; mode++)
        for (int quits = 0; quits < 2; quits++) {
            fake_begin(&f, mode == 0 ? HP_ASYNC : HP_SYNC, 2, 4, 20);
            f.config.cluster.spares = 2;
            f.quit_after = quits ? 2 : 0;
            f.pause_us = 1000;
            run_well(&f);
            assert_int_equal(f.outcome.step, 20);
            if (mode == 1) is_reference(&f, 2, 20);
            for (int u = 0; u < (mode == 0 ? 20 : 40); u++) assert_int_equal(f.used[u], 1);
            int woken = (f.units_of[2] > 0) + (f.units_of[3] > 0);
            assert_int_equal(woken, quits);
            fake_end(&f);
        }
    fake_begin(&f, HP_ASYNC, 1, 2, 20); /* the last worker too has somebody to take its place */
    f.config.cluster.spares = 1;
    f.quit_after = 3;
    async_once(&f, 20);
    assert_int_equal(f.units_of[1], 17);
    fake_end(&f);
}

/* What cannot work is said in one line. */
static void test_refusals(void **state) {
    (void)state;
    static fake_t f;
    fake_begin(&f, HP_SYNC, 1, 1, 2);
    f.config.cluster.slots = 300;
    assert_int_equal(fake_loopback(&f), HP_INPUT);
    assert_int_equal(f.spoken, 1); /* the server; the worker was told */
    fake_again(&f, 1, 1, 2);
    f.config.cluster.slots = 2;
    assert_int_equal(fake_loopback(&f), HP_INPUT); /* nothing to resume from */
    assert_non_null(strstr(f.err.text, f.run));
    fake_end(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sync_small),       cmocka_unit_test(test_sync),
        cmocka_unit_test(test_sync_dense),       cmocka_unit_test(test_sync_clip),
        cmocka_unit_test(test_sync_half),        cmocka_unit_test(test_half_bytes),
        cmocka_unit_test(test_sync_odd),         cmocka_unit_test(test_sync_resume),
        cmocka_unit_test(test_sync_checkpoints), cmocka_unit_test(test_async),
        cmocka_unit_test(test_async_one_worker), cmocka_unit_test(test_async_resume),
        cmocka_unit_test(test_worker_leaves),    cmocka_unit_test(test_nonfinite),
        cmocka_unit_test(test_accumulate),       cmocka_unit_test(test_accumulate_clip),
        cmocka_unit_test(test_accumulate_many),  cmocka_unit_test(test_oversized),
        cmocka_unit_test(test_bounded),          cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_sync_schedule),    cmocka_unit_test(test_sync_valid),
        cmocka_unit_test(test_sync_early),       cmocka_unit_test(test_sync_valid_resume),
        cmocka_unit_test(test_async_valid),      cmocka_unit_test(test_valid_worker_leaves),
        cmocka_unit_test(test_spares),
    };
    if (getenv("ONLY")) cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
