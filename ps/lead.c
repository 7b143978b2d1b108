/* What server 0 does beside its shard: hands out units, decides on checkpoints and on the end.
 *
 * A checkpoint in `sync` is of exactly step E on every server. E is announced while E - 1 is the
 * newest weights that server 0 has published, and server 0 does not publish E before all servers
 * know: nobody can be past E by then, because step E + 1 needs server 0's weights of step E. In
 * `async` each server takes its state when it hears of it; the position is noted before, so that a
 * unit it calls retired is in every shard. */
#include "common/clock.h"
#include "common/memory.h"
#include "common/run_folder.h"
#include "ps/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STOP_LOOK_S 0.5 /* between looks for RUN/stop */
#define WARN_S      10.0

typedef enum {
    RUNNING,
    DRAINING, /* it is to stop: what is out comes in */
    CLOSING,  /* all units are in; the last checkpoint is made */
    ENDED
} phase_t;

struct ps_lead {
    ps_units_t *units;
    phase_t phase;
    bool stopped;
    uint64_t repeated_base;
    double checkpoint_due, stop_look, warn_due, end_limit;
    bool *here; /* [servers] */
    int servers_here, farewells;
    int *revokes; /* [workers] REVOKEs not answered: nothing is handed out meanwhile */
    int revoking; /* sum of them */
    bool reorder; /* `sync`: a unit came back that others may come to wait for */

    /* the checkpoint under way */
    bool active, last, failed, committing, last_written;
    int64_t want_cut;        /* `sync`: to be evaluated, when what is under way is done; -1: none */
    bool begun;              /* the first step may be one to write, before any was made */
    bool dismissed;          /* workers know that no unit will come */
    bool early;              /* the run ends before its time */
    bool final;              /* the last checkpoint is to be evaluated */
    int64_t step, want_last; /* want_last: the last one, when the one under way is done; -1: none */
    unsigned cut_number;
    int acks_missing, shards_missing;
    double cut_began;
    hp_position_t position;
    uint64_t *outstanding;
    hp_shard_record_t *record; /* [servers] */
    int64_t spare;             /* step of a checkpoint that must stay */
    pthread_t thread;
    atomic_int done;
    hp_status_t status;
    hp_error_t err;
};

static uint64_t unit_of_step(const ps_server_t *s, int64_t step) {
    return s->unit_base + (uint64_t)(step - s->step_base) * (uint64_t)s->shards;
}

hp_status_t ps_lead_create(ps_server_t *s, const hp_position_t *position, hp_error_t *err) {
    void *p = NULL, *here = NULL, *record = NULL, *revokes = NULL;
    const hp_config_t *config = s->options->config;
    HP_TRY(hp_allocate(&p, 1, sizeof(ps_lead_t), "server 0", err));
    ps_lead_t *l = s->lead = p;
    l->want_last = l->want_cut = -1;
    l->repeated_base = position->units_repeated;
    HP_TRY(hp_allocate(&here, (size_t)s->servers, sizeof *l->here, "server 0", err));
    l->here = here;
    HP_TRY(hp_allocate(&record, (size_t)s->servers, sizeof *l->record, "server 0", err));
    l->record = record;
    HP_TRY(hp_allocate(&revokes, (size_t)s->workers, sizeof *l->revokes, "server 0", err));
    l->revokes = revokes;
    HP_TRY(ps_valid_create(s, position, err));
    l->here[0] = true;
    l->servers_here = 1;
    int64_t left = s->steps > s->step_base ? s->steps - s->step_base : 0;
    uint64_t limit = s->unit_base + (uint64_t)left * (uint64_t)s->shards;
    uint64_t again = (uint64_t)position->outstanding, fresh = limit - s->unit_base;
    if (!s->sync && again > fresh) /* with cluster.accumulate: those beyond are not needed */
        limit = position->outstanding_unit[fresh];
    else if (!s->sync)
        limit -= again;
    double minutes = config->checkpoint.every_minutes;
    l->checkpoint_due = minutes > 0 ? s->began + 60 * minutes : -1;
    l->warn_due = s->began + WARN_S;
    HP_TRY(ps_units_create(
        s->workers, s->unit_base, limit, position->outstanding, position->outstanding_unit,
        config->cluster.consistency == HP_BOUNDED ? config->cluster.staleness : -1, &l->units,
        err));
    ps_spares_create(s);
    return HP_OK;
}

void ps_lead_destroy(ps_server_t *s) {
    ps_lead_t *l = s->lead;
    if (l == NULL) return;
    if (l->committing) pthread_join(l->thread, NULL);
    ps_valid_destroy(s);
    ps_units_destroy(l->units);
    hp_free(l->outstanding);
    hp_free(l->here);
    hp_free(l->revokes);
    hp_free(l->record);
    hp_free(l);
}

/* Workers give back what they hold from `unit` on. Nothing is handed out until all have: then the
 * lowest goes first again. */
static void take_back(ps_server_t *s, uint64_t unit, bool last) {
    const hp_message_t m = {.kind = HP_MSG_REVOKE, .flags = last ? HP_MSG_LAST : 0, .unit = unit};
    for (int i = 0; i < s->workers; i++) {
        if (s->worker[i].presence != PS_PRESENT) continue;
        ps_send(s, ps_worker_rank(s, i), &m, NULL, 0);
        s->lead->revokes[i]++;
        s->lead->revoking++;
    }
}

/* ---- checkpoints ---- */

static hp_status_t note_position(ps_server_t *s, int64_t step, hp_error_t *err) {
    ps_lead_t *l = s->lead;
    const uint64_t *unit = NULL;
    hp_free(l->outstanding);
    l->outstanding = NULL;
    l->position = (hp_position_t){.step = step,
                                  .next_unit = ps_units_next(l->units),
                                  .units_repeated = l->repeated_base + ps_units_repeated(l->units),
                                  .sync_shards = s->sync ? s->shards : 0,
                                  .incarnation = (uint64_t)s->options->start,
                                  .workers = s->workers,
                                  .store_digest = s->options->store_digest,
                                  .kernel = s->options->kernel,
                                  .pixel_height = s->options->pixel_height,
                                  .pixel_width = s->options->pixel_width};
    ps_valid_note(s, &l->position);
    if (s->sync) { /* all before is retired then, nothing after is begun */
        l->position.next_unit = unit_of_step(s, step);
        return HP_OK;
    }
    l->position.units_repeated += ps_units_pushed(l->units);
    int n = ps_units_outstanding(l->units, &unit);
    void *copy = NULL;
    int room = n + s->servers * s->shards; /* and what servers have summed and made no step of */
    HP_TRY(hp_allocate(&copy, (size_t)room, sizeof *unit, "position", err));
    if (n > 0) memcpy(copy, unit, (size_t)n * sizeof *unit);
    l->outstanding = copy;
    l->position.outstanding = n;
    l->position.outstanding_unit = copy;
    return HP_OK;
}

static void announce(ps_server_t *s, int64_t step, bool last) {
    ps_lead_t *l = s->lead;
    hp_error_t err;
    if (note_position(s, step, &err) != HP_OK) {
        ps_server_fail(s, err.status, "%s", err.text);
        return;
    }
    if (!l->active) {
        l->shards_missing = s->servers;
        l->cut_number++;
        l->failed = false;
    }
    l->active = true;
    l->last = last;
    l->step = step;
    l->acks_missing = s->servers - 1;
    l->cut_began = hp_clock();
    s->gate = s->sync && l->acks_missing > 0 ? step : -1;
    const hp_message_t m = {
        .kind = HP_MSG_CUT, .flags = last ? HP_MSG_LAST : 0, .step = step, .count = l->cut_number};
    for (int i = 1; i < s->servers; i++) ps_send(s, i, &m, NULL, 0);
    ps_cut_begin(s, l->cut_number, step, last);
}

static void *commit(void *context) {
    ps_server_t *s = context;
    ps_lead_t *l = s->lead;
    l->status = hp_checkpoint_commit(s->options->run, s->options->params, &l->position,
                                     s->options->config_yaml, s->servers, l->record,
                                     s->options->config->checkpoint.keep, l->spare, &l->err);
    atomic_store(&l->done, 1);
    hp_transport_wake(s->transport);
    return NULL;
}

/* The checkpoint is written, or failed for good. */
static void cut_over(ps_server_t *s) {
    ps_lead_t *l = s->lead;
    l->active = false;
    double minutes = s->options->config->checkpoint.every_minutes;
    if (minutes > 0) l->checkpoint_due = hp_clock() + 60 * minutes;
    if (l->failed) {
        hp_log(s->options->log, HP_LOG_ERROR, "checkpoint at step %" PRId64 " not written: %s",
               l->step, l->err.text);
        hp_checkpoint_discard(s->options->run, l->step);
    } else {
        hp_log(s->options->log, HP_LOG_INFO, "checkpoint at step %" PRId64 " written (%.1f s)",
               l->step, hp_clock() - l->cut_began);
    }
    ps_valid_written(s, l->step, l->failed);
    if (l->last) {
        l->final = !l->failed && !l->stopped && ps_valid_due(s, l->step);
        l->last_written = true;
        if (l->failed && s->verdict == HP_OK) {
            s->verdict = l->err.status;
            s->why = l->err;
        }
    } else if (l->want_last >= 0) {
        announce(s, l->want_last, true);
    }
}

/* A unit that some server had summed and not yet made a step of is computed again. */
static void add_outstanding(ps_lead_t *l, uint64_t unit) {
    uint64_t *all = l->outstanding;
    int n = l->position.outstanding, at = n;
    if (unit >= l->position.next_unit) return; /* handed out after the position was noted */
    while (at > 0 && all[at - 1] >= unit) at--;
    if (at < n && all[at] == unit) return;
    memmove(all + at + 1, all + at, (size_t)(n - at) * sizeof *all);
    all[at] = unit;
    l->position.outstanding++;
    l->position.units_repeated++;
}

void ps_lead_shard(ps_server_t *s, int server, const ps_cut_t *cut) {
    ps_lead_t *l = s->lead;
    if (cut->status == HP_OK) {
        l->record[server] = cut->record;
        for (int i = 0; i < cut->partials; i++) add_outstanding(l, cut->partial[i]);
    } else {
        l->failed = true;
        l->err = cut->err;
    }
    if (--l->shards_missing > 0) return;
    atomic_store(&l->done, 0);
    if (s->sync) /* a worker may have been lost since the position was noted */
        l->position.units_repeated = l->repeated_base + ps_units_repeated(l->units);
    if (!l->failed) {
        l->spare = ps_valid_spare(s);
        l->committing = pthread_create(&l->thread, NULL, commit, s) == 0;
        if (l->committing) return;
        l->failed = true;
        hp_fail(&l->err, HP_MEMORY, "no thread to write the manifest");
    }
    cut_over(s);
}

static void commit_progress(ps_server_t *s) {
    ps_lead_t *l = s->lead;
    if (!l->committing || atomic_load(&l->done) == 0) return;
    pthread_join(l->thread, NULL);
    l->committing = false;
    l->failed = l->status != HP_OK;
    cut_over(s);
}

static int64_t reached(const ps_server_t *s) {
    return s->sync ? ps_order_step(s)
                   : s->step_base + (int64_t)ps_units_retired(s->lead->units) / s->shards;
}

/* By steps: in `sync` when E - 1 was made, else when E is reached. */
static void checkpoint_by_steps(ps_server_t *s, int64_t step) {
    ps_lead_t *l = s->lead;
    int64_t every = s->options->config->checkpoint.every_steps;
    bool due = ps_valid_due(s, step), free = !l->active && !ps_valid_pending(s);
    if (step >= s->steps || l->phase != RUNNING) return;
    if (due && !free && s->sync) {
        l->want_cut = s->gate = step;
        return;
    }
    if (!due && (every == 0 || step % every != 0)) return;
    if (l->active) {
        hp_log(s->options->log, HP_LOG_WARN,
               "no checkpoint at step %" PRId64 ": that of step %" PRId64 " is still being written",
               step, l->step);
        return;
    }
    if (due && free) ps_valid_expect(s, step);
    announce(s, step, false);
}

/* What had to wait for another checkpoint or evaluation. */
static void checkpoint_that_waits(ps_server_t *s) {
    ps_lead_t *l = s->lead;
    int64_t step = l->want_cut;
    if (step < 0 || l->phase != RUNNING || l->active || ps_valid_pending(s)) return;
    l->want_cut = -1;
    if (step >= s->steps) return; /* the last one, which comes when its units are in */
    ps_valid_expect(s, step);
    announce(s, step, false);
}

void ps_lead_stepped(ps_server_t *s) {
    if (s->sync) checkpoint_by_steps(s, ps_order_step(s) + 1);
}

static void checkpoint_by_minutes(ps_server_t *s, double now) {
    ps_lead_t *l = s->lead;
    if (l->checkpoint_due < 0 || now < l->checkpoint_due || l->active || l->want_cut >= 0 ||
        l->phase != RUNNING)
        return;
    int64_t step = reached(s) + (s->sync ? 1 : 0);
    l->checkpoint_due = now + 60 * s->options->config->checkpoint.every_minutes;
    if (step < s->steps && step > s->step_base) announce(s, step, false);
}

/* ---- the end ---- */

/* The last checkpoint, after the one that is under way. */
static void announce_last(ps_server_t *s, int64_t step) {
    ps_lead_t *l = s->lead;
    l->want_last = step;
    if (s->sync && step > ps_order_step(s)) s->gate = step;
    if (!l->active || (s->cut.wanted && l->step == step)) announce(s, step, true);
}

void ps_lead_stop(ps_server_t *s, hp_status_t verdict, const char *why) {
    ps_lead_t *l = s->lead;
    if (l->phase <= CLOSING) {
        ps_valid_abandon(s);
        l->final = false;
    }
    if (l->phase != RUNNING) return;
    if (verdict != HP_OK && s->verdict == HP_OK) s->verdict = hp_fail(&s->why, verdict, "%s", why);
    hp_log(s->options->log, verdict == HP_OK ? HP_LOG_INFO : HP_LOG_ERROR,
           "stopping after step %" PRId64 ": %s", reached(s), why);
    uint64_t limit = 0;
    l->phase = DRAINING;
    l->stopped = true;
    if (s->sync) {
        int64_t step = ps_order_step(s) + 1;
        if (step > s->steps) step = s->steps;
        limit = unit_of_step(s, step);
        ps_units_limit(l->units, limit);
        if (step < s->steps) announce_last(s, step);
    }
    take_back(s, limit, false);
}

bool ps_lead_end_early(ps_server_t *s, int64_t step) {
    ps_lead_t *l = s->lead;
    if (step < s->step_base) step = s->step_base;
    uint64_t shards = (uint64_t)s->shards, done = ps_units_retired(l->units);
    uint64_t limit = s->sync ? unit_of_step(s, step) : ps_units_next(l->units);
    const uint64_t *unit = NULL;
    if (l->phase != RUNNING || step >= s->steps) return false;
    l->early = true;
    if (!s->sync) { /* what is handed out, up to a whole step */
        done += (uint64_t)ps_units_outstanding(l->units, &unit);
        limit += (shards - done % shards) % shards;
        step = s->step_base + (int64_t)((done + shards - 1) / shards);
    }
    if (step < s->steps) s->steps = step;
    ps_units_limit(l->units, limit);
    return true;
}

/* No unit will come, and no part of an evaluation. */
static void dismiss(ps_server_t *s) {
    if (s->lead->dismissed) return;
    s->lead->dismissed = true;
    take_back(s, 0, true);
}

/* Every unit that is to be done is in. */
static void drained(ps_server_t *s) {
    ps_lead_t *l = s->lead;
    l->phase = CLOSING;
    if (l->stopped || !(ps_valid_pending(s) || ps_valid_due(s, s->steps))) dismiss(s);
    if (l->want_last >= 0) return;
    /* In `sync` the last step's units are acknowledged as they are summed: another server may have
     * made the step when this one has not. */
    int64_t step = s->sync && s->steps > s->step_base ? s->steps : reached(s);
    if (step > s->step_base || s->options->resume == NULL)
        announce_last(s, step);
    else
        l->last_written = true; /* nothing was done since the checkpoint it began with */
}

static void tell_end(ps_server_t *s, int rank) {
    const hp_message_t m = {.kind = HP_MSG_END,
                            .flags = s->crippled ? HP_MSG_FAILED : 0,
                            .count = (uint32_t)s->verdict};
    ps_send(s, rank, &m, s->why.text, s->verdict == HP_OK ? 0 : strnlen(s->why.text, 1024));
}

static void end(ps_server_t *s) {
    ps_lead_t *l = s->lead;
    if (s->verdict == HP_OK) dismiss(s);
    if (l->last_written) /* what had to stay for an evaluation */
        hp_checkpoint_prune(s->options->run, l->step > s->step_base ? l->step : s->step_base,
                            s->options->config->checkpoint.keep, ps_valid_spare(s));
    if (s->verdict != HP_OK)
        s->crippled = s->crippled || s->lossy || s->peers.lost_count > 0 || s->verdict == HP_PEER ||
                      s->verdict == HP_TRANSPORT;
    l->phase = ENDED;
    l->end_limit = hp_clock() + ps_server_patience(s);
    s->over = true;
    for (int i = 1; i < s->servers; i++) tell_end(s, i);
    /* One that is lost may live, and wait to come back. Where the run has failed all are told: one
     * may be about to say hello, one that has said goodbye may wait for the server that is lost. */
    for (int i = 0; i < s->workers; i++)
        if (s->verdict != HP_OK || s->worker[i].lost) tell_end(s, ps_worker_rank(s, i));
}

/* ---- who is here ---- */

void ps_lead_worker_here(ps_server_t *s, int worker, int room) {
    if (ps_spares_arrives(s, worker, room)) ps_units_room(s->lead->units, worker, room);
    if (s->lead->phase == ENDED && s->verdict != HP_OK) tell_end(s, ps_worker_rank(s, worker));
    if (!s->lead->dismissed) return;
    const hp_message_t last = {.kind = HP_MSG_REVOKE, .flags = HP_MSG_LAST};
    ps_send(s, ps_worker_rank(s, worker), &last, NULL, 0);
}

static int count_workers(const ps_server_t *s, ps_presence_t presence) {
    int n = 0;
    for (int i = 0; i < s->workers; i++) n += s->worker[i].presence == presence;
    return n;
}

void ps_lead_worker_gone(ps_server_t *s, int worker, bool pushed) {
    ps_lead_t *l = s->lead;
    int held = ps_units_held(l->units, worker);
    ps_units_leave(l->units, worker, pushed);
    ps_valid_worker_gone(s, worker);
    l->revoking -= l->revokes[worker];
    l->revokes[worker] = 0;
    l->reorder = true;
    bool none = count_workers(s, PS_PRESENT) + count_workers(s, PS_EXPECTED) == 0;
    if (l->phase >= CLOSING) {
        if (none) ps_valid_abandon(s);
        l->final = l->final && !none;
        return;
    }
    hp_log(s->options->log, HP_LOG_WARN, "worker %d has left; %d units go to others", worker, held);
    ps_spares_replace(s, worker);
    if (!none) return;
    ps_server_fail(s, HP_PEER, "no worker is left");
}

static void look_for_missing(ps_server_t *s, double now) {
    ps_lead_t *l = s->lead;
    int missing = s->servers - l->servers_here + count_workers(s, PS_EXPECTED);
    if (missing == 0 || now < l->warn_due) return;
    char names[256] = "";
    size_t n = 0;
    for (int rank = 0; rank < s->servers + s->workers && n < 200; rank++) {
        bool server = rank < s->servers;
        if (server ? l->here[rank] : s->worker[rank - s->servers].presence != PS_EXPECTED) continue;
        n += (size_t)snprintf(names + n, sizeof names - n, " rank %d (%s) on %s,", rank,
                              server ? "server" : "worker",
                              hp_transport_peer_host(s->transport, rank));
    }
    names[n > 0 ? n - 1 : 0] = '\0';
    l->warn_due = now + WARN_S;
    double patience = s->options->config->cluster.start_seconds;
    if (now < s->began + patience) {
        hp_log(s->options->log, HP_LOG_WARN, "waiting for%s", names);
        return;
    }
    if (l->servers_here < s->servers || count_workers(s, PS_PRESENT) == 0) {
        ps_peers_never_came(s);
        ps_server_fail(s, HP_PEER, "after %.0f s still missing:%s", patience, names);
        return;
    }
    hp_log(s->options->log, HP_LOG_WARN, "going on without%s", names);
    for (int i = 0; i < s->workers; i++)
        if (s->worker[i].presence == PS_EXPECTED) {
            s->worker[i].presence = PS_GONE;
            ps_units_leave(l->units, i, false);
            ps_spares_replace(s, i);
        }
}

/* ---- units ---- */

/* In `sync` a worker that waits for the weights of a later step would never come to a unit that it
 * is given now. When one comes back, all that follow are taken back too, and handed out in order.
 */
static void reorder(ps_server_t *s) {
    ps_lead_t *l = s->lead;
    uint64_t unit;
    if (!l->reorder || l->revoking > 0) return;
    l->reorder = false;
    if (s->sync && ps_units_waiting(l->units, &unit)) take_back(s, unit + 1, false);
}

/* Where it is to stop and is not `sync`, only what the last step still needs. */
static bool may_hand_out(const ps_server_t *s) {
    const ps_lead_t *l = s->lead;
    return l->phase < DRAINING || s->sync || !ps_units_whole(l->units, s->shards);
}

static void hand_out(ps_server_t *s) {
    int worker;
    uint64_t unit;
    reorder(s);
    if (s->lead->revoking > 0) return;
    int64_t held = ps_valid_limit(s);
    ps_units_hold(s->lead->units, held < s->steps ? unit_of_step(s, held) : UINT64_MAX);
    while (may_hand_out(s) && ps_units_take(s->lead->units, &worker, &unit)) {
        hp_message_t m = {.kind = HP_MSG_UNIT, .unit = unit};
        if (s->sync) m.step = s->step_base + (int64_t)((unit - s->unit_base) / (uint64_t)s->shards);
        ps_send(s, ps_worker_rank(s, worker), &m, NULL, 0);
    }
}

static void returned(ps_server_t *s, int worker, uint64_t unit, bool pushed) {
    ps_lead_t *l = s->lead;
    if (ps_units_return(l->units, worker, unit, pushed) && l->revokes[worker] == 0)
        l->reorder = true;
}

static void revoke_answered(ps_server_t *s, int worker) {
    ps_lead_t *l = s->lead;
    if (l->revokes[worker] == 0) return;
    l->revokes[worker]--;
    l->revoking--;
}

static void retired(ps_server_t *s, int worker, uint64_t unit) {
    ps_units_t *units = s->lead->units;
    if (unit >= s->unit_limit) {
        ps_units_return(units, worker, unit, true);
    } else if (ps_units_retire(units, worker, unit) && !s->sync &&
               ps_units_retired(units) % (uint64_t)s->shards == 0) {
        checkpoint_by_steps(s, reached(s));
    }
}

/* ---- messages and time ---- */

static void shard_reported(ps_server_t *s, int from, const hp_message_t *m, const void *payload) {
    ps_lead_t *l = s->lead;
    ps_cut_t cut = {.status = HP_OK};
    if (!l->active || m->step != l->step || from >= s->servers) return;
    if ((m->flags & HP_MSG_FAILED) != 0)
        cut.status = hp_fail(&cut.err, HP_IO, "server %d: %.*s", from, (int)m->length,
                             (const char *)payload);
    else if (m->length >= sizeof cut.record &&
             m->length <= sizeof cut.record + sizeof cut.partial) {
        memcpy(&cut.record, payload, sizeof cut.record);
        cut.partials = (int)((m->length - sizeof cut.record) / sizeof *cut.partial);
        memcpy(cut.partial, (const char *)payload + sizeof cut.record,
               (size_t)cut.partials * sizeof *cut.partial);
    } else
        cut.status = hp_fail(&cut.err, HP_PEER, "server %d sends no record", from);
    ps_lead_shard(s, from, &cut);
}

void ps_lead_mail(ps_server_t *s, int from, const hp_message_t *m, const void *payload) {
    ps_lead_t *l = s->lead;
    int worker = from - s->servers;
    switch (m->kind) {
    case HP_MSG_HELLO:
        if (!l->here[from]) l->servers_here++;
        l->here[from] = true;
        ps_peers_greet(s, from);
        break;
    case HP_MSG_RETIRE:
        retired(s, worker, m->unit);
        break;
    case HP_MSG_RETURN:
        returned(s, worker, m->unit, (m->flags & HP_MSG_PUSHED) != 0);
        break;
    case HP_MSG_REVOKED:
        revoke_answered(s, worker);
        break;
    case HP_MSG_EVALUATED:
        ps_valid_mail(s, worker, m, payload);
        break;
    case HP_MSG_STOP:
        ps_lead_stop(s, HP_OK, "a worker asks for it");
        break;
    case HP_MSG_CUT_ACK:
        if (!l->active || m->step != l->step || ((m->flags & HP_MSG_LAST) != 0) != l->last) break;
        if (--l->acks_missing == 0) s->gate = -1;
        break;
    case HP_MSG_SHARD:
        shard_reported(s, from, m, payload);
        break;
    case HP_MSG_FAIL:
        s->crippled = s->crippled || (m->flags & HP_MSG_FAILED) != 0;
        ps_server_fail(s, m->count > HP_OK && m->count < HP_STATUS_COUNT ? m->count : HP_PEER,
                       "server %d on %s: %.*s", from, hp_transport_peer_host(s->transport, from),
                       (int)m->length, (const char *)payload);
        break;
    case HP_MSG_FAREWELL:
        l->farewells++;
        break;
    default:
        break;
    }
}

void ps_lead_describe(const ps_server_t *s, char *text, size_t size) {
    const ps_lead_t *l = s->lead;
    if (l->active && l->acks_missing > 0)
        snprintf(text, size, "%d servers' word on the checkpoint at step %" PRId64, l->acks_missing,
                 l->step);
    else if (l->active)
        snprintf(text, size, "%d servers' parts of the checkpoint at step %" PRId64,
                 l->shards_missing, l->step);
    else if (l->revoking > 0)
        snprintf(text, size, "the answers of workers that give units back");
    else if (ps_valid_pending(s))
        snprintf(text, size, "a part of an evaluation");
    else
        snprintf(text, size, "the %d units that workers have", ps_units_leased(l->units));
}

/* The checkpoint of a step in `sync` is nobody's to make before all have come to the step. */
static void watch(ps_server_t *s, double now) {
    const ps_lead_t *l = s->lead;
    bool missing = l->servers_here < s->servers || count_workers(s, PS_EXPECTED) > 0;
    ps_stall_watch(s, now, missing || l->committing, l->active && s->gate < 0 && !s->cut.wanted);
}

static void look_for_stop(ps_server_t *s, double now) {
    ps_lead_t *l = s->lead;
    char path[HP_RUN_PATH];
    double minutes = s->options->config->run.max_minutes;
    if (l->phase != RUNNING && l->phase != CLOSING) return;
    if (s->options->stop != NULL && atomic_load(s->options->stop) != 0)
        ps_lead_stop(s, HP_OK, "a signal");
    else if (minutes > 0 && now > s->began + 60 * minutes)
        ps_lead_stop(s, HP_OK, "run.max_minutes are over");
    if (now < l->stop_look) return;
    l->stop_look = now + STOP_LOOK_S;
    if (hp_run_path(s->options->run, "stop", path, NULL) == HP_OK && unlink(path) == 0)
        ps_lead_stop(s, HP_OK, "hanps stop");
}

void ps_lead_progress(ps_server_t *s, double now) {
    ps_lead_t *l = s->lead;
    if (l->phase == ENDED) {
        int present = count_workers(s, PS_PRESENT);
        if (ps_server_awaits_late(s, now)) return;
        s->abandoned = now > l->end_limit;
        int well = s->servers - 1 - s->peers.lost_count;
        if ((present == 0 && l->farewells >= well) || s->abandoned) s->leaving = true;
        return;
    }
    commit_progress(s);
    if (s->failed) {
        end(s);
        return;
    }
    look_for_missing(s, now);
    ps_liveness_progress(s, now);
    look_for_stop(s, now);
    /* before that by time, which would be of the same step: the first step would wait for it, and
     * it for the first step */
    if (s->sync && !l->begun) checkpoint_by_steps(s, s->step_base + 1);
    l->begun = true;
    checkpoint_by_minutes(s, now);
    hand_out(s);
    ps_valid_hand_out(s);
    checkpoint_that_waits(s);
    bool stopped = l->phase == DRAINING && !s->sync && ps_units_leased(l->units) == 0 &&
                   ps_units_whole(l->units, s->shards);
    if (l->phase < CLOSING && (ps_units_done(l->units) || stopped)) drained(s);
    watch(s, now);
    if (l->phase != CLOSING || !l->last_written || ps_valid_pending(s)) return;
    if (!l->final) {
        end(s);
        return;
    }
    l->final = false;
    ps_valid_expect(s, l->step);
    ps_valid_written(s, l->step, false);
}

bool ps_lead_knows(const ps_server_t *s, int server) { return s->lead->here[server]; }

ps_units_t *ps_lead_units(const ps_server_t *s) { return s->lead->units; }

void ps_lead_outcome(const ps_server_t *s, ps_outcome_t *outcome) {
    const ps_lead_t *l = s->lead;
    outcome->step = reached(s);
    outcome->units = ps_units_retired(l->units);
    outcome->units_repeated = l->repeated_base + ps_units_repeated(l->units);
    outcome->early = l->early;
    outcome->stopped = l->stopped && outcome->step < s->steps;
}
