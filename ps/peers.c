/* Servers watch one another. Every server gives server 0 a sign of life twice a second, and server
 * 0 all other ranks: Open MPI does not tell that a process died. The weights of a server that is
 * silent for cluster.server_seconds are lost: server 0 ends the run. Where it is server 0 that is
 * silent, every other server ends it for its workers. */
#include "common/memory.h"
#include "ps/internal.h"

#include <math.h>
#include <string.h>

#define BEAT_S  0.5 /* between signs of life */
#define STALL_S 1.0 /* a pause of this server itself, which is not the others' silence */

hp_status_t ps_peers_create(ps_server_t *s, hp_error_t *err) {
    void *heard = NULL, *lost = NULL, *got_on = NULL;
    HP_TRY(hp_allocate(&heard, (size_t)s->servers, sizeof *s->peers.heard, "servers", err));
    s->peers.heard = heard;
    HP_TRY(hp_allocate(&lost, (size_t)s->servers, sizeof *s->peers.lost, "servers", err));
    s->peers.lost = lost;
    HP_TRY(hp_allocate(&got_on, (size_t)s->servers, sizeof *s->peers.got_on, "servers", err));
    s->peers.got_on = got_on;
    for (int i = 0; i < s->servers; i++) s->peers.heard[i] = s->began;
    s->peers.looked = s->began;
    return HP_OK;
}

void ps_peers_destroy(ps_server_t *s) {
    hp_free(s->peers.heard);
    hp_free(s->peers.lost);
    hp_free(s->peers.got_on);
}

/* After its farewell a server is silent for good. */
void ps_peers_heard(ps_server_t *s, int server, const hp_message_t *m, double now) {
    if (s->peers.heard[server] < INFINITY) s->peers.heard[server] = now;
    if (m->kind == HP_MSG_FAREWELL) s->peers.heard[server] = INFINITY;
    if (server == 0) s->peers.lead_spoke = true;
}

void ps_peers_greet(ps_server_t *s, int server) {
    const hp_message_t m = ps_stall_beat(s);
    ps_send(s, server, &m, NULL, 0);
}

static void beat(ps_server_t *s, double now) {
    if (now - s->peers.beat < BEAT_S) return;
    const hp_message_t m = ps_stall_beat(s);
    s->peers.beat = now;
    if (s->lead == NULL) {
        if (!s->peers.lead_lost) ps_send(s, 0, &m, NULL, 0);
        return;
    }
    for (int i = 1; i < s->servers; i++)
        if (ps_lead_knows(s, i) && !s->peers.lost[i]) ps_send(s, i, &m, NULL, 0);
    for (int i = 0; i < s->workers; i++)
        if (s->worker[i].presence == PS_PRESENT || s->worker[i].owes_farewell)
            ps_send(s, ps_worker_rank(s, i), &m, NULL, 0);
}

static void lose_server(ps_server_t *s, int server, double silent) {
    const char *host = hp_transport_peer_host(s->transport, server);
    s->peers.lost[server] = true;
    s->peers.lost_count++;
    if (s->over || s->failed)
        hp_log(s->options->log, HP_LOG_WARN, "server %d on %s is silent for %.1f s", server, host,
               silent);
    else
        ps_server_fail(s, HP_PEER, "server %d (rank %d) on %s is lost: silent for %.1f s", server,
                       server, host, silent);
}

void ps_peers_never_came(ps_server_t *s) {
    for (int i = 1; i < s->servers; i++) {
        if (ps_lead_knows(s, i) || s->peers.lost[i]) continue;
        s->peers.lost[i] = true;
        s->peers.lost_count++;
    }
}

/* Nobody is left to decide: this server's workers are sent home. */
static void lose_lead(ps_server_t *s, double silent) {
    s->peers.lead_lost = s->peers.lost[0] = true;
    s->peers.lost_count = 1;
    s->failed = s->over = true;
    if (s->verdict == HP_OK)
        s->verdict = hp_fail(&s->why, HP_PEER, "server 0 (rank 0) on %s is lost: silent for %.1f s",
                             hp_transport_peer_host(s->transport, 0), silent);
    hp_log(s->options->log, HP_LOG_ERROR, "the run ends: %s", s->why.text);
    const hp_message_t end = {
        .kind = HP_MSG_END, .flags = HP_MSG_FAILED, .count = (uint32_t)s->verdict};
    for (int i = 0; i < s->workers; i++)
        if (s->worker[i].presence == PS_PRESENT)
            ps_send(s, ps_worker_rank(s, i), &end, s->why.text, strnlen(s->why.text, 1024));
}

void ps_peers_progress(ps_server_t *s, double now) {
    ps_peers_t *p = &s->peers;
    double pause = now - p->looked > STALL_S ? now - p->looked : 0;
    double limit = s->options->config->cluster.server_seconds;
    p->looked = now;
    for (int i = 0; i < s->servers; i++) p->heard[i] += pause;
    beat(s, now);
    if (s->lead == NULL) {
        if (!p->lead_spoke) limit = s->options->config->cluster.start_seconds;
        if (!s->over && now - p->heard[0] > limit) lose_lead(s, now - p->heard[0]);
        return;
    }
    for (int i = 1; i < s->servers; i++)
        if (ps_lead_knows(s, i) && !p->lost[i] && now - p->heard[i] > limit)
            lose_server(s, i, now - p->heard[i]);
}
