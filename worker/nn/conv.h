/* Two-dimensional convolution, by im2col and matrix products or by a library. Images are
 * [height][width][channels], so that what comes out is cells: rows of a matrix, one for each
 * position. Square kernel, any stride, zero padding. Im2col's columns exist a tile of positions at
 * a time, across images.
 *
 * Weights lie as torch.nn.Conv2d has them, [filters][channels][kernel][kernel]; the products want
 * the channels last, so forward makes a copy in that order. */
#ifndef NN_CONV_H
#define NN_CONV_H

#include "common/convolution.h"
#include "common/gemm.h"
#include "common/memory.h"
#include "worker/nn/real.h"

#include <stdbool.h>
#include <stdint.h>

typedef hp_convolution_shape_t nn_conv_shape_t;

typedef struct {
    nn_conv_shape_t shape;
    int out_height, out_width;
    int tile;             /* positions whose columns are held at once */
    nn_real *column;      /* [tile][kernel kernel channels] */
    nn_real *weight;      /* [filters][kernel][kernel][channels] */
    nn_real *grad_weight; /* as weight */
    /* Of the products; NULL: OpenBLAS. May be set after the take; `rounded`, as weight, where the
     * engine is a bf16 one. */
    hp_gemm_engine_t *engine;
    hp_bf16_t *rounded;
    hp_convolution_t *library; /* NULL: im2col. Not with NN_DOUBLE; else nothing above but shape */
    const nn_real *given;      /* the library's backward reads forward's weights once more */
} nn_conv_t;

/* Of an image that goes out; 0 or less where the kernel does not fit. */
static inline int nn_conv_extent(int size, int kernel, int stride, int padding) {
    return size + 2 * padding < kernel ? 0 : (size + 2 * padding - kernel) / stride + 1;
}
static inline int nn_conv_out_height(const nn_conv_shape_t *shape) {
    return nn_conv_extent(shape->height, shape->kernel, shape->stride, shape->padding);
}
static inline int nn_conv_out_width(const nn_conv_shape_t *shape) {
    return nn_conv_extent(shape->width, shape->kernel, shape->stride, shape->padding);
}

/* Take the workspace for up to so many images; `train`: with what backward needs. */
void nn_conv_take(nn_conv_t *conv, hp_arena_t *arena, const nn_conv_shape_t *shape, int images,
                  bool train);
/* The same with a library, which was opened for this shape; the caller's to close. */
void nn_conv_take_library(nn_conv_t *conv, hp_arena_t *arena, const nn_conv_shape_t *shape,
                          hp_convolution_t *library);

/* in: [images][height][width][channels]; out: [images][out_height][out_width][filters];
 * bias: [filters], or NULL (batch normalisation follows). With `relu`, the larger of that and 0.
 * A library has both or neither, as it was opened. Returns the multiply-adds, as does backward. */
int64_t nn_conv_forward(nn_conv_t *conv, int images, bool relu, const nn_real *in,
                        const nn_real *weight, const nn_real *bias, nn_real *out);

/* grad_out is the gradient after any ReLU was passed. It has a row for each listed position only,
 * `positions` of them, ascending, counted over all images' outputs: the others' gradient is zero.
 * position NULL: all of them, the only way for a library. grad_weight and grad_bias are overwritten
 * (grad_bias may be NULL), grad_in is overwritten too (NULL: the images are the input). After
 * forward with the same images and weights. */
int64_t nn_conv_backward(nn_conv_t *conv, int images, int positions, const int *position,
                         const nn_real *in, const nn_real *grad_out, nn_real *grad_weight,
                         nn_real *grad_bias, nn_real *grad_in);

#endif
