/* Allocation. Everything large is planned first and allocated once (hp_arena_t); nothing is
 * allocated within a training step. */
#ifndef HP_MEMORY_H
#define HP_MEMORY_H

#include "common/status.h"

#include <stddef.h>

#define HP_ALIGN 64 /* bytes: a cache line, an AVX-512 register */

/* Whether the address sanitizer is on: gcc says it by a macro, clang, and gcc from 14 on, so. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define HP_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define HP_ADDRESS_SANITIZER
#endif

/* Zeroed, aligned to HP_ALIGN; NULL when count * size overflows or memory is out, or count * size
 * is zero. Release with hp_free. */
void *hp_calloc(size_t count, size_t size);
/* The same, with the error written. `what` names the object for the message. */
hp_status_t hp_allocate(void **pointer_p, size_t count, size_t size, const char *what,
                        hp_error_t *err) HP_MUST_CHECK;
void hp_free(void *pointer);
char *hp_strdup(const char *text); /* release with hp_free; NULL when memory is out */

/* An arena measures, then allocates, then binds. First pass: base is NULL and hp_arena_take
 * only counts. After hp_arena_commit the same sequence of takes returns the addresses. */
typedef struct {
    unsigned char *base;
    size_t size; /* bytes planned (first pass) or allocated */
    size_t used; /* bytes handed out in the second pass */
} hp_arena_t;

/* Returns NULL in the measuring pass. Aligned to HP_ALIGN. Overflow of count * size makes the
 * later commit fail. */
void *hp_arena_take(hp_arena_t *arena, size_t count, size_t size);
hp_status_t hp_arena_commit(hp_arena_t *arena, const char *what, hp_error_t *err) HP_MUST_CHECK;
void hp_arena_release(hp_arena_t *arena);

#endif
