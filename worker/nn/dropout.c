#include "worker/nn/dropout.h"

#include "common/random.h"

#include <stddef.h>

void nn_dropout(int rows, int width, double rate, uint64_t seed, uint64_t layer,
                const uint64_t *key, nn_real *x) {
    const uint32_t threshold = (uint32_t)(rate * 0x1p32);
    const nn_real scale = (nn_real)(1.0 / (1.0 - rate));
    for (int row = 0; row < rows; row++) {
        hp_random_t random = hp_random(seed, HP_RANDOM_DROPOUT, key[row], layer);
        nn_real *y = x + (size_t)row * (size_t)width;
        for (int i = 0; i < width; i++)
            y[i] = hp_random_u32(&random) < threshold ? 0 : y[i] * scale;
    }
}
