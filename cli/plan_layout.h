/* Which host has how many servers and workers, for hanps plan: as `deploy/run --placement` deals
 * ranks to hosts that are alike, and common/placement then chooses the servers. */
#ifndef CLI_PLAN_LAYOUT_H
#define CLI_PLAN_LAYOUT_H

#include "common/config.h"

typedef struct {
    hp_placement_t placement;
    int hosts, servers, workers;
} plan_layout_t;

/* HP_INPUT: no server or worker; `alone` where the servers do not fill whole hosts. */
hp_status_t plan_layout_check(const plan_layout_t *layout, hp_error_t *err) HP_MUST_CHECK;

int plan_host_of(const plan_layout_t *layout, int server); /* hosts count from 0 */
int plan_host_servers(const plan_layout_t *layout, int host);
int plan_host_workers(const plan_layout_t *layout, int host);

#endif
