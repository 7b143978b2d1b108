/* Sums over arrays whose bits depend on the numbers alone. */
#ifndef HP_VECTOR_H
#define HP_VECTOR_H

#include <stdint.h>

/* Sum of x[i]^2 in double, in 16 lanes added in order; not finite when an x[i] is not (the squares
 * of floats cannot overflow a double's range). */
double hp_sum_squares(const float *x, int64_t n);

/* y[i] += x[i] */
void hp_add(float *y, const float *x, int64_t n);

#endif
