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

/* The same place in rounded weights, where there are some. */
static inline const hp_bf16_t *nn_rounded_at(const hp_bf16_t *rounded, int64_t offset) {
    return rounded != NULL ? rounded + offset : NULL;
}

/* c[m][n] = op(a) op(b), added to c where `add`, by an engine where there is one. b_rounded: b in
 * bf16, which a bf16 engine reads instead; NULL: it rounds b itself. */
static inline int64_t nn_product(hp_gemm_engine_t *engine, bool a_transposed, bool b_transposed,
                                 int m, int n, int k, const nn_real *a, int lda, const nn_real *b,
                                 const hp_bf16_t *b_rounded, int ldb, bool add, nn_real *c,
                                 int ldc) {
    if (engine == NULL)
        return nn_gemm(a_transposed, b_transposed, m, n, k, 1, a, lda, b, ldb, add ? 1 : 0, c, ldc);
    hp_gemm_product_t product = {.m = m,
                                 .n = n,
                                 .k = k,
                                 .a = {a, HP_GEMM_FLOAT, a_transposed, lda},
                                 .b = {b, HP_GEMM_FLOAT, b_transposed, ldb},
                                 .add = add,
                                 .ld = ldc,
                                 .c = c};
    if (b_rounded != NULL) {
        product.b.data = b_rounded;
        product.b.type = HP_GEMM_BF16;
    }
    return hp_gemm_multiply(engine, &product);
}

#endif
