/* hanps bench: what a training step costs on this machine, beside the rate of its matrix products.
 */
#include "cli/arguments.h"
#include "cli/bench_run.h"
#include "cli/command.h"
#include "common/clock.h"
#include "common/config.h"
#include "common/file.h"
#include "common/gemm.h"
#include "common/memory.h"
#include "worker/bench.h"

#include <getopt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_gen.h>

static const char usage[] =
    "usage: hanps bench CONFIG [--set KEY=VALUE]... [--small] [--json FILE]\n\n"
    "Times forward and backward of CONFIG's model over a synthetic batch of VQA-CP's shape:\n"
    "features of 10x10x2048, 15,000 words, 1,000 answers, 3.6 questions an image. run.steps steps\n"
    "are measured after one to warm up; the table has their median. The rate of a large sgemm is\n"
    "measured in the same run. Then the whole of training: one server and one worker in one\n"
    "process, from a store in TMPDIR.\n\n"
    "  --small      a tiny shape and one step: only to see that it works\n"
    "  --json FILE  the figures as JSON\n";

typedef struct {
    const char *config, *json;
    bool small;
} options_t;

/* One row of the table. */
typedef struct {
    const char *name, *title;
    wk_bench_selection_t selection;
    int cells; /* of a question; 0: all */
} case_t;

static const case_t cases[] = {
    {"cells16_same", "16 cells, the same for an image's questions", WK_BENCH_SAME, 16},
    {"cells16_own", "16 cells, as the model selects", WK_BENCH_OWN, 16},
    {"cells16_different", "16 cells, others for each question", WK_BENCH_DIFFERENT, 16},
    {"cells100", "all cells", WK_BENCH_SAME, 0},
};
enum { CASES = sizeof cases / sizeof *cases, MAX_STEPS = 1000 };

typedef struct {
    wk_bench_step_t median;
    double step_s;
    int questions, images;
} figures_t;

typedef struct {
    char cpu[128], kernel[256];
    int cores;
    double sgemm;    /* FLOP/s */
    double products; /* the same, by the backend and in the precision of the configuration */
} machine_t;

static const double questions_per_image = 3.6;

static wk_model_shape_t shape_of(bool small) {
    return (wk_model_shape_t){.channels = small ? 32 : 2048,
                              .max_cells = 100,
                              .words = small ? 50 : 15000,
                              .answers = small ? 10 : 1000};
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(int n, double *value) {
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

static hp_status_t describe_machine(const hp_config_t *config, bool small, machine_t *machine,
                                    hp_error_t *err) {
    cpu_set_t set;
    machine->cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    snprintf(machine->cpu, sizeof machine->cpu, "unknown");
    FILE *info = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (info != NULL && fgets(line, sizeof line, info) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || colon == NULL) continue;
        snprintf(machine->cpu, sizeof machine->cpu, "%.*s", (int)strcspn(colon + 2, "\n"),
                 colon + 2);
        break;
    }
    if (info != NULL) fclose(info);
    wk_model_describe_products(config, machine->kernel, sizeof machine->kernel);
    const int n = small ? 128 : 2048;
    const bool bf16 = config->model.precision == HP_BF16;
    HP_TRY(measure_products(NULL, n, &machine->sgemm, err));
    machine->products = machine->sgemm;
    if (!bf16 && config->model.gemm != HP_GEMM_ONEDNN) return HP_OK;
    hp_gemm_engine_t *engine = NULL;
    HP_TRY(hp_gemm_engine_open(bf16, &engine, err));
    hp_status_t status = measure_products(engine, n, &machine->products, err);
    if (status == HP_OK) status = hp_gemm_engine_status(engine, err);
    hp_gemm_engine_close(engine);
    return status;
}

static hp_status_t run_case(const hp_config_t *base, const case_t *which, bool small,
                            figures_t *figures, hp_error_t *err) {
    hp_config_t config = *base;
    wk_bench_plan_t plan = {.shape = shape_of(small),
                            .questions = config.data.batch_size,
                            .questions_per_image = questions_per_image,
                            .tokens = 7,
                            .selection = which->selection};
    plan.cells = which->cells > 0 ? which->cells : plan.shape.max_cells;
    config.model.attention.cells = plan.cells;
    wk_bench_t *bench = NULL;
    HP_TRY(wk_bench_create(&config, &plan, &bench, err));
    int steps = (int)(config.run.steps < MAX_STEPS ? config.run.steps : MAX_STEPS);
    double total[MAX_STEPS], forward[MAX_STEPS], backward[MAX_STEPS];
    wk_bench_step_t step;
    hp_status_t status = wk_bench_step(bench, &step, err);
    for (int i = 0; i < steps && status == HP_OK; i++) {
        status = wk_bench_step(bench, &step, err);
        forward[i] = step.forward_s;
        backward[i] = step.backward_s;
        total[i] = step.forward_s + step.backward_s;
    }
    if (status == HP_OK) {
        figures->median = step;
        figures->median.forward_s = median(steps, forward);
        figures->median.backward_s = median(steps, backward);
        figures->step_s = median(steps, total);
        figures->questions = wk_bench_batch(bench)->questions;
        figures->images = wk_bench_batch(bench)->images;
    }
    wk_bench_destroy(bench);
    return status;
}

static double flops(const figures_t *f) {
    return 2 * (double)(f->median.forward_madds + f->median.backward_madds);
}

static void print_machine(const machine_t *machine) {
    printf("%s, %d cores; %s\nsgemm: %.0f GFLOP/s\nproducts as configured: "
           "%.0f GFLOP/s\n\n",
           machine->cpu, machine->cores, machine->kernel, machine->sgemm * 1e-9,
           machine->products * 1e-9);
    printf("%-46s %10s %9s %9s %9s %8s %8s\n", "forward and backward of a batch", "examples/s",
           "forward s", "backw. s", "GFLOP", "GFLOP/s", "of sgemm");
}

static void print_case(const case_t *which, const figures_t *f, const machine_t *machine) {
    double rate = flops(f) / f->step_s;
    printf("%-46s %10.1f %9.3f %9.3f %9.1f %8.0f %7.0f%%\n", which->title, f->questions / f->step_s,
           f->median.forward_s, f->median.backward_s, flops(f) * 1e-9, rate * 1e-9,
           100 * rate / machine->sgemm);
}

static void put_key(yajl_gen gen, const char *key) {
    yajl_gen_string(gen, (const unsigned char *)key, strlen(key));
}

static void put_text(yajl_gen gen, const char *key, const char *text) {
    put_key(gen, key);
    put_key(gen, text);
}

/* Six digits: more would be noise. */
static void put_number(yajl_gen gen, const char *key, double value) {
    char text[40];
    snprintf(text, sizeof text, "%.6g", value);
    put_key(gen, key);
    yajl_gen_number(gen, text, strlen(text));
}

static void put_case(yajl_gen gen, const case_t *which, const figures_t *f,
                     const machine_t *machine) {
    put_key(gen, which->name);
    yajl_gen_map_open(gen);
    put_text(gen, "title", which->title);
    put_number(gen, "examples_per_s", f->questions / f->step_s);
    put_number(gen, "step_s", f->step_s);
    put_number(gen, "forward_s", f->median.forward_s);
    put_number(gen, "backward_s", f->median.backward_s);
    put_number(gen, "questions", f->questions);
    put_number(gen, "images", f->images);
    put_number(gen, "cells_selected", (double)f->median.rows);
    put_number(gen, "forward_flop", 2 * (double)f->median.forward_madds);
    put_number(gen, "backward_flop", 2 * (double)f->median.backward_madds);
    put_number(gen, "flop_per_s", flops(f) / f->step_s);
    put_number(gen, "share_of_sgemm", flops(f) / f->step_s / machine->sgemm);
    yajl_gen_map_close(gen);
}

static void put_run(yajl_gen gen, const cli_bench_run_t *run) {
    put_key(gen, "train");
    yajl_gen_map_open(gen);
    put_text(gen, "title", "16 cells, one server and one worker in one process, from LMDB");
    put_number(gen, "examples_per_s", run->examples_per_s);
    put_number(gen, "seconds", run->seconds);
    put_number(gen, "data_s", run->data_s);
    put_number(gen, "forward_s", run->forward_s);
    put_number(gen, "backward_s", run->backward_s);
    put_number(gen, "push_s", run->push_s);
    put_number(gen, "pull_s", run->pull_s);
    put_number(gen, "wait_s", run->wait_s);
    yajl_gen_map_close(gen);
}

static hp_status_t write_json(const char *path, const machine_t *machine, const figures_t *figures,
                              const cli_bench_run_t *run, hp_error_t *err) {
    yajl_gen gen = yajl_gen_alloc(NULL);
    if (gen == NULL) return hp_fail(err, HP_MEMORY, "out of memory: JSON");
    yajl_gen_config(gen, yajl_gen_beautify, 1);
    yajl_gen_map_open(gen);
    put_key(gen, "machine");
    yajl_gen_map_open(gen);
    put_text(gen, "cpu", machine->cpu);
    put_number(gen, "cores", machine->cores);
    put_text(gen, "kernel", machine->kernel);
    put_number(gen, "sgemm_flop_per_s", machine->sgemm);
    put_number(gen, "products_flop_per_s", machine->products);
    yajl_gen_map_close(gen);
    put_key(gen, "works");
    yajl_gen_map_open(gen);
    put_key(gen, "W1");
    yajl_gen_map_open(gen);
    for (int i = 0; i < CASES; i++) put_case(gen, &cases[i], &figures[i], machine);
    put_run(gen, run);
    for (int i = 0; i < 3; i++) yajl_gen_map_close(gen);
    const unsigned char *text = NULL;
    size_t bytes = 0;
    yajl_gen_get_buf(gen, &text, &bytes);
    hp_status_t status = hp_write_file(path, text, bytes, err);
    yajl_gen_free(gen);
    return status;
}

static hp_status_t parse(int argc, char **argv, options_t *options, hp_config_t *config,
                         bool *help_p, hp_error_t *err) {
    enum { SET = 1, SMALL, JSON };
    static const struct option table[] = {{"set", required_argument, NULL, SET},
                                          {"small", no_argument, NULL, SMALL},
                                          {"json", required_argument, NULL, JSON},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        if (option == 'h') *help_p = true;
        if (option == SMALL) options->small = true;
        if (option == JSON) options->json = optarg;
        if (option == '?') return cli_bad_option(argv, err);
    }
    if (*help_p) return HP_OK;
    const char *path = NULL;
    HP_TRY(cli_one_operand(argc, argv, "CONFIG", &path, err));
    HP_TRY(hp_config_load(config, path, err));
    if (options->small) { /* before --set, which may say otherwise */
        config->model.question.embedding = config->model.question.lstm = 16;
        config->model.image.width = 32;
        config->model.classifier.layers = (hp_layers_t){1, {16}};
        config->data.batch_size = 12;
        config->run.steps = 1;
    }
    optind = 1;
    for (int option; (option = getopt_long(argc, argv, "h", table, NULL)) != -1;)
        if (option == SET) HP_TRY(hp_config_set(config, optarg, err));
    if (config->run.steps < 1) return hp_fail(err, HP_INPUT, "run.steps: at least 1 is needed");
    return hp_config_check(config, err);
}

hp_status_t cli_bench(int argc, char **argv, hp_error_t *err) {
    options_t options = {0};
    hp_config_t config;
    bool help = false;
    hp_config_default(&config);
    HP_TRY(parse(argc, argv, &options, &config, &help, err));
    if (help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    machine_t machine;
    figures_t figures[CASES];
    hp_gemm_set_threads(config.cluster.threads);
    HP_TRY(describe_machine(&config, options.small, &machine, err));
    print_machine(&machine);
    for (int i = 0; i < CASES; i++) {
        HP_TRY(run_case(&config, &cases[i], options.small, &figures[i], err));
        print_case(&cases[i], &figures[i], &machine);
        fflush(stdout);
    }
    printf("\nThe whole of training, one server with Adam and one worker in one process, features "
           "from LMDB:\n");
    fflush(stdout);
    const wk_model_shape_t shape = shape_of(options.small);
    cli_bench_run_t run;
    HP_TRY(cli_bench_run(&config, &shape, questions_per_image, &run, err));
    return options.json != NULL ? write_json(options.json, &machine, figures, &run, err) : HP_OK;
}
