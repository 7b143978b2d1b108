/* Features from several sources, the images of one behind those of the other: bottom-up-attention's
 * four files, or one for train2014 and one for val2014. */
#include "common/memory.h"
#include "worker/import/features_source.h"

#include <string.h>

typedef struct {
    wk_features_t **part;
    uint64_t *first; /* image of each part */
    int parts;
} many_t;

static void close_many(void *source) {
    many_t *m = source;
    for (int i = 0; i < m->parts; i++) wk_features_close(m->part[i]);
    hp_free((void *)m->part);
    hp_free(m->first);
    hp_free(m);
}

static int part_of(const many_t *m, uint64_t image) {
    int i = m->parts - 1;
    while (m->first[i] > image) i--;
    return i;
}

static const char *path_of(const wk_features_t *f, uint64_t image) {
    const many_t *m = f->source;
    int i = part_of(m, image);
    return wk_features_path(m->part[i], image - m->first[i]);
}

static hp_status_t read_image(wk_features_t *f, uint64_t image, hp_error_t *err) {
    const many_t *m = f->source;
    int i = part_of(m, image);
    return wk_features_read(m->part[i], image - m->first[i], f->values, f->boxes, &f->cells, err);
}

static hp_status_t check_fit(const wk_features_t *first, const wk_features_t *now,
                             hp_error_t *err) {
    const wk_features_shape_t *a = wk_features_shape(first), *b = wk_features_shape(now);
    const char *what = a->channels != b->channels ? "numbers of channels"
                       : a->grid_height != b->grid_height || a->grid_width != b->grid_width
                           ? "grids"
                       : a->boxes != b->boxes ? "kinds of cells: with boxes and without"
                                              : NULL;
    if (what == NULL) return HP_OK;
    return hp_fail(err, HP_INPUT, "%s and %s have different %s", wk_features_path(first, 0),
                   wk_features_path(now, 0), what);
}

/* The part's images behind those that are there. */
static hp_status_t add_part(wk_features_t *f, const many_t *m, int part, hp_error_t *err) {
    const wk_features_t *now = m->part[part];
    const wk_features_shape_t *s = wk_features_shape(now);
    HP_TRY(check_fit(m->part[0], now, err));
    if (part == 0) f->shape = (wk_features_shape_t){.dtype = s->dtype, .cells = s->cells};
    f->shape.ragged |= s->ragged || s->cells != f->shape.cells;
    if (s->cells > f->shape.cells) f->shape.cells = s->cells;
    if (s->dtype != f->shape.dtype) f->shape.dtype = HP_DTYPE_NONE;
    f->shape.grid_height = s->grid_height;
    f->shape.grid_width = s->grid_width;
    f->shape.channels = s->channels;
    f->shape.boxes = s->boxes;
    m->first[part] = f->shape.images;
    f->shape.images += s->images;
    if (f->shape.images > UINT32_MAX - 1) return hp_fail(err, HP_INPUT, "too many images");
    for (uint64_t i = 0; i < s->images; i++) {
        const char *id = wk_features_name(now, i);
        int64_t twin = wk_features_find(f, id);
        if (twin >= 0)
            return hp_fail(err, HP_INPUT, "image %s is in %s and in %s", id,
                           path_of(f, (uint64_t)twin), wk_features_path(now, i));
        HP_TRY(wk_features_add_name(f, id, wk_features_path(now, i), err));
    }
    return HP_OK;
}

hp_status_t wk_features_open_many(wk_features_t *f, hp_error_t *err) {
    size_t count = 1;
    void *p = NULL;
    for (const wk_features_options_t *o = f->options.next; o != NULL; o = o->next) count++;
    HP_TRY(hp_allocate(&p, 1, sizeof(many_t), "features", err));
    many_t *m = p;
    f->source = m;
    f->close = close_many;
    f->read = read_image;
    f->path = path_of;
    HP_TRY(hp_allocate(&p, count, sizeof *m->part, "features", err));
    m->part = p;
    HP_TRY(hp_allocate(&p, count, sizeof *m->first, "features", err));
    m->first = p;
    for (const wk_features_options_t *o = &f->options; o != NULL; o = o->next) {
        wk_features_options_t one = *o;
        one.next = NULL;
        HP_TRY(wk_features_open(&one, &m->part[m->parts], err));
        m->parts++;
        HP_TRY(add_part(f, m, m->parts - 1, err));
    }
    f->options.layout = WK_LAYOUT_NSC; /* as they come out of the parts */
    f->fractions = true;
    return HP_OK;
}
