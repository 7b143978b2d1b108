/* Loops over arrays as vector code, and sums whose bits depend on the numbers alone: the same for
 * every instruction set. */
#ifndef HP_VECTOR_H
#define HP_VECTOR_H

#include "common/bf16.h"

#include <stdint.h>

/* A function so marked is compiled for several instruction sets, of which the dynamic linker takes
 * the CPU's best: for loops over arrays, which need no more than this to be as fast as the CPU
 * allows. Additions are neither reordered nor fused with products, so all forms give the same bits.
 * The sanitizers are not yet there when the linker asks; clang 14 gives the clones names that other
 * files do not find. */
#if defined(__x86_64__) && defined(__ELF__) && !defined(HP_SANITIZED) && !defined(__clang__) &&    \
    !defined(__cppcheck__)
#define HP_VECTOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define HP_VECTOR
#endif

/* Sum of x[i]^2 in double, in 16 lanes added in order; not finite when an x[i] is not (the squares
 * of floats cannot overflow a double's range). */
double hp_sum_squares(const float *x, int64_t n);

/* y[i] += x[i] */
void hp_add(float *y, const float *x, int64_t n);

/* out[i] = in[i], rounded; they do not overlap. */
void hp_bf16_round(hp_bf16_t *restrict out, const float *restrict in, int64_t n);
/* The same; returns hp_sum_squares of what it wrote. */
double hp_bf16_pack(hp_bf16_t *out, const float *in, int64_t n);
void hp_bf16_unpack(float *out, const hp_bf16_t *in, int64_t n);

/* y[i] += x[i] */
void hp_bf16_add(float *y, const hp_bf16_t *x, int64_t n);

double hp_bf16_sum_squares(const hp_bf16_t *x, int64_t n);

/* y[i] *= scale */
void hp_scale(float *y, float scale, int64_t n);

#endif
