/* Two-dimensional convolution by oneDNN: forward, the input's gradient, the weights' gradient. What
 * comes in and goes out has its channels last, [images][height][width][channels], as cells do.
 *
 * A convolution is prepared once for any number of images up to a most: for the powers of two. A
 * number of images is computed in parts of those sizes, the largest first, whose gradients are
 * added in that order. So the bits are the same whenever the numbers, the CPU's kernel and the
 * threads are, whatever the most, and nothing is allocated here after hp_convolution_open. */
#ifndef HP_CONVOLUTION_H
#define HP_CONVOLUTION_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int height, width, channels; /* of an image that comes in */
    int filters, kernel, stride, padding;
} hp_convolution_shape_t;

typedef struct {
    int images;   /* at most */
    bool bf16;    /* products are of bf16 numbers, summed in float */
    bool finish;  /* forward adds a bias and applies the ReLU, as hp_gemm_multiply does */
    bool grad_in; /* the input's gradient will be asked for */
} hp_convolution_use_t;

typedef struct hp_convolution hp_convolution_t; /* for one thread at a time */

/* *conv_p is NULL where the build lacks oneDNN, or oneDNN has no kernel of its own for this
 * convolution on this CPU (it would be slower than im2col). */
hp_status_t hp_convolution_open(const hp_convolution_shape_t *shape,
                                const hp_convolution_use_t *use, hp_convolution_t **conv_p,
                                hp_error_t *err) HP_MUST_CHECK;
void hp_convolution_close(hp_convolution_t *conv); /* NULL is fine */

/* Room that the caller gives before the first pass, aligned to HP_ALIGN; it is the convolution's
 * until the close. */
size_t hp_convolution_bytes(const hp_convolution_t *conv);
void hp_convolution_bind(hp_convolution_t *conv, void *room);

/* out [images][out_height][out_width][filters]; weight as PyTorch has it,
 * [filters][channels][kernel][kernel]; bias [filters], read where `finish`. A failure is kept for
 * hp_convolution_status: what was to be written is then not to be used. */
void hp_convolution_forward(hp_convolution_t *conv, int images, const float *in,
                            const float *weight, const float *bias, float *out);

/* grad_out: after any ReLU was passed. grad_weight and grad_in are overwritten; grad_in NULL: not
 * wanted. */
void hp_convolution_backward(hp_convolution_t *conv, int images, const float *in,
                             const float *weight, const float *grad_out, float *grad_weight,
                             float *grad_in);

hp_status_t hp_convolution_status(const hp_convolution_t *conv, hp_error_t *err) HP_MUST_CHECK;

/* Library, version and the kernels of a usual convolution on this CPU; "" where there are none. */
void hp_convolution_describe(bool bf16, char *text, size_t size);

#endif
