#include "cli/bench_report.h"

#include "common/file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yajl/yajl_gen.h>

/* ---- the table ---- */

void cli_bench_print_machine(const cli_bench_report_t *report) {
    const cli_bench_machine_t *m = &report->machine;
    printf("%s, %d cores; %s\nsgemm: %.0f GFLOP/s\nproducts as configured: %.0f GFLOP/s\n"
           "memcpy, read and written: %.1f GB/s\n",
           m->cpu, m->cores, m->kernel, m->sgemm * 1e-9, m->products * 1e-9, m->copy * 1e-9);
}

void cli_bench_print_work(const cli_bench_work_t *work) {
    printf("\n%-46s %10s %9s %9s %9s %9s %8s %8s\n", work->name, "examples/s", "forward s",
           "backw. s", "cells' s", "GFLOP", "GFLOP/s", "of prod.");
}

/* Of a work's products at the rate of large ones: the least that it can take. */
static double share(const cli_bench_report_t *report, const cli_bench_case_t *c) {
    return cli_bench_flops(c) / c->step_s / report->machine.products;
}

void cli_bench_print_case(void *report, const cli_bench_case_t *c) {
    printf("  %-44s %10.1f %9.3f %9.3f %9.3f %9.1f %8.0f %7.0f%%\n", c->title,
           c->questions / c->step_s, c->median.forward_s, c->median.backward_s,
           c->median.embed_backward_s, cli_bench_flops(c) * 1e-9,
           cli_bench_flops(c) / c->step_s * 1e-9, 100 * share(report, c));
    fflush(stdout);
}

/* Evaluation at best: forward alone, the batch in memory, as the model selects. */
static double forward_rate(const cli_bench_work_t *work) {
    for (int i = 0; i < work->cases; i++)
        if (strcmp(work->of[i].name, "own") == 0)
            return work->of[i].questions / work->of[i].median.forward_s;
    return NAN;
}

void cli_bench_print_evaluation(const cli_bench_report_t *report) {
    const double forward = forward_rate(report->trained);
    printf("\nEvaluation: %.1f examples/s, %.0f%% of forward alone (%.1f)\n",
           report->run.evaluated_per_s, 100 * report->run.evaluated_per_s / forward, forward);
    fflush(stdout);
}

void cli_bench_print_server(const cli_bench_report_t *report) {
    const cli_bench_server_t *s = &report->server;
    printf("\nThe parameter server alone, %" PRId64 " parameters: %.1f updates/s, %.2f GB/s pushed "
           "and pulled\n  a pull of one small chunk: %.3f ms; a server and a worker without work: "
           "%.1f %% of a core\n",
           s->parameters, s->updates_per_s, s->bytes_per_s * 1e-9, s->small_pull_s * 1e3,
           100 * s->idle_share);
}

void cli_bench_print_passes(const cli_bench_report_t *report) {
    const cli_bench_passes_t *p = &report->passes;
    printf("\nPasses over %.1f million numbers, one thread, and the bytes of a number that each "
           "must move:\n%-46s %10s %9s %10s\n",
           (double)p->numbers * 1e-6, "", "bytes", "GB/s", "of memcpy");
    for (int i = 0; i < p->count; i++)
        printf("  %-44s %10.0f %9.1f %9.0f%%\n", p->pass[i].title, p->pass[i].bytes,
               p->pass[i].rate * 1e-9, 100 * p->pass[i].rate / report->machine.copy);
    fflush(stdout);
}

/* ---- JSON ---- */

static void put_key(yajl_gen gen, const char *key) {
    yajl_gen_string(gen, (const unsigned char *)key, strlen(key));
}

static void open_map(yajl_gen gen, const char *key) {
    if (key != NULL) put_key(gen, key);
    yajl_gen_map_open(gen);
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

static void put_machine(yajl_gen gen, const cli_bench_machine_t *machine) {
    open_map(gen, "machine");
    put_text(gen, "cpu", machine->cpu);
    put_number(gen, "cores", machine->cores);
    put_text(gen, "kernel", machine->kernel);
    put_number(gen, "sgemm_flop_per_s", machine->sgemm);
    put_number(gen, "products_flop_per_s", machine->products);
    put_number(gen, "copy_bytes_per_s", machine->copy);
    yajl_gen_map_close(gen);
}

static void put_case(yajl_gen gen, const cli_bench_report_t *report, const cli_bench_case_t *c) {
    open_map(gen, c->name);
    put_text(gen, "title", c->title);
    put_number(gen, "examples_per_s", c->questions / c->step_s);
    put_number(gen, "step_s", c->step_s);
    put_number(gen, "forward_s", c->median.forward_s);
    put_number(gen, "backward_s", c->median.backward_s);
    put_number(gen, "embed_backward_s", c->median.embed_backward_s);
    put_number(gen, "questions", c->questions);
    put_number(gen, "images", c->images);
    put_number(gen, "cells_selected", (double)c->median.rows);
    put_number(gen, "forward_flop", 2 * (double)c->median.forward_madds);
    put_number(gen, "backward_flop", 2 * (double)c->median.backward_madds);
    put_number(gen, "flop_per_s", cli_bench_flops(c) / c->step_s);
    put_number(gen, "share_of_products", share(report, c));
    yajl_gen_map_close(gen);
}

static void put_run(yajl_gen gen, const cli_bench_run_t *run) {
    open_map(gen, "train");
    put_text(gen, "title", "one server and one worker in one process, from LMDB");
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

static void put_evaluation(yajl_gen gen, const cli_bench_report_t *report) {
    open_map(gen, "evaluation");
    put_text(gen, "title", "one process, from LMDB; its floor is forward alone");
    put_number(gen, "examples_per_s", report->run.evaluated_per_s);
    put_number(gen, "share_of_forward",
               report->run.evaluated_per_s / forward_rate(report->trained));
    yajl_gen_map_close(gen);
}

static void put_server(yajl_gen gen, const cli_bench_server_t *server) {
    open_map(gen, "server");
    put_text(gen, "title", "the parameter server, and a worker that computes nothing");
    put_number(gen, "parameters", (double)server->parameters);
    put_number(gen, "updates_per_s", server->updates_per_s);
    put_number(gen, "bytes_per_s", server->bytes_per_s);
    put_number(gen, "small_pull_s", server->small_pull_s);
    put_number(gen, "idle_share", server->idle_share);
    yajl_gen_map_close(gen);
}

static void put_passes(yajl_gen gen, const cli_bench_report_t *report) {
    open_map(gen, "passes");
    for (int i = 0; i < report->passes.count; i++) {
        const cli_bench_pass_t *pass = &report->passes.pass[i];
        open_map(gen, pass->name);
        put_text(gen, "title", pass->title);
        put_number(gen, "bytes_per_number", pass->bytes);
        put_number(gen, "bytes_per_s", pass->rate);
        put_number(gen, "share_of_copy", pass->rate / report->machine.copy);
        yajl_gen_map_close(gen);
    }
    yajl_gen_map_close(gen);
}

static void put_report(yajl_gen gen, const cli_bench_report_t *report) {
    open_map(gen, NULL);
    put_machine(gen, &report->machine);
    if (report->passes.count > 0) put_passes(gen, report);
    open_map(gen, "works");
    for (int w = 0; w < report->works; w++) {
        const cli_bench_work_t *work = &report->work[w];
        open_map(gen, work->name);
        for (int i = 0; i < work->cases; i++) put_case(gen, report, &work->of[i]);
        if (work == report->trained) {
            put_run(gen, &report->run);
            put_evaluation(gen, report);
            put_server(gen, &report->server);
        }
        yajl_gen_map_close(gen);
    }
    yajl_gen_map_close(gen);
    yajl_gen_map_close(gen);
}

hp_status_t cli_bench_write(const cli_bench_report_t *report, const char *path, hp_error_t *err) {
    yajl_gen gen = yajl_gen_alloc(NULL);
    if (gen == NULL) return hp_fail(err, HP_MEMORY, "out of memory: JSON");
    yajl_gen_config(gen, yajl_gen_beautify, 1);
    put_report(gen, report);
    const unsigned char *text = NULL;
    size_t bytes = 0;
    yajl_gen_get_buf(gen, &text, &bytes);
    hp_status_t status = hp_write_file(path, text, bytes, err);
    yajl_gen_free(gen);
    return status;
}
