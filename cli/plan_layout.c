#include "cli/plan_layout.h"

static int ranks(const plan_layout_t *l) { return l->servers + l->workers; }

/* Not spread: hosts are filled one after another, each with so many ranks. */
static int slots(const plan_layout_t *l) { return (ranks(l) + l->hosts - 1) / l->hosts; }

/* The part of a host of n that are dealt by turns. */
static int dealt(int n, int hosts, int host) { return n / hosts + (host < n % hosts); }

/* What is left for a host of n that fill hosts of `room`. */
static int filled(int n, int room, int host) {
    const int64_t left = n - (int64_t)room * host;
    return left < 0 ? 0 : left < room ? (int)left : room;
}

hp_status_t plan_layout_check(const plan_layout_t *l, hp_error_t *err) {
    if (l->servers < 1 || l->workers < 1)
        return hp_fail(err, HP_INPUT, "%d servers and %d workers: at least one of each is needed",
                       l->servers, l->workers);
    if (l->placement != HP_ALONE) return HP_OK;
    if (l->hosts < 2)
        return hp_fail(err, HP_INPUT, "cluster.placement: alone needs two hosts or more");
    if (l->servers % slots(l) != 0)
        return hp_fail(err, HP_INPUT,
                       "cluster.placement: alone: %d servers do not fill whole hosts of %d ranks",
                       l->servers, slots(l));
    return HP_OK;
}

int plan_host_of(const plan_layout_t *l, int server) {
    return l->placement == HP_SPREAD ? server % l->hosts : server / slots(l);
}

int plan_host_servers(const plan_layout_t *l, int host) {
    return l->placement == HP_SPREAD ? dealt(l->servers, l->hosts, host)
                                     : filled(l->servers, slots(l), host);
}

int plan_host_workers(const plan_layout_t *l, int host) {
    const int all = l->placement == HP_SPREAD ? dealt(ranks(l), l->hosts, host)
                                              : filled(ranks(l), slots(l), host);
    return all - plan_host_servers(l, host);
}
