/* The transport over MPI, the only file that includes mpi.h. What Open MPI does and does not: a
 * rank that died is never reported, requests to it stay pending; nothing moves outside MPI calls; a
 * blocking wait burns a core. So: non-blocking calls only, one array of requests tested at once,
 * and naps between tests. */
#include "common/memory.h"
#include "common/pool.h"
#include "common/transport_internal.h"

#include <errno.h>
#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

enum { PER_SLAB = 64, NAP_FIRST_US = 20, NAP_BUSY_US = 200, NAP_IDLE_US = 1000, CLOSE_S = 10 };

_Static_assert(HP_MESSAGE_MAX <= INT32_MAX, "MPI counts bytes in an int");
_Static_assert(sizeof(int) >= 4, "tags are 30 bits");

struct hp_request {
    int slot;   /* in `request`; -1: completed, not told yet */
    int source; /* receives; -1 for a send */
    unsigned char *copy;
    hp_done_t done; /* NULL: nobody waits for it */
    void *context;
    hp_completion_t completion;
};

typedef struct {
    hp_transport_t base;
    MPI_Comm comm;
    char (*host)[HP_HOST_NAME];
    int *place,
        *number; /* [size] MPI's number of a rank, and a rank's number by MPI's; NULL: alike */
    hp_pool_t request_pool, copy_pool;

    /* Under way: request[i] belongs to owner[i]. The other arrays are room for MPI_Testsome and for
     * what it found. All hold `capacity`. */
    int active, capacity;
    MPI_Request *request;
    hp_request_t **owner;
    int *index;
    MPI_Status *status;
    hp_request_t **told;
    bool broken; /* MPI itself failed: everything fails from then on */

    double nap_us;
    pthread_t napper; /* whose timer slack was set */
    bool slack_set;
    pthread_mutex_t lock; /* of woken */
    pthread_cond_t bell;
    bool woken;
} mpi_t;

static int place_of(const mpi_t *m, int rank) { return m->place != NULL ? m->place[rank] : rank; }

static mpi_t *of(hp_transport_t *transport) { return (mpi_t *)(void *)transport; }

static hp_status_t mpi_fail(int rc, const char *what, hp_error_t *err) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (MPI_Error_string(rc, text, &length) != MPI_SUCCESS) snprintf(text, sizeof text, "%d", rc);
    return hp_fail(err, HP_TRANSPORT, "%s: %s", what, text);
}

#define MPI_TRY(call)                                                                              \
    do {                                                                                           \
        int mpi_rc_ = (call);                                                                      \
        if (mpi_rc_ != MPI_SUCCESS) return mpi_fail(mpi_rc_, #call, err);                          \
    } while (0)

/* ---- requests ---- */

static hp_status_t grow(void **array, size_t size, int used, int capacity, hp_error_t *err) {
    void *grown = NULL;
    HP_TRY(hp_allocate(&grown, (size_t)capacity, size, "requests", err));
    if (used > 0) memcpy(grown, *array, (size_t)used * size);
    hp_free(*array);
    *array = grown;
    return HP_OK;
}

static hp_status_t reserve(mpi_t *m, hp_error_t *err) {
    if (m->active < m->capacity) return HP_OK;
    int capacity = m->capacity ? 2 * m->capacity : 256;
    void *request = m->request, *owner = m->owner, *index = m->index, *status = m->status,
         *told = m->told;
    hp_status_t result = grow(&request, sizeof *m->request, m->active, capacity, err);
    m->request = request;
    if (result == HP_OK) result = grow(&owner, sizeof(hp_request_t *), m->active, capacity, err);
    m->owner = owner;
    if (result == HP_OK) result = grow(&index, sizeof *m->index, 0, capacity, err);
    m->index = index;
    if (result == HP_OK) result = grow(&status, sizeof *m->status, 0, capacity, err);
    m->status = status;
    if (result == HP_OK) result = grow(&told, sizeof(hp_request_t *), m->capacity, capacity, err);
    m->told = told;
    if (result == HP_OK) m->capacity = capacity;
    return result;
}

static hp_status_t new_request(mpi_t *m, int source, hp_done_t done, void *context,
                               hp_request_t **request_p, hp_error_t *err) {
    if (m->broken) return hp_fail(err, HP_TRANSPORT, "MPI failed earlier");
    void *p = NULL;
    HP_TRY(reserve(m, err));
    HP_TRY(hp_pool_take(&m->request_pool, &p, err));
    hp_request_t *r = p;
    *r = (hp_request_t){.slot = m->active, .source = source, .done = done, .context = context};
    *request_p = r;
    return HP_OK;
}

static void drop_request(mpi_t *m, hp_request_t *r) {
    if (r->copy != NULL) hp_pool_give(&m->copy_pool, r->copy);
    hp_pool_give(&m->request_pool, r);
}

static void activate(mpi_t *m, hp_request_t *r, MPI_Request request) {
    m->request[m->active] = request;
    m->owner[m->active] = r;
    m->active++;
    if (r->done != NULL) m->base.pending++;
    m->nap_us = NAP_FIRST_US;
}

/* Where the peer's socket is broken, Open MPI 4.1's TCP leaves an event behind on the socket that
 * it has closed, and takes it back when it next looks. A second send before that would connect with
 * the same descriptor and add the event twice: libevent then turns in a circle for ever. So it
 * looks after each send. */
static void tidy_links(mpi_t *m) {
    int flag = 0;
    (void)MPI_Iprobe(MPI_ANY_SOURCE, (int)HP_TAG_LIMIT - 1, m->comm, &flag, MPI_STATUS_IGNORE);
}

static hp_status_t mpi_send(hp_transport_t *transport, int to, uint32_t tag, const void *buffer,
                            size_t bytes, hp_done_t done, void *context, hp_error_t *err) {
    mpi_t *m = of(transport);
    hp_request_t *r = NULL;
    HP_TRY(new_request(m, -1, done, context, &r, err));
    if (done == NULL) {
        void *copy = NULL;
        hp_status_t status = hp_pool_take(&m->copy_pool, &copy, err);
        if (status != HP_OK) {
            drop_request(m, r);
            return status;
        }
        if (bytes > 0) memcpy(copy, buffer, bytes);
        buffer = r->copy = copy;
    }
    MPI_Request request = MPI_REQUEST_NULL;
    int rc = MPI_Isend(buffer, (int)bytes, MPI_BYTE, place_of(m, to), (int)tag, m->comm, &request);
    if (rc != MPI_SUCCESS) {
        drop_request(m, r);
        return mpi_fail(rc, "MPI_Isend", err);
    }
    activate(m, r, request);
    tidy_links(m);
    return HP_OK;
}

static hp_status_t mpi_receive(hp_transport_t *transport, int from, uint32_t tag, void *buffer,
                               size_t capacity, hp_done_t done, void *context,
                               hp_request_t **request_p, hp_error_t *err) {
    mpi_t *m = of(transport);
    hp_request_t *r = NULL;
    HP_TRY(new_request(m, from == HP_ANY_SOURCE ? 0 : from, done, context, &r, err));
    MPI_Request request = MPI_REQUEST_NULL;
    int source = from == HP_ANY_SOURCE ? MPI_ANY_SOURCE : place_of(m, from);
    int rc = MPI_Irecv(buffer, (int)capacity, MPI_BYTE, source, (int)tag, m->comm, &request);
    if (rc != MPI_SUCCESS) {
        drop_request(m, r);
        return mpi_fail(rc, "MPI_Irecv", err);
    }
    activate(m, r, request);
    *request_p = r;
    return HP_OK;
}

static void mpi_cancel(hp_transport_t *transport, hp_request_t *request) {
    mpi_t *m = of(transport);
    if (request->slot >= 0) (void)MPI_Cancel(&m->request[request->slot]);
    /* MPI_Testsome tells what came of it */
}

static hp_completion_t completion_of(const mpi_t *m, const hp_request_t *r, MPI_Status *status,
                                     int rc) {
    hp_completion_t c = {.status = HP_OK, .source = r->source};
    int cancelled = 0, count = 0;
    if (rc != MPI_SUCCESS) {
        c.status = HP_TRANSPORT;
    } else if (r->source >= 0) {
        (void)MPI_Test_cancelled(status, &cancelled);
        if (cancelled) {
            c.status = HP_INTERRUPTED;
        } else if (MPI_Get_count(status, MPI_BYTE, &count) != MPI_SUCCESS || count < 0) {
            c.status = HP_TRANSPORT;
        } else {
            c.source = m->number != NULL ? m->number[status->MPI_SOURCE] : status->MPI_SOURCE;
            c.bytes = (size_t)count;
        }
    }
    return c;
}

/* Fill the hole at slot i with the last one. */
static void remove_slot(mpi_t *m, int i) {
    m->owner[i]->slot = -1;
    m->active--;
    if (i == m->active) return;
    m->request[i] = m->request[m->active];
    m->owner[i] = m->owner[m->active];
    m->owner[i]->slot = i;
}

/* What completed goes to told[], in the order MPI gives; returns how many. */
static int collect(mpi_t *m) {
    int done = 0;
    int rc = m->active == 0 ? MPI_SUCCESS
                            : MPI_Testsome(m->active, m->request, &done, m->index, m->status);
    if (rc != MPI_SUCCESS && rc != MPI_ERR_IN_STATUS) m->broken = true;
    if (m->broken) {
        done = m->active;
        for (int i = 0; i < done; i++) m->index[i] = i;
    }
    if (done == MPI_UNDEFINED) done = 0;
    for (int i = 0; i < done; i++) {
        hp_request_t *r = m->owner[m->index[i]];
        int error = m->broken                 ? MPI_ERR_OTHER
                    : rc == MPI_ERR_IN_STATUS ? m->status[i].MPI_ERROR
                                              : MPI_SUCCESS;
        r->completion = completion_of(m, r, &m->status[i], error);
        m->told[i] = r;
    }
    for (int i = 0; i < done; i++) remove_slot(m, m->told[i]->slot);
    return done;
}

static int mpi_progress(hp_transport_t *transport) {
    mpi_t *m = of(transport);
    int n = collect(m), told = 0;
    if (n == 0) return 0;
    m->nap_us = NAP_FIRST_US;
    /* Callbacks may begin messages, and that may move told[]; nothing is collected meanwhile. */
    for (int i = 0; i < n; i++) {
        hp_request_t *r = m->told[i];
        hp_done_t done = r->done;
        void *context = r->context;
        hp_completion_t c = r->completion;
        drop_request(m, r);
        if (done == NULL) continue;
        told++;
        m->base.pending--;
        done(context, &c);
    }
    return told;
}

/* ---- sleeping ---- */

static void mpi_wait(hp_transport_t *transport, int limit_us, bool idle) {
    mpi_t *m = of(transport);
    if (!m->slack_set || !pthread_equal(m->napper, pthread_self())) {
        prctl(PR_SET_TIMERSLACK, 1UL); /* 50 us by default: as long as the nap */
        m->napper = pthread_self();
        m->slack_set = true;
    }
    double most = idle ? NAP_IDLE_US : NAP_BUSY_US;
    double nap = m->nap_us < most ? m->nap_us : most;
    m->nap_us = nap * 1.5;
    if (nap > limit_us) nap = limit_us;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(nap * 1000);
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    pthread_mutex_lock(&m->lock);
    int rc = 0;
    while (!m->woken && rc != ETIMEDOUT) rc = pthread_cond_timedwait(&m->bell, &m->lock, &until);
    m->woken = false;
    pthread_mutex_unlock(&m->lock);
}

static void mpi_wake(hp_transport_t *transport) {
    mpi_t *m = of(transport);
    pthread_mutex_lock(&m->lock);
    m->woken = true;
    pthread_cond_signal(&m->bell);
    pthread_mutex_unlock(&m->lock);
}

/* ---- start and end ---- */

static double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Await a request of the start with a limit. */
static hp_status_t await(mpi_t *m, MPI_Request *request, const char *what, hp_error_t *err) {
    double start = seconds_now();
    for (int done = 0; !done;) {
        MPI_TRY(MPI_Test(request, &done, MPI_STATUS_IGNORE));
        if (!done && seconds_now() - start > HP_START_SECONDS)
            return hp_fail(err, HP_PEER, "start: %s: some rank did not answer for %d s", what,
                           HP_START_SECONDS);
        if (!done) mpi_wait(&m->base, NAP_BUSY_US, false);
    }
    return HP_OK;
}

static hp_status_t initialise(hp_error_t *err) {
    int already = 0, level = 0;
    MPI_TRY(MPI_Initialized(&already));
    if (already) return hp_fail(err, HP_INTERNAL, "MPI is initialised already");
    /* Where ranks share cores, one that polls must give way. */
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0);
    MPI_TRY(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level));
    if (level < MPI_THREAD_SERIALIZED)
        return hp_fail(err, HP_UNSUPPORTED,
                       "this MPI supports thread level %d; needed is MPI_THREAD_SERIALIZED", level);
    signal(SIGPIPE, SIG_IGN); /* a dead peer's socket is an error, not our death */
    MPI_TRY(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN));
    return HP_OK;
}

static void count_neighbours(mpi_t *m) {
    m->base.local_index = m->base.local_ranks = 0;
    for (int r = 0; r < m->base.size; r++) {
        if (strcmp(m->host[r], m->host[m->base.rank]) != 0) continue;
        if (r < m->base.rank) m->base.local_index++;
        m->base.local_ranks++;
    }
}

static hp_status_t exchange_hosts(mpi_t *m, hp_error_t *err) {
    void *p = NULL;
    char own[MPI_MAX_PROCESSOR_NAME] = "";
    int length = 0;
    HP_TRY(hp_allocate(&p, (size_t)m->base.size, HP_HOST_NAME, "host names", err));
    m->host = p;
    m->base.host = (const char(*)[HP_HOST_NAME])m->host;
    MPI_TRY(MPI_Get_processor_name(own, &length));
    own[HP_HOST_NAME - 1] = '\0';
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_TRY(MPI_Iallgather(own, HP_HOST_NAME, MPI_CHAR, m->host, HP_HOST_NAME, MPI_CHAR, m->comm,
                           &request));
    HP_TRY(await(m, &request, "host names", err));
    for (int r = 0; r < m->base.size; r++) m->host[r][HP_HOST_NAME - 1] = '\0';
    count_neighbours(m);
    return HP_OK;
}

static hp_status_t mpi_renumber(hp_transport_t *transport, const int *order, hp_error_t *err) {
    mpi_t *m = of(transport);
    size_t size = (size_t)m->base.size;
    void *host = NULL, *numbers = NULL;
    if (m->place != NULL) return hp_fail(err, HP_INTERNAL, "ranks are numbered anew twice");
    HP_TRY(hp_allocate(&host, size, HP_HOST_NAME, "host names", err));
    hp_status_t status = hp_allocate(&numbers, 2 * size, sizeof(int), "numbers of ranks", err);
    if (status != HP_OK) {
        hp_free(host);
        return status;
    }
    m->place = numbers;
    m->number = m->place + size;
    for (int r = 0; r < m->base.size; r++) {
        m->place[r] = order[r];
        m->number[order[r]] = r;
        memcpy((char *)host + (size_t)r * HP_HOST_NAME, m->host[order[r]], HP_HOST_NAME);
    }
    m->base.rank = m->number[m->base.rank];
    hp_free(m->host);
    m->host = host;
    m->base.host = (const char(*)[HP_HOST_NAME])m->host;
    count_neighbours(m);
    return HP_OK;
}

static hp_status_t join(mpi_t *m, hp_error_t *err) {
    HP_TRY(initialise(err));
    MPI_Request request = MPI_REQUEST_NULL;
    MPI_TRY(MPI_Comm_idup(MPI_COMM_WORLD, &m->comm, &request));
    HP_TRY(await(m, &request, "own communicator", err));
    MPI_TRY(MPI_Comm_set_errhandler(m->comm, MPI_ERRORS_RETURN));
    MPI_TRY(MPI_Comm_rank(m->comm, &m->base.rank));
    MPI_TRY(MPI_Comm_size(m->comm, &m->base.size));
    int *bound = NULL, found = 0;
    MPI_TRY(MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &bound, &found));
    if (!found || *bound < (int)HP_TAG_LIMIT)
        return hp_fail(err, HP_UNSUPPORTED, "this MPI has tags up to %d; needed is %d",
                       found ? *bound : 0, (int)HP_TAG_LIMIT);
    return exchange_hosts(m, err);
}

static void release(mpi_t *m) {
    hp_pool_release(&m->request_pool);
    hp_pool_release(&m->copy_pool);
    hp_free(m->request);
    hp_free(m->owner);
    hp_free(m->index);
    hp_free(m->status);
    hp_free(m->told);
    hp_free(m->host);
    hp_free(m->place);
    pthread_mutex_destroy(&m->lock);
    pthread_cond_destroy(&m->bell);
    hp_free(m);
}

static void mpi_close(hp_transport_t *transport, bool clean) {
    mpi_t *m = of(transport);
    if (!clean || m->broken) return; /* what is pending may still be written: all memory stays */
    for (int i = 0; i < m->active; i++) {
        m->owner[i]->done = NULL; /* nobody is told any more */
        if (m->owner[i]->source >= 0) (void)MPI_Cancel(&m->request[i]);
    }
    for (double start = seconds_now(); m->active > 0 && seconds_now() - start < CLOSE_S;)
        if (mpi_progress(transport) == 0) mpi_wait(transport, NAP_BUSY_US, false);
    if (m->active > 0) return; /* a peer is gone after all: MPI_Finalize could hang */
    (void)MPI_Comm_free(&m->comm);
    (void)MPI_Finalize();
    release(m);
}

static const hp_transport_ops_t mpi_ops = {
    mpi_send, mpi_receive, mpi_cancel, mpi_progress, mpi_wait, mpi_wake, mpi_renumber, mpi_close,
};

hp_status_t hp_transport_mpi(hp_transport_t **transport_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(mpi_t), "MPI", err));
    mpi_t *m = p;
    m->base.ops = &mpi_ops;
    m->comm = MPI_COMM_NULL;
    m->nap_us = NAP_FIRST_US;
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&m->bell, &attr);
    pthread_condattr_destroy(&attr);
    hp_pool_init(&m->request_pool, sizeof(hp_request_t), PER_SLAB);
    hp_pool_init(&m->copy_pool, HP_COPIED, PER_SLAB / 4);
    hp_status_t status = join(m, err);
    if (status != HP_OK) return status; /* the process ends: MPI may still use what is there */
    *transport_p = &m->base;
    return HP_OK;
}
