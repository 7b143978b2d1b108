#include "worker/nn/dense.h"

#include "common/parallel.h"
#include "common/vector.h"

#include <stddef.h>
#include <string.h>

enum { BLOCK = 256 }; /* numbers that are widened at a time: they stay in the first cache */

static hp_gemm_in_t operand(nn_array_t x, bool transposed, int width) {
    return (hp_gemm_in_t){x.data, x.type, transposed, width};
}

static hp_gemm_in_t weight_of(const nn_dense_t *layer, bool transposed) {
    const hp_gemm_type_t type = hp_gemm_engine_bf16(layer->engine) ? HP_GEMM_BF16 : HP_GEMM_FLOAT;
    return (hp_gemm_in_t){layer->weight, type, transposed, layer->in_width};
}

int64_t nn_dense_forward(const nn_dense_t *layer, int rows, nn_array_t in, const float *bias,
                         nn_array_t out) {
    return hp_gemm_multiply(layer->engine,
                            &(hp_gemm_product_t){.m = rows,
                                                 .n = layer->out_width,
                                                 .k = layer->in_width,
                                                 .a = operand(in, false, layer->in_width),
                                                 .b = weight_of(layer, true),
                                                 .bias = bias,
                                                 .activation = layer->activation,
                                                 .type = out.type,
                                                 .ld = layer->out_width,
                                                 .c = out.data});
}

static void load(nn_array_t x, size_t at, int n, float *restrict out) {
    if (x.type == HP_GEMM_FLOAT) {
        memcpy(out, (const float *)x.data + at, (size_t)n * sizeof *out);
        return;
    }
    hp_bf16_unpack(out, (const hp_bf16_t *)x.data + at, n);
}

static void store(nn_array_t x, size_t at, int n, const float *restrict in) {
    if (x.type == HP_GEMM_FLOAT) {
        memcpy((float *)x.data + at, in, (size_t)n * sizeof *in);
        return;
    }
    hp_bf16_round((hp_bf16_t *)x.data + at, in, n);
}

/* g through the activation whose output was y. */
HP_VECTOR static void pass(hp_gemm_activation_t activation, int n, const float *restrict y,
                           float *restrict g) {
    if (activation == HP_GEMM_RELU)
        for (int i = 0; i < n; i++) g[i] = y[i] > 0 ? g[i] : 0;
    else if (activation == HP_GEMM_TANH)
        for (int i = 0; i < n; i++) g[i] *= 1 - y[i] * y[i];
}

typedef struct {
    int rows, width;
    hp_gemm_activation_t activation;
    nn_array_t out, grad, passed;
    float *grad_bias;
} masking_t;

/* Columns [BLOCK begin, BLOCK end): the sums of the bias run over all rows in order, whoever takes
 * which columns. */
static void mask_columns(void *context, int64_t begin, int64_t end) {
    const masking_t *m = context;
    const int width = m->width;
    const int last = (int)(end * BLOCK) < width ? (int)(end * BLOCK) : width;
    for (int r = 0; r < m->rows; r++)
        for (int first = (int)begin * BLOCK; first < last; first += BLOCK) {
            float y[BLOCK], g[BLOCK];
            const int n = last - first < BLOCK ? last - first : BLOCK;
            const size_t at = (size_t)r * (size_t)width + (size_t)first;
            load(m->grad, at, n, g);
            if (m->activation != HP_GEMM_LINEAR) {
                load(m->out, at, n, y);
                pass(m->activation, n, y, g);
            }
            hp_add(m->grad_bias + first, g, n);
            store(m->passed, at, n, g);
        }
}

int64_t nn_dense_backward_weight(const nn_dense_t *layer, int rows, nn_array_t in, nn_array_t out,
                                 nn_array_t grad, nn_array_t passed, float *grad_weight,
                                 float *grad_bias) {
    const int width = layer->out_width;
    memset(grad_bias, 0, (size_t)width * sizeof *grad_bias);
    masking_t masking = {rows, width, layer->activation, out, grad, passed, grad_bias};
    hp_parallel((width + BLOCK - 1) / BLOCK, hp_parallel_rows((int64_t)rows * BLOCK), mask_columns,
                &masking);
    return hp_gemm_multiply(layer->engine,
                            &(hp_gemm_product_t){.m = width,
                                                 .n = layer->in_width,
                                                 .k = rows,
                                                 .a = operand(passed, true, width),
                                                 .b = operand(in, false, layer->in_width),
                                                 .ld = layer->in_width,
                                                 .c = grad_weight});
}

int64_t nn_dense_backward_in(const nn_dense_t *layer, int rows, nn_array_t passed,
                             nn_array_t grad_in) {
    return hp_gemm_multiply(layer->engine,
                            &(hp_gemm_product_t){.m = rows,
                                                 .n = layer->in_width,
                                                 .k = layer->out_width,
                                                 .a = operand(passed, false, layer->out_width),
                                                 .b = weight_of(layer, false),
                                                 .type = grad_in.type,
                                                 .ld = layer->in_width,
                                                 .c = grad_in.data});
}
