/* A safetensors file (https://github.com/huggingface/safetensors): u64 length of the header; the
 * header, JSON: {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, ..}; the
 * tensors' bytes, little-endian, row-major. Every error is HP_INPUT and begins with the path. */
#ifndef WK_SAFETENSORS_H
#define WK_SAFETENSORS_H

#include "common/status.h"
#include "common/store.h"
#include "worker/import/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WK_SAFETENSORS_DIMS = 8 };

typedef struct {
    const char *path; /* the caller's */
    int fd;
    uint64_t size, first;      /* bytes of the file; where the tensors begin */
    struct yajl_val_s *header; /* an object */
} wk_safetensors_t;

typedef struct {
    const char *name;
    char type[8];     /* as the file says: "BF16" */
    hp_dtype_t dtype; /* F32, F16 or BF16; else HP_DTYPE_NONE */
    int bytes;        /* of a number */
    int dims;
    uint64_t size[WK_SAFETENSORS_DIMS], count;
    uint64_t begin; /* in the file; it has all of the tensor's bytes */
} wk_tensor_t;

/* True where a length and a JSON object begin the file, or its name ends in .safetensors. */
bool wk_safetensors_is(const char *path);

/* Opens it and reads the header. `path` must live as long. Close it whatever the status is. */
hp_status_t wk_safetensors_open(const char *path, wk_safetensors_t *file,
                                hp_error_t *err) HP_MUST_CHECK;
void wk_safetensors_close(wk_safetensors_t *file);

/* Adds the names of all tensors. */
hp_status_t wk_safetensors_names(const wk_safetensors_t *file, wk_strings_t *names,
                                 hp_error_t *err) HP_MUST_CHECK;

/* The tensor of a name, which must live as long as `tensor`; where there is none the error says
 * what there is. */
hp_status_t wk_safetensors_find(const wk_safetensors_t *file, const char *name, wk_tensor_t *tensor,
                                hp_error_t *err) HP_MUST_CHECK;

/* The bytes of `count` numbers of a tensor, from the number `first` on. */
hp_status_t wk_safetensors_read(const wk_safetensors_t *file, const wk_tensor_t *tensor,
                                uint64_t first, uint64_t count, void *out,
                                hp_error_t *err) HP_MUST_CHECK;

#endif
