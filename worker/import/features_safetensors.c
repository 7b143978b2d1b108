/* Features from a tensor of a safetensors file, with ids, ranges and boxes in others. */
#include "common/memory.h"
#include "common/store_convert.h"
#include "worker/import/features_source.h"
#include "worker/import/safetensors.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    wk_safetensors_t file;
    wk_tensor_t features, boxes;
    bool has_boxes;
    unsigned char *raw; /* an image as the file has it */
    long long *range;   /* ragged: [images][2] */
    int box_columns;
    float *box;
    hp_convert_level_t level;
} safetensors_t;

static void close_safetensors(void *source) {
    safetensors_t *s = source;
    wk_safetensors_close(&s->file);
    hp_free(s->raw);
    hp_free(s->range);
    hp_free(s->box);
    hp_free(s);
}

/* All of a tensor of whole numbers. The caller releases it. */
static hp_status_t read_whole(const wk_features_t *f, const safetensors_t *s, const wk_tensor_t *t,
                              long long **out_p, hp_error_t *err) {
    void *p = NULL, *raw = NULL;
    if ((t->type[0] != 'I' && t->type[0] != 'U') || t->count > UINT32_MAX)
        return hp_fail(err, HP_INPUT, "%s: tensor '%s' is of %s, whole numbers are expected",
                       f->options.path, t->name, t->type);
    size_t n = (size_t)t->count, size = (size_t)t->bytes;
    HP_TRY(hp_allocate(&p, n, sizeof(long long), "whole numbers", err));
    hp_status_t status = hp_allocate(&raw, n, size, "whole numbers", err);
    if (status == HP_OK) status = wk_safetensors_read(&s->file, t, 0, n, raw, err);
    for (size_t i = 0; status == HP_OK && i < n; i++) {
        uint64_t x = 0;
        memcpy(&x, (char *)raw + i * size, size);
        unsigned shift = 64 - 8 * (unsigned)size;
        ((long long *)p)[i] =
            t->type[0] == 'I' ? (int64_t)(x << shift) >> shift : (long long)(x & INT64_MAX);
    }
    hp_free(raw);
    if (status != HP_OK) {
        hp_free(p);
        return status;
    }
    *out_p = p;
    return HP_OK;
}

/* Rows [first, first + count) of a tensor along its first axis, as fp32. */
static hp_status_t read_rows(const safetensors_t *s, const wk_tensor_t *t, uint64_t first,
                             uint64_t count, float *out, hp_error_t *err) {
    uint64_t row = t->size[0] > 0 ? t->count / t->size[0] : 0;
    size_t n = (size_t)(row * count);
    HP_TRY(wk_safetensors_read(&s->file, t, first * row, n, s->raw, err));
    if (t->dtype != HP_DTYPE_NONE) {
        hp_convert_to_f32(s->level, t->dtype, s->raw, n, out);
        return HP_OK;
    }
    for (size_t i = 0; i < n; i++) {
        double x;
        memcpy(&x, s->raw + 8 * i, sizeof x);
        out[i] = (float)x;
    }
    return HP_OK;
}

static hp_status_t read_image(wk_features_t *f, uint64_t image, hp_error_t *err) {
    safetensors_t *s = f->source;
    uint64_t first = image, count = 1;
    if (s->range != NULL) {
        first = (uint64_t)s->range[2 * image];
        count = (uint64_t)s->range[2 * image + 1] - first;
        f->cells = (int)count;
    }
    HP_TRY(read_rows(s, &s->features, first, count, f->values, err));
    if (s->has_boxes) {
        HP_TRY(read_rows(s, &s->boxes, first, count, s->box, err));
        wk_features_take_boxes(f, s->box, s->box_columns);
    }
    return HP_OK;
}

/* ---- opening ------------------------------------------------------------------------------- */

static hp_status_t open_ranges(wk_features_t *f, safetensors_t *s, hp_error_t *err) {
    wk_tensor_t t;
    HP_TRY(wk_safetensors_find(&s->file, f->options.ranges_dataset, &t, err));
    if (t.dims != 2 || t.size[1] != 2 || t.size[0] == 0 || t.size[0] > UINT32_MAX - 1)
        return hp_fail(err, HP_INPUT, "%s: tensor '%s' is not [images][2]", f->options.path,
                       t.name);
    HP_TRY(read_whole(f, s, &t, &s->range, err));
    f->shape.channels = (int)s->features.size[1];
    return wk_features_check_ranges(f, s->range, t.size[0], s->features.size[0], err);
}

static hp_status_t open_features(wk_features_t *f, safetensors_t *s, hp_error_t *err) {
    wk_tensor_t *t = &s->features;
    char what[512];
    HP_TRY(wk_safetensors_find(&s->file, f->options.dataset, t, err));
    snprintf(what, sizeof what, "%s: tensor '%s'", f->options.path, t->name);
    if (strchr(t->type, 'F') == NULL)
        return hp_fail(err, HP_INPUT, "%s is of %s, expected F16, BF16, F32 or F64", what, t->type);
    f->shape.dtype = t->dtype;
    if (f->options.layout == WK_LAYOUT_RAGGED) {
        if (t->dims != 2 || t->size[1] == 0 || t->size[1] > 1 << 24)
            return hp_fail(err, HP_INPUT, "%s has %d axes; layout ragged has cells and channels",
                           what, t->dims);
        return open_ranges(f, s, err);
    }
    if (t->dims < 1 || t->size[0] == 0 || t->size[0] > UINT32_MAX - 1)
        return hp_fail(err, HP_INPUT, "%s has no images, or too many", what);
    f->shape.images = t->size[0];
    return wk_features_axes(f, t->dims - 1, t->size + 1, what, err);
}

static hp_status_t open_boxes(wk_features_t *f, safetensors_t *s, hp_error_t *err) {
    const char *name = f->options.boxes_dataset;
    void *p = NULL;
    if (name == NULL || name[0] == '\0') return HP_OK;
    HP_TRY(wk_safetensors_find(&s->file, name, &s->boxes, err));
    if (strchr(s->boxes.type, 'F') == NULL || s->boxes.dims != s->features.dims)
        return hp_fail(err, HP_INPUT, "%s: tensor '%s' has no boxes: %s of %d axes",
                       f->options.path, name, s->boxes.type, s->boxes.dims);
    HP_TRY(wk_features_check_boxes(f, s->boxes.dims, s->features.size, s->boxes.size,
                                   &s->box_columns, err));
    HP_TRY(hp_allocate(&p, (size_t)f->shape.cells * (size_t)s->box_columns, sizeof(float), "boxes",
                       err));
    s->box = p;
    s->has_boxes = true;
    return HP_OK;
}

static hp_status_t read_sizes(wk_features_t *f, safetensors_t *s, hp_error_t *err) {
    const char *name[2] = {f->options.width_dataset, f->options.height_dataset};
    void *p = NULL;
    if (name[0] == NULL || !f->shape.boxes) return HP_OK;
    HP_TRY(hp_allocate(&p, f->shape.images, 2 * sizeof(float), "sizes", err));
    f->sizes = p;
    for (int k = 0; k < 2; k++) {
        wk_tensor_t t;
        long long *whole = NULL;
        HP_TRY(wk_safetensors_find(&s->file, name[k], &t, err));
        if (t.dims != 1 || t.count != f->shape.images)
            return hp_fail(err, HP_INPUT, "%s: tensor '%s' has %llu sizes for %llu images",
                           f->options.path, name[k], (unsigned long long)t.count,
                           (unsigned long long)f->shape.images);
        if (strchr(t.type, 'F') == NULL) HP_TRY(read_whole(f, s, &t, &whole, err));
        hp_status_t status = HP_OK;
        for (uint64_t i = 0; status == HP_OK && i < t.count; i++) {
            float *to = &f->sizes[2 * i + (uint64_t)k];
            if (whole != NULL)
                *to = (float)whole[i];
            else
                status = read_rows(s, &t, i, 1, to, err);
        }
        hp_free(whole);
        HP_TRY(status);
    }
    return HP_OK;
}

static hp_status_t open_ids(wk_features_t *f, const safetensors_t *s, hp_error_t *err) {
    const char *name = f->options.ids_dataset;
    wk_tensor_t t;
    long long *id = NULL;
    char what[512], text[32];
    if (f->options.ids_file != NULL) return wk_features_add_file_ids(f, err);
    if (name == NULL || name[0] == '\0') return wk_features_add_row_ids(f, err);
    if (wk_safetensors_find(&s->file, name, &t, err) != HP_OK)
        return hp_fail_prefix(err, "the images' ids: give --ids-dataset NAME, '' where an image's "
                                   "id is its row, or --ids FILE");
    snprintf(what, sizeof what, "%s: tensor '%s'", f->options.path, name);
    if (t.count != f->shape.images)
        return hp_fail(err, HP_INPUT, "%s has %llu ids for %llu images", what,
                       (unsigned long long)t.count, (unsigned long long)f->shape.images);
    HP_TRY(read_whole(f, s, &t, &id, err));
    hp_status_t status = HP_OK;
    for (uint64_t i = 0; status == HP_OK && i < f->shape.images; i++) {
        snprintf(text, sizeof text, "%lld", id[i]);
        status = wk_features_add_name(f, text, what, err);
    }
    hp_free(id);
    return status;
}

hp_status_t wk_features_open_safetensors(wk_features_t *f, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(safetensors_t), "safetensors", err));
    safetensors_t *s = p;
    s->level = hp_convert_best();
    f->source = s;
    f->close = close_safetensors;
    f->read = read_image;
    HP_TRY(wk_safetensors_open(f->options.path, &s->file, err));
    HP_TRY(open_features(f, s, err));
    HP_TRY(open_boxes(f, s, err));
    size_t numbers = (size_t)f->shape.cells * (size_t)f->shape.channels;
    size_t boxes = s->has_boxes ? (size_t)f->shape.cells * (size_t)s->box_columns : 0;
    HP_TRY(hp_allocate(&p, numbers > boxes ? numbers : boxes, 8, "an image", err));
    s->raw = p;
    HP_TRY(read_sizes(f, s, err));
    return open_ids(f, s, err);
}
