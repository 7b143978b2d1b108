#include "cli/doctor.h"
#include "cli/ping.h"
#include "common/clock.h"
#include "common/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TAG_FIRST = 0x1000, TAG_PING = 0, TAG_BULK = 2, TAG_GOT, TAGS };
enum { BULK = 4 << 20, BULK_LEAST = 4 };

#define BULK_S 0.3 /* how long the rate is measured */

typedef struct {
    bool done;
    hp_completion_t completion;
} event_t;

static void note(void *context, const hp_completion_t *completion) {
    event_t *event = context;
    event->completion = *completion;
    event->done = true;
}

static bool wait_for(hp_transport_t *t, const event_t *event, double until) {
    while (!event->done && hp_clock() < until)
        if (hp_transport_progress(t) == 0) hp_transport_wait(t, 200, false);
    return event->done;
}

/* What does not end keeps its event, and its buffer if that is long: they are not released then. */
bool doctor_receive(hp_transport_t *transport, int from, uint32_t tag, void *buffer, size_t bytes,
                    double limit) {
    void *p = NULL;
    hp_request_t *request = NULL;
    if (hp_allocate(&p, 1, sizeof(event_t), "event", NULL) != HP_OK) return false;
    event_t *event = p;
    if (hp_transport_receive(transport, from, tag, buffer, bytes, note, event, &request, NULL) !=
        HP_OK) {
        hp_free(event);
        return false;
    }
    if (!wait_for(transport, event, hp_clock() + limit)) {
        hp_transport_cancel(transport, request);
        if (!wait_for(transport, event, hp_clock() + 1))
            return false; /* half of a long message is there */
    }
    bool received = event->completion.status == HP_OK && event->completion.bytes == bytes;
    hp_free(event);
    return received;
}

bool doctor_send(hp_transport_t *transport, int to, uint32_t tag, const void *buffer, size_t bytes,
                 double limit) {
    void *p = NULL;
    if (hp_allocate(&p, 1, sizeof(event_t), "event", NULL) != HP_OK) return false;
    event_t *event = p;
    if (hp_transport_send(transport, to, tag, buffer, bytes, note, event, NULL) != HP_OK) {
        hp_free(event);
        return false;
    }
    if (!wait_for(transport, event, hp_clock() + limit)) return false;
    bool sent = event->completion.status == HP_OK;
    hp_free(event);
    return sent;
}

static double real_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

doctor_link_t doctor_link_measure(hp_transport_t *transport, int peer, int number, double limit) {
    doctor_link_t link = {.answered = false};
    uint32_t tag = TAG_FIRST + (uint32_t)number * TAGS;
    double until = hp_clock() + limit, begin, seconds = 0;
    void *buffer = NULL;
    char got, last;
    cli_ping_t ping;
    if (!cli_ping(transport, peer, tag + TAG_PING, real_time, until, &ping)) return link;
    link.latency = ping.trip;
    link.clock = ping.offset;
    if (hp_allocate(&buffer, BULK, 1, "message", NULL) != HP_OK) return link;
    begin = hp_clock();
    int messages = 0;
    for (last = 0; !last; messages++) {
        last = messages + 1 >= BULK_LEAST && seconds > BULK_S;
        memset(buffer, last, 1); /* the peer reads whether another follows */
        if (!doctor_send(transport, peer, tag + TAG_BULK, buffer, BULK, until - hp_clock()))
            return link;
        if (!doctor_receive(transport, peer, tag + TAG_GOT, &got, 1, until - hp_clock()))
            return link;
        seconds = hp_clock() - begin;
    }
    hp_free(buffer);
    link.rate = messages * (double)BULK / seconds;
    link.answered = true;
    return link;
}

bool doctor_link_serve(hp_transport_t *transport, int peer, int number, double limit) {
    uint32_t tag = TAG_FIRST + (uint32_t)number * TAGS;
    double until = hp_clock() + limit;
    if (!cli_pong(transport, peer, tag + TAG_PING, real_time, until)) return false;
    void *buffer = NULL;
    if (hp_allocate(&buffer, BULK, 1, "message", NULL) != HP_OK) return false;
    bool good = true;
    for (char last = 0; good && !last;) {
        good = doctor_receive(transport, peer, tag + TAG_BULK, buffer, BULK, until - hp_clock());
        if (good) memcpy(&last, buffer, 1);
        good = good && hp_transport_send(transport, peer, tag + TAG_GOT, &last, 1, NULL, NULL,
                                         NULL) == HP_OK;
    }
    if (good) hp_free(buffer);
    return good;
}
