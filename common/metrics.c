#include "common/metrics.h"

#include "common/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct hp_metrics {
    int fd;
    char *path;
    size_t used;
    bool overflow;
    char line[HP_METRICS_LINE];
};

hp_status_t hp_metrics_open(const char *path, hp_metrics_t **metrics_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(hp_metrics_t), "log file", err));
    hp_metrics_t *m = p;
    m->path = hp_strdup(path);
    m->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (m->fd < 0 || m->path == NULL) {
        hp_status_t status = hp_fail_errno(err, HP_IO, "cannot open log file '%s'", path);
        hp_metrics_close(m);
        return status;
    }
    *metrics_p = m;
    return HP_OK;
}

void hp_metrics_close(hp_metrics_t *m) {
    if (m == NULL) return;
    if (m->fd >= 0) close(m->fd);
    hp_free(m->path);
    hp_free(m);
}

/* Append formatted text; three bytes are kept for the end of the line. */
static void HP_PRINTF(2, 3) put(hp_metrics_t *m, const char *fmt, ...) {
    size_t space = sizeof m->line - 3 - m->used;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(m->line + m->used, space, fmt, args);
    va_end(args);
    if (n < 0 || (size_t)n >= space)
        m->overflow = true;
    else
        m->used += (size_t)n;
}

static void put_key(hp_metrics_t *m, const char *key) {
    put(m, "%s\"%s\":", m->used == 0 ? "{" : ",", key);
}

void hp_metrics_int(hp_metrics_t *m, const char *key, int64_t value) {
    put_key(m, key);
    put(m, "%" PRId64, value);
}

void hp_metrics_real(hp_metrics_t *m, const char *key, double value) {
    put_key(m, key);
    if (isfinite(value))
        put(m, "%.9g", value);
    else
        put(m, "null");
}

void hp_metrics_bool(hp_metrics_t *m, const char *key, bool value) {
    put_key(m, key);
    put(m, "%s", value ? "true" : "false");
}

void hp_metrics_text(hp_metrics_t *m, const char *key, const char *value) {
    put_key(m, key);
    put(m, "\"");
    for (const unsigned char *c = (const unsigned char *)value; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\')
            put(m, "\\%c", *c);
        else if (*c < 0x20)
            put(m, "\\u%04x", *c);
        else
            put(m, "%c", *c);
    }
    put(m, "\"");
}

void hp_metrics_ints(hp_metrics_t *m, const char *key, int n, const int64_t *value) {
    put_key(m, key);
    put(m, "[");
    for (int i = 0; i < n; i++) put(m, "%s%" PRId64, i == 0 ? "" : ",", value[i]);
    put(m, "]");
}

hp_status_t hp_metrics_line(hp_metrics_t *m, hp_error_t *err) {
    bool overflow = m->overflow;
    size_t n = m->used;
    m->used = 0;
    m->overflow = false;
    if (overflow)
        return hp_fail(err, HP_INTERNAL, "log file '%s': a line is longer than %d bytes", m->path,
                       HP_METRICS_LINE);
    if (n == 0) m->line[n++] = '{';
    m->line[n++] = '}';
    m->line[n++] = '\n';
    for (size_t done = 0; done < n;) {
        ssize_t wrote = write(m->fd, m->line + done, n - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return hp_fail_errno(err, HP_IO, "cannot write log file '%s'", m->path);
        done += (size_t)wrote;
    }
    return HP_OK;
}
