/* Elementwise functions in the network's number type, written so that a loop over them becomes
 * vector code. In double, the build that checks gradients, they are the C library's. */
#ifndef NN_ACTIVATION_H
#define NN_ACTIVATION_H

#include "worker/nn/real.h"

#include <math.h>

#ifdef NN_DOUBLE

static inline nn_real nn_exp(nn_real x) { return exp(x); }
static inline nn_real nn_tanh(nn_real x) { return tanh(x); }
static inline nn_real nn_sigmoid(nn_real x) { return 1 / (1 + exp(-x)); }

#else

static inline nn_real nn_exp(nn_real x) { return expf(x); }

/* A rational approximation (the coefficients are Eigen's, Core/MathFunctionsImpl.h), odd, within
 * 5e-7 of tanh everywhere in absolute and relative terms, never beyond +-1. A NaN stays one. */
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

/* Within 3e-7 of the sigmoid, in [0, 1]. */
static inline nn_real nn_sigmoid(nn_real x) { return 0.5f + 0.5f * nn_tanh(0.5f * x); }

#endif

#endif
