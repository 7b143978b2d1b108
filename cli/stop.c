/* hanps stop: asks a run, wherever it is, for a checkpoint and its end. */
#include "cli/command.h"
#include "common/file.h"
#include "common/run_folder.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static const char usage[] = "usage: hanps stop RUN [--no-wait]\n\n"
                            "Asks the run for a checkpoint and its end, from any machine that sees "
                            "the run's folder: makes\n"
                            "RUN/stop, which server 0 looks for and removes. Waits until "
                            "RUN/status says how the run ended. A run that failed is not started "
                            "again by deploy/supervise.\n"
                            "Exit status 0: it was stopped, or had ended; 3: it failed or died.\n\n"
                            "  --no-wait  return as soon as the run is asked\n";

enum { POLL_MS = 200 };

static void nap(void) {
    struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
    nanosleep(&pause, NULL);
}

static hp_status_t report(const char *run, const hp_run_status_t *s, hp_error_t *err) {
    if (s->state == HP_RUN_FAILED)
        return hp_fail(err, HP_PEER, "%s failed at step %" PRId64 ": %s", run, s->step, s->message);
    printf("%s: %s at step %" PRId64 "\n", run, hp_run_state_name(s->state), s->step);
    return HP_OK;
}

/* A status "running" that nobody stands behind. The second look: the run may just have ended. */
static hp_status_t report_death(const char *run, const char *request, hp_run_status_t *s,
                                hp_error_t *err) {
    HP_TRY(hp_run_status_read(run, s, err));
    unlink(request); /* or the next start would stop at once */
    if (s->state != HP_RUN_RUNNING) return report(run, s, err);
    return hp_fail(err, HP_PEER,
                   "%s does not run: process %" PRId64
                   " on %s died; train --resume goes on from the "
                   "last checkpoint",
                   run, s->pid, s->host);
}

/* The run itself is asked. *over_p: it runs no more, or did not; else it was started again, or
 * nobody waits for its end. */
static hp_status_t stop_run(const char *run, const char *request, bool wait, bool *over_p,
                            hp_run_status_t *s, hp_error_t *err) {
    bool held = false;
    HP_TRY(hp_run_status_read(run, s, err));
    *over_p = s->state != HP_RUN_RUNNING;
    if (*over_p) return HP_OK;
    HP_TRY(hp_run_held(run, &held, err));
    *over_p = !held;
    if (*over_p) return HP_OK;
    HP_TRY(hp_write_file(request, "", 0, err));
    for (int64_t start = s->start; wait && !*over_p;) {
        nap();
        HP_TRY(hp_run_status_read(run, s, err));
        if (s->state == HP_RUN_RUNNING && s->start != start)
            return hp_run_supervised(run)
                       ? HP_OK
                       : hp_fail(err, HP_PEER, "%s was started again meanwhile; it runs", run);
        if (s->state == HP_RUN_RUNNING) HP_TRY(hp_run_held(run, &held, err));
        *over_p = s->state != HP_RUN_RUNNING || !held;
    }
    return HP_OK;
}

/* deploy/supervise would start the run again: it finds the request first, or the run is asked when
 * it has begun. */
static bool may_begin_again(const char *run, const hp_run_status_t *s) {
    return (s->state == HP_RUN_RUNNING || (s->state == HP_RUN_FAILED && s->requeue)) &&
           hp_run_supervised(run);
}

static hp_status_t stop(const char *run, bool wait, hp_error_t *err) {
    char request[HP_RUN_PATH];
    hp_run_status_t s;
    bool over = false, asked = false;
    HP_TRY(hp_run_path(run, "stop", request, err));
    for (;; nap()) {
        HP_TRY(stop_run(run, request, wait, &over, &s, err));
        if (over && !may_begin_again(run, &s)) break;
        if (over && !asked) HP_TRY(hp_write_file(request, "", 0, err));
        asked = true;
        if (!wait) {
            printf("%s: asked to stop\n", run);
            return HP_OK;
        }
    }
    if (asked) unlink(request);
    return s.state == HP_RUN_RUNNING ? report_death(run, request, &s, err) : report(run, &s, err);
}

hp_status_t cli_stop(int argc, char **argv, hp_error_t *err) {
    static const struct option options[] = {
        {"no-wait", no_argument, NULL, 'n'}, {"help", no_argument, NULL, 'h'}, {0}};
    bool wait = true;
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(usage, stdout);
            return HP_OK;
        }
        if (option == '?')
            return hp_fail(err, HP_INPUT, "%s: no such option; see --help", argv[optind - 1]);
        wait = false;
    }
    if (argc - optind != 1)
        return hp_fail(err, HP_INPUT, "%s; see --help",
                       argc > optind ? "one RUN is allowed" : "RUN is missing");
    return stop(argv[optind], wait, err);
}
