/* Ranks that do one thing together: numbered tasks, of which rank r of n computes r, r + n, r + 2n
 * and so on, and gives rank 0 a result for each, any bytes. Rank 0, which computes too, takes all
 * results in the order of the tasks, as one process makes them. So what is written does not depend
 * on the number of ranks. One process is a team of one.
 *
 * Order of calls, on all ranks:
 *     hp_team_open
 *     hp_team_agree ...                       what is to be done is known, and can be done
 *     hp_team_begin
 *     hp_team_append ..., hp_team_put         for each of its tasks
 *     hp_team_end                             rank 0: all are taken
 *     hp_team_close                           after rank 0 has written what it writes
 *
 * A rank's failure is rank 0's error and ends all; the others' text is empty, so that one line is
 * told. A rank that has nothing to do sleeps. One thread of a rank makes all calls. */
#ifndef HP_TEAM_H
#define HP_TEAM_H

#include "common/transport.h"

typedef struct hp_team hp_team_t;

/* A result, on rank 0. An error ends all. */
typedef hp_status_t (*hp_team_take_t)(void *context, const void *data, size_t bytes,
                                      hp_error_t *err);

/* Under mpirun its ranks, else this process alone. Collective. */
hp_status_t hp_team_open(hp_team_t **team_p, hp_error_t *err) HP_MUST_CHECK;
/* The ranks of a transport, which the team closes. */
hp_status_t hp_team_on(hp_transport_t *transport, hp_team_t **team_p,
                       hp_error_t *err) HP_MUST_CHECK;

int hp_team_rank(const hp_team_t *team); /* 0 of 1 where `team` is NULL */
int hp_team_size(const hp_team_t *team);
/* Compute threads of a rank: `wanted`, or of 0 the cores the process may use, shared with the
 * host's other ranks. */
int hp_team_threads(const hp_team_t *team, int wanted);

/* Takes this rank's status so far and gives that of all, see hp_agree; where all is well, rank 0's
 * data[bytes], which are less than HP_COPIED, are everyone's. Collective. */
hp_status_t hp_team_agree(hp_team_t *team, hp_status_t own, void *data, size_t bytes,
                          hp_error_t *err) HP_MUST_CHECK;

/* `take` is called on rank 0 alone, from within hp_team_put and hp_team_end. */
hp_status_t hp_team_begin(hp_team_t *team, hp_team_take_t take, void *context,
                          hp_error_t *err) HP_MUST_CHECK;

/* More bytes of the result of this rank's next task; then that is all of it. Results wait until
 * those before them are taken, some of each rank; then the rank does. Not HP_OK: the rank stops
 * computing and goes to hp_team_end. */
hp_status_t hp_team_append(hp_team_t *team, const void *data, size_t bytes,
                           hp_error_t *err) HP_MUST_CHECK;
hp_status_t hp_team_put(hp_team_t *team, hp_error_t *err) HP_MUST_CHECK;

/* Takes this rank's status so far. Rank 0 gets that of all once every result is taken or one rank
 * has failed; other ranks get their own. */
hp_status_t hp_team_end(hp_team_t *team, hp_status_t own, hp_error_t *err) HP_MUST_CHECK;

/* Releases the team; NULL is fine. Rank 0 tells the others its status; they wait for it. What is
 * told to the user must have been told before: mpirun ends a job when a rank ends with a failure.
 * Returns the exit status's: on rank 0 `own`; on the others HP_OK where rank 0 was heard, whose
 * failure is the job's. */
hp_status_t hp_team_close(hp_team_t *team, hp_status_t own);

#endif
