/* Who still speaks. Every worker sends server 0 a sign of life twice a second from its
 * communication thread; Open MPI does not tell that a process died. Silent for a few seconds it is
 * suspended: named in the log, and not waited for where that is possible. Silent for long it is
 * lost: all servers drop what it was sending, and its units are computed by others. Only server 0
 * decides, and what a lost worker sends after that is dropped. If it speaks again it is told, and
 * comes back in its next incarnation, with nothing of what it had. */
#include "ps/internal.h"

#include <inttypes.h>

#define STALL_S 1.0 /* a pause of server 0 itself, which is not the workers' silence */

static double limit(double seconds, double otherwise) { return seconds > 0 ? seconds : otherwise; }

void ps_liveness_heard(ps_server_t *s, int worker, double now) {
    ps_worker_t *w = &s->worker[worker];
    if (w->suspended)
        hp_log(s->options->log, HP_LOG_INFO, "worker %d speaks again after %.1f s", worker,
               now - w->heard);
    if (w->suspended) ps_units_suspend(ps_lead_units(s), worker, false);
    w->heard = now;
    w->suspended = false;
}

static void count_lost(ps_server_t *s) {
    s->lossy = false;
    for (int i = 0; i < s->workers; i++) s->lossy = s->lossy || s->worker[i].lost;
}

void ps_liveness_lose(ps_server_t *s, int worker) {
    ps_worker_t *w = &s->worker[worker];
    w->presence = PS_GONE;
    w->lost = true;
    w->owes_farewell = w->owes_drained = false;
    count_lost(s);
    ps_push_lose_worker(s, worker);
    ps_pull_drop_worker(s, worker);
}

void ps_liveness_told(ps_server_t *s, const hp_message_t *m) {
    if (m->count >= (uint32_t)s->workers) return;
    ps_worker_t *w = &s->worker[m->count];
    if (w->incarnation > m->value) return; /* it has come back since */
    w->incarnation = (uint32_t)m->value;   /* its hello may still be on its way */
    if (w->presence != PS_GONE) {
        ps_liveness_lose(s, (int)m->count);
    } else { /* it has said goodbye here */
        w->lost = true;
        count_lost(s);
    }
}

static void lose(ps_server_t *s, int worker, double silent) {
    const char *host = hp_transport_peer_host(s->transport, ps_worker_rank(s, worker));
    const hp_message_t m = {
        .kind = HP_MSG_LOST, .count = (uint32_t)worker, .value = s->worker[worker].incarnation};
    hp_log(s->options->log, HP_LOG_ERROR, "worker %d on %s is lost: silent for %.1f s", worker,
           host, silent);
    for (int i = 1; i < s->servers; i++) ps_send(s, i, &m, NULL, 0);
    ps_liveness_lose(s, worker);
    ps_lead_worker_gone(s, worker, true);
    if (s->options->config->cluster.on_worker_loss == HP_LOSS_STOP)
        ps_lead_stop(s, HP_PEER, "a worker is lost, and cluster.on_worker_loss says stop");
}

/* A lost worker speaks after all: server 0 tells it to come back. What it had begun is dropped, but
 * it says how much of that is still to arrive. */
static void answer_lost(ps_server_t *s, int worker, const hp_message_t *m) {
    const hp_message_t fenced = {.kind = HP_MSG_FENCED};
    const hp_message_t farewell = {.kind = HP_MSG_FAREWELL, .flags = HP_MSG_FAILED};
    switch (m->kind) {
    case HP_MSG_HEARTBEAT:
        if (s->lead != NULL) ps_send(s, ps_worker_rank(s, worker), &fenced, NULL, 0);
        break;
    case HP_MSG_COMMIT:
    case HP_MSG_ABORT:
        ps_push_resolve(s, worker, m);
        break;
    case HP_MSG_GOODBYE:
        ps_send(s, ps_worker_rank(s, worker), &farewell, NULL, 0);
        break;
    default:
        break;
    }
}

bool ps_liveness_admits(ps_server_t *s, int worker, const hp_message_t *m) {
    const ps_worker_t *w = &s->worker[worker];
    bool newer = m->kind == HP_MSG_HELLO && m->incarnation > w->incarnation;
    if (newer) return true;
    if (w->lost) answer_lost(s, worker, m);
    return !w->lost && m->incarnation == w->incarnation;
}

void ps_liveness_join(ps_server_t *s, int worker, uint32_t incarnation) {
    ps_worker_t *w = &s->worker[worker];
    bool returns = w->lost || w->presence == PS_PRESENT;
    if (w->presence == PS_PRESENT) ps_liveness_lose(s, worker); /* server 0's word is on its way */
    if (returns && s->lead != NULL)
        hp_log(s->options->log, HP_LOG_WARN, "worker %d on %s is back, in its incarnation %u",
               worker, hp_transport_peer_host(s->transport, ps_worker_rank(s, worker)),
               incarnation);
    w->presence = PS_PRESENT;
    w->incarnation = incarnation;
    w->lost = false;
    count_lost(s);
}

void ps_liveness_progress(ps_server_t *s, double now) {
    double suspend = limit(s->options->config->cluster.suspend_seconds, 3);
    double dead = limit(s->options->config->cluster.dead_seconds, 30);
    double pause = now - s->looked > STALL_S ? now - s->looked : 0;
    s->looked = now;
    for (int i = 0; i < s->workers; i++) {
        ps_worker_t *w = &s->worker[i];
        if (w->presence != PS_PRESENT) continue;
        w->heard += pause;
        double silent = now - w->heard;
        if (silent > dead) {
            lose(s, i, silent);
        } else if (silent > suspend && !w->suspended) {
            w->suspended = true;
            ps_units_suspend(ps_lead_units(s), i, true);
            char what[128];
            hp_doing_describe(w->doing, w->doing_unit, what, sizeof what);
            hp_log(s->options->log, HP_LOG_WARN,
                   "worker %d (rank %d) on %s is silent for %.1f s; its last word: it %s", i,
                   ps_worker_rank(s, i), hp_transport_peer_host(s->transport, ps_worker_rank(s, i)),
                   silent, what);
        }
    }
}
