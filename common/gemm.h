/* The only door to matrix products: OpenBLAS, the default and the reference, and where the build
 * has it oneDNN. All matrices are row-major. Counts are int, as BLAS takes them: whoever computes a
 * size checks it there. */
#ifndef HP_GEMM_H
#define HP_GEMM_H

#include "common/bf16.h"
#include "common/status.h"

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

/* Threads of the products: OpenBLAS's of this process, oneDNN's of the calling thread. 0: as many
 * as the process may use cores. */
void hp_gemm_set_threads(int threads);

/* Library, version, kernel and threads, as the log and a checkpoint record them: another kernel or
 * another number of threads gives other bits. `text` is always terminated. */
void hp_gemm_describe(char *text, size_t size);

/* The oneDNN backend: an engine keeps prepared products, one for each shape it has seen, and room
 * to work in. Both grow until every shape of a run was seen; then nothing is allocated here. For
 * one thread at a time. */
typedef struct hp_gemm_engine hp_gemm_engine_t;

typedef enum { HP_GEMM_FLOAT, HP_GEMM_BF16 } hp_gemm_type_t;
typedef enum { HP_GEMM_LINEAR, HP_GEMM_RELU, HP_GEMM_TANH } hp_gemm_activation_t;

typedef struct {
    const void *data; /* float or hp_bf16_t */
    hp_gemm_type_t type;
    bool transposed;
    int ld; /* elements from a row to the next as stored */
} hp_gemm_in_t;

/* c[m][n] = activation(op(a)[m][k] op(b)[k][n] + bias[n]), or added to c */
typedef struct {
    int m, n, k;
    hp_gemm_in_t a, b;
    const float *bias; /* NULL: none */
    hp_gemm_activation_t activation;
    bool add; /* c += the product; c is float, without bias and activation */
    hp_gemm_type_t type;
    int ld;
    void *c;
} hp_gemm_product_t;

/* Whether this build has oneDNN. */
bool hp_gemm_has_engine(void);

/* bf16: products are of bf16 numbers, summed in float; float operands are rounded first. On a CPU
 * without units for it they are computed in float from the rounded operands. HP_INPUT where the
 * build lacks oneDNN. */
hp_status_t hp_gemm_engine_open(bool bf16, hp_gemm_engine_t **engine_p,
                                hp_error_t *err) HP_MUST_CHECK;
void hp_gemm_engine_close(hp_gemm_engine_t *engine); /* NULL is fine */
bool hp_gemm_engine_bf16(const hp_gemm_engine_t *engine);

/* Returns the multiply-adds, m n k. A NaN stays one through the activation; where the sum is
 * below zero a ReLU leaves 2^-50 of it, which is what that costs. A failure is kept for
 * hp_gemm_engine_status: c is then not to be used. */
int64_t hp_gemm_multiply(hp_gemm_engine_t *engine, const hp_gemm_product_t *product);

/* out[rows][columns] = in, rounded; both dense. Weights are rounded once a step, for all products
 * they are in. */
void hp_gemm_round(hp_gemm_engine_t *engine, int rows, int columns, const float *in,
                   hp_bf16_t *out);

/* The first failure since the engine was opened. */
hp_status_t hp_gemm_engine_status(const hp_gemm_engine_t *engine, hp_error_t *err) HP_MUST_CHECK;

/* As hp_gemm_describe, of the kernel that a large product of this engine uses. */
void hp_gemm_engine_describe(hp_gemm_engine_t *engine, char *text, size_t size);

#endif
