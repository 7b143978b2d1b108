#include "tests/support/fake_run.h"

#include "common/checkpoint.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/run_folder.h"
#include "common/schedule.h"
#include "common/shard_plan.h"
#include "common/vector.h"
#include "ps/adam.h"
#include "worker/client.h"

#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

enum { EPOCH = 1000 }; /* examples of a pass */

static void add(fake_t *f, const char *name, int64_t rows, int64_t columns, bool sparse) {
    int64_t shape[2] = {rows, columns};
    if (hp_params_add(&f->params, name, columns > 1 ? 2 : 1, shape, HP_PARAM_WEIGHT, HP_INIT_NORMAL,
                      0.5, sparse && !f->dense, NULL, NULL) != HP_OK)
        abort();
}

static void make_table(fake_t *f) {
    hp_params_release(&f->params);
    add(f, "embedding.weight", 150, 20, true);
    add(f, "lstm.weight", 64, 48, false);
    add(f, "lstm.bias", 63, 1, false);
    add(f, "image.weight", 130, 90, false);
    add(f, "image.bias", 90, 1, false);
    add(f, "classifier.weight", 77, 101, false);
    add(f, "classifier.bias", 77, 1, false);
}

void fake_begin(fake_t *f, hp_consistency_t consistency, int servers, int workers, int64_t steps) {
    bool dense = f->dense;
    memset(f, 0, sizeof *f);
    f->dense = dense;
    hp_config_default(&f->config);
    f->config.cluster.consistency = consistency;
    f->config.cluster.servers = servers;
    f->config.cluster.sync_shards = 2;
    f->config.run.steps = steps;
    f->config.optimizer.lr = 0.01;
    f->config.checkpoint.every_steps = 0;
    f->config.checkpoint.every_minutes = 0;
    f->workers = workers;
    f->nonfinite = -1;
    snprintf(f->run, sizeof f->run, "%s/hanps-fake-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    if (mkdtemp(f->run) == NULL) abort();
    make_table(f);
}

void fake_again(fake_t *f, int servers, int workers, int64_t steps) {
    f->config.cluster.servers = servers;
    f->config.run.steps = steps;
    f->workers = workers;
    f->resume = "last";
    f->gather = false;
    f->stop_after = f->quit_after = 0;
    atomic_store(&f->parted, 0);
    for (int i = 0; i < FAKE_WORKERS; i++) atomic_store(&f->done[i], 0);
}

bool fake_all_parted(fake_t *f) {
    return f->outcome.clean && atomic_load(&f->parted) == f->workers;
}

void fake_end(fake_t *f) {
    char command[300];
    snprintf(command, sizeof command, "rm -rf '%s'", f->run);
    if (system(command) != 0) abort();
    hp_params_release(&f->params);
}

/* ---- the model ---- */

static int64_t unit_examples(uint64_t unit) { return 3 + (int64_t)(unit % 5); }

static bool row_used(uint64_t unit, int64_t row) {
    return hp_random_mix(unit, (uint64_t)row) % 5 == 0;
}

static float noise(uint64_t unit, int64_t element) {
    return (float)(hp_random_mix(unit * 7919 + 1, (uint64_t)element) >> 40) / 16777216.0f - 0.5f;
}

/* Sum over the unit's examples. */
static float gradient(uint64_t unit, int64_t element, float weight) {
    return (float)unit_examples(unit) * (0.3f * weight + noise(unit, element));
}

static void param_gradient(const hp_param_t *p, uint64_t unit, const float *weights, float *grads) {
    bool rows = strcmp(p->name, "embedding.weight") == 0;
    for (int64_t i = 0; i < p->count; i++) {
        bool used = !rows || row_used(unit, i / p->shape[1]);
        if (!used && p->sparse_rows) continue;
        int64_t e = p->offset + i;
        grads[e] = used ? gradient(unit, e, weights[e]) : 0;
    }
}

/* Gradients that the servers are to refuse. */
static void spoil(const fake_t *f, uint64_t unit, float *grads) {
    const hp_param_t *p = &f->params.param[1];
    if (f->nonfinite >= 0 && unit >= (uint64_t)f->nonfinite) grads[p->offset] = NAN;
    if (f->loud > 0 && unit % (uint64_t)f->loud == (uint64_t)f->loud - 1)
        for (int64_t i = 0; i < p->count; i++) grads[p->offset + i] *= 1000;
}

static void pause_for(const fake_t *f, int worker, uint64_t unit) {
    if (worker == 0 && f->slow_us > 0) usleep((useconds_t)f->slow_us);
    if (f->pause_us > 0) usleep((useconds_t)f->pause_us);
    if (f->seed != 0) usleep((useconds_t)(hp_random_mix(f->seed + (uint64_t)worker, unit) % 1500));
}

static void moment(const fake_t *f, int worker, int64_t own, int phase) {
    if (f->moment != NULL) f->moment(worker, own, phase);
}

static hp_status_t compute(fake_t *f, wk_client_t *c, int worker, int64_t own, uint64_t unit,
                           const float *weights, float *grads, hp_error_t *err) {
    int32_t row[150];
    int rows = 0;
    for (int i = 0; i < f->params.count; i++) HP_TRY(wk_client_need(c, i, err));
    pause_for(f, worker, unit);
    for (int64_t r = 0; r < f->params.param[0].shape[0]; r++)
        if (row_used(unit, r)) row[rows++] = (int32_t)r;
    moment(f, worker, own, 0);
    for (int i = f->params.count - 1; i >= 0; i--) {
        if (i == f->params.count / 2) moment(f, worker, own, 1);
        param_gradient(&f->params.param[i], unit, weights, grads);
        if (i == 1) spoil(f, unit, grads);
        if (f->params.param[i].sparse_rows) HP_TRY(wk_client_sparse_rows(c, i, rows, row, err));
        HP_TRY(wk_client_final(c, i, err));
    }
    return HP_OK;
}

/* A worker has begun a unit: how far is it ahead? */
static void note_lead(fake_t *f, int worker) {
    int own = atomic_load(&f->done[worker]), least = own;
    for (int i = 0; i < f->workers; i++) {
        int done = atomic_load(&f->done[i]);
        if (done < least) least = done;
    }
    if (own - least > atomic_load(&f->most_lead)) atomic_store(&f->most_lead, own - least);
}

static void gather(fake_t *f) {
    atomic_fetch_add(&f->here, 1);
    for (int i = 0; f->gather && i < 10000 && atomic_load(&f->here) < f->workers; i++) usleep(1000);
}

/* The accuracy of a step; the checkpoint must be there, whatever checkpoint.keep says. */
static hp_status_t evaluate(fake_t *f, wk_client_t *c, const wk_unit_t *part, hp_error_t *err) {
    hp_checkpoint_t *checkpoint = NULL;
    char step[32];
    hp_error_t why;
    int64_t away = part->step > f->peak ? part->step - f->peak : f->peak - part->step;
    hp_scores_t scores = {.examples = 10, .score = 9 - 0.1 * (double)away, .metric = "exact"};
    snprintf(step, sizeof step, "%lld", (long long)part->step);
    bool there = hp_checkpoint_open(f->run, step, &checkpoint, NULL, &why) == HP_OK;
    if (there) hp_checkpoint_close(checkpoint);
    if (f->seed != 0) usleep((useconds_t)(hp_random_mix(f->seed, (uint64_t)part->part) % 3000));
    if (f->evaluate_us > 0) usleep((useconds_t)f->evaluate_us);
    if (part->parts != 3 || part->part >= 3) abort();
    atomic_fetch_add(&f->evaluated, 1);
    return wk_client_evaluated(c, part, there ? &scores : NULL, why.text, err);
}

static hp_status_t work(fake_t *f, wk_client_t *c, int worker, hp_error_t *err) {
    int64_t own = 0;
    for (;;) {
        wk_unit_t unit;
        const float *weights = NULL;
        float *grads = NULL;
        HP_TRY(wk_client_next_unit(c, &unit, err));
        if (unit.last || (worker == 0 && f->quit_after > 0 && own == f->quit_after)) return HP_OK;
        if (unit.evaluate) {
            HP_TRY(evaluate(f, c, &unit, err));
            continue;
        }
        if (f->data_us > 0) usleep((useconds_t)f->data_us);
        hp_status_t st = wk_client_begin(c, &unit, &weights, &grads, err);
        if (st == HP_INTERRUPTED) continue;
        HP_TRY(st);
        note_lead(f, worker);
        st = compute(f, c, worker, own, unit.unit, weights, grads, err);
        atomic_fetch_add(&f->done[worker], 1); /* before anybody can know of the commit */
        if (st == HP_OK) st = wk_client_commit(c, unit_examples(unit.unit), err);
        if (st == HP_INTERRUPTED) {
            atomic_fetch_sub(&f->done[worker], 1);
            HP_TRY(wk_client_abort(c, err));
            continue;
        }
        HP_TRY(st);
        moment(f, worker, own, 2);
        own++;
        atomic_fetch_add(&f->units_of[worker], 1);
        if (unit.unit < FAKE_UNITS) atomic_fetch_add(&f->used[unit.unit], 1);
        if (atomic_fetch_add(&f->committed, 1) + 1 == f->stop_after) wk_client_request_stop(c);
    }
}

/* ---- ranks ---- */

static hp_status_t run_worker(fake_t *f, hp_transport_t *t, int worker, hp_error_t *err) {
    wk_client_t *c = NULL;
    HP_TRY(wk_client_open(t, &f->config, &f->params, &c, err));
    gather(f);
    hp_status_t st = work(f, c, worker, err);
    atomic_store(&f->done[worker], INT_MAX);
    hp_error_t closing;
    bool clean = false;
    hp_status_t closed = wk_client_close(c, &clean, NULL, &closing);
    if (clean) atomic_fetch_add(&f->parted, 1);
    if (st == HP_OK && closed != HP_OK) *err = closing;
    return st == HP_OK ? closed : st;
}

hp_status_t fake_rank(fake_t *f, hp_transport_t *t, hp_error_t *err) {
    int rank = hp_transport_rank(t), servers = f->config.cluster.servers;
    if (rank >= servers) return run_worker(f, t, rank - servers, err);
    ps_outcome_t outcome;
    hp_log_t *log = NULL;
    HP_TRY(hp_log_open(
        "server", getenv("FAKE_LOG") || getenv("FAULT") ? HP_LOG_DEBUG : HP_LOG_ERROR, &log, err));
    const ps_server_options_t options = {.transport = t,
                                         .config = &f->config,
                                         .params = &f->params,
                                         .threads = f->config.cluster.server_threads,
                                         .servers = servers,
                                         .workers = f->workers,
                                         .run = f->barred && rank == 0 ? "/dev/null" : f->run,
                                         .resume = f->resume,
                                         .config_yaml = "fake: true\n",
                                         .epoch_examples = EPOCH,
                                         .valid_parts = f->peak > 0 ? 3 : 0,
                                         .log = log};
    hp_status_t st = ps_server_run(&options, &outcome, err);
    if (rank == 0) f->outcome = outcome;
    hp_log_close(log);
    return st;
}

typedef struct {
    fake_t *fake;
    hp_transport_t *transport;
    pthread_t thread;
    hp_status_t status;
    hp_error_t err;
} rank_t;

static void *run_rank(void *context) {
    rank_t *r = context;
    r->status = fake_rank(r->fake, r->transport, &r->err);
    if (r->status == HP_OK) atomic_fetch_add(&r->fake->pending, hp_transport_pending(r->transport));
    return NULL;
}

static void make_folders(const fake_t *f) {
    char command[600];
    snprintf(command, sizeof command, "mkdir -p '%s/log' '%s/checkpoints'", f->run, f->run);
    if (system(command) != 0) abort();
}

hp_status_t fake_loopback(fake_t *f) {
    enum { MOST = 32 };
    int n = f->config.cluster.servers + f->workers;
    hp_transport_t *endpoint[MOST];
    rank_t rank[MOST];
    hp_status_t st = HP_OK;
    make_folders(f);
    f->spoken = 0;
    if (n > MOST) abort();
    hp_status_t made = f->chaos.lose_of > 0
                           ? hp_transport_loopback_chaos(n, &f->chaos, endpoint, &f->err)
                           : hp_transport_loopback(n, endpoint, &f->err);
    if (made != HP_OK) {
        f->spoken = 1;
        return made;
    }
    for (int i = 0; i < n; i++) {
        rank[i] = (rank_t){.fake = f, .transport = endpoint[i]};
        if (pthread_create(&rank[i].thread, NULL, run_rank, &rank[i]) != 0) abort();
    }
    for (int i = 0; i < n; i++) {
        pthread_join(rank[i].thread, NULL);
        if (rank[i].status != HP_OK && !rank[i].err.told) f->spoken++;
        if (st == HP_OK && rank[i].status != HP_OK) {
            st = rank[i].status;
            f->err = rank[i].err;
        }
    }
    if (f->chaos.lose_of > 0) f->sent = hp_chaos_sent(endpoint[f->chaos.lose_of - 1]);
    for (int i = 0; i < n; i++) hp_transport_close(endpoint[i], true);
    return st;
}

float *fake_result(const fake_t *f) {
    hp_checkpoint_t *checkpoint = NULL;
    hp_error_t err;
    int64_t n = f->params.total;
    if (hp_checkpoint_open(f->run, "last", &checkpoint, NULL, &err) != HP_OK) return NULL;
    float *out = hp_calloc((size_t)(3 * n), sizeof *out);
    if (hp_checkpoint_read(checkpoint, 0, n, out, out + n, out + 2 * n, &err) != HP_OK) {
        hp_free(out);
        out = NULL;
    }
    hp_checkpoint_close(checkpoint);
    return out;
}

uint64_t fake_hash(const fake_t *f) {
    float *out = fake_result(f);
    uint64_t h = out ? XXH3_64bits(out, (size_t)(3 * f->params.total) * sizeof *out) : 0;
    hp_free(out);
    return h;
}

/* Squared norm, chunk by chunk, as the servers sum it. */
static double norm(const hp_shard_plan_t *plan, const float *sum) {
    double total = 0;
    for (int k = 0; k < plan->chunks; k++) {
        const hp_chunk_t *c = &plan->chunk[k];
        if (c->rows == 0) total += hp_sum_squares(sum + c->begin, hp_chunk_floats(c));
        double rows = 0;
        for (int r = 0; r < c->rows; r++)
            rows += hp_sum_squares(sum + c->begin + (int64_t)r * c->row_width, c->row_width);
        total += rows;
    }
    return total;
}

static float on_wire(const fake_t *f, float x) {
    return f->config.cluster.wire == HP_BF16 ? hp_bf16_to_float(hp_bf16_from_float(x)) : x;
}

int64_t fake_gradient(const fake_t *f, uint64_t unit, const float *weights, float *grads) {
    memset(grads, 0, (size_t)f->params.total * sizeof *grads);
    for (int i = 0; i < f->params.count; i++)
        param_gradient(&f->params.param[i], unit, weights, grads);
    spoil(f, unit, grads);
    return unit_examples(unit);
}

void fake_reference(const fake_t *f, int shards, int64_t steps, float *weights) {
    int64_t n = f->params.total;
    const hp_config_t *config = &f->config;
    hp_schedule_t schedule;
    if (hp_schedule_make(config, config->run.steps, config->data.batch_size * shards, EPOCH,
                         &schedule, NULL) != HP_OK)
        abort();
    ps_adam_t adam = {.beta1 = config->optimizer.beta1,
                      .beta2 = config->optimizer.beta2,
                      .eps = config->optimizer.eps};
    float *m = hp_calloc((size_t)n, sizeof *m), *v = hp_calloc((size_t)n, sizeof *v);
    float *sum = hp_calloc((size_t)n, sizeof *sum), *g = hp_calloc((size_t)n, sizeof *g);
    float *seen = hp_calloc((size_t)n, sizeof *seen); /* the weights as workers see them */
    hp_shard_plan_t plan;
    if (hp_shard_plan_create(&f->params, 1, &plan, NULL) != HP_OK) abort();
    hp_params_initialise(&f->params, (uint64_t)config->run.seed, 0, n, weights);
    for (int64_t t = 0, updates = 0; t < steps; t++) {
        int64_t examples = 0;
        memset(sum, 0, (size_t)n * sizeof *sum);
        for (int64_t i = 0; i < n; i++) seen[i] = on_wire(f, weights[i]);
        for (int k = 0; k < shards; k++) {
            uint64_t unit = (uint64_t)(t * shards + k);
            fake_gradient(f, unit, seen, g);
            for (int64_t i = 0; i < n; i++) g[i] = on_wire(f, g[i]);
            double most = config->optimizer.max_norm;
            if (most > 0 && sqrt(norm(&plan, g)) / (double)unit_examples(unit) > most) continue;
            for (int64_t i = 0; i < n; i++) sum[i] += g[i];
            examples += unit_examples(unit);
        }
        if (examples == 0) continue;
        double scale = 1 / (double)examples;
        scale = ps_clip(config->optimizer.clip_norm, norm(&plan, sum) * scale * scale) * scale;
        updates++;
        adam.lr = hp_schedule_rate(&schedule, t);
        for (int i = 0; i < f->params.count; i++) {
            const hp_param_t *p = &f->params.param[i];
            float *w = weights + p->offset;
            bool decays = config->optimizer.decay_on == HP_DECAY_ALL || p->dims > 1;
            adam.l2 = decays ? config->optimizer.weight_decay : 0;
            ps_adam(&adam, updates, p->count, sum + p->offset, scale, w, w, m + p->offset,
                    m + p->offset, v + p->offset, v + p->offset);
        }
    }
    hp_shard_plan_release(&plan);
    hp_free(m);
    hp_free(v);
    hp_free(sum);
    hp_free(g);
    hp_free(seen);
}
