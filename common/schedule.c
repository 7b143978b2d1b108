#include "common/schedule.h"

#include <math.h>

static const double pi = 3.14159265358979323846;

static hp_status_t check_warmup(hp_schedule_t *s, double end, hp_error_t *err) {
    if (s->warmup_from <= 0) return HP_OK;
    if (s->warmup_every <= 0)
        return hp_fail(err, HP_INPUT,
                       "optimizer.schedule.warmup_every: 0 is not allowed where warmup_from is %g: "
                       "after how long the rate doubles",
                       s->warmup_from);
    if (s->warmup_from >= s->lr)
        return hp_fail(err, HP_INPUT,
                       "optimizer.schedule.warmup_from: %g is not allowed: a rate below "
                       "optimizer.lr, %g",
                       s->warmup_from, s->lr);
    int doublings = 0;
    while (ldexp(s->warmup_from, doublings) < s->lr) doublings++;
    s->warmup_end = doublings * s->warmup_every;
    if (s->warmup_end >= end)
        return hp_fail(err, HP_INPUT,
                       "optimizer.schedule.warmup_every: the warm-up would end at %g, the run ends "
                       "at %g; warmup_from: 0 is none",
                       s->warmup_end, end);
    return HP_OK;
}

static hp_status_t check_milestones(const hp_schedule_t *s, double end, hp_error_t *err) {
    if (s->kind != HP_SCHEDULE_STEP)
        return s->milestones == 0 ? HP_OK
                                  : hp_fail(err, HP_INPUT,
                                            "optimizer.schedule.milestones: not allowed where "
                                            "optimizer.schedule.kind is not step");
    if (s->milestones == 0)
        return hp_fail(err, HP_INPUT,
                       "optimizer.schedule.milestones: an empty list is not allowed: where step "
                       "lowers the rate");
    for (int i = 0; i < s->milestones; i++) {
        double m = s->milestone[i];
        if (i > 0 && m <= s->milestone[i - 1])
            return hp_fail(err, HP_INPUT,
                           "optimizer.schedule.milestones: %g after %g is not allowed: rising "
                           "numbers",
                           m, s->milestone[i - 1]);
        if (m < s->warmup_end)
            return hp_fail(err, HP_INPUT,
                           "optimizer.schedule.milestones: %g is within the warm-up, which ends at "
                           "%g",
                           m, s->warmup_end);
        if (m >= end)
            return hp_fail(err, HP_INPUT,
                           "optimizer.schedule.milestones: %g is never reached: the run ends at %g",
                           m, end);
    }
    return HP_OK;
}

static hp_status_t check_cosine(hp_schedule_t *s, double end, hp_error_t *err) {
    if (s->kind != HP_SCHEDULE_COSINE) return HP_OK;
    if (s->floor > s->lr)
        return hp_fail(err, HP_INPUT,
                       "optimizer.schedule.floor: %g is not allowed: at most optimizer.lr, %g",
                       s->floor, s->lr);
    if (s->until <= 0) s->until = end;
    if (s->until < end)
        return hp_fail(err, HP_INPUT,
                       "optimizer.schedule.until: %g leaves a gap without a rate before the run's "
                       "end at %g; 0: the run's end",
                       s->until, end);
    return HP_OK;
}

hp_status_t hp_schedule_make(const hp_config_t *config, int64_t steps, double step_examples,
                             double epoch_examples, hp_schedule_t *schedule, hp_error_t *err) {
    bool epochs = config->optimizer.schedule.unit == HP_IN_EPOCHS;
    hp_schedule_t s = {.kind = config->optimizer.schedule.kind,
                       .lr = config->optimizer.lr,
                       .factor = config->optimizer.schedule.factor,
                       .floor = config->optimizer.schedule.floor,
                       .warmup_from = config->optimizer.schedule.warmup_from,
                       .warmup_every = config->optimizer.schedule.warmup_every,
                       .until = config->optimizer.schedule.until,
                       .milestones = config->optimizer.schedule.milestones.count,
                       .step_length = epochs ? step_examples / epoch_examples : 1};
    for (int i = 0; i < s.milestones; i++)
        s.milestone[i] = config->optimizer.schedule.milestones.size[i];
    double end = (double)steps * s.step_length;
    HP_TRY(check_warmup(&s, end, err));
    HP_TRY(check_milestones(&s, end, err));
    HP_TRY(check_cosine(&s, end, err));
    *schedule = s;
    return HP_OK;
}

double hp_schedule_rate(const hp_schedule_t *s, int64_t step) {
    double at = (double)step * s->step_length, rate = s->lr;
    if (s->warmup_from > 0 && at < s->warmup_end)
        return ldexp(s->warmup_from, (int)(at / s->warmup_every));
    if (s->kind == HP_SCHEDULE_STEP)
        for (int i = 0; i < s->milestones && at >= s->milestone[i]; i++) rate *= s->factor;
    if (s->kind == HP_SCHEDULE_COSINE) {
        double x = (at - s->warmup_end) / (s->until - s->warmup_end);
        rate = s->floor + (s->lr - s->floor) * (1 + cos(pi * (x < 1 ? x : 1))) / 2;
    }
    return rate;
}
