/* Features from a folder with a file for each image: .npy, .npz, or raw numbers whose shape is told
 * by the user. Without a grid the number of cells may differ from file to file: a first pass reads
 * the beginnings of all files. */
#include "common/memory.h"
#include "common/store_convert.h"
#include "worker/import/features_source.h"
#include "worker/import/npy.h"
#include "worker/import/npz.h"
#include "worker/import/pattern.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER = 4096 }; /* bytes; numpy's own have 128 */

/* An array in an open file. */
typedef struct {
    wk_npy_t npy;
    wk_npz_member_t member;
    bool zip;
    uint64_t bytes; /* of header and numbers */
} array_t;

typedef struct {
    int fd;
    uint64_t size;
    char path[4096];
} open_file_t;

typedef struct {
    wk_files_t files;
    unsigned char *data; /* an array as the file has it */
    size_t room;
    float *box; /* the same of boxes, as fp32 */
    size_t box_room;
    hp_convert_level_t level;
    wk_features_shape_t first; /* of the first file */
    bool varies;               /* the number of cells */
    int box_axis;              /* of the cells: 0 rows, 1 columns, -1 not known yet */
} folder_t;

static void close_folder(void *source) {
    folder_t *n = source;
    wk_files_release(&n->files);
    hp_free(n->data);
    hp_free(n->box);
    hp_free(n);
}

static hp_status_t open_file(const wk_features_t *f, uint64_t image, open_file_t *file,
                             hp_error_t *err) {
    const folder_t *n = f->source;
    struct stat st;
    snprintf(file->path, sizeof file->path, "%s/%s", f->options.path,
             wk_strings_get(&n->files.names, n->files.name[image]));
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe does not stop it */
    if (file->fd < 0) return hp_fail_errno(err, HP_INPUT, "%s", file->path);
    if (fstat(file->fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)2 << 30) {
        close(file->fd);
        return hp_fail(err, HP_INPUT, "%s is no file of one image's features", file->path);
    }
    file->size = (uint64_t)st.st_size;
    return HP_OK;
}

static hp_status_t read_bytes(const open_file_t *file, uint64_t at, void *out, size_t bytes,
                              hp_error_t *err) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(file->fd, (char *)out + done, bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return hp_fail_errno(err, HP_INPUT, "reading");
        if (n == 0) return hp_fail(err, HP_INPUT, "truncated while it is read");
        done += (size_t)n;
    }
    return HP_OK;
}

/* ---- what an array is ---------------------------------------------------------------------- */

/* Raw numbers: the shape is the user's; one axis may be left to the file's length. */
static hp_status_t raw_header(const wk_features_t *f, const open_file_t *file, wk_npy_t *npy,
                              hp_error_t *err) {
    const wk_features_options_t *o = &f->options;
    uint64_t size = hp_dtype_size(o->raw_dtype), count = 1;
    int open_axis = -1;
    *npy = (wk_npy_t){.type = 'f', .bytes = (int)size, .dims = o->raw_dims};
    npy->bf16 = o->raw_dtype == HP_DTYPE_BF16;
    for (int i = 0; i < o->raw_dims; i++) {
        npy->size[i] = o->raw_size[i];
        if (o->raw_size[i] == 0)
            open_axis = i;
        else
            count *= o->raw_size[i];
    }
    if (open_axis >= 0 && file->size % (count * size) == 0)
        count *= npy->size[open_axis] = file->size / (count * size);
    npy->count = count;
    if (file->size == count * size && count > 0) return HP_OK;
    return hp_fail(err, HP_INPUT, "%llu bytes, %s%llu of %s are expected",
                   (unsigned long long)file->size, open_axis >= 0 ? "a multiple of " : "",
                   (unsigned long long)(count * size), hp_dtype_name(o->raw_dtype));
}

static hp_status_t read_header(const open_file_t *file, array_t *a, hp_error_t *err) {
    unsigned char head[HEADER];
    size_t n = a->bytes < HEADER ? (size_t)a->bytes : HEADER;
    if (a->zip)
        HP_TRY(wk_npz_read(file->fd, &a->member, head, n, err));
    else
        HP_TRY(read_bytes(file, 0, head, n, err));
    HP_TRY(wk_npy_parse(head, n, &a->npy, err));
    if (a->npy.count > (a->bytes - a->npy.offset) / (unsigned)a->npy.bytes)
        return hp_fail(err, HP_INPUT,
                       "truncated: %llu bytes of numbers, the header says %llu of %d",
                       (unsigned long long)(a->bytes - a->npy.offset),
                       (unsigned long long)a->npy.count, a->npy.bytes);
    return HP_OK;
}

/* The array `key` of a file; a .npy file and raw numbers have one without a name. */
static hp_status_t find_array(const wk_features_t *f, const open_file_t *file, const char *key,
                              bool only, array_t *a, hp_error_t *err) {
    *a = (array_t){.bytes = file->size};
    if (f->options.raw_dims > 0) return raw_header(f, file, &a->npy, err);
    a->zip = wk_npz_is(file->fd);
    if (a->zip) {
        HP_TRY(wk_npz_find(file->fd, file->size, key, only, &a->member, err));
        a->bytes = a->member.bytes;
        if (a->bytes > (uint64_t)2 << 30) return hp_fail(err, HP_INPUT, "an array above 2 GB");
    }
    HP_TRY(read_header(file, a, err));
    const wk_npy_t *h = &a->npy;
    if (h->type != 'f' || h->big_endian || h->bytes < 2)
        return hp_fail(err, HP_INPUT, "numbers of type '%s%c%d', expected '<f2', '<f4' or '<f8'",
                       h->big_endian ? ">" : "<", h->type, h->bytes);
    return HP_OK;
}

/* Its numbers as fp32, in the file's order. */
static hp_status_t read_array(folder_t *n, const open_file_t *file, const array_t *a, float *out,
                              hp_error_t *err) {
    size_t bytes = a->npy.offset + a->npy.count * (size_t)a->npy.bytes;
    if (a->zip) bytes = (size_t)a->bytes; /* all of it has a CRC */
    if (bytes > n->room) {
        void *p = NULL;
        HP_TRY(hp_allocate(&p, bytes, 1, "a file", err));
        hp_free(n->data);
        n->data = p;
        n->room = bytes;
    }
    if (a->zip)
        HP_TRY(wk_npz_read(file->fd, &a->member, n->data, bytes, err));
    else
        HP_TRY(read_bytes(file, 0, n->data, bytes, err));
    const unsigned char *data = n->data + a->npy.offset;
    if (a->npy.bytes == 8)
        for (size_t i = 0; i < a->npy.count; i++) {
            double x;
            memcpy(&x, data + 8 * i, sizeof x);
            out[i] = (float)x;
        }
    else
        hp_convert_to_f32(n->level,
                          a->npy.bytes == 4 ? HP_DTYPE_F32
                          : a->npy.bf16     ? HP_DTYPE_BF16
                                            : HP_DTYPE_F16,
                          data, a->npy.count, out);
    return HP_OK;
}

/* ---- images -------------------------------------------------------------------------------- */

/* The features' array of an open file, and the shape that it gives to f->shape. */
static hp_status_t find_features(wk_features_t *f, const open_file_t *file, array_t *a,
                                 hp_error_t *err) {
    bool only = strcmp(f->options.dataset, "features") == 0; /* nobody has chosen */
    HP_TRY(find_array(f, file, f->options.dataset, only, a, err));
    wk_npy_t *h = &a->npy;
    /* A leading axis of one image is common. */
    if (h->dims > 2 && h->size[0] == 1 &&
        h->dims == (f->options.layout <= WK_LAYOUT_NCHW ? 4 : 3)) {
        memmove(h->size, h->size + 1, (size_t)(h->dims - 1) * sizeof *h->size);
        h->dims--;
    }
    return wk_features_axes(f, h->dims, h->size, "the array", err);
}

/* The boxes' array: rows or columns of at least four numbers, whatever way the features lie. Where
 * there are four cells of four numbers it may be either: then it is what other files are. */
static hp_status_t find_boxes(wk_features_t *f, const open_file_t *file, uint64_t cells, array_t *a,
                              hp_error_t *err) {
    folder_t *n = f->source;
    HP_TRY(find_array(f, file, f->options.boxes_dataset, false, a, err));
    const wk_npy_t *h = &a->npy;
    bool rows = h->dims == 2 && h->size[0] == cells && h->size[1] >= 4 && h->size[1] < 1000;
    bool columns = h->dims == 2 && h->size[1] == cells && h->size[0] >= 4 && h->size[0] < 1000;
    if (rows != columns && n->box_axis < 0) n->box_axis = columns;
    if (n->box_axis == 1 ? columns : rows || (columns && n->box_axis < 0)) return HP_OK;
    return hp_fail(err, HP_INPUT, "'%s' has no box for each of %llu cells",
                   f->options.boxes_dataset, (unsigned long long)cells);
}

static hp_status_t read_boxes(wk_features_t *f, const open_file_t *file, hp_error_t *err) {
    folder_t *n = f->source;
    array_t a;
    uint64_t cells = (uint64_t)f->cells;
    HP_TRY(find_boxes(f, file, cells, &a, err));
    const wk_npy_t *h = &a.npy;
    bool rows = n->box_axis != 1;
    if (h->count > n->box_room) {
        void *p = NULL;
        HP_TRY(hp_allocate(&p, h->count, sizeof(float), "boxes", err));
        hp_free(n->box);
        n->box = p;
        n->box_room = h->count;
    }
    HP_TRY(read_array(n, file, &a, n->box, err));
    size_t per_cell = rows ? h->size[1] : 1, per_number = rows ? 1 : cells;
    if (h->fortran) {
        per_cell = rows ? 1 : h->size[0];
        per_number = rows ? cells : 1;
    }
    for (size_t i = 0; i < cells; i++)
        for (size_t k = 0; k < 4; k++) f->boxes[4 * i + k] = n->box[i * per_cell + k * per_number];
    return HP_OK;
}

/* Width and height: numbers of their own. */
static hp_status_t read_sizes(wk_features_t *f, const open_file_t *file, hp_error_t *err) {
    const char *name[2] = {f->options.width_dataset, f->options.height_dataset};
    for (int k = 0; k < 2; k++) {
        array_t a = {0};
        unsigned char number[8] = {0};
        if (!wk_npz_is(file->fd))
            return hp_fail(err, HP_INPUT, "an image's size is read from .npz files alone");
        HP_TRY(wk_npz_find(file->fd, file->size, name[k], false, &a.member, err));
        a.zip = true;
        a.bytes = a.member.bytes;
        HP_TRY(read_header(file, &a, err));
        const wk_npy_t *h = &a.npy;
        unsigned char head[HEADER];
        size_t n = (size_t)h->bytes;
        if (h->count != 1 || h->big_endian || h->offset + n > HEADER || h->type == 'b')
            return hp_fail(err, HP_INPUT, "'%s' is no single number", name[k]);
        HP_TRY(wk_npz_read(file->fd, &a.member, head, h->offset + n, err));
        memcpy(number, head + h->offset, n);
        if (h->type == 'f' && n == 8) {
            double x;
            memcpy(&x, number, sizeof x);
            f->size[k] = (float)x;
        } else if (h->type == 'f') {
            hp_convert_to_f32(HP_CONVERT_SCALAR, n == 4 ? HP_DTYPE_F32 : HP_DTYPE_F16, number, 1,
                              &f->size[k]);
        } else { /* a negative one is too large */
            uint64_t x;
            memcpy(&x, number, sizeof x);
            f->size[k] = x < 1 << 24 ? (float)x : 0;
        }
    }
    return HP_OK;
}

static hp_status_t same_shape(const folder_t *n, const wk_features_shape_t *now, hp_error_t *err) {
    const wk_features_shape_t *first = &n->first;
    if (now->channels == first->channels && now->grid_height == first->grid_height &&
        now->grid_width == first->grid_width && (n->varies || now->cells == first->cells))
        return HP_OK;
    return hp_fail(err, HP_INPUT, "%d cells of %d channels, the first file has %d of %d",
                   now->cells, now->channels, first->cells, first->channels);
}

static hp_status_t read_open(wk_features_t *f, const open_file_t *file, hp_error_t *err) {
    folder_t *n = f->source;
    array_t a;
    wk_features_shape_t all = f->shape;
    hp_status_t status = find_features(f, file, &a, err);
    wk_features_shape_t now = f->shape;
    f->shape = all;
    HP_TRY(status);
    HP_TRY(same_shape(n, &now, err));
    if (now.cells > all.cells)
        return hp_fail(err, HP_INPUT, "%d cells; it had %d at most", now.cells, all.cells);
    f->cells = now.cells;
    f->fortran = a.npy.fortran;
    HP_TRY(read_array(n, file, &a, f->values, err));
    if (f->shape.boxes && f->options.width_dataset != NULL) HP_TRY(read_sizes(f, file, err));
    return f->shape.boxes ? read_boxes(f, file, err) : HP_OK;
}

static hp_status_t read_image(wk_features_t *f, uint64_t image, hp_error_t *err) {
    open_file_t file = {.fd = -1};
    HP_TRY(open_file(f, image, &file, err));
    hp_status_t status = read_open(f, &file, err);
    close(file.fd);
    return status == HP_OK ? HP_OK : hp_fail_prefix(err, "%s", file.path);
}

/* The shape of a file; the first pass. */
static hp_status_t peek(wk_features_t *f, uint64_t image, hp_error_t *err) {
    folder_t *n = f->source;
    open_file_t file = {.fd = -1};
    array_t a;
    HP_TRY(open_file(f, image, &file, err));
    int most = f->shape.cells;
    hp_status_t status = find_features(f, &file, &a, err);
    if (status == HP_OK && image == 0) {
        n->first = f->shape;
        f->shape.dtype = a.npy.bytes == 8   ? HP_DTYPE_NONE
                         : a.npy.bytes == 4 ? HP_DTYPE_F32
                         : a.npy.bf16       ? HP_DTYPE_BF16
                                            : HP_DTYPE_F16;
    }
    if (status == HP_OK) status = same_shape(n, &f->shape, err);
    array_t box;
    if (status == HP_OK && f->shape.boxes)
        status = find_boxes(f, &file, (uint64_t)f->shape.cells, &box, err);
    if (f->shape.cells < most) f->shape.cells = most;
    close(file.fd);
    return status == HP_OK ? HP_OK : hp_fail_prefix(err, "%s", file.path);
}

hp_status_t wk_features_open_folder(wk_features_t *f, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(folder_t), "a folder", err));
    folder_t *n = p;
    n->level = hp_convert_best();
    n->box_axis = -1;
    f->source = n;
    f->close = close_folder;
    f->read = read_image;
    if (f->options.layout == WK_LAYOUT_RAGGED)
        return hp_fail(err, HP_INPUT,
                       "%s: layout ragged is for one array of all images; files of different "
                       "numbers of cells have layout ncellsc or nccells",
                       f->options.path);
    HP_TRY(wk_files_list(f->options.path, f->options.pattern, &n->files, err));
    f->shape.images = n->files.count;
    f->shape.boxes = f->options.boxes_dataset != NULL && f->options.boxes_dataset[0] != '\0';
    for (uint32_t i = 0; i < n->files.count; i++)
        HP_TRY(wk_features_add_name(f, wk_strings_get(&n->files.ids, i), f->options.path, err));
    HP_TRY(peek(f, 0, err));
    n->varies = f->shape.grid_height == 0;
    for (uint64_t i = 1; n->varies && i < f->shape.images; i++) HP_TRY(peek(f, i, err));
    return HP_OK;
}
