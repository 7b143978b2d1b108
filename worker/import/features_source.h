/* What a kind of feature source provides. Private to worker/import/features*.c. */
#ifndef WK_FEATURES_SOURCE_H
#define WK_FEATURES_SOURCE_H

#include "worker/import/features.h"
#include "worker/import/text.h"

#include <stddef.h>

struct wk_features {
    wk_features_options_t options; /* strings belong to the caller until open has returned */
    wk_features_shape_t shape;
    wk_strings_t names; /* ids, in order; two that are equal are an error */
    bool fortran;       /* of the image being read: its axes are stored in reverse */
    /* One image as its file has it, and its boxes, [cells][4]. Room for them is made after the
     * source has opened, unless it has its own, which it takes back when it closes. */
    float *values, *boxes;
    float *sizes; /* [images][2]: width and height; NULL: read gives them to `size` */
    float size[2];
    bool fractions; /* boxes are divided already */
    int cells;      /* of the image being read, where it is ragged */
    /* Reads the image's numbers to `values`, in the file's order, and its boxes. */
    hp_status_t (*read)(wk_features_t *features, uint64_t image, hp_error_t *err);
    void (*close)(void *source);
    const char *(*path)(const wk_features_t *features, uint64_t image); /* NULL: options.path */
    void *source;                                                       /* of the kind */
};

/* HDF5, which a process of its own reads: at a damaged file libhdf5 may stop the process. */
hp_status_t wk_features_open_apart(wk_features_t *features, hp_error_t *err) HP_MUST_CHECK;
/* The same in this process: for that one. */
hp_status_t wk_features_open_hdf5(wk_features_t *features, hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_features_open_tsv(wk_features_t *features, hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_features_open_safetensors(wk_features_t *features, hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_features_open_folder(wk_features_t *features, hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_features_open_store(wk_features_t *features, hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_features_open_many(wk_features_t *features, hp_error_t *err) HP_MUST_CHECK;

/* True where the file is HDF5, whatever else is wrong with it. */
bool wk_features_is_hdf5(const char *path);
/* True where the folder has a store's manifest. */
bool wk_features_is_store(const char *path);
/* True where the first bytes are four fields and tabs. */
bool wk_features_is_tsv(const char *path);

/* Fills the shape from the axes of one image (without N). `what` names the array in the error. */
hp_status_t wk_features_axes(wk_features_t *features, int dims, const uint64_t *size,
                             const char *what, hp_error_t *err) HP_MUST_CHECK;
/* The next image's id; `what` names the place in the error. */
hp_status_t wk_features_add_name(wk_features_t *features, const char *id, const char *what,
                                 hp_error_t *err) HP_MUST_CHECK;
/* All ids: rows, from 0; or lines of options.ids_file, each an id, or a file name that fits the
 * pattern. */
hp_status_t wk_features_add_row_ids(wk_features_t *features, hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_features_add_file_ids(wk_features_t *features, hp_error_t *err) HP_MUST_CHECK;

/* Of a ragged array of `total` cells: range[images][2]. Fills the shape but for channels, which is
 * there. */
hp_status_t wk_features_check_ranges(wk_features_t *features, const long long *range,
                                     uint64_t images, uint64_t total,
                                     hp_error_t *err) HP_MUST_CHECK;
/* Boxes lie as the features do, with four columns or more for the channels; both have `dims` axes,
 * images (or cells) among them. */
hp_status_t wk_features_check_boxes(wk_features_t *features, int dims, const uint64_t *size,
                                    const uint64_t *box_size, int *columns_p,
                                    hp_error_t *err) HP_MUST_CHECK;
/* An image's boxes as the file has them, to features->boxes. */
void wk_features_take_boxes(wk_features_t *features, const float *box, int columns);

#endif
