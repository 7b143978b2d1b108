/* Features from HDF5, whatever the storage: contiguous, or chunked and compressed. fp16 is read as
 * it is and converted here: the library's own conversion of it is slow. */
#include "common/file.h"
#include "common/memory.h"
#include "common/store_convert.h"
#include "worker/import/features_source.h"

#include <hdf5.h>

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CACHE_LIMIT ((size_t)512 << 20)

typedef struct {
    hid_t file, dataset, memory_type;
    hp_dtype_t dtype; /* F16: `raw` takes the file's bytes */
    uint16_t *raw;
    int dims;
    hsize_t size[8];
    hp_convert_level_t level;
    long long *range; /* ragged: [images][2] */
    hid_t boxes;      /* a dataset, or -1 */
    int box_columns;
    float *box; /* boxes of an image as the file has them */
    /* sparse rows: the numbers of image i, and their places, are [row[i], row[i + 1]) of two arrays
     */
    hid_t sparse, places; /* or -1 */
    long long *row;       /* [images + 1] */
    float *number;
    long long *place;
} hdf5_t;

static void close_hdf5(void *source) {
    hdf5_t *h = source;
    if (h->memory_type >= 0 && h->dtype == HP_DTYPE_F16) H5Tclose(h->memory_type);
    if (h->boxes >= 0) H5Dclose(h->boxes);
    if (h->sparse >= 0) H5Dclose(h->sparse);
    if (h->places >= 0) H5Dclose(h->places);
    if (h->dataset >= 0) H5Dclose(h->dataset);
    if (h->file >= 0) H5Fclose(h->file);
    hp_free(h->raw);
    hp_free(h->range);
    hp_free(h->box);
    hp_free(h->row);
    hp_free(h->number);
    hp_free(h->place);
    hp_free(h);
}

/* The library prints its stack of errors unless told not to. Of that stack the innermost line says
 * most to a user. */
static herr_t innermost(unsigned n, const H5E_error2_t *error, void *context) {
    (void)n;
    if (error->desc != NULL) snprintf(context, 160, "%s", error->desc);
    return 0;
}

static hp_status_t hdf5_fail(const wk_features_t *f, const char *what, hp_error_t *err) {
    char text[160] = "HDF5 gives no reason";
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, innermost, text);
    for (char *p = text; *p != '\0'; p++)
        if (*p == '\n') *p = ' ';
    return hp_fail(err, HP_INPUT, "%s: %s: %s", f->options.path, what, text);
}

/* The file can hold what the sizes say: whole where it lies in one piece, of which the library
 * would read more than there is, and deflate makes at most 1,032 bytes of one. Damaged sizes would
 * ask for any amount of memory. */
static hp_status_t check_stored(const wk_features_t *f, hid_t dataset, const char *name,
                                hp_error_t *err) {
    enum { MOST_DEFLATED = 1032, WIDEST = 16 };
    hid_t type = H5Dget_type(dataset), made = H5Dget_create_plist(dataset);
    hid_t space = H5Dget_space(dataset);
    const bool whole = made >= 0 && H5Pget_layout(made) != H5D_CHUNKED;
    const size_t width = H5Tget_size(type);
    const H5T_class_t class = H5Tget_class(type);
    const double bytes = (double)width * (double)H5Sget_simple_extent_npoints(space);
    const double stored = (double)H5Dget_storage_size(dataset);
    if (type >= 0) H5Tclose(type);
    if (made >= 0) H5Pclose(made);
    if (space >= 0) H5Sclose(space);
    /* libhdf5 1.10 takes a float of any width from a damaged file, and reads past its end. */
    if (width > WIDEST && (class == H5T_FLOAT || class == H5T_INTEGER))
        return hp_fail(err, HP_INPUT, "%s: dataset '%s' has numbers of %zu bytes", f->options.path,
                       name, width);
    if (bytes <= stored * (whole ? 1 : MOST_DEFLATED)) return HP_OK;
    return hp_fail(err, HP_INPUT,
                   "%s: dataset '%s' has %.0f bytes by its sizes, and %.0f in the file",
                   f->options.path, name, bytes, stored);
}

/* IEEE half precision, as h5py and numpy write it: HDF5 1.10 has no name for it. */
static bool is_half(hid_t type) {
    size_t sign, exponent, exponent_bits, fraction, fraction_bits;
    return H5Tget_class(type) == H5T_FLOAT && H5Tget_size(type) == 2 &&
           H5Tget_order(type) == H5T_ORDER_LE && H5Tget_ebias(type) == 15 &&
           H5Tget_fields(type, &sign, &exponent, &exponent_bits, &fraction, &fraction_bits) >= 0 &&
           sign == 15 && exponent == 10 && exponent_bits == 5 && fraction == 0 &&
           fraction_bits == 10;
}

static hp_status_t open_type(wk_features_t *f, hdf5_t *h, hp_error_t *err) {
    hid_t type = H5Dget_type(h->dataset);
    if (type < 0) return hdf5_fail(f, f->options.dataset, err);
    H5T_class_t class = H5Tget_class(type);
    if (is_half(type)) {
        h->dtype = f->shape.dtype = HP_DTYPE_F16;
        h->memory_type = H5Tcopy(type);
    } else {
        h->memory_type = H5T_NATIVE_FLOAT;
        f->shape.dtype =
            class == H5T_FLOAT && H5Tget_size(type) == 4 ? HP_DTYPE_F32 : HP_DTYPE_NONE;
    }
    H5Tclose(type);
    if (class != H5T_FLOAT && class != H5T_INTEGER)
        return hp_fail(err, HP_INPUT, "%s: dataset '%s' holds no numbers", f->options.path,
                       f->options.dataset);
    return HP_OK;
}

/* A chunk that holds parts of several images is unpacked once, not once for each of them: the cache
 * takes all chunks that one image touches. */
static hid_t access_of(hid_t file, const char *name) {
    hid_t access = H5Pcreate(H5P_DATASET_ACCESS), probe = H5Dopen2(file, name, H5P_DEFAULT);
    if (access < 0 || probe < 0) {
        if (probe >= 0) H5Dclose(probe);
        return access;
    }
    hid_t created = H5Dget_create_plist(probe), space = H5Dget_space(probe);
    hid_t type = H5Dget_type(probe);
    hsize_t size[H5S_MAX_RANK], chunk[H5S_MAX_RANK];
    int dims = H5Sget_simple_extent_ndims(space);
    if (dims > 0 && H5Pget_layout(created) == H5D_CHUNKED &&
        H5Pget_chunk(created, H5S_MAX_RANK, chunk) == dims &&
        H5Sget_simple_extent_dims(space, size, NULL) == dims) {
        double bytes = (double)H5Tget_size(type) * (double)chunk[0], chunks = 1;
        for (int i = 1; i < dims; i++) {
            hsize_t n = (size[i] + chunk[i] - 1) / chunk[i];
            chunks *= (double)n;
            bytes *= (double)(n * chunk[i]);
        }
        if (bytes > (double)CACHE_LIMIT) bytes = (double)CACHE_LIMIT;
        if (chunks > 1e5) chunks = 1e5;
        if (bytes > 1 << 20)
            H5Pset_chunk_cache(access, (size_t)chunks * 10 + 521, (size_t)bytes, 1);
    }
    H5Tclose(type);
    H5Sclose(space);
    H5Pclose(created);
    H5Dclose(probe);
    return access;
}

/* Another array of the file, of `dims` axes. */
static hp_status_t open_array(const wk_features_t *f, hid_t file, const char *name, hid_t *array_p,
                              hsize_t *size, int dims, hp_error_t *err) {
    if (H5Lexists(file, name, H5P_DEFAULT) <= 0)
        return hp_fail(err, HP_INPUT, "%s: no dataset '%s'", f->options.path, name);
    *array_p = H5Dopen2(file, name, H5P_DEFAULT);
    if (*array_p < 0) return hdf5_fail(f, name, err);
    HP_TRY(check_stored(f, *array_p, name, err));
    hid_t space = H5Dget_space(*array_p), type = H5Dget_type(*array_p);
    int have = H5Sget_simple_extent_ndims(space);
    if (have == dims) H5Sget_simple_extent_dims(space, size, NULL);
    bool numbers = H5Tget_class(type) == H5T_INTEGER || H5Tget_class(type) == H5T_FLOAT;
    H5Sclose(space);
    H5Tclose(type);
    if (have != dims || !numbers)
        return hp_fail(err, HP_INPUT, "%s: dataset '%s' is no array of numbers with %d axes",
                       f->options.path, name, dims);
    return HP_OK;
}

/* A ragged array: which rows are whose stands in another one. */
static hp_status_t open_ranges(wk_features_t *f, hdf5_t *h, const char *what, hp_error_t *err) {
    const char *name = f->options.ranges_dataset;
    hid_t array = -1;
    hsize_t size[8] = {0};
    void *p = NULL;
    if (h->dims != 2 || h->size[1] == 0 || h->size[1] > 1 << 24)
        return hp_fail(err, HP_INPUT, "%s has %d axes; layout ragged has cells and channels", what,
                       h->dims);
    hp_status_t status = open_array(f, h->file, name, &array, size, 2, err);
    if (status == HP_OK && (size[1] != 2 || size[0] == 0 || size[0] > UINT32_MAX - 1))
        status =
            hp_fail(err, HP_INPUT, "%s: dataset '%s' is not [images][2]", f->options.path, name);
    if (status == HP_OK) status = hp_allocate(&p, size[0] * 2, sizeof(long long), "ranges", err);
    h->range = p;
    if (status == HP_OK &&
        H5Dread(array, H5T_NATIVE_LLONG, H5S_ALL, H5S_ALL, H5P_DEFAULT, h->range) < 0)
        status = hdf5_fail(f, name, err);
    if (array >= 0) H5Dclose(array);
    f->shape.channels = (int)h->size[1];
    if (status == HP_OK) status = wk_features_check_ranges(f, h->range, size[0], h->size[0], err);
    return status;
}

/* Rows grow, and are no longer than an image is. */
static hp_status_t check_rows(wk_features_t *f, const hdf5_t *h, uint64_t stored, long long *most_p,
                              hp_error_t *err) {
    long long room = (long long)f->shape.cells * f->shape.channels;
    for (uint64_t i = 0; i < f->shape.images; i++) {
        long long n = h->row[i + 1] - h->row[i];
        if (h->row[i] < 0 || n < 0 || n > room || (uint64_t)h->row[i + 1] > stored)
            return hp_fail(err, HP_INPUT,
                           "%s: 'indptr' of '%s', row %llu: numbers %lld to %lld of %llu, at most "
                           "%lld of an image",
                           f->options.path, f->options.dataset, (unsigned long long)i, h->row[i],
                           h->row[i + 1], (unsigned long long)stored, room);
        if (n > *most_p) *most_p = n;
    }
    return HP_OK;
}

/* A group with a sparse matrix in rows (CSR): data, indices and indptr. Its row is an image, whose
 * axes are the user's. */
static hp_status_t open_sparse(wk_features_t *f, hdf5_t *h, hid_t group, hp_error_t *err) {
    hsize_t rows = 0, numbers = 0, places = 0;
    hid_t array = -1;
    void *p = NULL;
    long long most = 1;
    if (f->options.raw_dims == 0 || f->options.layout == WK_LAYOUT_RAGGED)
        return hp_fail(err, HP_INPUT,
                       "%s: '%s' is a group: of a sparse matrix the shape of an image "
                       "is needed, and a layout that is not ragged",
                       f->options.path, f->options.dataset);
    if (f->options.boxes_dataset != NULL && f->options.boxes_dataset[0] != '\0')
        return hp_fail(err, HP_INPUT, "%s: a sparse matrix has no boxes", f->options.path);
    HP_TRY(wk_features_axes(f, f->options.raw_dims, f->options.raw_size, "the shape", err));
    HP_TRY(open_array(f, group, "data", &h->sparse, &numbers, 1, err));
    HP_TRY(open_array(f, group, "indices", &h->places, &places, 1, err));
    hp_status_t status = open_array(f, group, "indptr", &array, &rows, 1, err);
    if (status == HP_OK && (rows < 2 || rows > UINT32_MAX || numbers != places))
        status = hp_fail(err, HP_INPUT, "%s: '%s': %llu numbers, %llu indices, %llu rows",
                         f->options.path, f->options.dataset, (unsigned long long)numbers,
                         (unsigned long long)places, (unsigned long long)rows);
    if (status == HP_OK) status = hp_allocate(&p, rows, sizeof(long long), "rows", err);
    h->row = p;
    if (status == HP_OK &&
        H5Dread(array, H5T_NATIVE_LLONG, H5S_ALL, H5S_ALL, H5P_DEFAULT, h->row) < 0)
        status = hdf5_fail(f, "indptr", err);
    if (array >= 0) H5Dclose(array);
    HP_TRY(status);
    f->shape.images = rows - 1;
    HP_TRY(check_rows(f, h, numbers, &most, err));
    HP_TRY(hp_allocate(&p, (size_t)most, sizeof(float), "an image", err));
    h->number = p;
    HP_TRY(hp_allocate(&p, (size_t)most, sizeof(long long), "an image", err));
    h->place = p;
    return HP_OK;
}

static hp_status_t open_dataset(wk_features_t *f, hdf5_t *h, hp_error_t *err) {
    const char *name = f->options.dataset;
    hid_t group = H5Gopen2(h->file, name, H5P_DEFAULT);
    if (group >= 0) {
        hp_status_t status = open_sparse(f, h, group, err);
        H5Gclose(group);
        return status;
    }
    if (f->options.raw_dims > 0)
        return hp_fail(err, HP_INPUT, "%s: a shape is for a sparse matrix, or for a folder",
                       f->options.path);
    if (H5Lexists(h->file, name, H5P_DEFAULT) <= 0)
        return hp_fail(err, HP_INPUT, "%s: no dataset '%s'", f->options.path, name);
    hid_t access = access_of(h->file, name);
    h->dataset = H5Dopen2(h->file, name, access);
    if (access >= 0) H5Pclose(access);
    if (h->dataset < 0) return hdf5_fail(f, name, err);
    HP_TRY(check_stored(f, h->dataset, name, err));
    hid_t space = H5Dget_space(h->dataset);
    h->dims = H5Sget_simple_extent_ndims(space);
    if (h->dims >= 1 && h->dims <= 8) H5Sget_simple_extent_dims(space, h->size, NULL);
    H5Sclose(space);
    char what[512];
    snprintf(what, sizeof what, "%s: dataset '%s'", f->options.path, name);
    if (h->dims < 1 || h->dims > 8) return hp_fail(err, HP_INPUT, "%s has %d axes", what, h->dims);
    HP_TRY(open_type(f, h, err));
    if (f->options.layout == WK_LAYOUT_RAGGED) return open_ranges(f, h, what, err);
    uint64_t size[8];
    for (int i = 1; i < h->dims; i++) size[i - 1] = h->size[i];
    HP_TRY(wk_features_axes(f, h->dims - 1, size, what, err));
    if (h->size[0] == 0 || h->size[0] > UINT32_MAX - 1)
        return hp_fail(err, HP_INPUT, "%s has %llu images", what, (unsigned long long)h->size[0]);
    f->shape.images = h->size[0];
    return HP_OK;
}

/* Boxes lie as the features do, with four columns or more for the channels. */
static hp_status_t open_boxes(wk_features_t *f, hdf5_t *h, hp_error_t *err) {
    const char *name = f->options.boxes_dataset;
    hsize_t size[8] = {0};
    void *p = NULL;
    if (name == NULL || name[0] == '\0') return HP_OK;
    HP_TRY(open_array(f, h->file, name, &h->boxes, size, h->dims, err));
    uint64_t features_size[8], box_size[8];
    for (int i = 0; i < h->dims; i++) features_size[i] = h->size[i], box_size[i] = size[i];
    HP_TRY(wk_features_check_boxes(f, h->dims, features_size, box_size, &h->box_columns, err));
    HP_TRY(hp_allocate(&p, (size_t)f->shape.cells * (size_t)h->box_columns, sizeof(float), "boxes",
                       err));
    h->box = p;
    return HP_OK;
}

static hp_status_t read_sizes(wk_features_t *f, const hdf5_t *h, hp_error_t *err) {
    const char *name[2] = {f->options.width_dataset, f->options.height_dataset};
    void *p = NULL, *one = NULL;
    if (name[0] == NULL || !f->shape.boxes) return HP_OK;
    HP_TRY(hp_allocate(&p, f->shape.images, 2 * sizeof(float), "sizes", err));
    f->sizes = p;
    HP_TRY(hp_allocate(&one, f->shape.images, sizeof(float), "sizes", err));
    hp_status_t status = HP_OK;
    for (int k = 0; status == HP_OK && k < 2; k++) {
        hid_t array = -1;
        hsize_t size = 0;
        status = open_array(f, h->file, name[k], &array, &size, 1, err);
        if (status == HP_OK && size != f->shape.images)
            status = hp_fail(err, HP_INPUT, "%s: dataset '%s' has %llu sizes for %llu images",
                             f->options.path, name[k], (unsigned long long)size,
                             (unsigned long long)f->shape.images);
        if (status == HP_OK &&
            H5Dread(array, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, one) < 0)
            status = hdf5_fail(f, name[k], err);
        if (array >= 0) H5Dclose(array);
        for (uint64_t i = 0; status == HP_OK && i < size; i++)
            f->sizes[2 * i + (uint64_t)k] = ((float *)one)[i];
    }
    hp_free(one);
    return status;
}

static hp_status_t room_for_half(wk_features_t *f, hdf5_t *h, hp_error_t *err) {
    void *p = NULL;
    if (h->dtype != HP_DTYPE_F16) return HP_OK;
    HP_TRY(hp_allocate(&p, (size_t)f->shape.cells * (size_t)f->shape.channels, 2, "an image", err));
    h->raw = p;
    return HP_OK;
}

static hp_status_t add_number_ids(wk_features_t *f, hid_t dataset, hp_error_t *err) {
    char what[512], text[32];
    void *p = NULL;
    HP_TRY(hp_allocate(&p, f->shape.images, sizeof(long long), "ids", err));
    long long *id = p;
    hp_status_t status = HP_OK;
    snprintf(what, sizeof what, "%s: dataset '%s'", f->options.path, f->options.ids_dataset);
    if (H5Dread(dataset, H5T_NATIVE_LLONG, H5S_ALL, H5S_ALL, H5P_DEFAULT, id) < 0)
        status = hdf5_fail(f, f->options.ids_dataset, err);
    for (uint64_t i = 0; status == HP_OK && i < f->shape.images; i++) {
        snprintf(text, sizeof text, "%lld", id[i]);
        status = wk_features_add_name(f, text, what, err);
    }
    hp_free(id);
    return status;
}

static hp_status_t add_text_ids(wk_features_t *f, hid_t dataset, hid_t type, hp_error_t *err) {
    char what[512];
    snprintf(what, sizeof what, "%s: dataset '%s'", f->options.path, f->options.ids_dataset);
    bool variable = H5Tis_variable_str(type) > 0;
    size_t bytes = variable ? sizeof(char *) : H5Tget_size(type);
    hid_t memory = H5Tcopy(type), space = H5Dget_space(dataset);
    void *p = NULL, *word = NULL;
    hp_status_t status = hp_allocate(&p, f->shape.images, bytes, "ids", err);
    if (status == HP_OK) status = hp_allocate(&word, bytes + 1, 1, "an id", err);
    bool read = status == HP_OK && H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, p) >= 0;
    if (status == HP_OK && !read) status = hdf5_fail(f, f->options.ids_dataset, err);
    for (uint64_t i = 0; status == HP_OK && i < f->shape.images; i++) {
        const char *id = word;
        if (variable)
            id = ((char **)p)[i] != NULL ? ((char **)p)[i] : "";
        else
            memcpy(word, (char *)p + i * bytes, bytes);
        status = wk_features_add_name(f, id, what, err);
    }
    if (read && variable) H5Dvlen_reclaim(memory, space, H5P_DEFAULT, p);
    H5Tclose(memory);
    H5Sclose(space);
    hp_free(p);
    hp_free(word);
    return status;
}

static hp_status_t open_ids(wk_features_t *f, const hdf5_t *h, hp_error_t *err) {
    const char *name = f->options.ids_dataset;
    if (f->options.ids_file != NULL) return wk_features_add_file_ids(f, err);
    if (name == NULL || name[0] == '\0') return wk_features_add_row_ids(f, err);
    if (H5Lexists(h->file, name, H5P_DEFAULT) <= 0)
        return hp_fail(err, HP_INPUT,
                       "%s: no dataset '%s' of image ids; name it with --ids-dataset, or give "
                       "--ids-dataset '' where an image's id is its row",
                       f->options.path, name);
    hid_t dataset = H5Dopen2(h->file, name, H5P_DEFAULT);
    if (dataset < 0) return hdf5_fail(f, name, err);
    hp_status_t status = check_stored(f, dataset, name, err);
    if (status != HP_OK) {
        H5Dclose(dataset);
        return status;
    }
    hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
    hssize_t points = H5Sget_simple_extent_npoints(space);
    H5T_class_t class = H5Tget_class(type);
    if (points < 0 || (uint64_t)points != f->shape.images)
        status =
            hp_fail(err, HP_INPUT, "%s: dataset '%s' has %lld ids for %llu images", f->options.path,
                    name, (long long)points, (unsigned long long)f->shape.images);
    else if (class == H5T_INTEGER)
        status = add_number_ids(f, dataset, err);
    else if (class == H5T_STRING)
        status = add_text_ids(f, dataset, type, err);
    else
        status = hp_fail(err, HP_INPUT, "%s: dataset '%s' holds neither whole numbers nor strings",
                         f->options.path, name);
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(dataset);
    return status;
}

/* Rows [first, first + count) along the first axis. */
static bool read_rows(hid_t array, hid_t type, hsize_t first, hsize_t count, void *out) {
    hsize_t start[8] = {first}, size[8];
    hid_t space = H5Dget_space(array);
    int dims = H5Sget_simple_extent_dims(space, size, NULL);
    size[0] = count;
    hid_t memory = dims > 0 ? H5Screate_simple(dims, size, NULL) : -1;
    bool good = memory >= 0 &&
                H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, size, NULL) >= 0 &&
                H5Dread(array, type, memory, space, H5P_DEFAULT, out) >= 0;
    if (memory >= 0) H5Sclose(memory);
    H5Sclose(space);
    return good;
}

static hp_status_t read_sparse(wk_features_t *f, uint64_t image, hp_error_t *err) {
    hdf5_t *h = f->source;
    size_t room = (size_t)f->shape.cells * (size_t)f->shape.channels;
    hsize_t first = (hsize_t)h->row[image], count = (hsize_t)h->row[image + 1] - first;
    memset(f->values, 0, room * sizeof *f->values);
    if (count == 0) return HP_OK;
    if (!read_rows(h->sparse, H5T_NATIVE_FLOAT, first, count, h->number) ||
        !read_rows(h->places, H5T_NATIVE_LLONG, first, count, h->place))
        return hdf5_fail(f, "sparse rows", err);
    for (hsize_t i = 0; i < count; i++) {
        if (h->place[i] < 0 || (uint64_t)h->place[i] >= room)
            return hp_fail(err, HP_INPUT, "%s: image %s: index %lld of %zu numbers",
                           f->options.path, wk_features_name(f, image), h->place[i], room);
        f->values[h->place[i]] = h->number[i];
    }
    return HP_OK;
}

static hp_status_t read_dense(wk_features_t *f, uint64_t image, hp_error_t *err) {
    hdf5_t *h = f->source;
    hsize_t first = image, count = 1;
    if (h->range != NULL) {
        first = (hsize_t)h->range[2 * image];
        count = (hsize_t)h->range[2 * image + 1] - first;
        f->cells = (int)count;
    }
    void *to = h->raw != NULL ? (void *)h->raw : (void *)f->values;
    const char *name = f->options.dataset;
    bool good = read_rows(h->dataset, h->memory_type, first, count, to);
    if (good && h->boxes >= 0) {
        name = f->options.boxes_dataset;
        good = read_rows(h->boxes, H5T_NATIVE_FLOAT, first, count, h->box);
    }
    char what[512];
    snprintf(what, sizeof what, "row %llu of '%s'", (unsigned long long)image, name);
    if (!good) return hdf5_fail(f, what, err);
    if (h->raw != NULL)
        hp_convert_to_f32(h->level, HP_DTYPE_F16, h->raw,
                          (size_t)f->cells * (size_t)f->shape.channels, f->values);
    if (h->boxes >= 0) wk_features_take_boxes(f, h->box, h->box_columns);
    return HP_OK;
}

static hp_status_t read_image(wk_features_t *f, uint64_t image, hp_error_t *err) {
    const hdf5_t *h = f->source;
    H5E_auto2_t printer;
    void *context;
    H5Eget_auto2(H5E_DEFAULT, &printer, &context);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    hp_status_t status = h->row != NULL ? read_sparse(f, image, err) : read_dense(f, image, err);
    H5Eset_auto2(H5E_DEFAULT, printer, context);
    return status;
}

/* The signature is at the begin, or behind a block of the user's, of 512 bytes or twice as many any
 * number of times. The library is not asked: that, too, would read a damaged file here. */
bool wk_features_is_hdf5(const char *path) {
    static const char signature[] = "\x89HDF\r\n\x1a\n";
    char begin[sizeof signature - 1];
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool yes = false;
    if (fd < 0) return false;
    for (uint64_t at = 0; !yes && hp_read_at(fd, at, begin, sizeof begin); at = at ? 2 * at : 512)
        yes = memcmp(begin, signature, sizeof begin) == 0;
    close(fd);
    return yes;
}

hp_status_t wk_features_open_hdf5(wk_features_t *f, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(hdf5_t), "HDF5", err));
    hdf5_t *h = p;
    h->file = h->dataset = h->memory_type = h->boxes = h->sparse = h->places = -1;
    h->level = hp_convert_best();
    f->source = h;
    f->close = close_hdf5;
    f->read = read_image;
    H5E_auto2_t printer;
    void *context;
    /* Of a damaged file the library keeps things open that it cannot close at the process's end,
     * and says so at length. Nothing is written: there is nothing to close. */
    H5dont_atexit();
    H5Eget_auto2(H5E_DEFAULT, &printer, &context);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    h->file = H5Fopen(f->options.path, H5F_ACC_RDONLY, H5P_DEFAULT);
    hp_status_t status = h->file < 0 ? hdf5_fail(f, "cannot be opened as HDF5", err) : HP_OK;
    if (status == HP_OK) status = open_dataset(f, h, err);
    if (status == HP_OK) status = room_for_half(f, h, err);
    if (status == HP_OK) status = open_boxes(f, h, err);
    if (status == HP_OK) status = read_sizes(f, h, err);
    if (status == HP_OK) status = open_ids(f, h, err);
    H5Eset_auto2(H5E_DEFAULT, printer, context);
    return status;
}
