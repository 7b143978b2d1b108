/* Elementwise functions in the network's number type. */
#ifndef NN_ACTIVATION_H
#define NN_ACTIVATION_H

#include "worker/nn/real.h"

#include <math.h>

#ifdef NN_DOUBLE
static inline nn_real nn_exp(nn_real x) { return exp(x); }
static inline nn_real nn_tanh(nn_real x) { return tanh(x); }
#else
static inline nn_real nn_exp(nn_real x) { return expf(x); }
static inline nn_real nn_tanh(nn_real x) { return tanhf(x); }
#endif

static inline nn_real nn_sigmoid(nn_real x) { return 1 / (1 + nn_exp(-x)); }

#endif
