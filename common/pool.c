#include "common/pool.h"

#include "common/memory.h"

#include <string.h>

static void *next_of(const void *node) {
    void *next;
    memcpy(&next, node, sizeof next);
    return next;
}

static void push(void **list, void *node) {
    memcpy(node, list, sizeof *list);
    *list = node;
}

void hp_pool_init(hp_pool_t *pool, size_t object, size_t per_slab) {
    size_t rounded = (object + HP_ALIGN - 1) / HP_ALIGN * HP_ALIGN;
    *pool = (hp_pool_t){.object = rounded, .per_slab = per_slab};
}

hp_status_t hp_pool_take(hp_pool_t *pool, void **object_p, hp_error_t *err) {
    if (pool->free == NULL) {
        void *slab = NULL; /* its first cell holds the link */
        HP_TRY(hp_allocate(&slab, pool->per_slab + 1, pool->object, "a pool", err));
        push(&pool->slabs, slab);
        size_t i = pool->per_slab; /* at least 1 */
        do {
            push(&pool->free, (unsigned char *)slab + i * pool->object);
        } while (--i > 0);
    }
    *object_p = pool->free;
    pool->free = next_of(pool->free);
    return HP_OK;
}

void hp_pool_give(hp_pool_t *pool, void *object) { push(&pool->free, object); }

void hp_pool_release(hp_pool_t *pool) {
    while (pool->slabs != NULL) {
        void *next = next_of(pool->slabs);
        hp_free(pool->slabs);
        pool->slabs = next;
    }
    pool->free = NULL;
}
