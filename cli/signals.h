/* SIGINT, SIGTERM and SIGUSR2 as a request to write a checkpoint and stop. A thread waits for them,
 * so there is no handler and no global: what it does may take locks and print. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include "common/status.h"

#include <stdatomic.h>
#include <stdbool.h>

typedef struct cli_signals cli_signals_t;

/* Blocks the signals in this thread and those it starts later: call it before any other thread is
 * there, MPI's too. *stop becomes 1 at the first signal; a second one ends the process at once
 * with 130. `quiet`: print nothing (all ranks but one). */
hp_status_t cli_signals_open(atomic_int *stop, bool quiet, cli_signals_t **signals_p,
                             hp_error_t *err) HP_MUST_CHECK;
void cli_signals_close(cli_signals_t *signals); /* NULL is fine */

#endif
