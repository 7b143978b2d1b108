#include "cli/trace.h"

#include "cli/ping.h"
#include "common/clock.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { TAG_CLOCK = 0x2000 };

/* On one host the clock is the same one, unless a measurement says otherwise. */
static cli_clock_t judge(const hp_transport_t *t, const cli_ping_t *ping) {
    const bool same = strcmp(hp_transport_peer_host(t, 0), hp_transport_host(t)) == 0 &&
                      fabs(ping->offset) <= ping->error;
    return same ? (cli_clock_t){0, 0} : (cli_clock_t){ping->offset, ping->error};
}

cli_clock_t cli_trace_clock(hp_transport_t *t, double limit) {
    const int ranks = hp_transport_size(t);
    cli_ping_t ping;
    if (hp_transport_rank(t) == 0) {
        for (int r = 1; r < ranks; r++)
            (void)!cli_pong(t, r, TAG_CLOCK, hp_clock, hp_clock() + limit);
        return (cli_clock_t){0, 0};
    }
    /* Rank 0 takes the others in turn, and may wait for each. */
    if (!cli_ping(t, 0, TAG_CLOCK, hp_clock, hp_clock() + limit * ranks, &ping))
        return (cli_clock_t){0, -1};
    return judge(t, &ping);
}

hp_trace_t *cli_trace_open(const cli_plan_t *plan, const hp_transport_t *transport,
                           const cli_clock_t *clock, hp_log_t *log) {
    const int rank = hp_transport_rank(transport);
    const bool server = rank < plan->servers;
    hp_trace_t *trace = NULL;
    hp_error_t err;
    char role[32];
    if (plan->trace == 0) return NULL;
    snprintf(role, sizeof role, "%s %d", server ? "server" : "worker",
             server ? rank : rank - plan->servers);
    const hp_trace_options_t options = {.run = plan->run,
                                        .start = plan->start,
                                        .rank = rank,
                                        .ranks = plan->servers + plan->workers,
                                        .role = role,
                                        .host = hp_transport_host(transport),
                                        .steps = plan->trace,
                                        .zero = plan->trace_zero,
                                        .offset = clock->offset,
                                        .error = clock->error};
    if (clock->error < 0)
        hp_log(log, HP_LOG_WARN, "its clock could not be compared with rank 0's for the trace");
    if (hp_trace_create(&options, &trace, &err) != HP_OK)
        hp_log(log, HP_LOG_WARN, "no trace of this rank: %s", err.text);
    return trace;
}
