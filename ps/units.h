/* The units of a run and who computes them: a counter, leases, and units that came back. Server 0
 * alone keeps it. Knows nothing of messages or time.
 *
 * A unit is handed out once, and again only after it was returned or its worker was lost. A worker
 * holds several, so that it can read ahead; the next goes to the worker that holds the fewest, and
 * nobody gets a second one while another has room for its first: in `sync` the units of one step
 * are thereby spread over the workers. */
#ifndef PS_UNITS_H
#define PS_UNITS_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct ps_units ps_units_t;

/* Units `returned` (ascending) first, then from `next` up to `limit`, which is excluded.
 * lead: how many units a worker may be ahead of the slowest; < 0: any number. */
hp_status_t ps_units_create(int workers, uint64_t next, uint64_t limit, int returned_count,
                            const uint64_t *returned, int lead, ps_units_t **units_p,
                            hp_error_t *err) HP_MUST_CHECK;
void ps_units_destroy(ps_units_t *units);

/* A worker may hold up to `room` units; 0: it is lost (its units come back, as pushed ones), < 0:
 * not here yet, but expected. All begin as expected. */
void ps_units_room(ps_units_t *units, int worker, int room);

/* A worker leaves; its units come back. pushed: as below. */
void ps_units_leave(ps_units_t *units, int worker, bool pushed);

/* A worker that is suspended gets nothing and holds up nobody, but keeps what it has. */
void ps_units_suspend(ps_units_t *units, int worker, bool suspended);

/* The next unit to hand out and to whom; false: nothing to hand out now. */
bool ps_units_take(ps_units_t *units, int *worker_p, uint64_t *unit_p);

/* A worker's unit is done. False: it did not hold it. */
bool ps_units_retire(ps_units_t *units, int worker, uint64_t unit);
/* A worker gives a unit back. pushed: some server may have applied it, so that it is a repeated one
 * when it is handed out again. False: it did not hold it. */
bool ps_units_return(ps_units_t *units, int worker, uint64_t unit, bool pushed);

/* The lowest unit that came back and waits to be handed out again; false: none. */
bool ps_units_waiting(const ps_units_t *units, uint64_t *unit_p);

/* From now on units at or above `limit` are neither handed out nor missed. */
void ps_units_limit(ps_units_t *units, uint64_t limit);
/* Units at or above `hold` are not handed out for now, until it is raised. */
void ps_units_hold(ps_units_t *units, uint64_t hold);

uint64_t ps_units_next(const ps_units_t *units);     /* never handed out from here on */
uint64_t ps_units_retired(const ps_units_t *units);  /* since created */
uint64_t ps_units_repeated(const ps_units_t *units); /* handed out again after a server had them */
/* Units below the limit that some server may have and that are not retired. */
uint64_t ps_units_pushed(const ps_units_t *units);
/* Retired ones and those that are out are whole steps of n. */
bool ps_units_whole(const ps_units_t *units, int n);
int ps_units_leased(const ps_units_t *units); /* below the limit, with some worker */
int ps_units_held(const ps_units_t *units, int worker);
/* Every unit below the limit is retired. */
bool ps_units_done(const ps_units_t *units);

/* Units below `next` that are not retired, ascending; valid until the next call on `units`. */
int ps_units_outstanding(ps_units_t *units, const uint64_t **unit_p);

#endif
