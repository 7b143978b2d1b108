#include "common/store_sparse.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define X86 1
#endif

static uint64_t load64(const unsigned char *p) {
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static uint32_t load32(const unsigned char *p) {
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static size_t words_of(size_t count) { return (count + 63) / 64; }

size_t hp_sparse_room(hp_dtype_t dtype, size_t count) {
    return HP_SPARSE_HEADER + 8 * words_of(count) + count * hp_dtype_size(dtype);
}

/* ---- encoding ------------------------------------------------------------------------------ */

/* Bit i: number i of n has a bit that is set. */
static uint64_t mask_of(const unsigned char *in, size_t n, size_t size) {
    uint64_t mask = 0;
    if (size == 1) {
        for (size_t i = 0; i < n; i++) mask |= (uint64_t)(in[i] != 0) << i;
    } else if (size == 2) {
        for (size_t i = 0; i < n; i++) mask |= (uint64_t)((in[2 * i] | in[2 * i + 1]) != 0) << i;
    } else {
        for (size_t i = 0; i < n; i++) mask |= (uint64_t)(load32(in + 4 * i) != 0) << i;
    }
    return mask;
}

size_t hp_sparse_encode(hp_encoding_t encoding, hp_dtype_t dtype, const void *numbers, int cells,
                        int channels, unsigned char *record) {
    const unsigned char *in = numbers;
    size_t count = (size_t)cells * (size_t)channels, size = hp_dtype_size(dtype), kept = 0;
    size_t words = words_of(count), raw = count * size;
    unsigned char *bitmap = record + HP_SPARSE_HEADER, *out = bitmap + 8 * words;
    for (size_t w = 0; w < words; w++) {
        size_t n = count - 64 * w < 64 ? count - 64 * w : 64;
        uint64_t mask = mask_of(in + 64 * w * size, n, size);
        memcpy(bitmap + 8 * w, &mask, sizeof mask);
        kept += (size_t)__builtin_popcountll(mask);
    }
    size_t bytes = 8 * words + kept * size;
    bool sparse = encoding == HP_ENCODING_SPARSE || bytes <= raw - raw / 8;
    const uint32_t header[4] = {sparse ? HP_SPARSE_BITMAP : HP_SPARSE_RAW, (uint32_t)cells,
                                (uint32_t)(sparse ? kept : count), 0};
    memcpy(record, header, sizeof header);
    if (!sparse) {
        memcpy(bitmap, in, raw);
        return HP_SPARSE_HEADER + raw;
    }
    for (size_t w = 0; w < words; w++)
        for (uint64_t mask = load64(bitmap + 8 * w); mask != 0; mask &= mask - 1) {
            size_t i = 64 * w + (size_t)__builtin_ctzll(mask);
            memcpy(out, in + i * size, size);
            out += size;
        }
    return HP_SPARSE_HEADER + bytes;
}

/* ---- reading ------------------------------------------------------------------------------- */

bool hp_sparse_parse(hp_dtype_t dtype, const void *record, size_t bytes, int channels,
                     hp_sparse_t *sparse) {
    const unsigned char *r = record;
    if (bytes < HP_SPARSE_HEADER || load32(r + 12) != 0) return false;
    hp_sparse_t s = {.dtype = dtype,
                     .form = load32(r),
                     .cells = load32(r + 4),
                     .kept = load32(r + 8),
                     .bitmap = r + HP_SPARSE_HEADER};
    s.count = (size_t)s.cells * (size_t)channels;
    size_t bitmap = s.form == HP_SPARSE_BITMAP ? 8 * words_of(s.count) : 0;
    if (s.form > HP_SPARSE_BITMAP || s.cells == 0 || s.kept > s.count ||
        (s.form == HP_SPARSE_RAW && s.kept != s.count) ||
        bytes != HP_SPARSE_HEADER + bitmap + s.kept * hp_dtype_size(dtype))
        return false;
    s.number = s.bitmap + bitmap;
    *sparse = s;
    return true;
}

bool hp_sparse_check(const hp_sparse_t *s) {
    size_t words = words_of(s->count), kept = 0, size = hp_dtype_size(s->dtype);
    if (s->form == HP_SPARSE_RAW) return true;
    for (size_t w = 0; w < words; w++)
        kept += (size_t)__builtin_popcountll(load64(s->bitmap + 8 * w));
    if (kept != s->kept) return false;
    if (s->count % 64 != 0 && load64(s->bitmap + 8 * (words - 1)) >> s->count % 64 != 0)
        return false;
    for (size_t i = 0; i < kept; i += 64) {
        size_t n = kept - i < 64 ? kept - i : 64;
        if (mask_of(s->number + i * size, n, size) !=
            (n < 64 ? ((uint64_t)1 << n) - 1 : UINT64_MAX))
            return false;
    }
    return true;
}

/* Words [*w, words) of the bitmap, with numbers from *at. The plain form of what is below; it also
 * ends what the others begin. */
static bool expand_plain(hp_convert_level_t level, const hp_sparse_t *s, size_t w, size_t at,
                         float *out) {
    size_t size = hp_dtype_size(s->dtype);
    for (; w * 64 < s->count; w++) {
        size_t room = s->count - 64 * w < 64 ? s->count - 64 * w : 64;
        uint64_t mask = load64(s->bitmap + 8 * w);
        size_t n = (size_t)__builtin_popcountll(mask);
        float number[64];
        if (n > s->kept - at || (room < 64 && mask >> room != 0)) return false;
        hp_convert_to_f32(level, s->dtype, s->number + at * size, n, number);
        at += n;
        memset(out + 64 * w, 0, room * sizeof *out);
        for (size_t k = 0; mask != 0; mask &= mask - 1)
            out[64 * w + (size_t)__builtin_ctzll(mask)] = number[k++];
    }
    return at == s->kept;
}

#ifdef X86
/* Sixteen numbers at a time: they are read from the packed ones, converted, and moved to where the
 * mask has its bits; the next sixteen begin after as many as that. Only while 64 packed numbers are
 * left, so that nothing is read past the end. Return the words done, and in *at_p the numbers. */
#define AVX512      __attribute__((target("avx512f,popcnt")))
#define LOAD512(p)  _mm512_loadu_ps((const void *)(p))
#define LOAD256I(p) _mm256_loadu_si256((const void *)(p))
#define LOAD128I(p) _mm_loadu_si128((const void *)(p))
#define EXPAND_512(name, size, load)                                                               \
    AVX512 static size_t name(const hp_sparse_t *s, float *out, size_t *at_p) {                    \
        size_t w = 0, at = 0;                                                                      \
        for (; w < s->count / 64 && at + 64 <= s->kept; w++) {                                     \
            uint64_t mask = load64(s->bitmap + 8 * w);                                             \
            const unsigned char *p = s->number + at * (size);                                      \
            at += (size_t)__builtin_popcountll(mask);                                              \
            for (int i = 0; i < 4; i++, mask >>= 16) {                                             \
                __m512 v = _mm512_maskz_expand_ps((__mmask16)mask, load);                          \
                _mm512_storeu_ps(out + 64 * w + 16 * i, v);                                        \
                p += (size_t)__builtin_popcountll(mask & 0xffff) * (size);                         \
            }                                                                                      \
        }                                                                                          \
        *at_p = at;                                                                                \
        return w;                                                                                  \
    }

EXPAND_512(f32_512, 4, LOAD512(p))
EXPAND_512(f16_512, 2, _mm512_cvtph_ps(LOAD256I(p)))
EXPAND_512(bf16_512, 2,
           _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(LOAD256I(p)), 16)))
EXPAND_512(u8_512, 1,
           _mm512_div_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(LOAD128I(p))),
                         _mm512_set1_ps(255.0f)))

/* Eight at a time. AVX2 has no expansion: from the mask's bits, spread to bytes, their running sum
 * says which packed number goes to each place. */
#define AVX2       __attribute__((target("avx2,f16c,popcnt")))
#define LOAD256(p) _mm256_loadu_ps((const void *)(p))
#define LOAD64I(p) _mm_loadl_epi64((const void *)(p))
#define EVERY_BYTE 0x0101010101010101u
#define EXPAND_256(name, size, load)                                                               \
    AVX2 static size_t name(const hp_sparse_t *s, float *out, size_t *at_p) {                      \
        size_t w = 0, at = 0;                                                                      \
        for (; w < s->count / 64 && at + 64 <= s->kept; w++) {                                     \
            uint64_t mask = load64(s->bitmap + 8 * w);                                             \
            const unsigned char *p = s->number + at * (size);                                      \
            at += (size_t)__builtin_popcountll(mask);                                              \
            for (int i = 0; i < 8; i++, mask >>= 8) {                                              \
                uint64_t bit = (mask & 0xff) * EVERY_BYTE & 0x8040201008040201u;                   \
                bit = (bit + 0x7f7f7f7f7f7f7f7fu) >> 7 & EVERY_BYTE;                               \
                uint64_t from = bit * EVERY_BYTE - bit;                                            \
                __m256i index = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)from));          \
                __m256i keep = _mm256_cvtepi8_epi32(_mm_cvtsi64_si128((long long)(bit * 255)));    \
                __m256 v = _mm256_permutevar8x32_ps(load, index);                                  \
                _mm256_storeu_ps(out + 64 * w + 8 * i,                                             \
                                 _mm256_and_ps(v, _mm256_castsi256_ps(keep)));                     \
                p += (from >> 56) * (size) + (bit >> 56) * (size);                                 \
            }                                                                                      \
        }                                                                                          \
        *at_p = at;                                                                                \
        return w;                                                                                  \
    }

EXPAND_256(f32_256, 4, LOAD256(p))
EXPAND_256(f16_256, 2, _mm256_cvtph_ps(LOAD128I(p)))
EXPAND_256(bf16_256, 2,
           _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(LOAD128I(p)), 16)))
EXPAND_256(u8_256, 1,
           _mm256_div_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(LOAD64I(p))),
                         _mm256_set1_ps(255.0f)))

static size_t expand_vector(hp_convert_level_t level, const hp_sparse_t *s, float *out,
                            size_t *at_p) {
    bool wide = level == HP_CONVERT_AVX512;
    switch (s->dtype) {
    case HP_DTYPE_F32:
        return wide ? f32_512(s, out, at_p) : f32_256(s, out, at_p);
    case HP_DTYPE_F16:
        return wide ? f16_512(s, out, at_p) : f16_256(s, out, at_p);
    case HP_DTYPE_BF16:
        return wide ? bf16_512(s, out, at_p) : bf16_256(s, out, at_p);
    case HP_DTYPE_U8:
        return wide ? u8_512(s, out, at_p) : u8_256(s, out, at_p);
    case HP_DTYPE_NONE:
        break;
    }
    return 0;
}
#endif

bool hp_sparse_to_f32(hp_convert_level_t level, const hp_sparse_t *s, float *out) {
    size_t w = 0, at = 0;
    if (s->form == HP_SPARSE_RAW) {
        hp_convert_to_f32(level, s->dtype, s->number, s->count, out);
        return true;
    }
#ifdef X86
    if (level != HP_CONVERT_SCALAR) w = expand_vector(level, s, out, &at);
    if (at > s->kept) return false;
#endif
    return expand_plain(level, s, w, at, out);
}

bool hp_sparse_to_raw(const hp_sparse_t *s, void *out) {
    size_t size = hp_dtype_size(s->dtype), at = 0;
    if (s->form == HP_SPARSE_RAW) {
        memcpy(out, s->number, s->count * size);
        return true;
    }
    memset(out, 0, s->count * size);
    for (size_t w = 0; w * 64 < s->count; w++)
        for (uint64_t mask = load64(s->bitmap + 8 * w); mask != 0; mask &= mask - 1) {
            size_t i = 64 * w + (size_t)__builtin_ctzll(mask);
            if (i >= s->count || at == s->kept) return false;
            memcpy((unsigned char *)out + i * size, s->number + at++ * size, size);
        }
    return at == s->kept;
}
