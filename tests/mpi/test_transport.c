/* The transport's test body over MPI, one process a rank. With `die` as argument the last rank ends
 * without a word in the middle; the others must go on, see that nothing completes, and end. With
 * `renumber` the ranks change their numbers first. */
#include "tests/support/transport_body.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void count(void *context, const hp_completion_t *completion) {
    (void)completion;
    ++*(int *)context;
}

static void nap(hp_transport_t *t, int seconds) {
    time_t start = time(NULL);
    while (time(NULL) - start < seconds)
        if (hp_transport_progress(t) == 0) hp_transport_wait(t, 1000, false);
}

/* Rank 0 is the one whose word counts: it ends with 0. */
static int lose_one(hp_transport_t *t) {
    int last = hp_transport_size(t) - 1, got = 0, sent = 0, ok = 0, value = 0;
    static char big[1 << 20], in[1 << 20];
    transport_meet(t, 1);
    if (hp_transport_rank(t) == last) _exit(9);
    nap(t, 1);
    if (hp_transport_receive(t, last, 2, in, sizeof in, count, &got, NULL, NULL) != HP_OK) return 1;
    if (hp_transport_send(t, last, 3, big, sizeof big, count, &sent, NULL) != HP_OK) return 1;
    nap(t, 2);
    if (got != 0) return 1;
    if (hp_transport_rank(t) == 0) {
        for (int r = 1; r < last; r++)
            if (hp_transport_receive(t, r, 4, &value, sizeof value, count, &ok, NULL, NULL) !=
                HP_OK)
                return 1;
        for (int i = 0; i < 100 && ok < last - 1; i++) nap(t, 1);
        if (ok != last - 1) return 1;
    } else if (hp_transport_send(t, 0, 4, &value, sizeof value, NULL, NULL, NULL) != HP_OK) {
        return 1;
    } else {
        nap(t, 3);
    }
    hp_transport_close(t, false);
    return 0;
}

/* Rank 0 stays, the others are turned round; the body then finds an order like any other. */
static int renumber(hp_transport_t *t) {
    enum { MOST = 16 };
    int order[MOST], n = hp_transport_size(t), old = hp_transport_rank(t);
    hp_error_t err;
    for (int r = 0; r < n && r < MOST; r++) order[r] = r == 0 ? 0 : n - r;
    if (hp_transport_renumber(t, order, &err) == HP_OK && hp_transport_rank(t) == order[old] &&
        hp_transport_local_index(t) == hp_transport_rank(t))
        return 0;
    fprintf(stderr, "rank %d became %d\n", old, hp_transport_rank(t));
    return 1;
}

int main(int argc, char **argv) {
    hp_transport_t *t = NULL;
    hp_error_t err;
    if (!hp_transport_launched()) {
        fputs("not started by mpirun\n", stderr);
        return 1;
    }
    if (hp_transport_mpi(&t, &err) != HP_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    if (argc > 1 && strcmp(argv[1], "renumber") == 0 && renumber(t) != 0) return 1;
    if (argc > 1 && strcmp(argv[1], "die") == 0) {
        int code = lose_one(t);
        if (hp_transport_rank(t) == 0) puts(code == 0 ? "survived" : "failed");
        fflush(NULL);
        _exit(code);
    }
    transport_body(t, true);
    hp_transport_close(t, true);
    return 0;
}
