/* The client's communication thread: does what the compute thread asked for and answers the
 * servers. It naps when there is nothing to do. */
#include "common/clock.h"
#include "common/memory.h"
#include "common/vector.h"
#include "worker/client_internal.h"

#include <inttypes.h>
#include <string.h>

#define BEAT_S    0.5  /* between signs of life */
#define GOODBYE_S 30.0 /* how long the end waits for servers that do not answer */
#define FAILED_S  3.0  /* the same where the run has failed */
#define DRAIN_S   1.0  /* where it has failed: for what is under way to the servers */
#define STALL_S   1.0  /* a pause of this rank itself, which is not server 0's silence */

enum { WAIT_US = 50000 };

static hp_message_t hello_message(const wk_client_t *c) {
    return (hp_message_t){.kind = HP_MSG_HELLO, .count = (uint32_t)c->room, .value = c->digest};
}

static void send_mail(wk_client_t *c, int to, const hp_message_t *m) {
    hp_error_t err;
    if (c->failed == HP_OK && hp_mailbox_send(c->mailbox, to, m, NULL, 0, &err) != HP_OK)
        wk_client_fail(c, err.status, "%s", err.text);
}

/* ---- push ---- */

static void push_done(void *context, const hp_completion_t *completion) {
    wk_transfer_t *t = context;
    wk_client_t *c = t->client;
    pthread_mutex_lock(&c->lock);
    t->pending = false;
    c->pushes--;
    if (completion->status != HP_OK)
        wk_client_fail(c, completion->status, "a gradient could not be sent to server %d on %s",
                       c->plan.chunk[t->chunk].server,
                       hp_transport_peer_host(c->transport, c->plan.chunk[t->chunk].server));
    pthread_mutex_unlock(&c->lock);
}

static void send_chunk(wk_client_t *c, int k) {
    const hp_chunk_t *chunk = &c->plan.chunk[k];
    const void *data = c->grads + chunk->begin;
    if (c->packed_offset[k] >= 0) data = c->packed + c->packed_offset[k];
    size_t bytes = (size_t)c->push_bytes[k];
    hp_error_t err;
    wk_client_trace_send(c);
    if (hp_transport_send(c->transport, chunk->server, hp_tag_push(c->link[chunk->server].slot, k),
                          data, bytes, push_done, &c->push[k], &err) != HP_OK) {
        wk_client_fail(c, err.status, "%s", err.text);
        return;
    }
    c->push[k].pending = true;
    c->pushes++;
    c->link[chunk->server].sent++;
    c->stats.pushed_bytes += bytes;
}

static void begin_push(wk_client_t *c) {
    const hp_message_t offer = {.kind = HP_MSG_OFFER, .unit = c->unit, .value = ++c->push_number};
    c->want_begin = false;
    c->push_began = 0;
    if (c->unacked_count == WK_UNACKED) {
        wk_client_fail(c, HP_PEER, "the servers acknowledge nothing any more");
        return;
    }
    c->unacked[c->unacked_count++] = (wk_unacked_t){.unit = c->unit, .push = c->push_number};
    for (int i = 0; i < c->servers; i++) {
        wk_link_t *l = &c->link[i];
        l->offered = true;
        l->granted = l->unwanted = l->committed = false;
        l->next_ready = l->sent = 0;
        send_mail(c, i, &offer);
    }
}

/* Chunks that are final go to those servers that gave a slot. */
static void send_ready(wk_client_t *c) {
    for (int i = 0; i < c->servers; i++) {
        wk_link_t *l = &c->link[i];
        if (!l->granted) continue;
        for (; l->next_ready < c->ready_count; l->next_ready++) {
            int k = c->ready[l->next_ready];
            if (c->plan.chunk[k].server == i) send_chunk(c, k);
        }
    }
}

static wk_unacked_t *find_unacked(wk_client_t *c, uint64_t unit, uint64_t push) {
    for (int i = 0; i < c->unacked_count; i++)
        if (c->unacked[i].unit == unit && c->unacked[i].push == push) return &c->unacked[i];
    return NULL;
}

static void forget_unacked(wk_client_t *c, wk_unacked_t *u) { *u = c->unacked[--c->unacked_count]; }

static void commit_push(wk_client_t *c) {
    bool finite = c->squared_norm - c->squared_norm == 0;
    const hp_message_t m = {.kind = HP_MSG_COMMIT,
                            .flags = finite ? 0 : HP_MSG_NONFINITE,
                            .unit = c->unit,
                            .value = c->examples,
                            .count = c->worst,
                            .real = finite ? c->squared_norm : 0};
    bool all = true;
    if (c->voided) { /* while it waited for a slot */
        c->want_commit = false;
        c->want_abort = true;
        return;
    }
    for (int i = 0; i < c->servers; i++) {
        wk_link_t *l = &c->link[i];
        if (!l->committed && (l->granted || l->unwanted)) {
            if (l->granted) send_mail(c, i, &m);
            c->committing = c->committing || l->granted;
            l->committed = true;
        }
        all = all && l->committed;
    }
    c->committed = all;
    if (!all || c->pushes > 0) return;
    wk_unacked_t *u = find_unacked(c, c->unit, c->push_number);
    if (u != NULL) u->committed = true;
    for (int i = 0; i < c->servers; i++) c->link[i].offered = c->link[i].granted = false;
    c->want_commit = false;
    wk_client_trace_sent(c);
    pthread_cond_broadcast(&c->changed);
}

static void abort_push(wk_client_t *c) {
    if (c->pushes > 0) return;
    hp_message_t abort = {.kind = HP_MSG_ABORT, .unit = c->unit};
    hp_message_t back = {.kind = HP_MSG_RETURN, .unit = c->unit};
    for (int i = 0; i < c->servers; i++) {
        wk_link_t *l = &c->link[i];
        abort.value = (uint64_t)l->sent;
        if (l->offered && !l->unwanted && !l->committed) send_mail(c, i, &abort);
        if (l->offered && l->committed) back.flags = HP_MSG_PUSHED;
        l->offered = l->granted = false;
    }
    wk_unacked_t *u = find_unacked(c, c->unit, c->push_number);
    if (u != NULL && u->acks == c->servers) { /* it had been applied everywhere: it retires */
        u->committed = true;
    } else {
        if (u != NULL) forget_unacked(c, u);
        send_mail(c, 0, &back);
    }
    c->want_begin = c->want_abort = false;
    wk_client_trace_sent(c);
    pthread_cond_broadcast(&c->changed);
}

static void retire(wk_client_t *c) {
    for (int i = 0; i < c->unacked_count;) {
        wk_unacked_t *u = &c->unacked[i];
        if (!u->committed || u->acks < c->servers) {
            i++;
            continue;
        }
        const hp_message_t m = {.kind = HP_MSG_RETIRE, .unit = u->unit};
        send_mail(c, 0, &m);
        forget_unacked(c, u);
    }
}

/* ---- pull ---- */

static void pull_over(wk_client_t *c) {
    if (c->pull_void && c->pull_used) c->have_step = -1;
    if (!c->pull_void && c->pull_asked > 0) c->stats.pulled_s = hp_clock() - c->pull_asked;
    c->pull_wanted = c->pull_void = false;
    wk_client_trace_arrived(c);
    pthread_cond_broadcast(&c->changed);
}

static void chunk_arrived(void *context, const hp_completion_t *completion) {
    wk_transfer_t *t = context;
    wk_client_t *c = t->client;
    const hp_chunk_t *chunk = &c->plan.chunk[t->chunk];
    const int64_t n = hp_chunk_floats(chunk);
    if (completion->status == HP_OK && chunk->half) /* nobody reads it before it is counted */
        hp_bf16_unpack(c->weights[c->pull_buffer] + chunk->begin, c->half + chunk->begin, n);
    pthread_mutex_lock(&c->lock);
    t->pending = false;
    c->pulls--;
    if (completion->status == HP_OK) {
        wk_client_trace_arrival(c);
        c->stats.pulled_bytes += completion->bytes;
        c->link[chunk->server].arrived++;
        if (completion->bytes != hp_chunk_bytes(chunk, n))
            wk_client_fail(c, HP_PEER, "server %d sends %zu bytes of a chunk of %" PRId64 " values",
                           completion->source, completion->bytes, n);
        for (int i = chunk->first_param; i <= chunk->last_param; i++)
            if (--c->param_waits[i] == 0) pthread_cond_broadcast(&c->changed);
        if (--c->pull_left == 0) pull_over(c);
    } else if (completion->status != HP_INTERRUPTED) {
        wk_client_fail(c, completion->status, "weights from server %d did not arrive whole",
                       chunk->server);
    }
    pthread_mutex_unlock(&c->lock);
}

/* Post the receives, then ask. */
static void ask(wk_client_t *c, int server) {
    hp_error_t err;
    wk_client_trace_ask(c);
    for (int k = 0; k < c->plan.chunks; k++) {
        const hp_chunk_t *chunk = &c->plan.chunk[k];
        if (chunk->server != server) continue;
        void *to = c->weights[c->pull_buffer] + chunk->begin;
        if (chunk->half) to = c->half + chunk->begin;
        if (hp_transport_receive(c->transport, server, hp_tag_pull(c->pull_number, k), to,
                                 hp_chunk_bytes(chunk, hp_chunk_floats(chunk)), chunk_arrived,
                                 &c->pull[k], &c->pull[k].request, &err) != HP_OK) {
            wk_client_fail(c, err.status, "%s", err.text);
            return;
        }
        c->pull[k].pending = true;
        c->pulls++;
    }
    const hp_message_t m = {.kind = HP_MSG_PULL,
                            .flags = c->sync ? HP_MSG_EXACT : 0,
                            .step = c->sync ? c->pull_step : 0,
                            .count = c->pull_number};
    send_mail(c, server, &m);
    c->link[server].pulled = true;
}

static void cancel_pull(wk_client_t *c, int server) { /* server < 0: all */
    for (int k = 0; k < c->plan.chunks; k++)
        if (c->pull[k].pending && (server < 0 || c->plan.chunk[k].server == server))
            hp_transport_cancel(c->transport, c->pull[k].request);
}

/* A server is asked after the push before it is committed there: its answer contains that push. */
static void progress_pull(wk_client_t *c) {
    if (!c->pull_wanted) return;
    if (!c->pull_void) {
        for (int i = 0; i < c->servers; i++)
            if (!c->link[i].pulled && !(c->want_commit && !c->link[i].committed)) ask(c, i);
        return;
    }
    const hp_message_t drain = {.kind = HP_MSG_DRAIN, .count = c->pull_number};
    bool over = true;
    for (int i = 0; i < c->servers; i++) {
        wk_link_t *l = &c->link[i];
        if (!l->draining) {
            l->draining = true;
            l->drained = !l->pulled;
            l->will_arrive = 0;
            if (l->pulled) send_mail(c, i, &drain);
        }
        /* What was sent must have come before the receives are withdrawn: it would be taken for a
         * chunk of a later pull. */
        bool in = l->drained && (uint64_t)l->arrived >= l->will_arrive;
        if (in && !l->withdrawn) cancel_pull(c, i);
        l->withdrawn = in;
        over = over && in;
    }
    if (over && c->pulls == 0) pull_over(c);
}

/* ---- mail ---- */

static void give_back(wk_client_t *c, wk_held_t *held) {
    const hp_message_t m = {.kind = HP_MSG_RETURN, .unit = held->unit};
    held->voided = true;
    if (!held->evaluate) send_mail(c, 0, &m);
}

static void take_back(wk_client_t *c, const hp_message_t *m) {
    for (uint64_t i = c->begun; i < c->known; i++) {
        wk_held_t *held = &c->held[i % WK_RING];
        bool wanted = held->evaluate ? (m->flags & HP_MSG_LAST) == 0 : held->unit < m->unit;
        if (!held->voided && !wanted) give_back(c, held);
    }
    /* What one server has is given to all, lest it be applied twice there; in `sync` it would not.
     */
    bool late = c->committed || (c->committing && !c->sync);
    if (c->active && !late && c->unit >= m->unit) c->voided = true;
    c->revokes++;
    if ((m->flags & HP_MSG_LAST) != 0) c->last = true;
}

/* A unit that is there and not begun: its batch is being read. */
static const wk_held_t *unbegun(const wk_client_t *c) {
    for (uint64_t i = c->begun; i < c->known; i++)
        if (!c->held[i % WK_RING].voided) return &c->held[i % WK_RING];
    return NULL;
}

static void got_unit(wk_client_t *c, const hp_message_t *m) {
    if (c->known - c->begun == WK_RING) {
        wk_client_fail(c, HP_PEER, "server 0 gives more than %d units", WK_RING);
        return;
    }
    if (c->doing == HP_DOING_UNIT && unbegun(c) == NULL) c->doing_since = hp_clock();
    bool evaluate = m->kind == HP_MSG_EVALUATE;
    wk_held_t held = {.unit = m->unit, .step = m->step, .evaluate = evaluate};
    if (evaluate) {
        held.part = (int)m->count;
        held.parts = (int)m->value;
    }
    c->held[c->known++ % WK_RING] = held;
}

static void granted(wk_client_t *c, int from, const hp_message_t *m) {
    wk_link_t *l = &c->link[from];
    if (!l->offered || l->granted || m->unit != c->unit || m->value != c->push_number ||
        m->count > 255)
        return; /* aborted */
    l->granted = true;
    l->slot = m->count;
}

static void acknowledged(wk_client_t *c, int from, const hp_message_t *m) {
    wk_unacked_t *u = find_unacked(c, m->unit, m->value);
    wk_link_t *l = &c->link[from];
    if (u == NULL) return; /* aborted */
    u->acks++;
    if (l->offered && !l->granted && m->value == c->push_number) {
        l->unwanted = true;
        bool nowhere = true;
        for (int i = 0; i < c->servers; i++) nowhere = nowhere && c->link[i].unwanted;
        if (nowhere && c->active && !c->committed) c->voided = true;
    }
    if (m->step > c->stats.step) c->stats.step = m->step;
    c->stats.staleness = m->count;
}

/* Server 0 has given this worker up: of what it has, nobody wants anything any more. */
static void fenced(wk_client_t *c) {
    if (c->fenced || c->goodbye) return;
    c->fenced = true;
    c->revokes = 0;
    for (uint64_t i = c->begun; i < c->known; i++) c->held[i % WK_RING].voided = true;
    if (c->active && !c->committed) c->voided = true;
    if (c->pull_wanted) c->pull_void = true;
    c->pull_used = true; /* nothing of a pull that was asked ahead */
    for (int i = 0; i < c->servers; i++) c->link[i].draining = c->link[i].drained = false;
}

/* Comes back when no push is under way: the servers have heard how much of the last one will
 * arrive. */
static void come_back(wk_client_t *c) {
    bool busy = c->want_begin || c->want_commit || c->want_abort || c->pushes > 0;
    for (int i = 0; i < c->servers; i++) busy = busy || c->link[i].offered;
    if (busy || c->want_close) return;
    c->fenced = c->stop_sent = false;
    c->unacked_count = 0;
    hp_mailbox_renew(c->mailbox, ++c->incarnation);
    const hp_message_t hello = hello_message(c);
    for (int i = 0; i < c->servers; i++) send_mail(c, i, &hello);
}

/* What this worker still has is nobody's any more, and nobody may answer. */
static void ended_without(wk_client_t *c) {
    c->over = c->lossy = true;
    if (c->active) c->voided = true;
    wk_client_fail(c, HP_INTERRUPTED, "the run is over");
}

static void refused(wk_client_t *c, int from, const hp_message_t *m, const void *payload) {
    hp_status_t st = m->kind == HP_MSG_END && m->count > HP_OK && m->count < HP_STATUS_COUNT
                         ? (hp_status_t)m->count
                         : HP_PEER;
    bool first = c->failed == HP_OK;
    wk_client_fail(c, st, "server %d: %.*s", from, (int)m->length, (const char *)payload);
    if (first) c->why.told = m->kind == HP_MSG_END;
    c->lossy = c->lossy || (m->flags & HP_MSG_FAILED) != 0;
}

static void mail(void *context, int from, const hp_message_t *m, const void *payload) {
    wk_client_t *c = context;
    pthread_mutex_lock(&c->lock);
    if (from == 0) c->heard = hp_clock();
    bool stale = m->incarnation != c->incarnation && m->kind != HP_MSG_END;
    switch (stale ? HP_MSG_NONE : m->kind) {
    case HP_MSG_WELCOME:
        c->link[from].welcomed = true;
        if (m->step > c->stats.step) c->stats.step = m->step;
        break;
    case HP_MSG_REFUSED:
    case HP_MSG_END:
        if (m->kind == HP_MSG_END && m->count == HP_OK)
            ended_without(c);
        else
            refused(c, from, m, payload);
        break;
    case HP_MSG_FENCED:
        fenced(c);
        break;
    case HP_MSG_UNIT:
    case HP_MSG_EVALUATE:
        got_unit(c, m);
        break;
    case HP_MSG_REVOKE:
        take_back(c, m);
        break;
    case HP_MSG_GRANT:
        granted(c, from, m);
        break;
    case HP_MSG_ACK:
        acknowledged(c, from, m);
        break;
    case HP_MSG_DRAINED:
        if (!c->pull_void || m->count != c->pull_number) break;
        c->link[from].drained = true;
        c->link[from].will_arrive = m->value;
        break;
    case HP_MSG_FAREWELL:
        c->link[from].farewell = true;
        c->lossy = c->lossy || (m->flags & HP_MSG_FAILED) != 0;
        break;
    default:
        break; /* not for a worker, or for what it was before it was given up */
    }
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

static void bad_mail(void *context, int from, const char *text) {
    wk_client_t *c = context;
    pthread_mutex_lock(&c->lock);
    wk_client_fail(c, HP_PEER, "from server %d: %s", from, text);
    pthread_mutex_unlock(&c->lock);
}

/* ---- the thread ---- */

static void send_report(wk_client_t *c) {
    hp_error_t err;
    c->want_report = false;
    if (c->failed == HP_OK && hp_mailbox_send(c->mailbox, 0, &c->report, c->report_payload,
                                              c->report_bytes, &err) != HP_OK)
        wk_client_fail(c, err.status, "%s", err.text);
    pthread_cond_broadcast(&c->changed);
}

/* Goodbye to all servers, once nothing of this worker's is under way: also to one whose welcome is
 * still on its way, since it waits for what it has heard from. What is on its way to a server that
 * was lost stays so: a run that has failed does not wait for it. */
static void say_goodbye(wk_client_t *c, double since) {
    hp_message_t m = {.kind = HP_MSG_GOODBYE};
    double passed = hp_clock() - since;
    bool waited = passed > 5;
    if (c->goodbye || (c->pushes > 0 && (c->failed == HP_OK || passed < DRAIN_S))) return;
    if (c->failed == HP_OK && !c->fenced && c->unacked_count > 0 && !waited) return;
    if (c->unacked_count > 0) m.flags = HP_MSG_PUSHED;
    hp_error_t err;
    for (int i = 0; i < c->servers; i++) (void)!hp_mailbox_send(c->mailbox, i, &m, NULL, 0, &err);
    c->goodbye = true;
}

static bool all_said_farewell(const wk_client_t *c) {
    for (int i = 0; i < c->servers; i++)
        if (c->link[i].welcomed && !c->link[i].farewell && !c->over) return false;
    return c->goodbye;
}

static void beat(wk_client_t *c, double now) {
    hp_message_t m = {.kind = HP_MSG_HEARTBEAT, .count = c->doing, .unit = c->unit};
    const wk_held_t *next = c->doing == HP_DOING_UNIT ? unbegun(c) : NULL;
    if (next != NULL) {
        m.count = next->evaluate ? HP_DOING_EVALUATE : HP_DOING_DATA;
        m.unit = next->unit;
    }
    m.value = (uint64_t)(1e3 * (now - c->doing_since));
    if (c->goodbye || now - c->beat < BEAT_S || !c->link[0].welcomed) return;
    c->beat = now;
    send_mail(c, 0, &m);
}

/* Server 0 gives a sign of life twice a second: without it nothing goes on. */
static void watch(wk_client_t *c, double now) {
    const wk_link_t *l = &c->link[0];
    if (now - c->looked > STALL_S) c->heard += now - c->looked;
    c->looked = now;
    if (!l->welcomed || l->farewell || now - c->heard < c->server_seconds) return;
    if (c->failed == HP_OK) c->lead_lost = true;
    wk_client_fail(c, HP_PEER, "server 0 (rank 0) on %s is lost: silent for %.1f s",
                   hp_transport_peer_host(c->transport, 0), now - c->heard);
}

/* What can be done now. Under the lock. */
static void work(wk_client_t *c) {
    const hp_message_t stop = {.kind = HP_MSG_STOP};
    if (atomic_load(&c->stop_wanted) && !c->stop_sent) {
        send_mail(c, 0, &stop);
        c->stop_sent = true;
    }
    if (c->want_close && c->active && !c->want_commit) c->want_abort = true;
    if (c->want_begin && !c->want_abort) begin_push(c);
    if (!c->want_abort) send_ready(c);
    if (c->want_commit) commit_push(c);
    if (c->want_abort) {
        abort_push(c);
        if (!c->want_abort) c->active = false;
    }
    if (c->want_report) send_report(c);
    retire(c);
    const hp_message_t revoked = {.kind = HP_MSG_REVOKED};
    for (; c->revokes > 0 && !(c->active && c->voided); c->revokes--) send_mail(c, 0, &revoked);
    if (c->fenced) come_back(c);
    if (c->failed == HP_OK && !c->goodbye && !c->fenced) progress_pull(c);
}

static bool loop_once(wk_client_t *c, double *busy, double *closing) {
    int n = hp_transport_progress(c->transport);
    double now = hp_clock();
    pthread_mutex_lock(&c->lock);
    work(c);
    beat(c, now);
    watch(c, now);
    bool over = false;
    if (c->want_close) {
        if (*closing < 0) *closing = now;
        say_goodbye(c, *closing);
        double patience = c->failed == HP_OK ? GOODBYE_S : FAILED_S;
        over = all_said_farewell(c) || now > *closing + patience;
    }
    bool idle = !c->pull_wanted && !c->active && now - *busy > 1;
    pthread_mutex_unlock(&c->lock);
    if (n > 0) *busy = now;
    if (n == 0 && !over) hp_transport_wait(c->transport, WAIT_US, idle);
    return !over;
}

static void finish(wk_client_t *c) {
    pthread_mutex_lock(&c->lock);
    cancel_pull(c, -1);
    pthread_mutex_unlock(&c->lock);
    for (double limit = hp_clock() + 1; c->pulls > 0 && hp_clock() < limit;)
        if (hp_transport_progress(c->transport) == 0) hp_transport_wait(c->transport, 1000, false);
    c->parted = all_said_farewell(c);
    if (!c->parted) {
        pthread_mutex_lock(&c->lock);
        wk_client_fail(c, HP_PEER, "a server does not answer the goodbye");
        pthread_mutex_unlock(&c->lock);
    }
    hp_mailbox_close(c->mailbox);
}

void *wk_client_communicate(void *client) {
    wk_client_t *c = client;
    const hp_message_t hello = hello_message(c);
    hp_error_t err;
    pthread_mutex_lock(&c->lock);
    bool open = hp_mailbox_open(c->transport, 0, c->servers, 1, mail, bad_mail, c, &c->mailbox,
                                &err) == HP_OK;
    if (!open) wk_client_fail(c, err.status, "%s", err.text);
    for (int i = 0; open && i < c->servers; i++) send_mail(c, i, &hello);
    pthread_mutex_unlock(&c->lock);
    if (!open) return NULL;
    double busy = hp_clock(), closing = -1;
    c->looked = busy;
    while (loop_once(c, &busy, &closing)) continue;
    finish(c);
    return NULL;
}
