/* The table of finished runs, from what `hanps eval` left in them: a row for each model, with the
 * cells it used and its accuracy overall and by answer type; mean and deviation over runs that
 * differ in nothing but the seed; and how far each row lies from the first, with a confidence
 * interval of the paired bootstrap (Efron 1979, percentile). What is drawn again, with replacement,
 * are the images, each with all its questions, which share its difficulties; both rows are scored
 * on the same draw. The interval is about the questions: the runs' seeds are averaged before. */
#ifndef WK_TABLE_H
#define WK_TABLE_H

#include "common/status.h"
#include "worker/metric.h"

#include <stdint.h>
#include <stdio.h>

enum { WK_TABLE_RUNS = 256, WK_TABLE_NAME = 160 };

typedef struct {
    int runs;
    const char *const *run;
    const char *split; /* NULL: the one that was evaluated */
    int64_t step;      /* -1: the newest that was evaluated */
    int metric;        /* a wk_metric_t; -1: what the first run was scored by */
    int samples;       /* of the bootstrap; 0: no intervals */
    uint64_t seed;     /* of the bootstrap */
} wk_table_options_t;

/* Percent. */
typedef struct {
    double mean;
    double deviation;             /* over runs, n - 1 in the denominator; NaN for one run */
    double difference, low, high; /* to the first row, and 95 % of it; NaN in the first row */
} wk_table_cell_t;

typedef struct {
    char name[WK_TABLE_NAME];
    int runs, first_run; /* how many; index of the first in the options */
    double cells_mean;
    wk_table_cell_t *cell; /* [columns] */
} wk_table_row_t;

typedef struct {
    char split[64];
    wk_metric_t metric;
    uint64_t questions, images;
    int samples;
    int columns; /* overall, then the answer types */
    char **column;
    int rows;
    wk_table_row_t *row; /* in the order of their first runs */
} wk_table_t;

typedef enum { WK_TABLE_TEXT, WK_TABLE_MARKDOWN, WK_TABLE_CSV } wk_table_format_t;

/* HP_INPUT: a run without an evaluation of the split; runs scored on different questions; a run
 * that is given twice. Release with wk_table_release, which is fine on a zeroed struct. */
hp_status_t wk_table_make(const wk_table_options_t *options, wk_table_t *table,
                          hp_error_t *err) HP_MUST_CHECK;
void wk_table_write(const wk_table_t *table, wk_table_format_t format, FILE *out);
void wk_table_release(wk_table_t *table);

#endif
