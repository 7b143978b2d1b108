/* The passes over arrays between the products: what each moves, beside the least that it could, at
 * memcpy's rate. */
#ifndef CLI_BENCH_PASSES_H
#define CLI_BENCH_PASSES_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

enum { CLI_BENCH_PASSES = 8 };

typedef struct {
    const char *name, *title;
    double bytes; /* that one number costs at least: operands read and results written, once */
    double rate;  /* bytes/s of these */
} cli_bench_pass_t;

typedef struct {
    int64_t numbers; /* of each array: more than the caches hold */
    int count;
    cli_bench_pass_t pass[CLI_BENCH_PASSES];
} cli_bench_passes_t;

/* With one thread, as cli_bench_copy: the median of some rounds. Leaves the products with one
 * thread, too (hp_gemm_set_threads). `small`: few numbers, only to see that it works. */
hp_status_t cli_bench_passes(bool small, cli_bench_passes_t *passes, hp_error_t *err) HP_MUST_CHECK;

#endif
