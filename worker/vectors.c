#include "worker/vectors.h"

#include "common/memory.h"
#include "worker/import/text.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    wk_strings_t words; /* numbered as the vocabulary */
    unsigned char *seen;
    int width;
    float *rows;
    hp_error_t *err;
} job_t;

/* The line's numbers, after the word. */
static hp_status_t parse(const job_t *job, const char *text, float *out) {
    int n = 0;
    for (char *end = NULL;; n++, text = end) {
        text += strspn(text, " \t\r\n");
        if (*text == '\0') break;
        float value = strtof(text, &end);
        if (end == text || !isfinite(value))
            return hp_fail(job->err, HP_INPUT, "'%.*s' is no finite number",
                           (int)strcspn(text, " \t\r\n"), text);
        if (n < job->width && out != NULL) out[n] = value;
    }
    if (n == job->width) return HP_OK;
    return hp_fail(job->err, HP_INPUT, "%d numbers, but model.question.embedding is %d", n,
                   job->width);
}

static hp_status_t take_line(job_t *job, const char *text, uint64_t number) {
    size_t bytes = strcspn(text, " \t\r\n");
    int64_t word = bytes > 0 ? wk_strings_find(&job->words, text, bytes) : -1;
    if (word >= 0 && !job->seen[word]) {
        HP_TRY(parse(job, text + bytes, job->rows + (size_t)word * (size_t)job->width));
        job->seen[word] = 1;
    } else if (number == 1) { /* another width shows at once; but not in a line of two numbers */
        const char *rest = text + bytes + strspn(text + bytes, " ");
        bool counts = text[strspn(text, "0123456789")] == ' ' &&
                      rest[strspn(rest, "0123456789")] < ' ' && job->width > 1;
        return counts ? HP_OK : parse(job, text + bytes, NULL);
    }
    return HP_OK;
}

static hp_status_t read_lines(job_t *job, FILE *in, const char *path) {
    char *text = NULL;
    size_t room = 0;
    uint64_t number = 0;
    hp_status_t status = HP_OK;
    while (status == HP_OK && getline(&text, &room, in) > 0)
        status = take_line(job, text, ++number);
    free(text);
    if (status == HP_OK && ferror(in)) return hp_fail_errno(job->err, HP_INPUT, "%s", path);
    if (status != HP_OK) return hp_fail_prefix(job->err, "%s, line %" PRIu64, path, number);
    return number > 0 ? HP_OK : hp_fail(job->err, HP_INPUT, "%s is empty", path);
}

hp_status_t wk_vectors_read(const char *path, int words, const char *const *word, int width,
                            bool zero, float *rows, wk_vectors_report_t *report, hp_error_t *err) {
    job_t job = {.width = width, .rows = rows, .err = err};
    void *p = NULL;
    uint32_t number = 0;
    FILE *in = fopen(path, "re");
    if (in == NULL) return hp_fail_errno(err, HP_INPUT, "%s", path);
    hp_status_t status = hp_allocate(&p, (size_t)words, 1, "words", err);
    job.seen = p;
    for (int w = 0; status == HP_OK && w < words; w++)
        status = wk_strings_add(&job.words, word[w], strlen(word[w]), &number, err);
    if (status == HP_OK) status = read_lines(&job, in, path);
    *report = (wk_vectors_report_t){0};
    for (int w = 0; status == HP_OK && w < words; w++) {
        report->found += job.seen[w];
        report->missing += !job.seen[w];
        if (zero && !job.seen[w])
            memset(rows + (size_t)w * (size_t)width, 0, (size_t)width * sizeof *rows);
    }
    wk_strings_release(&job.words);
    hp_free(p);
    fclose(in);
    return status;
}
