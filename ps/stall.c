/* Who does not get on. Workers tell server 0 in their signs of life what they do and for how long;
 * every server looks after itself. What lasts longer than cluster.stall_seconds stands in the log,
 * and again when it has lasted twice as long. */
#include "ps/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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
    if (w->spare || lasts < w->stall_due) return;
    while (w->stall_due <= lasts) w->stall_due *= 2;
    hp_doing_describe(w->doing, w->doing_unit, what, sizeof what);
    hp_log(s->options->log, HP_LOG_WARN, "worker %d (rank %d) on %s %s, for %.1f s now", worker,
           ps_worker_rank(s, worker),
           hp_transport_peer_host(s->transport, ps_worker_rank(s, worker)), what, lasts);
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
