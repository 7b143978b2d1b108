#include "common/parallel.h"

#if defined(HP_WITH_DNNL) && !defined(HP_SANITIZED)

/* libgomp's, which oneDNN brings. By its binary interface: OpenMP's pragmas need more than every
 * compiler has. */
void GOMP_parallel(void (*body)(void *data), void *data, unsigned threads, unsigned flags);
int omp_get_max_threads(void);
int omp_get_num_threads(void);
int omp_get_thread_num(void);

typedef struct {
    int64_t count;
    hp_part_t part;
    void *context;
} loop_t;

static void run(void *data) {
    const loop_t *loop = data;
    const int64_t threads = omp_get_num_threads(), i = omp_get_thread_num();
    const int64_t begin = loop->count * i / threads, end = loop->count * (i + 1) / threads;
    if (begin < end) loop->part(loop->context, begin, end);
}

void hp_parallel(int64_t count, int64_t grain, hp_part_t part, void *context) {
    const int64_t useful = count / (grain > 0 ? grain : 1), most = omp_get_max_threads();
    const int64_t threads = useful < most ? useful : most;
    loop_t loop = {count, part, context};
    if (threads > 1)
        GOMP_parallel(run, &loop, (unsigned)threads, 0);
    else if (count > 0)
        part(context, 0, count);
}

#else

void hp_parallel(int64_t count, int64_t grain, hp_part_t part, void *context) {
    (void)grain;
    if (count > 0) part(context, 0, count);
}

#endif
