#include "tests/numeric/naive.h"

enum { WIDEST = 256 };

/* Object of slot s of question q: its row, plus the question's shift. */
static void object(const nn_relation_shape_t *shape, const nn_selected_t *selected,
                   const nn_relation_in_t *in, int q, int s, nn_real *out) {
    for (int c = 0; c < shape->width; c++) {
        out[c] = in->x[selected->row[s] * shape->width + c];
        if (in->shift != NULL) out[c] += in->shift[q * shape->width + c];
    }
}

void naive_relation(const nn_relation_shape_t *shape, const nn_selected_t *selected,
                    const double *gate, const nn_relation_weights_t *weights,
                    const nn_relation_in_t *in, nn_real *out) {
    int last = shape->size[shape->layers - 1], d = shape->width, e = shape->question_width;
    for (int i = 0; i < selected->questions * last; i++) out[i] = 0;
    for (int q = 0; q < selected->questions; q++)
        for (int i = selected->offset[q]; i < selected->offset[q + 1]; i++)
            for (int j = selected->offset[q]; j < selected->offset[q + 1]; j++) {
                nn_real v[2][WIDEST];
                object(shape, selected, in, q, i, v[0]);
                object(shape, selected, in, q, j, v[0] + d);
                for (int c = 0; c < e; c++) v[0][2 * d + c] = in->q[q * e + c];
                int wide = 2 * d + e;
                for (int l = 0; l < shape->layers; wide = shape->size[l++])
                    for (int o = 0; o < shape->size[l]; o++) {
                        nn_real sum = weights->bias[l][o];
                        for (int c = 0; c < wide; c++)
                            sum += weights->weight[l][o * wide + c] * v[l % 2][c];
                        v[(l + 1) % 2][o] = sum > 0 ? sum : 0;
                    }
                double b = gate == NULL ? 1 : gate[i] * gate[j];
                for (int o = 0; o < last; o++) out[q * last + o] += b * v[shape->layers % 2][o];
            }
}
