/* Features from a tensor of a safetensors file, with ids, ranges and boxes in others. The format:
 * u64 length of the header; the header, JSON: {"name": {"dtype": "F32", "shape": [..],
 * "data_offsets": [begin, end]}, ..}; the tensors' bytes, little-endian, row-major. */
#include "common/memory.h"
#include "common/store_convert.h"
#include "worker/import/features_source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <yajl/yajl_tree.h>

enum { DIMS = 8, MAX_HEADER = 64 << 20, MAX_DEPTH = 8 };

typedef struct {
    const char *name;
    char dtype[8];
    int bytes; /* of a number */
    int dims;
    uint64_t size[DIMS], count;
    uint64_t begin; /* in the file */
} tensor_t;

typedef struct {
    int fd;
    uint64_t size, first; /* of the file; where the tensors begin */
    yajl_val header;
    tensor_t features, boxes;
    bool has_boxes;
    unsigned char *raw; /* an image as the file has it */
    long long *range;   /* ragged: [images][2] */
    int box_columns;
    float *box;
    hp_convert_level_t level;
} safetensors_t;

static void close_safetensors(void *source) {
    safetensors_t *s = source;
    if (s->fd >= 0) close(s->fd);
    if (s->header != NULL) yajl_tree_free(s->header);
    hp_free(s->raw);
    hp_free(s->range);
    hp_free(s->box);
    hp_free(s);
}

static bool read_all(int fd, uint64_t at, void *out, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(fd, (char *)out + done, bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

static uint64_t get64(const unsigned char *p) {
    uint64_t x = 0;
    for (int i = 7; i >= 0; i--) x = x << 8 | p[i];
    return x;
}

bool wk_features_is_safetensors(const char *path) {
    unsigned char head[9] = {0};
    size_t n = strlen(path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool read = fd >= 0 && read_all(fd, 0, head, sizeof head);
    if (fd >= 0) close(fd);
    return (read && head[8] == '{' && get64(head) <= MAX_HEADER) ||
           (n > 12 && strcmp(path + n - 12, ".safetensors") == 0);
}

/* The parser's tree is released by recursion: what is nested too deeply is not given to it. */
static bool flat(const char *json) {
    int depth = 0;
    bool text = false;
    for (const char *p = json; *p != '\0'; p++) {
        if (text && *p == '\\' && p[1] != '\0')
            p++;
        else if (*p == '"')
            text = !text;
        else if (!text && (*p == '{' || *p == '['))
            depth++;
        else if (!text && (*p == '}' || *p == ']'))
            depth--;
        if (depth > MAX_DEPTH) return false;
    }
    return true;
}

static hp_status_t read_header(wk_features_t *f, safetensors_t *s, hp_error_t *err) {
    const char *path = f->options.path;
    unsigned char head[8];
    char why[200] = "it is no object";
    void *p = NULL;
    if (!read_all(s->fd, 0, head, sizeof head) || get64(head) < 2 ||
        get64(head) > s->size - sizeof head || get64(head) > MAX_HEADER)
        return hp_fail(err, HP_INPUT,
                       "%s: the first eight bytes are no length of a safetensors header", path);
    size_t bytes = (size_t)get64(head);
    s->first = sizeof head + bytes;
    HP_TRY(hp_allocate(&p, bytes + 1, 1, "a header", err));
    char *json = p;
    bool good = read_all(s->fd, sizeof head, json, bytes) && strlen(json) == bytes;
    if (good && !flat(json)) {
        good = false;
        snprintf(why, sizeof why, "it is nested too deeply");
    }
    if (good) s->header = yajl_tree_parse(json, why, sizeof why);
    hp_free(json);
    for (char *c = why; *c != '\0'; c++)
        if (*c == '\n') *c = ' ';
    if (!YAJL_IS_OBJECT(s->header))
        return hp_fail(err, HP_INPUT, "%s: a header that is not safetensors' JSON: %.80s", path,
                       why);
    return HP_OK;
}

static const struct {
    const char *name;
    int bytes;
} dtype_table[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"U64", 8},
                   {"I32", 4}, {"U32", 4}, {"I16", 2}, {"U16", 2},  {"I8", 1},  {"U8", 1}};

static yajl_val member(yajl_val object, const char *key) {
    const char *path[] = {key, NULL};
    return yajl_tree_get(object, path, yajl_t_any);
}

static bool whole(yajl_val v, uint64_t *out) {
    if (!YAJL_IS_INTEGER(v) || YAJL_GET_INTEGER(v) < 0) return false;
    *out = (uint64_t)YAJL_GET_INTEGER(v);
    return true;
}

static bool fill_tensor(const safetensors_t *s, yajl_val value, tensor_t *t) {
    yajl_val dtype = member(value, "dtype"), shape = member(value, "shape"),
             offsets = member(value, "data_offsets");
    uint64_t begin, end;
    if (!YAJL_IS_STRING(dtype) || !YAJL_IS_ARRAY(shape) || !YAJL_IS_ARRAY(offsets) ||
        shape->u.array.len > DIMS || offsets->u.array.len != 2)
        return false;
    for (size_t i = 0; i < sizeof dtype_table / sizeof *dtype_table; i++)
        if (strcmp(dtype_table[i].name, dtype->u.string) == 0) {
            snprintf(t->dtype, sizeof t->dtype, "%s", dtype_table[i].name);
            t->bytes = dtype_table[i].bytes;
        }
    if (t->bytes == 0) return false;
    t->dims = (int)shape->u.array.len;
    t->count = 1;
    for (int i = 0; i < t->dims; i++)
        if (!whole(shape->u.array.values[i], &t->size[i]) ||
            __builtin_mul_overflow(t->count, t->size[i], &t->count))
            return false;
    uint64_t need;
    if (!whole(offsets->u.array.values[0], &begin) || !whole(offsets->u.array.values[1], &end) ||
        __builtin_mul_overflow(t->count, (uint64_t)t->bytes, &need) || end < begin ||
        end - begin != need || end > s->size - s->first)
        return false;
    t->begin = s->first + begin;
    return true;
}

/* A file that was cut short lacks some tensor, not always one that is read. */
static hp_status_t check_ends(const wk_features_t *f, const safetensors_t *s, hp_error_t *err) {
    for (size_t i = 0; i < s->header->u.object.len; i++) {
        yajl_val offsets = member(s->header->u.object.values[i], "data_offsets");
        uint64_t end;
        if (YAJL_IS_ARRAY(offsets) && offsets->u.array.len == 2 &&
            whole(offsets->u.array.values[1], &end) && end > s->size - s->first)
            return hp_fail(
                err, HP_INPUT, "%s is truncated: a tensor ends at byte %llu, the file has %llu",
                f->options.path, (unsigned long long)(s->first + end), (unsigned long long)s->size);
    }
    return HP_OK;
}

static hp_status_t find_tensor(const wk_features_t *f, const safetensors_t *s, const char *name,
                               tensor_t *t, hp_error_t *err) {
    char list[200] = "";
    size_t used = 0;
    for (size_t i = 0; i < s->header->u.object.len; i++) {
        const char *key = s->header->u.object.keys[i];
        if (strcmp(key, "__metadata__") == 0) continue;
        if (strcmp(key, name) == 0) {
            *t = (tensor_t){.name = name};
            if (fill_tensor(s, s->header->u.object.values[i], t)) return HP_OK;
            return hp_fail(err, HP_INPUT,
                           "%s: tensor '%s': dtype, shape and data_offsets do not fit each other "
                           "or the file's %llu bytes",
                           f->options.path, name, (unsigned long long)s->size);
        }
        if (used + strlen(key) + 3 < sizeof list)
            used +=
                (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", key);
    }
    for (char *c = list; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
    return hp_fail(err, HP_INPUT, "%s: no tensor '%s'; it has: %s", f->options.path, name,
                   list[0] ? list : "none");
}

static hp_status_t unreadable(const wk_features_t *f, const char *name, hp_error_t *err) {
    return hp_fail(err, HP_INPUT,
                   "%s: tensor '%s' cannot be read: the file has changed, or the disk "
                   "fails",
                   f->options.path, name);
}

/* All of a tensor of whole numbers. The caller releases it. */
static hp_status_t read_whole(const wk_features_t *f, const safetensors_t *s, const tensor_t *t,
                              long long **out_p, hp_error_t *err) {
    void *p = NULL, *raw = NULL;
    if ((t->dtype[0] != 'I' && t->dtype[0] != 'U') || t->count > UINT32_MAX)
        return hp_fail(err, HP_INPUT, "%s: tensor '%s' is of %s, whole numbers are expected",
                       f->options.path, t->name, t->dtype);
    size_t n = (size_t)t->count, size = (size_t)t->bytes;
    HP_TRY(hp_allocate(&p, n, sizeof(long long), "whole numbers", err));
    hp_status_t status = hp_allocate(&raw, n, size, "whole numbers", err);
    if (status == HP_OK && !read_all(s->fd, t->begin, raw, n * size))
        status = unreadable(f, t->name, err);
    for (size_t i = 0; status == HP_OK && i < n; i++) {
        uint64_t x = 0;
        memcpy(&x, (char *)raw + i * size, size);
        unsigned shift = 64 - 8 * (unsigned)size;
        ((long long *)p)[i] =
            t->dtype[0] == 'I' ? (int64_t)(x << shift) >> shift : (long long)(x & INT64_MAX);
    }
    hp_free(raw);
    if (status != HP_OK) {
        hp_free(p);
        return status;
    }
    *out_p = p;
    return HP_OK;
}

static hp_dtype_t dtype_of(const tensor_t *t) {
    return strcmp(t->dtype, "F16") == 0    ? HP_DTYPE_F16
           : strcmp(t->dtype, "BF16") == 0 ? HP_DTYPE_BF16
           : strcmp(t->dtype, "F32") == 0  ? HP_DTYPE_F32
                                           : HP_DTYPE_NONE;
}

/* Rows [first, first + count) of a tensor along its first axis, as fp32. */
static hp_status_t read_rows(const wk_features_t *f, safetensors_t *s, const tensor_t *t,
                             uint64_t first, uint64_t count, float *out, hp_error_t *err) {
    uint64_t row = t->size[0] > 0 ? t->count / t->size[0] : 0;
    size_t n = (size_t)(row * count);
    if (!read_all(s->fd, t->begin + first * row * (uint64_t)t->bytes, s->raw, n * (size_t)t->bytes))
        return unreadable(f, t->name, err);
    if (dtype_of(t) != HP_DTYPE_NONE) {
        hp_convert_to_f32(s->level, dtype_of(t), s->raw, n, out);
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
    HP_TRY(read_rows(f, s, &s->features, first, count, f->values, err));
    if (s->has_boxes) {
        HP_TRY(read_rows(f, s, &s->boxes, first, count, s->box, err));
        wk_features_take_boxes(f, s->box, s->box_columns);
    }
    return HP_OK;
}

/* ---- opening ------------------------------------------------------------------------------- */

static hp_status_t open_ranges(wk_features_t *f, safetensors_t *s, hp_error_t *err) {
    tensor_t t;
    HP_TRY(find_tensor(f, s, f->options.ranges_dataset, &t, err));
    if (t.dims != 2 || t.size[1] != 2 || t.size[0] == 0 || t.size[0] > UINT32_MAX - 1)
        return hp_fail(err, HP_INPUT, "%s: tensor '%s' is not [images][2]", f->options.path,
                       t.name);
    HP_TRY(read_whole(f, s, &t, &s->range, err));
    f->shape.channels = (int)s->features.size[1];
    return wk_features_check_ranges(f, s->range, t.size[0], s->features.size[0], err);
}

static hp_status_t open_features(wk_features_t *f, safetensors_t *s, hp_error_t *err) {
    tensor_t *t = &s->features;
    char what[512];
    HP_TRY(find_tensor(f, s, f->options.dataset, t, err));
    snprintf(what, sizeof what, "%s: tensor '%s'", f->options.path, t->name);
    if (strchr(t->dtype, 'F') == NULL)
        return hp_fail(err, HP_INPUT, "%s is of %s, expected F16, BF16, F32 or F64", what,
                       t->dtype);
    f->shape.dtype = dtype_of(t);
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
    HP_TRY(find_tensor(f, s, name, &s->boxes, err));
    if (strchr(s->boxes.dtype, 'F') == NULL || s->boxes.dims != s->features.dims)
        return hp_fail(err, HP_INPUT, "%s: tensor '%s' has no boxes: %s of %d axes",
                       f->options.path, name, s->boxes.dtype, s->boxes.dims);
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
        tensor_t t;
        long long *whole = NULL;
        HP_TRY(find_tensor(f, s, name[k], &t, err));
        if (t.dims != 1 || t.count != f->shape.images)
            return hp_fail(err, HP_INPUT, "%s: tensor '%s' has %llu sizes for %llu images",
                           f->options.path, name[k], (unsigned long long)t.count,
                           (unsigned long long)f->shape.images);
        if (strchr(t.dtype, 'F') == NULL) HP_TRY(read_whole(f, s, &t, &whole, err));
        hp_status_t status = HP_OK;
        for (uint64_t i = 0; status == HP_OK && i < t.count; i++) {
            float *to = &f->sizes[2 * i + (uint64_t)k];
            if (whole != NULL)
                *to = (float)whole[i];
            else
                status = read_rows(f, s, &t, i, 1, to, err);
        }
        hp_free(whole);
        HP_TRY(status);
    }
    return HP_OK;
}

static hp_status_t open_ids(wk_features_t *f, const safetensors_t *s, hp_error_t *err) {
    const char *name = f->options.ids_dataset;
    tensor_t t;
    long long *id = NULL;
    char what[512], text[32];
    if (f->options.ids_file != NULL) return wk_features_add_file_ids(f, err);
    if (name == NULL || name[0] == '\0') return wk_features_add_row_ids(f, err);
    if (find_tensor(f, s, name, &t, err) != HP_OK)
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
    struct stat st;
    HP_TRY(hp_allocate(&p, 1, sizeof(safetensors_t), "safetensors", err));
    safetensors_t *s = p;
    s->level = hp_convert_best();
    f->source = s;
    f->close = close_safetensors;
    f->read = read_image;
    s->fd = open(f->options.path, O_RDONLY | O_CLOEXEC);
    if (s->fd < 0 || fstat(s->fd, &st) != 0)
        return hp_fail_errno(err, HP_INPUT, "%s", f->options.path);
    s->size = (uint64_t)st.st_size;
    HP_TRY(read_header(f, s, err));
    HP_TRY(check_ends(f, s, err));
    HP_TRY(open_features(f, s, err));
    HP_TRY(open_boxes(f, s, err));
    size_t numbers = (size_t)f->shape.cells * (size_t)f->shape.channels;
    size_t boxes = s->has_boxes ? (size_t)f->shape.cells * (size_t)s->box_columns : 0;
    HP_TRY(hp_allocate(&p, numbers > boxes ? numbers : boxes, 8, "an image", err));
    s->raw = p;
    HP_TRY(read_sizes(f, s, err));
    return open_ids(f, s, err);
}
