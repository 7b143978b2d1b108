#include "tests/numeric/naive.h"

static nn_real one_output(const nn_conv_shape_t *s, const nn_real *image, const nn_real *filter,
                          int oy, int ox) {
    nn_real sum = 0;
    for (int c = 0; c < s->channels; c++)
        for (int ky = 0; ky < s->kernel; ky++)
            for (int kx = 0; kx < s->kernel; kx++) {
                int y = oy * s->stride - s->padding + ky, x = ox * s->stride - s->padding + kx;
                if (y < 0 || y >= s->height || x < 0 || x >= s->width) continue;
                sum += image[(y * s->width + x) * s->channels + c] *
                       filter[(c * s->kernel + ky) * s->kernel + kx];
            }
    return sum;
}

void naive_conv(const nn_conv_shape_t *s, int images, bool relu, const nn_real *in,
                const nn_real *weight, const nn_real *bias, nn_real *out) {
    int patch = s->channels * s->kernel * s->kernel;
    for (int n = 0; n < images; n++)
        for (int oy = 0; oy < nn_conv_out_height(s); oy++)
            for (int ox = 0; ox < nn_conv_out_width(s); ox++)
                for (int f = 0; f < s->filters; f++) {
                    nn_real y = one_output(s, in + n * s->height * s->width * s->channels,
                                           weight + f * patch, oy, ox);
                    if (bias != NULL) y += bias[f];
                    *out++ = relu && y < 0 ? 0 : y;
                }
}
