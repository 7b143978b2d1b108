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
    if (n > 0 || q->label < 0) return n;
    answer[0] = q->label;
    weight[0] = 1;
    return 1;
}
