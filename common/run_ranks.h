/* RUN/ranks: who works on a run, so that processes that were left behind can be found and ended,
 * and nobody else's. A rank writes RUN/ranks/NNNN when it has begun and removes it when it ends:
 *   {"rank", "host", "pid", "started", "boot", "start"}
 * `started` is the process's start in clock ticks since the host's boot (field 22 of
 * /proc/PID/stat), `boot` that boot's id: with them a pid names one process for good. `start`
 * counts the starts of the run, as in RUN/status. */
#ifndef HP_RUN_RANKS_H
#define HP_RUN_RANKS_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

hp_status_t hp_run_rank_note(const char *run, int rank, int64_t start,
                             hp_error_t *err) HP_MUST_CHECK;
void hp_run_rank_forget(const char *run, int rank);

/* May this rank say for all how the run ended? True for one rank of a start. */
bool hp_run_ranks_claim(const char *run);
void hp_run_ranks_unclaim(const char *run); /* a new start */

#endif
