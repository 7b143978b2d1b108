#include "ps/applier.h"

#include "common/clock.h"
#include "common/memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { MOST_HELPERS = 63 };

struct ps_applier {
    ps_shard_t *shard;
    hp_transport_t *transport;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t bell; /* for the thread: a job, or the helpers are done */
    bool quit;
    /* helpers: chunks of a job are shared out among the thread and them */
    pthread_t helper[MOST_HELPERS];
    int helpers, working, counted;         /* counted: helpers that have begun */
    hp_trace_row_t *row[1 + MOST_HELPERS]; /* of the thread and of each helper; NULL: no trace */
    bool dismissed;                        /* the thread is gone */
    uint64_t round;                        /* jobs that helpers were called to */
    pthread_cond_t call;
    ps_job_t *job;
    atomic_int next; /* chunk */
    double seconds;
    hp_error_t broken; /* the first failure: what comes after it is not begun */
    int capacity;
    ps_job_t *ring;              /* [capacity] */
    uint64_t given, done, taken; /* ring[i % capacity]: taken <= done <= given */
};

static hp_status_t run_chunk(ps_applier_t *a, const ps_job_t *job, int i, hp_error_t *err) {
    if (job->part != NULL) ps_shard_fold(a->shard, i, job->first, job->weight, &job->part[i]);
    if (job->norm != NULL) job->norm[i] = ps_shard_norm(a->shard, i);
    if (!job->update) return HP_OK;
    hp_status_t status = ps_shard_update(a->shard, i, &job->how, err);
    hp_transport_wake(a->transport); /* pulls may wait for this chunk */
    return status;
}

/* Chunks one after another, until none is left. They have nothing in common: who takes which does
 * not change a bit. */
static void run_chunks(ps_applier_t *a, ps_job_t *job, hp_trace_row_t *row) {
    const int chunks = ps_shard_chunks(a->shard);
    const double begin = row != NULL ? hp_clock() : 0;
    for (int i; (i = atomic_fetch_add(&a->next, 1)) < chunks;) {
        hp_error_t err;
        hp_status_t status = run_chunk(a, job, i, &err);
        if (status == HP_OK) continue;
        pthread_mutex_lock(&a->lock);
        if (job->status == HP_OK) job->err = err;
        job->status = status;
        pthread_mutex_unlock(&a->lock);
    }
    if (row != NULL && (job->update || job->part != NULL))
        hp_trace_span(row, job->update ? HP_TRACE_ADAM : HP_TRACE_SUM, begin, hp_clock(),
                      job->step);
}

static void *help(void *context) {
    ps_applier_t *a = context;
    pthread_mutex_lock(&a->lock);
    hp_trace_row_t *row = a->row[++a->counted];
    for (uint64_t round = 0; !a->dismissed;) {
        if (a->round == round) {
            pthread_cond_wait(&a->call, &a->lock);
            continue;
        }
        round = a->round;
        pthread_mutex_unlock(&a->lock);
        run_chunks(a, a->job, row);
        pthread_mutex_lock(&a->lock);
        if (--a->working == 0) pthread_cond_signal(&a->bell);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* After a failure some chunks are a step further than others: such a state is nobody's to hold. */
static void run(ps_applier_t *a, ps_job_t *job) {
    job->status = a->broken.status;
    if (job->status != HP_OK) {
        job->err = a->broken;
        return;
    }
    pthread_mutex_lock(&a->lock);
    atomic_store(&a->next, 0);
    a->job = job;
    a->working = a->helpers;
    a->round++;
    if (a->helpers > 0) pthread_cond_broadcast(&a->call);
    pthread_mutex_unlock(&a->lock);
    run_chunks(a, job, a->row[0]);
    pthread_mutex_lock(&a->lock);
    while (a->working > 0) pthread_cond_wait(&a->bell, &a->lock);
    pthread_mutex_unlock(&a->lock);
    if (job->status != HP_OK)
        a->broken = job->err;
    else if (job->hold != NULL)
        ps_shard_hold(a->shard, job->hold, job->held);
}

static void *work(void *context) {
    ps_applier_t *a = context;
    pthread_mutex_lock(&a->lock);
    while (!a->quit) {
        if (a->done == a->given) {
            pthread_cond_wait(&a->bell, &a->lock);
            continue;
        }
        ps_job_t *job = &a->ring[a->done % (uint64_t)a->capacity];
        pthread_mutex_unlock(&a->lock);
        double begin = hp_clock();
        run(a, job);
        double seconds = hp_clock() - begin;
        pthread_mutex_lock(&a->lock);
        a->seconds += seconds;
        a->done++;
        hp_transport_wake(a->transport);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* Without the lock; the thread is not there. */
static void dismiss(ps_applier_t *a) {
    pthread_mutex_lock(&a->lock);
    a->dismissed = true;
    pthread_cond_broadcast(&a->call);
    pthread_mutex_unlock(&a->lock);
    for (int i = 0; i < a->helpers; i++) pthread_join(a->helper[i], NULL);
    pthread_cond_destroy(&a->call);
    pthread_cond_destroy(&a->bell);
    pthread_mutex_destroy(&a->lock);
    hp_free(a->ring);
    hp_free(a);
}

static hp_status_t create_rows(ps_applier_t *a, int threads, hp_trace_t *trace, size_t jobs,
                               hp_error_t *err) {
    char name[32];
    for (int i = 0; i < threads && i <= MOST_HELPERS; i++) {
        snprintf(name, sizeof name, threads > 1 ? "Adam %d" : "Adam", i);
        HP_TRY(hp_trace_row(trace, name, "step", 1, jobs, &a->row[i], err));
    }
    return HP_OK;
}

static bool start_threads(ps_applier_t *a, int threads) {
    for (; a->helpers < threads - 1 && a->helpers < MOST_HELPERS; a->helpers++)
        if (pthread_create(&a->helper[a->helpers], NULL, help, a) != 0) return false;
    return pthread_create(&a->thread, NULL, work, a) == 0;
}

hp_status_t ps_applier_start(ps_shard_t *shard, hp_transport_t *transport, int capacity,
                             int threads, hp_trace_t *trace, size_t jobs, ps_applier_t **applier_p,
                             hp_error_t *err) {
    void *p = NULL, *ring = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(ps_applier_t), "applier", err));
    hp_status_t st = hp_allocate(&ring, (size_t)capacity, sizeof(ps_job_t), "applier", err);
    if (st != HP_OK) {
        hp_free(p);
        return st;
    }
    ps_applier_t *a = p;
    a->shard = shard;
    a->transport = transport;
    a->capacity = capacity;
    a->ring = ring;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->bell, NULL);
    pthread_cond_init(&a->call, NULL);
    st = create_rows(a, threads > 1 ? threads : 1, trace, jobs, err);
    if (st != HP_OK) {
        dismiss(a);
        return st;
    }
    if (!start_threads(a, threads)) {
        dismiss(a);
        return hp_fail(err, HP_MEMORY, "no thread for the optimizer");
    }
    *applier_p = a;
    return HP_OK;
}

void ps_applier_stop(ps_applier_t *a) {
    if (a == NULL) return;
    pthread_mutex_lock(&a->lock);
    a->quit = true;
    pthread_cond_signal(&a->bell);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    dismiss(a);
}

hp_status_t ps_applier_give(ps_applier_t *a, const ps_job_t *job, hp_error_t *err) {
    pthread_mutex_lock(&a->lock);
    bool room = a->given - a->taken < (uint64_t)a->capacity;
    if (room) a->ring[a->given++ % (uint64_t)a->capacity] = *job;
    pthread_cond_signal(&a->bell);
    pthread_mutex_unlock(&a->lock);
    return room ? HP_OK : hp_fail(err, HP_INTERNAL, "more than %d optimizer jobs", a->capacity);
}

bool ps_applier_take(ps_applier_t *a, ps_job_t *job_p) {
    pthread_mutex_lock(&a->lock);
    bool some = a->taken < a->done;
    if (some) *job_p = a->ring[a->taken++ % (uint64_t)a->capacity];
    pthread_mutex_unlock(&a->lock);
    return some;
}

int ps_applier_queue(ps_applier_t *a) {
    pthread_mutex_lock(&a->lock);
    int n = (int)(a->given - a->done);
    pthread_mutex_unlock(&a->lock);
    return n;
}

double ps_applier_seconds(ps_applier_t *a) {
    pthread_mutex_lock(&a->lock);
    double seconds = a->seconds;
    pthread_mutex_unlock(&a->lock);
    return seconds;
}
