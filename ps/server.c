#include "ps/server.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/run_folder.h"
#include "ps/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define LOG_S     1.0  /* between lines of the server's log */
#define GOODBYE_S 30.0 /* how long the end waits for ranks that do not say goodbye */
#define FAILED_S  5.0  /* the same where the run has failed */

enum { WAIT_US = 50000 };

void ps_server_fail(ps_server_t *s, hp_status_t status, const char *fmt, ...) {
    if (s->failed) return;
    s->failed = true;
    va_list args;
    va_start(args, fmt);
    s->why.status = s->verdict = status;
    vsnprintf(s->why.text, sizeof s->why.text, fmt, args);
    va_end(args);
    if (s->lead != NULL) { /* ps_lead_progress tells everybody */
        hp_log(s->options->log, HP_LOG_ERROR, "the run ends: %s", s->why.text);
        return;
    }
    const hp_message_t m = {.kind = HP_MSG_FAIL, .count = (uint32_t)status};
    ps_send(s, 0, &m, s->why.text, strnlen(s->why.text, 1024));
}

void ps_send(ps_server_t *s, int to, const hp_message_t *m, const void *payload, size_t length) {
    hp_error_t err;
    hp_message_t stamped = *m;
    int worker = to - s->servers;
    if (worker >= 0 && worker < s->workers && s->worker != NULL)
        stamped.incarnation = s->worker[worker].incarnation;
    if (hp_mailbox_send(s->mailbox, to, &stamped, payload, length, &err) != HP_OK && !s->failed)
        ps_server_fail(s, err.status, "%s", err.text);
}

/* ---- messages ---- */

static void hello(ps_server_t *s, int worker, const hp_message_t *m) {
    hp_message_t reply = {
        .kind = HP_MSG_WELCOME, .step = ps_order_step(s), .count = (uint32_t)s->shards};
    if (m->value != s->digest || m->count < 1 || m->count > 1024) {
        const char *why = "its model or its cluster.consistency differs from the servers'";
        reply.kind = HP_MSG_REFUSED;
        ps_send(s, ps_worker_rank(s, worker), &reply, why, strlen(why));
        ps_server_fail(s, HP_PEER, "worker %d: %s", worker, why);
        return;
    }
    ps_liveness_join(s, worker, m->incarnation);
    ps_send(s, ps_worker_rank(s, worker), &reply, NULL, 0);
    if (s->lead != NULL) ps_lead_worker_here(s, worker, (int)m->count);
}

static void goodbye(ps_server_t *s, int worker, const hp_message_t *m) {
    ps_worker_t *w = &s->worker[worker];
    w->presence = PS_GONE;
    w->owes_farewell = true;
    ps_push_drop_worker(s, worker);
    ps_pull_drop_worker(s, worker);
    if (s->lead != NULL) ps_lead_worker_gone(s, worker, (m->flags & HP_MSG_PUSHED) != 0);
}

/* The pull is not wanted any more; what is under way of it arrives before the answer. */
static void drain(ps_server_t *s, int worker, const hp_message_t *m) {
    ps_worker_t *w = &s->worker[worker];
    ps_pull_drop_worker(s, worker);
    w->drained = m->count;
    w->drained_chunks = m->count == w->pull ? w->next : 0; /* 0: it asked while it was given up */
    w->owes_drained = true;
}

static void worker_mail(ps_server_t *s, int worker, const hp_message_t *m, const void *payload) {
    switch (m->kind) {
    case HP_MSG_OFFER:
        ps_push_offer(s, worker, m);
        break;
    case HP_MSG_COMMIT:
        ps_push_commit(s, worker, m);
        break;
    case HP_MSG_ABORT:
        ps_push_abort(s, worker, m);
        break;
    case HP_MSG_PULL:
        ps_pull_begin(s, worker, m);
        break;
    case HP_MSG_DRAIN:
        drain(s, worker, m);
        break;
    case HP_MSG_GOODBYE:
        goodbye(s, worker, m);
        break;
    default:
        ps_lead_mail(s, ps_worker_rank(s, worker), m, payload);
        break;
    }
}

static void ended(ps_server_t *s, const hp_message_t *m, const void *payload) {
    s->over = true;
    if (m->count == HP_OK) return;
    s->crippled = s->crippled || (m->flags & HP_MSG_FAILED) != 0;
    if (s->verdict == HP_OK) {
        s->verdict = m->count < HP_STATUS_COUNT ? m->count : HP_PEER;
        hp_fail(&s->why, s->verdict, "%.*s", (int)m->length, (const char *)payload);
    }
    s->why.told = true;
}

/* May a rank of this kind send this to this server? */
static bool expected(const ps_server_t *s, int from, const hp_message_t *m) {
    bool lead = s->lead != NULL;
    switch (m->kind) {
    case HP_MSG_HELLO:
        return from >= s->servers || lead;
    case HP_MSG_NORMS:
        return from < s->servers;
    case HP_MSG_CUT:
    case HP_MSG_LOST:
    case HP_MSG_END:
        return from == 0;
    case HP_MSG_CUT_ACK:
    case HP_MSG_SHARD:
    case HP_MSG_FAIL:
    case HP_MSG_FAREWELL:
        return from < s->servers && lead;
    case HP_MSG_HEARTBEAT:
        if (from < s->servers) return lead || from == 0;
        return lead && s->worker[from - s->servers].presence == PS_PRESENT;
    case HP_MSG_RETURN:
    case HP_MSG_RETIRE:
    case HP_MSG_REVOKED:
    case HP_MSG_STOP:
    case HP_MSG_EVALUATED:
        return from >= s->servers && lead && s->worker[from - s->servers].presence == PS_PRESENT;
    case HP_MSG_OFFER:
    case HP_MSG_COMMIT:
    case HP_MSG_ABORT:
    case HP_MSG_PULL:
    case HP_MSG_DRAIN:
    case HP_MSG_GOODBYE:
        return from >= s->servers && s->worker[from - s->servers].presence == PS_PRESENT;
    default:
        return false;
    }
}

static void mail(void *context, int from, const hp_message_t *m, const void *payload) {
    ps_server_t *s = context;
    if (!s->serving) { /* it could not begin, and says so to everybody */
        s->why.told = s->why.told || (from == 0 && m->kind == HP_MSG_END);
        return;
    }
    int worker = from - s->servers;
    if (worker >= 0 && worker < s->workers && !ps_liveness_admits(s, worker, m)) return;
    if (!expected(s, from, m)) {
        hp_log(s->options->log, HP_LOG_WARN, "dropped %s from rank %d", hp_message_name(m->kind),
               from);
        return;
    }
    if (worker >= 0) {
        if (s->lead != NULL) ps_liveness_heard(s, worker, hp_clock());
        if (s->lead != NULL) ps_stall_mail(s, m, hp_clock());
        if (m->kind == HP_MSG_HEARTBEAT)
            ps_stall_heard(s, worker, m, hp_clock());
        else if (m->kind == HP_MSG_HELLO)
            hello(s, worker, m);
        else
            worker_mail(s, worker, m, payload);
        return;
    }
    ps_peers_heard(s, from, m, hp_clock());
    if (s->lead != NULL) ps_stall_mail(s, m, hp_clock());
    switch (m->kind) {
    case HP_MSG_HEARTBEAT:
        if (s->lead != NULL) ps_stall_server(s, from, m, hp_clock());
        break;
    case HP_MSG_NORMS:
        ps_order_norms(s, from, m, payload);
        break;
    case HP_MSG_END:
        ended(s, m, payload);
        break;
    case HP_MSG_LOST:
        ps_liveness_told(s, m);
        break;
    case HP_MSG_CUT: {
        ps_cut_begin(s, m->count, m->step, (m->flags & HP_MSG_LAST) != 0);
        const hp_message_t ack = {.kind = HP_MSG_CUT_ACK, .flags = m->flags, .step = m->step};
        ps_send(s, 0, &ack, NULL, 0);
        break;
    }
    default:
        ps_lead_mail(s, from, m, payload);
        break;
    }
}

static void bad_mail(void *context, int from, const char *text) {
    ps_server_t *s = context;
    hp_log(s->options->log, HP_LOG_WARN, "dropped from rank %d: %s", from, text);
}

/* ---- life ---- */

static double step_examples(const ps_server_t *s) {
    return (double)s->options->config->data.batch_size * s->shards;
}

/* Steps of the whole run. */
static int64_t run_steps(const ps_server_t *s) {
    const hp_config_t *c = s->options->config;
    if (c->run.steps > 0) return c->run.steps;
    double examples = c->run.epochs * (double)s->options->epoch_examples;
    return (int64_t)ceil(examples / step_examples(s));
}

static hp_status_t check(const ps_server_options_t *o, hp_error_t *err) {
    const hp_config_t *c = o->config;
    if (o->workers < 1)
        return hp_fail(err, HP_INPUT, "%d servers of %d ranks leave no worker", o->servers,
                       o->servers + o->workers);
    if (c->cluster.spares >= o->workers)
        return hp_fail(err, HP_INPUT, "cluster.spares: %d spares of %d workers leave none",
                       c->cluster.spares, o->workers);
    if (o->servers + o->workers > hp_transport_size(o->transport))
        return hp_fail(err, HP_INPUT, "%d servers and %d workers on %d ranks", o->servers,
                       o->workers, hp_transport_size(o->transport));
    if (c->cluster.accumulate < 1 || c->cluster.accumulate > HP_CONFIG_ACCUMULATE)
        return hp_fail(err, HP_INPUT, "cluster.accumulate: %d is not within 1 to %d",
                       c->cluster.accumulate, HP_CONFIG_ACCUMULATE);
    if (c->cluster.slots < 1 || c->cluster.slots > 255)
        return hp_fail(err, HP_INPUT, "cluster.slots: %d is not within 1 to 255", c->cluster.slots);
    return HP_OK;
}

/* From initial weights, or from a checkpoint. */
static hp_status_t begin_state(ps_server_t *s, hp_error_t *err) {
    const ps_server_options_t *o = s->options;
    hp_position_t position = {0};
    hp_checkpoint_t *checkpoint = NULL;
    char note[HP_CHECKPOINT_NOTE] = "";
    hp_status_t st = HP_OK;
    if (o->resume == NULL) {
        ps_shard_initialise(s->shard, (uint64_t)o->config->run.seed);
    } else {
        HP_TRY(hp_checkpoint_open(o->run, o->resume, &checkpoint, note, err));
        position = *hp_checkpoint_position(checkpoint);
        st = hp_params_same(o->params, hp_checkpoint_params(checkpoint), err);
        if (st == HP_OK) st = ps_shard_load(s->shard, checkpoint, err);
    }
    if (note[0] != '\0' && s->rank == 0) hp_log(o->log, HP_LOG_WARN, "%s", note);
    if (st == HP_OK && s->sync && position.outstanding > 0)
        st = hp_fail(err, HP_INPUT,
                     "cluster.consistency: sync cannot go on from a checkpoint with %d units "
                     "outstanding; finish it in async",
                     position.outstanding);
    if (st == HP_OK) {
        int shards =
            o->config->cluster.sync_shards > 0 ? o->config->cluster.sync_shards : o->workers;
        if (!s->sync)
            s->shards = o->config->cluster.accumulate;
        else
            s->shards = position.sync_shards > 0 ? position.sync_shards : shards;
        s->step_base = position.step;
        s->unit_base = s->fold_next = position.next_unit;
        s->unit_limit = UINT64_MAX;
        s->gate = -1;
        s->steps = run_steps(s);
        if (s->steps < 1) st = hp_fail(err, HP_INPUT, "run.steps and run.epochs give no step");
        if (st == HP_OK)
            st = hp_schedule_make(o->config, s->steps, step_examples(s), (double)o->epoch_examples,
                                  &s->schedule, err);
    }
    if (st == HP_OK && s->rank == 0) st = hp_checkpoint_clean(o->run, err);
    if (st == HP_OK && s->rank == 0) st = ps_lead_create(s, &position, err);
    hp_checkpoint_close(checkpoint);
    return st;
}

static void open_log(ps_server_t *s) {
    char name[64], path[HP_RUN_PATH];
    hp_error_t err;
    snprintf(name, sizeof name, "log/server-%04d.jsonl", s->rank);
    if (hp_run_path(s->options->run, name, path, &err) == HP_OK &&
        hp_metrics_open(path, &s->metrics, &err) == HP_OK)
        return;
    hp_log(s->options->log, HP_LOG_WARN, "no log of this server: %s", err.text);
    s->metrics = NULL;
}

static hp_status_t create(ps_server_t *s, hp_error_t *err) {
    const ps_server_options_t *o = s->options;
    const hp_config_t *c = o->config;
    bool l2 = c->optimizer.decay == HP_DECAY_L2;
    const ps_adam_t adam = {.beta1 = c->optimizer.beta1,
                            .beta2 = c->optimizer.beta2,
                            .eps = c->optimizer.eps,
                            .l2 = l2 ? c->optimizer.weight_decay : 0,
                            .decoupled = l2 ? 0 : c->optimizer.weight_decay};
    void *worker = NULL;
    HP_TRY(hp_shard_plan_create(o->params, o->servers, &s->plan, err));
    if (c->cluster.wire == HP_BF16) hp_shard_plan_halve(&s->plan);
    s->digest = hp_shard_plan_digest(o->params, &s->plan, (uint64_t)c->cluster.consistency);
    HP_TRY(hp_allocate(&worker, (size_t)s->workers, sizeof *s->worker, "workers", err));
    s->worker = worker;
    HP_TRY(ps_shard_create(&s->plan, o->params, s->rank, &adam, c->optimizer.decay_on,
                           c->optimizer.lazy, s->sync, &s->shard, err));
    s->chunks = ps_shard_chunks(s->shard);
    HP_TRY(ps_peers_create(s, err));
    HP_TRY(begin_state(s, err));
    HP_TRY(ps_push_create(s, err));
    HP_TRY(ps_order_create(s, err));
    HP_TRY(ps_cut_create(s, err));
    HP_TRY(ps_trace_create(s, err));
    HP_TRY(ps_applier_start(s->shard, s->transport, s->slots + 8, o->threads, o->trace,
                            ps_trace_jobs(s), &s->applier, err));
    open_log(s);
    return HP_OK;
}

/* It could not begin: the others are told, so that they do not wait. */
static void tell_failure(ps_server_t *s, const hp_error_t *err) {
    hp_message_t m = {.kind = s->rank == 0 ? HP_MSG_END : HP_MSG_FAIL,
                      .flags = HP_MSG_FAILED,
                      .count = (uint32_t)err->status};
    size_t length = strnlen(err->text, 1024);
    s->failed = true;
    if (s->rank > 0) ps_send(s, 0, &m, err->text, length);
    for (int i = 1; s->rank == 0 && i < hp_transport_size(s->transport); i++)
        ps_send(s, i, &m, err->text, length);
    for (double limit = hp_clock() + 0.2; hp_clock() < limit;)
        if (hp_transport_progress(s->transport) == 0) hp_transport_wait(s->transport, 10000, false);
}

/* Where messages are still under way (a rank that never said goodbye), their buffers must stay. */
static void destroy(ps_server_t *s, bool clean) {
    ps_applier_stop(s->applier);
    ps_cut_destroy(s);
    hp_trace_end(s->options->trace, s->options->log);
    ps_lead_destroy(s);
    hp_metrics_close(s->metrics);
    if (!clean) return;
    hp_mailbox_close(s->mailbox);
    hp_pool_release(&s->sends);
    ps_peers_destroy(s);
    ps_order_destroy(s);
    ps_push_destroy(s);
    ps_shard_destroy(s->shard);
    hp_shard_plan_release(&s->plan);
    hp_free(s->worker);
}

static void log_line(ps_server_t *s, double now, bool final) {
    if (s->metrics == NULL || (now - s->logged < LOG_S && !final)) return;
    if (s->made == s->logged_made && !final) return;
    hp_error_t err;
    hp_metrics_real(s->metrics, "time_s", now - s->began);
    hp_metrics_int(s->metrics, "start", s->options->start);
    hp_metrics_int(s->metrics, "updates", s->made);
    hp_metrics_real(s->metrics, "lr", s->rate);
    hp_metrics_real(s->metrics, "updates_per_s",
                    (double)(s->made - s->logged_made) / (now - s->logged));
    hp_metrics_int(s->metrics, "received_bytes",
                   (int64_t)(s->received + hp_mailbox_received_bytes(s->mailbox)));
    hp_metrics_int(s->metrics, "sent_bytes",
                   (int64_t)(s->sent + hp_mailbox_sent_bytes(s->mailbox)));
    hp_metrics_real(s->metrics, "adam_s", ps_applier_seconds(s->applier));
    hp_metrics_int(s->metrics, "queue", ps_applier_queue(s->applier));
    ps_refuse_log(s);
    if (s->lead != NULL) {
        ps_outcome_t outcome;
        ps_lead_outcome(s, &outcome);
        hp_metrics_int(s->metrics, "units_repeated", (int64_t)outcome.units_repeated);
    }
    if (!s->sync) hp_metrics_ints(s->metrics, "staleness", PS_STALENESS, s->staleness);
    bool failed = hp_metrics_line(s->metrics, &err) != HP_OK;
    if (failed && !s->log_failed)
        hp_log(s->options->log, HP_LOG_WARN, "%s; the run goes on", err.text);
    s->log_failed = failed;
    s->logged = now;
    s->logged_made = s->made;
}

/* Something is under way to or from the worker. A gradient that is here whole is not, however long
 * it waits for those of others. */
static bool busy_with(const ps_server_t *s, int worker) {
    bool busy = s->worker[worker].sends > 0;
    for (int k = 0; k < s->slots; k++)
        busy = busy || (s->slot[k].worker == worker && s->slot[k].pending > 0);
    return busy;
}

/* Workers that said goodbye, or gave up a pull, are answered when nothing of theirs is under way
 * any more. True: nobody is owed a farewell. */
static bool farewells(ps_server_t *s) {
    bool all = true;
    for (int i = 0; i < s->workers; i++) {
        ps_worker_t *w = &s->worker[i];
        if (w->owes_drained && w->sends == 0) {
            const hp_message_t m = {
                .kind = HP_MSG_DRAINED, .count = w->drained, .value = (uint64_t)w->drained_chunks};
            ps_send(s, ps_worker_rank(s, i), &m, NULL, 0);
            w->owes_drained = false;
        }
        if (w->owes_farewell && !busy_with(s, i)) {
            const hp_message_t m = {.kind = HP_MSG_FAREWELL,
                                    .flags = s->lossy || s->crippled ? HP_MSG_FAILED : 0};
            ps_send(s, ps_worker_rank(s, i), &m, NULL, 0);
            w->owes_farewell = false;
        }
        all = all && !w->owes_farewell;
    }
    return all;
}

static bool all_gone(const ps_server_t *s) {
    for (int i = 0; i < s->workers; i++)
        if (s->worker[i].presence == PS_PRESENT) return false;
    return true;
}

/* A worker may come when all is done already; it is told so, where nothing failed. */
bool ps_server_awaits_late(const ps_server_t *s, double now) {
    bool late = false;
    for (int i = 0; i < s->workers; i++) late = late || s->worker[i].presence == PS_EXPECTED;
    return late && s->verdict == HP_OK &&
           now < s->began + s->options->config->cluster.start_seconds;
}

double ps_server_patience(const ps_server_t *s) {
    return s->verdict != HP_OK ? FAILED_S : GOODBYE_S;
}

/* The event loop. True: every rank said goodbye. */
static bool loop(ps_server_t *s) {
    double over_since = -1, busy_since = s->began;
    for (;;) {
        int n = hp_transport_progress(s->transport);
        ps_order_progress(s);
        ps_cut_progress(s);
        ps_pull_progress(s);
        bool owes_none = farewells(s);
        double now = hp_clock();
        log_line(s, now, false);
        ps_peers_progress(s, now);
        ps_stall_progress(s, now);
        if (s->lead != NULL) {
            ps_lead_progress(s, now);
        } else if (s->over) {
            if (over_since < 0) over_since = now;
            s->abandoned = now > over_since + ps_server_patience(s);
            s->leaving = (all_gone(s) || s->abandoned) && !ps_server_awaits_late(s, now);
        }
        if (s->leaving && (owes_none || s->abandoned) && !s->cut.holding) break;
        if (n > 0) busy_since = now;
        if (n == 0) hp_transport_wait(s->transport, WAIT_US, now - busy_since > 1);
    }
    return all_gone(s) && !s->abandoned && !s->lossy && s->peers.lost_count == 0;
}

static void say_hello(ps_server_t *s) {
    const hp_message_t m = {.kind = HP_MSG_HELLO, .count = 1, .value = s->digest};
    if (s->lead == NULL) ps_send(s, 0, &m, NULL, 0);
}

static void say_farewell(ps_server_t *s) {
    const hp_message_t m = {.kind = HP_MSG_FAREWELL};
    if (s->lead == NULL) ps_send(s, 0, &m, NULL, 0);
}

hp_status_t ps_server_run(const ps_server_options_t *options, ps_outcome_t *outcome,
                          hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(ps_server_t), "server", err));
    ps_server_t *s = p;
    *s = (ps_server_t){.options = options,
                       .transport = options->transport,
                       .rank = hp_transport_rank(options->transport),
                       .servers = options->servers,
                       .workers = options->workers,
                       .sync = options->config->cluster.consistency == HP_SYNC,
                       .began = hp_clock()};
    s->logged = s->looked = s->moved = s->cut_moved = s->watched = s->began;
    hp_pool_init(&s->sends, 64, 64);
    *outcome = (ps_outcome_t){0};
    hp_error_t why = {.status = HP_OK};
    hp_status_t st = hp_mailbox_open(s->transport, 0, hp_transport_size(s->transport), 1, mail,
                                     bad_mail, s, &s->mailbox, &why);
    if (st == HP_OK) st = check(options, &why);
    if (st == HP_OK) st = create(s, &why);
    if (st != HP_OK) {
        if (s->mailbox != NULL) tell_failure(s, &why);
        why.told = s->why.told;
        if (err != NULL) *err = why;
        destroy(s, true);
        hp_free(s);
        return st;
    }
    s->serving = true;
    say_hello(s);
    bool clean = loop(s);
    say_farewell(s);
    log_line(s, hp_clock(), true);
    outcome->steps = s->steps;
    outcome->step = s->sync ? ps_order_step(s) : s->step_base + s->made;
    if (s->lead != NULL) ps_lead_outcome(s, outcome);
    outcome->seconds = hp_clock() - s->began;
    outcome->clean = clean && !s->crippled;
    outcome->lead_lost = s->peers.lead_lost;
    if (s->verdict != HP_OK && err != NULL) *err = s->why;
    st = s->verdict;
    destroy(s, clean);
    if (clean) hp_free(s);
    return st;
}

hp_status_t ps_server_memory(const hp_config_t *config, const hp_params_t *params, int servers,
                             int server, size_t *bytes_p, hp_error_t *err) {
    hp_shard_plan_t plan;
    HP_TRY(hp_shard_plan_create(params, servers, &plan, err));
    if (config->cluster.wire == HP_BF16) hp_shard_plan_halve(&plan);
    size_t push = 0;
    for (int i = 0; i < plan.chunks; i++)
        if (plan.chunk[i].server == server)
            push += hp_chunk_push_bytes(&plan.chunk[i], plan.chunk[i].rows);
    *bytes_p = ps_shard_memory(&plan, server) + (size_t)config->cluster.slots * push;
    hp_shard_plan_release(&plan);
    return HP_OK;
}
