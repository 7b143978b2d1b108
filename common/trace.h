/* A trace: what the threads of a rank did, and when, in Chrome's trace event format, which
 * chrome://tracing and https://ui.perfetto.dev show. A rank's part of it is a file of its own,
 * RUN/trace/start-NNNN/rank-RRRR-of-NNNN.json; docs/trace.md describes it.
 *
 * A row is written by one thread. Its spans go to memory allocated with the row; what does not fit
 * is counted and dropped. Everything takes NULL, which is no trace: then a span costs one branch.
 * The file may be written while other threads still add spans: it holds those that were there. */
#ifndef HP_TRACE_H
#define HP_TRACE_H

#include "common/log.h"
#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Name and category. Names are those of the log's seconds. */
#define HP_TRACE_MAP(X)                                                                            \
    X(STEP, "step", "step")                                                                        \
    X(FORWARD, "forward", "compute")                                                               \
    X(BACKWARD, "backward", "compute")                                                             \
    X(EVALUATE, "evaluate", "compute")                                                             \
    X(DATA, "data", "wait")                                                                        \
    X(READ, "read", "data")                                                                        \
    X(WAIT, "wait", "wait")                                                                        \
    X(PULL_WAIT, "pull", "wait")                                                                   \
    X(PUSH_WAIT, "push", "wait")                                                                   \
    X(PACK, "pack", "push")                                                                        \
    X(PUSH, "push", "push")                                                                        \
    X(PULL, "pull", "pull")                                                                        \
    X(SUM, "sum", "adam")                                                                          \
    X(ADAM, "adam", "adam")                                                                        \
    X(CHECKPOINT, "checkpoint", "checkpoint")

typedef enum {
#define HP_TRACE_ENUM(name, text, category) HP_TRACE_##name,
    HP_TRACE_MAP(HP_TRACE_ENUM)
#undef HP_TRACE_ENUM
        HP_TRACE_KINDS
} hp_trace_kind_t;

enum { HP_TRACE_STEPS = 1000 }; /* the most that can be asked for */

#define HP_TRACE_UNNUMBERED UINT64_MAX

typedef struct hp_trace hp_trace_t;
typedef struct hp_trace_row hp_trace_row_t;

typedef struct {
    const char *run;
    int64_t start; /* of the run, as in its log */
    int rank, ranks;
    const char *role; /* "server 0" */
    const char *host;
    int steps;     /* that the trace is of */
    double zero;   /* the trace's time 0, by hp_clock of rank 0 */
    double offset; /* rank 0's hp_clock less this rank's */
    double error;  /* of `offset`, seconds; below 0: it is not known */
} hp_trace_options_t;

/* Strings are copied. */
hp_status_t hp_trace_create(const hp_trace_options_t *options, hp_trace_t **trace_p,
                            hp_error_t *err) HP_MUST_CHECK;

/* After the last thread that writes to a row has ended. Called by the thread that calls
 * hp_trace_end, or after it. NULL is fine. */
void hp_trace_destroy(hp_trace_t *trace);

int hp_trace_steps(const hp_trace_t *trace); /* 0 where there is none */

/* A row for one thread, shown as `lanes` lines: "NAME", or "NAME 0", "NAME 1", ... Spans of one
 * lane must nest or lie beside one another. argument: what the number is that spans carry. Room for
 * `spans`. *row_p is NULL where trace is. Before the trace is written, not for several threads. */
hp_status_t hp_trace_row(hp_trace_t *trace, const char *name, const char *argument, int lanes,
                         size_t spans, hp_trace_row_t **row_p, hp_error_t *err) HP_MUST_CHECK;

/* begin, end: hp_clock. number: or HP_TRACE_UNNUMBERED. worker: whose it is; -1: not said. */
void hp_trace_add(hp_trace_row_t *row, int lane, hp_trace_kind_t kind, double begin, double end,
                  uint64_t number, int worker);

/* The same, and one that goes on where the one before ended is made one with it. Only for a row
 * whose thread also ends the trace. */
void hp_trace_extend(hp_trace_row_t *row, hp_trace_kind_t kind, double begin, double end,
                     uint64_t number);

static inline void hp_trace_span(hp_trace_row_t *row, hp_trace_kind_t kind, double begin,
                                 double end, uint64_t number) {
    if (row != NULL) hp_trace_add(row, 0, kind, begin, end, number, -1);
}

/* The trace is over: no span is added any more, the file is written. Only the first call of this or
 * of hp_trace_end does anything; *path_p, which may be NULL, is then the file's path, else NULL. */
hp_status_t hp_trace_finish(hp_trace_t *trace, const char **path_p, hp_error_t *err) HP_MUST_CHECK;

/* The same beside training, in a thread that hp_trace_destroy waits for: a folder that all hosts
 * share may be slow. How it went is told to `log`, which must outlive the trace: a trace that
 * cannot be written ends no training. */
void hp_trace_end(hp_trace_t *trace, hp_log_t *log);

/* A run's folder of parts, "RUN/trace/start-NNNN", into out[HP_RUN_PATH]. */
hp_status_t hp_trace_folder(const char *run, int64_t start, char *out,
                            hp_error_t *err) HP_MUST_CHECK;

#endif
