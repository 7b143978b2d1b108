#include "worker/data/sampler.h"

#include "common/memory.h"
#include "common/random.h"

#include <stdlib.h>

#define NO_EPOCH UINT64_MAX

/* The order of one epoch. */
typedef struct {
    uint64_t epoch;
    uint32_t *group; /* [groups]: place -> group */
    uint32_t *begin; /* [groups + 1]: first example of the group at a place */
} order_t;

/* An example with what `distinct` sorts by. */
typedef struct {
    uint32_t image;
    wk_example_t example;
} entry_t;

struct wk_sampler {
    wk_sampler_options_t options;
    uint32_t examples, groups;
    uint32_t *question; /* [examples]: groups laid end to end */
    uint32_t *start;    /* [groups + 1]: a group's first entry in `question` */
    order_t order[2];   /* epoch e lives in order[e % 2] */
    int max_images;
    entry_t *entry; /* [batch_size], where distinct */
};

static bool wanted(const wk_sampler_options_t *o, uint64_t question) {
    return (!o->labelled_only || o->label[question] >= 0) &&
           wk_cut_has(&o->cut, o->image[question]);
}

/* Gathering: a stable counting sort of the split by image, images in the order of their number. */
static hp_status_t sort_by_image(wk_sampler_t *s, hp_error_t *err) {
    const wk_sampler_options_t *o = &s->options;
    uint32_t images = 0;
    for (uint64_t q = o->first; q < o->first + o->count; q++)
        if (o->image[q] >= images) images = o->image[q] + 1;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)images + 1, sizeof(uint32_t), "order of images", err));
    uint32_t *place = p, *sorted = NULL;
    hp_status_t status = hp_allocate(&p, s->examples, sizeof *sorted, "order of questions", err);
    if (status == HP_OK) {
        sorted = p;
        for (uint32_t i = 0; i < s->examples; i++) place[o->image[s->question[i]] + 1]++;
        for (uint32_t i = 0; i < images; i++) place[i + 1] += place[i];
        for (uint32_t i = 0; i < s->examples; i++)
            sorted[place[o->image[s->question[i]]]++] = s->question[i];
        hp_free(s->question);
        s->question = sorted;
    }
    hp_free(place);
    return status;
}

static hp_status_t cut_groups(wk_sampler_t *s, hp_error_t *err) {
    const wk_sampler_options_t *o = &s->options;
    uint32_t cap =
        o->max_questions_per_image > 0 ? (uint32_t)o->max_questions_per_image : UINT32_MAX;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)s->examples + 1, sizeof *s->start, "groups", err));
    s->start = p;
    for (uint32_t i = 0; i < s->examples; i++) {
        bool opens = i == 0 || !o->group_by_image ||
                     o->image[s->question[i]] != o->image[s->question[i - 1]] ||
                     i - s->start[s->groups - 1] >= cap;
        if (opens) s->start[s->groups++] = i;
    }
    s->start[s->groups] = s->examples;
    return HP_OK;
}

static int compare_u32(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* The worst batch: a group cut to one question, then the smallest groups, each twice because a
 * batch can see two epochs. */
static hp_status_t bound_images(wk_sampler_t *s, hp_error_t *err) {
    int64_t batch = s->options.batch_size;
    if ((uint64_t)batch > s->examples) { /* more than two epochs in a batch */
        s->max_images = (int)batch;
        return HP_OK;
    }
    void *p = NULL;
    HP_TRY(hp_allocate(&p, s->groups, sizeof(uint32_t), "sizes of groups", err));
    uint32_t *size = p;
    for (uint32_t g = 0; g < s->groups; g++) size[g] = s->start[g + 1] - s->start[g];
    qsort(size, s->groups, sizeof *size, compare_u32);
    int64_t images = 1, left = batch - 1;
    for (uint32_t g = 0; left > 0 && g < s->groups; g++)
        for (int twice = 0; left > 0 && twice < 2; twice++) {
            images++;
            left -= size[g];
        }
    s->max_images = (int)images;
    hp_free(size);
    return HP_OK;
}

static hp_status_t build(wk_sampler_t *s, hp_error_t *err) {
    const wk_sampler_options_t *o = &s->options;
    uint64_t examples = 0;
    for (uint64_t q = o->first; q < o->first + o->count; q++) examples += wanted(o, q);
    if (examples == 0)
        return hp_fail(err, HP_INPUT, "the split has no question%s",
                       o->count > 0 ? " whose answer is among the classes" : "");
    if (examples >= UINT32_MAX || o->first + o->count > UINT32_MAX)
        return hp_fail(err, HP_INPUT, "the split has more than 2^32 questions");
    s->examples = (uint32_t)examples;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, s->examples, sizeof *s->question, "questions of the split", err));
    s->question = p;
    uint32_t n = 0;
    for (uint64_t q = o->first; q < o->first + o->count; q++)
        if (wanted(o, q)) s->question[n++] = (uint32_t)q;
    if (o->group_by_image && (o->shuffle || o->gather)) HP_TRY(sort_by_image(s, err));
    HP_TRY(cut_groups(s, err));
    HP_TRY(bound_images(s, err));
    if (o->distinct) {
        HP_TRY(hp_allocate(&p, (size_t)o->batch_size, sizeof *s->entry, "examples of a unit", err));
        s->entry = p;
    }
    for (int i = 0; o->shuffle && i < 2; i++) {
        s->order[i].epoch = NO_EPOCH;
        HP_TRY(hp_allocate(&p, s->groups, sizeof(uint32_t), "order of an epoch", err));
        s->order[i].group = p;
        HP_TRY(hp_allocate(&p, (size_t)s->groups + 1, sizeof(uint32_t), "order of an epoch", err));
        s->order[i].begin = p;
    }
    return HP_OK;
}

hp_status_t wk_sampler_create(const wk_sampler_options_t *options, wk_sampler_t **sampler_p,
                              hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(wk_sampler_t), "sampler", err));
    wk_sampler_t *s = p;
    s->options = *options;
    hp_status_t status = build(s, err);
    if (status != HP_OK) {
        wk_sampler_destroy(s);
        return status;
    }
    *sampler_p = s;
    return HP_OK;
}

void wk_sampler_destroy(wk_sampler_t *s) {
    if (s == NULL) return;
    for (int i = 0; i < 2; i++) {
        hp_free(s->order[i].group);
        hp_free(s->order[i].begin);
    }
    hp_free(s->question);
    hp_free(s->start);
    hp_free(s->entry);
    hp_free(s);
}

uint64_t wk_sampler_size(const wk_sampler_t *s) { return s->examples; }
int wk_sampler_max_images(const wk_sampler_t *s) { return s->max_images; }

static const order_t *order_of(wk_sampler_t *s, uint64_t epoch) {
    order_t *order = &s->order[epoch % 2];
    if (order->epoch == epoch) return order;
    for (uint32_t g = 0; g < s->groups; g++) order->group[g] = g;
    hp_random_t random = hp_random(s->options.seed, HP_RANDOM_ORDER, epoch, 0);
    hp_random_shuffle(&random, order->group, s->groups);
    order->begin[0] = 0;
    for (uint32_t i = 0; i < s->groups; i++) {
        uint32_t g = order->group[i];
        order->begin[i + 1] = order->begin[i] + s->start[g + 1] - s->start[g];
    }
    order->epoch = epoch;
    return order;
}

/* The last place whose group begins at or before `example`. */
static uint32_t find_place(const uint32_t *begin, uint32_t groups, uint32_t example) {
    uint32_t low = 0, high = groups;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (begin[middle] <= example)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static int by_image(const void *a, const void *b) {
    const entry_t *x = a, *y = b;
    if (x->example.epoch != y->example.epoch) return x->example.epoch < y->example.epoch ? -1 : 1;
    if (x->image != y->image) return x->image < y->image ? -1 : 1;
    return (x->example.question > y->example.question) -
           (x->example.question < y->example.question);
}

static void bring_together(const wk_sampler_t *s, wk_example_t *out) {
    int n = s->options.batch_size;
    for (int i = 0; i < n; i++) s->entry[i] = (entry_t){s->options.image[out[i].question], out[i]};
    qsort(s->entry, (size_t)n, sizeof *s->entry, by_image);
    for (int i = 0; i < n; i++) {
        const entry_t *e = &s->entry[i], *before = &s->entry[i > 0 ? i - 1 : 0];
        out[i] = e->example;
        out[i].opens =
            i == 0 || e->image != before->image || e->example.epoch != before->example.epoch;
    }
}

void wk_sampler_unit(wk_sampler_t *s, uint64_t unit, wk_example_t *out) {
    uint64_t position = unit * (uint64_t)s->options.batch_size;
    uint64_t epoch = position / s->examples;
    uint32_t example = (uint32_t)(position % s->examples);
    for (int n = 0; n < s->options.batch_size; epoch++, example = 0) {
        const order_t *order = s->options.shuffle ? order_of(s, epoch) : NULL;
        const uint32_t *begin = order != NULL ? order->begin : s->start;
        uint32_t place = find_place(begin, s->groups, example);
        for (; n < s->options.batch_size && example < s->examples; example++, n++) {
            if (example == begin[place + 1]) place++;
            uint32_t group = order != NULL ? order->group[place] : place;
            out[n] = (wk_example_t){
                .question = s->question[s->start[group] + (example - begin[place])],
                .epoch = (uint32_t)epoch,
                .opens = n == 0 || example == begin[place],
            };
        }
    }
    if (s->options.distinct) bring_together(s, out);
}
