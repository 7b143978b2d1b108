/* The machine that hanps bench runs on, and the rates that its figures are compared with. */
#ifndef CLI_BENCH_MACHINE_H
#define CLI_BENCH_MACHINE_H

#include "common/config.h"

typedef struct {
    char cpu[128], kernel[256];
    int cores;
    double sgemm;    /* FLOP/s of a large product of floats */
    double products; /* the same, by the backend and in the precision of the configuration */
    double copy;     /* bytes/s that memcpy reads and writes, large, with one thread */
} cli_bench_machine_t;

/* Measures with the threads that hp_gemm_set_threads was told. `small`: a tiny product, only to see
 * that it works. */
hp_status_t cli_bench_machine(const hp_config_t *config, bool small, cli_bench_machine_t *machine,
                              hp_error_t *err) HP_MUST_CHECK;

/* The best of some copies of so many bytes, as `copy` above. */
hp_status_t cli_bench_copy(size_t bytes, double *rate_p, hp_error_t *err) HP_MUST_CHECK;

void cli_bench_cpu(char *name, size_t bytes); /* "unknown" where the kernel does not say */

/* The middle of n values, which it sorts. n > 0. */
double cli_bench_median(int n, double *value);

#endif
