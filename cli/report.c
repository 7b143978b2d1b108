/* hanps report: curves of runs, side by side. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/trace.h"
#include "common/file.h"
#include "common/run_folder.h"
#include "worker/report/report.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: hanps report RUN... [--out FILE]\n"
    "       hanps report RUN --trace [--out FILE]\n\n"
    "Writes one HTML page from the logs of one run, or of several to compare: loss, accuracy,\n"
    "throughput, selected cells and staleness by step and by time, where the time went, and the\n"
    "accuracies that 'hanps eval' found. The page needs no network.\n\n"
    "  --out FILE  (RUN/report.html of the first run)\n"
    "  --trace     instead: one file of what the ranks wrote by 'hanps train --trace STEPS', when\n"
    "              the run was started last; https://ui.perfetto.dev and chrome://tracing show it\n"
    "              (RUN/trace/start-NNNN.json)\n";

static hp_status_t write_report(int runs, const char *const *run, const char *path,
                                hp_error_t *err) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *page = open_memstream(&text, &bytes);
    if (page == NULL) return hp_fail_errno(err, HP_MEMORY, "the report");
    hp_status_t status = wk_report(runs, run, page, err);
    if (fclose(page) != 0 && status == HP_OK) status = hp_fail_errno(err, HP_MEMORY, "the report");
    if (status == HP_OK) status = hp_write_file(path, text, bytes, err);
    free(text);
    return status;
}

hp_status_t cli_report(int argc, char **argv, hp_error_t *err) {
    static const struct option table[] = {{"out", required_argument, NULL, 'o'},
                                          {"trace", no_argument, NULL, 't'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    bool trace = false;
    const char *out = NULL;
    char path[HP_RUN_PATH];
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "ho:", table, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return HP_OK;
        }
        if (option == '?') return cli_bad_option(argv, err);
        if (option == 't')
            trace = true;
        else
            out = optarg;
    }
    if (out != NULL) HP_TRY(hp_check_place(out, err));
    int runs = argc - optind;
    if (runs < 1 || runs > WK_REPORT_RUNS)
        return hp_fail(err, HP_INPUT, "%d runs: 1 to %d are allowed", runs, WK_REPORT_RUNS);
    if (trace && runs != 1)
        return hp_fail(err, HP_INPUT, "--trace: one RUN is allowed, not %d", runs);
    if (trace) return cli_trace_merge(argv[optind], out, err);
    HP_TRY(hp_run_path(argv[optind], "report.html", path, err));
    if (out == NULL) out = path;
    HP_TRY(write_report(runs, (const char *const *)argv + optind, out, err));
    printf("%s\n", out);
    return HP_OK;
}
