/* Curves from a run's log, and line charts as SVG. */
#ifndef WK_CHART_H
#define WK_CHART_H

#include "common/status.h"
#include "worker/report/run_log.h"

#include <stdbool.h>
#include <stdio.h>

enum { WK_CHART_COLOURS = 8, WK_CURVE_POINTS = 240 };

typedef struct {
    const char *name; /* the caller's */
    int colour;       /* 0 .. : classes c0 to c7, again and again */
    bool marks;       /* few points: show each */
    int points;
    double x[WK_CURVE_POINTS], y[WK_CURVE_POINTS];
} wk_curve_t;

/* Makes one history of a run that was started several times: time_s goes on from start to start,
 * and lines whose step a later start has done again are dropped. */
hp_status_t wk_run_log_join(wk_run_log_t *log, hp_error_t *err) HP_MUST_CHECK;

/* The mean of a field over all workers, weighted by examples, in at most WK_CURVE_POINTS equal
 * parts of x: WK_LOG_STEP or WK_LOG_TIME. Sets points, x, y. */
void wk_curve(const wk_run_log_t *log, wk_log_field_t x, wk_log_field_t y, wk_curve_t *curve);

typedef struct {
    const char *title, *unit; /* of y */
    const char *class;        /* of the <svg> */
    const char *x;            /* what x is: "step", "minutes" */
    int curves;
    const wk_curve_t *curve;
} wk_chart_t;

/* Writes an <svg>; a note where no curve has a point. */
void wk_chart_svg(FILE *out, const wk_chart_t *chart);

/* 1, 2 or 5 times a power of ten, so that about `count` of them fill `range`. */
double wk_chart_tick(double range, int count);

#endif
