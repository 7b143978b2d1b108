#include "common/gemm.h"

#include "common/cores.h"
#include "common/gemm_dnnl.h"

#include <cblas.h>
#include <stdio.h>

static CBLAS_TRANSPOSE op(bool transposed) { return transposed ? CblasTrans : CblasNoTrans; }

int64_t hp_gemm(bool a_transposed, bool b_transposed, int m, int n, int k, float alpha,
                const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc) {
    cblas_sgemm(CblasRowMajor, op(a_transposed), op(b_transposed), m, n, k, alpha, a, lda, b, ldb,
                beta, c, ldc);
    return (int64_t)m * n * k;
}

int64_t hp_gemm_double(bool a_transposed, bool b_transposed, int m, int n, int k, double alpha,
                       const double *a, int lda, const double *b, int ldb, double beta, double *c,
                       int ldc) {
    cblas_dgemm(CblasRowMajor, op(a_transposed), op(b_transposed), m, n, k, alpha, a, lda, b, ldb,
                beta, c, ldc);
    return (int64_t)m * n * k;
}

void hp_gemm_set_threads(int threads) {
    if (threads <= 0) threads = hp_usable_cores();
    openblas_set_num_threads(threads);
    hp_dnnl_set_threads(threads);
}

void hp_gemm_describe(char *text, size_t size) {
    /* openblas_get_config() is "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ... MAX_THREADS=128". */
    snprintf(text, size, "%s; kernel %s; threads %d", openblas_get_config(),
             openblas_get_corename(), openblas_get_num_threads());
}
