#include "worker/import/vqa.h"

#include "common/memory.h"
#include "worker/import/vqa_internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IDENTITY = 60000 };

void wk_vqa_progress(const wk_vqa_job_t *job, const char *what, uint64_t done, uint64_t total) {
    if (job->import->progress != NULL)
        job->import->progress(job->import->context, what, done, total);
}

/* ---- sources ------------------------------------------------------------------------------- */

static void identify(wk_vqa_job_t *job, const char *text) {
    size_t n = strlen(job->identity);
    snprintf(job->identity + n, IDENTITY - n, "%s\n", text);
}

static hp_status_t add_source(wk_vqa_job_t *job, const char *path, hp_error_t *err) {
    struct stat st;
    char text[4600];
    if (stat(path, &st) != 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
    if (job->sources == WK_VQA_SOURCES)
        return hp_fail(err, HP_INPUT, "more than %d files", WK_VQA_SOURCES);
    uint64_t bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    job->source[job->sources++] = (hp_store_source_t){path, bytes};
    snprintf(text, sizeof text, "%s %llu %lld.%09ld", path, (unsigned long long)bytes,
             (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    identify(job, text);
    return HP_OK;
}

/* Whatever the store depends on, and each file with its length and time. */
static hp_status_t collect_sources(wk_vqa_job_t *job, hp_error_t *err) {
    const wk_vqa_import_t *i = job->import;
    char text[1024];
    void *p = NULL;
    HP_TRY(hp_allocate(&p, IDENTITY, 1, "an identity", err));
    job->identity = p;
    snprintf(text, sizeof text, "vqa %.64s %.64s %s %s %llu %llu %llu %s %d %d",
             i->vocabulary != NULL ? i->vocabulary : "",
             i->answer_vocabulary != NULL ? i->answer_vocabulary : "", hp_dtype_name(i->dtype),
             hp_encoding_name(i->encoding), (unsigned long long)i->answers,
             (unsigned long long)i->least_answer, (unsigned long long)i->least_word,
             i->tokenizer->name, i->guess_metric ? -1 : (int)i->metric, i->skip_missing);
    identify(job, text);
    for (int f = 0; f < i->lines; f++) HP_TRY(add_source(job, i->line[f], err));
    for (int s = 0; i->clevr != NULL && s < WK_CLEVR_SPLITS; s++) {
        HP_TRY(wk_clevr_path(i->clevr, s, job->clevr[s], err));
        if (s == 0 || access(job->clevr[s], F_OK) == 0) HP_TRY(add_source(job, job->clevr[s], err));
    }
    for (int s = 0; s < i->splits; s++) {
        identify(job, i->split[s].name);
        for (int f = 0; f < i->split[s].questions; f++)
            HP_TRY(add_source(job, i->split[s].question[f], err));
        for (int f = 0; f < i->split[s].annotations; f++)
            HP_TRY(add_source(job, i->split[s].annotation[f], err));
    }
    for (const wk_features_options_t *f = i->features; f != NULL; f = f->next) {
        snprintf(text, sizeof text, "%s %s %s %s %s %s %dx%d", f->dataset, f->ids_dataset,
                 f->ranges_dataset ? f->ranges_dataset : "",
                 f->boxes_dataset ? f->boxes_dataset : "", f->pattern, wk_layout_name(f->layout),
                 f->grid_height, f->grid_width);
        identify(job, text);
        HP_TRY(add_source(job, f->path, err));
        if (f->ids_file != NULL) HP_TRY(add_source(job, f->ids_file, err));
        if (f->numbered != NULL) identify(job, f->numbered);
        if (f->width_dataset != NULL) {
            identify(job, f->width_dataset);
            identify(job, f->height_dataset);
        }
        if (f->raw_dims > 0) {
            snprintf(text, sizeof text, "raw %s %llu %llu %llu", hp_dtype_name(f->raw_dtype),
                     (unsigned long long)f->raw_size[0], (unsigned long long)f->raw_size[1],
                     (unsigned long long)f->raw_size[2]);
            identify(job, text);
        }
    }
    if (i->pictures != NULL) {
        identify(job, i->picture_pattern);
        HP_TRY(add_source(job, i->pictures, err));
    }
    if (i->pixels != NULL) {
        snprintf(text, sizeof text, "pixels %s %dx%d", i->pixel_pattern, i->pixel_height,
                 i->pixel_width);
        identify(job, text);
        HP_TRY(add_source(job, i->pixels, err));
    }
    return HP_OK;
}

/* ---- questions ----------------------------------------------------------------------------- */

static hp_status_t check_annotated(const wk_vqa_split_t *split, const wk_vqa_set_t *set,
                                   hp_error_t *err) {
    uint64_t missing = 0, first = 0;
    for (uint64_t i = set->questions; i-- > 0;)
        if (!set->question[i].annotated) {
            missing++;
            first = i;
        }
    if (missing == 0 || split->annotations == 0) return HP_OK;
    const wk_vqa_question_t *q = &set->question[first];
    return hp_fail(err, HP_INPUT,
                   "%s, record %u (question_id %lld): no annotation in %s%s (%llu such questions)",
                   split->question[q->file], q->record, (long long)q->question_id,
                   split->annotation[0], split->annotations > 1 ? " and the others" : "",
                   (unsigned long long)missing);
}

static hp_status_t read_lines(wk_vqa_job_t *job, hp_error_t *err) {
    const wk_vqa_import_t *i = job->import;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof *job->lines, "splits", err));
    job->lines = p;
    job->lines->strings = &job->strings;
    job->lines->images = &job->images;
    if (i->clevr != NULL) HP_TRY(wk_vqa_read_clevr(job, err));
    for (int f = 0; f < i->lines; f++) {
        HP_TRY(wk_json_lines_read(job->lines, i->line[f], (uint32_t)f, err));
        wk_vqa_progress(job, "questions read", (uint64_t)job->lines->lines, 0);
    }
    job->set = job->lines->set;
    job->splits = job->lines->splits;
    return HP_OK;
}

static hp_status_t read_splits(wk_vqa_job_t *job, hp_error_t *err) {
    const wk_vqa_import_t *i = job->import;
    void *p = NULL;
    if (i->lines > 0 || i->clevr != NULL) return read_lines(job, err);
    HP_TRY(hp_allocate(&p, (size_t)i->splits, sizeof *job->set, "splits", err));
    job->set = p;
    job->splits = i->splits;
    for (int s = 0; s < i->splits; s++) {
        const wk_vqa_split_t *split = &i->split[s];
        wk_vqa_set_t *set = &job->set[s];
        set->strings = &job->strings;
        set->images = &job->images;
        for (int f = 0; f < split->questions; f++) {
            HP_TRY(wk_vqa_read_questions(set, split->question[f], err));
            wk_vqa_progress(job, "questions read", set->questions, 0);
        }
        for (int f = 0; f < split->annotations; f++) {
            HP_TRY(wk_vqa_read_annotations(set, split->annotation[f], err));
            wk_vqa_progress(job, "answers read", set->answers, 0);
        }
        if (set->questions == 0)
            return hp_fail(err, HP_INPUT, "%s: no question in split %s", split->question[0],
                           split->name);
        HP_TRY(check_annotated(split, set, err));
    }
    return HP_OK;
}

/* splits[first .. end) are meant by `name`. */
static hp_status_t find_splits(const wk_vqa_job_t *job, const char *name, int *first_p, int *end_p,
                               hp_error_t *err) {
    const char *wanted = name != NULL ? name : "train";
    for (int s = 0; s < job->splits; s++)
        if (strcmp(wk_vqa_split_name(job, s), wanted) == 0) {
            *first_p = s;
            *end_p = s + 1;
            return HP_OK;
        }
    if (name != NULL && strcmp(name, "all") != 0)
        return hp_fail(err, HP_INPUT, "no split '%s' to count words and answers in", name);
    *first_p = 0;
    *end_p = name != NULL ? job->splits : 1;
    return HP_OK;
}

static hp_status_t add_answers(const wk_vqa_job_t *job, const wk_vqa_set_t *set,
                               wk_counts_t *counts, hp_error_t *err) {
    for (uint64_t i = 0; i < set->questions; i++) {
        const wk_vqa_question_t *q = &set->question[i];
        if (!q->annotated || job->ordinal[q->image] < 0) continue;
        const char *text = wk_strings_get(&job->strings, q->target);
        HP_TRY(wk_counts_add(counts, text, strlen(text), err));
    }
    return HP_OK;
}

static hp_status_t count_answers(wk_vqa_job_t *job, int first, int end, hp_error_t *err) {
    const wk_vqa_import_t *import = job->import;
    wk_counts_t counts = {0};
    uint32_t *order = NULL, n = 0;
    void *p = NULL;
    hp_status_t status = hp_allocate(&p, job->strings.count, sizeof *job->label, "labels", err);
    job->label = p;
    for (uint32_t i = 0; status == HP_OK && i < job->strings.count; i++) job->label[i] = -1;
    for (int k = first; status == HP_OK && k < end; k++)
        status = add_answers(job, &job->set[k], &counts, err);
    if (status == HP_OK)
        status = wk_counts_order(&counts, import->answers, import->least_answer, &order, &n, err);
    p = NULL;
    if (status == HP_OK) status = hp_allocate(&p, n, sizeof *job->answer, "answers", err);
    job->answer = p;
    for (uint32_t i = 0; status == HP_OK && i < n; i++) {
        const char *text = wk_strings_get(&counts.strings, order[i]);
        int64_t number = wk_strings_find(&job->strings, text, strlen(text));
        job->label[number] = (int32_t)i;
        job->answer[i] = wk_strings_get(&job->strings, (uint32_t)number);
        job->report.last_count = wk_counts_get(&counts, order[i]);
    }
    job->report.answers = (int)n;
    hp_free(order);
    wk_counts_release(&counts);
    return status;
}

static hp_status_t room_for_tokens(wk_vqa_job_t *job, const char *text, hp_error_t *err) {
    size_t room = wk_tokens_room(job->import->tokenizer, text);
    if (room <= job->token_room) return HP_OK;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, room * 2, 1, "words", err));
    hp_free(job->token_text);
    job->token_text = p;
    HP_TRY(hp_allocate(&p, room * 2, sizeof *job->token, "words", err));
    hp_free(job->token);
    job->token = p;
    job->token_room = room * 2;
    return HP_OK;
}

static hp_status_t count_words(wk_vqa_job_t *job, const wk_vqa_set_t *set, wk_counts_t *counts,
                               hp_error_t *err) {
    for (uint64_t i = 0; i < set->questions; i++) {
        if (job->ordinal[set->question[i].image] < 0) continue;
        const char *text = wk_strings_get(&job->strings, set->question[i].text);
        HP_TRY(room_for_tokens(job, text, err));
        int n = wk_tokenize(job->import->tokenizer, text, job->token_text);
        const char *word = job->token_text;
        for (int t = 0; t < n; t++, word += strlen(word) + 1)
            HP_TRY(wk_counts_add(counts, word, strlen(word), err));
    }
    return HP_OK;
}

static hp_status_t make_vocabulary(wk_vqa_job_t *job, int first, int end, hp_error_t *err) {
    wk_counts_t counts = {0};
    uint32_t *order = NULL, n = 0, number = 0;
    hp_status_t status = HP_OK;
    for (int k = first; status == HP_OK && k < end; k++)
        status = count_words(job, &job->set[k], &counts, err);
    if (status == HP_OK)
        status = wk_counts_order(&counts, INT32_MAX - 1, job->import->least_word, &order, &n, err);
    if (status == HP_OK) status = wk_strings_add(&job->words, "<unknown>", 9, &number, err);
    for (uint32_t i = 0; status == HP_OK && i < n; i++) {
        const char *word = wk_strings_get(&counts.strings, order[i]);
        status = wk_strings_add(&job->words, word, strlen(word), &number, err);
    }
    void *p = NULL;
    if (status == HP_OK)
        status = hp_allocate(&p, job->words.count, sizeof *job->word, "words", err);
    job->word = p;
    for (uint32_t i = 0; status == HP_OK && i < job->words.count; i++)
        job->word[i] = wk_strings_get(&job->words, i);
    job->report.words = (int)job->words.count;
    hp_free(order);
    wk_counts_release(&counts);
    return status;
}

/* ---- questions, out ------------------------------------------------------------------------ */

static hp_status_t write_question(wk_vqa_job_t *job, const wk_vqa_set_t *set,
                                  const wk_vqa_question_t *q, hp_error_t *err) {
    const char *text = wk_strings_get(&job->strings, q->text);
    HP_TRY(room_for_tokens(job, text, err));
    int tokens = wk_tokenize(job->import->tokenizer, text, job->token_text);
    const char *word = job->token_text;
    for (int t = 0; t < tokens; t++, word += strlen(word) + 1) {
        int64_t number = wk_strings_find(&job->words, word, strlen(word));
        job->token[t] = number < 0 ? 0 : (int32_t)number;
    }
    if (tokens == 0) job->token[tokens++] = 0; /* every question has a word */
    if (q->answers > job->human_room) {
        void *p = NULL;
        HP_TRY(hp_allocate(&p, q->answers * 2, sizeof *job->human, "answers", err));
        hp_free(job->human);
        job->human = p;
        job->human_room = q->answers * 2;
    }
    hp_question_t out;
    wk_vqa_question(set, q, job->human, &out);
    out.image = (uint32_t)job->ordinal[q->image];
    out.tokens = tokens;
    out.token = job->token;
    out.label = q->annotated ? job->label[q->target] : -1;
    job->report.unlabelled += out.label < 0;
    job->report.questions++;
    return hp_store_write_question(job->writer, &out, err);
}

static hp_status_t write_questions(wk_vqa_job_t *job, hp_error_t *err) {
    uint64_t total = 0;
    for (int s = 0; s < job->splits; s++) total += job->set[s].questions;
    HP_TRY(hp_store_write_words(job->writer, job->report.words, job->word, err));
    HP_TRY(hp_store_write_answers(job->writer, job->report.answers, job->answer, err));
    for (int s = 0; s < job->splits; s++) {
        const wk_vqa_set_t *set = &job->set[s];
        HP_TRY(hp_store_write_split(job->writer, wk_vqa_split_name(job, s), err));
        for (uint64_t i = 0; i < set->questions; i++) {
            if (job->ordinal[set->question[i].image] < 0) continue;
            HP_TRY(write_question(job, set, &set->question[i], err));
            wk_vqa_progress(job, "questions", job->report.questions, total);
        }
    }
    return HP_OK;
}

static void guess_metric(wk_vqa_job_t *job) {
    job->metric = job->import->metric;
    if (!job->import->guess_metric) return;
    job->metric = HP_METRIC_EXACT;
    for (int s = 0; s < job->splits; s++)
        for (uint64_t i = 0; i < job->set[s].questions; i++)
            if (job->set[s].question[i].answers > 1) job->metric = HP_METRIC_VQA;
}

static hp_status_t run(wk_vqa_job_t *job, hp_error_t *err) {
    const wk_vqa_import_t *import = job->import;
    int first = 0, end = 0;
    HP_TRY(collect_sources(job, err));
    HP_TRY(wk_vqa_open_images(job, err));
    HP_TRY(read_splits(job, err));
    guess_metric(job);
    HP_TRY(wk_vqa_match_images(job, err));
    HP_TRY(find_splits(job, import->vocabulary, &first, &end, err));
    HP_TRY(make_vocabulary(job, first, end, err));
    if (import->answer_vocabulary != NULL)
        HP_TRY(find_splits(job, import->answer_vocabulary, &first, &end, err));
    HP_TRY(count_answers(job, first, end, err));
    HP_TRY(wk_vqa_open_writer(job, err));
    HP_TRY(wk_vqa_write_images(job, err));
    HP_TRY(write_questions(job, err));
    wk_vqa_progress(job, "hashing", 0, 0);
    hp_store_writer_t *writer = job->writer;
    job->writer = NULL;
    return hp_store_writer_finish(writer, err);
}

hp_status_t wk_vqa_import(const wk_vqa_import_t *import, wk_vqa_report_t *report, hp_error_t *err) {
    wk_vqa_job_t job = {.import = import};
    hp_status_t status = run(&job, err);
    hp_store_writer_abandon(job.writer);
    wk_vqa_close_images(&job);
    if (job.lines != NULL) { /* also where reading ended half way */
        job.set = job.lines->set;
        job.splits = job.lines->splits;
    }
    for (int s = 0; s < job.splits; s++) wk_vqa_release(&job.set[s]);
    wk_strings_release(&job.strings);
    wk_strings_release(&job.images);
    wk_strings_release(&job.words);
    hp_free(job.lines != NULL ? (void *)job.lines : (void *)job.set);
    hp_free(job.label);
    hp_free((void *)job.word);
    hp_free((void *)job.answer);
    hp_free(job.identity);
    hp_free(job.token_text);
    hp_free(job.token);
    hp_free(job.human);
    job.report.splits = job.splits;
    if (status == HP_OK) *report = job.report;
    return status;
}
