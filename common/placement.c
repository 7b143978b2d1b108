#include "common/placement.h"

#include "common/memory.h"

#include <stdio.h>
#include <string.h>

/* Hosts by the order of their first ranks: at[r] is rank r's, ranks_of[h] counts. Returns how many
 * hosts. */
static int number_hosts(int ranks, const char *const *host, int *at, int *first) {
    int hosts = 0;
    for (int r = 0; r < ranks; r++) {
        int h = 0;
        while (h < hosts && strcmp(host[first[h]], host[r]) != 0) h++;
        if (h == hosts) first[hosts++] = r;
        at[r] = h;
    }
    return hosts;
}

/* Ranks in the order in which they become servers: by host; or all first ranks of a host, all
 * second ones, ... */
static void preference(hp_placement_t placement, int ranks, int hosts, const int *at, int *order) {
    int n = 0;
    if (placement != HP_SPREAD) {
        for (int h = 0; h < hosts; h++)
            for (int r = 0; r < ranks; r++)
                if (at[r] == h) order[n++] = r;
        return;
    }
    for (int round = 0; n < ranks; round++)
        for (int h = 0; h < hosts; h++) {
            int seen = 0;
            for (int r = 0; r < ranks; r++)
                if (at[r] == h && seen++ == round) order[n++] = r;
        }
}

/* The servers end where a host ends. */
static hp_status_t check_alone(int ranks, int servers, const int *at, const int *order,
                               hp_error_t *err) {
    char allowed[128] = "";
    size_t used = 0;
    if (at[order[servers - 1]] != at[order[servers]]) return HP_OK;
    for (int n = 1; n < ranks; n++)
        if (at[order[n - 1]] != at[order[n]] && used < sizeof allowed)
            used += (size_t)snprintf(allowed + used, sizeof allowed - used, "%s%d",
                                     used > 0 ? ", " : "", n);
    if (used == 0)
        return hp_fail(err, HP_INPUT, "cluster.placement: alone needs two hosts or more");
    return hp_fail(
        err, HP_INPUT,
        "cluster.placement: alone: %d servers do not fill whole hosts; allowed here: %s servers",
        servers, allowed);
}

hp_status_t hp_placement_order(hp_placement_t placement, int ranks, const char *const *host,
                               int servers, int *order, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 3 * (size_t)ranks, sizeof(int), "placement", err));
    int *at = p, *first = at + ranks, *wanted = first + ranks;
    int hosts = number_hosts(ranks, host, at, first);
    preference(placement, ranks, hosts, at, wanted);
    hp_status_t status =
        placement == HP_ALONE ? check_alone(ranks, servers, at, wanted, err) : HP_OK;
    int n = servers;
    for (int i = 0; i < servers; i++) order[i] = wanted[i];
    for (int r = 0; r < ranks; r++) {
        bool server = false;
        for (int i = 0; i < servers; i++) server |= order[i] == r;
        if (!server) order[n++] = r;
    }
    hp_free(p);
    return status;
}

static void count_roles(int ranks, const char *const *host, int servers, const char *name,
                        int count[2]) {
    count[0] = count[1] = 0;
    for (int r = 0; r < ranks; r++)
        if (strcmp(host[r], name) == 0) count[r >= servers]++;
}

void hp_placement_describe(int ranks, const char *const *host, int servers, char *text,
                           size_t bytes) {
    size_t used = 0;
    text[0] = '\0';
    for (int r = 0; r < ranks && used < bytes; r++) {
        int count[2], earlier = 0;
        while (earlier < r && strcmp(host[earlier], host[r]) != 0) earlier++;
        if (earlier < r) continue;
        count_roles(ranks, host, servers, host[r], count);
        used += (size_t)snprintf(text + used, bytes - used, "%s%s:", used > 0 ? "; " : "", host[r]);
        for (int role = 0; role < 2 && used < bytes; role++)
            if (count[role] > 0)
                used += (size_t)snprintf(
                    text + used, bytes - used, "%s %d %s%s", role == 1 && count[0] > 0 ? "," : "",
                    count[role], role == 0 ? "server" : "worker", count[role] > 1 ? "s" : "");
    }
}
