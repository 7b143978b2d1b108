/* Who still speaks. Every worker sends server 0 a sign of life twice a second from its
 * communication thread; Open MPI does not tell that a process died. Silent for a few seconds it is
 * suspended: named in the log, and not waited for where that is possible. Silent for long it is
 * lost: all servers drop what it was sending, and its units are computed by others. Only server 0
 * decides, and what a lost worker sends after that is dropped. */
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

void ps_liveness_lose(ps_server_t *s, int worker) {
    ps_worker_t *w = &s->worker[worker];
    w->presence = PS_GONE;
    w->lost = s->lossy = true;
    w->owes_farewell = w->owes_drained = false;
    ps_push_lose_worker(s, worker);
    ps_pull_drop_worker(s, worker);
}

static void lose(ps_server_t *s, int worker, double silent) {
    const char *host = hp_transport_peer_host(s->transport, ps_worker_rank(s, worker));
    const hp_message_t m = {.kind = HP_MSG_LOST, .count = (uint32_t)worker};
    hp_log(s->options->log, HP_LOG_ERROR, "worker %d on %s is lost: silent for %.1f s", worker,
           host, silent);
    for (int i = 1; i < s->servers; i++) ps_send(s, i, &m, NULL, 0);
    ps_liveness_lose(s, worker);
    ps_lead_worker_gone(s, worker, true);
    if (s->options->config->cluster.on_worker_loss == HP_LOSS_STOP)
        ps_lead_stop(s, HP_PEER, "a worker is lost, and cluster.on_worker_loss says stop");
}

/* A lost worker that speaks after all is told to leave. */
void ps_liveness_refuse(ps_server_t *s, int worker, const hp_message_t *m) {
    static const char why[] = "this worker was silent for too long and was given up";
    hp_message_t answer = {.kind = HP_MSG_REFUSED};
    if (m->kind == HP_MSG_HEARTBEAT && s->lead != NULL)
        ps_send(s, ps_worker_rank(s, worker), &answer, why, sizeof why - 1);
    answer = (hp_message_t){.kind = HP_MSG_FAREWELL, .flags = HP_MSG_FAILED};
    if (m->kind == HP_MSG_GOODBYE) ps_send(s, ps_worker_rank(s, worker), &answer, NULL, 0);
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
            hp_log(s->options->log, HP_LOG_WARN, "worker %d on %s is silent for %.1f s", i,
                   hp_transport_peer_host(s->transport, ps_worker_rank(s, i)), silent);
        }
    }
}
