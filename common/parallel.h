/* Loops by several threads: those of the products (hp_gemm_set_threads), so that both share the
 * cores a worker was given and neither waits for the other's to wake. */
#ifndef HP_PARALLEL_H
#define HP_PARALLEL_H

#include <stdint.h>

/* Part [begin, end) of a loop; parts run at the same time. */
typedef void (*hp_part_t)(void *context, int64_t begin, int64_t end);

/* Calls `part` over disjoint parts that make up [0, count), in no order, each of `grain` or more;
 * returns when all are done. What a part computes must not depend on where it begins: results are
 * then the same for any number of threads. One thread where the build has no oneDNN, or under a
 * sanitizer, which does not know its threads. */
void hp_parallel(int64_t count, int64_t grain, hp_part_t part, void *context);

/* For numbers of so many a row: rows that are worth a thread. */
static inline int64_t hp_parallel_rows(int64_t width) {
    const int64_t numbers = 32768; /* some microseconds: what waking a thread costs */
    return width > 0 && width < numbers ? numbers / width : 1;
}

#endif
