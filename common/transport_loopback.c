/* The loopback: endpoints between threads of one process.
 *
 * All that threads share is each endpoint's inbox, a list under a mutex. A send puts an envelope
 * into the receiver's inbox. The receiver, in its own thread, matches it and copies from the
 * sender's buffer straight to its own; then the envelope travels back the same way and the sender
 * learns that the send is done. Matching, lists and pools belong to one thread each.
 *
 * Envelopes are memory of the sender's pool, and pools live until the last endpoint is closed, so
 * an envelope may outlive its sender's close. An atomic state settles who comes first when a sender
 * closes while its buffer is about to be copied. */
#include "common/memory.h"
#include "common/pool.h"
#include "common/random.h"
#include "common/transport_chaos.h"
#include "common/transport_internal.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct loopback loopback_t;
typedef struct hub hub_t;

enum { SENT, COPYING, SETTLED, TAKEN_BACK }; /* of an envelope */
enum { PER_SLAB = 64, HELD_WAIT_US = 50 };

typedef struct envelope {
    struct envelope *next;          /* in an inbox or list of who handles it now */
    struct envelope *older, *newer; /* in the sender's list of sends */
    loopback_t *sender, *receiver;
    uint32_t tag;
    size_t bytes;
    const void *buffer;  /* the sender's, or `copy` */
    unsigned char *copy; /* NULL, or HP_COPIED bytes of the sender's pool */
    hp_done_t done;      /* NULL: nobody waits for it */
    void *context;
    atomic_int state;
    bool returning;     /* on its way back to the sender */
    hp_status_t status; /* of the send, when it returns */
    uint64_t number;    /* on the way from sender to receiver, from 1 */
    uint64_t due;       /* chaos: the handler's progress call that sees it */
} envelope_t;

typedef struct {
    envelope_t *first, *last;
} envelopes_t;

struct hp_request {
    hp_request_t *next;
    int from;
    uint32_t tag;
    void *buffer;
    size_t capacity;
    hp_done_t done;
    void *context;
};

/* Something that happened and was not told yet. */
typedef struct {
    hp_request_t *request; /* given back when told; NULL for a send */
    hp_done_t done;
    void *context;
    hp_completion_t completion;
} event_t;

struct loopback {
    hp_transport_t base;
    hub_t *hub;

    /* shared */
    pthread_mutex_t lock;
    pthread_cond_t bell;
    envelopes_t inbox;
    bool woken, closed;
    atomic_int mode; /* hp_chaos_mode_t */

    /* the owner's */
    envelopes_t unexpected, held;
    hp_request_t *posted, **posted_end;
    envelope_t *oldest, *newest; /* sends that have not returned */
    event_t *event;              /* ring; holds at most base.pending */
    int event_capacity, event_first, events;
    hp_pool_t envelope_pool, copy_pool, request_pool;
    uint64_t *sent; /* [size] messages to each rank */
    uint64_t sent_all, tick;
};

struct hub {
    atomic_int open;
    int size;
    bool chaotic;
    hp_chaos_t chaos;
    char (*host)[HP_HOST_NAME];
    loopback_t endpoint[];
};

static loopback_t *of(hp_transport_t *transport) { return (loopback_t *)(void *)transport; }

static void append(envelopes_t *list, envelope_t *e) {
    e->next = NULL;
    if (list->first == NULL)
        list->first = e;
    else
        list->last->next = e;
    list->last = e;
}

/* Unlink the envelope after `previous` (NULL: the first). */
static envelope_t *unlink_after(envelopes_t *list, envelope_t *previous) {
    envelope_t *e = previous ? previous->next : list->first;
    if (previous)
        previous->next = e->next;
    else
        list->first = e->next;
    if (list->last == e) list->last = previous;
    return e;
}

/* False when the endpoint is closed. */
static bool put_in_inbox(loopback_t *to, envelope_t *e) {
    pthread_mutex_lock(&to->lock);
    bool open = !to->closed;
    if (open) {
        append(&to->inbox, e);
        pthread_cond_signal(&to->bell);
    }
    pthread_mutex_unlock(&to->lock);
    return open;
}

/* Room for one more pending message, so that telling it later cannot fail. */
static hp_status_t reserve_event(loopback_t *l, hp_error_t *err) {
    if (l->base.pending < l->event_capacity) return HP_OK;
    int capacity = l->event_capacity ? 2 * l->event_capacity : 64;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)capacity, sizeof(event_t), "events", err));
    event_t *event = p;
    for (int i = 0; l->event_capacity > 0 && i < l->events; i++)
        event[i] = l->event[(l->event_first + i) % l->event_capacity];
    hp_free(l->event);
    l->event = event;
    l->event_capacity = capacity;
    l->event_first = 0;
    return HP_OK;
}

static void add_event(loopback_t *l, hp_request_t *request, hp_done_t done, void *context,
                      hp_completion_t completion) {
    int at = (l->event_first + l->events) % l->event_capacity;
    l->event[at] = (event_t){request, done, context, completion};
    l->events++;
}

/* The sender's end of a send: back from the receiver, or refused. */
static void finish_send(loopback_t *l, envelope_t *e) {
    *(e->older ? &e->older->newer : &l->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &l->newest) = e->older;
    if (e->done != NULL)
        add_event(l, NULL, e->done, e->context, (hp_completion_t){.status = e->status});
    if (e->copy != NULL) hp_pool_give(&l->copy_pool, e->copy);
    hp_pool_give(&l->envelope_pool, e);
}

static void give_back(envelope_t *e, hp_status_t status) {
    e->status = status;
    e->returning = true;
    atomic_store(&e->state, SETTLED); /* from here on the sender's buffer is not read */
    put_in_inbox(e->sender, e);       /* a closed sender's pool takes care of it */
}

static bool claim(envelope_t *e) {
    int expected = SENT;
    return atomic_compare_exchange_strong(&e->state, &expected, COPYING);
}

/* A claimed envelope meets the receive it matches. */
static void transfer(loopback_t *l, envelope_t *e, hp_request_t *r) {
    hp_completion_t c = {.status = HP_OK, .source = e->sender->base.rank, .bytes = e->bytes};
    if (e->bytes > r->capacity) {
        c.status = HP_TRANSPORT;
        c.bytes = 0;
    } else if (e->bytes > 0) {
        memcpy(r->buffer, e->buffer, e->bytes);
    }
    add_event(l, r, r->done, r->context, c);
    give_back(e, HP_OK);
}

static bool matches(const hp_request_t *r, const envelope_t *e) {
    return r->tag == e->tag && (r->from == HP_ANY_SOURCE || r->from == e->sender->base.rank);
}

static void handle(loopback_t *l, envelope_t *e) {
    if (e->returning) {
        finish_send(l, e);
        return;
    }
    for (hp_request_t **p = &l->posted; *p != NULL; p = &(*p)->next) {
        hp_request_t *r = *p;
        if (!matches(r, e)) continue;
        if (!claim(e)) return; /* its sender has closed */
        *p = r->next;
        if (*p == NULL) l->posted_end = p;
        transfer(l, e, r);
        return;
    }
    append(&l->unexpected, e);
}

static hp_random_t chance(const hub_t *hub, const envelope_t *e, uint64_t purpose) {
    uint64_t way = (uint64_t)e->sender->base.rank << 32 | (uint64_t)e->receiver->base.rank;
    return hp_random(hub->chaos.seed, HP_RANDOM_TEST, way, e->number * 4 + purpose);
}

static void hold(loopback_t *l, envelope_t *e) {
    hp_random_t r = chance(l->hub, e, e->returning ? 1 : 0);
    e->due = l->tick;
    if (hp_random_uniform(&r) < l->hub->chaos.delay_share)
        e->due += hp_random_below(&r, (uint64_t)l->hub->chaos.delay + 1);
    append(&l->held, e);
}

/* Messages of one source and tag keep their order. */
static bool follows_held(const loopback_t *l, const envelope_t *e) {
    for (const envelope_t *h = l->held.first; h != e; h = h->next)
        if (h->sender == e->sender && h->tag == e->tag && !h->returning && !e->returning)
            return true;
    return false;
}

static void release_held(loopback_t *l) {
    envelope_t *previous = NULL;
    for (envelope_t *e = l->held.first; e != NULL;) {
        envelope_t *next = e->next;
        int mode = atomic_load(&l->mode);
        int other = atomic_load(&(e->returning ? e->receiver : e->sender)->mode);
        bool vanish = mode == HP_CHAOS_STOPPED || other == HP_CHAOS_STOPPED;
        bool stay = mode == HP_CHAOS_HELD || other == HP_CHAOS_HELD || e->due > l->tick ||
                    follows_held(l, e);
        if (!vanish && stay) {
            previous = e;
        } else {
            unlink_after(&l->held, previous);
            if (!vanish) handle(l, e);
        }
        e = next;
    }
}

static int loopback_progress(hp_transport_t *transport) {
    loopback_t *l = of(transport);
    pthread_mutex_lock(&l->lock);
    envelope_t *e = l->inbox.first;
    l->inbox = (envelopes_t){NULL, NULL};
    pthread_mutex_unlock(&l->lock);
    l->tick++;
    while (e != NULL) {
        envelope_t *next = e->next;
        if (l->hub->chaotic)
            hold(l, e);
        else
            handle(l, e);
        e = next;
    }
    if (l->hub->chaotic) release_held(l);
    int n = l->events; /* those that callbacks cause wait for the next call */
    for (int i = 0; i < n; i++) {
        event_t event = l->event[l->event_first];
        l->event_first = (l->event_first + 1) % l->event_capacity;
        l->events--;
        l->base.pending--;
        if (event.request != NULL) hp_pool_give(&l->request_pool, event.request);
        event.done(event.context, &event.completion);
    }
    return n;
}

static hp_status_t fill_envelope(loopback_t *l, envelope_t *e, bool copy, hp_error_t *err) {
    e->copy = NULL;
    if (!copy) return HP_OK;
    void *p = NULL;
    HP_TRY(hp_pool_take(&l->copy_pool, &p, err));
    if (e->bytes > 0) memcpy(p, e->buffer, e->bytes);
    e->buffer = e->copy = p;
    return HP_OK;
}

static hp_status_t loopback_send(hp_transport_t *transport, int to, uint32_t tag,
                                 const void *buffer, size_t bytes, hp_done_t done, void *context,
                                 hp_error_t *err) {
    loopback_t *l = of(transport);
    hub_t *hub = l->hub;
    void *p = NULL;
    HP_TRY(reserve_event(l, err));
    HP_TRY(hp_pool_take(&l->envelope_pool, &p, err));
    envelope_t *e = p;
    *e = (envelope_t){.sender = l,
                      .receiver = &hub->endpoint[to],
                      .tag = tag,
                      .bytes = bytes,
                      .buffer = buffer,
                      .done = done,
                      .context = context,
                      .number = l->sent[to] + 1};
    atomic_init(&e->state, SENT);
    bool early = false;
    if (hub->chaotic && done != NULL && bytes <= HP_COPIED) {
        hp_random_t r = chance(hub, e, 2);
        early = hp_random_uniform(&r) < hub->chaos.copy_share;
    }
    hp_status_t status = fill_envelope(l, e, done == NULL || early, err);
    if (status != HP_OK) {
        hp_pool_give(&l->envelope_pool, e);
        return status;
    }
    l->sent[to]++;
    l->sent_all++;
    if (done != NULL) l->base.pending++;
    if (early) {
        add_event(l, NULL, done, context, (hp_completion_t){.status = HP_OK});
        e->done = NULL;
    }
    e->older = l->newest;
    *(l->newest ? &l->newest->newer : &l->oldest) = e;
    l->newest = e;
    bool loses = hub->chaos.lose_of == 0 || hub->chaos.lose_of == l->base.rank + 1;
    if (hub->chaotic && loses && l->sent_all == hub->chaos.lose) return HP_OK;
    if (!put_in_inbox(e->receiver, e)) {
        e->status = HP_PEER;
        finish_send(l, e);
    }
    return HP_OK;
}

/* The oldest unexpected message that the receive matches, claimed and unlinked; NULL: none. */
static envelope_t *take_unexpected(loopback_t *l, const hp_request_t *r) {
    envelope_t *previous = NULL, *e = l->unexpected.first;
    while (e != NULL) {
        envelope_t *next = e->next;
        if (!matches(r, e)) {
            previous = e;
        } else {
            unlink_after(&l->unexpected, previous);
            if (claim(e)) return e;
        }
        e = next;
    }
    return NULL;
}

static hp_status_t loopback_receive(hp_transport_t *transport, int from, uint32_t tag, void *buffer,
                                    size_t capacity, hp_done_t done, void *context,
                                    hp_request_t **request_p, hp_error_t *err) {
    loopback_t *l = of(transport);
    void *p = NULL;
    HP_TRY(reserve_event(l, err));
    HP_TRY(hp_pool_take(&l->request_pool, &p, err));
    hp_request_t *r = p;
    *r = (hp_request_t){.from = from,
                        .tag = tag,
                        .buffer = buffer,
                        .capacity = capacity,
                        .done = done,
                        .context = context};
    l->base.pending++;
    envelope_t *e = take_unexpected(l, r);
    if (e != NULL) {
        transfer(l, e, r);
    } else {
        *l->posted_end = r;
        l->posted_end = &r->next;
    }
    *request_p = r;
    return HP_OK;
}

static void loopback_cancel(hp_transport_t *transport, hp_request_t *request) {
    loopback_t *l = of(transport);
    for (hp_request_t **p = &l->posted; *p != NULL; p = &(*p)->next) {
        if (*p != request) continue;
        *p = request->next;
        if (*p == NULL) l->posted_end = p;
        add_event(l, request, request->done, request->context,
                  (hp_completion_t){.status = HP_INTERRUPTED, .source = request->from});
        return;
    }
    /* not posted any more: its message is there and will be told */
}

static void loopback_wait(hp_transport_t *transport, int limit_us, bool idle) {
    (void)idle;
    loopback_t *l = of(transport);
    if (l->events > 0) return;
    if (l->held.first != NULL && limit_us > HELD_WAIT_US) limit_us = HELD_WAIT_US;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += limit_us / 1000000;
    until.tv_nsec += limit_us % 1000000 * 1000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&l->lock);
    int rc = 0;
    while (l->inbox.first == NULL && !l->woken && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&l->bell, &l->lock, &until);
    l->woken = false;
    pthread_mutex_unlock(&l->lock);
}

static void loopback_wake(hp_transport_t *transport) {
    loopback_t *l = of(transport);
    pthread_mutex_lock(&l->lock);
    l->woken = true;
    pthread_cond_signal(&l->bell);
    pthread_mutex_unlock(&l->lock);
}

static void refuse(envelopes_t *list) {
    for (envelope_t *e = list->first; e != NULL;) {
        envelope_t *next = e->next; /* the sender may reuse e as soon as it is given back */
        if (!e->returning && claim(e)) give_back(e, HP_PEER);
        e = next;
    }
    *list = (envelopes_t){NULL, NULL};
}

static void destroy_hub(hub_t *hub) {
    for (int i = 0; i < hub->size; i++) {
        loopback_t *l = &hub->endpoint[i];
        pthread_mutex_destroy(&l->lock);
        pthread_cond_destroy(&l->bell);
        hp_pool_release(&l->envelope_pool);
        hp_pool_release(&l->copy_pool);
        hp_pool_release(&l->request_pool);
        hp_free(l->event);
        hp_free(l->sent);
    }
    hp_free(hub->host);
    hp_free(hub);
}

static void loopback_close(hp_transport_t *transport, bool clean) {
    (void)clean;
    loopback_t *l = of(transport);
    pthread_mutex_lock(&l->lock);
    l->closed = true;
    envelopes_t inbox = l->inbox;
    l->inbox = (envelopes_t){NULL, NULL};
    pthread_mutex_unlock(&l->lock);
    refuse(&inbox);
    refuse(&l->held);
    refuse(&l->unexpected);
    for (envelope_t *e = l->oldest; e != NULL; e = e->newer) {
        int expected = SENT;
        if (e->copy != NULL || atomic_compare_exchange_strong(&e->state, &expected, TAKEN_BACK))
            continue;
        while (atomic_load(&e->state) == COPYING) sched_yield();
    }
    hub_t *hub = l->hub;
    if (atomic_fetch_sub(&hub->open, 1) == 1) destroy_hub(hub);
}

/* One host: there is no reason to. */
static hp_status_t loopback_renumber(hp_transport_t *transport, const int *order, hp_error_t *err) {
    return hp_fail(err, HP_UNSUPPORTED, "rank %d of a loopback cannot become another",
                   order[transport->rank]);
}

static const hp_transport_ops_t loopback_ops = {
    loopback_send, loopback_receive, loopback_cancel,   loopback_progress,
    loopback_wait, loopback_wake,    loopback_renumber, loopback_close,
};

static void start_endpoint(hub_t *hub, int rank) {
    loopback_t *l = &hub->endpoint[rank];
    l->base = (hp_transport_t){.ops = &loopback_ops,
                               .rank = rank,
                               .size = hub->size,
                               .local_ranks = hub->size,
                               .local_index = rank,
                               .host = (const char(*)[HP_HOST_NAME])hub->host};
    l->hub = hub;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->bell, &attr);
    pthread_condattr_destroy(&attr);
    atomic_init(&l->mode, HP_CHAOS_RUNS);
    l->posted_end = &l->posted;
    hp_pool_init(&l->envelope_pool, sizeof(envelope_t), PER_SLAB);
    hp_pool_init(&l->copy_pool, HP_COPIED, PER_SLAB / 4);
    hp_pool_init(&l->request_pool, sizeof(hp_request_t), PER_SLAB);
}

static hp_status_t create(int n, const hp_chaos_t *chaos, hp_transport_t **endpoints,
                          hp_error_t *err) {
    if (n < 1) return hp_fail(err, HP_INTERNAL, "a loopback of %d ranks", n);
    void *p = NULL, *host = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(hub_t) + (size_t)n * sizeof(loopback_t), "loopback", err));
    hub_t *hub = p;
    hub->size = n;
    hub->chaotic = chaos != NULL;
    if (chaos != NULL) hub->chaos = *chaos;
    atomic_init(&hub->open, n);
    for (int i = 0; i < n; i++) start_endpoint(hub, i);
    hp_status_t status = hp_allocate(&host, (size_t)n, HP_HOST_NAME, "host names", err);
    hub->host = host;
    for (int i = 0; i < n && status == HP_OK; i++) {
        void *sent = NULL;
        status = hp_allocate(&sent, (size_t)n, sizeof(uint64_t), "loopback", err);
        hub->endpoint[i].sent = sent;
        hub->endpoint[i].base.host = (const char(*)[HP_HOST_NAME])hub->host;
    }
    if (status != HP_OK) {
        destroy_hub(hub);
        return status;
    }
    gethostname(hub->host[0], HP_HOST_NAME - 1);
    for (int i = 1; i < n; i++) memcpy(hub->host[i], hub->host[0], HP_HOST_NAME);
    for (int i = 0; i < n; i++) endpoints[i] = &hub->endpoint[i].base;
    return HP_OK;
}

hp_status_t hp_transport_loopback(int n, hp_transport_t **endpoints, hp_error_t *err) {
    return create(n, NULL, endpoints, err);
}

hp_status_t hp_transport_loopback_chaos(int n, const hp_chaos_t *chaos, hp_transport_t **endpoints,
                                        hp_error_t *err) {
    return create(n, chaos, endpoints, err);
}

void hp_chaos_set(hp_transport_t *endpoint, hp_chaos_mode_t mode) {
    atomic_store(&of(endpoint)->mode, mode);
}

uint64_t hp_chaos_sent(hp_transport_t *endpoint) { return of(endpoint)->sent_all; }
