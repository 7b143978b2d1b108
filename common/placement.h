/* Which ranks are the servers: a pure function of the ranks' hosts, the same on every rank. Servers
 * are always the first ranks; so the ranks are numbered anew. */
#ifndef HP_PLACEMENT_H
#define HP_PLACEMENT_H

#include "common/config.h"

/* order[r] is the old number of the rank that becomes rank r: the servers first, then the others in
 * their old order. Rank 0 stays rank 0. host[ranks]: of the old numbers; 1 <= servers < ranks.
 * Hosts count in the order of their first ranks. spread  a server on every host in turn, beside
 * workers packed  hosts one after another: a host's ranks are servers before the next host has one
 *   alone   packed, and a host with a server has no worker: HP_INPUT where `servers` do not fill
 * whole hosts */
hp_status_t hp_placement_order(hp_placement_t placement, int ranks, const char *const *host,
                               int servers, int *order, hp_error_t *err) HP_MUST_CHECK;

/* "host1: 1 server, 2 workers; host2: ..." of ranks that are numbered so: the first `servers` ranks
 * are servers. */
void hp_placement_describe(int ranks, const char *const *host, int servers, char *text,
                           size_t bytes);

#endif
