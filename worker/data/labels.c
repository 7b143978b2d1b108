#include "worker/data/labels.h"

#include "common/memory.h"
#include "common/random.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *text;
    int32_t number;
} class_t;

struct wk_labels {
    int classes;
    class_t *class; /* [classes] by text */
};

static int by_text(const void *a, const void *b) {
    return strcmp(((const class_t *)a)->text, ((const class_t *)b)->text);
}

hp_status_t wk_labels_create(int answers, const char *const *answer, wk_labels_t **labels_p,
                             hp_error_t *err) {
    void *p = NULL, *class = NULL;
    HP_TRY(hp_allocate(&class, (size_t)answers, sizeof(class_t), "answers", err));
    hp_status_t status = hp_allocate(&p, 1, sizeof(wk_labels_t), "answers", err);
    if (status != HP_OK) {
        hp_free(class);
        return status;
    }
    wk_labels_t *l = p;
    *l = (wk_labels_t){.classes = answers, .class = class};
    for (int i = 0; i < answers; i++) l->class[i] = (class_t){answer[i], i};
    qsort(l->class, (size_t)answers, sizeof *l->class, by_text);
    *labels_p = l;
    return HP_OK;
}

void wk_labels_destroy(wk_labels_t *l) {
    if (l == NULL) return;
    hp_free(l->class);
    hp_free(l);
}

int32_t wk_labels_find(const wk_labels_t *l, const char *text) {
    const class_t wanted = {.text = text};
    const class_t *found =
        bsearch(&wanted, l->class, (size_t)l->classes, sizeof *l->class, by_text);
    return found != NULL ? found->number : -1;
}

/* Of the question's answers that are classes; -1: none is. */
static int32_t first_class(const wk_labels_t *l, const hp_question_t *q) {
    int32_t class = -1;
    for (int i = 0; class < 0 && i < q->answers; i++) class = wk_labels_find(l, q->answer[i].text);
    return class;
}

int32_t wk_labels_sample(const wk_labels_t *l, const hp_question_t *q, uint64_t seed,
                         uint64_t key) {
    uint64_t known = 0;
    for (int i = 0; i < q->answers; i++) known += wk_labels_find(l, q->answer[i].text) >= 0;
    if (known == 0) return q->label;
    hp_random_t random = hp_random(seed, HP_RANDOM_LABEL, key, 0);
    uint64_t left = hp_random_below(&random, known);
    int32_t class = q->label;
    for (int i = 0; i < q->answers; i++) {
        class = wk_labels_find(l, q->answer[i].text);
        if (class >= 0 && left-- == 0) break;
    }
    return class;
}

int wk_labels_soft(const wk_labels_t *l, const hp_question_t *q, bool shares, int32_t *answer,
                   float *weight) {
    int n = 0;
    for (int i = 0; q->answers > 1 && i < q->answers; i++) {
        int32_t class = wk_labels_find(l, q->answer[i].text);
        int k = 0;
        while (k < n && answer[k] != class) k++;
        if (class < 0 || k == WK_LABELS_MOST) continue;
        if (k == n) {
            answer[n] = class;
            weight[n++] = 0;
        }
        weight[k]++;
    }
    for (int k = 0; k < n; k++) {
        float score = 0.3F * weight[k];
        weight[k] = shares ? weight[k] / (float)q->answers : score < 1 ? score : 1;
    }
    if (n > 0) return n;
    const int32_t only = q->label < 0 && q->answers == 1 ? first_class(l, q) : q->label;
    if (only < 0) return 0;
    answer[0] = only;
    weight[0] = 1;
    return 1;
}

static hp_status_t fill_column(const wk_labels_t *l, hp_store_t *store, const hp_split_t *range,
                               int32_t *label, hp_error_t *err) {
    const int32_t *stored = hp_store_question_label(store);
    hp_store_reader_t *reader = NULL;
    hp_status_t status = hp_store_reader_open(store, &reader, err);
    for (uint64_t i = range->first; status == HP_OK && i < range->first + range->count; i++) {
        hp_question_t q;
        label[i] = stored[i];
        if (label[i] >= 0) continue;
        status = hp_store_read_question(reader, i, &q, err);
        if (status == HP_OK) label[i] = first_class(l, &q);
    }
    hp_store_reader_close(reader);
    return status;
}

hp_status_t wk_labels_trainable(hp_store_t *store, hp_labels_t kind, const hp_split_t *range,
                                int32_t **label_p, hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(store);
    wk_labels_t *labels = NULL;
    void *column = NULL;
    *label_p = NULL;
    if (kind == HP_LABELS_MOST_FREQUENT) return HP_OK;
    HP_TRY(hp_allocate(&column, info->questions, sizeof **label_p, "labels", err));
    hp_status_t status = wk_labels_create(info->answers, info->answer, &labels, err);
    if (status == HP_OK) status = fill_column(labels, store, range, column, err);
    wk_labels_destroy(labels);
    if (status == HP_OK)
        *label_p = column;
    else
        hp_free(column);
    return status;
}
