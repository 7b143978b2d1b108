/* What the parts of a server share. server.c: life and event loop; push.c: slots and gradients;
 * order.c: when a push is applied; refuse.c: which are not; pull.c: weights; cut.c: this server's
 * part of a checkpoint; trace.c: what it did, and when; peers.c: servers watch one another;
 * stall.c: who does not get on; lead.c, valid.c, liveness.c and spares.c: what server 0 alone does.
 * All of it runs in the communication thread. */
#ifndef PS_INTERNAL_H
#define PS_INTERNAL_H

#include "common/mailbox.h"
#include "common/metrics.h"
#include "common/pool.h"
#include "common/schedule.h"
#include "ps/applier.h"
#include "ps/server.h"
#include "ps/shard.h"
#include "ps/units.h"

#include <pthread.h>

enum { PS_STALENESS = 16 }; /* counts of staleness: 0, 1, ..., the last one for all above too */

typedef struct ps_server ps_server_t;
typedef struct ps_slot ps_slot_t;

/* A receive of one chunk of a push. */
typedef struct {
    ps_slot_t *slot;
    int chunk;
    hp_request_t *request;
    bool pending;
} ps_part_t;

typedef enum {
    PS_SLOT_FREE,
    PS_SLOT_FILLING,  /* granted: its receives are posted */
    PS_SLOT_READY,    /* all there and committed */
    PS_SLOT_FOLDING,  /* with the applier */
    PS_SLOT_ABORTED,  /* what was sent of it still comes in */
    PS_SLOT_EMPTYING, /* the receives that are left are being withdrawn */
    PS_SLOT_LEFT,     /* its worker is lost, and may have sent what has not come */
} ps_slot_state_t;

/* Room for one whole push of one worker. */
struct ps_slot {
    ps_server_t *server;
    int number, worker, pending;
    ps_slot_state_t state;
    uint64_t unit, push, examples; /* push: the worker's number of it */
    uint64_t sent; /* where aborted or left: chunks that will arrive; UINT64_MAX: not known */
    bool committed, nonfinite;
    bool malformed; /* something in it was not as it must be */
    uint32_t worst; /* where it is refused: the parameter to name */
    double squared_norm;
    int64_t oldest; /* sequence of the oldest weights it was computed from */
    int64_t staleness;
    double granted, began, ready; /* for the trace: when; its first chunk; 0: not yet */
    void **part;                  /* [chunks] memory of each chunk; the applier may exchange it */
    ps_part_t *in;                /* [chunks] */
};

typedef enum { PS_EXPECTED, PS_PRESENT, PS_GONE } ps_presence_t;

typedef struct {
    ps_presence_t presence;
    uint32_t incarnation;
    bool suspended, lost;
    bool spare;     /* sleeps: server 0 gives it nothing */
    int room;       /* units it holds at once */
    double heard;   /* when it last gave a sign of life; server 0 */
    unsigned doing; /* what it said it does, of which unit, since when; server 0 */
    uint64_t doing_unit;
    double doing_since, stall_due; /* and when that will have been too long */
    bool owes_farewell;            /* said goodbye; is answered when its sends are done */
    unsigned drained;              /* the pull it gave up */
    int drained_chunks;            /* sent of it */
    bool owes_drained;             /* gave up its pull; the same */

    bool offers; /* waits for a slot */
    uint64_t offer, offer_order;
    uint64_t push; /* the worker's number of what it offers */

    bool pulling;
    unsigned pull; /* its number */
    bool exact;
    int next;              /* chunk to send next */
    int64_t sequence;      /* where exact */
    int64_t oldest;        /* sequence of the oldest chunk sent in this pull */
    int64_t last_sequence; /* the chunks' when its last push is applied */
    int unapplied;         /* pushes committed and not given to the applier */
    int sends;             /* under way */
    int64_t sending;       /* bytes of them */
    double asked, began;   /* for the trace: the pull, its first chunk; 0: not yet */
    uint64_t pushes;       /* done, while there is a trace */

    int64_t refused; /* its units whose gradient was not taken */
    int refused_run; /* without a good one between them */
} ps_worker_t;

/* What a server knows of the other servers' lives. */
typedef struct {
    double beat, looked; /* last sign of life sent; last look */
    double *heard;       /* [servers] when each last gave one; server 0, the others of server 0 */
    bool *lost;          /* [servers] */
    uint64_t *got_on;    /* [servers] what each last said it has done; server 0 */
    int lost_count;
    bool lead_spoke; /* server 0 has given a sign of life */
    bool lead_lost;
} ps_peers_t;

/* A checkpoint's way through one server. */
typedef struct {
    unsigned number; /* of the last one begun; server 0 counts them from 1 */
    bool wanted;     /* hold the state when `step` is reached */
    bool holding;    /* given to the applier, or being written */
    bool writing;    /* the thread runs */
    int64_t step;
    pthread_t thread;
    atomic_int done;
    hp_status_t status;
    hp_error_t err;
    hp_shard_record_t record;
    int partials; /* units that were summed when it was held, and are in no step */
    uint64_t partial[HP_CONFIG_ACCUMULATE];
    hp_shard_chunk_t *chunk; /* [chunks] */
    ps_buffer_t *(*held)[3]; /* [chunks] */
} ps_cut_t;

typedef struct ps_lead ps_lead_t;   /* server 0's part */
typedef struct ps_valid ps_valid_t; /* the same */

struct ps_server {
    const ps_server_options_t *options;
    hp_transport_t *transport;
    hp_mailbox_t *mailbox;
    hp_shard_plan_t plan;
    uint64_t digest;
    int rank, servers, workers, chunks;
    ps_shard_t *shard;
    ps_applier_t *applier;
    bool sync;

    ps_slot_t *slot;
    int slots;           /* those left included */
    uint64_t offers;     /* counted, to serve them in turn */
    ps_worker_t *worker; /* [workers] */
    hp_pool_t sends;

    /* clocks */
    int64_t steps; /* where the run ends */
    hp_schedule_t schedule;
    double rate;       /* of the last update */
    int64_t step_base; /* step and unit at which this process began */
    uint64_t unit_base;
    int shards;          /* units of a step */
    uint64_t unit_limit; /* units from here on are not applied any more */
    int64_t gate;        /* `sync`: the step that must not be made yet; -1: none */
    int64_t given, made; /* updates given to the applier, and done */

    /* the step being summed */
    uint64_t fold_next; /* `sync`: the unit that comes next */
    int folded;
    uint64_t examples;
    double rates; /* not `sync`: of its pushes, each times its examples */
    int partials; /* not `sync`: its units so far, refused ones too */
    uint64_t partial[HP_CONFIG_ACCUMULATE];
    bool summed;        /* all units of the step are; the update is not given yet */
    bool own_norms;     /* the applier has computed them */
    int norms_missing;  /* chunks whose squared norm is not known */
    double *norm;       /* [plan.chunks] */
    double *shard_norm; /* [chunks] */

    ps_cut_t cut;
    ps_lead_t *lead;   /* server 0; else NULL */
    ps_valid_t *valid; /* the same */
    bool over;         /* END came, or was sent */
    bool leaving;      /* nothing more to do but farewells */
    bool lossy;        /* a worker is lost */
    bool crippled; /* some rank cannot say goodbye: the run has failed, and nobody waits for all */
    int vacant;    /* places of workers that no spare has taken; server 0 */
    double looked; /* when server 0 last looked who speaks */
    ps_peers_t peers;
    bool abandoned;      /* some rank never said goodbye */
    bool serving;        /* it has begun */
    bool failed;         /* it cannot go on, not even to a checkpoint */
    hp_status_t verdict; /* why it ends; HP_OK: as it should */
    hp_error_t why;

    uint64_t received, sent;         /* bytes of gradients and weights */
    int64_t staleness[PS_STALENESS]; /* pushes applied with it, where not `sync` */
    int64_t refused;                 /* units, by all workers */
    int refused_run;                 /* without a good one between them */
    double began, logged;
    int64_t stall_made; /* updates when this server last got on, and when that was */
    double stall_since, stall_due;
    double moved;     /* server 0: when anything last got on anywhere, */
    double cut_moved; /* a checkpoint that is under way, */
    double watched;   /* and when it last looked */
    uint64_t got_on;  /* what this server has done, counted */
    int64_t logged_made;
    hp_metrics_t *metrics;
    bool log_failed;                               /* its last line was not written */
    hp_trace_row_t *slot_row, *pull_row, *cut_row; /* the trace; NULL: none, or it is over */
};

/* A failure that ends this server's run, and by way of server 0 everybody's. */
void ps_server_fail(ps_server_t *s, hp_status_t status, const char *fmt, ...) HP_PRINTF(3, 4);
double ps_server_patience(const ps_server_t *s); /* with ranks that do not say goodbye */
bool ps_server_awaits_late(const ps_server_t *s, double now);
/* Sends a message; a failure to send ends the run. */
void ps_send(ps_server_t *s, int to, const hp_message_t *m, const void *payload, size_t length);
static inline int ps_worker_rank(const ps_server_t *s, int worker) { return s->servers + worker; }

/* push.c */
hp_status_t ps_push_create(ps_server_t *s, hp_error_t *err) HP_MUST_CHECK;
void ps_push_destroy(ps_server_t *s);
void ps_push_offer(ps_server_t *s, int worker, const hp_message_t *m);
void ps_push_commit(ps_server_t *s, int worker, const hp_message_t *m);
void ps_push_abort(ps_server_t *s, int worker, const hp_message_t *m);
void ps_push_drop_worker(ps_server_t *s, int worker);
/* The same for one that may be dead: what it may have sent still has its receives, and a new slot
 * takes the old one's place. */
void ps_push_lose_worker(ps_server_t *s, int worker);
/* A lost worker speaks after all: its COMMIT or ABORT tells what will arrive. */
void ps_push_resolve(ps_server_t *s, int worker, const hp_message_t *m);
void ps_push_grant(ps_server_t *s);
/* The slot is free again; its worker is told. */
void ps_push_done(ps_server_t *s, ps_slot_t *slot);
bool ps_push_pending(const ps_server_t *s);

/* order.c */
hp_status_t ps_order_create(ps_server_t *s, hp_error_t *err) HP_MUST_CHECK;
void ps_order_destroy(ps_server_t *s);
void ps_order_ready(ps_server_t *s, ps_slot_t *slot);
void ps_order_norms(ps_server_t *s, int from, const hp_message_t *m, const void *payload);
/* Take back what the applier has done, and give what may be given. */
void ps_order_progress(ps_server_t *s);
/* Is the unit still to be applied here? */
bool ps_order_wants(const ps_server_t *s, uint64_t unit);
static inline int64_t ps_order_step(const ps_server_t *s) { return s->step_base + s->given; }

/* refuse.c */
/* May the push not be used? Counts it, and ends the run where there are too many. */
bool ps_refuse(ps_server_t *s, const ps_slot_t *slot);
void ps_refuse_log(const ps_server_t *s);

/* trace.c */
hp_status_t ps_trace_create(ps_server_t *s, hp_error_t *err) HP_MUST_CHECK;
size_t ps_trace_jobs(const ps_server_t *s); /* of the applier, that it has room for */
void ps_trace_granted(ps_server_t *s, ps_slot_t *slot);
void ps_trace_arrival(ps_server_t *s, ps_slot_t *slot);       /* a chunk */
void ps_trace_ready(ps_server_t *s, ps_slot_t *slot);         /* the push is whole and committed */
void ps_trace_folding(ps_server_t *s, const ps_slot_t *slot); /* with the applier */
void ps_trace_pull(ps_server_t *s, ps_worker_t *w);           /* asked for */
void ps_trace_sending(ps_server_t *s, ps_worker_t *w);        /* a chunk of it */
void ps_trace_sent(ps_server_t *s, ps_worker_t *w);           /* all of it, or it is given up */
/* A push of a worker is done: the trace may be over. */
void ps_trace_done(ps_server_t *s, int worker);

/* pull.c */
void ps_pull_begin(ps_server_t *s, int worker, const hp_message_t *m);
void ps_pull_progress(ps_server_t *s);
void ps_pull_drop_worker(ps_server_t *s, int worker);

/* liveness.c */
void ps_liveness_heard(ps_server_t *s, int worker, double now);
void ps_liveness_lose(ps_server_t *s, int worker);
/* Server 0's word that a worker is given up. */
void ps_liveness_told(ps_server_t *s, const hp_message_t *m);
/* May what the worker sends be used? Not if it was given up in this incarnation. */
bool ps_liveness_admits(ps_server_t *s, int worker, const hp_message_t *m);
/* It says hello, for the first time or after it was given up. */
void ps_liveness_join(ps_server_t *s, int worker, uint32_t incarnation);
void ps_liveness_progress(ps_server_t *s, double now);

/* stall.c */
void ps_stall_heard(ps_server_t *s, int worker, const hp_message_t *m, double now); /* server 0 */
void ps_stall_progress(ps_server_t *s, double now);
/* What a server says of itself in its signs of life, and server 0 hears. */
hp_message_t ps_stall_beat(const ps_server_t *s);
void ps_stall_server(ps_server_t *s, int server, const hp_message_t *m, double now);
/* Server 0: a message came that is no sign of life. */
void ps_stall_mail(ps_server_t *s, const hp_message_t *m, double now);
/* Server 0: ends the run where nothing gets on. excused: it does something itself, or waits for
 * ranks that it has another limit for. cut: it waits for other servers' parts of a checkpoint. */
void ps_stall_watch(ps_server_t *s, double now, bool excused, bool cut);

/* spares.c: server 0 */
void ps_spares_create(ps_server_t *s);
/* A worker is here; true: it may have units. */
bool ps_spares_arrives(ps_server_t *s, int worker, int room);
/* A worker will not come, or not come back: a spare takes its place now, or when it comes. */
void ps_spares_replace(ps_server_t *s, int worker);

/* peers.c */
hp_status_t ps_peers_create(ps_server_t *s, hp_error_t *err) HP_MUST_CHECK;
void ps_peers_destroy(ps_server_t *s);
void ps_peers_heard(ps_server_t *s, int server, const hp_message_t *m, double now);
void ps_peers_greet(ps_server_t *s, int server); /* server 0's first sign of life to it */
void ps_peers_never_came(ps_server_t *s);        /* server 0: those not here are lost */
void ps_peers_progress(ps_server_t *s, double now);

/* cut.c */
hp_status_t ps_cut_create(ps_server_t *s, hp_error_t *err) HP_MUST_CHECK;
void ps_cut_destroy(ps_server_t *s);
/* The same number again: only that it is the last is news. */
void ps_cut_begin(ps_server_t *s, unsigned number, int64_t step, bool last);
/* Adds the state to the job that reaches the cut's step. */
void ps_cut_join(ps_server_t *s, ps_job_t *job);
void ps_cut_held(ps_server_t *s); /* the applier has taken the references */
void ps_cut_not_held(ps_server_t *s, const hp_error_t *why); /* it has failed before */
void ps_cut_progress(ps_server_t *s);

/* valid.c, on server 0 */
/* May make the run shorter, where it had been decided to end early. */
hp_status_t ps_valid_create(ps_server_t *s, const hp_position_t *position,
                            hp_error_t *err) HP_MUST_CHECK;
void ps_valid_destroy(ps_server_t *s);
void ps_valid_note(const ps_server_t *s, hp_position_t *position);
bool ps_valid_due(const ps_server_t *s, int64_t step); /* is this step to be evaluated? */
/* It will be, when ps_valid_written says that its checkpoint is there, or is not. One at a time. */
void ps_valid_expect(ps_server_t *s, int64_t step);
void ps_valid_written(ps_server_t *s, int64_t step, bool failed);
bool ps_valid_pending(const ps_server_t *s);
int64_t ps_valid_spare(const ps_server_t *s); /* step of a checkpoint that must stay; -1: none */
/* No unit of this step or a later one may be handed out yet. */
int64_t ps_valid_limit(const ps_server_t *s);
void ps_valid_abandon(ps_server_t *s); /* the next start does it */
void ps_valid_hand_out(ps_server_t *s);
void ps_valid_worker_gone(ps_server_t *s, int worker);
void ps_valid_mail(ps_server_t *s, int worker, const hp_message_t *m, const void *payload);

/* lead.c */
hp_status_t ps_lead_create(ps_server_t *s, const hp_position_t *position,
                           hp_error_t *err) HP_MUST_CHECK;
void ps_lead_destroy(ps_server_t *s);
void ps_lead_mail(ps_server_t *s, int from, const hp_message_t *m, const void *payload);
void ps_lead_shard(ps_server_t *s, int server, const ps_cut_t *cut);
void ps_lead_stepped(ps_server_t *s); /* an update was given to the applier */
void ps_lead_worker_here(ps_server_t *s, int worker, int room);
/* pushed: some server may have a unit of it that is not retired. */
void ps_lead_worker_gone(ps_server_t *s, int worker, bool pushed);
void ps_lead_stop(ps_server_t *s, hp_status_t verdict, const char *why);
void ps_lead_progress(ps_server_t *s, double now);
/* What it waits for: a part of a checkpoint or of an evaluation, units. */
void ps_lead_describe(const ps_server_t *s, char *text, size_t size);
bool ps_lead_knows(const ps_server_t *s, int server); /* has that server said hello? */
/* The run ends well at this step; not in `sync`: as soon as it can. False: it ends anyway. */
bool ps_lead_end_early(ps_server_t *s, int64_t step);
ps_units_t *ps_lead_units(const ps_server_t *s);
void ps_lead_outcome(const ps_server_t *s, ps_outcome_t *outcome);

#endif
