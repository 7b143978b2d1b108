#include "worker/report/table.h"

#include "common/config.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/run_folder.h"
#include "worker/report/scores.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct {
    const char *name;
    int row;
    dev_t device; /* of its config.yaml, and the file there */
    ino_t file;
    hp_config_t config;
    char *yaml; /* the configuration without its seed */
    wk_scores_t scores;
} run_t;

typedef struct {
    const wk_table_options_t *options;
    wk_table_t *table;
    run_t *run;       /* [options->runs] */
    int *type;        /* [questions] the column of each */
    uint32_t *place;  /* [questions] its image, 0 .. images-1 */
    double *value;    /* [questions] mean score over a row's runs */
    double *first;    /* the same of the first row */
    double *sum;      /* [images][columns] of differences */
    uint32_t *number; /* [images][columns] of questions */
    double *sample;   /* [columns][samples] */
} job_t;

/* ---- what is there ------------------------------------------------------------------------- */

/* "SPLIT-00000123.tsv" */
static bool parse_name(const char *name, char split[64], int64_t *step) {
    const char *dash = strrchr(name, '-');
    size_t length = dash != NULL ? (size_t)(dash - name) : 0;
    int end = 0;
    if (length == 0 || length >= 64 || sscanf(dash, "-%" SCNd64 ".tsv%n", step, &end) != 1 ||
        end == 0 || dash[end] != '\0' || *step < 0)
        return false;
    memcpy(split, name, length);
    split[length] = '\0';
    return true;
}

/* The newest evaluation in RUN/eval of the table's split, which the first run found fixes. */
static hp_status_t find_scores(job_t *job, const run_t *run, int64_t *step_p, hp_error_t *err) {
    char path[HP_RUN_PATH], split[64], *wanted = job->table->split;
    int64_t step, asked = job->options->step;
    *step_p = -1;
    HP_TRY(hp_run_path(run->name, "eval", path, err));
    DIR *folder = opendir(path);
    hp_status_t status = HP_OK;
    const struct dirent *entry;
    while (status == HP_OK && folder != NULL && (entry = readdir(folder)) != NULL) {
        if (!parse_name(entry->d_name, split, &step)) continue;
        if (wanted[0] == '\0')
            memcpy(wanted, split, sizeof split);
        else if (strcmp(wanted, split) != 0) {
            if (job->options->split == NULL && run == job->run)
                status =
                    hp_fail(err, HP_INPUT, "--split is needed: run '%s' was evaluated on %s and %s",
                            run->name, wanted, split);
            continue;
        }
        if (step > *step_p && (asked < 0 || step == asked)) *step_p = step;
    }
    if (folder != NULL) closedir(folder);
    if (status != HP_OK || *step_p >= 0) return status;
    char what[128] = "", option[128] = "";
    if (wanted[0] != '\0') {
        snprintf(what, sizeof what, " of split '%s'", wanted);
        snprintf(option, sizeof option, " --split %s", wanted);
    }
    if (asked >= 0) snprintf(what + strlen(what), 40, " at step %" PRId64, asked);
    return hp_fail(err, HP_INPUT, "run '%s' has no evaluation%s: hanps eval %s%s", run->name, what,
                   run->name, option);
}

static hp_status_t read_config(run_t *run, hp_error_t *err) {
    char path[HP_RUN_PATH];
    size_t bytes = 0;
    HP_TRY(hp_run_path(run->name, "config.yaml", path, err));
    struct stat info;
    if (stat(path, &info) != 0)
        return hp_fail(err, HP_INPUT, "no run in '%s': there is no config.yaml in it", run->name);
    run->device = info.st_dev;
    run->file = info.st_ino;
    hp_config_default(&run->config);
    HP_TRY(hp_config_load(&run->config, path, err));
    hp_config_t same = run->config;
    same.run.seed = 0;
    FILE *text = open_memstream(&run->yaml, &bytes);
    if (text == NULL) return hp_fail_errno(err, HP_MEMORY, "a configuration");
    hp_status_t status = hp_config_write(&same, text, err);
    if (fclose(text) != 0 && status == HP_OK)
        status = hp_fail_errno(err, HP_MEMORY, "a configuration");
    return status;
}

static hp_status_t same_questions(const run_t *a, const run_t *b, hp_error_t *err) {
    bool same = a->scores.count == b->scores.count;
    for (uint64_t i = 0; same && i < a->scores.count; i++)
        same = a->scores.line[i].id == b->scores.line[i].id &&
               a->scores.line[i].image == b->scores.line[i].image;
    if (same) return HP_OK;
    return hp_fail(err, HP_INPUT, "runs '%s' and '%s' were scored on different questions", a->name,
                   b->name);
}

/* Twice it would count as two seeds without a difference. */
static hp_status_t given_once(const job_t *job, int index, hp_error_t *err) {
    const run_t *run = &job->run[index];
    for (const run_t *other = job->run; other < run; other++)
        if (other->device == run->device && other->file == run->file)
            return hp_fail(err, HP_INPUT, "run '%s' is given twice", run->name);
    return HP_OK;
}

static hp_status_t read_runs(job_t *job, hp_error_t *err) {
    for (int r = 0; r < job->options->runs; r++) {
        run_t *run = &job->run[r];
        char path[HP_RUN_PATH], name[128];
        int64_t step;
        run->name = job->options->run[r];
        HP_TRY(read_config(run, err));
        HP_TRY(given_once(job, r, err));
        HP_TRY(find_scores(job, run, &step, err));
        snprintf(name, sizeof name, "eval/%s-%08" PRId64 ".tsv", job->table->split, step);
        HP_TRY(hp_run_path(run->name, name, path, err));
        HP_TRY(wk_scores_read(path, &run->scores, err));
        HP_TRY(same_questions(&job->run[0], run, err));
    }
    job->table->questions = job->run[0].scores.count;
    job->table->metric =
        job->options->metric < 0 ? job->run[0].scores.metric : (wk_metric_t)job->options->metric;
    return HP_OK;
}

/* ---- rows and columns ---------------------------------------------------------------------- */

static void name_row(const hp_config_t *config, char name[WK_TABLE_NAME]) {
    static const char *const attention[] = {
        [HP_ATTEND_ALL] = "",           [HP_ATTEND_HAN] = "HAN+",
        [HP_ATTEND_ADAHAN] = "AdaHAN+", [HP_ATTEND_RANDOM] = "random+",
        [HP_ATTEND_LOWEST] = "lowest+", [HP_ATTEND_IMAGE_ONLY] = "image_only+",
        [HP_ATTEND_SOFT] = "SAN",       [HP_ATTEND_STRAIGHT_THROUGH] = "ST+"};
    static const char *const aggregate[] = {[HP_AGGREGATE_SUM] = "sum",
                                            [HP_AGGREGATE_PAIRWISE] = "pairwise",
                                            [HP_AGGREGATE_RELATION] = "RN",
                                            [HP_AGGREGATE_CONCAT] = "MLP"};
    const bool soft = config->model.attention.kind == HP_ATTEND_SOFT;
    snprintf(name, WK_TABLE_NAME, "%s%s%s", attention[config->model.attention.kind],
             soft ? "" : aggregate[config->model.aggregate.kind],
             config->data.blank_images ? ", blank" : "");
}

/* Runs of the same configuration are one row; rows of one name tell their first runs. */
static hp_status_t make_rows(job_t *job, hp_error_t *err) {
    wk_table_t *table = job->table;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)job->options->runs, sizeof *table->row, "a table", err));
    table->row = p;
    for (int r = 0; r < job->options->runs; r++) {
        run_t *run = &job->run[r];
        int row = 0;
        while (row < table->rows &&
               strcmp(run->yaml, job->run[table->row[row].first_run].yaml) != 0)
            row++;
        run->row = row;
        if (row == table->rows) {
            table->rows++;
            table->row[row].first_run = r;
            name_row(&run->config, table->row[row].name);
        }
        table->row[row].runs++;
    }
    for (int row = table->rows; row-- > 0;) {
        bool alone = true;
        char plain[WK_TABLE_NAME], *name = table->row[row].name;
        for (int other = 0; other < table->rows; other++) {
            name_row(&job->run[table->row[other].first_run].config, plain);
            alone = alone && (other == row || strcmp(plain, name) != 0);
        }
        size_t n = strlen(name);
        if (!alone)
            snprintf(name + n, WK_TABLE_NAME - n, " (%s)",
                     job->run[table->row[row].first_run].name);
    }
    return HP_OK;
}

static int by_place(const void *a, const void *b) {
    const char *p = *(char *const *)a, *q = *(char *const *)b;
    int order = wk_answer_type_place(p) - wk_answer_type_place(q);
    return order != 0 ? order : strcmp(p, q);
}

static hp_status_t make_columns(job_t *job, hp_error_t *err) {
    wk_table_t *table = job->table;
    const wk_scores_t *scores = &job->run[0].scores;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)scores->types + 1, sizeof *table->column, "a table", err));
    table->column = p;
    for (int t = -1; t < scores->types; t++) {
        char *name = hp_strdup(t < 0 ? "" : scores->type[t]);
        if (name == NULL) return hp_fail(err, HP_MEMORY, "out of memory for a table");
        table->column[table->columns++] = name;
    }
    qsort(table->column + 1, (size_t)scores->types, sizeof *table->column, by_place);
    HP_TRY(hp_allocate(&p, table->questions, sizeof *job->type, "a table", err));
    job->type = p;
    for (uint64_t i = 0; i < table->questions; i++)
        for (int c = 1; c < table->columns; c++)
            if (strcmp(table->column[c], scores->type[scores->line[i].type]) == 0) job->type[i] = c;
    return HP_OK;
}

/* ---- numbers ------------------------------------------------------------------------------- */

static int by_image(const void *a, const void *b) {
    uint32_t p = *(const uint32_t *)a, q = *(const uint32_t *)b;
    return (p > q) - (p < q);
}

/* Images as 0 .. images-1, in the order of the store. */
static hp_status_t place_images(job_t *job, hp_error_t *err) {
    wk_table_t *table = job->table;
    const wk_score_line_t *line = job->run[0].scores.line;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, table->questions, sizeof *job->place, "a table", err));
    job->place = p;
    HP_TRY(hp_allocate(&p, table->questions, sizeof(uint32_t), "a table", err));
    uint32_t *image = p, images = 0;
    for (uint64_t i = 0; i < table->questions; i++) image[i] = line[i].image;
    qsort(image, table->questions, sizeof *image, by_image);
    for (uint64_t i = 0; i < table->questions; i++)
        if (i == 0 || image[i] != image[images - 1]) image[images++] = image[i];
    for (uint64_t i = 0; i < table->questions; i++) {
        const uint32_t *at = bsearch(&line[i].image, image, images, sizeof *image, by_image);
        job->place[i] = (uint32_t)(at - image);
    }
    table->images = images;
    hp_free(image);
    return HP_OK;
}

static hp_status_t make_room(job_t *job, hp_error_t *err) {
    const wk_table_t *table = job->table;
    const size_t columns = (size_t)table->columns;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, table->questions, sizeof *job->value, "a table", err));
    job->value = p;
    HP_TRY(hp_allocate(&p, table->questions, sizeof *job->first, "a table", err));
    job->first = p;
    HP_TRY(hp_allocate(&p, table->images * columns, sizeof *job->sum, "a table", err));
    job->sum = p;
    HP_TRY(hp_allocate(&p, table->images * columns, sizeof *job->number, "a table", err));
    job->number = p;
    if (table->samples == 0) return HP_OK;
    HP_TRY(hp_allocate(&p, columns * (size_t)table->samples, sizeof *job->sample, "a table", err));
    job->sample = p;
    return HP_OK;
}

/* Percent of a run in a column. */
static double accuracy(const job_t *job, const run_t *run, int column) {
    double sum = 0;
    uint64_t count = 0;
    for (uint64_t i = 0; i < run->scores.count; i++)
        if (column == 0 || job->type[i] == column) {
            sum += run->scores.line[i].score[job->table->metric];
            count++;
        }
    return count > 0 ? 100 * sum / (double)count : 0;
}

static void fill_cell(const job_t *job, int row, int column, wk_table_cell_t *cell) {
    double value[WK_TABLE_RUNS], sum = 0, square = 0;
    int n = 0;
    for (int r = 0; r < job->options->runs; r++)
        if (job->run[r].row == row) sum += value[n++] = accuracy(job, &job->run[r], column);
    *cell = (wk_table_cell_t){sum / n, NAN, NAN, NAN, NAN};
    for (int i = 0; i < n; i++) square += (value[i] - cell->mean) * (value[i] - cell->mean);
    if (n > 1) cell->deviation = sqrt(square / (n - 1));
}

/* Mean score of every question, and the row's cells. */
static void average(job_t *job, int row, double *value) {
    wk_table_row_t *out = &job->table->row[row];
    double cells = 0;
    for (uint64_t i = 0; i < job->table->questions; i++) value[i] = 0;
    for (int r = 0; r < job->options->runs; r++)
        for (uint64_t i = 0; job->run[r].row == row && i < job->table->questions; i++) {
            value[i] += job->run[r].scores.line[i].score[job->table->metric] / out->runs;
            cells += job->run[r].scores.line[i].cells;
        }
    out->cells_mean = cells / ((double)job->table->questions * out->runs);
}

static int by_size(const void *a, const void *b) {
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

/* Fills job->sample; a column that a draw has no question of gives 0. */
static void draw_again(job_t *job) {
    const wk_table_t *table = job->table;
    const size_t columns = (size_t)table->columns;
    double sum[64];
    uint64_t number[64];
    for (int s = 0; s < table->samples; s++) {
        hp_random_t random = hp_random(job->options->seed, HP_RANDOM_BOOTSTRAP, (uint64_t)s, 0);
        memset(sum, 0, sizeof sum);
        memset(number, 0, sizeof number);
        for (uint64_t i = 0; i < table->images; i++) {
            size_t at = hp_random_below(&random, table->images) * columns;
            for (size_t c = 0; c < columns; c++) {
                sum[c] += job->sum[at + c];
                number[c] += job->number[at + c];
            }
        }
        for (size_t c = 0; c < columns; c++)
            job->sample[c * (size_t)table->samples + (size_t)s] =
                number[c] > 0 ? 100 * sum[c] / (double)number[c] : 0;
    }
}

static void compare(job_t *job, int row) {
    wk_table_t *table = job->table;
    const size_t columns = (size_t)table->columns, samples = (size_t)table->samples;
    memset(job->sum, 0, table->images * columns * sizeof *job->sum);
    memset(job->number, 0, table->images * columns * sizeof *job->number);
    for (uint64_t i = 0; i < table->questions; i++) {
        size_t at = job->place[i] * columns;
        for (int twice = 0; twice < 2; twice++) {
            size_t c = at + (twice ? (size_t)job->type[i] : 0);
            job->sum[c] += job->value[i] - job->first[i];
            job->number[c]++;
        }
    }
    if (samples > 0) draw_again(job);
    for (size_t c = 0; c < columns; c++) {
        wk_table_cell_t *cell = &table->row[row].cell[c];
        cell->difference = cell->mean - table->row[0].cell[c].mean;
        if (samples == 0) continue;
        double *sorted = job->sample + c * samples;
        qsort(sorted, samples, sizeof *sorted, by_size);
        const double last = (double)(samples - 1);
        cell->low = sorted[(size_t)lround(0.025 * last)];
        cell->high = sorted[(size_t)lround(0.975 * last)];
    }
}

static hp_status_t fill(job_t *job, hp_error_t *err) {
    wk_table_t *table = job->table;
    for (int row = 0; row < table->rows; row++) {
        void *p = NULL;
        HP_TRY(hp_allocate(&p, (size_t)table->columns, sizeof(wk_table_cell_t), "a table", err));
        table->row[row].cell = p;
        for (int c = 0; c < table->columns; c++) fill_cell(job, row, c, &table->row[row].cell[c]);
        average(job, row, row == 0 ? job->first : job->value);
        if (row > 0) compare(job, row);
    }
    return HP_OK;
}

static hp_status_t make(job_t *job, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)job->options->runs, sizeof *job->run, "runs", err));
    job->run = p;
    HP_TRY(read_runs(job, err));
    HP_TRY(make_rows(job, err));
    HP_TRY(make_columns(job, err));
    if (job->table->columns > 64)
        return hp_fail(err, HP_INPUT, "%d answer types: a table has at most 63",
                       job->table->columns - 1);
    HP_TRY(place_images(job, err));
    HP_TRY(make_room(job, err));
    return fill(job, err);
}

hp_status_t wk_table_make(const wk_table_options_t *options, wk_table_t *table, hp_error_t *err) {
    job_t job = {.options = options, .table = table};
    *table = (wk_table_t){.samples = options->samples};
    if (options->runs < 1 || options->runs > WK_TABLE_RUNS)
        return hp_fail(err, HP_INPUT, "%d runs: 1 to %d are allowed", options->runs, WK_TABLE_RUNS);
    if (options->split != NULL) snprintf(table->split, sizeof table->split, "%s", options->split);
    hp_status_t status = make(&job, err);
    for (int r = 0; job.run != NULL && r < options->runs; r++) {
        free(job.run[r].yaml);
        wk_scores_release(&job.run[r].scores);
    }
    hp_free(job.run);
    hp_free(job.type);
    hp_free(job.place);
    hp_free(job.value);
    hp_free(job.first);
    hp_free(job.sum);
    hp_free(job.number);
    hp_free(job.sample);
    if (status != HP_OK) wk_table_release(table);
    return status;
}

void wk_table_release(wk_table_t *table) {
    for (int c = 0; c < table->columns; c++) hp_free(table->column[c]);
    for (int row = 0; row < table->rows; row++) hp_free(table->row[row].cell);
    hp_free(table->column);
    hp_free(table->row);
    *table = (wk_table_t){0};
}
