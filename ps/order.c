/* When a push is applied. `sync`: the units of a step are summed in their order, then one Adam step
 * is made from the sum over the number of examples. Else: a step for each push, or for each few of
 * them, as they come.
 *
 * In `sync` all servers see the same commits, sum in the same order and take the same decisions, so
 * they need no word from one another, except the norms where gradients are clipped. */
#include "common/memory.h"
#include "ps/internal.h"

#include <inttypes.h>
#include <string.h>

enum { NORMS_A_MESSAGE = HP_MESSAGE_PAYLOAD / sizeof(double) };

static double clip_norm(const ps_server_t *s) { return s->options->config->optimizer.clip_norm; }

hp_status_t ps_order_create(ps_server_t *s, hp_error_t *err) {
    void *norm = NULL, *own = NULL;
    HP_TRY(hp_allocate(&norm, (size_t)s->plan.chunks, sizeof(double), "norms", err));
    s->norm = norm;
    HP_TRY(hp_allocate(&own, (size_t)s->chunks, sizeof(double), "norms", err));
    s->shard_norm = own;
    s->norms_missing = s->plan.chunks;
    return HP_OK;
}

void ps_order_destroy(ps_server_t *s) {
    hp_free(s->norm);
    hp_free(s->shard_norm);
}

bool ps_order_wants(const ps_server_t *s, uint64_t unit) {
    return unit < s->unit_limit && (!s->sync || unit >= s->fold_next);
}

static void give(ps_server_t *s, ps_job_t *job) {
    hp_error_t err;
    job->step = (uint64_t)(ps_order_step(s) + 1);
    if (job->update) {
        s->given++;
        ps_cut_join(s, job);
    }
    if (ps_applier_give(s->applier, job, &err) != HP_OK)
        ps_server_fail(s, err.status, "%s", err.text);
    if (job->update && s->lead != NULL) ps_lead_stepped(s);
}

/* The rate of the update that is given next. */
static double next_rate(ps_server_t *s) {
    return s->rate = hp_schedule_rate(&s->schedule, ps_order_step(s));
}

/* A push that adds nothing: the slot is free at once. */
static bool refused(ps_server_t *s, ps_slot_t *slot) {
    if (slot->malformed) {
        ps_server_fail(s, HP_PEER, "unit %" PRIu64 " of worker %d is malformed", slot->unit,
                       slot->worker);
        return true;
    }
    return ps_refuse(s, slot) || slot->examples == 0;
}

/* Not `sync`: the push is added to the sum, and the last of cluster.accumulate pushes makes the
 * step. Which pushes meet in a step differs between servers, so none of them could tell the norm of
 * the whole sum: each push is clipped by itself. */
static void apply(ps_server_t *s, ps_slot_t *slot) {
    ps_worker_t *w = &s->worker[slot->worker];
    ps_job_t job = {.first = s->folded == 0, .weight = 1};
    double scale = 1;
    slot->staleness = slot->oldest < s->given ? s->given - slot->oldest : 0;
    bool adds = !refused(s, slot);
    if (adds) {
        double n = (double)slot->examples, rate = 1;
        *(s->shards > 1 ? &job.weight : &scale) =
            ps_clip(clip_norm(s), slot->squared_norm / (n * n));
        if (s->options->config->optimizer.staleness_scaling)
            rate = 1 / (1 + (double)slot->staleness);
        s->staleness[slot->staleness < PS_STALENESS ? slot->staleness : PS_STALENESS - 1]++;
        s->folded++;
        s->examples += slot->examples;
        s->rates += rate * n;
        job.part = slot->part;
        job.context = slot;
        slot->state = PS_SLOT_FOLDING;
        ps_trace_folding(s, slot);
    }
    s->partial[s->partials++] = slot->unit;
    if (s->partials == s->shards) {
        job.update = s->folded > 0;
        if (job.update)
            job.how = (ps_update_t){.scale = scale / (double)s->examples,
                                    .rate = next_rate(s) * (s->rates / (double)s->examples),
                                    .units = s->folded};
        s->folded = s->partials = 0;
        s->examples = 0;
        s->rates = 0;
    }
    if (job.part != NULL || job.update) give(s, &job);
    if (!adds) ps_push_done(s, slot);
    w->last_sequence = s->given;
}

static double total_norm(const ps_server_t *s) {
    double sum = 0;
    for (int i = 0; i < s->plan.chunks; i++) sum += s->norm[i];
    return sum / ((double)s->examples * (double)s->examples);
}

/* The update that ends the step. */
static ps_update_t step_update(ps_server_t *s) {
    ps_update_t how = {.skip = s->folded == 0, .rate = next_rate(s), .units = s->folded};
    if (!how.skip)
        how.scale =
            ps_clip(clip_norm(s), clip_norm(s) > 0 ? total_norm(s) : 0) / (double)s->examples;
    s->folded = 0;
    s->examples = 0;
    s->summed = s->own_norms = false;
    s->norms_missing = s->plan.chunks;
    return how;
}

static bool gated(const ps_server_t *s) { return s->gate == ps_order_step(s) + 1; }

static bool last_of_step(const ps_server_t *s, uint64_t unit) {
    return (unit - s->unit_base) % (uint64_t)s->shards == (uint64_t)s->shards - 1;
}

/* Adds the slot with the next unit; the last unit's job makes the step too, where nothing must be
 * waited for. */
static void fold(ps_server_t *s, ps_slot_t *slot) {
    ps_job_t job = {.weight = 1};
    bool adds = !refused(s, slot), last = last_of_step(s, slot->unit);
    bool clips = clip_norm(s) > 0;
    s->fold_next++;
    if (adds) {
        job.part = slot->part;
        job.first = s->folded++ == 0;
        job.context = slot;
        s->examples += slot->examples;
        slot->state = PS_SLOT_FOLDING;
        ps_trace_folding(s, slot);
    }
    if (last) {
        s->summed = true;
        if (clips && s->folded > 0) {
            job.norm = s->shard_norm;
        } else {
            s->norms_missing = 0;
            if (!gated(s)) {
                job.update = true;
                job.how = step_update(s);
            }
        }
    }
    if (job.part != NULL || job.norm != NULL || job.update) give(s, &job);
    if (!adds) ps_push_done(s, slot);
}

static ps_slot_t *find_ready(ps_server_t *s) {
    for (int i = 0; i < s->slots; i++)
        if (s->slot[i].state == PS_SLOT_READY && s->slot[i].unit == s->fold_next)
            return &s->slot[i];
    return NULL;
}

static void fold_all(ps_server_t *s) {
    if (s->summed && s->norms_missing == 0 && !gated(s)) {
        ps_job_t job = {.update = true, .how = step_update(s)};
        give(s, &job);
    }
    for (ps_slot_t *slot; !s->summed && (slot = find_ready(s)) != NULL;) fold(s, slot);
}

void ps_order_ready(ps_server_t *s, ps_slot_t *slot) {
    s->worker[slot->worker].unapplied--;
    if (!ps_order_wants(s, slot->unit)) {
        ps_push_done(s, slot);
    } else if (s->sync) {
        fold_all(s);
        ps_push_grant(s);
    } else {
        apply(s, slot);
    }
}

/* This shard's norms are computed: note them and tell the other servers. */
static void share_norms(ps_server_t *s) {
    for (int i = 0; i < s->chunks; i++) s->norm[ps_shard_number(s->shard, i)] = s->shard_norm[i];
    s->norms_missing -= s->chunks;
    for (int to = 0; to < s->servers; to++) {
        if (to == s->rank) continue;
        for (int at = 0; at < s->chunks; at += NORMS_A_MESSAGE) {
            int n = s->chunks - at < NORMS_A_MESSAGE ? s->chunks - at : (int)NORMS_A_MESSAGE;
            const hp_message_t m = {
                .kind = HP_MSG_NORMS, .step = ps_order_step(s), .count = (uint32_t)at};
            ps_send(s, to, &m, s->shard_norm + at, (size_t)n * sizeof(double));
        }
    }
}

/* The sender's chunks, in the order of its shard: as they lie in by_need. */
void ps_order_norms(ps_server_t *s, int from, const hp_message_t *m, const void *payload) {
    const unsigned char *value = payload;
    size_t n = m->length / sizeof(double), at = 0, noted = 0;
    for (int i = 0; i < s->plan.chunks; i++) {
        int number = s->plan.by_need[i];
        if (s->plan.chunk[number].server != from) continue;
        if (at >= m->count && at < m->count + n) {
            memcpy(&s->norm[number], value + (at - m->count) * sizeof(double), sizeof(double));
            noted++;
        }
        at++;
    }
    if (!s->sync || m->step != ps_order_step(s) || noted != n || m->length % sizeof(double) != 0 ||
        (int)n > s->norms_missing) {
        ps_server_fail(s, HP_PEER, "server %d sends %zu norms of step %" PRId64, from, n, m->step);
        return;
    }
    s->norms_missing -= (int)n;
    fold_all(s);
}

void ps_order_progress(ps_server_t *s) {
    ps_job_t job;
    while (ps_applier_take(s->applier, &job)) {
        const bool done = job.status == HP_OK;
        if (!done) ps_server_fail(s, job.status, "%s", job.err.text);
        if (done && job.norm != NULL) share_norms(s);
        if (done && job.update) s->made++;
        if (done && job.hold != NULL) ps_cut_held(s);
        if (!done && job.hold != NULL) ps_cut_not_held(s, &job.err);
        if (job.context != NULL) ps_push_done(s, job.context);
    }
    if (s->sync) fold_all(s);
}
