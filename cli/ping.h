/* Round trips between two ranks: how long a message takes, how far their clocks are apart. */
#ifndef CLI_PING_H
#define CLI_PING_H

#include "common/transport.h"

enum { CLI_PINGS = 41 };

typedef struct {
    double trip;   /* seconds: the middle of CLI_PINGS round trips */
    double offset; /* the peer's clock less this rank's, by the fastest round trip */
    double error;  /* half of that trip: the offset is within so much, whatever way was the slow one
                    */
} cli_ping_t;

/* The peer calls cli_pong with the same tag (tag + 1 is used too) while this rank calls cli_ping.
 * Each stamps with `clock`. `until`: by hp_clock. False: no answer in time. */
bool cli_ping(hp_transport_t *transport, int peer, uint32_t tag, double (*clock)(void),
              double until, cli_ping_t *ping);
bool cli_pong(hp_transport_t *transport, int peer, uint32_t tag, double (*clock)(void),
              double until);

#endif
