/* Weights on their way out: a pull is answered chunk by chunk, in the order in which forward needs
 * them, as soon as a chunk has the version asked for, straight from the published buffers.
 *
 * In `sync` the version before the newest is kept too: when a worker is lost whose push reached
 * this server and not another, someone must compute its unit again from the weights it had. Servers
 * are never more than one step apart, so that is enough. */
#include "ps/internal.h"

#include <inttypes.h>

enum { WINDOW = 16 << 20 }; /* bytes on the way to one worker: bounds the old versions it holds */

typedef struct {
    ps_server_t *server;
    int worker;
    int64_t bytes;
    ps_buffer_t *buffer;
} ps_send_t;

static void send_done(void *context, const hp_completion_t *completion) {
    ps_send_t *send = context;
    ps_server_t *s = send->server;
    ps_worker_t *w = &s->worker[send->worker];
    (void)completion; /* a worker that is gone is noticed otherwise */
    w->sends--;
    w->sending -= send->bytes;
    s->sent += (uint64_t)send->bytes;
    if (w->sends == 0 && !w->pulling) ps_trace_sent(s, w);
    ps_shard_give(s->shard, send->buffer);
    hp_pool_give(&s->sends, send);
}

void ps_pull_begin(ps_server_t *s, int worker, const hp_message_t *m) {
    ps_worker_t *w = &s->worker[worker];
    ps_trace_sent(s, w); /* the one before, where its last send is not reported yet */
    w->pulling = true;
    w->pull = m->count;
    w->next = 0;
    w->exact = (m->flags & HP_MSG_EXACT) != 0;
    w->sequence = m->step - s->step_base;
    w->oldest = INT64_MAX;
    ps_trace_pull(s, w);
}

/* Sends the next chunk; false: not yet. */
static bool send_next(ps_server_t *s, int worker) {
    ps_worker_t *w = &s->worker[worker];
    void *p = NULL;
    hp_error_t err;
    const hp_chunk_t *chunk = ps_shard_chunk(s->shard, w->next);
    int64_t bytes = (int64_t)hp_chunk_bytes(chunk, hp_chunk_floats(chunk));
    int64_t sequence = ps_shard_sequence(s->shard, w->next);
    if (w->exact ? sequence < w->sequence : w->unapplied > 0 || sequence < w->last_sequence)
        return false;
    if (w->exact) sequence = w->sequence;
    if (w->sends > 1 && w->sending + bytes > WINDOW) return false;
    /* None: older than what is kept. Its unit is applied everywhere, and the worker is told. */
    ps_buffer_t *buffer = ps_shard_take(s->shard, w->next, sequence);
    if (buffer == NULL) return false;
    if (hp_pool_take(&s->sends, &p, &err) != HP_OK) {
        ps_server_fail(s, err.status, "%s", err.text);
        ps_shard_give(s->shard, buffer);
        return false;
    }
    ps_send_t *send = p;
    *send = (ps_send_t){s, worker, bytes, buffer};
    ps_trace_sending(s, w);
    if (hp_transport_send(s->transport, ps_worker_rank(s, worker),
                          hp_tag_pull(w->pull, ps_shard_number(s->shard, w->next)),
                          send->buffer->data, (size_t)bytes, send_done, send, &err) != HP_OK) {
        ps_server_fail(s, err.status, "%s", err.text);
        return false;
    }
    w->sends++;
    w->sending += bytes;
    if (sequence < w->oldest) w->oldest = sequence;
    w->next++;
    return true;
}

void ps_pull_progress(ps_server_t *s) {
    for (int i = 0; i < s->workers; i++) {
        ps_worker_t *w = &s->worker[i];
        while (w->pulling && send_next(s, i))
            if (w->next == s->chunks) w->pulling = false;
    }
}

void ps_pull_drop_worker(ps_server_t *s, int worker) { s->worker[worker].pulling = false; }
