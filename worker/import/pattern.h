/* File names with an id in them: "image%d.jpg", "COCO_*_%012d.npy", "%s.npy". A %d stands for a
 * whole number, with %0Nd for one of N digits with zeros in front, %s for anything without a slash;
 * a * before it for anything at all. */
#ifndef WK_PATTERN_H
#define WK_PATTERN_H

#include "common/status.h"
#include "worker/import/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char before[256], after[256];
    bool number;
    int digits; /* of %0Nd; 0: any number of digits */
} wk_pattern_t;

hp_status_t wk_pattern_parse(const char *text, wk_pattern_t *pattern,
                             hp_error_t *err) HP_MUST_CHECK;

/* True where `name` fits; then `id` is what stands for the id, numbers without zeros in front. */
bool wk_pattern_match(const wk_pattern_t *pattern, const char *name, char *id, size_t size);

/* The name with this id, which has no * then; false: it does not fit `size`. */
bool wk_pattern_make(const wk_pattern_t *pattern, const char *id, char *name, size_t size);

/* The files of a folder that fit, in the order of their ids (numbers by value, else by bytes). */
typedef struct {
    wk_strings_t ids, names; /* the i-th id is that of the i-th name of `name` */
    uint32_t *name;          /* [count]: number in `names` */
    uint32_t count;
} wk_files_t;

hp_status_t wk_files_list(const char *folder, const char *pattern, wk_files_t *files,
                          hp_error_t *err) HP_MUST_CHECK;
void wk_files_release(wk_files_t *files);

#endif
