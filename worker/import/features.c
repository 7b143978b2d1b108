#include "worker/import/features.h"

#include "common/memory.h"
#include "worker/import/features_source.h"
#include "worker/import/pattern.h"
#include "worker/import/safetensors.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
    const char *name;
    int dims;                           /* without N */
    int height, width, cells, channels; /* axes, -1: none */
} layout_table[WK_LAYOUTS] = {
    {"nhwc", 3, 0, 1, -1, 2},     {"nchw", 3, 1, 2, -1, 0},    {"ncellsc", 2, -1, -1, 0, 1},
    {"nccells", 2, -1, -1, 1, 0}, {"ragged", 1, -1, -1, 0, 0},
};

const char *wk_layout_name(wk_layout_t layout) { return layout_table[layout].name; }

hp_status_t wk_layout_parse(const char *name, wk_layout_t *layout_p, hp_error_t *err) {
    for (int i = 0; i < WK_LAYOUTS; i++)
        if (strcmp(layout_table[i].name, name) == 0) {
            *layout_p = (wk_layout_t)i;
            return HP_OK;
        }
    return hp_fail(err, HP_INPUT, "layout '%s': allowed are nhwc, nchw, ncellsc, nccells, ragged",
                   name);
}

hp_status_t wk_features_axes(wk_features_t *f, int dims, const uint64_t *size, const char *what,
                             hp_error_t *err) {
    int layout = (int)f->options.layout;
    if (dims != layout_table[layout].dims)
        return hp_fail(err, HP_INPUT, "%s has %d axes an image; layout %s has %d", what, dims,
                       layout_table[layout].name, layout_table[layout].dims);
    uint64_t total = 1;
    for (int i = 0; i < dims; i++) {
        if (size[i] == 0 || size[i] > 1 << 24 || (total *= size[i]) > 1 << 28)
            return hp_fail(err, HP_INPUT, "%s: an axis of %llu, which is too much or nothing", what,
                           (unsigned long long)size[i]);
    }
    wk_features_shape_t *s = &f->shape;
    s->channels = (int)size[layout_table[layout].channels];
    s->cells = (int)(total / (uint64_t)s->channels);
    if (layout_table[layout].cells < 0) {
        s->grid_height = (int)size[layout_table[layout].height];
        s->grid_width = (int)size[layout_table[layout].width];
    } else {
        s->grid_height = f->options.grid_height;
        s->grid_width = f->options.grid_width;
        if ((int64_t)s->grid_height * s->grid_width != s->cells && s->grid_height != 0)
            return hp_fail(err, HP_INPUT, "%s has %d cells, which is no grid of %dx%d", what,
                           s->cells, s->grid_height, s->grid_width);
    }
    return HP_OK;
}

hp_status_t wk_features_add_name(wk_features_t *f, const char *id, const char *what,
                                 hp_error_t *err) {
    uint32_t number = 0, before = f->names.count;
    char name[600];
    if (f->options.numbered != NULL && id[0] != '\0' && id[strspn(id, "0123456789")] == '\0') {
        wk_pattern_t pattern;
        HP_TRY(wk_pattern_parse(f->options.numbered, &pattern, err));
        if (!wk_pattern_make(&pattern, id, name, sizeof name))
            return hp_fail(err, HP_INPUT, "%s: id %s is too long", what, id);
        id = name;
    }
    if (id[0] == '\0') return hp_fail(err, HP_INPUT, "%s: row %u: an empty id", what, before);
    HP_TRY(wk_strings_add(&f->names, id, strlen(id), &number, err));
    if (f->names.count == before)
        return hp_fail(err, HP_INPUT, "%s: id %s stands at row %u and again at row %llu", what, id,
                       number, (unsigned long long)before);
    return HP_OK;
}

hp_status_t wk_features_add_row_ids(wk_features_t *f, hp_error_t *err) {
    char text[32];
    for (uint64_t i = 0; i < f->shape.images; i++) {
        snprintf(text, sizeof text, "%llu", (unsigned long long)i);
        HP_TRY(wk_features_add_name(f, text, "rows", err));
    }
    return HP_OK;
}

hp_status_t wk_features_add_file_ids(wk_features_t *f, hp_error_t *err) {
    const char *path = f->options.ids_file;
    char line[512], id[512];
    wk_pattern_t pattern;
    HP_TRY(wk_pattern_parse(f->options.pattern, &pattern, err));
    FILE *file = fopen(path, "re");
    if (file == NULL) return hp_fail_errno(err, HP_INPUT, "%s", path);
    hp_status_t status = HP_OK;
    while (status == HP_OK && fgets(line, sizeof line, file) != NULL) {
        size_t n = strcspn(line, "\r\n");
        if (line[n] == '\0' && n + 1 == sizeof line)
            status =
                hp_fail(err, HP_INPUT, "%s, line %u: too long for an id", path, f->names.count + 1);
        line[n] = '\0';
        const char *name = wk_pattern_match(&pattern, line, id, sizeof id) ? id : line;
        if (status == HP_OK) status = wk_features_add_name(f, name, path, err);
    }
    fclose(file);
    if (status == HP_OK && f->names.count != f->shape.images)
        status = hp_fail(err, HP_INPUT, "%s has %u ids for %llu images", path, f->names.count,
                         (unsigned long long)f->shape.images);
    return status;
}

hp_status_t wk_features_check_ranges(wk_features_t *f, const long long *range, uint64_t images,
                                     uint64_t total, hp_error_t *err) {
    f->shape.ragged = true;
    f->shape.images = images;
    for (uint64_t i = 0; i < images; i++) {
        long long first = range[2 * i], end = range[2 * i + 1];
        if (first < 0 || end <= first || (uint64_t)end > total ||
            (end - first) > (1 << 28) / f->shape.channels)
            return hp_fail(err, HP_INPUT,
                           "%s: '%s', row %llu: cells %lld to %lld of %llu: a range that is empty, "
                           "too large or outside",
                           f->options.path, f->options.ranges_dataset, (unsigned long long)i, first,
                           end, (unsigned long long)total);
        if (end - first > f->shape.cells) f->shape.cells = (int)(end - first);
    }
    return HP_OK;
}

hp_status_t wk_features_check_boxes(wk_features_t *f, int dims, const uint64_t *size,
                                    const uint64_t *box_size, int *columns_p, hp_error_t *err) {
    int columns = f->options.layout == WK_LAYOUT_NCS ? 1 : dims - 1;
    bool same =
        f->options.layout >= WK_LAYOUT_NSC && box_size[columns] >= 4 && box_size[columns] < 1000;
    for (int i = 0; i < dims; i++) same = same && (i == columns || box_size[i] == size[i]);
    if (!same)
        return hp_fail(err, HP_INPUT,
                       "%s: dataset '%s' has no box for each cell: axes as those of '%s' are "
                       "expected, with 4 columns or more for the channels",
                       f->options.path, f->options.boxes_dataset, f->options.dataset);
    *columns_p = (int)box_size[columns];
    f->shape.boxes = true;
    return HP_OK;
}

void wk_features_take_boxes(wk_features_t *f, const float *box, int columns) {
    bool columns_first = f->options.layout == WK_LAYOUT_NCS;
    for (int i = 0; i < f->cells; i++)
        for (int k = 0; k < 4; k++)
            f->boxes[4 * i + k] = box[columns_first ? k * f->shape.cells + i : i * columns + k];
}

static hp_status_t open_source(wk_features_t *f, bool folder, hp_error_t *err) {
    const char *path = f->options.path;
    if (f->options.next != NULL) return wk_features_open_many(f, err);
    if (folder && wk_features_is_store(path)) return wk_features_open_store(f, err);
    if (folder) return wk_features_open_folder(f, err);
    if (wk_features_is_hdf5(path)) return wk_features_open_apart(f, err);
    if (f->options.raw_dims > 0)
        return hp_fail(err, HP_INPUT, "%s: a shape is for a folder with a raw file for each image",
                       path);
    if (wk_safetensors_is(path)) return wk_features_open_safetensors(f, err);
    if (wk_features_is_tsv(path)) return wk_features_open_tsv(f, err);
    return hp_fail(err, HP_INPUT, "%s is no HDF5, safetensors or TSV file with features", path);
}

static hp_status_t make_room(wk_features_t *f, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)f->shape.cells * (size_t)f->shape.channels, sizeof(float),
                       "the features of an image", err));
    f->values = p;
    HP_TRY(hp_allocate(&p, (size_t)f->shape.cells * 4, sizeof(float), "boxes", err));
    f->boxes = p;
    return HP_OK;
}

hp_status_t wk_features_open(const wk_features_options_t *options, wk_features_t **features_p,
                             hp_error_t *err) {
    struct stat st;
    if (stat(options->path, &st) != 0) return hp_fail_errno(err, HP_INPUT, "%s", options->path);
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(wk_features_t), "features", err));
    wk_features_t *f = p;
    f->options = *options;
    hp_status_t status = open_source(f, S_ISDIR(st.st_mode), err);
    if (status == HP_OK && f->names.count != f->shape.images)
        status = hp_fail(err, HP_INTERNAL, "%s: %u ids", options->path, f->names.count);
    if (status == HP_OK && f->values == NULL) status = make_room(f, err);
    if (status != HP_OK) {
        wk_features_close(f);
        return status;
    }
    *features_p = f;
    return HP_OK;
}

void wk_features_close(wk_features_t *features) {
    if (features == NULL) return;
    if (features->source != NULL) features->close(features->source);
    wk_strings_release(&features->names);
    hp_free(features->values);
    hp_free(features->boxes);
    hp_free(features->sizes);
    hp_free(features);
}

const wk_features_shape_t *wk_features_shape(const wk_features_t *f) { return &f->shape; }

const char *wk_features_path(const wk_features_t *f, uint64_t image) {
    return f->path != NULL ? f->path(f, image) : f->options.path;
}

const char *wk_features_name(const wk_features_t *f, uint64_t image) {
    return wk_strings_get(&f->names, (uint32_t)image);
}

int64_t wk_features_find(const wk_features_t *f, const char *id) {
    return wk_strings_find(&f->names, id, strlen(id));
}

/* in [rows][columns] -> out [columns][rows], in blocks that stay in the cache. */
static void transpose(const float *in, size_t rows, size_t columns, float *out) {
    enum { BLOCK = 16 };
    for (size_t r0 = 0; r0 < rows; r0 += BLOCK)
        for (size_t c0 = 0; c0 < columns; c0 += BLOCK)
            for (size_t c = c0; c < columns && c < c0 + BLOCK; c++)
                for (size_t r = r0; r < rows && r < r0 + BLOCK; r++)
                    out[c * rows + r] = in[r * columns + c];
}

/* Stored in reverse: (C, W, H) of hwc, (W, H, C) of chw. */
static void from_fortran(const wk_features_t *f, bool channels_first, float *out) {
    size_t cells = (size_t)f->cells, channels = (size_t)f->shape.channels;
    size_t height = layout_table[f->options.layout].cells < 0 ? (size_t)f->shape.grid_height : 1;
    size_t width = cells / height;
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            for (size_t c = 0; c < channels; c++)
                out[(y * width + x) * channels + c] =
                    channels_first ? f->values[(x * height + y) * channels + c]
                                   : f->values[(c * width + x) * height + y];
}

/* The image's boxes, as fractions where its size is known. */
static hp_status_t take_boxes(wk_features_t *f, uint64_t image, float *boxes, hp_error_t *err) {
    const float *size = f->sizes != NULL ? f->sizes + 2 * image : f->size;
    size_t n = 4 * (size_t)f->cells;
    memcpy(boxes, f->boxes, n * sizeof *boxes);
    if (f->options.width_dataset == NULL || f->fractions) return HP_OK;
    if (!(size[0] >= 1 && size[1] >= 1))
        return hp_fail(err, HP_INPUT, "%s: image %s: a width of %g, a height of %g",
                       f->options.path, wk_features_name(f, image), (double)size[0],
                       (double)size[1]);
    for (size_t i = 0; i < n; i++) boxes[i] /= size[i % 2];
    return HP_OK;
}

hp_status_t wk_features_read(wk_features_t *f, uint64_t image, float *out, float *boxes,
                             int *cells_p, hp_error_t *err) {
    f->cells = f->shape.cells;
    HP_TRY(f->read(f, image, err));
    size_t cells = (size_t)f->cells, channels = (size_t)f->shape.channels;
    bool channels_first = !f->shape.ragged && layout_table[f->options.layout].channels == 0;
    if (f->fortran)
        from_fortran(f, channels_first, out);
    else if (channels_first)
        transpose(f->values, channels, cells, out);
    else
        memcpy(out, f->values, cells * channels * sizeof *out);
    if (f->shape.boxes) HP_TRY(take_boxes(f, image, boxes, err));
    *cells_p = f->cells;
    return HP_OK;
}
