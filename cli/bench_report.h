/* What hanps bench found: the table, and the same as JSON. */
#ifndef CLI_BENCH_REPORT_H
#define CLI_BENCH_REPORT_H

#include "cli/bench_machine.h"
#include "cli/bench_passes.h"
#include "cli/bench_run.h"
#include "cli/bench_server.h"
#include "cli/bench_work.h"

enum { CLI_BENCH_WORKS = 16 };

typedef struct {
    cli_bench_machine_t machine;
    cli_bench_passes_t passes; /* count 0: not measured */
    int works;
    cli_bench_work_t work[CLI_BENCH_WORKS];
    const cli_bench_work_t *trained; /* the work that `run` and `server` are of; NULL: none */
    cli_bench_run_t run;
    cli_bench_server_t server;
} cli_bench_report_t;

/* To stdout, as it is found. */
void cli_bench_print_machine(const cli_bench_report_t *report);
void cli_bench_print_work(const cli_bench_work_t *work);
void cli_bench_print_case(void *report, const cli_bench_case_t *which);
void cli_bench_print_evaluation(const cli_bench_report_t *report);
void cli_bench_print_server(const cli_bench_report_t *report);
void cli_bench_print_passes(const cli_bench_report_t *report);

hp_status_t cli_bench_write(const cli_bench_report_t *report, const char *path,
                            hp_error_t *err) HP_MUST_CHECK;

#endif
