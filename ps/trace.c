/* What a server did, and when: a line for each slot, one for the weights on their way to each
 * worker, one for checkpoints; the applier has its own. The trace is over when every worker that is
 * here has pushed as many units as it is of. */
#include "common/clock.h"
#include "ps/internal.h"

enum { MOST_SPANS = 1 << 20 };

static size_t bounded(size_t spans) { return spans < MOST_SPANS ? spans : MOST_SPANS; }

/* Units that are pushed while the trace lasts, or so many: a fast worker goes on while a slow one
 * is not there yet. */
static size_t units(const ps_server_t *s) {
    return 2 * ((size_t)hp_trace_steps(s->options->trace) + 2) * (size_t)s->workers;
}

size_t ps_trace_jobs(const ps_server_t *s) { return bounded(3 * units(s)); }

hp_status_t ps_trace_create(ps_server_t *s, hp_error_t *err) {
    hp_trace_t *trace = s->options->trace;
    HP_TRY(hp_trace_row(trace, "gradients into slot", "unit", s->slots, bounded(3 * units(s)),
                        &s->slot_row, err));
    HP_TRY(hp_trace_row(trace, "weights to worker", "pull", s->workers, bounded(2 * units(s)),
                        &s->pull_row, err));
    return hp_trace_row(trace, "checkpoint", "step", 1, 64, &s->cut_row, err);
}

static void add_push(ps_server_t *s, const ps_slot_t *slot, hp_trace_kind_t kind, double begin,
                     double end) {
    hp_trace_add(s->slot_row, slot->number, kind, begin, end, slot->unit, slot->worker);
}

void ps_trace_granted(ps_server_t *s, ps_slot_t *slot) {
    if (s->slot_row == NULL) return;
    slot->granted = hp_clock();
    slot->began = 0;
}

void ps_trace_arrival(ps_server_t *s, ps_slot_t *slot) {
    if (s->slot_row == NULL || slot->began > 0) return;
    slot->began = hp_clock();
    add_push(s, slot, HP_TRACE_WAIT, slot->granted, slot->began);
}

void ps_trace_ready(ps_server_t *s, ps_slot_t *slot) {
    if (s->slot_row == NULL) return;
    ps_trace_arrival(s, slot); /* there may have been none */
    slot->ready = hp_clock();
    add_push(s, slot, HP_TRACE_PUSH, slot->began, slot->ready);
}

void ps_trace_folding(ps_server_t *s, const ps_slot_t *slot) {
    if (s->slot_row != NULL) add_push(s, slot, HP_TRACE_WAIT, slot->ready, hp_clock());
}

void ps_trace_pull(ps_server_t *s, ps_worker_t *w) {
    if (s->pull_row == NULL) return;
    w->asked = hp_clock();
    w->began = 0;
}

static void add_pull(ps_server_t *s, const ps_worker_t *w, hp_trace_kind_t kind, double begin,
                     double end) {
    int worker = (int)(w - s->worker);
    hp_trace_add(s->pull_row, worker, kind, begin, end, w->pull, worker);
}

void ps_trace_sending(ps_server_t *s, ps_worker_t *w) {
    if (s->pull_row == NULL || w->asked == 0 || w->began > 0) return;
    w->began = hp_clock();
    add_pull(s, w, HP_TRACE_WAIT, w->asked, w->began);
}

void ps_trace_sent(ps_server_t *s, ps_worker_t *w) {
    if (s->pull_row == NULL || w->asked == 0) return;
    double now = hp_clock();
    if (w->began > 0)
        add_pull(s, w, HP_TRACE_PULL, w->began, now);
    else
        add_pull(s, w, HP_TRACE_WAIT, w->asked, now);
    w->asked = 0;
}

void ps_trace_done(ps_server_t *s, int worker) {
    const uint64_t steps = (uint64_t)hp_trace_steps(s->options->trace);
    if (s->slot_row == NULL || ++s->worker[worker].pushes < steps) return;
    for (int i = 0; i < s->workers; i++) {
        const ps_worker_t *w = &s->worker[i];
        if (w->pushes < steps && !w->spare && !w->lost && w->presence != PS_GONE) return;
    }
    if (s->cut.writing) return; /* a checkpoint is to be seen whole: the next push is soon */
    hp_trace_end(s->options->trace, s->options->log);
    s->slot_row = s->pull_row = NULL;
}
