#include "cli/progress.h"

#include "common/clock.h"
#include "common/run_folder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

void cli_progress_begin(cli_progress_t *p, const cli_plan_t *plan, FILE *out) {
    *p = (cli_progress_t){.plan = plan, .out = out, .tty = isatty(fileno(out)) != 0};
    p->last_step = p->first_step = plan->resume_step > 0 ? plan->resume_step : 0;
    p->begin = p->last = hp_clock();
}

/* "3 h 12 min", "12 min", "40 s" */
static void put_duration(char *out, size_t size, double seconds) {
    int64_t s = (int64_t)(seconds + 0.5);
    if (s >= 3600)
        snprintf(out, size, "%" PRId64 " h %02" PRId64 " min", s / 3600, s / 60 % 60);
    else if (s >= 120)
        snprintf(out, size, "%" PRId64 " min", s / 60);
    else
        snprintf(out, size, "%" PRId64 " s", s);
}

void cli_progress_show(void *context, const wk_train_progress_t *seen) {
    cli_progress_t *p = context;
    const hp_config_t *config = &p->plan->config;
    double now = hp_clock(), every = p->tty ? 0.2 : config->log.console_seconds;
    if (now - p->last < every || seen->step <= p->last_step) return;
    const wk_train_totals_t *t = seen->totals;
    double labelled = (double)t->labelled - p->labelled,
           steps = (double)(seen->step - p->first_step);
    double units = hp_config_step_units(config);
    double rate = steps * units * config->data.batch_size / (now - p->begin);
    char left[64] = "";
    if (p->plan->steps > seen->step && steps > 0)
        put_duration(left, sizeof left,
                     (double)(p->plan->steps - seen->step) / steps * (now - p->begin));
    fprintf(p->out,
            "%sstep %" PRId64 "/%" PRId64 "  loss %.4f  accuracy %.2f %%  %.0f examples/s%s%s%s",
            p->tty ? "\r" : "", seen->step, p->plan->steps,
            labelled > 0 ? (t->loss_sum - p->loss_sum) / labelled : 0,
            labelled > 0 ? 100 * ((double)t->correct - p->correct) / labelled : 0, rate,
            left[0] != '\0' ? "  " : "", left, left[0] != '\0' ? " left" : "");
    fputs(p->tty ? "\033[K" : "\n", p->out);
    fflush(p->out);
    p->open = p->tty;
    p->last = now;
    p->last_step = seen->step;
    if (!p->tty || labelled > 2000) { /* a terminal's figures are means over some time too */
        p->loss_sum = t->loss_sum;
        p->labelled = (double)t->labelled;
        p->correct = (double)t->correct;
    }
}

void cli_progress_end(cli_progress_t *p) {
    if (p->open) fputc('\n', p->out);
    p->open = false;
}

/* The last whole line of a file, or "". */
static void read_last_line(const char *path, char *line, size_t size) {
    line[0] = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL) return;
    char tail[16384];
    if (fseek(file, 0, SEEK_END) == 0) {
        long length = ftell(file);
        long want = length < (long)sizeof tail - 1 ? length : (long)sizeof tail - 1;
        if (want > 0 && fseek(file, -want, SEEK_END) == 0) {
            tail[fread(tail, 1, (size_t)want, file)] = '\0';
            char *end = strrchr(tail, '\n');
            if (end != NULL) {
                *end = '\0';
                char *begin = strrchr(tail, '\n');
                const char *text = begin != NULL ? begin + 1 : tail;
                if (strlen(text) < size) memcpy(line, text, strlen(text) + 1);
            }
        }
    }
    fclose(file);
}

static double number(yajl_val tree, const char *key) {
    yajl_val v = yajl_tree_get(tree, (const char *[]){key, NULL}, yajl_t_number);
    return v != NULL ? strtod(YAJL_GET_NUMBER(v), NULL) : 0;
}

static void worker_line(const cli_plan_t *plan, int worker, FILE *out) {
    char name[64], path[HP_RUN_PATH], line[8192], why[128];
    snprintf(name, sizeof name, "log/worker-%04d.jsonl", worker);
    if (hp_run_path(plan->run, name, path, NULL) != HP_OK) return;
    read_last_line(path, line, sizeof line);
    yajl_val tree = line[0] != '\0' ? yajl_tree_parse(line, why, sizeof why) : NULL;
    if (tree == NULL || (int64_t)number(tree, "start") != plan->start) {
        fprintf(out, "%6d  did nothing\n", worker);
        yajl_tree_free(tree);
        return;
    }
    double seconds = number(tree, "time_s"), examples = number(tree, "total_examples");
    static const char *const phase[] = {"total_data_s", "total_forward_s", "total_backward_s",
                                        "total_push_s", "total_pull_s",    "total_wait_s"};
    yajl_val host = yajl_tree_get(tree, (const char *[]){"host", NULL}, yajl_t_string);
    fprintf(out, "%6d  %-12.12s %7.0f %9.0f %10.1f", worker, host ? YAJL_GET_STRING(host) : "",
            number(tree, "total_units"), examples, seconds > 0 ? examples / seconds : 0);
    for (size_t i = 0; i < sizeof phase / sizeof *phase; i++)
        fprintf(out, " %7.1f%%", seconds > 0 ? 100 * number(tree, phase[i]) / seconds : 0);
    fputc('\n', out);
    yajl_tree_free(tree);
}

void cli_closing_table(const cli_plan_t *plan, const ps_outcome_t *outcome, FILE *out) {
    char took[64];
    put_duration(took, sizeof took, outcome->seconds);
    fprintf(out, "\n%s after step %" PRId64 " of %" PRId64 ": %" PRIu64 " units in %s",
            outcome->stopped ? "stopped" : "done", outcome->step, outcome->steps, outcome->units,
            took);
    if (outcome->units_repeated > 0)
        fprintf(out, ", %" PRIu64 " repeated", outcome->units_repeated);
    fputs(
        "\n\nworker  host           units  examples examples/s    data forward backward    push    "
        "pull    wait\n",
        out);
    for (int w = 0; w < plan->workers; w++) worker_line(plan, w, out);
    fflush(out);
}
