#include "common/team.h"

#include "common/agree.h"
#include "common/clock.h"
#include "common/cores.h"
#include "common/memory.h"

#include <string.h>

enum { WINDOW = 4 /* results of a rank that wait */, TAG_HEADER = 3, TAG_BODY, TAG_VERDICT };
enum { RESULT, END };

/* Goes before a result; or says that there is none any more, and why. */
typedef struct {
    int32_t kind;
    uint64_t bytes;
    hp_error_t error; /* END: status and text */
} header_t;
_Static_assert(sizeof(header_t) <= HP_COPIED, "a header is sent as a copy");

typedef struct {
    unsigned char *data;
    size_t bytes, room;
    bool busy; /* on its way */
} buffer_t;

/* Another rank as rank 0 sees it. Its receives are posted one at a time. */
typedef struct {
    hp_team_t *team;
    int rank;
    header_t header;
    buffer_t body;
    bool ready; /* body is a result to be taken */
    bool ended;
} peer_t;

struct hp_team {
    hp_transport_t *transport; /* NULL: alone */
    int rank, size;
    hp_team_take_t take;
    void *context;
    buffer_t own[WINDOW]; /* a ring: the next result is own[put % WINDOW] */
    uint64_t put, taken;  /* own results; taken: rank 0's */
    peer_t *peer;         /* rank 0: [size] */
    int turn;             /* rank 0: whose result is next */
    bool failed;          /* rank 0: results are thrown away */
    bool lost;            /* messages are left under way */
    hp_error_t failure;   /* rank 0: what the first rank that failed says */
    bool told;            /* rank 0 has told, or was heard */
    bool listening;       /* others: for it */
    int32_t verdict;      /* a status */
};

hp_status_t hp_team_on(hp_transport_t *transport, hp_team_t **team_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(hp_team_t), "ranks", err));
    hp_team_t *team = p;
    team->transport = transport;
    team->size = transport != NULL ? hp_transport_size(transport) : 1;
    team->rank = transport != NULL ? hp_transport_rank(transport) : 0;
    *team_p = team;
    return HP_OK;
}

hp_status_t hp_team_open(hp_team_t **team_p, hp_error_t *err) {
    hp_transport_t *transport = NULL;
    if (hp_transport_launched()) HP_TRY(hp_transport_mpi(&transport, err));
    return hp_team_on(transport, team_p, err);
}

int hp_team_rank(const hp_team_t *team) { return team != NULL ? team->rank : 0; }
int hp_team_size(const hp_team_t *team) { return team != NULL ? team->size : 1; }

int hp_team_threads(const hp_team_t *team, int wanted) {
    if (wanted > 0 || team == NULL || team->transport == NULL) return wanted;
    const int threads = hp_usable_cores() / hp_transport_local_ranks(team->transport);
    return threads > 1 ? threads : 1;
}

hp_status_t hp_team_agree(hp_team_t *team, hp_status_t own, void *data, size_t bytes,
                          hp_error_t *err) {
    if (team->size == 1) return own;
    void *shared = data;
    size_t n = bytes;
    hp_status_t status = hp_agree(team->transport, own, err);
    if (status == HP_OK && bytes > 0)
        status = hp_transport_share(team->transport, &shared, &n, err);
    if (status == HP_PEER || status == HP_TRANSPORT) team->lost = true;
    if (status != HP_OK || bytes == 0 || team->rank == 0) return status;
    if (n == bytes)
        memcpy(data, shared, bytes);
    else
        status = hp_fail(err, HP_INPUT, "rank 0 runs another build of hanps");
    hp_free(shared);
    return status;
}

/* ---- buffers ---- */

static hp_status_t reserve(buffer_t *b, size_t bytes, hp_error_t *err) {
    if (bytes > HP_MESSAGE_MAX)
        return hp_fail(err, HP_UNSUPPORTED, "a result of %zu bytes: smaller batches are needed",
                       bytes);
    if (bytes <= b->room) return HP_OK;
    const size_t room = bytes > 2 * b->room ? bytes : 2 * b->room;
    void *data = NULL;
    HP_TRY(hp_allocate(&data, room, 1, "results", err));
    if (b->bytes > 0) memcpy(data, b->data, b->bytes);
    hp_free(b->data);
    b->data = data;
    b->room = room;
    return HP_OK;
}

/* ---- rank 0 hears the others ---- */

static void fail(hp_team_t *team, hp_status_t status, const peer_t *peer, const char *text) {
    if (!team->failed)
        (void)hp_fail(&team->failure, status, "rank %d on %s: %s", peer->rank,
                      hp_transport_peer_host(team->transport, peer->rank), text);
    team->failed = true;
}

/* Nothing more can be heard of it. */
static void lose(peer_t *peer, const char *text) {
    fail(peer->team, HP_TRANSPORT, peer, text);
    peer->team->lost = peer->ended = true;
}

static void got_header(void *context, const hp_completion_t *completion);

static void listen_to(peer_t *peer) {
    hp_error_t err;
    peer->ready = false;
    if (hp_transport_receive(peer->team->transport, peer->rank, TAG_HEADER, &peer->header,
                             sizeof peer->header, got_header, peer, NULL, &err) != HP_OK)
        lose(peer, err.text);
}

static void got_body(void *context, const hp_completion_t *completion) {
    peer_t *peer = context;
    peer->ready = true;
    if (completion->status != HP_OK || completion->bytes != peer->body.bytes)
        lose(peer, "its result does not arrive");
}

static void got_header(void *context, const hp_completion_t *completion) {
    peer_t *peer = context;
    hp_error_t err;
    const header_t *h = &peer->header;
    if (completion->status != HP_OK || completion->bytes != sizeof *h) {
        lose(peer, "its results do not arrive");
        return;
    }
    if (h->kind == END) {
        peer->header.error.text[sizeof h->error.text - 1] = '\0';
        if (h->error.status != HP_OK) fail(peer->team, h->error.status, peer, h->error.text);
        peer->ended = true;
        return;
    }
    peer->body.bytes = 0; /* nothing to keep where room is made */
    if (reserve(&peer->body, h->bytes, &err) != HP_OK) {
        lose(peer, err.text);
        return;
    }
    peer->body.bytes = h->bytes;
    if (hp_transport_receive(peer->team->transport, peer->rank, TAG_BODY, peer->body.data, h->bytes,
                             got_body, peer, NULL, &err) != HP_OK)
        lose(peer, err.text);
}

/* ---- the others hear rank 0 ---- */

static void got_verdict(void *context, const hp_completion_t *completion) {
    hp_team_t *team = context;
    team->told = true;
    if (completion->status == HP_OK) return;
    team->lost = true;
    team->verdict = HP_TRANSPORT;
}

static hp_status_t listen_to_root(hp_team_t *team, hp_error_t *err) {
    if (team->listening) return HP_OK;
    team->listening = true;
    return hp_transport_receive(team->transport, 0, TAG_VERDICT, &team->verdict,
                                sizeof team->verdict, got_verdict, team, NULL, err);
}

hp_status_t hp_team_begin(hp_team_t *team, hp_team_take_t take, void *context, hp_error_t *err) {
    void *p = NULL;
    team->take = take;
    team->context = context;
    if (team->size == 1) return HP_OK;
    if (team->rank > 0) return listen_to_root(team, err);
    HP_TRY(hp_allocate(&p, (size_t)team->size, sizeof(peer_t), "ranks", err));
    team->peer = p;
    for (int r = 1; r < team->size; r++) {
        team->peer[r].team = team;
        team->peer[r].rank = r;
        listen_to(&team->peer[r]);
    }
    return HP_OK;
}

/* Rank 0 takes what is there, in order; with the failure of any rank it is thrown away. */
static hp_status_t take_all(hp_team_t *team, hp_error_t *err) {
    for (;;) {
        for (int r = 1; team->failed && r < team->size; r++)
            if (team->peer[r].ready && !team->peer[r].ended) listen_to(&team->peer[r]);
        if (team->failed) {
            *err = team->failure;
            return team->failure.status;
        }
        const bool own = team->turn == 0;
        peer_t *peer = own ? NULL : &team->peer[team->turn];
        const buffer_t *result = own ? &team->own[team->taken % WINDOW] : &peer->body;
        if (own ? team->taken == team->put : !peer->ready) return HP_OK;
        HP_TRY(team->take(team->context, result->data, result->bytes, err));
        if (own)
            team->taken++;
        else
            listen_to(peer);
        team->turn = (team->turn + 1) % team->size;
    }
}

static void pump(hp_team_t *team) {
    while (team->transport != NULL && hp_transport_progress(team->transport) > 0) {
    }
}

static void nap(hp_team_t *team) {
    if (team->transport != NULL && hp_transport_progress(team->transport) == 0)
        hp_transport_wait(team->transport, 1000, true);
}

static void sent(void *context, const hp_completion_t *completion) {
    buffer_t *b = context;
    (void)completion; /* rank 0 notices what does not arrive */
    b->busy = false;
}

/* Room for the next result. Not HP_OK: rank 0 has ended all. */
static hp_status_t await_room(hp_team_t *team, hp_error_t *err) {
    buffer_t *b = &team->own[team->put % WINDOW];
    pump(team);
    if (team->rank == 0) {
        HP_TRY(take_all(team, err));
        while (team->put - team->taken == WINDOW) {
            nap(team);
            HP_TRY(take_all(team, err));
        }
        return HP_OK;
    }
    while (b->busy && !team->told) nap(team);
    return team->told ? hp_fail(err, HP_INTERRUPTED, "rank 0 has ended") : HP_OK;
}

hp_status_t hp_team_append(hp_team_t *team, const void *data, size_t bytes, hp_error_t *err) {
    buffer_t *b = &team->own[team->put % WINDOW];
    HP_TRY(reserve(b, b->bytes + bytes, err));
    if (bytes > 0) memcpy(b->data + b->bytes, data, bytes);
    b->bytes += bytes;
    return HP_OK;
}

hp_status_t hp_team_put(hp_team_t *team, hp_error_t *err) {
    buffer_t *b = &team->own[team->put % WINDOW];
    HP_TRY(reserve(b, 1, err));
    if (team->rank > 0) {
        const header_t header = {.kind = RESULT, .bytes = b->bytes};
        HP_TRY(hp_transport_send(team->transport, 0, TAG_HEADER, &header, sizeof header, NULL, NULL,
                                 err));
        b->busy = true;
        HP_TRY(hp_transport_send(team->transport, 0, TAG_BODY, b->data, b->bytes, sent, b, err));
    }
    team->put++;
    HP_TRY(await_room(team, err));
    team->own[team->put % WINDOW].bytes = 0;
    return HP_OK;
}

/* Others: nothing more will come, for the reason that is this rank's status. */
static hp_status_t say_end(hp_team_t *team, hp_status_t own, hp_error_t *err) {
    header_t header = {.kind = END, .error = {.status = own}};
    if (own != HP_OK) memcpy(header.error.text, err->text, sizeof header.error.text);
    return hp_transport_send(team->transport, 0, TAG_HEADER, &header, sizeof header, NULL, NULL,
                             err);
}

static void tell(hp_team_t *team, hp_status_t status) {
    hp_error_t err;
    team->verdict = status;
    for (int r = 1; r < team->size && !team->told; r++)
        if (hp_transport_send(team->transport, r, TAG_VERDICT, &team->verdict, sizeof team->verdict,
                              NULL, NULL, &err) != HP_OK)
            team->lost = true;
    team->told = true;
}

static bool all_ended(const hp_team_t *team) {
    for (int r = 1; r < team->size; r++)
        if (!team->peer[r].ended) return false;
    return true;
}

/* Rank 0, after a failure: the others stop, and what they still send is received. */
static void stop_all(hp_team_t *team, hp_status_t status) {
    const double begin = hp_clock();
    hp_error_t ignored;
    (void)hp_fail(&team->failure, status, "ended");
    team->failed = true;
    tell(team, status);
    while (team->peer != NULL && !all_ended(team)) {
        nap(team);
        (void)take_all(team, &ignored);
        if (hp_clock() - begin > HP_START_SECONDS) team->lost = true;
        if (team->lost) return;
    }
}

hp_status_t hp_team_end(hp_team_t *team, hp_status_t own, hp_error_t *err) {
    if (team->rank > 0) {
        hp_error_t said;
        hp_status_t status = say_end(team, own, own != HP_OK ? err : &said);
        if (status != HP_OK) team->lost = true;
        return own;
    }
    hp_status_t status = own;
    if (status == HP_OK) status = take_all(team, err);
    while (status == HP_OK && team->size > 1) {
        /* The first that has nothing for its turn: nobody after it has. */
        const bool over = team->turn == 0 || team->peer[team->turn].ended;
        if (over && all_ended(team)) break;
        nap(team);
        status = take_all(team, err);
    }
    if (status != HP_OK && team->size > 1) stop_all(team, status);
    return status;
}

/* Others, at the end: until rank 0 has written what it writes, and has all that was sent. */
static void await_root(hp_team_t *team) {
    hp_error_t ignored;
    if (listen_to_root(team, &ignored) != HP_OK) team->lost = true;
    while (!team->told && !team->lost) nap(team);
    const double told = hp_clock();
    for (int i = 0; i < WINDOW && !team->lost; i++)
        while (team->own[i].busy && !team->lost) {
            nap(team);
            team->lost = hp_clock() - told > HP_START_SECONDS;
        }
}

hp_status_t hp_team_close(hp_team_t *team, hp_status_t own) {
    hp_status_t status = own;
    if (team == NULL) return own;
    if (team->rank == 0) tell(team, own);
    if (team->rank > 0 && !team->lost) {
        await_root(team);
        if (!team->lost) status = HP_OK;
    }
    const bool clean = !team->lost;
    if (team->transport != NULL) hp_transport_close(team->transport, clean);
    if (!clean) return status; /* memory is still used by what is under way */
    for (int i = 0; i < WINDOW; i++) hp_free(team->own[i].data);
    for (int r = 1; team->peer != NULL && r < team->size; r++) hp_free(team->peer[r].body.data);
    hp_free(team->peer);
    hp_free(team);
    return status;
}
