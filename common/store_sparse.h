/* The sparse encoding of an image's features: a bit for each number, and those numbers whose bits
 * are not all zero. Features after a ReLU are mostly zeros. Lossless: a negative zero and the bits
 * of a NaN stay. docs/store.md describes the record:
 *
 *     u32 form      HP_SPARSE_RAW or HP_SPARSE_BITMAP
 *     u32 cells
 *     u32 kept      numbers that follow; of RAW all of them
 *     u32 zero
 *     RAW:          [cells][channels] numbers
 *     BITMAP:       u64 [ceil(cells * channels / 64)], bit i % 64 of word i / 64 for number i, bits
 *                   after the last number 0; then the kept numbers in their order
 *
 * All little-endian. */
#ifndef HP_STORE_SPARSE_H
#define HP_STORE_SPARSE_H

#include "common/store.h"
#include "common/store_convert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HP_SPARSE_RAW, HP_SPARSE_BITMAP };
enum { HP_SPARSE_HEADER = 16 };

/* A record whose header fits its length. Points into it. */
typedef struct {
    hp_dtype_t dtype;
    uint32_t form, cells, kept;
    size_t count; /* of numbers: cells * channels */
    const unsigned char *bitmap, *number;
} hp_sparse_t;

/* Bytes of the longest record of so many numbers. */
size_t hp_sparse_room(hp_dtype_t dtype, size_t count);

/* Encodes numbers[cells][channels] to `record`, which has hp_sparse_room bytes; returns the bytes
 * used. AUTO takes BITMAP where that saves an eighth at least, SPARSE takes it always. */
size_t hp_sparse_encode(hp_encoding_t encoding, hp_dtype_t dtype, const void *numbers, int cells,
                        int channels, unsigned char *record);

/* False where header, length and channels do not fit each other. */
bool hp_sparse_parse(hp_dtype_t dtype, const void *record, size_t bytes, int channels,
                     hp_sparse_t *sparse);
/* False where a parsed record is not what hp_sparse_encode writes: the bitmap has another number of
 * bits, or bits after the last number, or a kept number is zero. */
bool hp_sparse_check(const hp_sparse_t *sparse);

/* Decode to out[count]: fp32, the very bits that hp_convert_to_f32 gives; or as they were before
 * encoding. False where bitmap and `kept` differ. Never reads or writes outside. */
bool hp_sparse_to_f32(hp_convert_level_t level, const hp_sparse_t *sparse, float *out);
bool hp_sparse_to_raw(const hp_sparse_t *sparse, void *out);

#endif
