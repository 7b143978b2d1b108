/* The learning rate of a step: a pure function of the configuration and the step's number, so that
 * every server has the same rate, and a run that was stopped goes on with it.
 *
 *   warm-up   from `warmup_from` the rate doubles every `warmup_every`, up to optimizer.lr
 *             (Relation Network reproductions on CLEVR: 5e-6, doubled every 20 epochs, to 5e-4)
 *   constant  optimizer.lr from then on
 *   step      times `factor` at each of `milestones`
 *   cosine    floor + (lr - floor) (1 + cos(pi x)) / 2, x from 0 where the warm-up ends to 1 at
 *             `until` (Loshchilov and Hutter 2017, without restarts)
 *
 * Positions count from the run's beginning, in steps or in passes over the training split. */
#ifndef HP_SCHEDULE_H
#define HP_SCHEDULE_H

#include "common/config.h"

typedef struct {
    hp_schedule_kind_t kind;
    double lr, factor, floor;
    double warmup_from, warmup_every, warmup_end; /* positions; from 0: no warm-up */
    double until;
    int milestones;
    double milestone[HP_CONFIG_LAYERS];
    double step_length; /* positions a step */
} hp_schedule_t;

/* `steps`: where the run ends; `step_examples`: examples of a step; `epoch_examples`: of a pass.
 * HP_INPUT, naming the key: parts that do not fit together, or a schedule that does not fit the
 * run: a warm-up or a milestone beyond its end, a cosine that ends before it. */
hp_status_t hp_schedule_make(const hp_config_t *config, int64_t steps, double step_examples,
                             double epoch_examples, hp_schedule_t *schedule,
                             hp_error_t *err) HP_MUST_CHECK;

/* The rate of the step that follows `step` steps. */
double hp_schedule_rate(const hp_schedule_t *schedule, int64_t step);

#endif
