/* A pool of equal objects: grows by slabs, never shrinks, no locks. Addresses stay valid until the
 * pool is released, so taking and giving back costs nothing in the steady state. */
#ifndef HP_POOL_H
#define HP_POOL_H

#include "common/status.h"

#include <stddef.h>

typedef struct {
    size_t object; /* bytes of one */
    size_t per_slab;
    void *slabs; /* list of slabs, linked through their first word */
    void *free;  /* list of objects, linked through their first word */
} hp_pool_t;

void hp_pool_init(hp_pool_t *pool, size_t object, size_t per_slab);
/* The object's bytes are whatever they were. */
hp_status_t hp_pool_take(hp_pool_t *pool, void **object_p, hp_error_t *err) HP_MUST_CHECK;
void hp_pool_give(hp_pool_t *pool, void *object);
void hp_pool_release(hp_pool_t *pool); /* all objects, given back or not */

#endif
