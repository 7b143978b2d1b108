/* What the two halves of the client share: client.c and client_pack.c, called by the compute
 * thread, and client_link.c, the communication thread. */
#ifndef WK_CLIENT_INTERNAL_H
#define WK_CLIENT_INTERNAL_H

#include "common/mailbox.h"
#include "common/shard_plan.h"
#include "worker/client.h"

#include <pthread.h>
#include <stdatomic.h>

enum { WK_RING = 256, WK_UNACKED = 256, WK_PIECE = 1 << 16 /* numbers */ };

/* A unit that server 0 gave. */
typedef struct {
    uint64_t unit;
    int64_t step;
    bool voided;   /* taken back */
    bool skipped;  /* wk_client_next_unit never gave it out */
    bool evaluate; /* no unit, but a part of an evaluation */
    int part, parts;
} wk_held_t;

/* A push that not all servers have acknowledged. */
typedef struct {
    uint64_t unit, push;
    int acks;
    bool committed;
} wk_unacked_t;

/* A server, as this worker sees it. */
typedef struct {
    bool welcomed, farewell;
    /* the current unit's push */
    bool offered, granted, unwanted, committed;
    unsigned slot;
    int next_ready; /* of client->ready */
    int sent;       /* chunks */
    /* the current pull */
    bool pulled;            /* asked for */
    int arrived;            /* chunks of it */
    uint64_t will_arrive;   /* where drained */
    bool withdrawn;         /* its other receives */
    bool draining, drained; /* told that it is not wanted; told that nothing of it will come */
} wk_link_t;

/* A receive or send of one chunk. */
typedef struct {
    wk_client_t *client;
    int chunk;
    hp_request_t *request;
    bool pending;
} wk_transfer_t;

struct wk_client {
    hp_transport_t *transport;
    const hp_params_t *params;
    hp_shard_plan_t plan;
    int servers;
    bool sync;
    uint64_t digest;
    double max_norm;                      /* above it the servers refuse a gradient; 0: no limit */
    int room;                             /* units held at once */
    double server_seconds, start_seconds; /* the configuration's */
    int *first_chunk, *last_chunk;        /* [params->count] chunks a parameter lies in */
    pthread_t thread;
    atomic_bool stop_wanted;

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t changed;

    hp_mailbox_t *mailbox; /* the communication thread's */
    wk_link_t *link;       /* [servers] */
    bool stop_sent, goodbye;
    hp_doing_t doing; /* the compute thread; UNIT: between units */
    double doing_since;
    uint32_t incarnation;
    bool fenced;          /* given up by server 0: comes back when nothing of a unit is under way */
    bool lossy;           /* some rank is lost */
    bool parted;          /* all servers have answered the goodbye */
    bool over;            /* the run has ended well without this worker, which had been given up */
    double beat;          /* when the last sign of life was sent */
    double heard, looked; /* of server 0's life: the last sign, the last look */
    bool lead_lost;
    hp_status_t failed; /* every call returns it from then on; where `over`, HP_INTERRUPTED */
    hp_error_t why;

    /* units: held[i % WK_RING], begun <= taken <= known */
    wk_held_t held[WK_RING];
    uint64_t begun, taken, known;
    bool last; /* no more will come */

    /* what the compute thread asks for; the communication thread resets it when done */
    bool want_begin, want_commit, want_abort, want_close;
    bool active;     /* a unit is begun */
    bool voided;     /* it is not wanted any more */
    bool committing; /* on some server */
    bool committed;  /* on every server: too late to take it back */
    int revokes;     /* REVOKEs to answer when what they void is given back */
    bool want_report;
    hp_message_t report; /* of a part of an evaluation */
    size_t report_bytes;
    char report_payload[sizeof(hp_scores_t)];
    uint64_t unit;
    uint64_t push_number; /* counts offers: an answer may be to an earlier one of the same unit */
    int64_t step;
    uint64_t examples;
    double squared_norm;
    uint32_t worst; /* the parameter to name where the servers will refuse the gradient */

    /* push */
    float *grads;            /* [params->total] */
    unsigned char *packed;   /* chunks that travel otherwise than they lie in grads */
    int64_t *packed_offset;  /* [chunks] into packed; -1: it travels from grads */
    int64_t *push_bytes;     /* [chunks] of the current push */
    int32_t **sparse_row;    /* [params->count] NULL for dense ones */
    int *sparse_count;       /* [params->count] -1: not told, all rows */
    bool *is_final;          /* [params->count] */
    int *chunk_waits;        /* [chunks] parameters that are not final */
    double *chunk_norm;      /* [chunks] */
    double *piece_norm;      /* [pieces of the largest chunk] */
    int *ready, ready_count; /* [chunks] in the order they became final */
    wk_transfer_t *push;     /* [chunks] */
    int pushes;              /* under way */
    wk_unacked_t unacked[WK_UNACKED];
    int unacked_count;

    /* pull */
    float *weights[2];
    int current;      /* the buffer that compute reads */
    bool pull_wanted; /* planned and not complete */
    bool pull_used;   /* taken by a begun unit */
    bool pull_void;   /* it will never be complete: give it up */
    unsigned pull_number;
    int pull_buffer, pull_left; /* chunks to come */
    int64_t pull_step;
    int64_t have_step;   /* `sync`: of the weights in `current`; -1: none */
    int *param_waits;    /* [params->count] chunks to come */
    wk_transfer_t *pull; /* [chunks] */
    hp_bf16_t *half;     /* [params->total] weights that arrive as bf16; NULL: none do */
    int pulls;           /* receives posted */

    wk_client_stats_t stats;

    /* the trace; rows are NULL without one */
    hp_trace_row_t *compute_row, *push_row, *pull_row;
    double push_began, pull_asked, pull_began; /* 0: not yet */
};

/* Under the lock: note the failure and wake everybody. */
void wk_client_fail(wk_client_t *c, hp_status_t status, const char *fmt, ...) HP_PRINTF(3, 4);
void wk_client_doing(wk_client_t *c, hp_doing_t doing); /* under the lock */
/* Under the lock: a pull of the weights of `step` into the other buffer. */
void wk_client_plan_pull(wk_client_t *c, int64_t step);
/* Room for chunks as they travel, and for row numbers. */
hp_status_t wk_client_create_packed(wk_client_t *c, hp_error_t *err) HP_MUST_CHECK;
/* A chunk whose gradient will not change, made ready to be sent: push_bytes, chunk_norm. Without
 * the lock: the chunk is the compute thread's until it is in `ready`. */
void wk_client_finish_chunk(wk_client_t *c, int k);
/* The first parameter of the table whose gradient is not finite; else that of the largest norm. */
uint32_t wk_client_worst(const wk_client_t *c);
/* Under the lock, for the trace: a chunk is sent; the push ended; the pull is asked for, a chunk of
 * it arrived, it ended. */
void wk_client_trace_send(wk_client_t *c);
void wk_client_trace_sent(wk_client_t *c);
void wk_client_trace_ask(wk_client_t *c);
void wk_client_trace_arrival(wk_client_t *c);
void wk_client_trace_arrived(wk_client_t *c);
/* The communication thread. */
void *wk_client_communicate(void *client);

#endif
