/* A trained model's answers to a part of its store, by all ranks together. */
#ifndef CLI_ANSWERS_H
#define CLI_ANSWERS_H

#include "common/team.h"
#include "worker/data/part.h"
#include "worker/evaluate.h"
#include "worker/trained.h"

typedef struct {
    hp_team_t *team;
    const wk_trained_t *trained;
    const wk_part_t *part;
    const char *predictions; /* a file that gets a line for each question; NULL: none */
    int top;                 /* answers in a line */
    bool logits;             /* all of them too */
} cli_answers_options_t;

/* On rank 0; elsewhere empty. */
typedef struct {
    int32_t *answer; /* [part->range.count]: a class, or WK_NOT_ASKED */
    int *cells;      /* [part->range.count]: how many were selected */
    wk_evaluation_t evaluation;
} cli_answers_t;

/* Collective. The same bits for any number of ranks, `seconds` aside, as long as each computes with
 * as many threads. Release with cli_answers_release in either case. */
hp_status_t cli_answers(const cli_answers_options_t *options, cli_answers_t *answers,
                        hp_error_t *err) HP_MUST_CHECK;
void cli_answers_release(cli_answers_t *answers);

#endif
