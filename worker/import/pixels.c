#include "worker/import/pixels.h"

#include "common/memory.h"
#include "worker/report/picture.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- gathering ---- */

hp_status_t wk_pixels_split(wk_pixel_set_t *set, const char *name, int *split_p, hp_error_t *err) {
    for (int s = 0; s < set->splits; s++)
        if (strcmp(set->split[s].name, name) == 0) {
            *split_p = s;
            return HP_OK;
        }
    if (set->splits == WK_PIXEL_SPLITS)
        return hp_fail(err, HP_INPUT, "at most %d splits", WK_PIXEL_SPLITS);
    *split_p = set->splits++;
    snprintf(set->split[*split_p].name, sizeof set->split[*split_p].name, "%s", name);
    return HP_OK;
}

static hp_status_t add_image(wk_pixel_set_t *set, const wk_pixel_record_t *record,
                             uint32_t *image_p, hp_error_t *err) {
    uint32_t known = set->images.count, number;
    HP_TRY(wk_strings_add(&set->images, record->image, strlen(record->image), image_p, err));
    if (*image_p < known) return HP_OK;
    if (access(record->path, R_OK) != 0) return hp_fail_errno(err, HP_INPUT, "%s", record->path);
    HP_TRY(wk_strings_add(&set->paths, record->path, strlen(record->path), &number, err));
    if (number != *image_p)
        return hp_fail(err, HP_INPUT, "%s has two names, one is %s", record->path, record->image);
    return HP_OK;
}

static hp_status_t add_string(wk_pixel_set_t *set, const char *text, uint32_t *number_p,
                              hp_error_t *err) {
    return wk_strings_add(&set->strings, text, strlen(text), number_p, err);
}

hp_status_t wk_pixels_add(wk_pixel_set_t *set, int split, const wk_pixel_record_t *record,
                          hp_error_t *err) {
    wk_pixel_split_t *s = &set->split[split];
    wk_pixel_question_t q = {.id = record->id, .answered = record->answer != NULL};
    HP_TRY(add_image(set, record, &q.image, err));
    HP_TRY(add_string(set, record->text, &q.text, err));
    HP_TRY(add_string(set, record->question_type, &q.question_type, err));
    HP_TRY(add_string(set, record->answer_type, &q.answer_type, err));
    HP_TRY(add_string(set, record->answer != NULL ? record->answer : "", &q.answer, err));
    if (s->questions == s->capacity) {
        size_t more = s->capacity > 0 ? 2 * s->capacity : 1024;
        void *grown = NULL;
        HP_TRY(hp_allocate(&grown, more, sizeof q, "questions", err));
        if (s->questions > 0) memcpy(grown, s->question, s->questions * sizeof q);
        hp_free(s->question);
        s->question = grown;
        s->capacity = more;
    }
    s->question[s->questions++] = q;
    return HP_OK;
}

hp_status_t wk_pixels_source(wk_pixel_set_t *set, const char *path, hp_error_t *err) {
    struct stat info;
    if (stat(path, &info) != 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
    if (set->sources == WK_PIXEL_SOURCES) return hp_fail(err, HP_INPUT, "too many files");
    snprintf(set->source_name[set->sources], sizeof set->source_name[0], "%s", path);
    set->source_time[set->sources] =
        (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    set->source_bytes[set->sources++] = (uint64_t)info.st_size;
    return HP_OK;
}

void wk_pixels_release(wk_pixel_set_t *set) {
    wk_strings_release(&set->strings);
    wk_strings_release(&set->images);
    wk_strings_release(&set->paths);
    for (int s = 0; s < set->splits; s++) hp_free(set->split[s].question);
    *set = (wk_pixel_set_t){0};
}

/* ---- writing ---- */

typedef struct {
    const wk_pixel_set_t *set;
    const wk_pixel_options_t *options;
    wk_pixel_report_t *report;
    hp_store_writer_t *writer;
    wk_strings_t words, answers;
    char *tokens; /* words of a question, one after the other */
    int32_t *token;
    size_t room;
} job_t;

static const char *text_of(const job_t *job, uint32_t number) {
    return wk_strings_get(&job->set->strings, number);
}

static hp_status_t make_room(job_t *job, hp_error_t *err) {
    for (uint32_t i = 0; i < job->set->strings.count; i++) {
        size_t room = wk_tokens_room(job->options->tokenizer, text_of(job, i));
        if (room > job->room) job->room = room;
    }
    void *p = NULL, *q = NULL;
    HP_TRY(hp_allocate(&p, job->room, 1, "words", err));
    job->tokens = p;
    HP_TRY(hp_allocate(&q, job->room, sizeof *job->token, "words", err));
    job->token = q;
    return HP_OK;
}

static hp_status_t count_words(job_t *job, wk_counts_t *words, wk_counts_t *answers,
                               hp_error_t *err) {
    const wk_pixel_split_t *split = &job->set->split[0];
    for (uint64_t i = 0; i < split->questions; i++) {
        const wk_pixel_question_t *q = &split->question[i];
        const char *answer = text_of(job, q->answer), *word = job->tokens;
        if (q->answered) HP_TRY(wk_counts_add(answers, answer, strlen(answer), err));
        int n = wk_tokenize(job->options->tokenizer, text_of(job, q->text), job->tokens);
        for (; n > 0; n--, word += strlen(word) + 1)
            HP_TRY(wk_counts_add(words, word, strlen(word), err));
    }
    return HP_OK;
}

/* The counted strings, the most frequent first, after what `out` holds already. */
static hp_status_t in_order(const wk_counts_t *counts, wk_strings_t *out, hp_error_t *err) {
    uint32_t *order = NULL, n = 0, number;
    if (counts->strings.count == 0) return HP_OK;
    HP_TRY(wk_counts_order(counts, INT32_MAX - 1, 1, &order, &n, err));
    hp_status_t status = HP_OK;
    for (uint32_t i = 0; i < n && status == HP_OK; i++) {
        const char *text = wk_strings_get(&counts->strings, order[i]);
        status = wk_strings_add(out, text, strlen(text), &number, err);
    }
    hp_free(order);
    return status;
}

static hp_status_t make_vocabulary(job_t *job, hp_error_t *err) {
    wk_counts_t words = {0}, answers = {0};
    uint32_t number;
    hp_status_t status = wk_strings_add(&job->words, "<unknown>", 9, &number, err);
    if (status == HP_OK) status = count_words(job, &words, &answers, err);
    if (status == HP_OK) status = in_order(&words, &job->words, err);
    if (status == HP_OK) status = in_order(&answers, &job->answers, err);
    wk_counts_release(&words);
    wk_counts_release(&answers);
    if (status == HP_OK && job->answers.count == 0)
        status = hp_fail(err, HP_INPUT, "split %s has no answers", job->set->split[0].name);
    return status;
}

static hp_status_t write_list(job_t *job, const wk_strings_t *list,
                              hp_status_t (*write)(hp_store_writer_t *, int, const char *const *,
                                                   hp_error_t *),
                              hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, list->count, sizeof(char *), "words", err));
    const char **text = p;
    for (uint32_t i = 0; i < list->count; i++) text[i] = wk_strings_get(list, i);
    hp_status_t status = write(job->writer, (int)list->count, text, err);
    hp_free(p);
    return status;
}

static hp_status_t open_writer(job_t *job, hp_error_t *err) {
    const wk_pixel_set_t *set = job->set;
    hp_store_source_t source[WK_PIXEL_SOURCES];
    char identity[8192];
    size_t used = (size_t)snprintf(identity, sizeof identity, "%s", job->options->command);
    for (int i = 0; i < set->sources; i++) {
        source[i] = (hp_store_source_t){set->source_name[i], set->source_bytes[i]};
        if (used < sizeof identity)
            used += (size_t)snprintf(identity + used, sizeof identity - used,
                                     "\n%s %" PRIu64 " %" PRId64, source[i].name, source[i].bytes,
                                     set->source_time[i]);
    }
    const hp_store_plan_t plan = {.pixel_height = job->options->height,
                                  .pixel_width = job->options->width,
                                  .metric = HP_METRIC_EXACT,
                                  .tokenizer = job->options->tokenizer->name,
                                  .command = job->options->command,
                                  .sources = set->sources,
                                  .source = source,
                                  .identity = identity};
    return hp_store_writer_open(job->options->out, &plan, &job->writer, err);
}

static hp_status_t write_image(job_t *job, uint32_t i, wk_picture_t *resized, hp_error_t *err) {
    wk_picture_t picture = {0};
    HP_TRY(wk_picture_load(wk_strings_get(&job->set->paths, i), &picture, err));
    wk_picture_resize(&picture, resized);
    wk_picture_release(&picture);
    const hp_store_image_t image = {.name = wk_strings_get(&job->set->images, i),
                                    .pixels = resized->pixel};
    return hp_store_write_image(job->writer, &image, NULL, err);
}

static hp_status_t check_kept(job_t *job, uint64_t kept, hp_error_t *err) {
    const char *name;
    if (kept > job->set->images.count)
        return hp_fail(err, HP_INPUT, "%s.partial has too many images; remove it",
                       job->options->out);
    for (uint32_t i = 0; i < kept; i++) {
        const char *want = wk_strings_get(&job->set->images, i);
        HP_TRY(hp_store_writer_image_name(job->writer, i, &name, err));
        if (strcmp(name, want) != 0)
            return hp_fail(err, HP_INPUT, "%s.partial: image %u is %s, not %s; remove it",
                           job->options->out, i, name, want);
    }
    return HP_OK;
}

static hp_status_t write_images(job_t *job, hp_error_t *err) {
    uint64_t kept = hp_store_writer_images(job->writer), images = job->set->images.count;
    wk_picture_t resized = {0};
    HP_TRY(check_kept(job, kept, err));
    HP_TRY(wk_picture_allocate(job->options->width, job->options->height, &resized, err));
    hp_status_t status = HP_OK;
    for (uint64_t i = kept; i < images && status == HP_OK; i++) {
        status = write_image(job, (uint32_t)i, &resized, err);
        if (job->options->progress != NULL)
            job->options->progress(job->options->context, "images", i + 1, images);
    }
    wk_picture_release(&resized);
    job->report->images = images;
    job->report->kept_images = kept;
    return status;
}

static hp_status_t write_question(job_t *job, const wk_pixel_question_t *q, hp_error_t *err) {
    const char *text = text_of(job, q->text), *target = text_of(job, q->answer);
    int tokens = wk_tokenize(job->options->tokenizer, text, job->tokens);
    const char *word = job->tokens;
    for (int t = 0; t < tokens; t++, word += strlen(word) + 1) {
        int64_t number = wk_strings_find(&job->words, word, strlen(word));
        job->token[t] = number < 0 ? 0 : (int32_t)number;
    }
    if (tokens == 0) job->token[tokens++] = 0; /* every question has a word */
    const hp_answer_t answer = {target, -1, 0};
    const hp_question_t out = {
        .question_id = q->id,
        .image = q->image,
        .text = text,
        .tokens = tokens,
        .token = job->token,
        .question_type = text_of(job, q->question_type),
        .answer_type = text_of(job, q->answer_type),
        .target = target,
        .label = q->answered ? (int32_t)wk_strings_find(&job->answers, target, strlen(target)) : -1,
        .answers = q->answered,
        .answer = &answer,
    };
    job->report->questions++;
    job->report->unlabelled += out.label < 0;
    return hp_store_write_question(job->writer, &out, err);
}

static hp_status_t write_all(job_t *job, hp_error_t *err) {
    HP_TRY(write_list(job, &job->words, hp_store_write_words, err));
    HP_TRY(write_list(job, &job->answers, hp_store_write_answers, err));
    HP_TRY(write_images(job, err));
    for (int s = 0; s < job->set->splits; s++) {
        const wk_pixel_split_t *split = &job->set->split[s];
        HP_TRY(hp_store_write_split(job->writer, split->name, err));
        for (uint64_t i = 0; i < split->questions; i++)
            HP_TRY(write_question(job, &split->question[i], err));
    }
    job->report->words = (int)job->words.count;
    job->report->answers = (int)job->answers.count;
    return HP_OK;
}

hp_status_t wk_pixels_write(const wk_pixel_set_t *set, const wk_pixel_options_t *options,
                            wk_pixel_report_t *report, hp_error_t *err) {
    *report = (wk_pixel_report_t){0};
    job_t job = {.set = set, .options = options, .report = report};
    hp_status_t status = make_room(&job, err);
    if (status == HP_OK) status = make_vocabulary(&job, err);
    if (status == HP_OK) status = open_writer(&job, err);
    if (status == HP_OK) {
        status = write_all(&job, err);
        if (status == HP_OK)
            status = hp_store_writer_finish(job.writer, err);
        else
            hp_store_writer_abandon(job.writer);
    }
    wk_strings_release(&job.words);
    wk_strings_release(&job.answers);
    hp_free(job.tokens);
    hp_free(job.token);
    return status;
}
