/* Where features come from: an HDF5 or safetensors file, a TSV file of bottom-up-attention, a
 * folder with a .npy, .npz or raw file for each image, a store, or several of these, one behind the
 * other. A source is read image by image, in its own order, in constant memory; whatever the file's
 * layout and number type, out come fp32 [cells][channels]. */
#ifndef WK_FEATURES_H
#define WK_FEATURES_H

#include "common/status.h"
#include "common/store.h"

#include <stdbool.h>
#include <stdint.h>

/* The axes of the array, images first; a file for one image leaves N out. S is cells in one axis.
 */
typedef enum {
    WK_LAYOUT_NHWC,
    WK_LAYOUT_NCHW,
    WK_LAYOUT_NSC,    /* N, cells, channels */
    WK_LAYOUT_NCS,    /* N, channels, cells */
    WK_LAYOUT_RAGGED, /* cells of all images, channels; another array says which are whose */
    WK_LAYOUTS
} wk_layout_t;

const char *wk_layout_name(wk_layout_t layout);
hp_status_t wk_layout_parse(const char *name, wk_layout_t *layout_p, hp_error_t *err) HP_MUST_CHECK;

typedef struct wk_features_options {
    const char *path;        /* a file or a folder */
    const char *dataset;     /* of the features: in HDF5, a tensor's or an array's name in .npz */
    const char *ids_dataset; /* of the images' ids, in one file; "": an image's id is its row */
    const char *ids_file;    /* text, an id a line, for the rows of one file; NULL: none */
    /* Of a ragged array: [images][2], the first cell and the one after the last. */
    const char *ranges_dataset;
    /* x1, y1, x2, y2 and perhaps more, axes as the features'; NULL: none. */
    const char *boxes_dataset;
    /* The images' widths and heights, by which boxes are divided; NULL: boxes stay as they are. In
     * one file [images], in .npz a number. */
    const char *width_dataset, *height_dataset;
    /* Names in a folder: %d, %012d or %s stands for the id; names in a text file or a store are ids
     * unless they fit it. */
    const char *pattern;
    const char *numbered; /* a pattern of which an id that is a number is made a name; NULL: none */
    wk_layout_t layout;
    int grid_height, grid_width; /* of layouts without H and W; 0, 0: none */
    /* Files of raw numbers, little-endian: the axes of one image; 0 for one that the file's length
     * tells. */
    int raw_dims; /* 0: the files are .npy or .npz */
    uint64_t raw_size[3];
    hp_dtype_t raw_dtype;
    const struct wk_features_options *next; /* other images' features; NULL: these are all */
} wk_features_options_t;

typedef struct {
    hp_dtype_t dtype;            /* of the source; NONE for any other number type */
    int grid_height, grid_width; /* 0, 0: no grid */
    int cells, channels;         /* cells: the most that an image has */
    bool ragged, boxes;
    uint64_t images;
} wk_features_shape_t;

typedef struct wk_features wk_features_t;

hp_status_t wk_features_open(const wk_features_options_t *options, wk_features_t **features_p,
                             hp_error_t *err) HP_MUST_CHECK;
void wk_features_close(wk_features_t *features);

const wk_features_shape_t *wk_features_shape(const wk_features_t *features);
const char *wk_features_path(const wk_features_t *features, uint64_t image);
const char *wk_features_name(const wk_features_t *features, uint64_t image); /* its id */
int64_t wk_features_find(const wk_features_t *features, const char *id);     /* -1: none */

/* out: [cells][channels]; boxes: [cells][4], where the shape says that there are some; both have
 * room for shape->cells. Errors name the file and the image. */
hp_status_t wk_features_read(wk_features_t *features, uint64_t image, float *out, float *boxes,
                             int *cells_p, hp_error_t *err) HP_MUST_CHECK;

#endif
