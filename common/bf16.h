/* A number of 16 bits: the upper half of a float, rounded to even. */
#ifndef HP_BF16_H
#define HP_BF16_H

#include <stdint.h>

typedef uint16_t hp_bf16_t;

static inline float hp_bf16_to_float(hp_bf16_t x) {
    union {
        uint32_t bits;
        float value;
    } u = {(uint32_t)x << 16};
    return u.value;
}

/* Without a branch: loops over it become vector code. */
static inline hp_bf16_t hp_bf16_from_float(float x) {
    union {
        float value;
        uint32_t bits;
    } u = {x};
    const uint32_t rounded = (u.bits + 0x7fff + (u.bits >> 16 & 1)) >> 16;
    const uint32_t quiet = u.bits >> 16 | 0x40; /* rounding could make a NaN infinite */
    const uint32_t is_nan = 0U - (uint32_t)((u.bits & 0x7fffffff) > 0x7f800000);
    return (hp_bf16_t)((rounded & ~is_nan) | (quiet & is_nan));
}

#endif
