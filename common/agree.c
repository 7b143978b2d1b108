#include "common/agree.h"

#include "common/clock.h"
#include "common/memory.h"

#include <string.h>

enum { TAG_VERDICT = 2 };

_Static_assert(sizeof(hp_error_t) <= HP_COPIED, "a verdict is sent as a copy");

typedef struct {
    bool done;
    hp_status_t status;
    hp_error_t said; /* the rank's own status and text */
} verdict_t;

static void heard(void *context, const hp_completion_t *completion) {
    verdict_t *v = context;
    v->status = completion->status;
    v->done = true;
}

/* Rank 0 hears every rank's verdict: the first that is bad becomes its own. */
static hp_status_t gather(hp_transport_t *t, verdict_t *verdict, hp_error_t *err) {
    int ranks = hp_transport_size(t);
    for (int r = 1; r < ranks; r++)
        HP_TRY(hp_transport_receive(t, r, TAG_VERDICT, &verdict[r].said, sizeof verdict[r].said,
                                    heard, &verdict[r], NULL, err));
    double begin = hp_clock();
    for (int r = 1; r < ranks; r++)
        while (!verdict[r].done) {
            if (hp_clock() - begin > HP_START_SECONDS)
                return hp_fail(err, HP_PEER, "start: rank %d (%s) took more than %d s", r,
                               hp_transport_peer_host(t, r), HP_START_SECONDS);
            if (hp_transport_progress(t) == 0) hp_transport_wait(t, 1000, false);
        }
    int bad = 0, first = 0;
    for (int r = ranks - 1; r > 0; r--)
        if (verdict[r].status != HP_OK || verdict[r].said.status != HP_OK) bad++, first = r;
    if (bad == 0) return HP_OK;
    if (verdict[first].status != HP_OK)
        return hp_fail(err, HP_TRANSPORT, "start: hearing from rank %d (%s) failed", first,
                       hp_transport_peer_host(t, first));
    verdict[first].said.text[sizeof verdict[first].said.text - 1] = '\0';
    return hp_fail(err, verdict[first].said.status, "rank %d on %s%s: %s", first,
                   hp_transport_peer_host(t, first), bad > 1 ? " and others" : "",
                   verdict[first].said.text);
}

hp_status_t hp_agree(hp_transport_t *t, hp_status_t own, hp_error_t *err) {
    bool root = hp_transport_rank(t) == 0;
    hp_status_t status = own;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)hp_transport_size(t), sizeof(verdict_t), "start", err));
    verdict_t *verdict = p;
    if (root) {
        hp_error_t ignored; /* where rank 0 has failed itself */
        hp_status_t others = gather(t, verdict, own == HP_OK ? err : &ignored);
        if (own == HP_OK) status = others;
        /* A rank that never spoke: its receive still points into `verdict`. */
        if (others == HP_PEER || others == HP_TRANSPORT) return status;
    } else {
        hp_error_t said = {.status = own};
        if (own != HP_OK) memcpy(said.text, err->text, sizeof said.text);
        HP_TRY(hp_transport_send(t, 0, TAG_VERDICT, &said, sizeof said, NULL, NULL, err));
    }
    hp_free(verdict);
    void *data = &status;
    size_t bytes = sizeof status;
    HP_TRY(hp_transport_share(t, &data, &bytes, err));
    if (root) return status;
    memcpy(&status, data, sizeof status);
    hp_free(data);
    err->text[0] = '\0';
    return status;
}
