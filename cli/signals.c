#include "cli/signals.h"

#include "common/memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>
#include <unistd.h>

struct cli_signals {
    atomic_int *stop;
    bool quiet;
    sigset_t set, before;
    pthread_t thread;
};

/* OpenBLAS has started threads before main: they did not inherit the blocked signals. A signal that
 * arrives in one of them is blocked there from now on, and sent again for the thread that waits. */
static void pass_on(int number, siginfo_t *info, void *context) {
    (void)info;
    sigset_t *mask = &((ucontext_t *)context)->uc_sigmask; /* in force again after the return */
    sigaddset(mask, SIGINT);
    sigaddset(mask, SIGTERM);
    sigaddset(mask, SIGUSR2);
    kill(getpid(), number);
}

static void *wait_for_signals(void *argument) {
    cli_signals_t *s = argument;
    for (int number; sigwait(&s->set, &number) == 0;) {
        if (atomic_exchange(s->stop, 1) != 0) _exit(130);
        if (!s->quiet)
            fputs("\nhanps: stopping after a checkpoint is written; once more to end at once\n",
                  stderr);
    }
    return NULL;
}

hp_status_t cli_signals_open(atomic_int *stop, bool quiet, cli_signals_t **signals_p,
                             hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(cli_signals_t), "signals", err));
    cli_signals_t *s = p;
    s->stop = stop;
    s->quiet = quiet;
    sigemptyset(&s->set);
    sigaddset(&s->set, SIGINT);
    sigaddset(&s->set, SIGTERM);
    sigaddset(&s->set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &s->set, &s->before);
    const struct sigaction action = {.sa_sigaction = pass_on, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    if (pthread_create(&s->thread, NULL, wait_for_signals, s) != 0) {
        pthread_sigmask(SIG_SETMASK, &s->before, NULL);
        hp_free(s);
        return hp_fail(err, HP_MEMORY, "cannot start the thread that waits for signals");
    }
    *signals_p = s;
    return HP_OK;
}

void cli_signals_close(cli_signals_t *s) {
    if (s == NULL) return;
    pthread_cancel(s->thread); /* sigwait is a cancellation point */
    pthread_join(s->thread, NULL);
    pthread_sigmask(SIG_SETMASK, &s->before, NULL);
    hp_free(s);
}
