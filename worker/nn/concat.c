#include "worker/nn/concat.h"

#include "worker/nn/rows.h"

#include <string.h>

void nn_concat_forward(const nn_concat_shape_t *shape, const nn_selected_t *selected,
                       const nn_real *x, const nn_real *shift, const nn_real *q, nn_real *out) {
    const size_t wide = (size_t)shape->width, all = wide * (size_t)shape->cells;
    const size_t asked = (size_t)shape->question_width;
    for (int i = 0; i < selected->questions; i++) {
        nn_real *o = out + (size_t)i * (all + asked), *end = o + all;
        for (int s = selected->offset[i]; s < selected->offset[i + 1]; s++, o += wide) {
            memcpy(o, x + (size_t)selected->row[s] * wide, wide * sizeof *o);
            if (shift != NULL) nn_add(shape->width, shift + (size_t)i * wide, o);
        }
        memset(o, 0, (size_t)(end - o) * sizeof *o);
        memcpy(end, q + (size_t)i * asked, asked * sizeof *o);
    }
}

void nn_concat_backward(const nn_concat_shape_t *shape, const nn_selected_t *selected,
                        const nn_real *grad_out, nn_real *grad_x, nn_real *grad_shift,
                        nn_real *grad_q) {
    const size_t wide = (size_t)shape->width, all = wide * (size_t)shape->cells;
    const size_t asked = (size_t)shape->question_width;
    for (int i = 0; i < selected->questions; i++) {
        const nn_real *g = grad_out + (size_t)i * (all + asked), *end = g + all;
        for (int s = selected->offset[i]; s < selected->offset[i + 1]; s++, g += wide) {
            if (grad_x != NULL) nn_add(shape->width, g, grad_x + (size_t)selected->row[s] * wide);
            if (grad_shift != NULL) nn_add(shape->width, g, grad_shift + (size_t)i * wide);
        }
        nn_add(shape->question_width, end, grad_q + (size_t)i * asked);
    }
}
