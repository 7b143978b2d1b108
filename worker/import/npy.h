/* The header of a .npy file (numpy's format, versions 1 to 3). */
#ifndef WK_NPY_H
#define WK_NPY_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WK_NPY_DIMS = 8 };

typedef struct {
    char type; /* 'f', 'i', 'u', 'b' */
    int bytes; /* of a number */
    bool big_endian, fortran;
    bool bf16; /* of two bytes; no .npy file has them */
    int dims;
    uint64_t size[WK_NPY_DIMS];
    uint64_t count; /* of numbers */
    size_t offset;  /* of the first number in the file */
} wk_npy_t;

/* data: the file's beginning, at least its header. Nothing outside of it is read. */
hp_status_t wk_npy_parse(const void *data, size_t bytes, wk_npy_t *npy,
                         hp_error_t *err) HP_MUST_CHECK;

#endif
