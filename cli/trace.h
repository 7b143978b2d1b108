/* hanps train --trace: every rank's part, on one clock; hanps report --trace: one file of them. */
#ifndef CLI_TRACE_H
#define CLI_TRACE_H

#include "cli/start.h"
#include "common/trace.h"

/* What a rank knows of rank 0's clock. */
typedef struct {
    double offset; /* rank 0's hp_clock less this rank's */
    double error;  /* seconds; below 0: not known */
} cli_clock_t;

/* Every rank compares its clock with rank 0's. Collective, while no other message is under way. A
 * rank that does not answer costs time, and fails nothing. */
cli_clock_t cli_trace_clock(hp_transport_t *transport, double limit);

/* A rank's trace as the plan wants it; *trace_p is NULL where it wants none, or where there can be
 * none, which the log says. The rank of `transport`. */
hp_trace_t *cli_trace_open(const cli_plan_t *plan, const hp_transport_t *transport,
                           const cli_clock_t *clock, hp_log_t *log);

/* Puts the parts of a run's newest trace together into `out` (NULL: RUN/trace/start-NNNN.json) and
 * prints its name. Ranks that left no part are named on stderr. HP_INPUT: there is no trace. */
hp_status_t cli_trace_merge(const char *run, const char *out, hp_error_t *err) HP_MUST_CHECK;

#endif
