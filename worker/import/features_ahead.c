#include "worker/import/features_ahead.h"

#include "common/memory.h"
#include "common/store_convert.h"

#include <pthread.h>

#define AHEAD_BYTES ((size_t)64 << 20)
enum { MAX_SLOTS = 1024 };

typedef struct {
    unsigned char *payload;
    float *boxes;
    int cells;
} slot_t;

/* A ring, as worker/data/prefetch.c has it: the writer holds slot (taken - 1) % slots. */
struct wk_features_ahead {
    wk_features_t *features;
    wk_features_shape_t shape;
    hp_dtype_t dtype;
    hp_convert_level_t level;
    uint64_t first;
    float *values; /* an image as fp32 */
    slot_t *slot;  /* [slots] */
    uint64_t slots;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    pthread_t thread;
    bool started;
    /* below: under the mutex */
    uint64_t filled, taken;
    bool quit, failed;
    hp_status_t status;
    hp_error_t err;
};

static hp_status_t read_image(wk_features_ahead_t *a, uint64_t image, slot_t *slot,
                              hp_error_t *err) {
    size_t channels = (size_t)a->shape.channels;
    HP_TRY(wk_features_read(a->features, image, a->values, slot->boxes, &slot->cells, err));
    size_t n = (size_t)slot->cells * channels, bad = hp_convert_find_bad(a->dtype, a->values, n);
    if (bad < n)
        return hp_fail(err, HP_INPUT, "%s: image %s, cell %zu, channel %zu: %g %s %s",
                       wk_features_path(a->features, image), wk_features_name(a->features, image),
                       bad / channels, bad % channels, (double)a->values[bad],
                       "is no finite number of dtype", hp_dtype_name(a->dtype));
    hp_convert_from_f32(a->level, a->dtype, a->values, n, slot->payload);
    return HP_OK;
}

static void *read_ahead(void *argument) {
    wk_features_ahead_t *a = argument;
    for (uint64_t image = a->first; image < a->shape.images; image++) {
        pthread_mutex_lock(&a->mutex);
        /* one slot more than are filled: the writer still holds the one before */
        while (!a->quit && a->filled - a->taken + 1 >= a->slots)
            pthread_cond_wait(&a->changed, &a->mutex);
        bool quit = a->quit;
        slot_t *slot = &a->slot[a->filled % a->slots];
        pthread_mutex_unlock(&a->mutex);
        if (quit) return NULL;
        hp_error_t err = {0};
        hp_status_t status = read_image(a, image, slot, &err);
        pthread_mutex_lock(&a->mutex);
        if (status == HP_OK)
            a->filled++;
        else
            a->status = status, a->err = err;
        a->failed = status != HP_OK;
        pthread_cond_broadcast(&a->changed);
        pthread_mutex_unlock(&a->mutex);
        if (status != HP_OK) return NULL;
    }
    return NULL;
}

static hp_status_t start(wk_features_ahead_t *a, hp_error_t *err) {
    size_t numbers = (size_t)a->shape.cells * (size_t)a->shape.channels;
    size_t bytes = numbers * hp_dtype_size(a->dtype);
    void *p = NULL;
    a->slots = AHEAD_BYTES / bytes < 2 ? 3 : AHEAD_BYTES / bytes + 1;
    if (a->slots > MAX_SLOTS) a->slots = MAX_SLOTS;
    HP_TRY(hp_allocate(&p, numbers, sizeof(float), "features", err));
    a->values = p;
    HP_TRY(hp_allocate(&p, a->slots, sizeof *a->slot, "features", err));
    a->slot = p;
    for (uint64_t i = 0; i < a->slots; i++) {
        HP_TRY(hp_allocate(&p, bytes, 1, "features", err));
        a->slot[i].payload = p;
        HP_TRY(hp_allocate(&p, (size_t)a->shape.cells, 4 * sizeof(float), "boxes", err));
        a->slot[i].boxes = p;
    }
    if (pthread_create(&a->thread, NULL, read_ahead, a) != 0)
        return hp_fail(err, HP_MEMORY, "cannot start the thread that reads features ahead");
    a->started = true;
    return HP_OK;
}

hp_status_t wk_features_ahead_open(wk_features_t *features, hp_dtype_t dtype, uint64_t first,
                                   wk_features_ahead_t **ahead_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(wk_features_ahead_t), "features", err));
    wk_features_ahead_t *a = p;
    a->features = features;
    a->shape = *wk_features_shape(features);
    a->dtype = dtype;
    a->level = hp_convert_best();
    a->first = first;
    pthread_mutex_init(&a->mutex, NULL);
    pthread_cond_init(&a->changed, NULL);
    hp_status_t status = start(a, err);
    if (status != HP_OK) {
        wk_features_ahead_close(a);
        return status;
    }
    *ahead_p = a;
    return HP_OK;
}

void wk_features_ahead_close(wk_features_ahead_t *a) {
    if (a == NULL) return;
    if (a->started) {
        pthread_mutex_lock(&a->mutex);
        a->quit = true;
        pthread_cond_broadcast(&a->changed);
        pthread_mutex_unlock(&a->mutex);
        pthread_join(a->thread, NULL);
    }
    for (uint64_t i = 0; a->slot != NULL && i < a->slots; i++) {
        hp_free(a->slot[i].payload);
        hp_free(a->slot[i].boxes);
    }
    hp_free(a->slot);
    hp_free(a->values);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->mutex);
    hp_free(a);
}

hp_status_t wk_features_ahead_take(wk_features_ahead_t *a, wk_features_image_t *image,
                                   hp_error_t *err) {
    hp_status_t status = HP_OK;
    pthread_mutex_lock(&a->mutex);
    if (a->first + a->taken >= a->shape.images) {
        pthread_mutex_unlock(&a->mutex);
        return hp_fail(err, HP_INTERNAL, "features are read beyond the last image");
    }
    while (a->filled == a->taken && !a->failed) pthread_cond_wait(&a->changed, &a->mutex);
    if (a->filled > a->taken) {
        const slot_t *slot = &a->slot[a->taken % a->slots];
        *image =
            (wk_features_image_t){slot->payload, a->shape.boxes ? slot->boxes : NULL, slot->cells};
        a->taken++;
        pthread_cond_broadcast(&a->changed);
    } else {
        status = a->status;
        if (err != NULL) *err = a->err;
    }
    pthread_mutex_unlock(&a->mutex);
    return status;
}
