#include "worker/weights.h"

#include "common/memory.h"
#include "common/store_convert.h"
#include "worker/import/json_lines.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

enum { MAX_HEADER = 64 << 20, MAX_BRACKETS = 64, SHAPE = 128 };

typedef struct {
    const char *path;
    int fd;
    uint64_t size, first; /* bytes of the file; where the tensors begin */
    yajl_val header;
    hp_error_t *err;
} file_t;

/* A tensor as the header tells of it. */
typedef struct {
    hp_dtype_t dtype;
    int dims;
    int64_t shape[HP_PARAM_DIMS];
    uint64_t begin, end; /* bytes after `first` */
} tensor_t;

static hp_status_t read_at(const file_t *f, void *out, uint64_t bytes, uint64_t at) {
    for (uint64_t done = 0; done < bytes;) {
        ssize_t n = pread(f->fd, (char *)out + done, bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return hp_fail_errno(f->err, HP_IO, "%s", f->path);
        if (n == 0) return hp_fail(f->err, HP_INPUT, "%s: truncated", f->path);
        done += (uint64_t)n;
    }
    return HP_OK;
}

static hp_status_t read_header(file_t *f) {
    struct stat st;
    uint64_t bytes = 0;
    void *text = NULL;
    char why[128] = "";
    if (fstat(f->fd, &st) != 0) return hp_fail_errno(f->err, HP_INPUT, "%s", f->path);
    f->size = (uint64_t)st.st_size;
    if (!S_ISREG(st.st_mode) || f->size < sizeof bytes)
        return hp_fail(f->err, HP_INPUT, "%s: no safetensors file: too short", f->path);
    HP_TRY(read_at(f, &bytes, sizeof bytes, 0));
    if (bytes < 2 || bytes > MAX_HEADER || bytes > f->size - sizeof bytes)
        return hp_fail(f->err, HP_INPUT,
                       "%s: no safetensors file: a header of %" PRIu64
                       " bytes in a file of %" PRIu64,
                       f->path, bytes, f->size);
    HP_TRY(hp_allocate(&text, bytes + 1, 1, "a header", f->err));
    hp_status_t status = read_at(f, text, bytes, sizeof bytes);
    f->first = sizeof bytes + bytes;
    if (status == HP_OK && wk_json_is_flat(text, MAX_BRACKETS))
        f->header = yajl_tree_parse(text, why, sizeof why);
    hp_free(text);
    if (status == HP_OK && !YAJL_IS_OBJECT(f->header))
        status =
            hp_fail(f->err, HP_INPUT, "%s: no safetensors file: its header is no JSON object: %.*s",
                    f->path, (int)strcspn(why, "\n"), why);
    return status;
}

static yajl_val member(yajl_val object, const char *key, yajl_type type) {
    return yajl_tree_get(object, (const char *[]){key, NULL}, type);
}

/* List of whole numbers from 0; -1: it is not one, or is longer. */
static int numbers(yajl_val list, int most, int64_t *out) {
    if (!YAJL_IS_ARRAY(list) || list->u.array.len > (size_t)most) return -1;
    for (size_t i = 0; i < list->u.array.len; i++) {
        yajl_val v = list->u.array.values[i];
        if (!YAJL_IS_INTEGER(v) || YAJL_GET_INTEGER(v) < 0) return -1;
        out[i] = YAJL_GET_INTEGER(v);
    }
    return (int)list->u.array.len;
}

static void write_shape(int dims, const int64_t *shape, char out[SHAPE]) {
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < dims && n < SHAPE - 1; i++)
        n += (size_t)snprintf(out + n, SHAPE - n, "%s%" PRId64, i > 0 ? " x " : "", shape[i]);
}

static hp_status_t parse_tensor(const file_t *f, const char *name, yajl_val value, tensor_t *t) {
    static const struct {
        const char *name;
        hp_dtype_t dtype;
    } types[] = {{"F32", HP_DTYPE_F32}, {"F16", HP_DTYPE_F16}, {"BF16", HP_DTYPE_BF16}};
    const char *type = YAJL_GET_STRING(member(value, "dtype", yajl_t_string));
    int64_t ends[2];
    *t = (tensor_t){.dtype = HP_DTYPE_NONE};
    t->dims = numbers(member(value, "shape", yajl_t_array), HP_PARAM_DIMS, t->shape);
    if (type == NULL || t->dims < 0 ||
        numbers(member(value, "data_offsets", yajl_t_array), 2, ends) != 2)
        return hp_fail(f->err, HP_INPUT,
                       "%s: %s: dtype, shape (%d axes at most) and data_offsets are expected",
                       f->path, name, HP_PARAM_DIMS);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(type, types[i].name) == 0) t->dtype = types[i].dtype;
    if (t->dtype == HP_DTYPE_NONE)
        return hp_fail(f->err, HP_INPUT, "%s: %s has dtype %.16s; allowed are F32, F16, BF16",
                       f->path, name, type);
    t->begin = (uint64_t)ends[0];
    t->end = (uint64_t)ends[1];
    if (t->begin > t->end || t->end > f->size - f->first)
        return hp_fail(f->err, HP_INPUT, "%s: %s lies beyond the file's end: truncated?", f->path,
                       name);
    return HP_OK;
}

static hp_status_t load(const file_t *f, const hp_param_t *p, const tensor_t *t, void *raw,
                        float *weights) {
    bool same = t->dims == p->dims;
    for (int i = 0; same && i < p->dims; i++) same = t->shape[i] == p->shape[i];
    char has[SHAPE], want[SHAPE];
    write_shape(t->dims, t->shape, has);
    write_shape(p->dims, p->shape, want);
    if (!same)
        return hp_fail(f->err, HP_INPUT, "%s: %s is %s, the model's is %s", f->path, p->name, has,
                       want);
    uint64_t bytes = (uint64_t)p->count * hp_dtype_size(t->dtype);
    if (t->end - t->begin != bytes)
        return hp_fail(f->err, HP_INPUT, "%s: %s has %" PRIu64 " bytes, expected %" PRIu64, f->path,
                       p->name, t->end - t->begin, bytes);
    HP_TRY(read_at(f, raw, bytes, f->first + t->begin));
    float *to = weights + p->offset;
    hp_convert_to_f32(hp_convert_best(), t->dtype, raw, (size_t)p->count, to);
    for (int64_t i = 0; i < p->count; i++)
        if (!isfinite(to[i]))
            return hp_fail(f->err, HP_INPUT, "%s: %s: number %" PRId64 " is not finite", f->path,
                           p->name, i);
    return HP_OK;
}

/* Names that no row has: another model's file. */
static hp_status_t check_names(const file_t *f, const hp_params_t *params) {
    static const char counter[] = "num_batches_tracked";
    if (f->header == NULL) return hp_fail(f->err, HP_INTERNAL, "%s: no header", f->path);
    for (size_t i = 0; i < f->header->u.object.len; i++) {
        const char *name = f->header->u.object.keys[i];
        size_t n = strlen(name), tail = sizeof counter - 1;
        bool counts = n >= tail && strcmp(name + n - tail, counter) == 0;
        if (strcmp(name, "__metadata__") != 0 && !counts && hp_params_find(params, name) < 0)
            return hp_fail(f->err, HP_INPUT, "%s: the model has no parameter '%.100s'", f->path,
                           name);
    }
    return HP_OK;
}

static hp_status_t read_all(file_t *f, const hp_params_t *params, void *raw, float *weights) {
    HP_TRY(read_header(f));
    HP_TRY(check_names(f, params));
    for (int i = 0; i < params->count; i++) {
        const hp_param_t *p = &params->param[i];
        yajl_val value = member(f->header, p->name, yajl_t_object);
        tensor_t t;
        if (value == NULL)
            return hp_fail(f->err, HP_INPUT, "%s: the parameter %s is missing", f->path, p->name);
        HP_TRY(parse_tensor(f, p->name, value, &t));
        HP_TRY(load(f, p, &t, raw, weights));
    }
    return HP_OK;
}

hp_status_t wk_weights_read(const char *path, const hp_params_t *params, float *weights,
                            hp_error_t *err) {
    int64_t largest = 1;
    void *raw = NULL;
    for (int i = 0; i < params->count; i++)
        if (params->param[i].count > largest) largest = params->param[i].count;
    file_t f = {.path = path, .err = err, .fd = open(path, O_RDONLY | O_CLOEXEC)};
    if (f.fd < 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
    memset(weights, 0, (size_t)params->total * sizeof *weights);
    hp_status_t status = hp_allocate(&raw, (size_t)largest, sizeof(float), "a parameter", err);
    if (status == HP_OK) status = read_all(&f, params, raw, weights);
    if (f.header != NULL) yajl_tree_free(f.header);
    hp_free(raw);
    close(f.fd);
    return status;
}
