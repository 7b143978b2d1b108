/* The only door to matrix products (today OpenBLAS). All matrices are row-major. Counts are int, as
 * BLAS takes them: whoever computes a size checks it there. */
#ifndef HP_GEMM_H
#define HP_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* c[m][n] = alpha op(a)[m][k] op(b)[k][n] + beta c[m][n]
 * op(a) is a[m][k], or the transpose of a[k][m] where a_transposed; op(b) is b[k][n], or the
 * transpose of b[n][k] where b_transposed. ld*: elements from a row to the next as stored. With
 * beta 0 c is not read. c overlaps neither a nor b. Returns the multiply-adds, m n k. */
int64_t hp_gemm(bool a_transposed, bool b_transposed, int m, int n, int k, float alpha,
                const float *a, int lda, const float *b, int ldb, float beta, float *c, int ldc);
int64_t hp_gemm_double(bool a_transposed, bool b_transposed, int m, int n, int k, double alpha,
                       const double *a, int lda, const double *b, int ldb, double beta, double *c,
                       int ldc);

/* Threads of the products of this process; 0: as many as the process may use cores. */
void hp_gemm_set_threads(int threads);

/* Library, version, kernel and threads, as the log and a checkpoint record them: another kernel or
 * another number of threads gives other bits. `text` is always terminated. */
void hp_gemm_describe(char *text, size_t size);

#endif
