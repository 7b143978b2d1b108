/* A loopback that misbehaves, for tests: seeded delays and reordering between messages, ranks that
 * stop, messages that are lost. What happens to a message is a pure function of (seed, source,
 * destination, its number on that way); a delay is counted in the receiver's calls of
 * hp_transport_progress. With all endpoints driven by one thread a schedule is reproducible. */
#ifndef HP_TRANSPORT_CHAOS_H
#define HP_TRANSPORT_CHAOS_H

#include "common/transport.h"

typedef struct {
    uint64_t seed;
    int delay; /* a message, or the news that it was received, comes 0 .. delay calls late */
    double delay_share; /* share of the messages that are delayed at all, 0 .. 1 */
    double copy_share;  /* share of sends of at most HP_COPIED bytes that are done before they are
                           received, as MPI's small messages are */
    uint64_t lose;      /* this send of each endpoint, counted from 1, is lost; 0: none */
    int lose_of;        /* of this one alone, counted from 1; 0: of each */
} hp_chaos_t;

hp_status_t hp_transport_loopback_chaos(int n, const hp_chaos_t *chaos, hp_transport_t **endpoints,
                                        hp_error_t *err) HP_MUST_CHECK;

/* From any thread. `stopped`: what the rank sends and what is sent to it vanishes, requests stay
 * pending, as when its process is killed. `held`: the same messages wait, and go on in order when
 * it runs again, as when its link is down. */
typedef enum { HP_CHAOS_RUNS, HP_CHAOS_HELD, HP_CHAOS_STOPPED } hp_chaos_mode_t;
void hp_chaos_set(hp_transport_t *endpoint, hp_chaos_mode_t mode);

/* Messages it has sent so far, what was lost included. Of an endpoint at rest. */
uint64_t hp_chaos_sent(hp_transport_t *endpoint);

#endif
