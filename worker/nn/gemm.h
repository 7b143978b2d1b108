/* Matrix products in the network's number type; common/gemm.h says what the arguments mean. */
#ifndef NN_GEMM_H
#define NN_GEMM_H

#include "common/gemm.h"
#include "worker/nn/real.h"

static inline int64_t nn_gemm(bool a_transposed, bool b_transposed, int m, int n, int k,
                              nn_real alpha, const nn_real *a, int lda, const nn_real *b, int ldb,
                              nn_real beta, nn_real *c, int ldc) {
#ifdef NN_DOUBLE
    return hp_gemm_double(a_transposed, b_transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
#else
    return hp_gemm(a_transposed, b_transposed, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
#endif
}

#endif
