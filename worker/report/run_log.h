/* The log of a run, read back: RUN/log/worker-*.jsonl and server-*.jsonl, a row a line. */
#ifndef WK_RUN_LOG_H
#define WK_RUN_LOG_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The numbers that are kept of a line; one that a line does not have is NaN. */
#define WK_LOG_MAP(X)                                                                              \
    X(STEP, "step")                                                                                \
    X(START, "start")                                                                              \
    X(TIME, "time_s")                                                                              \
    X(EXAMPLES, "examples")                                                                        \
    X(EXAMPLES_PER_S, "examples_per_s")                                                            \
    X(LOSS, "loss")                                                                                \
    X(ACCURACY, "accuracy")                                                                        \
    X(STEP_S, "step_s")                                                                            \
    X(DATA_S, "data_s")                                                                            \
    X(FORWARD_S, "forward_s")                                                                      \
    X(BACKWARD_S, "backward_s")                                                                    \
    X(PUSH_S, "push_s")                                                                            \
    X(PULL_S, "pull_s")                                                                            \
    X(WAIT_S, "wait_s")                                                                            \
    X(PUSHED_BYTES, "pushed_bytes")                                                                \
    X(PULLED_BYTES, "pulled_bytes")                                                                \
    X(STALENESS, "staleness")                                                                      \
    X(CELLS_MEAN, "cells_mean")                                                                    \
    X(UPDATES, "updates")                                                                          \
    X(UPDATES_PER_S, "updates_per_s")                                                              \
    X(RECEIVED_BYTES, "received_bytes")                                                            \
    X(SENT_BYTES, "sent_bytes")                                                                    \
    X(ADAM_S, "adam_s")                                                                            \
    X(QUEUE, "queue")                                                                              \
    X(UNITS_REPEATED, "units_repeated")

typedef enum {
#define WK_LOG_ENUM(name, key) WK_LOG_##name,
    WK_LOG_MAP(WK_LOG_ENUM)
#undef WK_LOG_ENUM
        WK_LOG_FIELDS
} wk_log_field_t;

typedef struct {
    double value[WK_LOG_FIELDS];
} wk_log_line_t;

typedef struct {
    bool server;
    int index;     /* of the worker or server */
    char host[64]; /* "" where the log does not say */
    double age_s;  /* since the file was last written */
    size_t lines;
    wk_log_line_t *line; /* [lines], in the order of the file */
    size_t damaged;      /* lines that are no JSON object; the last may be half-written */
} wk_log_file_t;

typedef struct {
    int files;
    wk_log_file_t *file; /* workers first, by number */
} wk_run_log_t;

/* Reads all of each file, or about its last `tail` bytes (0: all). HP_INPUT: RUN has no log.
 * Release with wk_run_log_release, which is fine on a zeroed struct. */
hp_status_t wk_run_log_read(const char *run, size_t tail, wk_run_log_t *log,
                            hp_error_t *err) HP_MUST_CHECK;
void wk_run_log_release(wk_run_log_t *log);

/* What a rank did in its last seconds, within its last start. What cannot be told is NaN. */
enum { WK_LOG_PHASES = 6 }; /* data, forward, backward, push, pull, wait */

typedef struct {
    size_t lines; /* 0: it has logged nothing */
    double step, time_s;
    double loss, accuracy, cells_mean, staleness;                        /* means over examples */
    double examples_per_s, step_s;                                       /* step_s: mean */
    double share[WK_LOG_PHASES];                                         /* of its time */
    double updates_per_s, received_per_s, sent_per_s, adam_share, queue; /* of a server */
    double units_repeated;                                               /* of server 0 */
} wk_log_window_t;

wk_log_window_t wk_log_window(const wk_log_file_t *file, double seconds);

#endif
