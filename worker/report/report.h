/* One page about one run or several: curves of loss, accuracy, throughput, cells and staleness by
 * step and by time, where the time went, and what evaluations found. */
#ifndef WK_REPORT_H
#define WK_REPORT_H

#include "common/status.h"

#include <stdio.h>

enum { WK_REPORT_RUNS = 32 };

/* Writes the page of runs run[0 .. runs) to `out`. HP_INPUT: a run without a log. */
hp_status_t wk_report(int runs, const char *const *run, FILE *out, hp_error_t *err) HP_MUST_CHECK;

#endif
