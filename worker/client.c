#include "worker/client.h"

#include "common/clock.h"
#include "common/memory.h"
#include "worker/client_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LATER_S 10.0 /* after server 0 has named who is missing */

void wk_client_fail(wk_client_t *c, hp_status_t status, const char *fmt, ...) {
    if (c->failed == HP_OK) {
        va_list args;
        va_start(args, fmt);
        c->failed = c->why.status = status;
        vsnprintf(c->why.text, sizeof c->why.text, fmt, args);
        va_end(args);
    }
    pthread_cond_broadcast(&c->changed);
}

static hp_status_t failure(const wk_client_t *c, hp_error_t *err) {
    if (err != NULL) *err = c->why;
    return c->failed;
}

/* Nothing failed, though the run may have ended without this worker. */
static bool well(const wk_client_t *c) { return c->failed == HP_OK || c->over; }

void wk_client_doing(wk_client_t *c, hp_doing_t doing) {
    if (c->doing == doing) return;
    c->doing = doing;
    c->doing_since = hp_clock();
}

/* Under the lock: wait for a change. Adds the time to *seconds; row: where it is traced. */
static void wait_change(wk_client_t *c, hp_trace_row_t *row, hp_trace_kind_t kind,
                        double *seconds) {
    double begin = hp_clock();
    pthread_cond_wait(&c->changed, &c->lock);
    double end = hp_clock();
    *seconds += end - begin;
    hp_trace_extend(row, kind, begin, end, c->unit);
}

/* ---- life ---- */

static hp_status_t plan_chunks(wk_client_t *c, hp_error_t *err) {
    size_t params = (size_t)c->params->count;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, params, sizeof(int), "client", err));
    c->first_chunk = p;
    HP_TRY(hp_allocate(&p, params, sizeof(int), "client", err));
    c->last_chunk = p;
    for (int i = 0; i < c->params->count; i++) c->first_chunk[i] = -1;
    for (int k = 0; k < c->plan.chunks; k++)
        for (int i = c->plan.chunk[k].first_param; i <= c->plan.chunk[k].last_param; i++) {
            if (c->first_chunk[i] < 0) c->first_chunk[i] = k;
            c->last_chunk[i] = k;
        }
    return HP_OK;
}

static hp_status_t create(wk_client_t *c, hp_error_t *err) {
    size_t chunks = (size_t)c->plan.chunks, params = (size_t)c->params->count;
    struct {
        void *field;
        size_t count, size;
    } const array[] = {
        {&c->link, (size_t)c->servers, sizeof *c->link},
        {&c->grads, (size_t)c->params->total, sizeof *c->grads},
        {&c->weights[0], (size_t)c->params->total, sizeof *c->weights[0]},
        {&c->weights[1], (size_t)c->params->total, sizeof *c->weights[1]},
        {&c->packed_offset, chunks, sizeof *c->packed_offset},
        {&c->push_bytes, chunks, sizeof *c->push_bytes},
        {&c->sparse_row, params, sizeof *c->sparse_row},
        {&c->sparse_count, params, sizeof *c->sparse_count},
        {&c->is_final, params, sizeof *c->is_final},
        {&c->chunk_waits, chunks, sizeof *c->chunk_waits},
        {&c->chunk_norm, chunks, sizeof *c->chunk_norm},
        {&c->ready, chunks, sizeof *c->ready},
        {&c->push, chunks, sizeof *c->push},
        {&c->pull, chunks, sizeof *c->pull},
        {&c->param_waits, params, sizeof *c->param_waits},
    };
    for (size_t i = 0; i < sizeof array / sizeof *array; i++) {
        void *p = NULL;
        HP_TRY(hp_allocate(&p, array[i].count, array[i].size, "client", err));
        memcpy(array[i].field, &p, sizeof p);
    }
    for (int k = 0; k < c->plan.chunks; k++)
        c->push[k] = c->pull[k] = (wk_transfer_t){.client = c, .chunk = k};
    HP_TRY(plan_chunks(c, err));
    return wk_client_create_packed(c, err);
}

static void destroy(wk_client_t *c) {
    for (int i = 0; c->sparse_row != NULL && i < c->params->count; i++) hp_free(c->sparse_row[i]);
    void *const array[] = {c->link,         c->grads,         c->weights[0],  c->weights[1],
                           c->packed,       c->packed_offset, c->push_bytes,  c->sparse_row,
                           c->sparse_count, c->is_final,      c->chunk_waits, c->chunk_norm,
                           c->ready,        c->push,          c->pull,        c->param_waits,
                           c->first_chunk,  c->last_chunk,    c->half,        c->piece_norm};
    for (size_t i = 0; i < sizeof array / sizeof *array; i++) hp_free(array[i]);
    hp_shard_plan_release(&c->plan);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    hp_free(c);
}

static bool all_welcomed(const wk_client_t *c) {
    for (int i = 0; i < c->servers; i++)
        if (!c->link[i].welcomed) return false;
    return true;
}

/* Wait for the servers, up to a limit. */
static hp_status_t wait_servers(wk_client_t *c, hp_error_t *err) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += (time_t)(c->start_seconds + LATER_S);
    pthread_mutex_lock(&c->lock);
    while (!all_welcomed(c) && c->failed == HP_OK)
        if (pthread_cond_timedwait(&c->changed, &c->lock, &limit) == ETIMEDOUT) break;
    for (int i = 0; i < c->servers && c->failed == HP_OK; i++)
        if (!c->link[i].welcomed)
            wk_client_fail(c, HP_PEER, "server %d (rank %d) on %s does not answer after %.0f s", i,
                           i, hp_transport_peer_host(c->transport, i), c->start_seconds);
    hp_status_t st = well(c) ? HP_OK : failure(c, err);
    pthread_mutex_unlock(&c->lock);
    return st;
}

hp_status_t wk_client_open(hp_transport_t *transport, const hp_config_t *config,
                           const hp_params_t *params, wk_client_t **client_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(wk_client_t), "client", err));
    wk_client_t *c = p;
    c->transport = transport;
    c->params = params;
    c->servers = config->cluster.servers;
    c->sync = config->cluster.consistency == HP_SYNC;
    c->max_norm = config->optimizer.max_norm;
    c->room = config->data.prefetch + 1 < 16 ? config->data.prefetch + 1 : 16;
    c->server_seconds = config->cluster.server_seconds;
    c->start_seconds = config->cluster.start_seconds;
    c->incarnation = 1;
    c->doing_since = hp_clock();
    c->have_step = -1;
    c->pull_used = true;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    hp_status_t st = hp_shard_plan_create(params, c->servers, &c->plan, err);
    if (st == HP_OK && config->cluster.wire == HP_BF16) hp_shard_plan_halve(&c->plan);
    if (st == HP_OK) st = create(c, err);
    if (st == HP_OK) {
        c->digest = hp_shard_plan_digest(params, &c->plan, (uint64_t)config->cluster.consistency);
        if (pthread_create(&c->thread, NULL, wk_client_communicate, c) != 0)
            st = hp_fail(err, HP_MEMORY, "no thread for communication");
    }
    if (st != HP_OK) {
        destroy(c);
        return st;
    }
    st = wait_servers(c, err);
    if (st != HP_OK) {
        hp_error_t ignored;
        (void)wk_client_close(c, NULL, NULL, &ignored);
        return st;
    }
    *client_p = c;
    return HP_OK;
}

hp_status_t wk_client_close(wk_client_t *c, bool *clean_p, bool *lead_lost_p, hp_error_t *err) {
    pthread_mutex_lock(&c->lock);
    c->want_close = true;
    pthread_mutex_unlock(&c->lock);
    hp_transport_wake(c->transport);
    pthread_join(c->thread, NULL);
    hp_status_t st = well(c) ? HP_OK : failure(c, err);
    if (clean_p != NULL)
        *clean_p = (st == HP_OK || c->why.told) && c->parted && !c->lossy && c->pushes == 0 &&
                   c->pulls == 0;
    if (lead_lost_p != NULL) *lead_lost_p = c->lead_lost;
    if (c->pushes > 0 || c->pulls > 0) return st; /* their buffers must stay */
    destroy(c);
    return st;
}

/* ---- units ---- */

hp_status_t wk_client_next_unit(wk_client_t *c, wk_unit_t *unit_p, hp_error_t *err) {
    hp_status_t st = HP_OK;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        if (!well(c)) {
            st = failure(c, err);
            break;
        }
        if (c->over) {
            *unit_p = (wk_unit_t){.last = true};
            break;
        }
        if (c->taken < c->known) {
            wk_held_t *held = &c->held[c->taken++ % WK_RING];
            held->skipped = held->voided;
            if (held->voided) continue;
            *unit_p = (wk_unit_t){.unit = held->unit,
                                  .step = c->sync || held->evaluate ? held->step : -1,
                                  .evaluate = held->evaluate,
                                  .part = held->part,
                                  .parts = held->parts};
            break;
        }
        if (c->last || c->want_close) {
            *unit_p = (wk_unit_t){.last = true};
            break;
        }
        wait_change(c, NULL, HP_TRACE_WAIT, &c->stats.wait_s);
    }
    pthread_mutex_unlock(&c->lock);
    return st;
}

/* ---- pull ---- */

void wk_client_plan_pull(wk_client_t *c, int64_t step) {
    c->pull_wanted = true;
    c->pull_used = c->pull_void = false;
    c->pull_number++;
    c->pull_step = step;
    c->pull_buffer = 1 - c->current;
    c->pull_left = c->plan.chunks;
    c->pull_asked = c->pull_began = 0;
    for (int i = 0; i < c->servers; i++) {
        wk_link_t *l = &c->link[i];
        l->pulled = l->draining = l->drained = l->withdrawn = false;
        l->arrived = 0;
    }
    for (int i = 0; i < c->params->count; i++)
        c->param_waits[i] = c->last_chunk[i] - c->first_chunk[i] + 1;
}

/* The weights of the unit that begins: those asked for ahead, those that are there, or a new pull.
 */
static void begin_pull(wk_client_t *c) {
    if (c->pull_used || (c->sync && c->pull_step != c->step)) {
        wk_client_doing(c, HP_DOING_PULL);
        while (c->pull_wanted && c->failed == HP_OK) { /* one that is not wanted any more */
            c->pull_void = true;
            hp_transport_wake(c->transport);
            wait_change(c, c->compute_row, HP_TRACE_PULL_WAIT, &c->stats.pull_s);
        }
        c->pull_used = true;
        if (c->sync && c->have_step == c->step) { /* all there; the waits are the void pull's */
            for (int i = 0; i < c->params->count; i++) c->param_waits[i] = 0;
            return;
        }
        wk_client_plan_pull(c, c->step);
    }
    c->pull_used = true;
    c->current = c->pull_buffer;
    c->have_step = c->step;
}

hp_status_t wk_client_need(wk_client_t *c, int param, hp_error_t *err) {
    pthread_mutex_lock(&c->lock);
    while (c->param_waits[param] > 0 && !c->voided && c->failed == HP_OK) {
        wk_client_doing(c, HP_DOING_PULL);
        wait_change(c, c->compute_row, HP_TRACE_PULL_WAIT, &c->stats.pull_s);
    }
    wk_client_doing(c, HP_DOING_COMPUTE);
    hp_status_t st = c->failed != HP_OK ? failure(c, err) : HP_OK;
    if (st == HP_OK && c->voided)
        st = hp_fail(err, HP_INTERRUPTED, "unit %" PRIu64 " is not wanted any more", c->unit);
    pthread_mutex_unlock(&c->lock);
    return st;
}

/* ---- push ---- */

/* Find the unit among those held; those before it were dropped by the caller. */
static wk_held_t *find_held(wk_client_t *c, uint64_t unit) {
    while (c->begun < c->taken) {
        wk_held_t *held = &c->held[c->begun++ % WK_RING];
        if (held->unit == unit && !held->skipped && !held->evaluate) return held;
    }
    return NULL;
}

hp_status_t wk_client_begin(wk_client_t *c, const wk_unit_t *unit, const float **weights_p,
                            float **grads_p, hp_error_t *err) {
    hp_status_t st = HP_OK;
    pthread_mutex_lock(&c->lock);
    const wk_held_t *held = c->active ? NULL : find_held(c, unit->unit);
    if (c->failed != HP_OK)
        st = failure(c, err);
    else if (held == NULL)
        st = hp_fail(err, HP_INTERNAL, "unit %" PRIu64 " is begun out of turn", unit->unit);
    else if (held->voided)
        st = hp_fail(err, HP_INTERRUPTED, "unit %" PRIu64 " is not wanted any more", unit->unit);
    if (st == HP_OK && held != NULL) {
        c->active = true;
        c->voided = c->committing = c->committed = false;
        c->unit = unit->unit;
        c->step = held->step;
        c->ready_count = 0;
        for (int k = 0; k < c->plan.chunks; k++)
            c->chunk_waits[k] = c->plan.chunk[k].last_param - c->plan.chunk[k].first_param + 1;
        for (int i = 0; i < c->params->count; i++) {
            c->sparse_count[i] = -1;
            c->is_final[i] = false;
        }
        uint32_t incarnation = c->incarnation;
        begin_pull(c);
        if (c->fenced || c->incarnation != incarnation) { /* nobody knows of the unit any more */
            c->active = false;
            st = hp_fail(err, HP_INTERRUPTED, "unit %" PRIu64 " is not wanted any more", c->unit);
        }
        c->want_begin = c->active;
        wk_client_doing(c, c->active ? HP_DOING_COMPUTE : HP_DOING_UNIT);
        *weights_p = c->weights[c->current];
        *grads_p = c->grads;
    }
    pthread_mutex_unlock(&c->lock);
    hp_transport_wake(c->transport);
    return st;
}

hp_status_t wk_client_sparse_rows(wk_client_t *c, int param, int rows, const int32_t *row,
                                  hp_error_t *err) {
    const hp_param_t *p = &c->params->param[param];
    if (!p->sparse_rows || rows < 0 || rows > p->shape[0])
        return hp_fail(err, HP_INTERNAL, "%d sparse rows of parameter %s", rows, p->name);
    for (int i = 0; i < rows; i++)
        if (row[i] < (i > 0 ? row[i - 1] + 1 : 0) || row[i] >= p->shape[0])
            return hp_fail(err, HP_INTERNAL, "sparse row %" PRId32 " of parameter %s", row[i],
                           p->name);
    if (rows > 0) memcpy(c->sparse_row[param], row, (size_t)rows * sizeof *row);
    c->sparse_count[param] = rows;
    return HP_OK;
}

static void make_final(wk_client_t *c, int param) {
    bool some = false;
    c->is_final[param] = true;
    for (int k = c->first_chunk[param]; k <= c->last_chunk[param]; k++) {
        if (--c->chunk_waits[k] > 0) continue;
        wk_client_finish_chunk(c, k);
        pthread_mutex_lock(&c->lock);
        c->ready[c->ready_count++] = k;
        pthread_mutex_unlock(&c->lock);
        some = true;
    }
    if (some) hp_transport_wake(c->transport);
}

/* HP_OK while the begun unit goes on. */
static hp_status_t check_active(wk_client_t *c, hp_error_t *err) {
    hp_status_t st = HP_OK;
    pthread_mutex_lock(&c->lock);
    if (c->failed != HP_OK)
        st = failure(c, err);
    else if (!c->active)
        st = hp_fail(err, HP_INTERNAL, "no unit is begun");
    else if (c->voided)
        st = hp_fail(err, HP_INTERRUPTED, "unit %" PRIu64 " is not wanted any more", c->unit);
    pthread_mutex_unlock(&c->lock);
    return st;
}

hp_status_t wk_client_final(wk_client_t *c, int param, hp_error_t *err) {
    HP_TRY(check_active(c, err));
    if (c->is_final[param])
        return hp_fail(err, HP_INTERNAL, "parameter %s is final twice",
                       c->params->param[param].name);
    make_final(c, param);
    return HP_OK;
}

/* The next unit's weights are asked for right behind the commit: each server answers when it has
 * applied this push, so that a worker sees its own gradients at once. */
static void pull_ahead(wk_client_t *c) {
    while (c->pull_wanted && c->failed == HP_OK)
        wait_change(c, c->compute_row, HP_TRACE_PULL_WAIT, &c->stats.pull_s);
    for (uint64_t i = c->begun; i < c->known; i++) {
        const wk_held_t *held = &c->held[i % WK_RING];
        if (held->voided || held->evaluate) continue;
        if (!c->sync || held->step != c->step) wk_client_plan_pull(c, held->step);
        return;
    }
}

/* Under the lock: wait until the communication thread has done what *want asks. */
static hp_status_t wait_done(wk_client_t *c, const bool *want, hp_error_t *err) {
    hp_transport_wake(c->transport);
    while (*want && c->failed == HP_OK)
        wait_change(c, c->compute_row, HP_TRACE_PUSH_WAIT, &c->stats.push_s);
    return well(c) ? HP_OK : failure(c, err);
}

hp_status_t wk_client_commit(wk_client_t *c, int64_t examples, hp_error_t *err) {
    hp_status_t st = check_active(c, err);
    if (st == HP_INTERRUPTED) {
        HP_TRY(wk_client_abort(c, err));
        return HP_INTERRUPTED;
    }
    HP_TRY(st);
    for (int i = 0; i < c->params->count; i++)
        if (!c->is_final[i]) make_final(c, i);
    double norm = 0;
    for (int k = 0; k < c->plan.chunks; k++) norm += c->chunk_norm[k];
    bool good = isfinite(norm) &&
                (c->max_norm <= 0 || examples <= 0 || sqrt(norm) / (double)examples <= c->max_norm);
    c->worst = good ? 0 : wk_client_worst(c);
    pthread_mutex_lock(&c->lock);
    if (!c->voided) {
        c->examples = (uint64_t)examples;
        c->squared_norm = norm;
        c->want_commit = true;
        wk_client_doing(c, HP_DOING_PUSH);
        pull_ahead(c);
        st = wait_done(c, &c->want_commit, err);
    }
    bool dropped = st == HP_OK && c->voided;
    if (!dropped) c->active = false;
    wk_client_doing(c, HP_DOING_UNIT);
    pthread_mutex_unlock(&c->lock);
    if (!dropped) return st;
    HP_TRY(wk_client_abort(c, err));
    return hp_fail(err, HP_INTERRUPTED, "unit %" PRIu64 " is not wanted any more", c->unit);
}

hp_status_t wk_client_abort(wk_client_t *c, hp_error_t *err) {
    hp_status_t st = HP_OK;
    pthread_mutex_lock(&c->lock);
    if (c->active) {
        wk_client_doing(c, HP_DOING_PUSH);
        c->want_abort = true;
        st = wait_done(c, &c->want_abort, err);
        c->active = false;
    }
    wk_client_doing(c, HP_DOING_UNIT);
    pthread_mutex_unlock(&c->lock);
    return st;
}

/* ---- the rest ---- */

hp_status_t wk_client_evaluated(wk_client_t *c, const wk_unit_t *part, const hp_scores_t *scores,
                                const char *why, hp_error_t *err) {
    pthread_mutex_lock(&c->lock);
    c->report = (hp_message_t){.kind = HP_MSG_EVALUATED,
                               .flags = scores == NULL ? HP_MSG_FAILED : 0,
                               .step = part->step,
                               .count = (uint32_t)part->part};
    if (scores != NULL) {
        c->report_bytes = sizeof *scores;
        memcpy(c->report_payload, scores, sizeof *scores);
    } else {
        c->report_bytes = strnlen(why, sizeof c->report_payload);
        memcpy(c->report_payload, why, c->report_bytes);
    }
    c->want_report = true;
    hp_status_t st = wait_done(c, &c->want_report, err);
    for (uint64_t i = c->begun; i < c->taken; i++) { /* it is not what this worker does any more */
        wk_held_t *held = &c->held[i % WK_RING];
        if (held->evaluate && held->step == part->step && held->part == part->part)
            held->voided = true;
    }
    c->doing_since = hp_clock();
    pthread_mutex_unlock(&c->lock);
    return st;
}

void wk_client_request_stop(wk_client_t *c) { atomic_store(&c->stop_wanted, true); }

void wk_client_take_stats(wk_client_t *c, wk_client_stats_t *out) {
    pthread_mutex_lock(&c->lock);
    *out = c->stats;
    c->stats = (wk_client_stats_t){.step = out->step, .staleness = out->staleness};
    pthread_mutex_unlock(&c->lock);
}
