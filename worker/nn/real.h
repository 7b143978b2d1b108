/* The number type of the network: float; double in the build that checks gradients. */
#ifndef NN_REAL_H
#define NN_REAL_H

#ifdef NN_DOUBLE
typedef double nn_real;
#else
typedef float nn_real;
#endif

#endif
