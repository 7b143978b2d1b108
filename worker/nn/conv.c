#include "worker/nn/conv.h"

#include "worker/nn/gemm.h"
#include "worker/nn/rows.h"

#include <string.h>

/* Numbers in a tile of columns: half of a core's second-level cache, so that a product finds them
 * there. */
enum { COLUMN_NUMBERS = 1 << 18 };

static int patch(const nn_conv_shape_t *shape) {
    return shape->kernel * shape->kernel * shape->channels;
}

void nn_conv_take(nn_conv_t *conv, hp_arena_t *arena, const nn_conv_shape_t *shape, int images,
                  bool train) {
    *conv = (nn_conv_t){.shape = *shape,
                        .out_height = nn_conv_out_height(shape),
                        .out_width = nn_conv_out_width(shape)};
    const int64_t all = (int64_t)images * conv->out_height * conv->out_width;
    const int tile = COLUMN_NUMBERS / patch(shape) > 16 ? COLUMN_NUMBERS / patch(shape) : 16;
    conv->tile = all < tile ? (int)all : tile;
    size_t numbers = (size_t)patch(shape) * sizeof(nn_real);
    conv->column = hp_arena_take(arena, (size_t)conv->tile, numbers);
    conv->weight = hp_arena_take(arena, (size_t)shape->filters, numbers);
    if (train) conv->grad_weight = hp_arena_take(arena, (size_t)shape->filters, numbers);
}

void nn_conv_take_library(nn_conv_t *conv, hp_arena_t *arena, const nn_conv_shape_t *shape,
                          hp_convolution_t *library) {
    *conv = (nn_conv_t){.shape = *shape,
                        .out_height = nn_conv_out_height(shape),
                        .out_width = nn_conv_out_width(shape),
                        .library = library};
    void *room = hp_arena_take(arena, hp_convolution_bytes(library), 1);
    if (room != NULL) hp_convolution_bind(library, room); /* not yet while the arena measures */
}

/* Between [filters][channels][kernel^2] (PyTorch's) and [filters][kernel^2][channels] (ours). */
static void reorder(const nn_conv_shape_t *shape, bool to_ours, const nn_real *from, nn_real *to) {
    int area = shape->kernel * shape->kernel, channels = shape->channels;
    for (int f = 0; f < shape->filters; f++, from += patch(shape), to += patch(shape))
        for (int k = 0; k < area; k++)
            for (int c = 0; c < channels; c++) {
                int theirs = c * area + k, ours = k * channels + c;
                to[to_ours ? ours : theirs] = from[to_ours ? theirs : ours];
            }
}

/* One row of the kernel over one position: `count` neighbouring pixels of the image, from `pixel`,
 * lie in the patch from `inside` numbers on; the rest of the row is padding. */
typedef struct {
    size_t pixel; /* first number in the image block */
    int inside, count;
} span_t;

static span_t kernel_row(const nn_conv_t *conv, int64_t position, int ky) {
    const nn_conv_shape_t *shape = &conv->shape;
    int x = (int)(position % conv->out_width) * shape->stride - shape->padding;
    int64_t line = position / conv->out_width;
    int y = (int)(line % conv->out_height) * shape->stride - shape->padding + ky;
    int64_t image = line / conv->out_height;
    int first = x < 0 ? -x : 0; /* column of the kernel */
    int end = x + shape->kernel > shape->width ? shape->width - x : shape->kernel;
    if (y < 0 || y >= shape->height || end <= first) return (span_t){0};
    size_t pixel = ((size_t)image * (size_t)shape->height + (size_t)y) * (size_t)shape->width +
                   (size_t)(x + first);
    return (span_t){.pixel = pixel * (size_t)shape->channels,
                    .inside = first * shape->channels,
                    .count = (end - first) * shape->channels};
}

/* column [count][patch]: the patches of positions first .. first + count, or of those listed. */
static void gather(const nn_conv_t *conv, const int *position, int64_t first, int count,
                   const nn_real *in) {
    const nn_conv_shape_t *shape = &conv->shape;
    int row = shape->kernel * shape->channels;
    nn_real *to = conv->column;
    for (int t = 0; t < count; t++)
        for (int ky = 0; ky < shape->kernel; ky++, to += row) {
            span_t s = kernel_row(conv, position ? position[first + t] : first + t, ky);
            memset(to, 0, (size_t)s.inside * sizeof *to);
            if (s.count > 0) memcpy(to + s.inside, in + s.pixel, (size_t)s.count * sizeof *to);
            memset(to + s.inside + s.count, 0, (size_t)(row - s.inside - s.count) * sizeof *to);
        }
}

/* The transpose of gather: patches are added to the image. */
static void scatter(const nn_conv_t *conv, const int *position, int64_t first, int count,
                    nn_real *grad_in) {
    const nn_conv_shape_t *shape = &conv->shape;
    int row = shape->kernel * shape->channels;
    const nn_real *from = conv->column;
    for (int t = 0; t < count; t++)
        for (int ky = 0; ky < shape->kernel; ky++, from += row) {
            span_t s = kernel_row(conv, position ? position[first + t] : first + t, ky);
            nn_add(s.count, from + s.inside, grad_in + s.pixel);
        }
}

static int64_t positions_of(const nn_conv_t *conv, int images) {
    return (int64_t)images * conv->out_height * conv->out_width;
}

/* The library's numbers are float: it is not there where nn_real is double. */
static int64_t library_forward(nn_conv_t *conv, int images, const void *in, const nn_real *weight,
                               const void *bias, void *out) {
    conv->given = weight;
    hp_convolution_forward(conv->library, images, in, (const void *)weight, bias, out);
    return positions_of(conv, images) * conv->shape.filters * patch(&conv->shape);
}

static int64_t library_backward(nn_conv_t *conv, int images, const void *in, const void *grad_out,
                                void *grad_weight, void *grad_in) {
    hp_convolution_backward(conv->library, images, in, (const void *)conv->given, grad_out,
                            grad_weight, grad_in);
    return positions_of(conv, images) * conv->shape.filters * patch(&conv->shape) *
           (grad_in != NULL ? 2 : 1);
}

static void add_rows(int64_t rows, int width, const nn_real *row, nn_real *sum) {
    for (int64_t r = 0; r < rows; r++, row += width) nn_add(width, row, sum);
}

static int tile_count(const nn_conv_t *conv, int64_t total, int64_t first) {
    return total - first < conv->tile ? (int)(total - first) : conv->tile;
}

int64_t nn_conv_forward(nn_conv_t *conv, int images, bool relu, const nn_real *in,
                        const nn_real *weight, const nn_real *bias, nn_real *out) {
    const nn_conv_shape_t *shape = &conv->shape;
    int filters = shape->filters, k = patch(shape);
    int64_t total = positions_of(conv, images), madds = 0;
    if (conv->library != NULL) return library_forward(conv, images, in, weight, bias, out);
    reorder(shape, true, weight, conv->weight);
    if (conv->rounded != NULL)
        hp_gemm_round(conv->engine, filters, k, (const void *)conv->weight, conv->rounded);
    for (int64_t first = 0; first < total; first += conv->tile) {
        int count = tile_count(conv, total, first);
        nn_real *to = out + (size_t)first * (size_t)filters;
        gather(conv, NULL, first, count, in);
        madds += nn_product(conv->engine, false, true, count, filters, k, conv->column, k,
                            conv->weight, conv->rounded, k, false, to, filters);
        for (int t = 0; t < count; t++, to += filters) {
            if (bias != NULL) nn_add(filters, bias, to);
            for (int f = 0; relu && f < filters; f++) to[f] = to[f] < 0 ? 0 : to[f];
        }
    }
    return madds;
}

int64_t nn_conv_backward(nn_conv_t *conv, int images, int positions, const int *position,
                         const nn_real *in, const nn_real *grad_out, nn_real *grad_weight,
                         nn_real *grad_bias, nn_real *grad_in) {
    const nn_conv_shape_t *shape = &conv->shape;
    int filters = shape->filters, k = patch(shape);
    int64_t total = position != NULL ? positions : positions_of(conv, images), madds = 0;
    size_t image = (size_t)shape->height * (size_t)shape->width * (size_t)shape->channels;
    if (grad_bias != NULL) memset(grad_bias, 0, (size_t)filters * sizeof(nn_real));
    if (conv->library != NULL) {
        if (grad_bias != NULL) add_rows(total, filters, grad_out, grad_bias);
        return library_backward(conv, images, in, grad_out, grad_weight, grad_in);
    }
    memset(conv->grad_weight, 0, (size_t)filters * (size_t)k * sizeof(nn_real));
    if (grad_in != NULL) memset(grad_in, 0, (size_t)images * image * sizeof(nn_real));
    for (int64_t first = 0; first < total; first += conv->tile) {
        int count = tile_count(conv, total, first);
        const nn_real *grad = grad_out + (size_t)first * (size_t)filters;
        gather(conv, position, first, count, in);
        madds += nn_product(conv->engine, true, false, filters, k, count, grad, filters,
                            conv->column, NULL, k, true, conv->grad_weight, k);
        if (grad_bias != NULL) add_rows(count, filters, grad, grad_bias);
        if (grad_in == NULL) continue;
        madds += nn_product(conv->engine, false, false, count, k, filters, grad, filters,
                            conv->weight, conv->rounded, k, false, conv->column, k);
        scatter(conv, position, first, count, grad_in);
    }
    reorder(shape, false, conv->grad_weight, grad_weight);
    return madds;
}
