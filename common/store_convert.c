#include "common/store_convert.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define X86 1
#endif

hp_convert_level_t hp_convert_best(void) {
#ifdef X86
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) return HP_CONVERT_AVX512;
    /* every CPU with AVX2 has F16C; gcc 12 cannot ask for F16C itself */
    if (__builtin_cpu_supports("avx2")) return HP_CONVERT_F16C;
#endif
    return HP_CONVERT_SCALAR;
}

static float from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t to_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, fraction = h & 0x3ff;
    if (exponent == 0) /* zero or subnormal: exact in fp32 */
        return from_bits(sign | to_bits((float)fraction * 0x1p-24f));
    if (exponent == 31) /* infinity, or NaN made quiet as the CPU does */
        return from_bits(sign | 0x7f800000 | fraction << 13 | (fraction ? 0x400000 : 0));
    return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

static uint16_t f32_to_f16(float x) {
    uint32_t bits = to_bits(x), sign = bits >> 16 & 0x8000, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 0x3ff));
    if (rest >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* 65520 and more round to infinity */
    if (rest < 0x38800000) { /* below 2^-14: adding 0.5 leaves a multiple of 2^-24, rounded */
        uint32_t sum = to_bits(from_bits(rest) + 0.5f);
        return (uint16_t)(sign | (sum - 0x3f000000));
    }
    uint32_t odd = rest >> 13 & 1;
    return (uint16_t)(sign | ((rest - 0x38000000 + 0xfff + odd) >> 13));
}

static uint16_t f32_to_bf16(float x) {
    uint32_t bits = to_bits(x);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static size_t f16_to_f32_scalar(const unsigned char *in, size_t from, size_t n, float *out) {
    for (size_t i = from; i < n; i++) {
        uint16_t h;
        memcpy(&h, in + 2 * i, 2);
        out[i] = f16_to_f32(h);
    }
    return n;
}

static size_t f32_to_f16_scalar(const float *in, size_t from, size_t n, unsigned char *out) {
    for (size_t i = from; i < n; i++) {
        uint16_t h = f32_to_f16(in[i]);
        memcpy(out + 2 * i, &h, 2);
    }
    return n;
}

#ifdef X86
__attribute__((target("avx,f16c"))) static size_t f16_to_f32_f16c(const unsigned char *in, size_t n,
                                                                  float *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(in + 2 * i))));
    return i;
}

__attribute__((target("avx,f16c"))) static size_t f32_to_f16_f16c(const float *in, size_t n,
                                                                  unsigned char *out) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((void *)(out + 2 * i),
                         _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
    return i;
}

__attribute__((target("avx512f"))) static size_t f16_to_f32_avx512(const unsigned char *in,
                                                                   size_t n, float *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(out + i, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(in + 2 * i))));
    return i;
}

__attribute__((target("avx512f"))) static size_t f32_to_f16_avx512(const float *in, size_t n,
                                                                   unsigned char *out) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((void *)(out + 2 * i),
                            _mm512_cvtps_ph(_mm512_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT));
    return i;
}
#endif

void hp_convert_to_f32(hp_convert_level_t level, hp_dtype_t dtype, const void *data, size_t n,
                       float *out) {
    const unsigned char *in = data;
    size_t done = 0;
    switch (dtype) {
    case HP_DTYPE_F16:
#ifdef X86
        if (level == HP_CONVERT_AVX512) done = f16_to_f32_avx512(in, n, out);
        if (level == HP_CONVERT_F16C) done = f16_to_f32_f16c(in, n, out);
#endif
        f16_to_f32_scalar(in, done, n, out);
        break;
    case HP_DTYPE_F32:
        memcpy(out, in, n * sizeof *out);
        break;
    case HP_DTYPE_BF16: /* the compiler vectorises these two */
        for (size_t i = 0; i < n; i++) {
            uint16_t h;
            memcpy(&h, in + 2 * i, 2);
            out[i] = from_bits((uint32_t)h << 16);
        }
        break;
    case HP_DTYPE_U8:
        for (size_t i = 0; i < n; i++) out[i] = (float)in[i] / 255.0f;
        break;
    case HP_DTYPE_NONE:
        break;
    }
    (void)level;
}

void hp_convert_from_f32(hp_convert_level_t level, hp_dtype_t dtype, const float *in, size_t n,
                         void *data) {
    unsigned char *out = data;
    size_t done = 0;
    switch (dtype) {
    case HP_DTYPE_F16:
#ifdef X86
        if (level == HP_CONVERT_AVX512) done = f32_to_f16_avx512(in, n, out);
        if (level == HP_CONVERT_F16C) done = f32_to_f16_f16c(in, n, out);
#endif
        f32_to_f16_scalar(in, done, n, out);
        break;
    case HP_DTYPE_F32:
        memcpy(out, in, n * sizeof *in);
        break;
    case HP_DTYPE_BF16:
        for (size_t i = 0; i < n; i++) {
            uint16_t h = f32_to_bf16(in[i]);
            memcpy(out + 2 * i, &h, 2);
        }
        break;
    case HP_DTYPE_U8:
        for (size_t i = 0; i < n; i++) {
            float x = in[i] * 255.0f;
            out[i] = (unsigned char)(x > 255.0f ? 255 : x >= 0 ? lrintf(x) : 0);
        }
        break;
    case HP_DTYPE_NONE:
        break;
    }
    (void)level;
}

size_t hp_convert_find_bad(hp_dtype_t dtype, const float *in, size_t n) {
    /* the smallest magnitude that becomes infinite, as bits: they order like the magnitudes */
    uint32_t limit = dtype == HP_DTYPE_F16    ? 0x477ff000
                     : dtype == HP_DTYPE_BF16 ? 0x7f7f8000
                                              : 0x7f800000;
    for (size_t i = 0; i < n;) {
        size_t end = n - i < 4096 ? n : i + 4096, first = i;
        uint32_t bad = 0;
        for (; i < end; i++) bad |= (to_bits(in[i]) & 0x7fffffff) >= limit;
        if (!bad) continue;
        for (i = first; i < end; i++)
            if ((to_bits(in[i]) & 0x7fffffff) >= limit) return i;
    }
    return n;
}
