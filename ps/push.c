/* Gradients on their way in: slots are granted, filled by receives that were posted first, and
 * handed on when the push is whole and committed. */
#include "common/memory.h"
#include "ps/internal.h"

#include <inttypes.h>
#include <string.h>

enum { MOST_SLOTS = 255 }; /* a tag has 8 bits for it */

static hp_status_t create_slot(ps_server_t *s, int number, hp_error_t *err) {
    ps_slot_t *slot = &s->slot[number];
    void *part = NULL, *in = NULL, *memory = NULL;
    *slot = (ps_slot_t){.server = s, .number = number};
    HP_TRY(hp_allocate(&part, (size_t)s->chunks, sizeof *slot->part, "slot", err));
    slot->part = part;
    HP_TRY(hp_allocate(&in, (size_t)s->chunks, sizeof *slot->in, "slot", err));
    slot->in = in;
    for (int i = 0; i < s->chunks; i++) {
        const hp_chunk_t *c = ps_shard_chunk(s->shard, i);
        slot->in[i] = (ps_part_t){.slot = slot, .chunk = i};
        HP_TRY(hp_allocate(&memory, hp_chunk_push_bytes(c, c->rows), 1, "slot", err));
        slot->part[i] = memory;
    }
    return HP_OK;
}

hp_status_t ps_push_create(ps_server_t *s, hp_error_t *err) {
    void *p = NULL;
    s->slots = s->options->config->cluster.slots;
    HP_TRY(
        hp_allocate(&p, MOST_SLOTS, sizeof *s->slot, "slots", err)); /* lost workers leave some */
    s->slot = p;
    for (int i = 0; i < s->slots; i++) HP_TRY(create_slot(s, i, err));
    return HP_OK;
}

void ps_push_destroy(ps_server_t *s) {
    for (int i = 0; s->slot != NULL && i < s->slots; i++) {
        for (int k = 0; s->slot[i].part != NULL && k < s->chunks; k++) hp_free(s->slot[i].part[k]);
        hp_free(s->slot[i].part);
        hp_free(s->slot[i].in);
    }
    hp_free(s->slot);
}

static void acknowledge(ps_server_t *s, int worker, uint64_t unit, uint64_t push,
                        int64_t staleness) {
    const hp_message_t ack = {.kind = HP_MSG_ACK,
                              .unit = unit,
                              .value = push,
                              .step = ps_order_step(s),
                              .count = (uint32_t)staleness};
    ps_send(s, ps_worker_rank(s, worker), &ack, NULL, 0);
}

/* Bytes and row numbers of a sparse chunk are as they must be. */
static bool rows_are_right(const hp_chunk_t *c, const void *data, size_t bytes) {
    const int32_t *head = data;
    if (bytes < HP_ROWS_HEAD * sizeof(int32_t) || head[0] < 0 || head[0] > c->rows) return false;
    if (bytes != hp_chunk_push_bytes(c, head[0])) return false;
    for (int32_t k = 0; k < head[0]; k++) {
        int32_t row = head[HP_ROWS_HEAD + k];
        if (row < 0 || row >= c->rows || (k > 0 && row <= head[HP_ROWS_HEAD + k - 1])) return false;
    }
    return true;
}

static void maybe_ready(ps_slot_t *slot) {
    if (slot->state != PS_SLOT_FILLING || !slot->committed || slot->pending > 0) return;
    slot->state = PS_SLOT_READY;
    ps_trace_ready(slot->server, slot);
    ps_order_ready(slot->server, slot);
}

static void empty(ps_server_t *s, ps_slot_t *slot) {
    slot->state = PS_SLOT_EMPTYING;
    if (slot->pending == 0) slot->state = PS_SLOT_FREE;
    for (int i = 0; i < s->chunks; i++)
        if (slot->in[i].pending) hp_transport_cancel(s->transport, slot->in[i].request);
}

/* A chunk that was sent must have arrived before its receive is withdrawn: it would be taken for a
 * chunk of the slot's next push. */
static void maybe_empty(ps_server_t *s, ps_slot_t *slot) {
    bool waits = slot->state == PS_SLOT_ABORTED || slot->state == PS_SLOT_LEFT;
    if (waits && (uint64_t)(s->chunks - slot->pending) >= slot->sent) empty(s, slot);
    if (slot->state == PS_SLOT_EMPTYING && slot->pending == 0) slot->state = PS_SLOT_FREE;
    if (slot->state == PS_SLOT_FREE) ps_push_grant(s);
}

static void part_arrived(void *context, const hp_completion_t *completion) {
    ps_part_t *part = context;
    ps_slot_t *slot = part->slot;
    ps_server_t *s = slot->server;
    const hp_chunk_t *c = ps_shard_chunk(s->shard, part->chunk);
    part->pending = false;
    slot->pending--;
    s->received += completion->bytes;
    if (slot->state == PS_SLOT_ABORTED || slot->state == PS_SLOT_EMPTYING ||
        slot->state == PS_SLOT_LEFT) {
        maybe_empty(s, slot);
        return;
    }
    ps_trace_arrival(s, slot);
    bool right = completion->status == HP_OK;
    if (right && c->rows == 0)
        right = completion->bytes == hp_chunk_push_bytes(c, 0);
    else if (right)
        right = rows_are_right(c, slot->part[part->chunk], completion->bytes);
    if (!right) slot->malformed = true;
    maybe_ready(slot);
}

/* Post the receives, then tell the worker to send. */
static void grant(ps_server_t *s, ps_slot_t *slot, int worker) {
    ps_worker_t *w = &s->worker[worker];
    hp_error_t err;
    w->offers = false;
    slot->state = PS_SLOT_FILLING;
    slot->worker = worker;
    slot->unit = w->offer;
    slot->push = w->push;
    slot->committed = slot->malformed = false;
    ps_trace_granted(s, slot);
    for (int i = 0; i < s->chunks; i++) {
        const hp_chunk_t *c = ps_shard_chunk(s->shard, i);
        ps_part_t *part = &slot->in[i];
        size_t capacity = hp_chunk_push_bytes(c, c->rows);
        if (hp_transport_receive(s->transport, ps_worker_rank(s, worker),
                                 hp_tag_push((unsigned)slot->number, ps_shard_number(s->shard, i)),
                                 slot->part[i], capacity, part_arrived, part, &part->request,
                                 &err) != HP_OK) {
            ps_server_fail(s, err.status, "%s", err.text);
            return;
        }
        part->pending = true;
        slot->pending++;
    }
    const hp_message_t m = {.kind = HP_MSG_GRANT,
                            .unit = slot->unit,
                            .value = slot->push,
                            .count = (uint32_t)slot->number};
    ps_send(s, ps_worker_rank(s, worker), &m, NULL, 0);
}

/* The offer to serve next: in `sync` the lowest unit, else the oldest offer. */
static int next_offer(const ps_server_t *s) {
    int best = -1;
    for (int i = 0; i < s->workers; i++) {
        const ps_worker_t *w = &s->worker[i], *b = &s->worker[best < 0 ? 0 : best];
        if (!w->offers) continue;
        bool before = s->sync ? w->offer < b->offer : w->offer_order < b->offer_order;
        if (best < 0 || before) best = i;
    }
    return best;
}

/* In `sync` the last free slot is kept for the next unit in order, unless that has one: all others
 * wait for it. */
void ps_push_grant(ps_server_t *s) {
    for (int worker; !s->leaving && (worker = next_offer(s)) >= 0;) {
        int free = 0;
        bool next_in = false;
        ps_slot_t *slot = NULL;
        for (int i = 0; i < s->slots; i++) {
            ps_slot_t *k = &s->slot[i];
            bool used = k->state == PS_SLOT_FILLING || k->state == PS_SLOT_READY;
            if (used && k->unit == s->fold_next) next_in = true;
            if (k->state != PS_SLOT_FREE) continue;
            if (slot == NULL) slot = k;
            free++;
        }
        bool kept = s->sync && free == 1 && !next_in && s->worker[worker].offer != s->fold_next;
        if (free == 0 || kept) return;
        grant(s, slot, worker);
    }
}

/* `sync`: a unit that came whole to this server and not to all, before its worker was lost. Whoever
 * computes it again gets the same bits. */
static bool staged(const ps_server_t *s, uint64_t unit) {
    for (int i = 0; s->sync && i < s->slots; i++) {
        const ps_slot_t *k = &s->slot[i];
        bool kept =
            k->state == PS_SLOT_FILLING || k->state == PS_SLOT_READY || k->state == PS_SLOT_FOLDING;
        if (kept && k->unit == unit && k->committed) return true;
    }
    return false;
}

void ps_push_offer(ps_server_t *s, int worker, const hp_message_t *m) {
    ps_worker_t *w = &s->worker[worker];
    if (!ps_order_wants(s, m->unit) || staged(s, m->unit)) {
        acknowledge(s, worker, m->unit, m->value, 0);
        return;
    }
    if (w->offers) {
        ps_server_fail(s, HP_PEER,
                       "worker %d offers unit %" PRIu64 " before %" PRIu64 " is granted", worker,
                       m->unit, w->offer);
        return;
    }
    w->offers = true;
    w->offer = m->unit;
    w->push = m->value;
    w->offer_order = s->offers++;
    ps_push_grant(s);
}

static ps_slot_t *filling(ps_server_t *s, int worker, uint64_t unit) {
    for (int i = 0; i < s->slots; i++) {
        ps_slot_t *slot = &s->slot[i];
        if (slot->state == PS_SLOT_FILLING && slot->worker == worker && slot->unit == unit)
            return slot;
    }
    return NULL;
}

void ps_push_commit(ps_server_t *s, int worker, const hp_message_t *m) {
    ps_slot_t *slot = filling(s, worker, m->unit);
    if (slot == NULL || slot->committed) {
        ps_server_fail(s, HP_PEER, "worker %d commits unit %" PRIu64 ", which has no slot", worker,
                       m->unit);
        return;
    }
    slot->committed = true;
    slot->examples = m->value;
    slot->squared_norm = m->real;
    slot->nonfinite = (m->flags & HP_MSG_NONFINITE) != 0;
    slot->worst = m->count;
    slot->oldest = s->worker[worker].oldest;
    s->worker[worker].unapplied++;
    maybe_ready(slot);
}

void ps_push_abort(ps_server_t *s, int worker, const hp_message_t *m) {
    ps_worker_t *w = &s->worker[worker];
    ps_slot_t *slot = filling(s, worker, m->unit);
    if (w->offers && w->offer == m->unit) w->offers = false;
    if (slot != NULL && !slot->committed) {
        slot->state = PS_SLOT_ABORTED;
        slot->sent = m->value;
        maybe_empty(s, slot);
    }
    ps_push_grant(s);
}

void ps_push_drop_worker(ps_server_t *s, int worker) {
    s->worker[worker].offers = false;
    for (int i = 0; i < s->slots; i++) {
        ps_slot_t *slot = &s->slot[i];
        if (slot->worker == worker && slot->state == PS_SLOT_FILLING && !slot->committed)
            empty(s, slot);
    }
    ps_push_grant(s);
}

/* Another slot for one that a lost worker left. */
static void replace_slot(ps_server_t *s) {
    hp_error_t err;
    int usable = 0;
    for (int i = 0; i < s->slots; i++) usable += s->slot[i].state != PS_SLOT_LEFT;
    if (usable >= s->options->config->cluster.slots) return; /* one that was left is free again */
    if (s->slots == MOST_SLOTS || create_slot(s, s->slots, &err) != HP_OK)
        ps_server_fail(s, HP_MEMORY, "no room for another slot after a worker was lost");
    else
        s->slots++;
}

void ps_push_lose_worker(ps_server_t *s, int worker) {
    s->worker[worker].offers = false;
    int slots = s->slots;
    for (int i = 0; i < slots; i++) {
        ps_slot_t *slot = &s->slot[i];
        if (slot->worker != worker) continue;
        if (slot->state == PS_SLOT_FILLING) {
            if (slot->committed) s->worker[worker].unapplied--;
            slot->sent = slot->committed ? (uint64_t)s->chunks : UINT64_MAX;
        } else if (slot->state == PS_SLOT_EMPTYING) {
            slot->sent = 0;
        } else if (slot->state != PS_SLOT_ABORTED) {
            continue;
        }
        slot->state = PS_SLOT_LEFT;
        replace_slot(s);
    }
    ps_push_grant(s);
}

void ps_push_resolve(ps_server_t *s, int worker, const hp_message_t *m) {
    for (int i = 0; i < s->slots; i++) {
        ps_slot_t *slot = &s->slot[i];
        if (slot->state != PS_SLOT_LEFT || slot->worker != worker || slot->unit != m->unit ||
            slot->sent != UINT64_MAX)
            continue;
        slot->sent = m->kind == HP_MSG_COMMIT ? (uint64_t)s->chunks : m->value;
        maybe_empty(s, slot);
    }
}

void ps_push_done(ps_server_t *s, ps_slot_t *slot) {
    slot->state = PS_SLOT_FREE;
    if (s->worker[slot->worker].presence == PS_PRESENT)
        acknowledge(s, slot->worker, slot->unit, slot->push, slot->staleness);
    ps_trace_done(s, slot->worker);
    ps_push_grant(s);
}

bool ps_push_pending(const ps_server_t *s) {
    for (int i = 0; i < s->slots; i++)
        if (s->slot[i].state != PS_SLOT_FREE) return true;
    return false;
}
