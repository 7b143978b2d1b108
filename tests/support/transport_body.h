/* What every transport must do, run by each rank of it: over the loopback in a thread each, over
 * MPI in a process each. A failed check prints and ends the process. */
#ifndef TESTS_TRANSPORT_BODY_H
#define TESTS_TRANSPORT_BODY_H

#include "common/transport.h"

#include <stdbool.h>

/* Every rank calls it. `sleeps`: also check that waiting costs little CPU time (2 s). */
void transport_body(hp_transport_t *transport, bool sleeps);

/* Returns when every rank has called it. */
void transport_meet(hp_transport_t *transport, uint32_t tag);

#endif
