/* What `hanps train` shows: a progress line, and a closing table. */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "cli/start.h"
#include "ps/server.h"
#include "worker/train.h"

#include <stdio.h>

typedef struct {
    const cli_plan_t *plan;
    FILE *out;
    bool tty;
    bool open;          /* a line without its end stands on the terminal */
    double begin, last; /* clock: at the first unit, when it was last shown */
    int64_t first_step, last_step;
    double loss_sum, labelled, correct; /* totals when it was last shown */
} cli_progress_t;

void cli_progress_begin(cli_progress_t *progress, const cli_plan_t *plan, FILE *out);

/* wk_train's callback; context is a cli_progress_t. On a terminal one line that is rewritten,
 * otherwise a line every log.console_seconds. */
void cli_progress_show(void *context, const wk_train_progress_t *seen);
void cli_progress_end(cli_progress_t *progress);

/* A line for the run and one for each worker, from what the workers logged in this start. */
void cli_closing_table(const cli_plan_t *plan, const ps_outcome_t *outcome, FILE *out);

#endif
