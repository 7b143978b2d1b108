/* JSON Lines: what a rank logs. A line is built in a fixed buffer and written with one call, so
 * that a reader never sees two lines mixed, and a process that dies loses nothing it had written.
 * Not for several threads at once. */
#ifndef HP_METRICS_H
#define HP_METRICS_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

#define HP_METRICS_LINE 8192 /* bytes of the longest line */

typedef struct hp_metrics hp_metrics_t;

/* Appends to `path`, creating it. */
hp_status_t hp_metrics_open(const char *path, hp_metrics_t **metrics_p,
                            hp_error_t *err) HP_MUST_CHECK;
void hp_metrics_close(hp_metrics_t *metrics); /* NULL is fine */

/* Fields of the line that is being built, in the order of the calls. A number that is not finite
 * becomes null. */
void hp_metrics_int(hp_metrics_t *metrics, const char *key, int64_t value);
void hp_metrics_real(hp_metrics_t *metrics, const char *key, double value); /* 9 digits */
void hp_metrics_bool(hp_metrics_t *metrics, const char *key, bool value);
void hp_metrics_text(hp_metrics_t *metrics, const char *key, const char *value);
void hp_metrics_ints(hp_metrics_t *metrics, const char *key, int n, const int64_t *value);

/* Ends the line and writes it; the next field begins a new one. HP_IO: the line is lost, later
 * lines may succeed (a full disk that was cleared). HP_INTERNAL: longer than HP_METRICS_LINE. */
hp_status_t hp_metrics_line(hp_metrics_t *metrics, hp_error_t *err) HP_MUST_CHECK;

#endif
