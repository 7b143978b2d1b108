#include "worker/nn/embedding.h"

#include <string.h>

void nn_embedding_forward(int rows, int width, const nn_real *weight, const int32_t *token,
                          const int *index, nn_real *out) {
    for (int r = 0; r < rows; r++)
        memcpy(out + (size_t)r * (size_t)width, weight + (size_t)token[index[r]] * (size_t)width,
               (size_t)width * sizeof *out);
}

int nn_embedding_rows(int tokens, int words, const int32_t *token, unsigned char *mark,
                      int32_t *row) {
    memset(mark, 0, (size_t)words);
    for (int i = 0; i < tokens; i++) mark[token[i]] = 1;
    int count = 0;
    for (int32_t word = 0; word < words; word++)
        if (mark[word]) row[count++] = word;
    return count;
}

void nn_embedding_backward(int rows, int width, const int32_t *token, const int *index,
                           int distinct_rows, const int32_t *distinct, const nn_real *grad_out,
                           nn_real *grad_weight) {
    for (int i = 0; i < distinct_rows; i++)
        memset(grad_weight + (size_t)distinct[i] * (size_t)width, 0,
               (size_t)width * sizeof *grad_weight);
    for (int r = 0; r < rows; r++) {
        nn_real *restrict sum = grad_weight + (size_t)token[index[r]] * (size_t)width;
        const nn_real *restrict g = grad_out + (size_t)r * (size_t)width;
        for (int i = 0; i < width; i++) sum[i] += g[i];
    }
}
