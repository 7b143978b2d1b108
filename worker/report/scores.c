#include "worker/report/scores.h"

#include "common/file.h"
#include "common/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX ((size_t)1 << 32)
enum { COLUMNS = 9, TYPES_MAX = 1000 };

static const wk_metric_t order[WK_METRICS] = {WK_EXACT, WK_VQA_2016, WK_VQA_2021};

void wk_scores_begin(FILE *out, wk_metric_t metric) {
    fprintf(out, "# metric %s\nquestion_id\timage\tcells", wk_metric_name(metric));
    for (int m = 0; m < WK_METRICS; m++) fprintf(out, "\t%s", wk_metric_name(order[m]));
    fputs("\tanswer_type\tquestion_type\tanswer\n", out);
}

static void put_text(FILE *out, const char *text) {
    putc('\t', out);
    for (; text != NULL && *text != '\0'; text++)
        putc(*text == '\t' || *text == '\n' || *text == '\r' ? ' ' : *text, out);
}

void wk_scores_put(FILE *out, const hp_question_t *question, const char *answer, int cells,
                   const double score[WK_METRICS]) {
    fprintf(out, "%" PRId64 "\t%" PRIu32 "\t%d", question->question_id, question->image, cells);
    for (int m = 0; m < WK_METRICS; m++) fprintf(out, "\t%.10g", score[order[m]]);
    put_text(out, question->answer_type);
    put_text(out, question->question_type);
    put_text(out, answer);
    putc('\n', out);
}

static hp_status_t find_type(wk_scores_t *scores, const char *name, int *type_p, hp_error_t *err) {
    for (int t = scores->types; t-- > 0;)
        if (strcmp(scores->type[t], name) == 0) {
            *type_p = t;
            return HP_OK;
        }
    if (scores->types == TYPES_MAX) return hp_fail(err, HP_INPUT, "too many answer types");
    char *copy = hp_strdup(name);
    if (copy == NULL) return hp_fail(err, HP_MEMORY, "out of memory for scores");
    *type_p = scores->types;
    scores->type[scores->types++] = copy;
    return HP_OK;
}

static bool parse_whole(const char *text, int64_t least, int64_t most, int64_t *out) {
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    *out = value;
    return end != text && *end == '\0' && errno == 0 && value >= least && value <= most;
}

static bool parse_score(const char *text, double *out) {
    char *end = NULL;
    *out = strtod(text, &end);
    return end != text && *end == '\0' && *out >= 0 && *out <= 1;
}

static hp_status_t parse_line(char *text, wk_scores_t *scores, hp_error_t *err) {
    char *column[COLUMNS];
    int columns = 0;
    for (char *at = text; at != NULL && columns < COLUMNS;) column[columns++] = strsep(&at, "\t");
    wk_score_line_t *line = &scores->line[scores->count];
    int64_t image, cells;
    bool good = columns == COLUMNS && parse_whole(column[0], INT64_MIN, INT64_MAX, &line->id) &&
                parse_whole(column[1], 0, UINT32_MAX, &image) &&
                parse_whole(column[2], 0, INT_MAX, &cells);
    for (int m = 0; good && m < WK_METRICS; m++)
        good = parse_score(column[3 + m], &line->score[order[m]]);
    if (!good) return hp_fail(err, HP_INPUT, "this is no line of a question; evaluate again");
    line->image = (uint32_t)image;
    line->cells = (int)cells;
    HP_TRY(find_type(scores, column[3 + WK_METRICS], &line->type, err));
    scores->count++;
    return HP_OK;
}

static hp_status_t parse_metric(const char *text, wk_metric_t *metric, hp_error_t *err) {
    static const char head[] = "# metric ";
    for (int m = 0; strncmp(text, head, sizeof head - 1) == 0 && m < WK_METRICS; m++)
        if (strcmp(text + sizeof head - 1, wk_metric_name((wk_metric_t)m)) == 0) {
            *metric = (wk_metric_t)m;
            return HP_OK;
        }
    return hp_fail(err, HP_INPUT, "'# metric NAME' is needed; evaluate again");
}

/* text: whole lines; cut up on the way. */
static hp_status_t parse(char *text, size_t bytes, wk_scores_t *scores, hp_error_t *err) {
    size_t lines = 0, number = 0;
    for (size_t i = 0; i < bytes; i++) lines += text[i] == '\n';
    void *p = NULL;
    HP_TRY(hp_allocate(&p, lines + 1, sizeof *scores->line, "scores", err));
    scores->line = p;
    HP_TRY(hp_allocate(&p, TYPES_MAX, sizeof *scores->type, "scores", err));
    scores->type = p;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL && rest != NULL;) {
        hp_status_t status = HP_OK;
        if (number == 0)
            status = parse_metric(line, &scores->metric, err);
        else if (number > 1)
            status = parse_line(line, scores, err);
        number++;
        if (status != HP_OK) return hp_fail_prefix(err, "line %zu", number);
    }
    return scores->count > 0 ? HP_OK : hp_fail(err, HP_INPUT, "no questions; evaluate again");
}

hp_status_t wk_scores_read(const char *path, wk_scores_t *scores, hp_error_t *err) {
    unsigned char *data = NULL;
    size_t bytes = 0;
    void *p = NULL;
    *scores = (wk_scores_t){0};
    HP_TRY(hp_read_file(path, FILE_MAX, &data, &bytes, err));
    hp_status_t status = hp_allocate(&p, bytes + 1, 1, "scores", err);
    if (status == HP_OK) {
        memcpy(p, data, bytes);
        status = parse(p, bytes, scores, err);
        if (status != HP_OK) hp_fail_prefix(err, "%s", path);
    }
    hp_free(p);
    hp_free(data);
    if (status != HP_OK) wk_scores_release(scores);
    return status;
}

void wk_scores_release(wk_scores_t *scores) {
    for (int t = 0; t < scores->types; t++) hp_free(scores->type[t]);
    hp_free(scores->type);
    hp_free(scores->line);
    *scores = (wk_scores_t){0};
}
