#include "common/log.h"

#include "common/memory.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

struct hp_log {
    char who[64];
    hp_log_level_t level;
};

hp_status_t hp_log_open(const char *who, hp_log_level_t level, hp_log_t **log_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(hp_log_t), "log", err));
    hp_log_t *log = p;
    snprintf(log->who, sizeof log->who, "%s", who);
    log->level = level;
    *log_p = log;
    return HP_OK;
}

void hp_log_rename(hp_log_t *log, const char *who) {
    if (log != NULL) snprintf(log->who, sizeof log->who, "%s", who);
}

void hp_log_close(hp_log_t *log) { hp_free(log); }

void hp_log(hp_log_t *log, hp_log_level_t level, const char *fmt, ...) {
    static const char *const name[] = {"error: ", "warning: ", "", "debug: "};
    if (log == NULL || level > log->level) return;
    char line[1400];
    struct timespec now;
    struct tm local;
    clock_gettime(CLOCK_REALTIME, &now);
    localtime_r(&now.tv_sec, &local);
    size_t n = strftime(line, sizeof line, "%H:%M:%S ", &local);
    n += (size_t)snprintf(line + n, sizeof line - n, "%s: %s", log->who, name[level]);
    va_list args;
    va_start(args, fmt);
    vsnprintf(line + n, sizeof line - n - 1, fmt, args);
    va_end(args);
    memcpy(line + strlen(line), "\n", 2);
    fputs(line, stderr); /* one call a line: stdio locks the stream */
}
