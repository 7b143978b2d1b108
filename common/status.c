#include "common/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *text;
    int code;
} status_table[HP_STATUS_COUNT] = {
#define HP_STATUS_ROW(name, code, text) {#name, text, code},
    HP_STATUS_MAP(HP_STATUS_ROW)
#undef HP_STATUS_ROW
};

/* The text is one line that a terminal shows as it is, whatever a file or a name put into it. */
static void write_text(hp_error_t *err, const char *fmt, va_list args) {
    vsnprintf(err->text, sizeof err->text, fmt, args);
    for (char *c = err->text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
}

hp_status_t(hp_fail)(hp_error_t *err, hp_status_t status, const char *fmt, ...) {
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        err->status = status;
        err->told = false;
        write_text(err, fmt, args);
        va_end(args);
    }
    return status;
}

hp_status_t hp_fail_errno(hp_error_t *err, hp_status_t status, const char *fmt, ...) {
    int saved = errno;
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        err->status = status;
        err->told = false;
        write_text(err, fmt, args);
        va_end(args);
        size_t n = strlen(err->text);
        char buffer[128];
        snprintf(err->text + n, sizeof err->text - n, ": %s",
                 strerror_r(saved, buffer, sizeof buffer));
    }
    return status;
}

hp_status_t hp_fail_prefix(hp_error_t *err, const char *fmt, ...) {
    if (err == NULL) return HP_INTERNAL;
    char old[sizeof err->text];
    memcpy(old, err->text, sizeof old);
    va_list args;
    va_start(args, fmt);
    write_text(err, fmt, args);
    va_end(args);
    size_t n = strlen(err->text);
    snprintf(err->text + n, sizeof err->text - n, ": %.*s", (int)(sizeof old - 1), old);
    return err->status;
}

const char *hp_status_name(hp_status_t status) {
    return (unsigned)status < HP_STATUS_COUNT ? status_table[status].name : "?";
}

const char *hp_status_text(hp_status_t status) {
    return (unsigned)status < HP_STATUS_COUNT ? status_table[status].text : "?";
}

int hp_status_exit_code(hp_status_t status) {
    return (unsigned)status < HP_STATUS_COUNT ? status_table[status].code : 3;
}
