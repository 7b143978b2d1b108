#include "cli/plan_model.h"

#include "common/memory.h"
#include "common/shard_plan.h"
#include "ps/server.h"

#include <math.h>
#include <stdlib.h>

#define PAYLOAD 0.94  /* of a link's bits at Ethernet's 1,500 bytes: the rest is headers */
#define LESS    0.9   /* of a link: chunks are not dealt quite evenly */
#define EAGER   65536 /* bytes; of more Open MPI first asks the receiver */

typedef struct {
    double time;
    int number;
} event_t;

/* A prediction under way. */
typedef struct {
    const plan_work_t *work;
    const plan_layout_t *layout;
    unsigned none; /* bit c: cause c costs nothing */
    bool sync;
    int units;     /* of a step in sync */
    double active; /* workers that have a unit at a time */
    hp_shard_plan_t shards;
    double link;                       /* bytes/s of a worker's messages, one way */
    double latency;                    /* one way */
    double *push, *pull;               /* [chunks] bytes */
    double *server_push, *server_pull; /* [servers] */
    double *ready;                     /* [chunks] in seconds, then arrival */
    double *sent;                      /* [servers] */
    event_t *event;                    /* [chunks or parameters] */
    double push_all, pull_all;
} plan_t;

static double larger(double a, double b) { return a > b ? a : b; }
static double smaller(double a, double b) { return a < b ? a : b; }

static bool free_of(const plan_t *p, plan_cause_t cause) { return p->none >> cause & 1; }

double plan_distinct_words(int vocabulary, double tokens) {
    double harmonic = 0, sum = 0;
    for (int r = 1; r <= vocabulary; r++) harmonic += 1.0 / r;
    for (int r = 1; r <= vocabulary; r++)
        sum += -expm1(tokens * log1p(-smaller(1 / (r * harmonic), 1 - 1e-12)));
    return sum;
}

/* ---- sizes ---- */

static void size_chunks(plan_t *p) {
    for (int k = 0; k < p->shards.chunks; k++) {
        const hp_chunk_t *c = &p->shards.chunk[k];
        double rows = 0;
        if (c->rows > 0) /* rare words and frequent ones lie anywhere */
            rows =
                p->work->rows * c->rows / (double)p->work->params->param[c->first_param].shape[0];
        p->push[k] = (double)hp_chunk_push_bytes(c, (int64_t)ceil(rows));
        p->pull[k] = (double)hp_chunk_bytes(c, hp_chunk_floats(c));
        p->server_push[c->server] += p->push[k];
        p->server_pull[c->server] += p->pull[k];
        p->push_all += p->push[k];
        p->pull_all += p->pull[k];
    }
}

static hp_status_t make(const plan_work_t *work, const plan_layout_t *layout, unsigned none,
                        plan_t *p, hp_error_t *err) {
    const hp_config_t *config = work->config;
    *p = (plan_t){.work = work, .layout = layout, .none = none};
    p->sync = config->cluster.consistency == HP_SYNC;
    p->units = config->cluster.sync_shards > 0 ? config->cluster.sync_shards : layout->workers;
    p->active = p->sync ? smaller(layout->workers, p->units) : layout->workers;
    p->latency = free_of(p, PLAN_LATENCY) ? 0 : work->latency;
    p->link = free_of(p, PLAN_LINK) ? INFINITY : work->bandwidth * PAYLOAD;
    if (!free_of(p, PLAN_MESSAGES)) p->link = smaller(p->link, work->rates.message);
    HP_TRY(hp_shard_plan_create(work->params, layout->servers, &p->shards, err));
    if (config->cluster.wire == HP_BF16) hp_shard_plan_halve(&p->shards);
    const size_t chunks = (size_t)p->shards.chunks, servers = (size_t)layout->servers;
    const size_t events =
        chunks > (size_t)work->params->count ? chunks : (size_t)work->params->count;
    void *numbers = NULL, *event = NULL;
    hp_status_t status =
        hp_allocate(&numbers, 3 * chunks + 3 * servers, sizeof(double), "a plan", err);
    if (status == HP_OK) status = hp_allocate(&event, events, sizeof(event_t), "a plan", err);
    p->event = event;
    p->push = numbers;
    if (status != HP_OK) return status;
    p->pull = p->push + chunks;
    p->ready = p->pull + chunks;
    p->server_push = p->ready + chunks;
    p->server_pull = p->server_push + servers;
    p->sent = p->server_pull + servers;
    size_chunks(p);
    return HP_OK;
}

static void unmake(plan_t *p) {
    hp_shard_plan_release(&p->shards);
    hp_free(p->push);
    hp_free(p->event);
}

/* ---- one worker ---- */

typedef struct {
    double forward, backward, core_seconds;
} compute_t;

/* A host's workers share its cores. */
static compute_t compute_of(const plan_t *p, int host) {
    const plan_rates_t *r = &p->work->rates;
    const int workers = plan_host_workers(p->layout, host);
    if (free_of(p, PLAN_COMPUTE) || workers == 0) return (compute_t){0};
    double threads = p->work->config->cluster.threads;
    if (threads == 0) threads = larger(1, r->cores / workers); /* NOLINT: as hanps train divides */
    const double crowd = larger(1, threads * workers / r->cores);
    const double slower = r->threads / threads * crowd;
    /* Each gradient is read once more: its norm, and its packing. */
    const double norm = (double)p->work->params->total * sizeof(float) / r->copy;
    return (compute_t){.forward = r->forward * slower,
                       .backward = r->backward * slower + norm * crowd,
                       .core_seconds = (r->forward + r->backward) * r->threads + norm};
}

/* Of a server's Adam and of its sums. */
static int server_threads(const plan_t *p, int host) {
    const int set = p->work->config->cluster.server_threads;
    const int ranks = plan_host_servers(p->layout, host) + plan_host_workers(p->layout, host);
    const int share = set > 0 ? set : p->work->rates.cores / (ranks > 0 ? ranks : 1);
    return share < 1 ? 1 : share < PLAN_THREADS ? share : PLAN_THREADS;
}

/* Seconds a number that the job takes which ends with an update, and that other pushes take. */
static double update_rate(const plan_t *p, int host) {
    const int t = server_threads(p, host) - 1;
    const bool sums = p->sync ? p->units > 1 : p->work->config->cluster.accumulate > 1;
    if (free_of(p, PLAN_ADAM)) return 0;
    return p->work->rates.adam[t] + (sums ? p->work->rates.fold[t] : 0);
}

static double fold_rate(const plan_t *p, int host) {
    return free_of(p, PLAN_ADAM) ? 0 : p->work->rates.fold[server_threads(p, host) - 1];
}

static int ascending(const void *a, const void *b) {
    const event_t *x = a, *y = b;
    if (x->time != y->time) return x->time < y->time ? -1 : 1;
    return x->number - y->number;
}

static bool beside(const plan_t *p, int host, int chunk) {
    return plan_host_of(p->layout, p->shards.chunk[chunk].server) == host;
}

/* Between ranks of a host a byte is copied into memory of both and out of it. */
static double local_rate(const plan_t *p) { return p->work->rates.copy / 4; }

/* One way; of a long message the question and its answer come first. */
static double travel(const plan_t *p, double bytes) { return (bytes > EAGER ? 3 : 1) * p->latency; }

/* Backward begins at 0. When each server has the push whole, into sent[]; returns when the worker
 * has sent the last of it. */
static double push_time(plan_t *p, int host, const compute_t *c, double link) {
    const int chunks = p->shards.chunks;
    double busy = 0, end = c->backward;
    for (int s = 0; s < p->layout->servers; s++) p->sent[s] = c->backward + p->latency;
    for (int k = 0; k < chunks; k++) {
        const hp_chunk_t *chunk = &p->shards.chunk[k];
        double last = 0;
        for (int i = chunk->first_param; i <= chunk->last_param; i++)
            last = larger(last, p->work->final[i]);
        p->event[k] = (event_t){last * c->backward, k};
    }
    qsort(p->event, (size_t)chunks, sizeof *p->event, ascending);
    for (int i = 0; i < chunks; i++) {
        const int k = p->event[i].number, server = p->shards.chunk[k].server;
        const bool local = beside(p, host, k);
        double done = p->event[i].time + p->push[k] / local_rate(p);
        if (!local) done = busy = larger(busy, p->event[i].time) + p->push[k] / link;
        end = larger(end, done);
        p->sent[server] = larger(p->sent[server], done + (local ? 0 : travel(p, p->push[k])));
    }
    return end;
}

/* When each chunk of the next weights arrives, into ready[]: servers update one chunk after another
 * from sent[] on. */
static void pull_time(plan_t *p, int host, double link) {
    const int chunks = p->shards.chunks;
    double busy = 0;
    for (int i = 0; i < chunks; i++) {
        const int k = p->shards.by_need[i], server = p->shards.chunk[k].server;
        p->sent[server] += (double)hp_chunk_floats(&p->shards.chunk[k]) *
                           update_rate(p, plan_host_of(p->layout, server));
        p->event[i] = (event_t){p->sent[server], k};
    }
    qsort(p->event, (size_t)chunks, sizeof *p->event, ascending);
    for (int i = 0; i < chunks; i++) {
        const int k = p->event[i].number;
        if (beside(p, host, k)) {
            p->ready[k] = p->event[i].time + p->pull[k] / local_rate(p);
        } else {
            busy = larger(busy, p->event[i].time) + p->pull[k] / link;
            p->ready[k] = busy + travel(p, p->pull[k]);
        }
    }
}

/* When a forward ends that begins at `begin` and waits for weights. */
static double forward_time(plan_t *p, const compute_t *c, double begin) {
    const int params = p->work->params->count;
    double now = begin, passed = 0;
    for (int i = 0; i < params; i++) p->event[i] = (event_t){p->work->need[i], i};
    qsort(p->event, (size_t)params, sizeof *p->event, ascending);
    for (int i = 0; i < params; i++) {
        now += (p->event[i].time - passed) * c->forward;
        passed = p->event[i].time;
        for (int k = 0; k < p->shards.chunks; k++) {
            const hp_chunk_t *chunk = &p->shards.chunk[k];
            if (chunk->first_param <= p->event[i].number && p->event[i].number <= chunk->last_param)
                now = larger(now, p->ready[k]);
        }
    }
    return now + (1 - passed) * c->forward;
}

/* Of a worker on that host, from one backward's begin to the next one's: `pushing` and `pulling`
 * are the rates that its links give it. In sync of all its units of a step. */
static double cycle_time(plan_t *p, int host, double pushing, double pulling) {
    const compute_t c = compute_of(p, host);
    const double reply = free_of(p, PLAN_LATENCY) ? 0 : p->work->rates.reply;
    const double sent = push_time(p, host, &c, pushing);
    for (int s = 0; s < p->layout->servers; s++) p->sent[s] += reply;
    pull_time(p, host, pulling);
    const double cycle = forward_time(p, &c, sent);
    if (!p->sync) return cycle;
    return (ceil(p->units / p->active) - 1) * (c.forward + sent) + cycle;
}

/* ---- what workers share ---- */

/* Bytes where nothing else is said. */
typedef struct {
    double push_in, pull_out;            /* of its servers, with workers elsewhere */
    double push_out, pull_in;            /* of its workers, with servers elsewhere */
    double messages;                     /* of its servers with all workers, wherever those are */
    double push_messages, pull_messages; /* of the busiest of its servers, which has one thread */
    double apply;                        /* core-seconds of its servers */
    double busiest_apply;                /* seconds of the busiest of them */
} load_t;

/* Of a host in a round, in which every worker does a unit; in sync in a step, of so many units by
 * so many workers. */
static load_t load_of(const plan_t *p, int host) {
    const plan_layout_t *l = p->layout;
    const hp_config_t *config = p->work->config;
    const double here = (double)plan_host_workers(l, host) / l->workers;
    const double pushes = p->sync ? p->units : p->active, pulls = p->active;
    load_t load = {0};
    double push = 0, pull = 0;
    for (int s = 0; s < l->servers; s++) {
        if (plan_host_of(l, s) != host) continue;
        const double numbers = (double)p->shards.server_floats[s];
        double seconds = numbers * update_rate(p, host) * p->active / config->cluster.accumulate;
        if (p->sync)
            seconds = numbers * (update_rate(p, host) + fold_rate(p, host) * (p->units - 1));
        else
            seconds +=
                numbers * fold_rate(p, host) * p->active * (1 - 1.0 / config->cluster.accumulate);
        push += p->server_push[s];
        pull += p->server_pull[s];
        load.apply += seconds * server_threads(p, host);
        load.busiest_apply = larger(load.busiest_apply, seconds);
        load.push_messages = larger(load.push_messages, p->server_push[s] * pushes);
        load.pull_messages = larger(load.pull_messages, p->server_pull[s] * pulls);
    }
    load.messages = push * pushes + pull * pulls;
    load.push_in = push * pushes * (1 - here);
    load.pull_out = pull * pulls * (1 - here);
    load.push_out = pushes * here * (p->push_all - push);
    load.pull_in = pulls * here * (p->pull_all - pull);
    return load;
}

/* Seconds in which the slots let in a push of every worker. A slot of a server is taken while the
 * push's part for that server travels, as fast as one link lets it, and is applied. In sync the
 * servers all begin with the same workers: until those have sent everything, the others' links are
 * idle. */
static double slot_bound(const plan_t *p) {
    const double slots = p->work->config->cluster.slots;
    const double sum = p->work->config->cluster.accumulate;
    const double wait = 3 * p->latency + p->work->rates.reply;
    double most = 0;
    if (p->active <= slots) return 0;
    for (int s = 0; s < p->layout->servers; s++) {
        const int host = plan_host_of(p->layout, s);
        const double part = p->server_push[s] / p->link;
        /* in sync all pushes but the last are only added */
        const double rate = p->sync ? fold_rate(p, host)
                                    : (update_rate(p, host) + fold_rate(p, host) * (sum - 1)) / sum;
        const double apply = (double)p->shards.server_floats[s] * rate;
        most = larger(most, p->active / slots * (part + wait + apply));
        if (p->sync) most = larger(most, p->push_all / p->link + (p->active - slots) * part);
    }
    return most;
}

typedef struct {
    double step, examples, server_link, worker_link;
    bool shared; /* what workers share makes it as slow as it is */
} outcome_t;

typedef struct {
    double round;            /* the least that a round takes */
    double pushing, pulling; /* seconds that the most loaded link needs for pushes, for pulls */
    double server_bytes, worker_bytes; /* of the busiest link, in a round */
} shared_t;

static bool alike(const plan_layout_t *l, int a, int b) {
    return plan_host_servers(l, a) == plan_host_servers(l, b) &&
           plan_host_workers(l, a) == plan_host_workers(l, b);
}

static shared_t share(const plan_t *p) {
    const plan_layout_t *l = p->layout;
    const double link = free_of(p, PLAN_LINK) ? INFINITY : p->work->bandwidth * PAYLOAD;
    const double message = free_of(p, PLAN_MESSAGES) ? INFINITY : p->work->rates.message;
    const double turns = p->sync ? p->units / p->active : 1;
    shared_t all = {0};
    for (int h = 0; h < l->hosts; h++) {
        if (h > 0 && alike(l, h - 1, h) && plan_host_servers(l, h) == 0) continue;
        const load_t load = load_of(p, h);
        const double in = load.push_in + load.pull_in, out = load.pull_out + load.push_out;
        double *busiest = plan_host_servers(l, h) > 0 ? &all.server_bytes : &all.worker_bytes;
        *busiest = larger(*busiest, larger(in, out));
        all.pushing =
            larger(all.pushing, larger(load.push_in / link, load.push_messages / message) / turns);
        all.pulling =
            larger(all.pulling, larger(load.pull_out / link, load.pull_messages / message));
        all.round = larger(all.round, larger(in, out) / link);
        all.round = larger(all.round, (load.push_messages + load.pull_messages) / message);
        all.round = larger(all.round, load.busiest_apply);
    }
    const double slots = slot_bound(p);
    all.pushing = larger(all.pushing, slots);
    all.round = larger(all.round, slots * turns);
    return all;
}

/* Least seconds of a round in which the host's cores do all that they have to. */
static double cores_bound(const plan_t *p, int host) {
    const load_t load = load_of(p, host);
    const double here = plan_host_workers(p->layout, host) * p->active / p->layout->workers;
    const double units = p->sync ? ceil(p->units / p->active) : 1;
    double seconds = load.apply + here * units * compute_of(p, host).core_seconds;
    if (!free_of(p, PLAN_MESSAGES))
        seconds +=
            (load.messages + here * (units * p->push_all + p->pull_all)) / p->work->rates.message;
    return seconds / p->work->rates.cores;
}

/* The rate that links give a worker which moves so many bytes while all together need so long. */
static double given(const plan_t *p, double bytes, double seconds) {
    return p->sync && seconds > 0 ? smaller(p->link, bytes / seconds) : p->link;
}

/* The time of a round of workers whose hosts are not alike: in sync that of the slowest. */
static double rounds(plan_t *p, const shared_t *all, bool *shared_p) {
    const plan_layout_t *l = p->layout;
    double slowest = 0, rate = 0, time = 0;
    for (int h = 0; h < l->hosts; h++) {
        const int w = plan_host_workers(l, h);
        if (w == 0) continue;
        if (h == 0 || !alike(l, h - 1, h)) { /* hosts that are alike lie together */
            double remote_push = p->push_all, remote_pull = p->pull_all;
            for (int i = 0; i < l->servers; i++) {
                if (plan_host_of(l, i) != h) continue;
                remote_push -= p->server_push[i];
                remote_pull -= p->server_pull[i];
            }
            const double pushing = given(p, remote_push, all->pushing);
            const double pulling = given(p, remote_pull, all->pulling);
            *shared_p = *shared_p || pushing < LESS * p->link || pulling < LESS * p->link;
            time = larger(cycle_time(p, h, pushing, pulling), cores_bound(p, h));
        }
        slowest = larger(slowest, time);
        rate += w / time;
    }
    time = p->sync ? slowest : l->workers / rate;
    *shared_p = *shared_p || time < all->round;
    return larger(time, all->round);
}

static hp_status_t run(const plan_work_t *work, const plan_layout_t *layout, unsigned none,
                       plan_t *p, outcome_t *out, hp_error_t *err) {
    hp_status_t status = make(work, layout, none, p, err);
    if (status != HP_OK) return status;
    const shared_t all = share(p);
    bool shared = false;
    const double step = rounds(p, &all, &shared);
    const double units = p->sync ? p->units : layout->workers;
    *out = (outcome_t){.step = step,
                       .examples = units * work->config->data.batch_size / step,
                       .shared = shared,
                       .server_link = all.server_bytes / step,
                       .worker_link = all.worker_bytes / step};
    return HP_OK;
}

/* ---- the whole ---- */

/* Servers differ little: chunks are dealt by size. */
static hp_status_t memory(const plan_work_t *work, const plan_layout_t *l, plan_result_t *result,
                          hp_error_t *err) {
    size_t server = 0;
    HP_TRY(ps_server_memory(work->config, work->params, l->servers, 0, &server, err));
    result->server_bytes = (double)server;
    result->worker_bytes = work->worker_bytes;
    for (int h = 0; h < l->hosts; h++)
        result->host_bytes =
            larger(result->host_bytes, plan_host_workers(l, h) * work->worker_bytes +
                                           plan_host_servers(l, h) * result->server_bytes);
    return HP_OK;
}

hp_status_t plan_predict(const plan_work_t *work, const plan_layout_t *layout,
                         plan_result_t *result, hp_error_t *err) {
    enum { MEMORY_SHARE = 90 }; /* percent of a host that ranks may take */
    plan_t p;
    outcome_t now, then;
    plan_result_t r = {0};
    HP_TRY(plan_layout_check(layout, err));
    hp_status_t status = run(work, layout, 0, &p, &now, err);
    if (status != HP_OK) {
        unmake(&p);
        return status;
    }
    r.step = now.step;
    r.examples = now.examples;
    r.push = p.push_all;
    r.pull = p.pull_all;
    r.server_link = now.server_link;
    r.worker_link = now.worker_link;
    r.of_servers = now.shared;
    unmake(&p);
    for (int cause = 0; cause < PLAN_MEMORY && status == HP_OK; cause++) {
        status = run(work, layout, 1u << cause, &p, &then, err);
        unmake(&p);
        if (status != HP_OK || then.examples <= r.without) continue;
        r.without = then.examples;
        r.cause = (plan_cause_t)cause;
    }
    HP_TRY(status);
    HP_TRY(memory(work, layout, &r, err));
    if (work->rates.memory > 0 && r.host_bytes * 100 > work->rates.memory * MEMORY_SHARE)
        r.cause = PLAN_MEMORY;
    *result = r;
    return HP_OK;
}
