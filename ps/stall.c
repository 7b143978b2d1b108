/* Who does not get on. Workers tell server 0 in their signs of life what they do and for how long;
 * every server looks after itself. What lasts longer than cluster.stall_seconds stands in the log,
 * and again when it has lasted twice as long.
 *
 * A message that is lost, or one that a fault of some rank never sends, may leave all of them
 * waiting for one another with nobody silent. Server 0 ends the run when for
 * cluster.give_up_seconds nothing came but signs of life, and these of ranks that all wait. */
#include "ps/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAUSE_S  1.0 /* of server 0 itself, which is not the others' */
#define SILENT_S 2.0 /* of a rank that gives a sign of life twice a second */

static bool works(unsigned doing) {
    return doing == HP_DOING_DATA || doing == HP_DOING_COMPUTE || doing == HP_DOING_EVALUATE;
}

void ps_stall_heard(ps_server_t *s, int worker, const hp_message_t *m, double now) {
    ps_worker_t *w = &s->worker[worker];
    double lasts = (double)m->value * 1e-3, limit = s->options->config->cluster.stall_seconds;
    char what[128];
    if (m->count != w->doing || m->unit != w->doing_unit || now - lasts > w->doing_since + 1)
        w->stall_due = limit;
    if (w->stall_due <= 0) w->stall_due = limit;
    w->doing = m->count;
    w->doing_unit = m->unit;
    w->doing_since = now - lasts;
    if (works(w->doing)) s->moved = now;
    if (w->spare || lasts < w->stall_due) return;
    while (w->stall_due <= lasts) w->stall_due *= 2;
    hp_doing_describe(w->doing, w->doing_unit, what, sizeof what);
    hp_log(s->options->log, HP_LOG_WARN, "worker %d (rank %d) on %s %s, for %.1f s now", worker,
           ps_worker_rank(s, worker),
           hp_transport_peer_host(s->transport, ps_worker_rank(s, worker)), what, lasts);
}

static bool busy(const ps_server_t *s) {
    return ps_applier_queue(s->applier) > 0 || s->cut.holding;
}

/* What this server waits for. */
static void describe(const ps_server_t *s, char *text, size_t size) {
    const ps_slot_t *filling = NULL;
    for (int i = 0; i < s->slots; i++)
        if (s->slot[i].state == PS_SLOT_FILLING) filling = &s->slot[i];
    if (ps_applier_queue(s->applier) > 0)
        snprintf(text, size, "sums or steps");
    else if (s->sync && s->summed && s->norms_missing > 0)
        snprintf(text, size, "waits for %d norms of other servers", s->norms_missing);
    else if (s->sync && s->summed)
        snprintf(text, size, "waits until all servers know of a checkpoint");
    else if (filling != NULL)
        snprintf(text, size,
                 "waits for the gradient of unit %" PRIu64 " of worker %d, %d of %d"
                 " chunks are there",
                 filling->unit, filling->worker, s->chunks - filling->pending, s->chunks);
    else if (s->sync)
        snprintf(text, size, "waits for the gradient of unit %" PRIu64, s->fold_next);
    else
        snprintf(text, size, "waits for a gradient");
    if (s->cut.holding) {
        size_t n = strlen(text);
        snprintf(text + n, size - n, "; its part of checkpoint %" PRId64 " is being written",
                 s->cut.step);
    }
}

void ps_stall_progress(ps_server_t *s, double now) {
    char what[256];
    double limit = s->options->config->cluster.stall_seconds;
    uint64_t got_on = (uint64_t)s->made + s->received + s->sent;
    if (s->lead != NULL && (got_on != s->got_on || busy(s))) s->moved = now;
    if (s->cut.holding) s->cut_moved = now;
    s->got_on = got_on;
    if (s->made != s->stall_made || s->stall_due <= 0 || s->over) {
        s->stall_made = s->made;
        s->stall_since = now;
        s->stall_due = limit;
    }
    double lasts = now - s->stall_since;
    if (lasts < s->stall_due) return;
    while (s->stall_due <= lasts) s->stall_due *= 2;
    describe(s, what, sizeof what);
    hp_log(s->options->log, HP_LOG_WARN, "server %d (rank %d) on %s makes no step for %.1f s: %s",
           s->rank, s->rank, hp_transport_host(s->transport), lasts, what);
}

/* ---- the whole run ---- */

hp_message_t ps_stall_beat(const ps_server_t *s) {
    return (hp_message_t){.kind = HP_MSG_HEARTBEAT,
                          .flags = s->cut.holding ? HP_MSG_LAST : 0,
                          .count = busy(s) ? 1 : 0,
                          .value = s->got_on};
}

void ps_stall_server(ps_server_t *s, int server, const hp_message_t *m, double now) {
    if (m->count != 0 || m->value != s->peers.got_on[server]) s->moved = now;
    if ((m->flags & HP_MSG_LAST) != 0) s->cut_moved = now;
    s->peers.got_on[server] = m->value;
}

void ps_stall_mail(ps_server_t *s, const hp_message_t *m, double now) {
    if (m->kind == HP_MSG_HEARTBEAT) return;
    s->moved = now;
    if (m->kind == HP_MSG_CUT_ACK || m->kind == HP_MSG_SHARD) s->cut_moved = now;
}

/* Somebody is silent: there are limits for that. */
static bool someone_silent(const ps_server_t *s, double now) {
    for (int i = 0; i < s->workers; i++)
        if (s->worker[i].presence == PS_PRESENT && now - s->worker[i].heard > SILENT_S) return true;
    for (int i = 1; i < s->servers; i++)
        if (!s->peers.lost[i] && now - s->peers.heard[i] > SILENT_S) return true;
    return false;
}

/* Who has waited longest for weights or with a gradient; -1: nobody does. */
static int longest(const ps_server_t *s) {
    int most = -1;
    for (int i = 0; i < s->workers; i++) {
        const ps_worker_t *w = &s->worker[i];
        bool waits = w->doing == HP_DOING_PULL || w->doing == HP_DOING_PUSH;
        if (w->presence != PS_PRESENT || w->spare || !waits) continue;
        if (most < 0 || w->doing_since < s->worker[most].doing_since) most = i;
    }
    return most;
}

static void give_up(ps_server_t *s, double now, bool cut) {
    char what[256];
    const int i = cut ? -1 : longest(s);
    if (i >= 0) {
        const ps_worker_t *w = &s->worker[i];
        hp_doing_describe(w->doing, w->doing_unit, what, sizeof what);
        ps_server_fail(s, HP_PEER, "nothing gets on: worker %d (rank %d) on %s %s, for %.1f s now",
                       i, ps_worker_rank(s, i),
                       hp_transport_peer_host(s->transport, ps_worker_rank(s, i)), what,
                       now - w->doing_since);
        return;
    }
    ps_lead_describe(s, what, sizeof what);
    ps_server_fail(s, HP_PEER, "%s: server 0 (rank 0) on %s waits for %s, for %.1f s now",
                   cut ? "no checkpoint is made any more" : "nothing gets on",
                   hp_transport_host(s->transport), what, now - (cut ? s->cut_moved : s->moved));
}

void ps_stall_watch(ps_server_t *s, double now, bool excused, bool cut) {
    const double limit = s->options->config->cluster.give_up_seconds;
    const double pause = now - s->watched > PAUSE_S ? now - s->watched : 0;
    s->watched = now;
    s->moved += pause;
    s->cut_moved += pause;
    if (excused || someone_silent(s, now)) s->moved = s->cut_moved = now;
    if (!cut) s->cut_moved = now;
    if (now - s->moved > limit)
        give_up(s, now, false);
    else if (now - s->cut_moved > limit)
        give_up(s, now, true);
}
