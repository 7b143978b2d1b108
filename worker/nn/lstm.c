#include "worker/nn/lstm.h"

#include "common/parallel.h"
#include "common/vector.h"
#include "worker/nn/gemm.h"
#include "worker/nn/rows.h"

#include <string.h>

void nn_lstm_take(nn_lstm_t *lstm, hp_arena_t *arena, int in_width, int hidden, int questions,
                  int words) {
    size_t q = (size_t)questions, w = (size_t)words, h = (size_t)hidden, real = sizeof(nn_real);
    *lstm = (nn_lstm_t){.in_width = in_width, .hidden = hidden};
    lstm->order = hp_arena_take(arena, q, sizeof(int));
    lstm->start = hp_arena_take(arena, w + 2, sizeof(int));
    lstm->index = hp_arena_take(arena, w, sizeof(int));
    lstm->gate = hp_arena_take(arena, w, 4 * h * real);
    lstm->cell = hp_arena_take(arena, w, h * real);
    lstm->squashed = hp_arena_take(arena, w, h * real);
    lstm->before = hp_arena_take(arena, w, h * real);
    lstm->bias = hp_arena_take(arena, 4 * h, real);
    lstm->grad_h = hp_arena_take(arena, q, h * real);
    lstm->grad_c = hp_arena_take(arena, q, h * real);
    lstm->zero = hp_arena_take(arena, h, real);
}

/* Questions with a word at step t; 0 after the last step. */
static int active(const nn_lstm_t *lstm, int t) {
    return t < lstm->steps ? lstm->start[t + 1] - lstm->start[t] : 0;
}

void nn_lstm_pack(nn_lstm_t *lstm, int questions, const int *word_offset) {
    int steps = 0;
    for (int q = 0; q < questions; q++) {
        int length = word_offset[q + 1] - word_offset[q];
        if (length > steps) steps = length;
    }
    lstm->questions = questions;
    lstm->words = questions > 0 ? word_offset[questions] - word_offset[0] : 0;
    lstm->steps = steps;

    /* Counting sort, longest first, stable. start[n] becomes the first place of length n. */
    int *start = lstm->start;
    memset(start, 0, ((size_t)steps + 2) * sizeof *start);
    for (int q = 0; q < questions; q++) start[word_offset[q + 1] - word_offset[q]]++;
    for (int n = steps, place = 0; n >= 0; n--) {
        int count = start[n];
        start[n] = place;
        place += count;
    }
    for (int q = 0; q < questions; q++)
        lstm->order[start[word_offset[q + 1] - word_offset[q]]++] = q;

    /* The words, step by step; start becomes the first row of a step. */
    int row = 0;
    for (int t = 0; t < steps; t++) {
        start[t] = row;
        for (int j = 0; j < questions; j++) {
            int q = lstm->order[j];
            if (word_offset[q + 1] - word_offset[q] <= t) break;
            lstm->index[row++] = word_offset[q] + t;
        }
    }
    start[steps] = row;
}

/* One question, one step: gate [4 hidden] comes in as the sum of both products. */
HP_VECTOR static void cell_forward(int hidden, const nn_real *restrict bias,
                                   const nn_real *restrict cell_before, nn_real *restrict gate,
                                   nn_real *restrict cell, nn_real *restrict squashed,
                                   nn_real *restrict out) {
    for (int k = 0; k < hidden; k++) {
        nn_real i = nn_sigmoid(gate[k] + bias[k]);
        nn_real f = nn_sigmoid(gate[hidden + k] + bias[hidden + k]);
        nn_real g = nn_tanh(gate[2 * hidden + k] + bias[2 * hidden + k]);
        nn_real o = nn_sigmoid(gate[3 * hidden + k] + bias[3 * hidden + k]);
        nn_real c = f * cell_before[k] + i * g;
        gate[k] = i;
        gate[hidden + k] = f;
        gate[2 * hidden + k] = g;
        gate[3 * hidden + k] = o;
        cell[k] = c;
        squashed[k] = nn_tanh(c);
        out[k] = o * squashed[k];
    }
}

/* The questions of one step, some of them. */
typedef struct {
    nn_lstm_t *lstm;
    int t;
    nn_real *last;
} step_t;

/* c of question j before step t. */
static const nn_real *cell_before(const nn_lstm_t *lstm, int t, int64_t j) {
    return t > 0 ? lstm->cell + (lstm->start[t - 1] + j) * lstm->hidden : lstm->zero;
}

static void step_forward(void *context, int64_t begin, int64_t end) {
    const step_t *s = context;
    nn_lstm_t *lstm = s->lstm;
    const int64_t h = lstm->hidden, row = lstm->start[s->t], next_row = lstm->start[s->t + 1];
    const int going_on = active(lstm, s->t + 1);
    for (int64_t j = begin; j < end; j++) {
        const int64_t r = row + j;
        /* h goes where it is read: the next step's product, or the result. */
        nn_real *out =
            j < going_on ? lstm->before + (next_row + j) * h : s->last + lstm->order[j] * h;
        cell_forward(lstm->hidden, lstm->bias, cell_before(lstm, s->t, j), lstm->gate + r * 4 * h,
                     lstm->cell + r * h, lstm->squashed + r * h, out);
    }
}

int64_t nn_lstm_forward(nn_lstm_t *lstm, const nn_real *in, const nn_real *weight_ih,
                        const nn_real *weight_hh, const nn_real *bias_ih, const nn_real *bias_hh,
                        nn_real *last) {
    const int hidden = lstm->hidden, gates = 4 * hidden;
    const size_t h = (size_t)hidden;
    for (int k = 0; k < gates; k++) lstm->bias[k] = bias_ih[k] + bias_hh[k];
    memset(lstm->zero, 0, h * sizeof(nn_real));
    int64_t madds = nn_product(lstm->engine, false, true, lstm->words, gates, lstm->in_width, in,
                               lstm->in_width, weight_ih, lstm->rounded_ih, lstm->in_width, false,
                               lstm->gate, gates);
    for (int t = 0; t < lstm->steps; t++) {
        const size_t row = (size_t)lstm->start[t];
        const int rows = active(lstm, t);
        if (t > 0)
            madds += nn_product(lstm->engine, false, true, rows, gates, hidden,
                                lstm->before + row * h, hidden, weight_hh, lstm->rounded_hh, hidden,
                                true, lstm->gate + row * 4 * h, gates);
        step_t step = {lstm, t, last};
        hp_parallel(rows, hp_parallel_rows(4 * (int64_t)hidden), step_forward, &step);
    }
    return madds;
}

/* One question, one step. grad_c comes in as the gradient of this step's c through later steps and
 * leaves as that of the step before; gate becomes the gradient before the nonlinearities. */
HP_VECTOR static void cell_backward(int hidden, const nn_real *restrict grad_h,
                                    const nn_real *restrict cell_before,
                                    const nn_real *restrict squashed, nn_real *restrict gate,
                                    nn_real *restrict grad_c) {
    for (int k = 0; k < hidden; k++) {
        nn_real i = gate[k], f = gate[hidden + k], g = gate[2 * hidden + k];
        nn_real o = gate[3 * hidden + k], s = squashed[k];
        nn_real c = grad_c[k] + grad_h[k] * o * (1 - s * s);
        gate[k] = c * g * i * (1 - i);
        gate[hidden + k] = c * cell_before[k] * f * (1 - f);
        gate[2 * hidden + k] = c * i * (1 - g * g);
        gate[3 * hidden + k] = grad_h[k] * s * o * (1 - o);
        grad_c[k] = c * f;
    }
}

static void step_backward(void *context, int64_t begin, int64_t end) {
    const step_t *s = context;
    nn_lstm_t *lstm = s->lstm;
    const int64_t h = lstm->hidden;
    for (int64_t j = begin; j < end; j++) {
        const int64_t r = lstm->start[s->t] + j;
        cell_backward(lstm->hidden, lstm->grad_h + j * h, cell_before(lstm, s->t, j),
                      lstm->squashed + r * h, lstm->gate + r * 4 * h, lstm->grad_c + j * h);
    }
}

int64_t nn_lstm_backward_gates(nn_lstm_t *lstm, const nn_real *weight_hh,
                               const nn_real *grad_last) {
    const int hidden = lstm->hidden, gates = 4 * hidden;
    const size_t h = (size_t)hidden;
    int64_t madds = 0;
    for (int t = lstm->steps - 1; t >= 0; t--) {
        const size_t row = (size_t)lstm->start[t];
        const int rows = active(lstm, t);
        for (int j = active(lstm, t + 1); j < rows; j++) { /* questions that end here */
            memcpy(lstm->grad_h + (size_t)j * h, grad_last + (size_t)lstm->order[j] * h,
                   h * sizeof(nn_real));
            memset(lstm->grad_c + (size_t)j * h, 0, h * sizeof(nn_real));
        }
        step_t step = {lstm, t, NULL};
        hp_parallel(rows, hp_parallel_rows(4 * (int64_t)hidden), step_backward, &step);
        if (t > 0)
            madds += nn_product(lstm->engine, false, false, rows, hidden, gates,
                                lstm->gate + row * 4 * h, gates, weight_hh, lstm->rounded_hh,
                                hidden, false, lstm->grad_h, hidden);
    }
    return madds;
}

int64_t nn_lstm_backward_weights(const nn_lstm_t *lstm, const nn_real *in, nn_real *grad_weight_ih,
                                 nn_real *grad_weight_hh, nn_real *grad_bias_ih,
                                 nn_real *grad_bias_hh) {
    const int hidden = lstm->hidden, gates = 4 * hidden;
    const size_t h = (size_t)hidden, first = (size_t)active(lstm, 0); /* no h before step 0 */
    int64_t madds =
        nn_product(lstm->engine, true, false, gates, lstm->in_width, lstm->words, lstm->gate, gates,
                   in, NULL, lstm->in_width, false, grad_weight_ih, lstm->in_width);
    madds += nn_product(lstm->engine, true, false, gates, hidden, lstm->words - (int)first,
                        lstm->gate + first * 4 * h, gates, lstm->before + first * h, NULL, hidden,
                        false, grad_weight_hh, hidden);
    memset(grad_bias_ih, 0, 4 * h * sizeof(nn_real));
    for (int r = 0; r < lstm->words; r++) nn_add(gates, nn_row(lstm->gate, r, gates), grad_bias_ih);
    memcpy(grad_bias_hh, grad_bias_ih, 4 * h * sizeof(nn_real));
    return madds;
}

int64_t nn_lstm_backward_in(const nn_lstm_t *lstm, const nn_real *weight_ih, nn_real *grad_in) {
    const int gates = 4 * lstm->hidden;
    return nn_product(lstm->engine, false, false, lstm->words, lstm->in_width, gates, lstm->gate,
                      gates, weight_ih, lstm->rounded_ih, lstm->in_width, false, grad_in,
                      lstm->in_width);
}
