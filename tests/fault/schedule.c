#include "tests/fault/schedule.h"

#include "common/random.h"
#include "tests/fault/faults.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MOST_TASKS = 96, MOST_HELD = 256, SWITCH_NS = 1000, LATE_NS = 100000000 };
#define MOST_SWITCHES 3000000u
#define NEVER         INT64_MAX

typedef enum { UNUSED, READY, IN_MUTEX, IN_CONDITION, ASLEEP, IN_JOIN, ENDED } task_state_t;
static const char *const state_name[] = {
    "unused", "ready", "waits for a mutex", "waits for a condition", "sleeps", "joins", "ended"};

typedef struct {
    task_state_t state;
    pthread_t thread;
    sem_t baton;
    void *(*function)(void *);
    void *argument;
    const void *object; /* mutex or condition it waits for */
    int joins;          /* task it waits for */
    bool signalled;
    int64_t deadline; /* NEVER: none */
    uint64_t priority;
} task_t;

static struct {
    bool on;
    uint64_t seed, switches;
    hp_random_t random;
    int policy; /* 0: anybody; 1: mostly who runs already; 2: by priorities that change */
    int64_t now;
    task_t task[MOST_TASKS];
    struct {
        const void *mutex;
        int task;
    } held[MOST_HELD];
    int held_count;
    void (*gave_up)(void *context);
    void *context;
} s;

static _Thread_local task_t *self;

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __real_pthread_join(pthread_t, void **);
int __real_pthread_mutex_lock(pthread_mutex_t *);
int __real_pthread_mutex_unlock(pthread_mutex_t *);
int __real_pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *);
int __real_pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
int __real_pthread_cond_signal(pthread_cond_t *);
int __real_pthread_cond_broadcast(pthread_cond_t *);
int __real_nanosleep(const struct timespec *, struct timespec *);
int __real_usleep(useconds_t);
int __real_sched_yield(void);
int __real_clock_gettime(clockid_t, struct timespec *);

int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int __wrap_pthread_join(pthread_t, void **);
int __wrap_pthread_mutex_lock(pthread_mutex_t *);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *);
int __wrap_pthread_cond_wait(pthread_cond_t *, pthread_mutex_t *);
int __wrap_pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
int __wrap_pthread_cond_signal(pthread_cond_t *);
int __wrap_pthread_cond_broadcast(pthread_cond_t *);
int __wrap_nanosleep(const struct timespec *, struct timespec *);
int __wrap_usleep(useconds_t);
int __wrap_sched_yield(void);
int __wrap_clock_gettime(clockid_t, struct timespec *);

static int number(const task_t *t) { return (int)(t - s.task); }

static void give_up(const char *why) {
    fprintf(stderr, "schedule %llu: %s after %llu switches, %.6f s\n", (unsigned long long)s.seed,
            why, (unsigned long long)s.switches, (double)s.now * 1e-9);
    for (int i = 0; i < MOST_TASKS; i++) {
        const task_t *t = &s.task[i];
        if (t->state == UNUSED || t->state == ENDED) continue;
        fprintf(stderr, "  task %d %s", i, state_name[t->state]);
        if (t->state == IN_MUTEX)
            for (int k = 0; k < s.held_count; k++)
                if (s.held[k].mutex == t->object) fprintf(stderr, " of task %d", s.held[k].task);
        if (t->state == IN_JOIN) fprintf(stderr, " task %d", t->joins);
        if (t->deadline != NEVER && t->state != READY)
            fprintf(stderr, " for %.6f s", (double)(t->deadline - s.now) * 1e-9);
        fputc('\n', stderr);
    }
    s.gave_up(s.context);
    if (getenv("HANPS_ABORT") != NULL) abort(); /* for a debugger */
    _exit(70);
}

static int holder(const void *mutex) {
    for (int i = 0; i < s.held_count; i++)
        if (s.held[i].mutex == mutex) return i;
    return -1;
}

static bool can_run(const task_t *t) {
    switch (t->state) {
    case READY:
        return true;
    case IN_MUTEX:
        return holder(t->object) < 0;
    case IN_CONDITION:
        return t->signalled || t->deadline <= s.now;
    case ASLEEP:
        return t->deadline <= s.now;
    case IN_JOIN:
        return s.task[t->joins].state == ENDED;
    default:
        return false;
    }
}

static int64_t next_deadline(void) {
    int64_t next = NEVER;
    for (int i = 0; i < MOST_TASKS; i++) {
        const task_t *t = &s.task[i];
        bool waits = t->state == IN_CONDITION || t->state == ASLEEP;
        if (waits && t->deadline > s.now && t->deadline < next) next = t->deadline;
    }
    return next;
}

static bool chance(unsigned one_in) { return hp_random_below(&s.random, one_in) == 0; }

/* A machine may be slow: time limits of others pass although they could have been served. And
 * conditions may wake for no reason. */
static void disturb(void) {
    int64_t next = next_deadline();
    if (chance(100) && next < s.now + LATE_NS) s.now = next;
    if (chance(300)) {
        task_t *t = &s.task[hp_random_below(&s.random, MOST_TASKS)];
        if (t->state == IN_CONDITION) t->signalled = true;
    }
}

static task_t *choose(void) {
    task_t *ready[MOST_TASKS], *best = NULL;
    int n = 0;
    for (int i = 0; i < MOST_TASKS; i++)
        if (can_run(&s.task[i])) ready[n++] = &s.task[i];
    if (n == 0) return NULL;
    if (s.policy == 1 && can_run(self) && !chance(8)) return self;
    if (s.policy < 2) return ready[hp_random_below(&s.random, (uint64_t)n)];
    if (chance(40)) self->priority = hp_random_u64(&s.random);
    for (int i = 0; i < n; i++)
        if (best == NULL || ready[i]->priority > best->priority) best = ready[i];
    return best;
}

/* Who runs next? The caller's state says what it waits for. */
static task_t *next_task(void) {
    s.now += SWITCH_NS;
    if (++s.switches > MOST_SWITCHES) give_up("no end");
    disturb();
    for (;;) {
        task_t *t = choose();
        if (t != NULL) {
            t->state = READY;
            return t;
        }
        int64_t next = next_deadline();
        if (next == NEVER) give_up("everybody waits");
        s.now = next;
    }
}

static void pass_baton(task_t *to) {
    if (to == self) return;
    sem_post(&to->baton);
}

static void switch_task(void) {
    task_t *me = self, *next = next_task();
    if (next == me) return;
    pass_baton(next);
    while (sem_wait(&me->baton) != 0) continue;
}

/* ---- threads ---- */

static void *begin_task(void *argument) {
    self = argument;
    while (sem_wait(&self->baton) != 0) continue;
    void *result = self->function(self->argument);
    self->state = ENDED;
    pass_baton(next_task());
    return result;
}

static task_t *new_task(void) {
    for (int i = 0; i < MOST_TASKS; i++)
        if (s.task[i].state == UNUSED) {
            task_t *t = &s.task[i];
            memset(t, 0, sizeof *t);
            sem_init(&t->baton, 0, 0);
            t->state = READY;
            t->deadline = NEVER;
            t->priority = hp_random_u64(&s.random);
            return t;
        }
    give_up("too many threads");
    return NULL;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*function)(void *),
                          void *argument) {
    if (fault_now(FAULT_THREAD, EAGAIN)) return EAGAIN;
    if (self == NULL) return __real_pthread_create(thread, attr, function, argument);
    task_t *t = new_task();
    t->function = function;
    t->argument = argument;
    int rc = __real_pthread_create(&t->thread, attr, begin_task, t);
    if (rc != 0) {
        t->state = UNUSED;
        return rc;
    }
    *thread = t->thread;
    switch_task();
    return 0;
}

int __wrap_pthread_join(pthread_t thread, void **result) {
    if (self == NULL) return __real_pthread_join(thread, result);
    for (int i = 0; i < MOST_TASKS; i++) {
        task_t *t = &s.task[i];
        if (t->state == UNUSED || !pthread_equal(t->thread, thread)) continue;
        self->state = IN_JOIN;
        self->joins = i;
        switch_task();
        int rc = __real_pthread_join(thread, result);
        sem_destroy(&t->baton);
        t->state = UNUSED;
        return rc;
    }
    return ESRCH;
}

/* ---- mutexes and conditions ---- */

static void acquire(const void *mutex) {
    int at = holder(mutex);
    if (at >= 0 && s.held[at].task == number(self)) give_up("a mutex is locked twice");
    while (holder(mutex) >= 0) {
        self->state = IN_MUTEX;
        self->object = mutex;
        switch_task();
    }
    if (s.held_count == MOST_HELD) give_up("too many mutexes");
    s.held[s.held_count].mutex = mutex;
    s.held[s.held_count++].task = number(self);
}

static void release(const void *mutex) {
    int at = holder(mutex);
    if (at < 0 || s.held[at].task != number(self)) give_up("a mutex is unlocked by a stranger");
    s.held[at] = s.held[--s.held_count];
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex) {
    if (self == NULL) return __real_pthread_mutex_lock(mutex);
    switch_task();
    acquire(mutex);
    return 0;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex) {
    if (self == NULL) return __real_pthread_mutex_unlock(mutex);
    release(mutex);
    switch_task();
    return 0;
}

static int wait_until(const void *condition, const void *mutex, int64_t deadline) {
    release(mutex);
    self->state = IN_CONDITION;
    self->object = condition;
    self->signalled = false;
    self->deadline = deadline;
    switch_task();
    bool signalled = self->signalled;
    self->deadline = NEVER;
    acquire(mutex);
    return signalled ? 0 : ETIMEDOUT;
}

int __wrap_pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) {
    if (self == NULL) return __real_pthread_cond_wait(condition, mutex);
    return wait_until(condition, mutex, NEVER);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex,
                                  const struct timespec *until) {
    if (self == NULL) return __real_pthread_cond_timedwait(condition, mutex, until);
    return wait_until(condition, mutex, until->tv_sec * 1000000000L + until->tv_nsec);
}

static void wake(const void *condition, bool all) {
    task_t *waiting[MOST_TASKS];
    int n = 0;
    for (int i = 0; i < MOST_TASKS; i++) {
        task_t *t = &s.task[i];
        if (t->state == IN_CONDITION && t->object == condition && !t->signalled) waiting[n++] = t;
    }
    if (n == 0) return;
    int one = (int)hp_random_below(&s.random, (uint64_t)n);
    for (int i = 0; i < n; i++)
        if (all || i == one) waiting[i]->signalled = true;
}

int __wrap_pthread_cond_signal(pthread_cond_t *condition) {
    if (self == NULL) return __real_pthread_cond_signal(condition);
    wake(condition, false);
    switch_task();
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *condition) {
    if (self == NULL) return __real_pthread_cond_broadcast(condition);
    wake(condition, true);
    switch_task();
    return 0;
}

/* ---- time ---- */

static void sleep_for(int64_t ns) {
    self->state = ASLEEP;
    self->deadline = s.now + ns;
    switch_task();
    self->deadline = NEVER;
}

int __wrap_nanosleep(const struct timespec *time, struct timespec *left) {
    if (self == NULL) return __real_nanosleep(time, left);
    sleep_for(time->tv_sec * 1000000000L + time->tv_nsec);
    return 0;
}

int __wrap_usleep(useconds_t us) {
    if (self == NULL) return __real_usleep(us);
    sleep_for((int64_t)us * 1000);
    return 0;
}

int __wrap_sched_yield(void) {
    if (self == NULL) return __real_sched_yield();
    switch_task();
    return 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *time) {
    if (self == NULL) return __real_clock_gettime(clock, time);
    *time = (struct timespec){.tv_sec = s.now / 1000000000L, .tv_nsec = s.now % 1000000000L};
    return 0;
}

/* ---- a run ---- */

void schedule_run(uint64_t seed, void (*body)(void *context), void (*gave_up)(void *context),
                  void *context, schedule_stats_t *stats) {
    const int64_t start = 1000000000000L;
    memset(&s, 0, sizeof s);
    s.seed = seed;
    s.random = hp_random(seed, HP_RANDOM_TEST, 0x5C4ED, 0);
    s.gave_up = gave_up;
    s.context = context;
    s.policy = (int)hp_random_below(&s.random, 3);
    s.now = start;
    task_t *t = new_task();
    t->thread = pthread_self();
    self = t;
    body(context);
    for (int i = 1; i < MOST_TASKS; i++)
        if (s.task[i].state != UNUSED) give_up("a thread was not joined");
    self = NULL;
    sem_destroy(&t->baton);
    *stats = (schedule_stats_t){s.switches, (double)(s.now - start) * 1e-9};
}
