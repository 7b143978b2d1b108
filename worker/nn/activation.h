/* Elementwise functions in the network's number type, written so that a loop over them becomes
 * vector code. In double, the build that checks gradients, they are the C library's. */
#ifndef NN_ACTIVATION_H
#define NN_ACTIVATION_H

#include "worker/nn/real.h"

#include <math.h>
#include <stdint.h>

#ifdef NN_DOUBLE

static inline nn_real nn_exp(nn_real x) { return exp(x); }
static inline nn_real nn_tanh(nn_real x) { return tanh(x); }
static inline nn_real nn_sigmoid(nn_real x) { return 1 / (1 + exp(-x)); }

#else

/* exp as Cephes computes it (expf.c): x = n log 2 + r, a polynomial in r, times 2^n. Within one
 * unit in the last place, the subnormals' included; 0 or infinite beyond. A NaN stays one. */
static inline nn_real nn_exp(nn_real x) {
    const nn_real most = 89.0f, least = -104.0f; /* from here on: infinite, 0 */
    x = x > most ? most : x;
    x = x < least ? least : x;
    union {
        nn_real value;
        int32_t bits;
    } n, low, high;
    const nn_real round = 0x1.8p23f; /* added, it leaves an integer in the last bits */
    n.value = x * 1.44269504088896341f + round;
    const nn_real whole = n.value - round;
    const nn_real r = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;
    nn_real p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1;
    /* 2^n in two factors: n may be beyond what one holds. */
    const int32_t exponent = n.bits - 0x4b400000, half = exponent >> 1;
    low.bits = (int32_t)((uint32_t)(half + 127) << 23);
    high.bits = (int32_t)((uint32_t)(exponent - half + 127) << 23);
    return p * low.value * high.value;
}

/* A rational approximation (the coefficients are Eigen's, Core/MathFunctionsImpl.h), odd, within 7
 * units in the last place of tanh everywhere, never beyond +-1. A NaN stays one. */
static inline nn_real nn_tanh(nn_real x) {
    const nn_real most = 7.90531110763549805f; /* from here on the quotient rounds to 1 */
    x = x > most ? most : x;
    x = x < -most ? -most : x;
    const nn_real y = x * x;
    nn_real p = -2.76076847742355e-16f;
    p = p * y + 2.00018790482477e-13f;
    p = p * y + -8.60467152213735e-11f;
    p = p * y + 5.12229709037114e-08f;
    p = p * y + 1.48572235717979e-05f;
    p = p * y + 6.37261928875436e-04f;
    p = p * y + 4.89352455891786e-03f;
    nn_real q = 1.19825839466702e-06f;
    q = q * y + 1.18534705686654e-04f;
    q = q * y + 2.26843463243900e-03f;
    q = q * y + 4.89352518554385e-03f;
    return x * (p / q); /* in this order a tiny x does not lose bits */
}

/* Within 4 units in the last place of the sigmoid where that is a normal number; 0 below. */
static inline nn_real nn_sigmoid(nn_real x) { return 1 / (1 + nn_exp(-x)); }

#endif

#endif
