#include "worker/data/prefetch.h"

#include "common/clock.h"
#include "common/memory.h"

#include <pthread.h>

/* A ring of slots. The thread fills slot `filled % slots`, the trainer holds slot `(taken - 1) %
 * slots`; a slot is free once the trainer has moved past it. */
struct wk_prefetch {
    wk_prefetch_options_t options;
    hp_store_reader_t *reader;
    wk_example_t *example; /* [batch size] */
    int slots;
    wk_batch_memory_t **memory; /* [slots] */
    wk_batch_t *batch;          /* [slots] */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    bool started;
    /* below: under the mutex */
    uint64_t filled, taken;
    bool quit, ended;
    bool asking; /* the thread is in options.next */
    double data_s, unit_s;
    hp_status_t status;
    hp_error_t err;
};

/* The unit to read next; unit->last at the end. *n_p: its examples. */
static hp_status_t next_unit(wk_prefetch_t *p, uint64_t count, wk_unit_t *unit, int *n_p,
                             hp_error_t *err) {
    int batch = p->options.plan->limits.questions;
    *n_p = batch;
    if (p->options.next != NULL) return p->options.next(p->options.context, unit, err);
    uint64_t size = wk_sampler_size(p->options.sampler);
    uint64_t units = (size + (uint64_t)batch - 1) / (uint64_t)batch, end = units;
    if (p->options.parts > 0) {
        uint64_t part = (uint64_t)p->options.part, parts = (uint64_t)p->options.parts;
        count = p->options.dealt ? count * parts + part : count + units * part / parts;
        end = p->options.dealt ? units : units * (part + 1) / parts;
    }
    uint64_t begin = count * (uint64_t)batch;
    *unit = (wk_unit_t){.unit = count, .last = count >= end};
    if (size - begin < (uint64_t)batch) *n_p = (int)(size - begin);
    return HP_OK;
}

static void set_asking(wk_prefetch_t *p, bool asking) {
    pthread_mutex_lock(&p->mutex);
    p->asking = asking;
    pthread_cond_broadcast(&p->changed); /* whoever waits now waits for another cause */
    pthread_mutex_unlock(&p->mutex);
}

/* The kernel reads all images of the batch at once, while the first are decoded. */
static void ask_for_images(const wk_prefetch_t *p, int n) {
    const uint32_t *image = hp_store_question_image(p->options.store);
    const hp_record_kind_t kind = p->options.plan->pixels ? HP_RECORD_PIXELS : HP_RECORD_FEATURES;
    if (p->options.plan->blank) return;
    for (int k = 0; k < n; k++)
        if (k == 0 || p->example[k].opens)
            hp_store_prefetch_image(p->reader, image[p->example[k].question], kind);
}

static hp_status_t fill(wk_prefetch_t *p, uint64_t count, bool *end_p, hp_error_t *err) {
    wk_unit_t unit = {0};
    int n = 0;
    double begin = hp_clock();
    set_asking(p, true);
    hp_status_t status = next_unit(p, count, &unit, &n, err);
    set_asking(p, false);
    double asked = hp_clock();
    const bool none = unit.last || unit.evaluate;
    hp_trace_span(p->options.row, HP_TRACE_WAIT, begin, asked,
                  none ? HP_TRACE_UNNUMBERED : unit.unit);
    if (status != HP_OK) return status;
    if (unit.last) {
        *end_p = true;
        return HP_OK;
    }
    int slot = (int)(count % (uint64_t)p->slots);
    if (unit.evaluate) {
        p->batch[slot] = (wk_batch_t){
            .step = unit.step, .evaluate = true, .part = unit.part, .parts = unit.parts};
        return HP_OK;
    }
    wk_sampler_unit(p->options.sampler, unit.unit, p->example);
    ask_for_images(p, n);
    HP_TRY(wk_batch_build(p->memory[slot], p->options.plan, p->reader, p->example, n,
                          &p->batch[slot], err));
    p->batch[slot].unit = unit.unit;
    p->batch[slot].step = unit.step;
    hp_trace_span(p->options.row, HP_TRACE_READ, asked, hp_clock(), unit.unit);
    return HP_OK;
}

static void *read_ahead(void *argument) {
    wk_prefetch_t *p = argument;
    for (;;) {
        pthread_mutex_lock(&p->mutex);
        while (!p->quit && p->filled - p->taken >= (uint64_t)p->options.depth)
            pthread_cond_wait(&p->changed, &p->mutex);
        bool quit = p->quit;
        uint64_t count = p->filled;
        pthread_mutex_unlock(&p->mutex);
        if (quit) return NULL;

        bool end = false;
        hp_error_t err = {0};
        hp_status_t status = fill(p, count, &end, &err);
        pthread_mutex_lock(&p->mutex);
        if (status != HP_OK) {
            p->status = status;
            p->err = err;
        } else if (!end) {
            p->filled++;
        }
        p->ended = end || status != HP_OK;
        bool ended = p->ended;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->mutex);
        if (ended) return NULL;
    }
}

static hp_status_t start(wk_prefetch_t *p, hp_error_t *err) {
    void *q = NULL;
    p->slots = p->options.depth + 1;
    HP_TRY(hp_allocate(&q, (size_t)p->options.plan->limits.questions, sizeof *p->example,
                       "examples of a batch", err));
    p->example = q;
    HP_TRY(hp_allocate(&q, (size_t)p->slots, sizeof *p->batch, "batches", err));
    p->batch = q;
    HP_TRY(hp_allocate(&q, (size_t)p->slots, sizeof(wk_batch_memory_t *), "batches", err));
    p->memory = q;
    for (int i = 0; i < p->slots; i++) HP_TRY(wk_batch_create(p->options.plan, &p->memory[i], err));
    HP_TRY(hp_store_reader_open(p->options.store, &p->reader, err));
    if (pthread_create(&p->thread, NULL, read_ahead, p) != 0)
        return hp_fail(err, HP_MEMORY, "cannot start the thread that reads ahead");
    p->started = true;
    return HP_OK;
}

hp_status_t wk_prefetch_open(const wk_prefetch_options_t *options, wk_prefetch_t **prefetch_p,
                             hp_error_t *err) {
    void *q = NULL;
    HP_TRY(hp_allocate(&q, 1, sizeof(wk_prefetch_t), "prefetcher", err));
    wk_prefetch_t *p = q;
    p->options = *options;
    if (p->options.depth < 1) p->options.depth = 1;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->changed, NULL);
    hp_status_t status = start(p, err);
    if (status != HP_OK) {
        wk_prefetch_close(p);
        return status;
    }
    *prefetch_p = p;
    return HP_OK;
}

hp_status_t wk_prefetch_take(wk_prefetch_t *p, const wk_batch_t **batch_p, hp_error_t *err) {
    hp_status_t status = HP_OK;
    pthread_mutex_lock(&p->mutex);
    while (p->filled == p->taken && !p->ended) {
        const bool unit = p->asking;
        double begin = hp_clock();
        pthread_cond_wait(&p->changed, &p->mutex);
        double end = hp_clock();
        *(unit ? &p->unit_s : &p->data_s) += end - begin;
        hp_trace_extend(p->options.taker_row, unit ? HP_TRACE_WAIT : HP_TRACE_DATA, begin, end,
                        HP_TRACE_UNNUMBERED);
    }
    if (p->filled > p->taken) {
        *batch_p = &p->batch[p->taken % (uint64_t)p->slots];
        p->taken++; /* frees the slot of the batch before */
        pthread_cond_broadcast(&p->changed);
    } else {
        *batch_p = NULL;
        status = p->status;
        if (status != HP_OK && err != NULL) *err = p->err;
    }
    pthread_mutex_unlock(&p->mutex);
    return status;
}

void wk_prefetch_waited(wk_prefetch_t *p, double *data_s, double *unit_s) {
    pthread_mutex_lock(&p->mutex);
    *data_s = p->data_s;
    *unit_s = p->unit_s;
    pthread_mutex_unlock(&p->mutex);
}

void wk_prefetch_close(wk_prefetch_t *p) {
    if (p == NULL) return;
    if (p->started) {
        pthread_mutex_lock(&p->mutex);
        p->quit = true;
        pthread_cond_broadcast(&p->changed);
        pthread_mutex_unlock(&p->mutex);
        pthread_join(p->thread, NULL);
    }
    hp_store_reader_close(p->reader);
    for (int i = 0; p->memory != NULL && i < p->slots; i++) wk_batch_destroy(p->memory[i]);
    hp_free(p->memory);
    hp_free(p->batch);
    hp_free(p->example);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    hp_free(p);
}
