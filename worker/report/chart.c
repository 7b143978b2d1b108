#include "worker/report/chart.h"

#include "common/memory.h"
#include "worker/report/html.h"

#include <math.h>
#include <string.h>

/* ---- curves ---- */

typedef struct {
    double first_step, last_time, offset;
} start_t;

static int start_of(const wk_log_line_t *line) {
    double start = line->value[WK_LOG_START];
    return start >= 1 && start <= 100000 ? (int)start : 1;
}

static void gather_starts(const wk_run_log_t *log, int starts, start_t *start) {
    for (int s = 0; s <= starts; s++) start[s] = (start_t){.first_step = INFINITY};
    for (int f = 0; f < log->files; f++)
        for (size_t i = 0; i < log->file[f].lines; i++) {
            const wk_log_line_t *line = &log->file[f].line[i];
            start_t *s = &start[start_of(line)];
            s->last_time = fmax(s->last_time, line->value[WK_LOG_TIME]);
            if (!log->file[f].server) s->first_step = fmin(s->first_step, line->value[WK_LOG_STEP]);
        }
    double again = INFINITY; /* the first step that a later start has done */
    for (int s = starts; s >= 0; s--) {
        double own = start[s].first_step;
        start[s].first_step = again;
        again = fmin(again, own);
    }
    for (int s = 1; s <= starts; s++)
        start[s].offset = start[s - 1].offset + start[s - 1].last_time;
}

hp_status_t wk_run_log_join(wk_run_log_t *log, hp_error_t *err) {
    int starts = 1;
    for (int f = 0; f < log->files; f++)
        for (size_t i = 0; i < log->file[f].lines; i++) {
            int s = start_of(&log->file[f].line[i]);
            starts = s > starts ? s : starts;
        }
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)starts + 1, sizeof(start_t), "starts of the run", err));
    start_t *start = p;
    gather_starts(log, starts, start);
    for (int f = 0; f < log->files; f++) {
        wk_log_file_t *file = &log->file[f];
        size_t kept = 0;
        for (size_t i = 0; i < file->lines; i++) {
            wk_log_line_t line = file->line[i];
            const start_t *s = &start[start_of(&line)];
            if (!file->server && line.value[WK_LOG_STEP] >= s->first_step) continue;
            line.value[WK_LOG_TIME] += s->offset;
            file->line[kept++] = line;
        }
        file->lines = kept;
    }
    hp_free(start);
    return HP_OK;
}

void wk_curve(const wk_run_log_t *log, wk_log_field_t x, wk_log_field_t y, wk_curve_t *curve) {
    double end = 0, weight[WK_CURVE_POINTS] = {0};
    bool rate =
        y == WK_LOG_EXAMPLES_PER_S; /* examples by time: the mean of what one example took */
    size_t longest = 0;
    for (int f = 0; f < log->files; f++) {
        if (log->file[f].server) continue;
        if (log->file[f].lines > longest) longest = log->file[f].lines;
        for (size_t i = 0; i < log->file[f].lines; i++)
            end = fmax(end, log->file[f].line[i].value[x]);
    }
    int parts = longest < WK_CURVE_POINTS ? (int)longest : WK_CURVE_POINTS;
    memset(curve->x, 0, sizeof curve->x);
    memset(curve->y, 0, sizeof curve->y);
    for (int f = 0; f < log->files && end > 0; f++)
        for (size_t i = 0; i < log->file[f].lines && !log->file[f].server; i++) {
            const double *v = log->file[f].line[i].value;
            double w = v[WK_LOG_EXAMPLES] > 0 ? v[WK_LOG_EXAMPLES] : 1;
            if (isnan(v[x]) || isnan(v[y]) || v[x] < 0 || (rate && v[y] <= 0)) continue;
            int part = (int)(v[x] / end * parts);
            if (part >= parts) part = parts - 1;
            curve->x[part] += w * v[x];
            curve->y[part] += rate ? w / v[y] : w * v[y];
            weight[part] += w;
        }
    curve->points = 0;
    for (int part = 0; part < parts; part++) {
        if (weight[part] <= 0) continue;
        curve->x[curve->points] = curve->x[part] / weight[part];
        double mean = curve->y[part] / weight[part];
        curve->y[curve->points++] = rate ? 1 / mean : mean;
    }
}

/* ---- charts ---- */

enum { WIDTH = 640, HEIGHT = 300, LEFT = 58, RIGHT = 14, TOP = 12, BOTTOM = 34 };

typedef struct {
    double x0, x1, y0, y1; /* what the frame shows */
} frame_t;

static double to_x(const frame_t *f, double x) {
    return LEFT + (x - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}

static double to_y(const frame_t *f, double y) {
    return HEIGHT - BOTTOM - (y - f->y0) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

double wk_chart_tick(double range, int count) {
    double rough = range / count, power = pow(10, floor(log10(rough)));
    double digit = rough / power;
    return power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
}

static bool find_frame(const wk_chart_t *chart, frame_t *f) {
    *f = (frame_t){0, -INFINITY, INFINITY, -INFINITY};
    for (int c = 0; c < chart->curves; c++)
        for (int i = 0; i < chart->curve[c].points; i++) {
            f->x1 = fmax(f->x1, chart->curve[c].x[i]);
            f->y0 = fmin(f->y0, chart->curve[c].y[i]);
            f->y1 = fmax(f->y1, chart->curve[c].y[i]);
        }
    if (!isfinite(f->x1) || !isfinite(f->y0) || !isfinite(f->y1)) return false;
    if (f->x1 <= 0) f->x1 = 1;
    if (f->y0 > 0 && f->y0 < 0.5 * f->y1) f->y0 = 0; /* zero is near: show it */
    if (f->y1 <= f->y0) { /* one value: put it inside a frame that begins at zero */
        double y = f->y1;
        f->y0 = y < 0 ? 1.25 * y : 0;
        f->y1 = y > 0 ? 1.25 * y : y < 0 ? 0 : 1;
    }
    double tick = wk_chart_tick(f->y1 - f->y0, 4);
    f->y0 = tick * floor(f->y0 / tick + 1e-9);
    f->y1 = tick * ceil(f->y1 / tick - 1e-9);
    return true;
}

static void put_axes(FILE *out, const wk_chart_t *chart, const frame_t *f) {
    double tick = wk_chart_tick(f->y1 - f->y0, 4);
    fputs("<g class=\"axis\">", out);
    for (int i = 0; f->y0 + i * tick <= f->y1 + tick / 2; i++) {
        double y = f->y0 + i * tick;
        if (fabs(y) < tick / 1000) y = 0;
        fprintf(
            out,
            "<path d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>",
            LEFT, to_y(f, y), WIDTH - RIGHT, LEFT - 8, to_y(f, y) + 4, y);
    }
    tick = wk_chart_tick(f->x1 - f->x0, 6);
    for (int i = 0; to_x(f, f->x0 + i * tick) < WIDTH - RIGHT - 60; i++)
        fprintf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>",
                to_x(f, f->x0 + i * tick), HEIGHT - BOTTOM + 20, f->x0 + i * tick);
    fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" class=\"what\">", WIDTH - RIGHT,
            HEIGHT - BOTTOM + 20);
    wk_html_text(out, chart->x);
    fputs("</text></g>", out);
}

static void put_curve(FILE *out, const wk_curve_t *curve, const frame_t *f) {
    int colour = curve->colour % WK_CHART_COLOURS;
    if (curve->points == 0) return;
    fprintf(out, "<g class=\"c%d\"><title>", colour);
    wk_html_text(out, curve->name);
    fputs("</title><path class=\"curve\" d=\"", out);
    for (int i = 0; i < curve->points; i++)
        fprintf(out, "%c%.1f %.1f", i == 0 ? 'M' : 'L', to_x(f, curve->x[i]), to_y(f, curve->y[i]));
    fputs("\"/>", out);
    for (int i = 0; i < curve->points && (curve->marks || curve->points == 1); i++)
        fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>", to_x(f, curve->x[i]),
                to_y(f, curve->y[i]));
    fputs("</g>", out);
}

void wk_chart_svg(FILE *out, const wk_chart_t *chart) {
    frame_t frame;
    if (!find_frame(chart, &frame)) {
        fprintf(out, "<p class=\"soft %s\">nothing logged</p>\n", chart->class);
        return;
    }
    fprintf(out, "<svg class=\"chart %s\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"",
            chart->class, WIDTH, HEIGHT);
    wk_html_text(out, chart->title);
    fputs("\">", out);
    put_axes(out, chart, &frame);
    for (int c = 0; c < chart->curves; c++) put_curve(out, &chart->curve[c], &frame);
    fputs("</svg>\n", out);
}
