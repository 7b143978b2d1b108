/* The way of gradients and weights, as the communication thread sees it, in the trace. */
#include "common/clock.h"
#include "worker/client_internal.h"

hp_status_t wk_client_trace(wk_client_t *c, hp_trace_t *trace, hp_trace_row_t *compute,
                            hp_error_t *err) {
    const size_t steps = (size_t)hp_trace_steps(trace) + 2;
    hp_trace_row_t *push = NULL, *pull = NULL;
    HP_TRY(hp_trace_row(trace, "gradients", "unit", 1, 2 * steps, &push, err));
    HP_TRY(hp_trace_row(trace, "weights", "pull", 1, 4 * steps, &pull, err));
    pthread_mutex_lock(&c->lock);
    c->compute_row = compute;
    c->push_row = push;
    c->pull_row = pull;
    pthread_mutex_unlock(&c->lock);
    return HP_OK;
}

void wk_client_trace_send(wk_client_t *c) {
    if (c->push_row != NULL && c->push_began == 0) c->push_began = hp_clock();
}

void wk_client_trace_sent(wk_client_t *c) {
    if (c->push_row == NULL || c->push_began == 0) return;
    hp_trace_span(c->push_row, HP_TRACE_PUSH, c->push_began, hp_clock(), c->unit);
    c->push_began = 0;
}

void wk_client_trace_ask(wk_client_t *c) {
    if (c->pull_asked == 0) c->pull_asked = hp_clock();
}

void wk_client_trace_arrival(wk_client_t *c) {
    if (c->pull_row != NULL && c->pull_began == 0) c->pull_began = hp_clock();
}

void wk_client_trace_arrived(wk_client_t *c) {
    if (c->pull_row == NULL || c->pull_asked == 0) return;
    double now = hp_clock(), began = c->pull_began > 0 ? c->pull_began : now;
    hp_trace_span(c->pull_row, HP_TRACE_WAIT, c->pull_asked, began, c->pull_number);
    if (c->pull_began > 0) hp_trace_span(c->pull_row, HP_TRACE_PULL, began, now, c->pull_number);
    c->pull_asked = 0;
}
