#include "cli/ping.h"

#include "cli/doctor.h"
#include "common/clock.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    double sent; /* the sender's clock; NAN: this was the last */
} ball_t;

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool send_ball(hp_transport_t *t, int peer, uint32_t tag, double stamp) {
    const ball_t ball = {stamp};
    return hp_transport_send(t, peer, tag, &ball, sizeof ball, NULL, NULL, NULL) == HP_OK;
}

bool cli_ping(hp_transport_t *t, int peer, uint32_t tag, double (*clock)(void), double until,
              cli_ping_t *ping) {
    double trip[CLI_PINGS], best = INFINITY;
    for (int i = 0; i < CLI_PINGS; i++) {
        ball_t back;
        const double sent = clock(), begin = hp_clock();
        if (!send_ball(t, peer, tag, sent) ||
            !doctor_receive(t, peer, tag + 1, &back, sizeof back, until - begin))
            return false;
        trip[i] = hp_clock() - begin;
        if (trip[i] >= best) continue;
        best = trip[i];
        ping->offset = back.sent - (sent + best / 2);
    }
    qsort(trip, CLI_PINGS, sizeof *trip, compare);
    ping->trip = trip[CLI_PINGS / 2];
    ping->error = best / 2;
    return send_ball(t, peer, tag, NAN);
}

bool cli_pong(hp_transport_t *t, int peer, uint32_t tag, double (*clock)(void), double until) {
    for (;;) {
        ball_t ball;
        if (!doctor_receive(t, peer, tag, &ball, sizeof ball, until - hp_clock())) return false;
        if (isnan(ball.sent)) return true;
        if (!send_ball(t, peer, tag + 1, clock())) return false;
    }
}
