#include "worker/report/run_log.h"

#include "common/memory.h"
#include "common/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <yajl/yajl_tree.h>

static const char *const field_name[WK_LOG_FIELDS] = {
#define WK_LOG_NAME(name, key) key,
    WK_LOG_MAP(WK_LOG_NAME)
#undef WK_LOG_NAME
};

static int find_field(const char *key) {
    for (int f = 0; f < WK_LOG_FIELDS; f++)
        if (strcmp(key, field_name[f]) == 0) return f;
    return -1;
}

static bool parse_line(const char *text, wk_log_line_t *line, char host[64]) {
    yajl_val tree = yajl_tree_parse(text, NULL, 0);
    bool ok = YAJL_IS_OBJECT(tree);
    for (int f = 0; f < WK_LOG_FIELDS; f++) line->value[f] = NAN;
    for (size_t i = 0; ok && i < tree->u.object.len; i++) {
        yajl_val value = tree->u.object.values[i];
        if (YAJL_IS_STRING(value) && strcmp(tree->u.object.keys[i], "host") == 0)
            snprintf(host, 64, "%s", YAJL_GET_STRING(value));
        if (!YAJL_IS_NUMBER(value)) continue;
        int f = find_field(tree->u.object.keys[i]);
        if (f >= 0) line->value[f] = strtod(YAJL_GET_NUMBER(value), NULL);
    }
    yajl_tree_free(tree);
    return ok;
}

static hp_status_t add_line(wk_log_file_t *file, size_t *capacity, const wk_log_line_t *line,
                            hp_error_t *err) {
    if (file->lines == *capacity) {
        size_t more = *capacity > 0 ? 2 * *capacity : 256;
        void *grown = NULL;
        HP_TRY(hp_allocate(&grown, more, sizeof *line, "log", err));
        if (file->lines > 0) memcpy(grown, file->line, file->lines * sizeof *line);
        hp_free(file->line);
        file->line = grown;
        *capacity = more;
    }
    file->line[file->lines++] = *line;
    return HP_OK;
}

static hp_status_t read_lines(FILE *in, size_t tail, wk_log_file_t *file, hp_error_t *err) {
    char *text = NULL;
    size_t room = 0, capacity = 0;
    bool cut = tail > 0 && fseek(in, -(long)tail, SEEK_END) == 0;
    hp_status_t status = HP_OK;
    while (status == HP_OK && getline(&text, &room, in) > 0) {
        wk_log_line_t line;
        if (cut) { /* begins in the middle of a line */
            cut = false;
            continue;
        }
        if (strchr(text, '\n') == NULL) break; /* still being written */
        if (parse_line(text, &line, file->host))
            status = add_line(file, &capacity, &line, err);
        else
            file->damaged++;
    }
    free(text);
    return status;
}

static double age_of(const struct timespec *then) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    double age = difftime(now.tv_sec, then->tv_sec) + 1e-9 * (double)(now.tv_nsec - then->tv_nsec);
    return age > 0 ? age : 0;
}

static hp_status_t read_file(const char *run, const char *name, size_t tail, wk_log_file_t *file,
                             hp_error_t *err) {
    char path[HP_RUN_PATH], inside[300];
    snprintf(inside, sizeof inside, "log/%s", name);
    HP_TRY(hp_run_path(run, inside, path, err));
    FILE *in = fopen(path, "r");
    if (in == NULL) return hp_fail_errno(err, HP_INPUT, "%s", path);
    struct stat info;
    if (fstat(fileno(in), &info) == 0) file->age_s = age_of(&info.st_mtim);
    hp_status_t status = read_lines(in, tail, file, err);
    fclose(in);
    return status;
}

/* worker-0012.jsonl, server-0000.jsonl */
static bool parse_name(const char *name, wk_log_file_t *file) {
    int end = 0;
    file->server = strncmp(name, "server-", 7) == 0;
    if (!file->server && strncmp(name, "worker-", 7) != 0) return false;
    return sscanf(name + 7, "%9d.jsonl%n", &file->index, &end) == 1 && end > 0 &&
           name[7 + end] == '\0';
}

static int by_role(const void *a, const void *b) {
    const wk_log_file_t *p = a, *q = b;
    return p->server != q->server ? p->server - q->server
                                  : (p->index > q->index) - (p->index < q->index);
}

static hp_status_t list_files(DIR *folder, const char *run, size_t tail, wk_run_log_t *log,
                              hp_error_t *err) {
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        wk_log_file_t file = {0};
        if (!parse_name(entry->d_name, &file)) continue;
        void *grown = NULL;
        HP_TRY(hp_allocate(&grown, (size_t)log->files + 1, sizeof file, "log", err));
        if (log->files > 0) memcpy(grown, log->file, (size_t)log->files * sizeof file);
        hp_free(log->file);
        log->file = grown;
        log->file[log->files] = file;
        HP_TRY(read_file(run, entry->d_name, tail, &log->file[log->files++], err));
    }
    if (log->files == 0) return hp_fail(err, HP_INPUT, "'%s' has no log yet", run);
    qsort(log->file, (size_t)log->files, sizeof *log->file, by_role);
    return HP_OK;
}

hp_status_t wk_run_log_read(const char *run, size_t tail, wk_run_log_t *log, hp_error_t *err) {
    char path[HP_RUN_PATH];
    HP_TRY(hp_run_path(run, "log", path, err));
    DIR *folder = opendir(path);
    if (folder == NULL)
        return errno == ENOENT ? hp_fail(err, HP_INPUT, "no run in '%s': it has no log", run)
                               : hp_fail_errno(err, HP_INPUT, "%s", path);
    wk_run_log_t out = {0};
    hp_status_t status = list_files(folder, run, tail, &out, err);
    closedir(folder);
    if (status == HP_OK)
        *log = out;
    else
        wk_run_log_release(&out);
    return status;
}

void wk_run_log_release(wk_run_log_t *log) {
    for (int i = 0; i < log->files; i++) hp_free(log->file[i].line);
    hp_free(log->file);
    *log = (wk_run_log_t){0};
}

static double at(const wk_log_file_t *file, size_t line, wk_log_field_t field) {
    return file->line[line].value[field];
}

/* Weighted by the examples of a line; lines without the number do not count. */
static double mean_of(const wk_log_file_t *file, size_t first, wk_log_field_t field) {
    double sum = 0, weight = 0;
    for (size_t i = first; i < file->lines; i++) {
        double value = at(file, i, field), examples = at(file, i, WK_LOG_EXAMPLES);
        if (isnan(value) || isnan(examples)) continue;
        sum += value * examples;
        weight += examples;
    }
    return weight > 0 ? sum / weight : NAN;
}

static double sum_of(const wk_log_file_t *file, size_t first, wk_log_field_t field) {
    double sum = 0;
    for (size_t i = first; i < file->lines; i++)
        if (!isnan(at(file, i, field))) sum += at(file, i, field);
    return sum;
}

/* Of a count that grows, over seconds that grow. */
static double rate_of(const wk_log_file_t *file, size_t first, wk_log_field_t field) {
    size_t last = file->lines - 1;
    double seconds = at(file, last, WK_LOG_TIME) - at(file, first, WK_LOG_TIME);
    return seconds > 0 ? (at(file, last, field) - at(file, first, field)) / seconds : NAN;
}

wk_log_window_t wk_log_window(const wk_log_file_t *file, double seconds) {
    wk_log_window_t w = {0};
    if (file->lines == 0) return w;
    size_t last = file->lines - 1, first = last;
    double start = at(file, last, WK_LOG_START), end = at(file, last, WK_LOG_TIME);
    while (first > 0 && at(file, first - 1, WK_LOG_START) == start &&
           end - at(file, first - 1, WK_LOG_TIME) <= seconds)
        first--;
    w.lines = file->lines - first;
    w.step = at(file, last, WK_LOG_STEP);
    w.time_s = end;
    w.loss = mean_of(file, first, WK_LOG_LOSS);
    w.accuracy = mean_of(file, first, WK_LOG_ACCURACY);
    w.cells_mean = mean_of(file, first, WK_LOG_CELLS_MEAN);
    w.staleness = mean_of(file, first, WK_LOG_STALENESS);
    w.step_s = sum_of(file, first, WK_LOG_STEP_S) / (double)w.lines;
    double busy = sum_of(file, first, WK_LOG_STEP_S);
    for (int p = 0; p < WK_LOG_PHASES; p++)
        w.share[p] =
            busy > 0 ? sum_of(file, first, (wk_log_field_t)(WK_LOG_DATA_S + p)) / busy : NAN;
    w.examples_per_s = at(file, last, WK_LOG_EXAMPLES_PER_S);
    double between = end - at(file, first, WK_LOG_TIME); /* the first line's examples came before */
    if (between > 0) w.examples_per_s = sum_of(file, first + 1, WK_LOG_EXAMPLES) / between;
    w.updates_per_s = rate_of(file, first, WK_LOG_UPDATES);
    w.received_per_s = rate_of(file, first, WK_LOG_RECEIVED_BYTES);
    w.sent_per_s = rate_of(file, first, WK_LOG_SENT_BYTES);
    w.adam_share = rate_of(file, first, WK_LOG_ADAM_S);
    w.queue = at(file, last, WK_LOG_QUEUE);
    w.units_repeated = at(file, last, WK_LOG_UNITS_REPEATED);
    return w;
}
