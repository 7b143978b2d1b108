/* Numbers as a store keeps them, to and from fp32. The fastest form that the CPU has is chosen at
 * run time; all forms give the same bits. */
#ifndef HP_STORE_CONVERT_H
#define HP_STORE_CONVERT_H

#include "common/store.h"

#include <stddef.h>

typedef enum { HP_CONVERT_SCALAR, HP_CONVERT_F16C, HP_CONVERT_AVX512 } hp_convert_level_t;

hp_convert_level_t hp_convert_best(void);

/* in: n numbers of `dtype`, little-endian, of any alignment. u8 gives value / 255. */
void hp_convert_to_f32(hp_convert_level_t level, hp_dtype_t dtype, const void *in, size_t n,
                       float *out);

/* Rounds to nearest, ties to even; u8 is value * 255, clamped to 0 .. 255. */
void hp_convert_from_f32(hp_convert_level_t level, hp_dtype_t dtype, const float *in, size_t n,
                         void *out);

/* Index of the first number that is not finite, or would not be in `dtype`; n where there is none.
 */
size_t hp_convert_find_bad(hp_dtype_t dtype, const float *in, size_t n);

#endif
