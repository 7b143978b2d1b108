/* The rates that a plan is made from: measured on this machine, or read from a file that another
 * machine's measurement was written to. */
#ifndef CLI_PLAN_RATES_H
#define CLI_PLAN_RATES_H

#include "cli/plan_model.h"
#include "cli/plan_shape.h"

typedef struct {
    char cpu[128];
    plan_rates_t rates;
    double *need, *final; /* [params]; as in plan_work_t */
} plan_measured_t;

hp_status_t plan_measured_create(const hp_params_t *params, plan_measured_t *measured,
                                 hp_error_t *err) HP_MUST_CHECK;
void plan_measured_release(plan_measured_t *measured);

/* Runs the model's step over a synthetic batch, Adam over its weights, messages over loopback: some
 * ten seconds, and the memory of a worker and a server. */
hp_status_t plan_measure(const hp_config_t *config, const plan_shape_t *shape,
                         const hp_params_t *params, plan_measured_t *measured,
                         hp_error_t *err) HP_MUST_CHECK;

/* JSON. What is read must be of the same model and batch: else HP_INPUT, which names the key. */
hp_status_t plan_rates_write(const char *path, const hp_config_t *config, const hp_params_t *params,
                             const plan_measured_t *measured, hp_error_t *err) HP_MUST_CHECK;
hp_status_t plan_rates_read(const char *path, const hp_config_t *config, const hp_params_t *params,
                            plan_measured_t *measured, hp_error_t *err) HP_MUST_CHECK;

#endif
