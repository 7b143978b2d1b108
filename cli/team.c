#include "cli/team.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* What rank 0 has opened. */
typedef struct {
    int64_t step;
    char digest[64];
} opened_t;

static hp_status_t open_it(const cli_trained_options_t *o, const char *checkpoint,
                           wk_trained_t *trained, hp_error_t *err) {
    return (o->trunk ? wk_trained_open_trunk : wk_trained_open)(o->run, checkpoint, o->sets, o->set,
                                                                trained, err);
}

static hp_status_t open_alike(const cli_trained_options_t *o, const opened_t *first,
                              wk_trained_t *trained, hp_error_t *err) {
    char step[32];
    snprintf(step, sizeof step, "%" PRId64, first->step);
    HP_TRY(open_it(o, step, trained, err));
    if (strcmp(hp_store_info(trained->store)->digest, first->digest) != 0)
        return hp_fail(err, HP_INPUT, "store '%s' is not the one rank 0 has",
                       trained->config.data.store);
    return HP_OK;
}

hp_status_t cli_team_trained(hp_team_t *team, hp_status_t own, const cli_trained_options_t *options,
                             wk_trained_t *trained, hp_error_t *err) {
    const bool first = hp_team_rank(team) == 0;
    opened_t opened = {0};
    hp_status_t status = own;
    if (first && status == HP_OK) {
        status = open_it(options, options->checkpoint, trained, err);
        if (trained->note[0] != '\0')
            fprintf(stderr, "hanps %s: warning: %s\n", options->command, trained->note);
        opened.step = trained->step;
        if (status == HP_OK)
            snprintf(opened.digest, sizeof opened.digest, "%s",
                     hp_store_info(trained->store)->digest);
    }
    HP_TRY(hp_team_agree(team, status, &opened, sizeof opened, err));
    if (!first) status = open_alike(options, &opened, trained, err);
    return hp_team_agree(team, status, NULL, 0, err);
}

hp_status_t cli_team_close(hp_team_t *team, const char *command, hp_status_t own, hp_error_t *err) {
    if (own != HP_OK && hp_team_rank(team) == 0 && err->text[0] != '\0') {
        fprintf(stderr, "hanps %s: %s\n", command, err->text);
        err->told = true;
    }
    return hp_team_close(team, own);
}
