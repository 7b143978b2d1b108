/* Messages between ranks: non-blocking, two-sided, matched by (source, tag) in order, as MPI does.
 * One thread of a rank, its communication thread, makes every call on an endpoint except
 * hp_transport_wake. Two implementations with one behaviour: MPI, and a loopback between threads
 * of one process. The only door to MPI is transport_mpi.c. */
#ifndef HP_TRANSPORT_H
#define HP_TRANSPORT_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hp_transport hp_transport_t;
typedef struct hp_request hp_request_t;

#define HP_ANY_SOURCE  (-1)
#define HP_TAG_MAX     0x3fffffff
#define HP_MESSAGE_MAX ((size_t)1 << 30) /* bytes of one message */

typedef struct {
    hp_status_t status; /* HP_OK; HP_INTERRUPTED: cancelled; HP_TRANSPORT: too long for the buffer,
                           or failed */
    int source;         /* receives: who sent it */
    size_t bytes;       /* receives: how much arrived */
} hp_completion_t;

/* Called from hp_transport_progress, in the communication thread. May begin further messages. */
typedef void (*hp_done_t)(void *context, const hp_completion_t *completion);

int hp_transport_rank(const hp_transport_t *transport);
int hp_transport_size(const hp_transport_t *transport);
const char *hp_transport_host(const hp_transport_t *transport); /* of this rank */
const char *hp_transport_peer_host(const hp_transport_t *transport, int rank);
/* Ranks that run on this rank's host, itself included. Known since the start. */
int hp_transport_local_ranks(const hp_transport_t *transport);
int hp_transport_local_index(const hp_transport_t *transport); /* 0 .. local_ranks-1 */

/* Begin a send. `buffer` must stay unchanged until `done` is called, which may be before the
 * message was received. Never blocks. `done` may be NULL for a message whose bytes are copied: at
 * most HP_COPIED bytes. A send to a rank that died stays pending for ever with MPI; over the
 * loopback a send to an endpoint that was closed ends with HP_PEER. */
#define HP_COPIED 4096
hp_status_t hp_transport_send(hp_transport_t *transport, int to, uint32_t tag, const void *buffer,
                              size_t bytes, hp_done_t done, void *context,
                              hp_error_t *err) HP_MUST_CHECK;

/* Begin a receive into buffer[0 .. capacity). *request_p may be NULL; it serves hp_transport_cancel
 * and is invalid once `done` was called. `done` is never called from within this function. A
 * message longer than capacity ends the receive with HP_TRANSPORT; the buffer's content is then
 * undefined. */
hp_status_t hp_transport_receive(hp_transport_t *transport, int from, uint32_t tag, void *buffer,
                                 size_t capacity, hp_done_t done, void *context,
                                 hp_request_t **request_p, hp_error_t *err) HP_MUST_CHECK;

/* The receive ends: `done` is called with HP_INTERRUPTED, or with the message that just arrived. */
void hp_transport_cancel(hp_transport_t *transport, hp_request_t *request);

/* Deliver what has completed. Returns the number of completions delivered, 0 for none (and at once
 * when called from a `done`). Messages move only within calls on the endpoint: a rank that computes
 * without calling this holds up its peers. */
int hp_transport_progress(hp_transport_t *transport);

/* Sleep until something may have happened, hp_transport_wake was called, or `limit_us`
 * microseconds are over. MPI: a nap that grows from 20 to 200 us while nothing comes (1 ms when
 * `idle`), cut short by wake. Loopback: a condition variable. */
void hp_transport_wait(hp_transport_t *transport, int limit_us, bool idle);
void hp_transport_wake(hp_transport_t *transport); /* from any thread */

/* Number of messages begun and not done: sends with a `done`, and receives. */
int hp_transport_pending(const hp_transport_t *transport);

/* n endpoints in one process; endpoint i is rank i. */
hp_status_t hp_transport_loopback(int n, hp_transport_t **endpoints, hp_error_t *err) HP_MUST_CHECK;

/* MPI_Init_thread and an endpoint for this rank on an own communicator with MPI_ERRORS_RETURN.
 * Collective over all ranks, once in a process. Sets what a process can set before MPI_Init (yield
 * when idle) where the environment does not say otherwise; SIGPIPE is ignored from here on.
 * MPI_Init itself waits for all ranks of the job without a limit (mpirun ends the job when one of
 * them dies before); what follows it gives up after HP_START_SECONDS. */
#define HP_START_SECONDS 120
hp_status_t hp_transport_mpi(hp_transport_t **transport_p, hp_error_t *err) HP_MUST_CHECK;

/* True where the process was started by mpirun, srun or the like (their environment is there):
 * decides between MPI and the loopback. */
bool hp_transport_launched(void);

/* Collective, at the start only: rank 0's bytes to all. *data_p is allocated on the other
 * ranks (hp_free). Point to point, so a rank that is missing after HP_START_SECONDS is named. */
hp_status_t hp_transport_share(hp_transport_t *transport, void **data_p, size_t *bytes_p,
                               hp_error_t *err) HP_MUST_CHECK;

/* Number the ranks anew: the rank that was order[r] becomes rank r; order[0] is 0. All ranks call
 * it with the same order, while no message is under way: at the start, after hp_transport_share. */
hp_status_t hp_transport_renumber(hp_transport_t *transport, const int *order,
                                  hp_error_t *err) HP_MUST_CHECK;

/* Ends an endpoint; no `done` is called any more. Loopback: its pending sends are taken back, after
 * this its buffers may be reused. MPI: `clean` (every peer said goodbye, and does the same) sends
 * what is left, withdraws receives and finalises; otherwise pending requests are left alone, their
 * buffers must stay, and MPI_Finalize is not called: the caller ends the process with _exit. */
void hp_transport_close(hp_transport_t *transport, bool clean);

#endif
