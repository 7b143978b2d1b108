#include "worker/weights.h"

#include "common/memory.h"
#include "common/store_convert.h"
#include "worker/import/npy.h"
#include "worker/import/npz.h"
#include "worker/import/safetensors.h"

#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NPY_HEAD = 4096, SHAPE = 192 }; /* bytes; numpy's own heads have 128 */

typedef struct {
    const char *path;
    wk_safetensors_t safetensors; /* of which there is none where it is an .npz */
    int zip;                      /* -1: it is none */
    uint64_t size;
    unsigned char *raw; /* room for any parameter, with an .npy's head */
    hp_error_t *err;
} file_t;

/* A parameter as the file has it. */
typedef struct {
    hp_dtype_t dtype;
    char type[8]; /* in the file's words */
    int dims;
    const uint64_t *size;
} shape_t;

static void write_shape(int dims, const uint64_t *size, char out[SHAPE]) {
    size_t n = 0;
    snprintf(out, SHAPE, "%s", dims == 0 ? "one number" : "");
    for (int i = 0; i < dims && n < SHAPE - 1; i++)
        n += (size_t)snprintf(out + n, SHAPE - n, "%s%" PRIu64, i > 0 ? " x " : "", size[i]);
}

static hp_status_t check(const file_t *f, const hp_param_t *p, const shape_t *s) {
    uint64_t size[HP_PARAM_DIMS] = {0};
    bool same = s->dims == p->dims;
    for (int i = 0; i < p->dims; i++) size[i] = (uint64_t)p->shape[i];
    for (int i = 0; same && i < p->dims; i++) same = s->size[i] == size[i];
    char has[SHAPE], want[SHAPE];
    write_shape(s->dims, s->size, has);
    write_shape(p->dims, size, want);
    if (!same)
        return hp_fail(f->err, HP_INPUT, "%s: %s is %s, the model's is %s", f->path, p->name, has,
                       want);
    if (s->dtype == HP_DTYPE_NONE)
        return hp_fail(f->err, HP_INPUT, "%s: %s has dtype %s; allowed are %s", f->path, p->name,
                       s->type, f->zip >= 0 ? "<f4, <f2" : "F32, F16, BF16");
    return HP_OK;
}

/* The numbers of a parameter, from f->raw + at on. */
static hp_status_t convert(const file_t *f, const hp_param_t *p, const shape_t *s, size_t at,
                           float *to) {
    hp_convert_to_f32(hp_convert_best(), s->dtype, f->raw + at, (size_t)p->count, to);
    for (int64_t i = 0; i < p->count; i++)
        if (!isfinite(to[i]))
            return hp_fail(f->err, HP_INPUT, "%s: %s: number %" PRId64 " is not finite", f->path,
                           p->name, i);
    return HP_OK;
}

/* To `to`; NULL: only whether the file has it. */
static hp_status_t load_tensor(const file_t *f, const hp_param_t *p, float *to) {
    wk_tensor_t t;
    HP_TRY(wk_safetensors_find(&f->safetensors, p->name, &t, f->err));
    shape_t s = {.dtype = t.dtype, .dims = t.dims, .size = t.size};
    snprintf(s.type, sizeof s.type, "%s", t.type);
    HP_TRY(check(f, p, &s));
    if (to == NULL) return HP_OK;
    HP_TRY(wk_safetensors_read(&f->safetensors, &t, 0, t.count, f->raw, f->err));
    return convert(f, p, &s, 0, to);
}

static hp_status_t load_array(const file_t *f, const hp_param_t *p, float *to) {
    unsigned char head[NPY_HEAD];
    wk_npz_member_t m;
    wk_npy_t npy;
    if (wk_npz_find(f->zip, f->size, p->name, false, &m, f->err) != HP_OK)
        return hp_fail_prefix(f->err, "%s", f->path);
    size_t n = m.bytes < NPY_HEAD ? (size_t)m.bytes : NPY_HEAD;
    hp_status_t status = wk_npz_read(f->zip, &m, head, n, f->err);
    if (status == HP_OK) status = wk_npy_parse(head, n, &npy, f->err);
    if (status != HP_OK) return hp_fail_prefix(f->err, "%s: %s", f->path, p->name);
    bool known = npy.type == 'f' && !npy.big_endian;
    shape_t s = {.dtype = known && npy.bytes == 4   ? HP_DTYPE_F32
                          : known && npy.bytes == 2 ? HP_DTYPE_F16
                                                    : HP_DTYPE_NONE,
                 .dims = npy.dims,
                 .size = npy.size};
    snprintf(s.type, sizeof s.type, "%c%c%d", npy.big_endian ? '>' : '<', npy.type, npy.bytes);
    HP_TRY(check(f, p, &s));
    if (npy.fortran && npy.dims > 1)
        return hp_fail(f->err, HP_INPUT,
                       "%s: %s is in Fortran order; numpy.ascontiguousarray makes it C's", f->path,
                       p->name);
    uint64_t bytes = npy.offset + npy.count * (uint64_t)npy.bytes;
    if (m.bytes != bytes)
        return hp_fail(f->err, HP_INPUT, "%s: %s has %" PRIu64 " bytes, expected %" PRIu64, f->path,
                       p->name, m.bytes, bytes);
    if (to == NULL) return HP_OK;
    if (wk_npz_read(f->zip, &m, f->raw, (size_t)bytes, f->err) != HP_OK)
        return hp_fail_prefix(f->err, "%s: %s", f->path, p->name);
    return convert(f, p, &s, npy.offset, to);
}

/* Names that no row has: another model's file. */
static hp_status_t check_names(const file_t *f, const hp_params_t *params,
                               const wk_strings_t *names) {
    static const char counter[] = "num_batches_tracked";
    for (uint32_t i = 0; i < names->count; i++) {
        const char *name = wk_strings_get(names, i);
        size_t n = strlen(name), tail = sizeof counter - 1;
        bool counts = n >= tail && strcmp(name + n - tail, counter) == 0;
        if (!counts && hp_params_find(params, name) < 0)
            return hp_fail(f->err, HP_INPUT, "%s: the model has no parameter '%.100s'", f->path,
                           name);
    }
    return HP_OK;
}

static hp_status_t open_file(file_t *f, const hp_params_t *params) {
    wk_strings_t names = {0};
    hp_status_t status;
    if (f->zip >= 0) {
        status = wk_npz_names(f->zip, f->size, &names, f->err);
        if (status != HP_OK) hp_fail_prefix(f->err, "%s", f->path);
    } else {
        status = wk_safetensors_open(f->path, &f->safetensors, f->err);
        if (status == HP_OK) status = wk_safetensors_names(&f->safetensors, &names, f->err);
    }
    if (status == HP_OK) status = check_names(f, params, &names);
    wk_strings_release(&names);
    return status;
}

/* All of them to where they belong in weights[params->total]; NULL: only whether they are there. */
static hp_status_t load_all(const file_t *f, const hp_params_t *params, float *weights) {
    for (int i = 0; i < params->count; i++) {
        const hp_param_t *p = &params->param[i];
        float *to = weights != NULL ? weights + p->offset : NULL;
        HP_TRY(f->zip < 0 ? load_tensor(f, p, to) : load_array(f, p, to));
    }
    return HP_OK;
}

static hp_status_t read_file(file_t *f, const hp_params_t *params, float **weights_p) {
    size_t largest = 1;
    void *raw = NULL, *weights = NULL;
    for (int i = 0; i < params->count; i++)
        if ((size_t)params->param[i].count > largest) largest = (size_t)params->param[i].count;
    HP_TRY(open_file(f, params));
    HP_TRY(load_all(f, params, NULL));
    HP_TRY(hp_allocate(&raw, NPY_HEAD + largest * sizeof(float), 1, "a parameter", f->err));
    f->raw = raw;
    hp_status_t status =
        hp_allocate(&weights, (size_t)params->total, sizeof(float), "weights", f->err);
    if (status == HP_OK) status = load_all(f, params, weights);
    hp_free(raw);
    if (status == HP_OK)
        *weights_p = weights;
    else
        hp_free(weights);
    return status;
}

/* f->zip, if it is an .npz. */
static hp_status_t open_zip(file_t *f) {
    struct stat st;
    f->zip = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe does not stop it */
    if (f->zip < 0 || fstat(f->zip, &st) != 0)
        return hp_fail_errno(f->err, HP_INPUT, "%s", f->path);
    if (S_ISREG(st.st_mode) && wk_npz_is(f->zip)) {
        f->size = (uint64_t)st.st_size;
        return HP_OK;
    }
    close(f->zip);
    f->zip = -1;
    return HP_OK;
}

hp_status_t wk_weights_read(const char *path, const hp_params_t *params, float **weights_p,
                            hp_error_t *err) {
    file_t f = {.path = path, .err = err, .safetensors.fd = -1};
    hp_status_t status = open_zip(&f);
    if (status == HP_OK) status = read_file(&f, params, weights_p);
    wk_safetensors_close(&f.safetensors);
    if (f.zip >= 0) close(f.zip);
    return status;
}
