/* What hanps plan found: the table, and the same as JSON. */
#ifndef CLI_PLAN_REPORT_H
#define CLI_PLAN_REPORT_H

#include "cli/plan_rates.h"

enum { PLAN_ROWS = 32, PLAN_TEXT = 96 };

typedef struct {
    plan_layout_t layout;
    plan_result_t result;
    double speedup; /* over a worker that only computes */
    char advice[PLAN_TEXT];
    double gain; /* of the advice: examples/s with it over those without; 1: none */
} plan_row_t;

typedef struct {
    const char *path; /* of the configuration */
    const hp_config_t *config;
    const hp_params_t *params;
    const plan_shape_t *shape;
    const plan_measured_t *measured;
    const char *rates; /* file that they were read from; NULL: measured now */
    double bandwidth, latency;
    int rows;
    plan_row_t row[PLAN_ROWS];
} plan_report_t;

const char *plan_bottleneck(const plan_result_t *result); /* in words */
void plan_print(const plan_report_t *report);
hp_status_t plan_write(const plan_report_t *report, const char *path,
                       hp_error_t *err) HP_MUST_CHECK;

#endif
