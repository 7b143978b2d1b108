/* This server's part of a checkpoint: the state is held at the right moment, written by a thread of
 * its own while training goes on, and reported to server 0. */
#include "common/clock.h"
#include "common/memory.h"
#include "ps/internal.h"

#include <inttypes.h>
#include <string.h>

hp_status_t ps_cut_create(ps_server_t *s, hp_error_t *err) {
    void *chunk = NULL, *held = NULL;
    HP_TRY(hp_allocate(&chunk, (size_t)s->chunks, sizeof *s->cut.chunk, "snapshot", err));
    s->cut.chunk = chunk;
    HP_TRY(hp_allocate(&held, (size_t)s->chunks, sizeof *s->cut.held, "snapshot", err));
    s->cut.held = held;
    return HP_OK;
}

void ps_cut_destroy(ps_server_t *s) {
    if (s->cut.writing) pthread_join(s->cut.thread, NULL);
    hp_free(s->cut.chunk);
    hp_free(s->cut.held);
}

static void *write_shard(void *context) {
    ps_server_t *s = context;
    ps_cut_t *cut = &s->cut;
    const double begin = hp_clock();
    cut->status = hp_checkpoint_write_shard(s->options->run, cut->step, s->rank, s->servers,
                                            s->chunks, cut->chunk, &cut->record, &cut->err);
    hp_trace_span(s->cut_row, HP_TRACE_CHECKPOINT, begin, hp_clock(), (uint64_t)cut->step);
    atomic_store(&cut->done, 1);
    hp_transport_wake(s->transport);
    return NULL;
}

static void report(ps_server_t *s) {
    const ps_cut_t *cut = &s->cut;
    if (s->lead != NULL) {
        ps_lead_shard(s, s->rank, cut);
        return;
    }
    hp_message_t m = {.kind = HP_MSG_SHARD, .step = cut->step};
    if (cut->status == HP_OK) {
        unsigned char payload[sizeof cut->record + sizeof cut->partial];
        size_t units = (size_t)cut->partials * sizeof *cut->partial;
        memcpy(payload, &cut->record, sizeof cut->record);
        memcpy(payload + sizeof cut->record, cut->partial, units);
        ps_send(s, 0, &m, payload, sizeof cut->record + units);
    } else {
        m.flags = HP_MSG_FAILED;
        size_t n = strlen(cut->err.text);
        ps_send(s, 0, &m, cut->err.text, n < 512 ? n : 512);
    }
}

void ps_cut_held(ps_server_t *s) {
    atomic_store(&s->cut.done, 0);
    s->cut.writing = true;
    if (pthread_create(&s->cut.thread, NULL, write_shard, s) == 0) return;
    s->cut.writing = s->cut.holding = false;
    ps_shard_release(s->shard, s->cut.held);
    s->cut.status = hp_fail(&s->cut.err, HP_MEMORY, "no thread to write the checkpoint");
    report(s);
}

void ps_cut_not_held(ps_server_t *s, const hp_error_t *why) {
    s->cut.holding = false;
    s->cut.status = why->status;
    s->cut.err = *why;
    report(s);
}

void ps_cut_progress(ps_server_t *s) {
    if (!s->cut.writing || atomic_load(&s->cut.done) == 0) return;
    pthread_join(s->cut.thread, NULL);
    s->cut.writing = s->cut.holding = false;
    ps_shard_release(s->shard, s->cut.held);
    report(s);
}

static void hold(ps_server_t *s, ps_job_t *job) {
    s->cut.wanted = false;
    s->cut.holding = true;
    s->cut.partials = s->partials;
    memcpy(s->cut.partial, s->partial, (size_t)s->partials * sizeof *s->partial);
    job->hold = s->cut.chunk;
    job->held = s->cut.held;
}

void ps_cut_join(ps_server_t *s, ps_job_t *job) {
    if (s->cut.wanted && s->sync && s->cut.step == ps_order_step(s)) hold(s, job);
}

void ps_cut_begin(ps_server_t *s, unsigned number, int64_t step, bool last) {
    hp_error_t err;
    if (last && s->sync)
        s->unit_limit = s->unit_base + (uint64_t)(step - s->step_base) * (uint64_t)s->shards;
    if (number == s->cut.number) return; /* it may be written already */
    if (s->cut.holding || s->cut.wanted || (s->sync && step < ps_order_step(s))) {
        ps_server_fail(s, HP_INTERNAL, "checkpoint at step %" PRId64 " asked for at step %" PRId64,
                       step, ps_order_step(s));
        return;
    }
    s->cut.number = number;
    s->cut.wanted = true;
    s->cut.step = step;
    if (s->sync && step > ps_order_step(s)) return;
    ps_job_t job = {0};
    hold(s, &job);
    if (ps_applier_give(s->applier, &job, &err) != HP_OK)
        ps_server_fail(s, err.status, "%s", err.text);
}
