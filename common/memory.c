#include "common/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Under the address sanitizer what is allocated, or handed out by an arena, is followed by bytes
 * that may not be touched; otherwise takes of an arena lie side by side. */
#ifdef HP_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
enum { GUARD = HP_ALIGN };
#else
#define ASAN_POISON_MEMORY_REGION(address, size)   ((void)(address), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(address, size) ((void)(address), (void)(size))
enum { GUARD = 0 };
#endif

/* What is large is read from end to end, by Adam and the products: in pages of 4 KiB that costs
 * more for the pages than for the bytes. */
#define HUGE_PAGE ((size_t)2 << 20)

static size_t round_up(size_t bytes) {
    return bytes > SIZE_MAX - HP_ALIGN ? SIZE_MAX : (bytes + HP_ALIGN - 1) / HP_ALIGN * HP_ALIGN;
}

void *hp_calloc(size_t count, size_t size) {
    size_t wanted;
    if (__builtin_mul_overflow(count, size, &wanted) || wanted == 0) return NULL;
    size_t bytes = round_up(wanted);
    if (bytes == SIZE_MAX) return NULL;
    const bool large = bytes >= 2 * HUGE_PAGE;
    if (large && bytes <= SIZE_MAX - HUGE_PAGE)
        bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *p = aligned_alloc(large ? HUGE_PAGE : HP_ALIGN, bytes);
    if (p == NULL) return NULL;
    if (large) (void)madvise(p, bytes, MADV_HUGEPAGE); /* a hint */
    memset(p, 0, bytes);
    ASAN_POISON_MEMORY_REGION((unsigned char *)p + wanted, bytes - wanted);
    return p;
}

hp_status_t hp_allocate(void **pointer_p, size_t count, size_t size, const char *what,
                        hp_error_t *err) {
    void *p = hp_calloc(count ? count : 1, size);
    if (p == NULL)
        return hp_fail(err, HP_MEMORY, "out of memory: %zu x %zu bytes for %s", count, size, what);
    *pointer_p = p;
    return HP_OK;
}

void hp_free(void *pointer) { free(pointer); }

char *hp_strdup(const char *text) {
    size_t n = strlen(text) + 1;
    char *copy = hp_calloc(n, 1);
    if (copy != NULL) memcpy(copy, text, n);
    return copy;
}

void *hp_arena_take(hp_arena_t *arena, size_t count, size_t size) {
    size_t wanted, bytes;
    if (__builtin_mul_overflow(count, size, &wanted)) wanted = SIZE_MAX;
    if (__builtin_add_overflow(round_up(wanted), GUARD, &bytes)) bytes = SIZE_MAX;
    if (arena->base == NULL) {
        if (__builtin_add_overflow(arena->size, bytes, &arena->size)) arena->size = SIZE_MAX;
        return NULL;
    }
    if (bytes > arena->size - arena->used) return NULL; /* the two passes differ */
    unsigned char *p = arena->base + arena->used;
    arena->used += bytes;
    ASAN_POISON_MEMORY_REGION(p + wanted, bytes - wanted);
    return p;
}

hp_status_t hp_arena_commit(hp_arena_t *arena, const char *what, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, arena->size, 1, what, err));
    arena->base = p;
    arena->used = 0;
    return HP_OK;
}

void hp_arena_release(hp_arena_t *arena) {
    if (arena->base != NULL) ASAN_UNPOISON_MEMORY_REGION(arena->base, arena->size);
    hp_free(arena->base);
    *arena = (hp_arena_t){0};
}
