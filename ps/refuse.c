/* Gradients that are not used: those that are not finite, and those larger than the configuration
 * allows. Every server gets the same commit, so all refuse the same units; server 0 alone says so
 * and ends the run. In `sync` a refused unit adds neither to the sum nor to the examples it is
 * divided by, and a step of refused units alone changes nothing but its number. */
#include "ps/internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { LOGGED_WORKERS = 256 };

static double mean_norm(const ps_slot_t *slot) {
    return sqrt(slot->squared_norm) / (slot->examples > 0 ? (double)slot->examples : 1);
}

static void describe(const ps_server_t *s, const ps_slot_t *slot, char *text, size_t size) {
    const hp_params_t *params = s->options->params;
    const char *name =
        slot->worst < (uint32_t)params->count ? params->param[slot->worst].name : "a parameter";
    if (slot->nonfinite)
        snprintf(text, size, "the gradient of %s is not finite", name);
    else
        snprintf(text, size,
                 "its gradient has norm %.4g, above optimizer.max_norm %.4g, most of it in %s",
                 mean_norm(slot), s->options->config->optimizer.max_norm, name);
}

static void tell(ps_server_t *s, const ps_slot_t *slot) {
    char why[256], text[512];
    int most = s->options->config->optimizer.max_refused;
    int own = s->worker[slot->worker].refused_run;
    describe(s, slot, why, sizeof why);
    hp_log(s->options->log, HP_LOG_WARN, "unit %" PRIu64 " of worker %d refused: %s", slot->unit,
           slot->worker, why);
    if (s->refused_run < most && own < most) return;
    snprintf(text, sizeof text,
             "%d units in a row%s are refused (optimizer.max_refused); the last, unit %" PRIu64
             " of worker %d: %s",
             most, s->refused_run < most ? " of one worker" : "", slot->unit, slot->worker, why);
    ps_lead_stop(s, HP_NONFINITE, text);
}

bool ps_refuse(ps_server_t *s, const ps_slot_t *slot) {
    ps_worker_t *w = &s->worker[slot->worker];
    double limit = s->options->config->optimizer.max_norm;
    if (!slot->nonfinite && (limit <= 0 || mean_norm(slot) <= limit)) {
        s->refused_run = w->refused_run = 0;
        return false;
    }
    s->refused++;
    s->refused_run++;
    w->refused++;
    w->refused_run++;
    if (s->lead != NULL) tell(s, slot);
    return true;
}

void ps_refuse_log(const ps_server_t *s) {
    int64_t by_worker[LOGGED_WORKERS];
    int n = s->workers < LOGGED_WORKERS ? s->workers : LOGGED_WORKERS;
    for (int i = 0; i < n; i++) by_worker[i] = s->worker[i].refused;
    hp_metrics_int(s->metrics, "refused", s->refused);
    hp_metrics_ints(s->metrics, "refused_by_worker", n, by_worker);
}
