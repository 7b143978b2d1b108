/* Spare workers: the last ranks, cluster.spares of them. A spare is a worker like any other, ready
 * from the start, to which server 0 gives no units; its threads sleep. When a worker is lost the
 * first spare that is here takes its place. A worker that comes back after that goes on beside it.
 */
#include "ps/internal.h"

void ps_spares_create(ps_server_t *s) {
    for (int i = s->workers - s->options->config->cluster.spares; i < s->workers; i++) {
        if (i < 0) continue;
        s->worker[i].spare = true;
        ps_units_leave(ps_lead_units(s), i, false); /* nobody waits for it */
    }
}

static void wake(ps_server_t *s, int worker) {
    ps_worker_t *w = &s->worker[worker];
    w->spare = false;
    s->vacant--;
    ps_units_room(ps_lead_units(s), worker, w->room);
    hp_log(s->options->log, HP_LOG_WARN,
           "spare worker %d on %s takes the place of one that is gone", worker,
           hp_transport_peer_host(s->transport, ps_worker_rank(s, worker)));
}

bool ps_spares_arrives(ps_server_t *s, int worker, int room) {
    ps_worker_t *w = &s->worker[worker];
    w->room = room;
    if (!w->spare) return true;
    if (s->vacant > 0) wake(s, worker);
    return false;
}

void ps_spares_replace(ps_server_t *s, int worker) {
    if (s->worker[worker].spare) return;
    s->vacant++;
    for (int i = 0; i < s->workers && s->vacant > 0; i++)
        if (s->worker[i].spare && s->worker[i].presence == PS_PRESENT) wake(s, i);
}
