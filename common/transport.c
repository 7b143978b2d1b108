#include "common/transport_internal.h"

#include "common/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int hp_transport_rank(const hp_transport_t *transport) { return transport->rank; }
int hp_transport_size(const hp_transport_t *transport) { return transport->size; }
int hp_transport_local_ranks(const hp_transport_t *transport) { return transport->local_ranks; }
int hp_transport_local_index(const hp_transport_t *transport) { return transport->local_index; }
int hp_transport_pending(const hp_transport_t *transport) { return transport->pending; }

const char *hp_transport_host(const hp_transport_t *transport) {
    return transport->host[transport->rank];
}

const char *hp_transport_peer_host(const hp_transport_t *transport, int rank) {
    return rank < 0 || rank >= transport->size ? "?" : transport->host[rank];
}

static hp_status_t begin_send(hp_transport_t *t, int to, uint32_t tag, const void *buffer,
                              size_t bytes, hp_done_t done, void *context, hp_error_t *err) {
    if (to < 0 || to >= t->size)
        return hp_fail(err, HP_INTERNAL, "send to rank %d of %d", to, t->size);
    if (bytes > HP_MESSAGE_MAX || (done == NULL && bytes > HP_COPIED))
        return hp_fail(err, HP_INTERNAL, "send of %zu bytes to rank %d: at most %zu", bytes, to,
                       done == NULL ? (size_t)HP_COPIED : HP_MESSAGE_MAX);
    return t->ops->send(t, to, tag, buffer, bytes, done, context, err);
}

static hp_status_t begin_receive(hp_transport_t *t, int from, uint32_t tag, void *buffer,
                                 size_t capacity, hp_done_t done, void *context,
                                 hp_request_t **request_p, hp_error_t *err) {
    if (from != HP_ANY_SOURCE && (from < 0 || from >= t->size))
        return hp_fail(err, HP_INTERNAL, "receive from rank %d of %d", from, t->size);
    if (capacity > HP_MESSAGE_MAX || done == NULL)
        return hp_fail(err, HP_INTERNAL, "receive of %zu bytes: at most %zu, with a callback",
                       capacity, HP_MESSAGE_MAX);
    hp_request_t *request = NULL;
    HP_TRY(t->ops->receive(t, from, tag, buffer, capacity, done, context, &request, err));
    if (request_p != NULL) *request_p = request;
    return HP_OK;
}

static hp_status_t check_tag(uint32_t tag, hp_error_t *err) {
    if (tag > HP_TAG_MAX)
        return hp_fail(err, HP_INTERNAL, "tag %" PRIu32 ": at most %d", tag, HP_TAG_MAX);
    return HP_OK;
}

hp_status_t hp_transport_send(hp_transport_t *transport, int to, uint32_t tag, const void *buffer,
                              size_t bytes, hp_done_t done, void *context, hp_error_t *err) {
    HP_TRY(check_tag(tag, err));
    return begin_send(transport, to, tag, buffer, bytes, done, context, err);
}

hp_status_t hp_transport_receive(hp_transport_t *transport, int from, uint32_t tag, void *buffer,
                                 size_t capacity, hp_done_t done, void *context,
                                 hp_request_t **request_p, hp_error_t *err) {
    HP_TRY(check_tag(tag, err));
    return begin_receive(transport, from, tag, buffer, capacity, done, context, request_p, err);
}

void hp_transport_cancel(hp_transport_t *transport, hp_request_t *request) {
    transport->ops->cancel(transport, request);
}

int hp_transport_progress(hp_transport_t *transport) {
    if (transport->delivering) return 0; /* called from a callback */
    transport->delivering = true;
    int n = transport->ops->progress(transport);
    transport->delivering = false;
    return n;
}

void hp_transport_wait(hp_transport_t *transport, int limit_us, bool idle) {
    transport->ops->wait(transport, limit_us, idle);
}

void hp_transport_wake(hp_transport_t *transport) { transport->ops->wake(transport); }

void hp_transport_close(hp_transport_t *transport, bool clean) {
    if (transport != NULL) transport->ops->close(transport, clean);
}

hp_status_t hp_transport_renumber(hp_transport_t *transport, const int *order, hp_error_t *err) {
    bool same = true;
    for (int r = 0; r < transport->size; r++) same = same && order[r] == r;
    if (same) return HP_OK;
    if (transport->pending > 0 || order[0] != 0)
        return hp_fail(err, HP_INTERNAL, "ranks cannot be numbered anew: %d messages, %d first",
                       transport->pending, order[0]);
    return transport->ops->renumber(transport, order, err);
}

bool hp_transport_launched(void) {
    static const char *const sign[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof sign / sizeof *sign; i++)
        if (getenv(sign[i]) != NULL) return true;
    return false;
}

/* hp_transport_share: rank 0 sends its bytes to each rank and waits for each rank's answer, so that
 * it can say who is missing. */
typedef struct {
    hp_status_t status;
    bool done;
} share_event_t;

typedef struct {
    uint64_t bytes;
    unsigned char nothing; /* an answer has no bytes */
    share_event_t event[]; /* [3 * size] */
} share_t;

static void share_done(void *context, const hp_completion_t *completion) {
    share_event_t *event = context;
    event->status = completion->status;
    event->done = true;
}

/* Wait for event[0 .. count) of ranks first, first + 1, ... */
static hp_status_t share_await(hp_transport_t *t, const share_event_t *event, int first, int count,
                               const char *what, hp_error_t *err) {
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int i = 0; i < count;) {
        if (event[i].done) {
            if (event[i].status != HP_OK)
                return hp_fail(err, HP_TRANSPORT, "start: %s rank %d (%s) failed", what, first + i,
                               hp_transport_peer_host(t, first + i));
            i++;
            continue;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec - start.tv_sec > HP_START_SECONDS)
            return hp_fail(err, HP_PEER, "start: %s rank %d (%s) took more than %d s", what,
                           first + i, hp_transport_peer_host(t, first + i), HP_START_SECONDS);
        if (hp_transport_progress(t) == 0) hp_transport_wait(t, 1000, false);
    }
    return HP_OK;
}

static hp_status_t share_from_root(hp_transport_t *t, const void *data, share_t *share,
                                   hp_error_t *err) {
    int n = t->size;
    share_event_t *size_sent = share->event, *sent = size_sent + n, *answered = sent + n;
    for (int r = 1; r < n; r++) {
        HP_TRY(begin_receive(t, r, HP_TAG_SHARE_ACK, &share->nothing, 0, share_done, &answered[r],
                             NULL, err));
        HP_TRY(begin_send(t, r, HP_TAG_SHARE_BYTES, &share->bytes, sizeof share->bytes, share_done,
                          &size_sent[r], err));
        HP_TRY(begin_send(t, r, HP_TAG_SHARE_DATA, data, share->bytes, share_done, &sent[r], err));
    }
    HP_TRY(share_await(t, answered + 1, 1, n - 1, "an answer of", err));
    HP_TRY(share_await(t, size_sent + 1, 1, n - 1, "sending to", err));
    return share_await(t, sent + 1, 1, n - 1, "sending to", err);
}

static hp_status_t share_at_leaf(hp_transport_t *t, void **data_p, share_t *share,
                                 hp_error_t *err) {
    share_event_t *event = share->event;
    HP_TRY(begin_receive(t, 0, HP_TAG_SHARE_BYTES, &share->bytes, sizeof share->bytes, share_done,
                         &event[0], NULL, err));
    HP_TRY(share_await(t, &event[0], 0, 1, "hearing from", err));
    if (share->bytes > HP_MESSAGE_MAX)
        return hp_fail(err, HP_TRANSPORT, "start: rank 0 shares %" PRIu64 " bytes", share->bytes);
    HP_TRY(hp_allocate(data_p, share->bytes, 1, "what rank 0 shares", err));
    HP_TRY(begin_receive(t, 0, HP_TAG_SHARE_DATA, *data_p, share->bytes, share_done, &event[1],
                         NULL, err));
    HP_TRY(share_await(t, &event[1], 0, 1, "hearing from", err));
    HP_TRY(begin_send(t, 0, HP_TAG_SHARE_ACK, &share->nothing, 0, share_done, &event[2], err));
    return share_await(t, &event[2], 0, 1, "answering", err);
}

hp_status_t hp_transport_share(hp_transport_t *transport, void **data_p, size_t *bytes_p,
                               hp_error_t *err) {
    if (transport->size == 1) return HP_OK;
    if (transport->rank == 0 && *bytes_p > HP_MESSAGE_MAX)
        return hp_fail(err, HP_INTERNAL, "share of %zu bytes: at most %zu", *bytes_p,
                       HP_MESSAGE_MAX);
    /* Not released after a failure: pending requests point at it. The job ends. */
    void *p = NULL;
    size_t events = 3 * (size_t)transport->size;
    HP_TRY(hp_allocate(&p, 1, sizeof(share_t) + events * sizeof(share_event_t), "start", err));
    share_t *share = p;
    if (transport->rank == 0) {
        share->bytes = *bytes_p;
        HP_TRY(share_from_root(transport, *data_p, share, err));
    } else {
        void *data = NULL;
        HP_TRY(share_at_leaf(transport, &data, share, err));
        *data_p = data;
        *bytes_p = share->bytes;
    }
    hp_free(share);
    return HP_OK;
}
