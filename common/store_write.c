#include "common/store_write.h"

#include "common/memory.h"
#include "common/store_format.h"
#include "common/store_sparse.h"
#include "common/store_writer.h"

#include <stdio.h>
#include <string.h>

static hp_status_t grow(void **array, size_t *capacity, size_t need, size_t size, const char *what,
                        hp_error_t *err) {
    if (need <= *capacity) return HP_OK;
    size_t n = *capacity * 2 > need ? *capacity * 2 : need + 64;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, n, size, what, err));
    if (*array != NULL) memcpy(p, *array, *capacity * size);
    hp_free(*array);
    *array = p;
    *capacity = n;
    return HP_OK;
}

uint64_t hp_store_writer_images(const hp_store_writer_t *writer) { return writer->images; }

hp_status_t hp_store_writer_image_name(hp_store_writer_t *w, uint32_t image, const char **name_p,
                                       hp_error_t *err) {
    unsigned char bytes[4];
    hp_store_key(image, bytes);
    MDB_val key = {sizeof bytes, bytes}, value;
    int code = mdb_get(w->txn, w->dbi[HP_DB_NAMES], &key, &value);
    if (code != 0) return hp_store_writer_fail(w, code, err);
    if (value.mv_size >= sizeof w->name) return hp_fail(err, HP_CORRUPT, "%s: names", w->partial);
    memcpy(w->name, value.mv_data, value.mv_size);
    w->name[value.mv_size] = '\0';
    *name_p = w->name;
    return HP_OK;
}

static hp_status_t check_image(const hp_store_writer_t *w, const hp_store_image_t *image,
                               hp_error_t *err) {
    const hp_store_plan_t *plan = &w->plan;
    size_t bytes = image->name ? strlen(image->name) : 0;
    if (bytes == 0 || bytes >= sizeof w->name)
        return hp_fail(err, HP_INPUT, "image %llu: a name of %zu bytes",
                       (unsigned long long)w->images, bytes);
    if ((image->features != NULL) != (plan->feature_dtype != HP_DTYPE_NONE) ||
        (image->pixels != NULL) != (plan->pixel_height != 0) ||
        (image->boxes != NULL) != plan->boxes || image->objects < 0 ||
        image->objects > plan->max_objects || (image->picture != NULL && !plan->pictures))
        return hp_fail(err, HP_INTERNAL, "image '%s': other records than planned", image->name);
    if (image->features != NULL && (image->cells < 1 || image->cells > plan->max_cells ||
                                    (plan->grid_height != 0 && image->cells != plan->max_cells)))
        return hp_fail(err, HP_INPUT, "image '%s' has %d cells, %s%d are allowed", image->name,
                       image->cells, plan->grid_height ? "" : "1 to ", plan->max_cells);
    if (w->questions > 0 || w->splits > 0)
        return hp_fail(err, HP_INTERNAL, "image '%s' comes after questions", image->name);
    if (w->images == UINT32_MAX) return hp_fail(err, HP_INPUT, "too many images");
    return HP_OK;
}

/* The record of an image's features. */
static hp_status_t encode(hp_store_writer_t *w, const hp_store_image_t *image, const void **data_p,
                          size_t *bytes_p, hp_error_t *err) {
    const hp_store_plan_t *p = &w->plan;
    hp_sparse_t sparse;
    *data_p = image->features;
    *bytes_p = w->feature_bytes * (size_t)image->cells;
    if (image->encoded_bytes > 0) {
        *bytes_p = image->encoded_bytes;
        if (w->record == NULL ||
            !hp_sparse_parse(p->feature_dtype, *data_p, *bytes_p, p->channels, &sparse) ||
            sparse.cells != (uint32_t)image->cells || !hp_sparse_check(&sparse))
            return hp_fail(err, HP_CORRUPT, "image '%s': its encoded features are damaged",
                           image->name);
    } else if (w->record != NULL) {
        *data_p = w->record;
        *bytes_p = hp_sparse_encode(p->encoding, p->feature_dtype, image->features, image->cells,
                                    p->channels, w->record);
    }
    return HP_OK;
}

hp_status_t hp_store_write_image(hp_store_writer_t *w, const hp_store_image_t *image,
                                 uint32_t *image_p, hp_error_t *err) {
    HP_TRY(check_image(w, image, err));
    bool known = false;
    size_t name = strlen(image->name), features = 0;
    const void *data = NULL;
    if (image->features != NULL) HP_TRY(encode(w, image, &data, &features, err));
    HP_TRY(hp_store_writer_remember(w, image->name, name, &known, err));
    if (known) return hp_fail(err, HP_INPUT, "image '%s' is there twice", image->name);
    HP_TRY(hp_store_writer_room(w,
                                name + features + w->pixel_bytes + image->picture_bytes +
                                    ((size_t)image->cells + (size_t)image->objects) * 16 + 6 * 4096,
                                err));
    uint32_t ordinal = (uint32_t)w->images;
    w->failed = true; /* until all its records are in */
    HP_TRY(hp_store_writer_put(w, HP_DB_NAMES, ordinal, image->name, name, err));
    if (data != NULL) HP_TRY(hp_store_writer_put(w, HP_DB_FEATURES, ordinal, data, features, err));
    if (image->boxes != NULL)
        HP_TRY(hp_store_writer_put(w, HP_DB_BOXES, ordinal, image->boxes, (size_t)image->cells * 16,
                                   err));
    if (w->plan.max_objects > 0)
        HP_TRY(hp_store_writer_put(w, HP_DB_OBJECTS, ordinal, image->object,
                                   (size_t)image->objects * 16, err));
    if (image->pixels != NULL)
        HP_TRY(hp_store_writer_put(w, HP_DB_PIXELS, ordinal, image->pixels, w->pixel_bytes, err));
    if (image->picture != NULL) {
        HP_TRY(hp_store_writer_put(w, HP_DB_PICTURES, ordinal, image->picture, image->picture_bytes,
                                   err));
        w->picture_count++;
    }
    w->failed = false;
    w->images++;
    if (image_p != NULL) *image_p = ordinal;
    return HP_OK;
}

hp_status_t hp_store_write_split(hp_store_writer_t *w, const char *name, hp_error_t *err) {
    if (name[0] == '\0' || strlen(name) >= sizeof w->split->name)
        return hp_fail(err, HP_INPUT, "split '%s': a name has 1 to %zu bytes", name,
                       sizeof w->split->name - 1);
    for (int i = 0; i < w->splits; i++)
        if (strcmp(w->split[i].name, name) == 0)
            return hp_fail(err, HP_INPUT, "split '%s' is there twice", name);
    size_t capacity = (size_t)w->split_capacity;
    void *p = w->split;
    HP_TRY(grow(&p, &capacity, (size_t)w->splits + 1, sizeof *w->split, "splits", err));
    w->split = p;
    w->split_capacity = (int)capacity;
    hp_split_t *s = &w->split[w->splits++];
    snprintf(s->name, sizeof s->name, "%s", name);
    s->first = w->questions;
    s->count = 0;
    return HP_OK;
}

/* Packs the message into `buffer`, or into memory of its own where that is too small. */
static hp_status_t pack_question(const hp_question_t *q, unsigned char *buffer, size_t room,
                                 unsigned char **data_p, size_t *bytes_p, hp_error_t *err) {
    enum { FEW = 32 };
    Hanps__StoreQuestion__Answer few[FEW], *answer = few, *pointer_few[FEW],
                                           **pointer = pointer_few;
    void *many = NULL, *pointers = NULL;
    size_t n = (size_t)q->answers;
    if (n > FEW) {
        HP_TRY(hp_allocate(&many, n, sizeof *answer, "answers", err));
        hp_status_t status = hp_allocate(&pointers, n, sizeof(void *), "answers", err);
        if (status != HP_OK) {
            hp_free(many);
            return status;
        }
        answer = many;
        pointer = pointers;
    }
    for (size_t i = 0; i < n; i++) {
        hanps__store_question__answer__init(&answer[i]);
        answer[i].text = (char *)q->answer[i].text;
        answer[i].answer_id = q->answer[i].answer_id;
        answer[i].confidence = (uint32_t)q->answer[i].confidence;
        pointer[i] = &answer[i];
    }
    Hanps__StoreQuestion m = HANPS__STORE_QUESTION__INIT;
    m.question_id = q->question_id;
    m.image = q->image;
    m.text = (char *)(q->text ? q->text : "");
    m.n_token = (size_t)q->tokens;
    m.token = (uint32_t *)(uintptr_t)q->token;
    m.code = q->code;
    m.question_type = (char *)(q->question_type ? q->question_type : "");
    m.answer_type = (char *)(q->answer_type ? q->answer_type : "");
    m.target = (char *)(q->target ? q->target : "");
    m.label = q->label;
    m.n_answer = n;
    m.answer = pointer;
    size_t bytes = hanps__store_question__get_packed_size(&m);
    hp_status_t status = HP_OK;
    void *data = buffer;
    if (bytes > room) status = hp_allocate(&data, bytes, 1, "a question", err);
    if (status == HP_OK) {
        *bytes_p = hanps__store_question__pack(&m, data);
        *data_p = data;
    }
    hp_free(many);
    hp_free(pointers);
    return status;
}

hp_status_t hp_store_write_question(hp_store_writer_t *w, const hp_question_t *q, hp_error_t *err) {
    if (w->splits == 0) return hp_fail(err, HP_INTERNAL, "a question before the first split");
    if (q->image >= w->images || q->tokens < 0 || q->answers < 0 || q->label < -1)
        return hp_fail(err, HP_INTERNAL, "question %lld: image %u of %llu, label %d",
                       (long long)q->question_id, q->image, (unsigned long long)w->images,
                       q->label);
    if (w->questions == UINT32_MAX) return hp_fail(err, HP_INPUT, "too many questions");
    for (int i = 0; i < q->tokens; i++) {
        if (q->token[i] < 0) return hp_fail(err, HP_INTERNAL, "token %d", q->token[i]);
        if (q->token[i] > w->top_token) w->top_token = q->token[i];
    }
    size_t capacity = w->column_capacity;
    void *image = w->image, *label = w->label;
    HP_TRY(grow(&image, &capacity, w->questions + 1, sizeof *w->image, "a column", err));
    w->image = image;
    capacity = w->column_capacity;
    HP_TRY(grow(&label, &capacity, w->questions + 1, sizeof *w->label, "a column", err));
    w->label = label;
    w->column_capacity = capacity;
    unsigned char buffer[8192], *data = NULL;
    size_t bytes = 0;
    HP_TRY(pack_question(q, buffer, sizeof buffer, &data, &bytes, err));
    hp_status_t status = hp_store_writer_room(w, bytes, err);
    if (status == HP_OK)
        status = hp_store_writer_put(w, HP_DB_QUESTIONS, (uint32_t)w->questions, data, bytes, err);
    if (data != buffer) hp_free(data);
    if (status != HP_OK) return status;
    w->image[w->questions] = q->image;
    w->label[w->questions] = q->label;
    if (q->label > w->top_label) w->top_label = q->label;
    if (q->tokens > w->max_tokens) w->max_tokens = q->tokens;
    w->questions++;
    w->split[w->splits - 1].count++;
    return HP_OK;
}

static hp_status_t copy_list(char ***list_p, int *count_p, int count, const char *const *text,
                             hp_error_t *err) {
    if (*list_p != NULL) return hp_fail(err, HP_INTERNAL, "a vocabulary is given twice");
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)count, sizeof(char *), "a vocabulary", err));
    *list_p = p;
    for (; *count_p < count; ++*count_p)
        if (((*list_p)[*count_p] = hp_strdup(text[*count_p])) == NULL)
            return hp_fail(err, HP_MEMORY, "out of memory");
    return HP_OK;
}

hp_status_t hp_store_write_words(hp_store_writer_t *w, int words, const char *const *word,
                                 hp_error_t *err) {
    return copy_list(&w->word, &w->words, words, word, err);
}

hp_status_t hp_store_write_answers(hp_store_writer_t *w, int answers, const char *const *answer,
                                   hp_error_t *err) {
    return copy_list(&w->answer, &w->answers, answers, answer, err);
}
