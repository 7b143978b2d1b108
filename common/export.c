#include "common/export.h"

#include "common/file.h"
#include "common/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <yajl/yajl_gen.h>
#include <zlib.h>

typedef struct {
    hp_checkpoint_t *checkpoint;
    const hp_params_t *params;
    const char *path;
    int fd;
    float *data; /* room for the largest parameter */
} export_t;

static hp_status_t put(const export_t *e, const void *data, size_t bytes, hp_error_t *err) {
    return hp_write_all(e->fd, data, bytes, e->path, err);
}

static hp_status_t load(const export_t *e, const hp_param_t *p, hp_error_t *err) {
    return hp_checkpoint_read(e->checkpoint, p->offset, p->offset + p->count, e->data, NULL, NULL,
                              err);
}

static size_t data_bytes(const hp_param_t *p) { return (size_t)p->count * sizeof(float); }

/* ---- npz ---- */

enum { NPY_HEAD = 192, ZIP_LOCAL = 30, ZIP_CENTRAL = 46, ZIP_END = 22, ZIP_DATE = 0x0021 };

typedef struct {
    uint32_t crc, bytes, offset;
} zip_entry_t;

static void put_u16(unsigned char *p, uint32_t x) {
    p[0] = (unsigned char)x;
    p[1] = (unsigned char)(x >> 8);
}

static void put_u32(unsigned char *p, uint32_t x) {
    put_u16(p, x & 0xFFFF);
    put_u16(p + 2, x >> 16);
}

/* The .npy header: magic, version 1.0, length, a Python literal, padded to a multiple of 64 bytes.
 */
static size_t npy_head(const hp_param_t *p, char out[NPY_HEAD]) {
    memset(out, ' ', NPY_HEAD);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    char text[NPY_HEAD];
    int n = snprintf(text, sizeof text, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (int i = 0; i < p->dims; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%" PRId64 ", ", p->shape[i]);
    n += snprintf(text + n, sizeof text - (size_t)n, "), }");
    size_t bytes = (10 + (size_t)n + 1 + 63) / 64 * 64;
    put_u16((unsigned char *)out + 8, (uint32_t)(bytes - 10));
    memcpy(out + 10, text, (size_t)n);
    out[bytes - 1] = '\n';
    return bytes;
}

/* What the local and the central header have in common, from "version needed" to "extra length". */
static void zip_common(unsigned char *p, const zip_entry_t *z, size_t name) {
    put_u16(p, 20);               /* version 2.0 */
    put_u16(p + 6 + 2, ZIP_DATE); /* 1980-01-01: the same weights give the same bytes */
    put_u32(p + 10, z->crc);
    put_u32(p + 14, z->bytes);
    put_u32(p + 18, z->bytes);
    put_u16(p + 22, (uint32_t)name);
}

static hp_status_t npz_entry(const export_t *e, const hp_param_t *p, zip_entry_t *z, uint64_t *at,
                             hp_error_t *err) {
    unsigned char local[ZIP_LOCAL] = "PK\x03\x04";
    char head[NPY_HEAD], name[HP_PARAM_NAME + 8];
    size_t n = npy_head(p, head), bytes = data_bytes(p);
    int length = snprintf(name, sizeof name, "%s.npy", p->name);
    if (*at + ZIP_LOCAL + (uint64_t)length + n + bytes > UINT32_MAX)
        return hp_fail(err, HP_UNSUPPORTED, "'%s': an npz holds 4 GiB; use --format safetensors",
                       e->path);
    HP_TRY(load(e, p, err));
    uLong crc = crc32_z(crc32_z(0, (const Bytef *)head, n), (const Bytef *)e->data, bytes);
    *z = (zip_entry_t){(uint32_t)crc, (uint32_t)(n + bytes), (uint32_t)*at};
    zip_common(local + 4, z, (size_t)length);
    HP_TRY(put(e, local, sizeof local, err));
    HP_TRY(put(e, name, (size_t)length, err));
    HP_TRY(put(e, head, n, err));
    HP_TRY(put(e, e->data, bytes, err));
    *at += ZIP_LOCAL + (uint64_t)length + n + bytes;
    return HP_OK;
}

static hp_status_t npz_directory(const export_t *e, const zip_entry_t *z, uint64_t at,
                                 hp_error_t *err) {
    uint32_t bytes = 0;
    for (int i = 0; i < e->params->count; i++) {
        unsigned char central[ZIP_CENTRAL] = "PK\x01\x02";
        char name[HP_PARAM_NAME + 8];
        int length = snprintf(name, sizeof name, "%s.npy", e->params->param[i].name);
        put_u16(central + 4, 20);
        zip_common(central + 6, &z[i], (size_t)length);
        put_u32(central + 42, z[i].offset);
        HP_TRY(put(e, central, sizeof central, err));
        HP_TRY(put(e, name, (size_t)length, err));
        bytes += ZIP_CENTRAL + (uint32_t)length;
    }
    unsigned char end[ZIP_END] = "PK\x05\x06";
    put_u16(end + 8, (uint32_t)e->params->count);
    put_u16(end + 10, (uint32_t)e->params->count);
    put_u32(end + 12, bytes);
    put_u32(end + 16, (uint32_t)at);
    return put(e, end, sizeof end, err);
}

static hp_status_t write_npz(const export_t *e, hp_error_t *err) {
    void *z = NULL;
    uint64_t at = 0;
    if (e->params->count > UINT16_MAX)
        return hp_fail(err, HP_UNSUPPORTED, "an npz holds %d parameters; use --format safetensors",
                       UINT16_MAX);
    HP_TRY(hp_allocate(&z, (size_t)e->params->count, sizeof(zip_entry_t), "a directory", err));
    hp_status_t status = HP_OK;
    for (int i = 0; i < e->params->count && status == HP_OK; i++)
        status = npz_entry(e, &e->params->param[i], (zip_entry_t *)z + i, &at, err);
    if (status == HP_OK) status = npz_directory(e, z, at, err);
    hp_free(z);
    return status;
}

/* ---- safetensors ---- */

static void put_text(yajl_gen gen, const char *text) {
    yajl_gen_string(gen, (const unsigned char *)text, strlen(text));
}

static void describe(yajl_gen gen, const export_t *e) {
    char step[32];
    snprintf(step, sizeof step, "%" PRId64, hp_checkpoint_step(e->checkpoint));
    yajl_gen_map_open(gen);
    put_text(gen, "__metadata__");
    yajl_gen_map_open(gen);
    put_text(gen, "format"), put_text(gen, "pt");
    put_text(gen, "step"), put_text(gen, step);
    put_text(gen, "config"), put_text(gen, hp_checkpoint_config(e->checkpoint));
    yajl_gen_map_close(gen);
    int64_t at = 0;
    for (int i = 0; i < e->params->count; i++) {
        const hp_param_t *p = &e->params->param[i];
        put_text(gen, p->name);
        yajl_gen_map_open(gen);
        put_text(gen, "dtype"), put_text(gen, "F32");
        put_text(gen, "shape");
        yajl_gen_array_open(gen);
        for (int k = 0; k < p->dims; k++) yajl_gen_integer(gen, p->shape[k]);
        yajl_gen_array_close(gen);
        put_text(gen, "data_offsets");
        yajl_gen_array_open(gen);
        yajl_gen_integer(gen, at);
        at += (int64_t)data_bytes(p);
        yajl_gen_integer(gen, at);
        yajl_gen_array_close(gen);
        yajl_gen_map_close(gen);
    }
    yajl_gen_map_close(gen);
}

static hp_status_t put_description(const export_t *e, hp_error_t *err) {
    const unsigned char *text = NULL;
    size_t bytes = 0;
    yajl_gen gen = yajl_gen_alloc(NULL);
    if (gen == NULL) return hp_fail(err, HP_MEMORY, "out of memory for a header");
    describe(gen, e);
    hp_status_t status = HP_OK;
    if (yajl_gen_get_buf(gen, &text, &bytes) != yajl_gen_status_ok)
        status = hp_fail(err, HP_INTERNAL, "'%s': the header is not complete", e->path);
    size_t pad = (8 - bytes % 8) % 8; /* the data begins at a multiple of 8 bytes */
    uint64_t size = bytes + pad;
    if (status == HP_OK) status = put(e, &size, sizeof size, err);
    if (status == HP_OK) status = put(e, text, bytes, err);
    if (status == HP_OK) status = put(e, "       ", pad, err);
    yajl_gen_free(gen);
    return status;
}

static hp_status_t write_safetensors(const export_t *e, hp_error_t *err) {
    HP_TRY(put_description(e, err));
    for (int i = 0; i < e->params->count; i++) {
        const hp_param_t *p = &e->params->param[i];
        HP_TRY(load(e, p, err));
        HP_TRY(put(e, e->data, data_bytes(p), err));
    }
    return HP_OK;
}

/* ---- both ---- */

hp_status_t hp_export(hp_checkpoint_t *checkpoint, hp_export_format_t format, const char *path,
                      hp_error_t *err) {
    char part[PATH_MAX];
    int64_t largest = 1;
    void *data = NULL;
    export_t e = {
        .checkpoint = checkpoint, .params = hp_checkpoint_params(checkpoint), .path = path};
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return hp_fail(err, HP_INPUT, "path is too long: '%.200s...'", path);
    for (int i = 0; i < e.params->count; i++)
        if (e.params->param[i].count > largest) largest = e.params->param[i].count;
    HP_TRY(hp_allocate(&data, (size_t)largest, sizeof(float), "a parameter", err));
    e.data = data;
    hp_status_t status;
    e.fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (e.fd < 0) {
        status = hp_fail_errno(err, errno == ENOENT || errno == EACCES ? HP_INPUT : HP_IO,
                               "cannot write '%s'", part);
    } else {
        status = format == HP_EXPORT_NPZ ? write_npz(&e, err) : write_safetensors(&e, err);
        hp_status_t synced = hp_sync_close(e.fd, part, status == HP_OK ? err : NULL);
        if (status == HP_OK) status = synced;
        if (status == HP_OK && rename(part, path) != 0)
            status = hp_fail_errno(err, HP_IO, "cannot rename '%s' to '%s'", part, path);
        if (status != HP_OK) unlink(part);
    }
    hp_free(data);
    return status;
}
