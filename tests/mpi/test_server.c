/* The fake run between processes: test_server RUN sync|async SERVERS STEPS [last]. Prints the hash
 * of the last checkpoint. Without mpirun it is one process, with two workers over the loopback. */
#include "tests/support/fake_run.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* FAULT="signal worker units phase": worker `worker` gets the signal in that moment (fake_run.h).
 */
static void fault(int worker, int64_t own, int phase) {
    int number, who, units, when;
    const char *text = getenv("FAULT");
    if (text == NULL || sscanf(text, "%d %d %d %d", &number, &who, &units, &when) != 4) return;
    if (who == worker && units == own && when == phase) kill(getpid(), number);
}

static int failed(const hp_error_t *err) {
    fprintf(stderr, "%s\n", err->text);
    return hp_status_exit_code(err->status);
}

static int end_rank(hp_transport_t *t, bool clean, int code) {
    hp_transport_close(t, clean);
    fflush(NULL);
    if (!clean) _exit(code);
    return code;
}

int main(int argc, char **argv) {
    static fake_t f;
    hp_transport_t *t = NULL;
    hp_error_t err;
    if (argc < 5) return 2;
    hp_consistency_t mode = strcmp(argv[2], "sync") == 0 ? HP_SYNC : HP_ASYNC;
    fake_begin(&f, mode, atoi(argv[3]), 2, atoi(argv[4]));
    rmdir(f.run);
    snprintf(f.run, sizeof f.run, "%s", argv[1]);
    f.resume = argc > 5 ? argv[5] : NULL;
    f.config.optimizer.clip_norm = mode == HP_SYNC ? 1 : 0;
    f.config.checkpoint.every_steps = 4;
    if (getenv("PAUSE_US") != NULL) f.pause_us = atoi(getenv("PAUSE_US"));
    if (getenv("SPARES") != NULL) f.config.cluster.spares = atoi(getenv("SPARES"));
    if (getenv("DATA_US") != NULL) f.data_us = atoi(getenv("DATA_US"));
    if (getenv("STALL_S") != NULL) f.config.cluster.stall_seconds = atof(getenv("STALL_S"));
    bool faulty = getenv("FAULT") != NULL;
    if (faulty) {
        f.moment = fault;
        f.config.cluster.suspend_seconds = 1;
        f.config.cluster.dead_seconds = 4;
    }
    if (!hp_transport_launched()) {
        if (fake_loopback(&f) != HP_OK) return failed(&f.err);
        printf("%016" PRIx64 "\n", fake_hash(&f));
        return 0;
    }
    if (hp_transport_mpi(&t, &err) != HP_OK) return failed(&err);
    f.workers = hp_transport_size(t) - f.config.cluster.servers;
    int rank = hp_transport_rank(t);
    hp_status_t st = fake_rank(&f, t, &err);
    if (st != HP_OK) return end_rank(t, false, failed(&err));
    if (rank == 0 && f.outcome.step != f.config.run.steps) return end_rank(t, false, 1);
    if (rank == 0) printf("%016" PRIx64 "\n", fake_hash(&f));
    return end_rank(t, !faulty && (rank != 0 || f.outcome.clean), 0);
}
