/* How accuracies are shown, as a table and as JSON: what eval and score share. */
#ifndef CLI_SCORES_H
#define CLI_SCORES_H

#include "common/status.h"
#include "common/store.h"
#include "worker/metric.h"

#include <stdbool.h>
#include <yajl/yajl_gen.h>

typedef struct {
    wk_metric_t metric; /* what "overall" means */
    bool humans;        /* some question has human answers: the VQA accuracies mean something */
    wk_tally_t tally;
} cli_scores_t;

/* The value of --metric; NULL: as the store says. HP_INPUT: none of that name. */
hp_status_t cli_scores_metric(const char *name, hp_metric_t of_store, wk_metric_t *metric_p,
                              hp_error_t *err) HP_MUST_CHECK;

/* A table on standard output. */
void cli_scores_print(cli_scores_t *scores);

/* "metric", "overall", "per_answer_type", "per_question_type" and, of NLVR, "consistency" and
 * "sentences"; then, with put_all, an object of each metric's. */
void cli_scores_put(yajl_gen gen, cli_scores_t *scores);
void cli_scores_put_all(yajl_gen gen, const cli_scores_t *scores);

void cli_put_key(yajl_gen gen, const char *text); /* or any string */
void cli_put_real(yajl_gen gen, const char *key, double value, int decimals);
/* The text gathered so far, to a file that is whole or not there. */
hp_status_t cli_write_json(yajl_gen gen, const char *path, hp_error_t *err) HP_MUST_CHECK;

#endif
