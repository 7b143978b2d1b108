/* Features from a folder with a .npy file for each image, fp16 or fp32. */
#include "common/memory.h"
#include "common/store_convert.h"
#include "worker/import/features_source.h"
#include "worker/import/npy.h"
#include "worker/import/pattern.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    wk_files_t files;
    unsigned char *data; /* a file */
    size_t bytes, room;
    hp_convert_level_t level;
} npy_t;

static void close_npy(void *source) {
    npy_t *n = source;
    wk_files_release(&n->files);
    hp_free(n->data);
    hp_free(n);
}

static hp_status_t read_fd(npy_t *n, int fd, const char *path, hp_error_t *err) {
    struct stat st;
    if (fstat(fd, &st) != 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
    if (!S_ISREG(st.st_mode) || st.st_size > (off_t)2 << 30)
        return hp_fail(err, HP_INPUT, "%s is no file of one image's features", path);
    size_t size = (size_t)st.st_size;
    if (size + 1 > n->room) {
        void *p = NULL;
        HP_TRY(hp_allocate(&p, size + 1, 1, "a file", err));
        hp_free(n->data);
        n->data = p;
        n->room = size + 1;
    }
    n->bytes = 0;
    while (n->bytes < size) {
        ssize_t got = read(fd, n->data + n->bytes, size - n->bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
        if (got == 0) break;
        n->bytes += (size_t)got;
    }
    return HP_OK;
}

static hp_status_t load(wk_features_t *f, uint64_t image, wk_npy_t *header, char *path, size_t size,
                        hp_error_t *err) {
    npy_t *n = f->source;
    snprintf(path, size, "%s/%s", f->options.path,
             wk_strings_get(&n->files.names, n->files.name[image]));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
    hp_status_t status = read_fd(n, fd, path, err);
    close(fd);
    HP_TRY(status);
    if (wk_npy_parse(n->data, n->bytes, header, err) != HP_OK)
        return hp_fail_prefix(err, "%s", path);
    if (header->type != 'f' || header->big_endian || (header->bytes != 2 && header->bytes != 4))
        return hp_fail(err, HP_INPUT, "%s holds '%s%c%d', expected '<f2' or '<f4'", path,
                       header->big_endian ? ">" : "", header->type, header->bytes);
    if (header->count > (n->bytes - header->offset) / (size_t)header->bytes)
        return hp_fail(err, HP_INPUT, "%s is truncated: %zu bytes of numbers, the header says %llu",
                       path, n->bytes - header->offset,
                       (unsigned long long)header->count * (unsigned)header->bytes);
    /* A leading axis of one image is common. */
    if (header->dims > 2 && header->size[0] == 1 &&
        header->dims == (f->options.layout <= WK_LAYOUT_NCHW ? 4 : 3)) {
        memmove(header->size, header->size + 1, (size_t)(header->dims - 1) * sizeof *header->size);
        header->dims--;
    }
    return HP_OK;
}

static hp_status_t read_image(wk_features_t *f, uint64_t image, hp_error_t *err) {
    npy_t *n = f->source;
    wk_npy_t header = {0};
    char path[4096] = "";
    HP_TRY(load(f, image, &header, path, sizeof path, err));
    wk_features_shape_t first = f->shape;
    hp_status_t status = wk_features_axes(f, header.dims, header.size, path, err);
    wk_features_shape_t now = f->shape;
    f->shape = first;
    HP_TRY(status);
    if (now.cells != first.cells || now.channels != first.channels ||
        now.grid_height != first.grid_height || now.grid_width != first.grid_width)
        return hp_fail(err, HP_INPUT, "%s has %d cells of %d channels, the first file %d of %d",
                       path, now.cells, now.channels, first.cells, first.channels);
    f->fortran = header.fortran;
    hp_convert_to_f32(n->level, header.bytes == 2 ? HP_DTYPE_F16 : HP_DTYPE_F32,
                      n->data + header.offset, header.count, f->values);
    return HP_OK;
}

hp_status_t wk_features_open_npy(wk_features_t *f, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(npy_t), "a folder", err));
    npy_t *n = p;
    n->level = hp_convert_best();
    f->source = n;
    f->close = close_npy;
    f->read = read_image;
    if (f->options.layout == WK_LAYOUT_RAGGED)
        return hp_fail(err, HP_INPUT, "%s: layout ragged is for HDF5 files", f->options.path);
    HP_TRY(wk_files_list(f->options.path, f->options.pattern, &n->files, err));
    f->shape.images = n->files.count;
    for (uint32_t i = 0; i < n->files.count; i++)
        HP_TRY(wk_features_add_name(f, wk_strings_get(&n->files.ids, i), f->options.path, err));
    wk_npy_t header = {0};
    char path[4096] = "";
    HP_TRY(load(f, 0, &header, path, sizeof path, err));
    f->shape.dtype = header.bytes == 2 ? HP_DTYPE_F16 : HP_DTYPE_F32;
    return wk_features_axes(f, header.dims, header.size, path, err);
}
