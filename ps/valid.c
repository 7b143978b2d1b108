/* Evaluation while training: server 0 deals the parts of the validation split to the workers, which
 * score a checkpoint between two units; it adds up, keeps the best checkpoint, and ends the run
 * when no evaluation is better any more.
 *
 * In `sync` what comes out depends on the steps alone, never on timing: step E + every is not made
 * before the evaluation of E is over (ps/lead.c holds it back), no unit beyond it is handed out, so
 * that no worker waits for that step's weights with a part behind them, and a run that is to end
 * ends there. A stop in between loses nothing: the next start evaluates what was not. */
#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/run_folder.h"
#include "ps/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NOBODY = -1 };

typedef struct {
    int worker; /* that computes it */
    bool done;
    hp_scores_t scores;
} part_t;

struct ps_valid {
    int64_t every;   /* 0: none of this */
    int64_t decided; /* evaluations up to this step are over */
    int64_t step;    /* under way; -1: none */
    int64_t spare;   /* the same, also where it was given up */
    bool written;    /* its checkpoint is: parts are dealt */
    double began;
    int parts, left;
    part_t *part; /* [parts] */
    /* as in hp_position_t */
    int64_t evaluated, best_step;
    double best_accuracy;
    int poorer;
};

/* The first evaluation that the run was stopped before, of those whose checkpoint is there. */
static void next_overdue(ps_server_t *s) {
    ps_valid_t *v = s->valid;
    int64_t last = s->step_base / v->every * v->every, best = -1, *step = NULL;
    int count = 0, i = 0;
    if (v->decided >= last) return;
    if (hp_checkpoint_list(s->options->run, &count, &step, &best, NULL) != HP_OK) count = 0;
    while (i < count && (step[i] <= v->decided || step[i] % v->every != 0)) i++;
    if (i < count && step[i] <= last) {
        ps_valid_expect(s, step[i]);
        ps_valid_written(s, step[i], false);
        v->decided = step[i] - v->every;
    } else {
        v->decided = last;
    }
    hp_free(step);
}

hp_status_t ps_valid_create(ps_server_t *s, const hp_position_t *position, hp_error_t *err) {
    const ps_server_options_t *o = s->options;
    void *p = NULL, *part = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(ps_valid_t), "evaluations", err));
    ps_valid_t *v = s->valid = p;
    *v = (ps_valid_t){.step = -1,
                      .spare = -1,
                      .parts = o->valid_parts,
                      .evaluated = position->evaluated,
                      .best_step = position->best_step,
                      .best_accuracy = position->best_accuracy,
                      .poorer = position->poorer};
    HP_TRY(hp_allocate(&part, (size_t)v->parts, sizeof *v->part, "evaluations", err));
    v->part = part;
    if (v->parts > 0) v->every = o->config->valid.every_steps;
    if (v->every == 0) return HP_OK;
    int patience = o->config->valid.patience;
    if (patience > 0 && v->poorer >= patience) { /* it had been decided that the run ends */
        int64_t end = s->sync && v->poorer == patience ? v->evaluated + v->every : s->step_base;
        if (end < s->step_base) end = s->step_base;
        if (end < s->steps) s->steps = end;
    }
    v->decided = v->evaluated / v->every * v->every;
    next_overdue(s);
    return HP_OK;
}

void ps_valid_destroy(ps_server_t *s) {
    if (s->valid == NULL) return;
    hp_free(s->valid->part);
    hp_free(s->valid);
}

void ps_valid_note(const ps_server_t *s, hp_position_t *position) {
    const ps_valid_t *v = s->valid;
    position->evaluated = v->evaluated;
    position->best_step = v->best_step;
    position->best_accuracy = v->best_accuracy;
    position->poorer = v->poorer;
}

bool ps_valid_due(const ps_server_t *s, int64_t step) {
    const ps_valid_t *v = s->valid;
    return v->every > 0 && step > v->decided && (step % v->every == 0 || step >= s->steps);
}

bool ps_valid_pending(const ps_server_t *s) { return s->valid->step >= 0; }
int64_t ps_valid_spare(const ps_server_t *s) { return s->valid->spare; }

int64_t ps_valid_limit(const ps_server_t *s) {
    const ps_valid_t *v = s->valid;
    if (!s->sync || v->every == 0) return INT64_MAX;
    int64_t limit = v->decided + 2 * v->every;
    return limit > s->step_base ? limit : s->step_base;
}

void ps_valid_expect(ps_server_t *s, int64_t step) {
    ps_valid_t *v = s->valid;
    v->step = v->spare = step;
    v->written = false;
    v->left = v->parts;
    for (int i = 0; i < v->parts; i++) v->part[i] = (part_t){.worker = NOBODY};
}

static void over(ps_server_t *s) {
    ps_valid_t *v = s->valid;
    if (v->step > v->decided) v->decided = v->step;
    v->step = v->spare = -1;
    next_overdue(s);
}

void ps_valid_written(ps_server_t *s, int64_t step, bool failed) {
    ps_valid_t *v = s->valid;
    if (v->step != step) return;
    v->written = true;
    v->began = hp_clock();
    if (failed) over(s);
}

void ps_valid_abandon(ps_server_t *s) { s->valid->step = -1; }

static bool busy(const ps_valid_t *v, int worker) {
    for (int i = 0; i < v->parts; i++)
        if (v->part[i].worker == worker && !v->part[i].done) return true;
    return false;
}

void ps_valid_hand_out(ps_server_t *s) {
    ps_valid_t *v = s->valid;
    if (v->step < 0 || !v->written) return;
    for (int i = 0, worker = 0; i < v->parts; i++) {
        if (v->part[i].worker != NOBODY || v->part[i].done) continue;
        while (worker < s->workers &&
               (s->worker[worker].presence != PS_PRESENT || s->worker[worker].suspended ||
                s->worker[worker].spare || busy(v, worker)))
            worker++;
        if (worker == s->workers) return;
        const hp_message_t m = {.kind = HP_MSG_EVALUATE,
                                .step = v->step,
                                .count = (uint32_t)i,
                                .value = (uint64_t)v->parts};
        v->part[i].worker = worker;
        ps_send(s, ps_worker_rank(s, worker), &m, NULL, 0);
    }
}

void ps_valid_worker_gone(ps_server_t *s, int worker) {
    ps_valid_t *v = s->valid;
    for (int i = 0; i < v->parts; i++)
        if (v->part[i].worker == worker && !v->part[i].done) v->part[i].worker = NOBODY;
}

/* ---- the result ---- */

static void add_group(hp_scores_t *sum, const hp_scores_t *x, int i) {
    int k = 0;
    while (k < sum->groups && strcmp(sum->group[k].name, x->group[i].name) != 0) k++;
    if (k == HP_SCORES_GROUPS) return;
    if (k == sum->groups) {
        sum->groups++;
        memcpy(sum->group[k].name, x->group[i].name, HP_SCORES_NAME);
    }
    sum->group[k].examples += x->group[i].examples;
    sum->group[k].score += x->group[i].score;
}

/* In the order of the parts, so that the bits do not depend on who was faster. */
static hp_scores_t sum_up(const ps_valid_t *v) {
    hp_scores_t sum = {0};
    for (int i = 0; i < v->parts; i++) {
        const hp_scores_t *x = &v->part[i].scores;
        sum.examples += x->examples;
        sum.labelled += x->labelled;
        sum.selected += x->selected;
        sum.score += x->score;
        sum.loss += x->loss;
        for (int k = 0; k < x->groups; k++) add_group(&sum, x, k);
        if (x->examples > 0) memcpy(sum.metric, x->metric, sizeof sum.metric);
    }
    return sum;
}

static double ratio(double a, uint64_t n) { return n > 0 ? a / (double)n : 0; }

static void put_text(FILE *out, const char *text) {
    fputc('"', out);
    for (const unsigned char *c = (const unsigned char *)text; *c != '\0'; c++)
        if (*c == '"' || *c == '\\' || *c < 0x20)
            fprintf(out, "\\u%04x", *c);
        else
            fputc(*c, out);
    fputc('"', out);
}

/* RUN/eval/SPLIT-STEP.json, as `hanps eval` writes it. */
static hp_status_t write_scores(const ps_server_t *s, const hp_scores_t *x, double seconds,
                                hp_error_t *err) {
    const char *split = s->options->config->data.valid;
    char name[128], path[HP_RUN_PATH], *text = NULL;
    size_t bytes = 0;
    snprintf(name, sizeof name, "eval/%s-%08" PRId64 ".json", split, s->valid->step);
    HP_TRY(hp_run_path(s->options->run, "eval", path, err));
    HP_TRY(hp_make_folders(path, err));
    HP_TRY(hp_run_path(s->options->run, name, path, err));
    FILE *out = open_memstream(&text, &bytes);
    if (out == NULL) return hp_fail_errno(err, HP_MEMORY, "no memory for an evaluation");
    fputs("{\"split\": ", out);
    put_text(out, split);
    fprintf(out, ", \"step\": %" PRId64 ", \"examples\": %" PRIu64 ", \"metric\": ", s->valid->step,
            x->examples);
    put_text(out, x->metric);
    fprintf(out, ", \"overall\": %.2f, \"per_answer_type\": {", 100 * ratio(x->score, x->examples));
    for (int i = 0; i < x->groups; i++) {
        if (i > 0) fputs(", ", out);
        put_text(out, x->group[i].name);
        fprintf(out, ": %.2f", 100 * ratio(x->group[i].score, x->group[i].examples));
    }
    fprintf(out, "}, \"cells_mean\": %.2f, \"loss\": %.4f, \"seconds\": %.2f}\n",
            ratio((double)x->selected, x->examples), ratio(x->loss, x->labelled), seconds);
    hp_status_t status = HP_OK;
    if (fclose(out) != 0) status = hp_fail_errno(err, HP_MEMORY, "no memory for an evaluation");
    if (status == HP_OK) status = hp_write_file(path, text, bytes, err);
    free(text);
    return status;
}

static void note_best(ps_server_t *s, double accuracy) {
    ps_valid_t *v = s->valid;
    hp_error_t err;
    v->evaluated = v->step;
    if (v->best_step > 0 && !(accuracy > v->best_accuracy)) {
        v->poorer++;
        return;
    }
    v->poorer = 0;
    v->best_step = v->step;
    v->best_accuracy = accuracy;
    if (hp_checkpoint_mark_best(s->options->run, v->step, &err) != HP_OK)
        hp_log(s->options->log, HP_LOG_WARN, "the best checkpoint is not marked: %s", err.text);
}

static void conclude(ps_server_t *s) {
    ps_valid_t *v = s->valid;
    hp_error_t err;
    hp_scores_t sum = sum_up(v);
    double accuracy = ratio(sum.score, sum.examples), seconds = hp_clock() - v->began;
    note_best(s, accuracy);
    if (write_scores(s, &sum, seconds, &err) != HP_OK)
        hp_log(s->options->log, HP_LOG_WARN, "%s; the run goes on", err.text);
    hp_log(s->options->log, HP_LOG_INFO,
           "step %" PRId64 ": %s %.2f %%, loss %.4f%s (%" PRIu64 " questions, %.1f s)", v->step,
           s->options->config->data.valid, 100 * accuracy, ratio(sum.loss, sum.labelled),
           v->poorer == 0 ? ", the best" : "", sum.examples, seconds);
    int64_t step = v->step;
    over(s);
    int patience = s->options->config->valid.patience;
    if (patience == 0 || v->poorer < patience || step >= s->steps) return;
    if (!ps_lead_end_early(s, step + v->every)) return;
    hp_log(s->options->log, HP_LOG_INFO,
           "the run ends at step %" PRId64 ": %d evaluations are no better than step %" PRId64
           ", %.2f %%",
           s->steps, v->poorer, v->best_step, 100 * v->best_accuracy);
}

static bool well_formed(const hp_scores_t *x) {
    bool good = x->groups >= 0 && x->groups <= HP_SCORES_GROUPS &&
                memchr(x->metric, '\0', sizeof x->metric) != NULL;
    for (int i = 0; good && i < x->groups; i++)
        good = memchr(x->group[i].name, '\0', HP_SCORES_NAME) != NULL;
    return good;
}

void ps_valid_mail(ps_server_t *s, int worker, const hp_message_t *m, const void *payload) {
    ps_valid_t *v = s->valid;
    if (v->step < 0 || m->step != v->step || m->count >= (uint32_t)v->parts) return; /* given up */
    part_t *part = &v->part[m->count];
    if (part->worker != worker || part->done) return;
    if ((m->flags & HP_MSG_FAILED) != 0) {
        hp_log(s->options->log, HP_LOG_WARN, "step %" PRId64 " is not evaluated: worker %d: %.*s",
               v->step, worker, (int)m->length, (const char *)payload);
        over(s);
        return;
    }
    if (m->length == sizeof part->scores) memcpy(&part->scores, payload, sizeof part->scores);
    if (m->length != sizeof part->scores || !well_formed(&part->scores)) {
        ps_server_fail(s, HP_PEER, "worker %d sends an evaluation that is malformed", worker);
        return;
    }
    part->done = true;
    if (--v->left == 0) conclude(s);
}
