/* Features from a store: one of images alone, as deploy/extract_features.py and
 * deploy/hanps_store.py write it, or one with other questions. */
#include "common/memory.h"
#include "worker/import/features_source.h"
#include "worker/import/pattern.h"

#include <stdio.h>
#include <unistd.h>

typedef struct {
    hp_store_t *store;
    hp_store_reader_t *reader;
} source_t;

static void close_store(void *source) {
    source_t *s = source;
    hp_store_reader_close(s->reader);
    hp_store_close(s->store);
    hp_free(s);
}

bool wk_features_is_store(const char *path) {
    char manifest[4096];
    int n = snprintf(manifest, sizeof manifest, "%s/manifest.pb", path);
    return n < (int)sizeof manifest && access(manifest, F_OK) == 0;
}

static hp_status_t read_image(wk_features_t *f, uint64_t image, hp_error_t *err) {
    const source_t *s = f->source;
    int boxes = 0;
    HP_TRY(hp_store_read_features(s->reader, (uint32_t)image, f->values, f->shape.cells, &f->cells,
                                  err));
    if (!f->shape.boxes) return HP_OK;
    HP_TRY(hp_store_read_boxes(s->reader, (uint32_t)image, f->boxes, f->shape.cells, &boxes, err));
    if (boxes == f->cells) return HP_OK;
    return hp_fail(err, HP_CORRUPT, "%s: image %s has %d cells and %d boxes", f->options.path,
                   wk_features_name(f, image), f->cells, boxes);
}

/* What says how a file is to be read says nothing about a store. */
static hp_status_t check_options(const wk_features_options_t *o, hp_error_t *err) {
    const char *what = o->raw_dims > 0            ? "a shape"
                       : o->ids_file != NULL      ? "a file of ids"
                       : o->width_dataset != NULL ? "images' sizes"
                                                  : NULL;
    if (what == NULL) return HP_OK;
    return hp_fail(err, HP_INPUT, "%s is a store: %s cannot be given", o->path, what);
}

static hp_status_t add_names(wk_features_t *f, hp_store_reader_t *reader, hp_error_t *err) {
    char id[512];
    wk_pattern_t pattern;
    HP_TRY(wk_pattern_parse(f->options.pattern, &pattern, err));
    for (uint64_t i = 0; i < f->shape.images; i++) {
        const char *name = NULL;
        HP_TRY(hp_store_read_image_name(reader, (uint32_t)i, &name, err));
        if (wk_pattern_match(&pattern, name, id, sizeof id)) name = id;
        HP_TRY(wk_features_add_name(f, name, f->options.path, err));
    }
    return HP_OK;
}

hp_status_t wk_features_open_store(wk_features_t *f, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(check_options(&f->options, err));
    HP_TRY(hp_allocate(&p, 1, sizeof(source_t), "a store", err));
    source_t *s = p;
    f->source = s;
    f->close = close_store;
    f->read = read_image;
    HP_TRY(hp_store_open(f->options.path, &s->store, err));
    HP_TRY(hp_store_reader_open(s->store, &s->reader, err));
    const hp_store_info_t *info = hp_store_info(s->store);
    if (info->feature_dtype == HP_DTYPE_NONE || info->images == 0)
        return hp_fail(err, HP_INPUT, "%s is a store without features", f->options.path);
    f->options.layout = WK_LAYOUT_NSC; /* cell by cell */
    f->fractions = true;
    f->shape = (wk_features_shape_t){.dtype = info->feature_dtype,
                                     .grid_height = info->grid_height,
                                     .grid_width = info->grid_width,
                                     .cells = info->max_cells,
                                     .channels = info->channels,
                                     .ragged = info->grid_height == 0,
                                     .boxes = info->boxes,
                                     .images = info->images};
    return add_names(f, s->reader, err);
}
