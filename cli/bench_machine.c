#include "cli/bench_machine.h"

#include "common/clock.h"
#include "common/cores.h"
#include "common/gemm.h"
#include "common/memory.h"
#include "worker/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double cli_bench_median(int n, double *value) {
    qsort(value, (size_t)n, sizeof *value, ascending);
    return value[n / 2];
}

/* The best rate of some products of n x n: what this machine can do now, with these threads. */
static hp_status_t measure_products(hp_gemm_engine_t *engine, int n, double *rate_p,
                                    hp_error_t *err) {
    void *p = NULL;
    size_t size = (size_t)n * (size_t)n;
    HP_TRY(hp_allocate(&p, 3 * size, sizeof(float), "matrices", err));
    float *a = p, *b = a + size, *c = b + size;
    for (size_t i = 0; i < 2 * size; i++) a[i] = (float)(i % 17) - 8;
    hp_gemm_product_t product = {.m = n, .n = n, .k = n, .ld = n, .c = c};
    product.a = (hp_gemm_in_t){a, HP_GEMM_FLOAT, false, n};
    product.b = (hp_gemm_in_t){b, HP_GEMM_FLOAT, true, n};
    if (engine != NULL && hp_gemm_engine_bf16(engine)) { /* in place: a number is half as wide */
        hp_gemm_round(engine, n, n, a, (void *)c);
        memcpy(a, c, size * sizeof(hp_bf16_t));
        hp_gemm_round(engine, n, n, b, (void *)c);
        memcpy(b, c, size * sizeof(hp_bf16_t));
        product.a.type = product.b.type = HP_GEMM_BF16;
    }
    double best = 0, begin = hp_clock();
    for (int i = 0; i < 3 || (hp_clock() - begin < 1.5 && i < 1000); i++) {
        double start = hp_clock();
        int64_t madds = engine != NULL ? hp_gemm_multiply(engine, &product)
                                       : hp_gemm(false, true, n, n, n, 1, a, n, b, n, 0, c, n);
        double rate = 2 * (double)madds / (hp_clock() - start);
        if (rate > best) best = rate;
    }
    hp_free(p);
    *rate_p = best;
    return HP_OK;
}

hp_status_t cli_bench_copy(size_t bytes, double *rate_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 2, bytes, "a copy", err));
    unsigned char *from = p, *to = from + bytes;
    memset(p, 1, 2 * bytes);
    double best = 0;
    for (int i = 0; i < 5; i++) {
        from[i] = (unsigned char)i;
        double start = hp_clock();
        memcpy(to, from, bytes);
        double rate = 2 * (double)bytes / (hp_clock() - start);
        if (rate > best && to[i] == i) best = rate;
    }
    hp_free(p);
    *rate_p = best;
    return HP_OK;
}

void cli_bench_cpu(char *name, size_t bytes) {
    snprintf(name, bytes, "unknown");
    FILE *info = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (info != NULL && fgets(line, sizeof line, info) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        snprintf(name, bytes, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (info != NULL) fclose(info);
}

hp_status_t cli_bench_machine(const hp_config_t *config, bool small, cli_bench_machine_t *machine,
                              hp_error_t *err) {
    machine->cores = hp_usable_cores();
    cli_bench_cpu(machine->cpu, sizeof machine->cpu);
    wk_model_describe_products(config, machine->kernel, sizeof machine->kernel);
    const int n = small ? 128 : 2048;
    const bool bf16 = config->model.precision == HP_BF16;
    HP_TRY(measure_products(NULL, n, &machine->sgemm, err));
    HP_TRY(cli_bench_copy(small ? 1 << 16 : (size_t)1 << 28, &machine->copy, err));
    machine->products = machine->sgemm;
    if (!bf16 && config->model.gemm != HP_GEMM_ONEDNN) return HP_OK;
    hp_gemm_engine_t *engine = NULL;
    HP_TRY(hp_gemm_engine_open(bf16, &engine, err));
    hp_status_t status = measure_products(engine, n, &machine->products, err);
    if (status == HP_OK) status = hp_gemm_engine_status(engine, err);
    hp_gemm_engine_close(engine);
    return status;
}
