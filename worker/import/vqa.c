#include "worker/import/vqa.h"

#include "common/memory.h"
#include "common/store_convert.h"
#include "common/store_write.h"
#include "worker/import/pattern.h"
#include "worker/import/vqa_json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IDENTITY = 60000, MAX_SOURCES = 2 + 64, MAX_PICTURE = 64 << 20 };

typedef struct {
    const wk_vqa_import_t *import;
    wk_vqa_report_t report;
    wk_strings_t strings, images;
    wk_vqa_set_t *set; /* [splits] */
    wk_features_t *features;
    wk_files_t pictures;
    int64_t *ordinal; /* [images.count] of the store; -1: has no features */
    int32_t *label;   /* [strings.count]; -1: not among the answers */
    wk_strings_t words;
    const char **word, **answer;
    hp_store_source_t source[MAX_SOURCES];
    int sources;
    char *identity;
    hp_store_writer_t *writer;
    float *values; /* features of an image */
    float *boxes;
    void *payload; /* the same as the store keeps them */
    char *token_text;
    int32_t *token;
    hp_answer_t *human;
    size_t token_room, human_room;
    unsigned char *picture;
    size_t picture_room;
    hp_convert_level_t level;
} job_t;

static void progress(const job_t *job, const char *what, uint64_t done, uint64_t total) {
    if (job->import->progress != NULL)
        job->import->progress(job->import->context, what, done, total);
}

/* ---- sources ------------------------------------------------------------------------------- */

static void identify(job_t *job, const char *text) {
    size_t n = strlen(job->identity);
    snprintf(job->identity + n, IDENTITY - n, "%s\n", text);
}

static hp_status_t add_source(job_t *job, const char *path, hp_error_t *err) {
    struct stat st;
    char text[4600];
    if (stat(path, &st) != 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
    if (job->sources == MAX_SOURCES)
        return hp_fail(err, HP_INPUT, "more than %d files", MAX_SOURCES);
    uint64_t bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    job->source[job->sources++] = (hp_store_source_t){path, bytes};
    snprintf(text, sizeof text, "%s %llu %lld.%09ld", path, (unsigned long long)bytes,
             (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    identify(job, text);
    return HP_OK;
}

/* Whatever the store depends on, and each file with its length and time. */
static hp_status_t collect_sources(job_t *job, hp_error_t *err) {
    const wk_vqa_import_t *i = job->import;
    char text[1024];
    void *p = NULL;
    HP_TRY(hp_allocate(&p, IDENTITY, 1, "an identity", err));
    job->identity = p;
    snprintf(text, sizeof text, "vqa %s %s %s %llu %llu %llu %s %d %d", i->vocabulary,
             hp_dtype_name(i->dtype), hp_encoding_name(i->encoding), (unsigned long long)i->answers,
             (unsigned long long)i->least_answer, (unsigned long long)i->least_word,
             i->tokenizer->name, (int)i->metric, i->skip_missing);
    identify(job, text);
    for (int s = 0; s < i->splits; s++) {
        identify(job, i->split[s].name);
        for (int f = 0; f < i->split[s].questions; f++)
            HP_TRY(add_source(job, i->split[s].question[f], err));
        for (int f = 0; f < i->split[s].annotations; f++)
            HP_TRY(add_source(job, i->split[s].annotation[f], err));
    }
    if (i->features != NULL) {
        const wk_features_options_t *f = i->features;
        snprintf(text, sizeof text, "%s %s %s %s %s %s %dx%d", f->dataset, f->ids_dataset,
                 f->ranges_dataset ? f->ranges_dataset : "",
                 f->boxes_dataset ? f->boxes_dataset : "", f->pattern, wk_layout_name(f->layout),
                 f->grid_height, f->grid_width);
        identify(job, text);
        HP_TRY(add_source(job, f->path, err));
        if (f->ids_file != NULL) HP_TRY(add_source(job, f->ids_file, err));
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

static hp_status_t read_splits(job_t *job, hp_error_t *err) {
    const wk_vqa_import_t *i = job->import;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)i->splits, sizeof *job->set, "splits", err));
    job->set = p;
    for (int s = 0; s < i->splits; s++) {
        const wk_vqa_split_t *split = &i->split[s];
        wk_vqa_set_t *set = &job->set[s];
        set->strings = &job->strings;
        set->images = &job->images;
        for (int f = 0; f < split->questions; f++) {
            HP_TRY(wk_vqa_read_questions(set, split->question[f], err));
            progress(job, "questions read", set->questions, 0);
        }
        for (int f = 0; f < split->annotations; f++) {
            HP_TRY(wk_vqa_read_annotations(set, split->annotation[f], err));
            progress(job, "answers read", set->answers, 0);
        }
        if (set->questions == 0)
            return hp_fail(err, HP_INPUT, "%s: no question in split %s", split->question[0],
                           split->name);
        HP_TRY(check_annotated(split, set, err));
    }
    return HP_OK;
}

/* Which image of the store a question's image is. */
static hp_status_t match_images(job_t *job, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, job->images.count, sizeof *job->ordinal, "images", err));
    job->ordinal = p;
    for (uint32_t i = 0; i < job->images.count; i++)
        job->ordinal[i] = job->features == NULL
                              ? i
                              : wk_features_find(job->features, wk_strings_get(&job->images, i));
    uint64_t missing = 0, images = 0;
    const wk_vqa_question_t *first = NULL;
    int first_split = 0;
    for (int s = 0; s < job->import->splits; s++)
        for (uint64_t i = 0; i < job->set[s].questions; i++) {
            const wk_vqa_question_t *q = &job->set[s].question[i];
            if (job->ordinal[q->image] >= 0) continue;
            if (missing++ == 0) first = q, first_split = s;
        }
    for (uint32_t i = 0; i < job->images.count; i++) images += job->ordinal[i] < 0;
    job->report.skipped = missing;
    if (missing == 0 || job->import->skip_missing) return HP_OK;
    return hp_fail(err, HP_INPUT,
                   "%s, record %u (question_id %lld): image %s has no features in %s; so have %llu "
                   "images of %llu questions ('--missing-images skip' leaves these questions out)",
                   job->import->split[first_split].question[first->file], first->record,
                   (long long)first->question_id, wk_strings_get(&job->images, first->image),
                   job->import->features->path, (unsigned long long)images,
                   (unsigned long long)missing);
}

static hp_status_t count_answers(job_t *job, const wk_vqa_set_t *set, hp_error_t *err) {
    const wk_vqa_import_t *import = job->import;
    wk_counts_t counts = {0};
    uint32_t *order = NULL, n = 0;
    void *p = NULL;
    hp_status_t status = hp_allocate(&p, job->strings.count, sizeof *job->label, "labels", err);
    job->label = p;
    for (uint32_t i = 0; status == HP_OK && i < job->strings.count; i++) job->label[i] = -1;
    for (uint64_t i = 0; status == HP_OK && i < set->questions; i++) {
        const wk_vqa_question_t *q = &set->question[i];
        if (!q->annotated || job->ordinal[q->image] < 0) continue;
        const char *text = wk_strings_get(&job->strings, q->target);
        status = wk_counts_add(&counts, text, strlen(text), err);
    }
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

static hp_status_t room_for_tokens(job_t *job, const char *text, hp_error_t *err) {
    size_t room = wk_tokens_room(text);
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

static hp_status_t count_words(job_t *job, const wk_vqa_set_t *set, wk_counts_t *counts,
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

static hp_status_t make_vocabulary(job_t *job, const wk_vqa_set_t *set, hp_error_t *err) {
    wk_counts_t counts = {0};
    uint32_t *order = NULL, n = 0, number = 0;
    hp_status_t status = count_words(job, set, &counts, err);
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

/* ---- images -------------------------------------------------------------------------------- */

static hp_status_t open_writer(job_t *job, hp_error_t *err) {
    const wk_vqa_import_t *i = job->import;
    hp_store_plan_t plan = {.pictures = i->pictures != NULL,
                            .metric = i->metric,
                            .tokenizer = i->tokenizer->name,
                            .command = i->command,
                            .sources = job->sources,
                            .source = job->source,
                            .identity = job->identity};
    if (job->features != NULL) {
        const wk_features_shape_t *s = wk_features_shape(job->features);
        plan.feature_dtype = i->dtype;
        plan.encoding = i->encoding;
        plan.grid_height = s->grid_height;
        plan.grid_width = s->grid_width;
        plan.max_cells = s->cells;
        plan.channels = s->channels;
        plan.boxes = s->boxes;
        size_t n = (size_t)s->cells * (size_t)s->channels;
        void *p = NULL;
        HP_TRY(hp_allocate(&p, n, sizeof(float), "features", err));
        job->values = p;
        HP_TRY(hp_allocate(&p, (size_t)s->cells, 4 * sizeof(float), "boxes", err));
        job->boxes = p;
        HP_TRY(hp_allocate(&job->payload, n, hp_dtype_size(i->dtype), "features", err));
    }
    return hp_store_writer_open(i->out, &plan, &job->writer, err);
}

static hp_status_t read_features(job_t *job, uint64_t image, int *cells_p, hp_error_t *err) {
    const wk_features_shape_t *s = wk_features_shape(job->features);
    hp_dtype_t dtype = job->import->dtype;
    HP_TRY(wk_features_read(job->features, image, job->values, job->boxes, cells_p, err));
    size_t n = (size_t)*cells_p * (size_t)s->channels;
    size_t bad = hp_convert_find_bad(dtype, job->values, n);
    if (bad < n)
        return hp_fail(err, HP_INPUT, "%s: image %s, cell %zu, channel %zu: %g %s %s",
                       job->import->features->path, wk_features_name(job->features, image),
                       bad / (size_t)s->channels, bad % (size_t)s->channels,
                       (double)job->values[bad], "is no finite number of dtype",
                       hp_dtype_name(dtype));
    hp_convert_from_f32(job->level, dtype, job->values, n, job->payload);
    return HP_OK;
}

static hp_status_t read_picture(job_t *job, const char *id, size_t *bytes_p, hp_error_t *err) {
    *bytes_p = 0;
    int64_t file = wk_strings_find(&job->pictures.ids, id, strlen(id));
    if (file < 0) return HP_OK;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", job->import->pictures,
             wk_strings_get(&job->pictures.names, job->pictures.name[file]));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
    hp_status_t status = HP_OK;
    size_t done = 0, size = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > MAX_PICTURE)
        status = hp_fail(err, HP_INPUT, "%s: a picture is a file of at most 64 MiB", path);
    else
        size = (size_t)st.st_size;
    if (status == HP_OK && size > job->picture_room) {
        void *p = NULL;
        status = hp_allocate(&p, size * 2, 1, "a picture", err);
        if (status == HP_OK) {
            hp_free(job->picture);
            job->picture = p;
            job->picture_room = size * 2;
        }
    }
    while (status == HP_OK && done < size) {
        ssize_t n = read(fd, job->picture + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        done += (size_t)n;
    }
    close(fd);
    if (status == HP_OK && (done < 8 || (memcmp(job->picture, "\x89PNG\r\n\x1a\n", 8) != 0 &&
                                         memcmp(job->picture, "\xff\xd8\xff", 3) != 0)))
        status = hp_fail(err, HP_INPUT, "%s is neither PNG nor JPEG", path);
    if (status == HP_OK) *bytes_p = done;
    return status;
}

static hp_status_t check_kept(job_t *job, uint64_t total, hp_error_t *err) {
    uint64_t kept = hp_store_writer_images(job->writer);
    if (kept > total)
        return hp_fail(err, HP_CORRUPT, "%s.partial has too many images", job->import->out);
    job->report.kept_images = kept;
    for (uint64_t i = 0; i < kept; i++) {
        const char *name, *want = job->features != NULL ? wk_features_name(job->features, i)
                                                        : wk_strings_get(&job->images, (uint32_t)i);
        HP_TRY(hp_store_writer_image_name(job->writer, (uint32_t)i, &name, err));
        if (strcmp(name, want) != 0)
            return hp_fail(err, HP_INPUT, "%s.partial: image %llu is %s, not %s; remove it",
                           job->import->out, (unsigned long long)i, name, want);
    }
    return HP_OK;
}

static hp_status_t write_images(job_t *job, hp_error_t *err) {
    uint64_t total =
        job->features != NULL ? wk_features_shape(job->features)->images : job->images.count;
    HP_TRY(check_kept(job, total, err));
    for (uint64_t i = job->report.kept_images; i < total; i++) {
        hp_store_image_t image = {.name = job->features != NULL
                                              ? wk_features_name(job->features, i)
                                              : wk_strings_get(&job->images, (uint32_t)i)};
        if (job->features != NULL) {
            HP_TRY(read_features(job, i, &image.cells, err));
            image.features = job->payload;
            image.boxes = wk_features_shape(job->features)->boxes ? job->boxes : NULL;
        }
        if (job->import->pictures != NULL) {
            HP_TRY(read_picture(job, image.name, &image.picture_bytes, err));
            image.picture = image.picture_bytes > 0 ? job->picture : NULL;
            job->report.pictures += image.picture != NULL;
        }
        HP_TRY(hp_store_write_image(job->writer, &image, NULL, err));
        progress(job, "images", i + 1, total);
    }
    job->report.images = total;
    return HP_OK;
}

/* ---- questions, out ------------------------------------------------------------------------ */

static hp_status_t write_question(job_t *job, const wk_vqa_set_t *set, const wk_vqa_question_t *q,
                                  hp_error_t *err) {
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

static hp_status_t write_questions(job_t *job, hp_error_t *err) {
    const wk_vqa_import_t *import = job->import;
    uint64_t total = 0;
    for (int s = 0; s < import->splits; s++) total += job->set[s].questions;
    HP_TRY(hp_store_write_words(job->writer, job->report.words, job->word, err));
    HP_TRY(hp_store_write_answers(job->writer, job->report.answers, job->answer, err));
    for (int s = 0; s < import->splits; s++) {
        const wk_vqa_set_t *set = &job->set[s];
        HP_TRY(hp_store_write_split(job->writer, import->split[s].name, err));
        for (uint64_t i = 0; i < set->questions; i++) {
            if (job->ordinal[set->question[i].image] < 0) continue;
            HP_TRY(write_question(job, set, &set->question[i], err));
            progress(job, "questions", job->report.questions, total);
        }
    }
    return HP_OK;
}

static hp_status_t run(job_t *job, hp_error_t *err) {
    const wk_vqa_import_t *import = job->import;
    int vocabulary = -1;
    for (int s = 0; s < import->splits; s++)
        if (strcmp(import->split[s].name, import->vocabulary) == 0) vocabulary = s;
    if (vocabulary < 0)
        return hp_fail(err, HP_INPUT, "no split '%s' to count words and answers in",
                       import->vocabulary);
    HP_TRY(collect_sources(job, err));
    if (import->features != NULL) HP_TRY(wk_features_open(import->features, &job->features, err));
    if (import->pictures != NULL)
        HP_TRY(wk_files_list(import->pictures, import->picture_pattern, &job->pictures, err));
    HP_TRY(read_splits(job, err));
    HP_TRY(match_images(job, err));
    HP_TRY(count_answers(job, &job->set[vocabulary], err));
    HP_TRY(make_vocabulary(job, &job->set[vocabulary], err));
    HP_TRY(open_writer(job, err));
    HP_TRY(write_images(job, err));
    HP_TRY(write_questions(job, err));
    progress(job, "hashing", 0, 0);
    hp_store_writer_t *writer = job->writer;
    job->writer = NULL;
    return hp_store_writer_finish(writer, err);
}

hp_status_t wk_vqa_import(const wk_vqa_import_t *import, wk_vqa_report_t *report, hp_error_t *err) {
    job_t job = {.import = import, .level = hp_convert_best()};
    hp_status_t status = run(&job, err);
    hp_store_writer_abandon(job.writer);
    wk_features_close(job.features);
    wk_files_release(&job.pictures);
    for (int s = 0; job.set != NULL && s < import->splits; s++) wk_vqa_release(&job.set[s]);
    wk_strings_release(&job.strings);
    wk_strings_release(&job.images);
    wk_strings_release(&job.words);
    hp_free(job.set);
    hp_free(job.ordinal);
    hp_free(job.label);
    hp_free((void *)job.word);
    hp_free((void *)job.answer);
    hp_free(job.identity);
    hp_free(job.values);
    hp_free(job.boxes);
    hp_free(job.payload);
    hp_free(job.token_text);
    hp_free(job.token);
    hp_free(job.human);
    hp_free(job.picture);
    if (status == HP_OK) *report = job.report;
    return status;
}
