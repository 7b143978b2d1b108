/* The program's log: one line an event, `time role rank message`. A rank's log is a value that is
 * passed down; there is no global. Safe from several threads. */
#ifndef HP_LOG_H
#define HP_LOG_H

#include "common/status.h"

typedef enum { HP_LOG_ERROR, HP_LOG_WARN, HP_LOG_INFO, HP_LOG_DEBUG } hp_log_level_t;

typedef struct hp_log hp_log_t;

/* Writes to stderr, prefixed with `who` ("server 0", "worker 3"). */
hp_status_t hp_log_open(const char *who, hp_log_level_t level, hp_log_t **log_p,
                        hp_error_t *err) HP_MUST_CHECK;
/* Another `who` from here on; not while another thread may write to the log. */
void hp_log_rename(hp_log_t *log, const char *who);
void hp_log_close(hp_log_t *log);
void hp_log(hp_log_t *log, hp_log_level_t level, const char *fmt, ...) HP_PRINTF(3, 4);

#endif
