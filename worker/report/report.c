#include "worker/report/report.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/run_folder.h"
#include "worker/report/chart.h"
#include "worker/report/html.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

enum { EVALS = 8192 };

typedef struct {
    char split[64];
    double step, overall;
} eval_t;

typedef struct {
    const char *name;
    wk_run_log_t log;
    int workers, servers;
    double seconds, steps, examples;
    double loss, accuracy, cells; /* of the last tenth */
    double share[WK_LOG_PHASES];  /* of all workers' time */
    int evals;
    eval_t eval[EVALS]; /* by split, then step */
    char state[32];
} run_t;

static const char style[] =
    ":root{--c0:#2563eb;--c1:#d97706;--c2:#16a34a;--c3:#9333ea;--c4:#dc2626;--c5:#0891b2;"
    "--c6:#db2777;--c7:#65a30d}\n"
    "@media(prefers-color-scheme:dark){:root{--c0:#6ea8ff;--c1:#ffb224;--c2:#3dd68c;--c3:#c08bff;"
    "--c4:#ff7189;--c5:#4cd3e6;--c6:#ff8ac2;--c7:#b5d953}}\n"
    ".c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}"
    ".c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}\n"
    ".scroll{overflow-x:auto;margin:1.5rem 0}\n"
    "table{border-collapse:collapse;width:100%;font-size:.9rem;white-space:nowrap}\n"
    "th,td{text-align:right;padding:.5rem .9rem;border-bottom:1px solid var(--line)}\n"
    "th{font-weight:500;color:var(--soft);font-size:.8rem}\n"
    "th:first-child,td:first-child{text-align:left;padding-left:0;font-weight:620}\n"
    ".dot{display:inline-block;width:.7rem;height:.7rem;border-radius:50%;background:var(--c);"
    "margin-right:.55rem}\n"
    "input{position:absolute;opacity:0}\n"
    "nav{display:inline-flex;background:var(--fill);border-radius:10px;padding:3px;"
    "margin-bottom:1rem}\n"
    "nav label{padding:.28rem .95rem;border-radius:8px;font-size:.88rem;cursor:pointer;"
    "color:var(--soft)}\n"
    "#x0:checked~nav [for=x0],#x1:checked~nav [for=x1]{background:var(--tab);color:var(--ink);"
    "box-shadow:var(--shadow)}\n"
    "input:focus-visible~nav{outline:2px solid var(--accent);outline-offset:2px}\n"
    "#x0:checked~main .bytime,#x1:checked~main .bystep{display:none}\n"
    "main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,460px),1fr));"
    "gap:1.25rem}\n"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:16px;"
    "padding:1rem 1.1rem;box-shadow:var(--shadow)}\n"
    ".card h2{font-size:1rem;font-weight:620;margin-bottom:.5rem}\n"
    ".card h2 small{font-weight:400;color:var(--soft)}\n"
    ".chart{display:block;width:100%}\n"
    ".axis path{stroke:var(--line)}\n"
    ".axis text{fill:var(--soft);font-size:12px}\n"
    ".curve{fill:none;stroke:var(--c);stroke-width:2.2;stroke-linejoin:round}\n"
    "circle{fill:var(--c)}\n"
    ".phase{display:grid;gap:.7rem}\n"
    ".phase p{font-size:.85rem;overflow-wrap:anywhere}\n"
    ".phase div{display:flex;height:1.3rem;border-radius:7px;overflow:hidden;"
    "background:var(--fill)}\n"
    ".phase i{width:var(--w)}\n"
    ".p0{background:#8a8f99}.p1{background:#2563eb}.p2{background:#16a34a}.p3{background:#d97706}"
    ".p4{background:#9333ea}.p5{background:#dc2626}\n"
    ".key{display:flex;flex-wrap:wrap;gap:.2rem 1rem;font-size:.8rem;color:var(--soft);"
    "margin-top:.8rem}\n"
    ".key i{display:inline-block;width:.7rem;height:.7rem;border-radius:3px;margin-right:.4rem}\n";

/* ---- reading ---- */

static double time_of_step(const wk_run_log_t *log, double step) {
    double best = NAN;
    for (int f = 0; f < log->files; f++)
        for (size_t i = 0; i < log->file[f].lines && !log->file[f].server; i++) {
            const double *v = log->file[f].line[i].value;
            if (v[WK_LOG_STEP] <= step && !(v[WK_LOG_TIME] <= best)) best = v[WK_LOG_TIME];
        }
    return best;
}

/* An evaluation's JSON; what is none of ours is passed over. */
static void read_eval(run_t *run, const char *name) {
    char path[HP_RUN_PATH], inside[300];
    unsigned char *text = NULL;
    size_t bytes = 0;
    snprintf(inside, sizeof inside, "eval/%s", name);
    if (run->evals == EVALS || hp_run_path(run->name, inside, path, NULL) != HP_OK ||
        hp_read_file(path, 1 << 24, &text, &bytes, NULL) != HP_OK)
        return;
    char *copy = hp_calloc(bytes + 1, 1);
    if (copy != NULL) memcpy(copy, text, bytes);
    yajl_val tree = copy != NULL ? yajl_tree_parse(copy, NULL, 0) : NULL;
    yajl_val split = yajl_tree_get(tree, (const char *[]){"split", NULL}, yajl_t_string);
    yajl_val step = yajl_tree_get(tree, (const char *[]){"step", NULL}, yajl_t_number);
    yajl_val overall = yajl_tree_get(tree, (const char *[]){"overall", NULL}, yajl_t_number);
    if (split != NULL && step != NULL && overall != NULL) {
        eval_t *e = &run->eval[run->evals++];
        snprintf(e->split, sizeof e->split, "%s", YAJL_GET_STRING(split));
        e->step = strtod(YAJL_GET_NUMBER(step), NULL);
        e->overall = strtod(YAJL_GET_NUMBER(overall), NULL);
    }
    yajl_tree_free(tree);
    hp_free(copy);
    hp_free(text);
}

static int by_split_and_step(const void *a, const void *b) {
    const eval_t *p = a, *q = b;
    int order = strcmp(p->split, q->split);
    return order != 0 ? order : (p->step > q->step) - (p->step < q->step);
}

static void read_evals(run_t *run) {
    char path[HP_RUN_PATH];
    DIR *folder = hp_run_path(run->name, "eval", path, NULL) == HP_OK ? opendir(path) : NULL;
    if (folder == NULL) return;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        size_t n = strlen(entry->d_name);
        if (n > 5 && strcmp(entry->d_name + n - 5, ".json") == 0) read_eval(run, entry->d_name);
    }
    closedir(folder);
    qsort(run->eval, (size_t)run->evals, sizeof *run->eval, by_split_and_step);
}

static void sum_up(run_t *run) {
    double busy = 0, phase[WK_LOG_PHASES] = {0};
    run->loss = run->accuracy = run->cells = 0;
    for (int f = 0; f < run->log.files; f++) {
        const wk_log_file_t *file = &run->log.file[f];
        run->servers += file->server;
        if (file->server || file->lines == 0) continue;
        run->workers++;
        for (size_t i = 0; i < file->lines; i++) {
            const double *v = file->line[i].value;
            if (v[WK_LOG_EXAMPLES] > 0) run->examples += v[WK_LOG_EXAMPLES];
            if (v[WK_LOG_STEP_S] > 0) busy += v[WK_LOG_STEP_S];
            for (int p = 0; p < WK_LOG_PHASES; p++)
                if (v[WK_LOG_DATA_S + p] > 0) phase[p] += v[WK_LOG_DATA_S + p];
            run->seconds = fmax(run->seconds, v[WK_LOG_TIME]);
            run->steps = fmax(run->steps, v[WK_LOG_STEP]);
        }
        wk_log_window_t end = wk_log_window(file, run->seconds / 10);
        run->loss += end.loss;
        run->accuracy += end.accuracy;
        run->cells += end.cells_mean;
    }
    for (int p = 0; p < WK_LOG_PHASES; p++) run->share[p] = busy > 0 ? phase[p] / busy : 0;
    run->loss /= run->workers;
    run->accuracy /= run->workers;
    run->cells /= run->workers;
}

static hp_status_t read_run(const char *name, run_t *run, hp_error_t *err) {
    hp_run_status_t status;
    run->name = name;
    bool known = hp_run_status_read(name, &status, NULL) == HP_OK;
    snprintf(run->state, sizeof run->state, "%s", known ? hp_run_state_name(status.state) : "-");
    HP_TRY(wk_run_log_read(name, 0, &run->log, err));
    HP_TRY(wk_run_log_join(&run->log, err));
    sum_up(run);
    if (known) run->steps = fmax(run->steps, (double)status.step);
    read_evals(run);
    return HP_OK;
}

/* ---- writing ---- */

static void put_number(FILE *out, const char *tag, int decimals, double value) {
    if (isnan(value))
        fprintf(out, "<%s>-</%s>", tag, tag);
    else
        fprintf(out, "<%s>%.*f</%s>", tag, decimals, value, tag);
}

static void put_duration(FILE *out, double seconds) {
    if (seconds < 120)
        fprintf(out, "<td>%.0f s</td>", seconds);
    else if (seconds < 7200)
        fprintf(out, "<td>%.1f min</td>", seconds / 60);
    else
        fprintf(out, "<td>%.1f h</td>", seconds / 3600);
}

static void put_table(FILE *out, int runs, const run_t *run) {
    fputs("<div class=\"scroll\"><table><tr><th>Run</th><th>State</th><th>Servers</th>"
          "<th>Workers</th><th>Steps</th><th>Time</th><th>Examples/s</th><th>Loss</th>"
          "<th>Training accuracy</th><th>Cells</th><th>Evaluations</th></tr>\n",
          out);
    for (int r = 0; r < runs; r++) {
        const run_t *u = &run[r];
        fprintf(out, "<tr class=\"c%d\"><td><i class=\"dot\"></i>", r % WK_CHART_COLOURS);
        wk_html_text(out, u->name);
        fprintf(out, "</td><td>%s</td><td>%d</td><td>%d</td>", u->state, u->servers, u->workers);
        put_number(out, "td", 0, u->steps);
        put_duration(out, u->seconds);
        put_number(out, "td", 1, u->seconds > 0 ? u->examples / u->seconds : NAN);
        put_number(out, "td", 4, u->loss);
        put_number(out, "td", 2, 100 * u->accuracy);
        put_number(out, "td", 1, u->cells);
        fputs("<td>", out);
        for (int e = 0; e < u->evals; e++) {
            bool last = e + 1 == u->evals || strcmp(u->eval[e].split, u->eval[e + 1].split) != 0;
            if (!last) continue;
            wk_html_text(out, u->eval[e].split);
            fprintf(out, " <b>%.2f</b> ", u->eval[e].overall);
        }
        fputs("</td></tr>\n", out);
    }
    fputs("</table></div>\n", out);
}

static void put_card(FILE *out, const char *title, const char *unit, int curves,
                     const wk_curve_t *by_step, const wk_curve_t *by_time, bool hours) {
    fputs("<section class=\"card\"><h2>", out);
    wk_html_text(out, title);
    fprintf(out, " <small>%s</small></h2>\n", unit);
    wk_chart_t chart = {title, unit, "bystep", "step", curves, by_step};
    wk_chart_svg(out, &chart);
    chart.class = "bytime";
    chart.x = hours ? "hours" : "minutes";
    chart.curve = by_time;
    wk_chart_svg(out, &chart);
    fputs("</section>\n", out);
}

/* `scratch`: two curves for each run. */
static void put_field(FILE *out, int runs, const run_t *run, wk_curve_t *scratch, bool hours,
                      const char *title, const char *unit, wk_log_field_t field, double scale) {
    for (int r = 0; r < runs; r++) {
        double factor = field == WK_LOG_EXAMPLES_PER_S ? run[r].workers : scale;
        wk_curve_t *step = &scratch[r], *time = &scratch[runs + r];
        wk_curve(&run[r].log, WK_LOG_STEP, field, step);
        wk_curve(&run[r].log, WK_LOG_TIME, field, time);
        step->name = time->name = run[r].name;
        step->colour = time->colour = r;
        step->marks = time->marks = false;
        for (int i = 0; i < step->points; i++) step->y[i] *= factor;
        for (int i = 0; i < time->points; i++) {
            time->y[i] *= factor;
            time->x[i] /= hours ? 3600 : 60;
        }
    }
    put_card(out, title, unit, runs, scratch, scratch + runs, hours);
}

static void put_evals(FILE *out, int runs, const run_t *run, wk_curve_t *scratch, bool hours,
                      const char *split) {
    for (int r = 0; r < runs; r++) {
        wk_curve_t *step = &scratch[r], *time = &scratch[runs + r];
        step->points = 0;
        step->name = run[r].name;
        step->colour = r;
        step->marks = true;
        int all = 0, seen = 0;
        for (int e = 0; e < run[r].evals; e++) all += strcmp(run[r].eval[e].split, split) == 0;
        int every = all > WK_CURVE_POINTS ? (all + WK_CURVE_POINTS - 1) / WK_CURVE_POINTS : 1;
        for (int e = 0; e < run[r].evals && step->points < WK_CURVE_POINTS; e++) {
            if (strcmp(run[r].eval[e].split, split) != 0) continue;
            if ((all - ++seen) % every != 0) continue; /* the last one counts */
            step->x[step->points] = run[r].eval[e].step;
            step->y[step->points++] = run[r].eval[e].overall;
        }
        *time = *step;
        for (int i = 0; i < time->points; i++)
            time->x[i] = time_of_step(&run[r].log, step->x[i]) / (hours ? 3600 : 60);
    }
    char title[128];
    snprintf(title, sizeof title, "Accuracy on %s", split);
    put_card(out, title, "%", runs, scratch, scratch + runs, hours);
}

/* A curve for each split that some run was scored on more than once. */
static void put_all_evals(FILE *out, int runs, const run_t *run, wk_curve_t *scratch, bool hours) {
    for (int r = 0; r < runs; r++)
        for (int e = 1; e < run[r].evals; e++) {
            const char *split = run[r].eval[e].split;
            bool begins = e == 1 || strcmp(run[r].eval[e - 2].split, split) != 0;
            bool again = strcmp(run[r].eval[e - 1].split, split) == 0, seen = false;
            for (int q = 0; q < r; q++)
                for (int k = 1; k < run[q].evals; k++)
                    seen = seen || (strcmp(run[q].eval[k].split, split) == 0 &&
                                    strcmp(run[q].eval[k - 1].split, split) == 0);
            if (begins && again && !seen) put_evals(out, runs, run, scratch, hours, split);
        }
}

static void put_phases(FILE *out, int runs, const run_t *run) {
    static const char *const name[WK_LOG_PHASES] = {"data", "forward", "backward",
                                                    "push", "pull",    "wait"};
    fputs("<section class=\"card\"><h2>Where the workers' time went</h2><div class=\"phase\">",
          out);
    for (int r = 0; r < runs; r++) {
        fputs("<p>", out);
        wk_html_text(out, run[r].name);
        fputs("</p><div>", out);
        for (int p = 0; p < WK_LOG_PHASES; p++)
            fprintf(out, "<i class=\"p%d\" style=\"--w:%.2f%%\" title=\"%s %.1f %%\"></i>", p,
                    100 * run[r].share[p], name[p], 100 * run[r].share[p]);
        fputs("</div>", out);
    }
    fputs("</div><div class=\"key\">", out);
    for (int p = 0; p < WK_LOG_PHASES; p++)
        fprintf(out, "<span><i class=\"p%d\"></i>%s</span>", p, name[p]);
    fputs("</div></section>\n", out);
}

static void put_page(FILE *out, int runs, const run_t *run, wk_curve_t *scratch) {
    double longest = 0;
    for (int r = 0; r < runs; r++) longest = fmax(longest, run[r].seconds);
    bool hours = longest > 3 * 3600;
    wk_html_begin(out, runs == 1 ? run[0].name : "hanps report", style);
    fputs("<p class=\"over\">hanps report</p>\n<h1>", out);
    if (runs == 1)
        wk_html_text(out, run[0].name);
    else
        fprintf(out, "%d runs", runs);
    fputs("</h1>\n", out);
    put_table(out, runs, run);
    /* Several runs by time, as the paper's Figure 3: their steps do not take equally long. */
    fprintf(out,
            "<input type=\"radio\" name=\"x\" id=\"x0\"%s><input type=\"radio\" name=\"x\" "
            "id=\"x1\"%s>\n"
            "<nav aria-label=\"Horizontal axis\"><label for=\"x0\">By step</label>"
            "<label for=\"x1\">By time</label></nav>\n<main>\n",
            runs > 1 ? "" : " checked", runs > 1 ? " checked" : "");
    put_all_evals(out, runs, run, scratch, hours);
    put_field(out, runs, run, scratch, hours, "Loss", "training", WK_LOG_LOSS, 1);
    put_field(out, runs, run, scratch, hours, "Accuracy", "training, %", WK_LOG_ACCURACY, 100);
    put_field(out, runs, run, scratch, hours, "Throughput", "examples/s, all workers",
              WK_LOG_EXAMPLES_PER_S, 1);
    put_field(out, runs, run, scratch, hours, "Selected cells", "a question", WK_LOG_CELLS_MEAN, 1);
    put_field(out, runs, run, scratch, hours, "Staleness", "steps", WK_LOG_STALENESS, 1);
    put_phases(out, runs, run);
    fputs(
        "</main>\n<footer>Curves are means over all workers, weighted by examples, in at most 240 "
        "equal parts. Time goes on over restarts; steps that a restart repeated count "
        "once.</footer>\n",
        out);
    wk_html_end(out);
}

hp_status_t wk_report(int runs, const char *const *name, FILE *out, hp_error_t *err) {
    void *p = NULL, *q = NULL;
    HP_TRY(hp_allocate(&p, (size_t)runs, sizeof(run_t), "runs", err));
    hp_status_t status = hp_allocate(&q, 2 * (size_t)runs, sizeof(wk_curve_t), "curves", err);
    run_t *run = p;
    for (int r = 0; r < runs && status == HP_OK; r++) status = read_run(name[r], &run[r], err);
    if (status == HP_OK) {
        put_page(out, runs, run, q);
        if (ferror(out)) status = hp_fail_errno(err, HP_IO, "the report");
    }
    for (int r = 0; r < runs; r++) wk_run_log_release(&run[r].log);
    hp_free(p);
    hp_free(q);
    return status;
}
