/* What commands need that run on several ranks, common/team.h. */
#ifndef CLI_TEAM_H
#define CLI_TEAM_H

#include "common/team.h"
#include "worker/trained.h"

/* wk_trained_open on rank 0, or with `trunk` wk_trained_open_trunk, and then on the others, of the
 * same step: a checkpoint that appears meanwhile is not taken. Takes this rank's status so far and
 * gives that of all. HP_INPUT: the store a rank sees is not that of rank 0. Warns on rank 0 where
 * checkpoints were passed over. Collective. */
typedef struct {
    const char *command; /* "eval" */
    const char *run, *checkpoint;
    int sets;
    const char *const *set;
    bool trunk;
} cli_trained_options_t;
hp_status_t cli_team_trained(hp_team_t *team, hp_status_t own, const cli_trained_options_t *options,
                             wk_trained_t *trained, hp_error_t *err) HP_MUST_CHECK;

/* Tells the user what failed, on rank 0, and then hp_team_close. */
hp_status_t cli_team_close(hp_team_t *team, const char *command, hp_status_t own, hp_error_t *err);

#endif
