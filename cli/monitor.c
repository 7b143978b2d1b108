/* hanps monitor: how a run is doing, from its log. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "common/memory.h"
#include "common/run_folder.h"
#include "worker/report/run_log.h"

#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { TAIL = 1 << 19 }; /* bytes of each log that are read */

static const char usage[] =
    "usage: hanps monitor RUN [--follow] [--every S] [--window S]\n\n"
    "A line for each worker and server of a run that goes on or is over: throughput, loss,\n"
    "accuracy, where the time goes, staleness, and who is slow or late.\n\n"
    "  --follow    again and again, until the run is over\n"
    "  --every S   seconds between (2)\n"
    "  --window S  seconds that the figures are taken over (60)\n";

typedef struct {
    const char *run;
    bool follow;
    double every, window;
} arguments_t;

static hp_status_t take_seconds(const cli_option_t *option, char *text, hp_error_t *err) {
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0.1 && value <= 86400))
        return hp_fail(err, HP_INPUT, "--%s %s: seconds from 0.1 to 86400 are allowed",
                       option->name, text);
    *(double *)option->to.any = value;
    return HP_OK;
}

static hp_status_t parse(int argc, char **argv, arguments_t *a, bool *help, hp_error_t *err) {
    const cli_option_t options[] = {CLI_FLAG("follow", &a->follow),
                                    CLI_OTHER("every", take_seconds, &a->every),
                                    CLI_OTHER("window", take_seconds, &a->window),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, help, err));
    if (*help) return HP_OK;
    if (argc - optind != 1)
        return hp_fail(err, HP_INPUT, "%s; see --help",
                       argc > optind ? "one RUN is allowed" : "RUN is missing");
    a->run = argv[optind];
    return HP_OK;
}

static void put_time(double seconds) {
    int64_t s = (int64_t)seconds;
    if (s >= 3600)
        printf("%" PRId64 " h %02" PRId64 " min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        printf("%" PRId64 " min %02" PRId64 " s", s / 60, s % 60);
    else
        printf("%" PRId64 " s", s);
}

/* How long ago, five characters. */
static void put_age(double seconds) {
    if (seconds < 600)
        printf(" %4.0f s", seconds);
    else if (seconds < 36000)
        printf(" %4.0f m", seconds / 60);
    else if (seconds < 864000)
        printf(" %4.0f h", seconds / 3600);
    else
        printf(" %4.0f d", seconds / 86400);
}

/* A number of a table, or a dash where it is not known. */
static void put(int width, int decimals, double value) {
    if (isnan(value))
        printf(" %*s", width, "-");
    else
        printf(" %*.*f", width, decimals, value);
}

static int compare(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

static double median(int n, double *v) {
    qsort(v, (size_t)n, sizeof *v, compare);
    return n > 0 ? v[n / 2] : 0;
}

static void put_run(const arguments_t *a, const hp_run_status_t *status, bool known,
                    const wk_run_log_t *log, const wk_log_window_t *window) {
    double rate = 0, loss = 0, accuracy = 0, time_s = 0, step = 0;
    double repeated = known ? (double)status->units_repeated : 0;
    int workers = 0;
    for (int i = 0; i < log->files; i++) {
        const wk_log_window_t *w = &window[i];
        if (log->file[i].server && w->lines > 0) repeated = fmax(repeated, w->units_repeated);
        if (log->file[i].server || w->lines == 0) continue;
        workers++;
        rate += w->examples_per_s;
        loss += w->loss;
        accuracy += w->accuracy;
        time_s = fmax(time_s, w->time_s);
        step = fmax(step, w->step);
    }
    if (known) step = fmax(step, (double)status->step);
    printf("%s: %s, step %.0f", a->run, known ? hp_run_state_name(status->state) : "no status",
           step);
    if (known && status->steps > 0)
        printf(" of %" PRId64 " (%.0f %%)", status->steps, 100 * step / (double)status->steps);
    printf(", ");
    put_time(time_s);
    if (known && status->state == HP_RUN_RUNNING && step > 0 && (double)status->steps > step) {
        printf(", about ");
        put_time(time_s / step * ((double)status->steps - step));
        printf(" left");
    }
    if (known && status->message[0] != '\0') printf("\n%s", status->message);
    if (workers > 0)
        printf("\nloss %.4f   accuracy %.2f %%   %.1f examples/s by %d worker%s", loss / workers,
               100 * accuracy / workers, rate, workers, workers == 1 ? "" : "s");
    if (repeated > 0) printf("\n%.0f units were computed again after a loss", repeated);
    printf("\n\n");
}

static void put_workers(const wk_run_log_t *log, const wk_log_window_t *window, bool running,
                        double usual) {
    printf("worker  host              step  examples/s    loss  accuracy  cells  stale   data "
           "forward backward   push   pull   wait   seen\n");
    for (int i = 0; i < log->files; i++) {
        const wk_log_file_t *file = &log->file[i];
        const wk_log_window_t *w = &window[i];
        if (file->server) continue;
        printf("%6d  %-14.14s", file->index, file->host);
        if (w->lines == 0) {
            printf("  nothing yet\n");
            continue;
        }
        put(7, 0, w->step);
        put(11, 1, w->examples_per_s);
        put(7, 4, w->loss);
        put(8, 2, 100 * w->accuracy);
        printf("%%");
        put(6, 1, w->cells_mean);
        put(6, 1, w->staleness);
        for (int p = 0; p < WK_LOG_PHASES; p++) {
            put(p == 1 ? 6 : p == 2 ? 7 : 5, 1, 100 * w->share[p]);
            printf("%%");
        }
        put_age(file->age_s);
        if (running && file->age_s > fmax(15, 10 * w->step_s))
            printf("  late");
        else if (usual > 0 && w->examples_per_s < 0.7 * usual)
            printf("  slow");
        if (file->damaged > 0) printf("  %zu damaged lines", file->damaged);
        printf("\n");
    }
}

static void put_servers(const wk_run_log_t *log, const wk_log_window_t *window) {
    bool any = false;
    for (int i = 0; i < log->files; i++) {
        const wk_log_window_t *w = &window[i];
        if (!log->file[i].server || w->lines == 0) continue;
        if (!any) printf("\nserver  updates/s  MB/s in  MB/s out   adam  queue   seen\n");
        any = true;
        printf("%6d ", log->file[i].index);
        put(9, 1, w->updates_per_s);
        put(8, 1, w->received_per_s / 1e6);
        put(9, 1, w->sent_per_s / 1e6);
        put(5, 1, 100 * w->adam_share);
        printf("%%");
        put(6, 0, w->queue);
        put_age(log->file[i].age_s);
        printf("\n");
    }
}

static hp_status_t show_log(const arguments_t *a, const wk_run_log_t *log, bool clear, bool *over,
                            hp_error_t *err) {
    hp_run_status_t status = {0};
    bool known = hp_run_status_read(a->run, &status, NULL) == HP_OK;
    void *windows = NULL, *rates = NULL;
    HP_TRY(hp_allocate(&windows, (size_t)log->files, sizeof(wk_log_window_t), "log", err));
    hp_status_t failed = hp_allocate(&rates, (size_t)log->files, sizeof(double), "log", err);
    if (failed == HP_OK) {
        wk_log_window_t *window = windows;
        double *rate = rates;
        int workers = 0;
        for (int i = 0; i < log->files; i++) {
            window[i] = wk_log_window(&log->file[i], a->window);
            if (!log->file[i].server && window[i].lines > 0)
                rate[workers++] = window[i].examples_per_s;
        }
        *over = !known || status.state != HP_RUN_RUNNING;
        if (clear) fputs("\033[H\033[J", stdout);
        put_run(a, &status, known, log, window);
        put_workers(log, window, !*over, median(workers, rate));
        put_servers(log, window);
        fflush(stdout);
    }
    hp_free(rates);
    hp_free(windows);
    return failed;
}

static hp_status_t show(const arguments_t *a, bool clear, bool *over, hp_error_t *err) {
    wk_run_log_t log = {0};
    HP_TRY(wk_run_log_read(a->run, TAIL, &log, err));
    hp_status_t status = show_log(a, &log, clear, over, err);
    wk_run_log_release(&log);
    return status;
}

hp_status_t cli_monitor(int argc, char **argv, hp_error_t *err) {
    arguments_t a = {.every = 2, .window = 60};
    bool help = false, over = false;
    HP_TRY(parse(argc, argv, &a, &help, err));
    if (help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    HP_TRY(show(&a, a.follow && isatty(STDOUT_FILENO), &over, err));
    while (a.follow && !over) {
        usleep((useconds_t)(1e6 * a.every));
        HP_TRY(show(&a, isatty(STDOUT_FILENO), &over, err));
    }
    return HP_OK;
}
