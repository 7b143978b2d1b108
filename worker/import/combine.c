#include "worker/import/combine.h"

#include "common/memory.h"
#include "common/store_sparse.h"
#include "common/store_write.h"
#include "worker/import/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { IDENTITY = 60000, NONE = -1 };

/* A store that is read. */
typedef struct {
    const char *path;
    hp_store_t *store;
    hp_store_reader_t *reader;
    const hp_store_info_t *info;
    unsigned char *used; /* [images]: is it wanted? */
    int64_t *ordinal;    /* [images]: in the result; NONE */
    int32_t *word;       /* [words]: in the result */
} source_t;

typedef struct {
    const wk_combine_t *combine;
    wk_combine_report_t report;
    source_t *source; /* [stores] */
    wk_strings_t listed, images, words, answers, splits;
    uint32_t *from; /* [images.count][2]: the store and the ordinal of each image */
    uint64_t from_room;
    hp_store_plan_t plan;
    hp_store_writer_t *writer;
    char *identity;
    int64_t *id; /* question ids of a split */
    unsigned char *raw[2];
    float *boxes;
    int32_t *token;
    uint64_t questions;
} job_t;

static void progress(const job_t *job, const char *what, uint64_t done, uint64_t total) {
    if (job->combine->progress != NULL)
        job->combine->progress(job->combine->context, what, done, total);
}

/* ---- do they fit? -------------------------------------------------------------------------- */

static hp_status_t differ(const job_t *job, int s, const char *what, hp_error_t *err) {
    return hp_fail(err, HP_INPUT, "%s and %s have different %s: they cannot be one store",
                   job->source[0].path, job->source[s].path, what);
}

static hp_status_t check_fit(const job_t *job, int s, hp_error_t *err) {
    const hp_store_info_t *a = job->source[0].info, *b = job->source[s].info;
    if (a->feature_dtype != b->feature_dtype) return differ(job, s, "feature dtypes", err);
    if (a->channels != b->channels) return differ(job, s, "channels", err);
    if (a->grid_height != b->grid_height || a->grid_width != b->grid_width)
        return differ(job, s, "grids", err);
    if (a->boxes != b->boxes) return differ(job, s, "kinds of cells: with boxes and without", err);
    if (a->pixel_height != b->pixel_height || a->pixel_width != b->pixel_width)
        return differ(job, s, "sizes of pixels", err);
    if (a->metric != b->metric) return differ(job, s, "metrics", err);
    if (a->code_bits != b->code_bits) return differ(job, s, "question codes", err);
    if (strcmp(a->tokenizer, b->tokenizer) != 0) return differ(job, s, "tokenizers", err);
    if (a->words > 0 && b->words > 0 && strcmp(a->word[0], b->word[0]) != 0)
        return differ(job, s, "unknown words", err);
    return HP_OK;
}

static hp_status_t open_sources(job_t *job, hp_error_t *err) {
    const wk_combine_t *c = job->combine;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)c->stores, sizeof *job->source, "stores", err));
    job->source = p;
    for (int s = 0; s < c->stores; s++) {
        source_t *source = &job->source[s];
        source->path = c->store[s];
        HP_TRY(hp_store_open(c->store[s], &source->store, err));
        HP_TRY(hp_store_reader_open(source->store, &source->reader, err));
        source->info = hp_store_info(source->store);
        HP_TRY(check_fit(job, s, err));
        HP_TRY(hp_allocate(&p, source->info->images, 1, "images", err));
        source->used = p;
        HP_TRY(hp_allocate(&p, source->info->images, sizeof(int64_t), "images", err));
        source->ordinal = p;
        for (uint64_t i = 0; i < source->info->images; i++) source->ordinal[i] = NONE;
        HP_TRY(hp_allocate(&p, (size_t)source->info->words, sizeof(int32_t), "words", err));
        source->word = p;
        for (int i = 0; i < s; i++)
            if (strcmp(job->source[i].info->digest, source->info->digest) == 0)
                return hp_fail(err, HP_INPUT, "%s and %s are the same store", c->store[i],
                               c->store[s]);
    }
    return HP_OK;
}

/* ---- what is kept -------------------------------------------------------------------------- */

static hp_status_t read_list(job_t *job, hp_error_t *err) {
    char line[4096];
    uint32_t number;
    const char *path = job->combine->images;
    if (path == NULL) return HP_OK;
    FILE *file = fopen(path, "re");
    if (file == NULL) return hp_fail_errno(err, HP_INPUT, "%s", path);
    hp_status_t status = HP_OK;
    for (int at = 1; status == HP_OK && fgets(line, sizeof line, file) != NULL; at++) {
        size_t n = strcspn(line, "\r\n");
        if (line[n] == '\0' && n + 1 == sizeof line)
            status = hp_fail(err, HP_INPUT, "%s, line %d: too long for an image's name", path, at);
        else if (n > 0)
            status = wk_strings_add(&job->listed, line, n, &number, err);
    }
    fclose(file);
    return status;
}

/* Every name of the list stands for an image. */
static hp_status_t check_list(const job_t *job, const wk_strings_t *names, hp_error_t *err) {
    for (uint32_t i = 0; i < job->listed.count; i++) {
        const char *name = wk_strings_get(&job->listed, i);
        if (wk_strings_find(names, name, strlen(name)) < 0)
            return hp_fail(err, HP_INPUT, "%s: %s has no image '%s'", job->combine->images,
                           job->source[0].path, name);
    }
    return HP_OK;
}

/* Marks the images that the list has. */
static hp_status_t use_listed(job_t *job, hp_error_t *err) {
    wk_strings_t names = {0};
    uint32_t number;
    hp_status_t status = HP_OK;
    for (int s = 0; s < job->combine->stores; s++) {
        source_t *source = &job->source[s];
        for (uint32_t i = 0; status == HP_OK && i < source->info->images; i++) {
            const char *name = NULL;
            source->used[i] = 1;
            if (job->combine->images == NULL) continue;
            status = hp_store_read_image_name(source->reader, i, &name, err);
            if (status != HP_OK) break;
            source->used[i] = wk_strings_find(&job->listed, name, strlen(name)) >= 0;
            status = wk_strings_add(&names, name, strlen(name), &number, err);
        }
    }
    if (status == HP_OK && job->combine->images != NULL) status = check_list(job, &names, err);
    wk_strings_release(&names);
    return status;
}

static bool wanted_split(const wk_combine_t *c, const char *name) {
    for (int i = 0; i < c->splits; i++)
        if (strcmp(c->split[i], name) == 0) return true;
    return c->splits == 0;
}

/* The questions of a source's split that are kept, in their order: calls `take` for each. */
typedef hp_status_t (*take_t)(job_t *job, source_t *source, uint64_t question, hp_error_t *err);

static hp_status_t each_question(job_t *job, source_t *source, const hp_split_t *split,
                                 uint64_t *taken, take_t take, hp_error_t *err) {
    const uint32_t *image = hp_store_question_image(source->store);
    uint64_t most = job->combine->most;
    for (uint64_t q = split->first; q < split->first + split->count; q++) {
        if ((source->used[image[q]] & 1) == 0) continue;
        if (most > 0 && *taken >= most) break;
        ++*taken;
        HP_TRY(take(job, source, q, err));
    }
    return HP_OK;
}

static hp_status_t each_dealt(job_t *job, uint32_t number, take_t take, hp_error_t *err) {
    source_t *source = &job->source[0];
    for (uint64_t q = 0; q < source->info->questions; q++)
        if (job->combine->split_of[q] == number) HP_TRY(take(job, source, q, err));
    return HP_OK;
}

static hp_status_t each_of_split(job_t *job, uint32_t number, take_t take, hp_error_t *err) {
    uint64_t taken = 0;
    if (job->combine->split_of != NULL) return each_dealt(job, number, take, err);
    for (int s = 0; s < job->combine->stores; s++) {
        const hp_store_info_t *info = job->source[s].info;
        for (int k = 0; k < info->splits; k++)
            if (strcmp(info->split[k].name, wk_strings_get(&job->splits, number)) == 0)
                HP_TRY(each_question(job, &job->source[s], &info->split[k], &taken, take, err));
    }
    return HP_OK;
}

static hp_status_t mark(job_t *job, source_t *source, uint64_t question, hp_error_t *err) {
    (void)err;
    job->questions++;
    source->used[hp_store_question_image(source->store)[question]] |= 2; /* has a question */
    return HP_OK;
}

static hp_status_t select_questions(job_t *job, hp_error_t *err) {
    const wk_combine_t *c = job->combine;
    uint32_t number;
    int split;
    for (int i = 0; c->split_of != NULL && i < c->splits; i++)
        HP_TRY(wk_strings_add(&job->splits, c->split[i], strlen(c->split[i]), &number, err));
    for (int i = 0; c->split_of == NULL && i < c->splits; i++) {
        bool found = false;
        for (int s = 0; s < c->stores && !found; s++)
            found = hp_store_find_split(job->source[s].store, c->split[i], &split, err) == HP_OK;
        if (!found) return HP_INPUT; /* the last error lists what there is */
    }
    for (int s = 0; c->split_of == NULL && s < c->stores; s++)
        for (int k = 0; k < job->source[s].info->splits; k++) {
            const char *name = job->source[s].info->split[k].name;
            if (wanted_split(c, name))
                HP_TRY(wk_strings_add(&job->splits, name, strlen(name), &number, err));
        }
    for (uint32_t i = 0; i < job->splits.count; i++) HP_TRY(each_of_split(job, i, mark, err));
    if (job->questions == 0 && job->splits.count > 0)
        return hp_fail(err, HP_INPUT, "no question is left");
    return HP_OK;
}

/* ---- images -------------------------------------------------------------------------------- */

static bool same_bytes(source_t *a, uint32_t i, source_t *b, uint32_t j, hp_record_kind_t kind,
                       hp_status_t *status_p, hp_error_t *err) {
    const void *x = NULL, *y = NULL;
    size_t n = 0, m = 0;
    hp_status_t first = hp_store_read_image(a->reader, i, kind, &x, &n, err);
    hp_status_t second = hp_store_read_image(b->reader, j, kind, &y, &m, err);
    bool optional = kind == HP_RECORD_PICTURE && first != HP_CORRUPT && second != HP_CORRUPT;
    *status_p = optional ? HP_OK : first != HP_OK ? first : second;
    return *status_p == HP_OK && first == second && n == m && (n == 0 || memcmp(x, y, n) == 0);
}

/* Is the image that is there already the same as this one, to the bit? */
static hp_status_t compare(job_t *job, uint32_t there, source_t *b, uint32_t j, const char *name,
                           hp_error_t *err) {
    source_t *a = &job->source[job->from[2 * (size_t)there]];
    uint32_t i = job->from[2 * (size_t)there + 1];
    const hp_store_info_t *info = a->info;
    bool same = true;
    hp_status_t status = HP_OK;
    if (info->feature_dtype != HP_DTYPE_NONE) {
        int n = 0, m = 0;
        HP_TRY(hp_store_read_raw(a->reader, i, job->raw[0], job->plan.max_cells, &n, err));
        HP_TRY(hp_store_read_raw(b->reader, j, job->raw[1], job->plan.max_cells, &m, err));
        same = n == m &&
               memcmp(job->raw[0], job->raw[1],
                      (size_t)n * (size_t)info->channels * hp_dtype_size(info->feature_dtype)) == 0;
    }
    if (same && info->boxes) same = same_bytes(a, i, b, j, HP_RECORD_BOXES, &status, err);
    if (same && info->pixel_height > 0)
        same = same_bytes(a, i, b, j, HP_RECORD_PIXELS, &status, err);
    if (same && info->pictures && b->info->pictures)
        same = same_bytes(a, i, b, j, HP_RECORD_PICTURE, &status, err);
    HP_TRY(status);
    return same ? HP_OK
                : hp_fail(err, HP_INPUT, "image '%s' of %s is not the same as that of %s", name,
                          b->path, a->path);
}

/* Numbers the images of the result: those of the first store first. */
static hp_status_t number_images(job_t *job, hp_error_t *err) {
    for (int s = 0; s < job->combine->stores; s++) {
        source_t *source = &job->source[s];
        for (uint32_t i = 0; i < source->info->images; i++) {
            const char *name = NULL;
            uint32_t number = 0, before = job->images.count;
            unsigned char need = job->splits.count > 0 ? 3 : 1;
            if (source->used[i] != need) continue;
            HP_TRY(hp_store_read_image_name(source->reader, i, &name, err));
            HP_TRY(wk_strings_add(&job->images, name, strlen(name), &number, err));
            source->ordinal[i] = number;
            if (number < before) {
                HP_TRY(compare(job, number, source, i, name, err));
                job->report.shared++;
                continue;
            }
            if (number == job->from_room) {
                void *p = NULL;
                size_t room = job->from_room * 2 + 1024;
                HP_TRY(hp_allocate(&p, room, 2 * sizeof(uint32_t), "images", err));
                if (number > 0) memcpy(p, job->from, (size_t)number * 2 * sizeof(uint32_t));
                hp_free(job->from);
                job->from = p;
                job->from_room = room;
            }
            job->from[2 * (size_t)number] = (uint32_t)s;
            job->from[2 * (size_t)number + 1] = i;
            progress(job, "images looked up", i + 1, source->info->images);
        }
    }
    return job->images.count > 0 ? HP_OK : hp_fail(err, HP_INPUT, "no image is left");
}

static hp_status_t take_features(job_t *job, source_t *source, uint32_t i, hp_store_image_t *image,
                                 hp_error_t *err) {
    const hp_store_info_t *info = source->info;
    bool anew = job->combine->encode || info->feature_encoding == HP_ENCODING_RAW;
    if (anew) {
        HP_TRY(hp_store_read_raw(source->reader, i, job->raw[0], job->plan.max_cells, &image->cells,
                                 err));
        image->features = job->raw[0];
        return HP_OK;
    }
    hp_sparse_t sparse;
    HP_TRY(hp_store_read_image(source->reader, i, HP_RECORD_FEATURES, &image->features,
                               &image->encoded_bytes, err));
    if (!hp_sparse_parse(info->feature_dtype, image->features, image->encoded_bytes, info->channels,
                         &sparse))
        return hp_fail(err, HP_CORRUPT, "store %s: features of image %" PRIu32 " are damaged",
                       source->path, i);
    image->cells = (int)sparse.cells;
    return HP_OK;
}

static hp_status_t write_image(job_t *job, uint32_t number, hp_error_t *err) {
    source_t *source = &job->source[job->from[2 * (size_t)number]];
    uint32_t i = job->from[2 * (size_t)number + 1];
    const hp_store_info_t *info = source->info;
    hp_store_image_t image = {.name = wk_strings_get(&job->images, number)};
    const void *data = NULL;
    size_t bytes = 0;
    int cells = 0;
    if (info->feature_dtype != HP_DTYPE_NONE) HP_TRY(take_features(job, source, i, &image, err));
    if (info->boxes) {
        HP_TRY(
            hp_store_read_boxes(source->reader, i, job->boxes, job->plan.max_cells, &cells, err));
        if (cells != image.cells)
            return hp_fail(err, HP_CORRUPT, "store %s: image %" PRIu32 " has %d cells, %d boxes",
                           source->path, i, image.cells, cells);
        image.boxes = job->boxes;
    }
    if (info->pixel_height > 0) {
        HP_TRY(hp_store_read_image(source->reader, i, HP_RECORD_PIXELS, &data, &bytes, err));
        image.pixels = data;
    }
    if (info->pictures) {
        hp_status_t status = hp_store_read_image(source->reader, i, HP_RECORD_PICTURE,
                                                 &image.picture, &image.picture_bytes, err);
        if (status != HP_OK && status != HP_INPUT) return status; /* some have none */
    }
    return hp_store_write_image(job->writer, &image, NULL, err);
}

static hp_status_t write_images(job_t *job, hp_error_t *err) {
    uint64_t kept = hp_store_writer_images(job->writer), total = job->images.count;
    if (kept > total)
        return hp_fail(err, HP_CORRUPT, "%s.partial has too many images", job->combine->out);
    for (uint32_t i = 0; i < kept; i++) {
        const char *name = NULL;
        HP_TRY(hp_store_writer_image_name(job->writer, i, &name, err));
        if (strcmp(name, wk_strings_get(&job->images, i)) != 0)
            return hp_fail(err, HP_INPUT, "%s.partial: image %" PRIu32 " is %s, not %s; remove it",
                           job->combine->out, i, name, wk_strings_get(&job->images, i));
    }
    for (uint64_t i = kept; i < total; i++) {
        HP_TRY(write_image(job, (uint32_t)i, err));
        progress(job, "images", i + 1, total);
    }
    job->report.images = total;
    job->report.kept_images = kept;
    return HP_OK;
}

/* ---- questions ----------------------------------------------------------------------------- */

static hp_status_t make_vocabulary(job_t *job, hp_error_t *err) {
    uint32_t number;
    for (int s = 0; s < job->combine->stores; s++) {
        source_t *source = &job->source[s];
        bool more = s == 0 || !job->combine->first_vocabulary;
        for (int i = 0; i < source->info->words; i++) {
            const char *word = source->info->word[i];
            if (more) HP_TRY(wk_strings_add(&job->words, word, strlen(word), &number, err));
            int64_t found = wk_strings_find(&job->words, word, strlen(word));
            source->word[i] = found < 0 ? 0 : (int32_t)found;
        }
        for (int i = 0; more && i < source->info->answers; i++)
            HP_TRY(wk_strings_add(&job->answers, source->info->answer[i],
                                  strlen(source->info->answer[i]), &number, err));
    }
    job->report.words = (int)job->words.count;
    job->report.answers = (int)job->answers.count;
    return HP_OK;
}

static hp_status_t write_list(job_t *job, const wk_strings_t *set, bool words, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, set->count, sizeof(char *), "a vocabulary", err));
    const char **text = p;
    for (uint32_t i = 0; i < set->count; i++) text[i] = wk_strings_get(set, i);
    hp_status_t status = words ? hp_store_write_words(job->writer, (int)set->count, text, err)
                               : hp_store_write_answers(job->writer, (int)set->count, text, err);
    hp_free(p);
    return status;
}

static hp_status_t write_question(job_t *job, source_t *source, uint64_t number, hp_error_t *err) {
    hp_question_t q;
    HP_TRY(hp_store_read_question(source->reader, number, &q, err));
    for (int t = 0; t < q.tokens; t++) job->token[t] = source->word[q.token[t]];
    q.token = job->token;
    q.image = (uint32_t)source->ordinal[q.image];
    int64_t label = wk_strings_find(&job->answers, q.target, strlen(q.target));
    bool answered = q.label >= 0 || q.target[0] != '\0';
    q.label = answered ? (int32_t)label : -1;
    job->report.unlabelled += q.label < 0;
    job->id[job->report.questions++] = q.question_id;
    progress(job, "questions", job->report.questions, job->questions);
    return hp_store_write_question(job->writer, &q, err);
}

static int ascending(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Scores go by question_id: within a split it must be one question's alone. */
static hp_status_t check_ids(job_t *job, uint64_t first, const char *split, hp_error_t *err) {
    uint64_t n = job->report.questions - first;
    int64_t *id = job->id + first;
    if (n < 2 || (job->combine->stores < 2 && job->combine->split_of == NULL)) return HP_OK;
    qsort(id, n, sizeof *id, ascending);
    for (uint64_t i = 1; i < n; i++)
        if (id[i] == id[i - 1])
            return hp_fail(err, HP_INPUT, "question_id %" PRId64 " is in split %s twice", id[i],
                           split);
    return HP_OK;
}

static hp_status_t write_questions(job_t *job, hp_error_t *err) {
    void *p = NULL;
    int longest = 1;
    for (int s = 0; s < job->combine->stores; s++)
        if (job->source[s].info->max_tokens > longest) longest = job->source[s].info->max_tokens;
    HP_TRY(hp_allocate(&p, job->questions, sizeof *job->id, "question ids", err));
    job->id = p;
    HP_TRY(hp_allocate(&p, (size_t)longest, sizeof *job->token, "words", err));
    job->token = p;
    HP_TRY(write_list(job, &job->words, true, err));
    HP_TRY(write_list(job, &job->answers, false, err));
    for (uint32_t i = 0; i < job->splits.count; i++) {
        const char *name = wk_strings_get(&job->splits, i);
        uint64_t first = job->report.questions;
        HP_TRY(hp_store_write_split(job->writer, name, err));
        HP_TRY(each_of_split(job, i, write_question, err));
        HP_TRY(check_ids(job, first, name, err));
    }
    job->report.splits = (int)job->splits.count;
    return HP_OK;
}

/* ---- all of it ----------------------------------------------------------------------------- */

static hp_status_t make_plan(job_t *job, hp_error_t *err) {
    const wk_combine_t *c = job->combine;
    const hp_store_info_t *a = job->source[0].info;
    job->plan = (hp_store_plan_t){.feature_dtype = a->feature_dtype,
                                  .encoding = c->encode ? c->encoding : HP_ENCODING_RAW,
                                  .grid_height = a->grid_height,
                                  .grid_width = a->grid_width,
                                  .channels = a->channels,
                                  .boxes = a->boxes,
                                  .pixel_height = a->pixel_height,
                                  .pixel_width = a->pixel_width,
                                  .metric = a->metric,
                                  .code_bits = a->code_bits,
                                  .tokenizer = a->tokenizer,
                                  .command = c->command};
    for (int s = 0; s < c->stores; s++) {
        const hp_store_info_t *info = job->source[s].info;
        if (info->max_cells > job->plan.max_cells) job->plan.max_cells = info->max_cells;
        job->plan.pictures |= info->pictures;
        if (!c->encode && info->feature_encoding != HP_ENCODING_RAW)
            job->plan.encoding = HP_ENCODING_AUTO; /* of those that are not encoded yet */
    }
    size_t numbers = (size_t)job->plan.max_cells * (size_t)a->channels;
    for (int k = 0; k < 2; k++) {
        void *p = NULL;
        HP_TRY(hp_allocate(&p, numbers, sizeof(float), "features", err));
        job->raw[k] = p;
    }
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)job->plan.max_cells, 4 * sizeof(float), "boxes", err));
    job->boxes = p;
    return HP_OK;
}

static hp_status_t open_writer(job_t *job, hp_error_t *err) {
    const wk_combine_t *c = job->combine;
    void *p = NULL, *sources = NULL;
    HP_TRY(hp_allocate(&p, IDENTITY, 1, "an identity", err));
    job->identity = p;
    int n = snprintf(job->identity, IDENTITY, "combine %d %" PRIu64 " %d %d %" PRIu32 "\n",
                     c->first_vocabulary, c->most, c->encode, (int)c->encoding, job->listed.count);
    if (c->split_of != NULL)
        n += snprintf(job->identity + n, (size_t)(IDENTITY - n), "dealt %016" PRIx64 "\n",
                      (uint64_t)XXH3_64bits(c->split_of, job->source[0].info->questions));
    for (uint32_t i = 0; n < IDENTITY && i < job->splits.count; i++)
        n += snprintf(job->identity + n, (size_t)(IDENTITY - n), "%s\n",
                      wk_strings_get(&job->splits, i));
    for (int s = 0; n < IDENTITY && s < c->stores; s++)
        n += snprintf(job->identity + n, (size_t)(IDENTITY - n), "%s\n",
                      job->source[s].info->digest);
    if (n >= IDENTITY) return hp_fail(err, HP_INPUT, "too many stores and splits");
    HP_TRY(hp_allocate(&sources, (size_t)c->stores, sizeof(hp_store_source_t), "sources", err));
    hp_store_source_t *source = sources;
    for (int s = 0; s < c->stores; s++)
        source[s] = (hp_store_source_t){c->store[s], job->source[s].info->data_bytes};
    job->plan.sources = c->stores;
    job->plan.source = source;
    job->plan.identity = job->identity;
    hp_status_t status = hp_store_writer_open(c->out, &job->plan, &job->writer, err);
    hp_free(sources);
    return status;
}

static hp_status_t run(job_t *job, hp_error_t *err) {
    HP_TRY(open_sources(job, err));
    HP_TRY(read_list(job, err));
    HP_TRY(use_listed(job, err));
    HP_TRY(select_questions(job, err));
    HP_TRY(make_plan(job, err));
    HP_TRY(number_images(job, err));
    HP_TRY(make_vocabulary(job, err));
    HP_TRY(open_writer(job, err));
    HP_TRY(write_images(job, err));
    HP_TRY(write_questions(job, err));
    progress(job, "hashing", 0, 0);
    hp_store_writer_t *writer = job->writer;
    job->writer = NULL;
    return hp_store_writer_finish(writer, err);
}

hp_status_t wk_combine(const wk_combine_t *combine, wk_combine_report_t *report, hp_error_t *err) {
    job_t job = {.combine = combine};
    hp_status_t status = run(&job, err);
    hp_store_writer_abandon(job.writer);
    for (int s = 0; job.source != NULL && s < combine->stores; s++) {
        source_t *source = &job.source[s];
        hp_store_reader_close(source->reader);
        hp_store_close(source->store);
        hp_free(source->used);
        hp_free(source->ordinal);
        hp_free(source->word);
    }
    hp_free(job.raw[0]);
    hp_free(job.raw[1]);
    hp_free(job.boxes);
    wk_strings_release(&job.listed);
    wk_strings_release(&job.images);
    wk_strings_release(&job.words);
    wk_strings_release(&job.answers);
    wk_strings_release(&job.splits);
    hp_free(job.source);
    hp_free(job.from);
    hp_free(job.identity);
    hp_free(job.id);
    hp_free(job.token);
    if (status == HP_OK) *report = job.report;
    return status;
}
