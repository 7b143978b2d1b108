#include "tests/numeric/naive.h"

void naive_concat(const nn_concat_shape_t *shape, const nn_selected_t *selected, const nn_real *x,
                  const nn_real *shift, const nn_real *q, nn_real *out) {
    const int out_width = nn_concat_out(shape), objects = shape->cells * shape->width;
    for (int i = 0; i < selected->questions; i++)
        for (int k = 0; k < out_width; k++) {
            nn_real *o = out + i * out_width + k;
            const int slot = selected->offset[i] + k / shape->width, c = k % shape->width;
            *o = 0;
            if (k >= objects)
                *o = q[i * shape->question_width + k - objects];
            else if (slot < selected->offset[i + 1])
                *o = x[selected->row[slot] * shape->width + c] +
                     (shift != NULL ? shift[i * shape->width + c] : 0);
        }
}
