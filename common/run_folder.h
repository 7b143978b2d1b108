/* The folder of a run: RUN/config.yaml, checkpoints/, log/, eval/, ranks/, `lock` and `status`.
 *
 * RUN/status is one JSON object that scripts and supervisors read. It is replaced atomically:
 *   {"state": "running"|"done"|"stopped"|"failed", "step", "steps", "checkpoint", "units_repeated",
 *    "start", "host", "pid", "time", "requeue": true|false, "message": "..."}
 * `checkpoint` is the step of the newest checkpoint when the status was written, -1 where there was
 * none; a start that finds none any more is refused.
 * `start` counts how often the run was started (1 the first time); log lines carry it too. `time`
 * is seconds since 1970. `requeue` says whether starting again with --resume makes sense.
 * `units_repeated` counts batches that were handed out again, after a loss, though some server may
 * have used them, in all starts; it is known at the end. A status that says "running" while nobody
 * holds the lock was left by a run that died. */
#ifndef HP_RUN_FOLDER_H
#define HP_RUN_FOLDER_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HP_RUN_PATH 4096

typedef enum { HP_RUN_RUNNING, HP_RUN_DONE, HP_RUN_STOPPED, HP_RUN_FAILED } hp_run_state_t;

typedef struct {
    hp_run_state_t state;
    int64_t step, steps; /* reached, and where the run ends */
    int64_t checkpoint;  /* newest then; -1: none */
    int64_t units_repeated;
    int64_t start;
    char host[256];
    int64_t pid;
    double time;
    bool requeue;
    char message[512]; /* why it failed or stopped; "" */
} hp_run_status_t;

typedef struct hp_run_lock hp_run_lock_t;

/* "RUN/name" into out[HP_RUN_PATH]; too long is HP_INPUT. */
hp_status_t hp_run_path(const char *run, const char *name, char *out,
                        hp_error_t *err) HP_MUST_CHECK;

/* Make a new run's folder with its subfolders and take its lock. HP_INPUT: it exists, or cannot be
 * made. An empty folder may be used, and one in which a run died before it had begun. */
hp_status_t hp_run_create(const char *run, hp_run_lock_t **lock_p, hp_error_t *err) HP_MUST_CHECK;

/* Undo hp_run_create: a run that could not start leaves nothing. Removes what is known to be there,
 * and no folder that holds anything else. The lock is released. */
void hp_run_discard(const char *run, hp_run_lock_t *lock);

/* Take the lock of a run that exists. HP_INPUT: no such run, or another process uses it (named). */
hp_status_t hp_run_open(const char *run, hp_run_lock_t **lock_p, hp_error_t *err) HP_MUST_CHECK;

/* Does some process hold the run's lock? */
hp_status_t hp_run_held(const char *run, bool *held_p, hp_error_t *err) HP_MUST_CHECK;

/* Is there a deploy/supervise that may start the run again? It holds RUN/supervise by flock. */
bool hp_run_supervised(const char *run);

/* The lock is released, also when the process dies. NULL is fine. */
void hp_run_unlock(hp_run_lock_t *lock);

/* Write a whole file RUN/name: to a temporary name, synced, renamed. */
hp_status_t hp_run_write_file(const char *run, const char *name, const char *text, size_t bytes,
                              hp_error_t *err) HP_MUST_CHECK;

hp_status_t hp_run_status_write(const char *run, const hp_run_status_t *status,
                                hp_error_t *err) HP_MUST_CHECK;
hp_status_t hp_run_status_read(const char *run, hp_run_status_t *status,
                               hp_error_t *err) HP_MUST_CHECK;
const char *hp_run_state_name(hp_run_state_t state);

/* Is the folder the same for all ranks? Rank 0 leaves a token, every other rank looks for it (for a
 * few seconds: network file systems are lazy), and rank 0 removes it when the run ends. */
hp_status_t hp_run_probe_leave(const char *run, uint64_t token, hp_error_t *err) HP_MUST_CHECK;
hp_status_t hp_run_probe_find(const char *run, uint64_t token, hp_error_t *err) HP_MUST_CHECK;
void hp_run_probe_remove(const char *run, uint64_t token);

#endif
