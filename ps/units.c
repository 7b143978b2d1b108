#include "ps/units.h"

#include "common/memory.h"

#include <stdlib.h>
#include <string.h>

enum { FREE = -1 }; /* a unit that came back and waits */

typedef struct {
    uint64_t unit;
    int worker;
    bool pushed; /* some server may have it */
} lease_t;

typedef struct {
    int room, held;
    bool suspended;
    uint64_t clock; /* units retired, for the bound on the lead */
} worker_t;

struct ps_units {
    int workers, lead;
    worker_t *worker;
    uint64_t next, limit, hold, retired, repeated;
    int count, capacity;
    lease_t *lease;    /* [count]: units below next that are not retired, ascending */
    uint64_t *listing; /* [capacity] */
};

static hp_status_t reserve(ps_units_t *u, int capacity, hp_error_t *err) {
    if (capacity <= u->capacity) return HP_OK;
    void *lease = NULL, *listing = NULL;
    HP_TRY(hp_allocate(&lease, (size_t)capacity, sizeof *u->lease, "units", err));
    hp_status_t st = hp_allocate(&listing, (size_t)capacity, sizeof *u->listing, "units", err);
    if (st != HP_OK) {
        hp_free(lease);
        return st;
    }
    if (u->count > 0) memcpy(lease, u->lease, (size_t)u->count * sizeof *u->lease);
    hp_free(u->lease);
    hp_free(u->listing);
    u->lease = lease;
    u->listing = listing;
    u->capacity = capacity;
    return HP_OK;
}

hp_status_t ps_units_create(int workers, uint64_t next, uint64_t limit, int returned_count,
                            const uint64_t *returned, int lead, ps_units_t **units_p,
                            hp_error_t *err) {
    void *p = NULL, *worker = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(ps_units_t), "units", err));
    ps_units_t *u = p;
    *u = (ps_units_t){
        .workers = workers, .lead = lead, .next = next, .limit = limit, .hold = UINT64_MAX};
    hp_status_t st = hp_allocate(&worker, (size_t)workers, sizeof(worker_t), "units", err);
    u->worker = worker;
    if (st == HP_OK) st = reserve(u, returned_count + 16 * workers + 16, err);
    if (st != HP_OK) {
        ps_units_destroy(u);
        return st;
    }
    for (int i = 0; i < workers; i++) u->worker[i].room = -1;
    for (int i = 0; i < returned_count; i++)
        u->lease[u->count++] = (lease_t){returned[i], FREE, false};
    *units_p = u;
    return HP_OK;
}

void ps_units_destroy(ps_units_t *u) {
    if (u == NULL) return;
    hp_free(u->worker);
    hp_free(u->lease);
    hp_free(u->listing);
    hp_free(u);
}

/* A newcomer begins where the slowest of the others is: they have not waited for it. */
static void catch_up(ps_units_t *u, int worker) {
    uint64_t slowest = UINT64_MAX;
    for (int i = 0; i < u->workers; i++) {
        const worker_t *w = &u->worker[i];
        if (i != worker && w->room > 0 && !w->suspended && w->clock < slowest) slowest = w->clock;
    }
    if (slowest != UINT64_MAX && u->worker[worker].clock < slowest)
        u->worker[worker].clock = slowest;
}

void ps_units_room(ps_units_t *u, int worker, int room) {
    u->worker[worker].room = room;
    if (room > 0) catch_up(u, worker);
    if (room == 0) ps_units_leave(u, worker, true);
}

void ps_units_leave(ps_units_t *u, int worker, bool pushed) {
    u->worker[worker].room = u->worker[worker].held = 0;
    for (int i = 0; i < u->count; i++)
        if (u->lease[i].worker == worker) u->lease[i] = (lease_t){u->lease[i].unit, FREE, pushed};
}

void ps_units_suspend(ps_units_t *u, int worker, bool suspended) {
    u->worker[worker].suspended = suspended;
    if (!suspended && u->worker[worker].room > 0) catch_up(u, worker);
}

static bool within_lead(const ps_units_t *u, const worker_t *w) {
    if (u->lead < 0) return true;
    uint64_t slowest = w->clock;
    for (int i = 0; i < u->workers; i++)
        if (u->worker[i].room > 0 && !u->worker[i].suspended && u->worker[i].clock < slowest)
            slowest = u->worker[i].clock;
    return w->clock + (uint64_t)w->held <= slowest + (uint64_t)u->lead;
}

bool ps_units_take(ps_units_t *u, int *worker_p, uint64_t *unit_p) {
    int best = -1, most = INT32_MAX; /* what a worker may hold and still get one */
    for (int i = 0; i < u->workers; i++)
        if (u->worker[i].room < 0) most = 0; /* may come any moment: its first is kept */
    for (int i = 0; i < u->workers; i++) {
        const worker_t *w = &u->worker[i];
        if (w->suspended || w->room <= w->held || w->held > most || !within_lead(u, w)) continue;
        if (best >= 0 && w->held == most) continue;
        best = i;
        most = w->held;
    }
    if (best < 0) return false;
    int i = 0;
    while (i < u->count && u->lease[i].worker != FREE) i++;
    if (i < u->count && u->lease[i].unit < u->limit) {
        u->lease[i].worker = best;
        u->repeated += u->lease[i].pushed;
        u->lease[i].pushed = false;
    } else {
        if (u->next >= u->limit || u->next >= u->hold) return false;
        if (u->count == u->capacity && reserve(u, 2 * u->capacity, NULL) != HP_OK) return false;
        i = u->count++;
        u->lease[i] = (lease_t){u->next++, best, false};
    }
    u->worker[best].held++;
    *worker_p = best;
    *unit_p = u->lease[i].unit;
    return true;
}

static int find(const ps_units_t *u, int worker, uint64_t unit) {
    for (int i = 0; i < u->count; i++)
        if (u->lease[i].unit == unit) return u->lease[i].worker == worker ? i : -1;
    return -1;
}

static void forget(ps_units_t *u, int i) {
    u->count--;
    memmove(u->lease + i, u->lease + i + 1, (size_t)(u->count - i) * sizeof *u->lease);
}

bool ps_units_retire(ps_units_t *u, int worker, uint64_t unit) {
    int i = find(u, worker, unit);
    if (i < 0) return false;
    forget(u, i);
    u->worker[worker].held--;
    u->worker[worker].clock++;
    u->retired++;
    return true;
}

bool ps_units_return(ps_units_t *u, int worker, uint64_t unit, bool pushed) {
    int i = find(u, worker, unit);
    if (i < 0) return false;
    u->lease[i].worker = FREE;
    u->lease[i].pushed = pushed;
    u->worker[worker].held--;
    return true;
}

bool ps_units_waiting(const ps_units_t *u, uint64_t *unit_p) {
    for (int i = 0; i < u->count && u->lease[i].unit < u->limit; i++) {
        if (u->lease[i].worker != FREE) continue;
        *unit_p = u->lease[i].unit;
        return true;
    }
    return false;
}

void ps_units_limit(ps_units_t *u, uint64_t limit) {
    if (limit < u->limit) u->limit = limit;
}

void ps_units_hold(ps_units_t *u, uint64_t hold) { u->hold = hold; }
uint64_t ps_units_next(const ps_units_t *u) { return u->next < u->limit ? u->next : u->limit; }
uint64_t ps_units_retired(const ps_units_t *u) { return u->retired; }
uint64_t ps_units_repeated(const ps_units_t *u) { return u->repeated; }

uint64_t ps_units_pushed(const ps_units_t *u) {
    uint64_t n = 0;
    for (int i = 0; i < u->count && u->lease[i].unit < u->limit; i++)
        n += u->lease[i].worker != FREE || u->lease[i].pushed;
    return n;
}

bool ps_units_whole(const ps_units_t *u, int n) {
    return (u->retired + (uint64_t)ps_units_leased(u)) % (uint64_t)n == 0;
}

int ps_units_held(const ps_units_t *u, int worker) { return u->worker[worker].held; }

int ps_units_leased(const ps_units_t *u) {
    int n = 0;
    for (int i = 0; i < u->count; i++)
        n += u->lease[i].worker != FREE && u->lease[i].unit < u->limit;
    return n;
}

bool ps_units_done(const ps_units_t *u) {
    return u->next >= u->limit && (u->count == 0 || u->lease[0].unit >= u->limit);
}

int ps_units_outstanding(ps_units_t *u, const uint64_t **unit_p) {
    int n = 0;
    for (; n < u->count && u->lease[n].unit < u->limit; n++) u->listing[n] = u->lease[n].unit;
    *unit_p = u->listing;
    return n;
}
