/* One LSTM layer over the real words of each question (a ragged set: no padding), exactly
 * torch.nn.LSTM: two biases, gates in the order i, f, g, o, zero initial state.
 *
 *     i, f, o = sigmoid(W_ih x + b_ih + W_hh h' + b_hh)    g = tanh(the same)
 *     c = f c' + i g        h = o tanh(c)
 *
 * Inside, questions stand longest first and words are packed by time step: the questions that still
 * have a word at step t are the first rows of that step, so a step is one matrix product, and the
 * input products of all words together are one more. */
#ifndef NN_LSTM_H
#define NN_LSTM_H

#include "common/gemm.h"
#include "common/memory.h"
#include "worker/nn/real.h"

#include <stdint.h>

typedef struct {
    int in_width, hidden;
    int questions, words, steps; /* of the batch that was packed last */
    int *order;                  /* [questions] question at each place, longest first */
    int *start;                  /* [steps + 1] first packed row of a time step */
    int *index;                  /* [words] packed row -> word of the batch */
    nn_real *gate;               /* [words][4 hidden] i, f, g, o; after backward their gradients */
    nn_real *cell;               /* [words][hidden] c */
    nn_real *squashed;           /* [words][hidden] tanh(c) */
    nn_real *before; /* [words][hidden] h of the step before; the rows of step 0 are not used */
    nn_real *bias;   /* [4 hidden] b_ih + b_hh */
    nn_real *grad_h; /* [questions][hidden] */
    nn_real *grad_c; /* [questions][hidden] */
    nn_real *zero;   /* [hidden] c before the first word */
    /* May be set after nn_lstm_take: the engine of the products (NULL: OpenBLAS), and with a bf16
     * one the weights, rounded. State, gates and sums stay in full. */
    hp_gemm_engine_t *engine;
    const hp_bf16_t *rounded_ih, *rounded_hh;
} nn_lstm_t;

/* Take the workspace for batches of up to so many questions and words. */
void nn_lstm_take(nn_lstm_t *lstm, hp_arena_t *arena, int in_width, int hidden, int questions,
                  int words);

/* Lay out a batch; question q has words word_offset[q] .. word_offset[q + 1], at least one. Fills
 * lstm->index, the order in which forward wants the words' vectors. */
void nn_lstm_pack(nn_lstm_t *lstm, int questions, const int *word_offset);

/* in: [words][in_width], row r the vector of word lstm->index[r]. weight_ih: [4 hidden][in_width];
 * weight_hh: [4 hidden][hidden]; biases: [4 hidden]. last: [questions][hidden], h after the last
 * word, in the batch's order of questions. Returns the multiply-adds, as the others below. */
int64_t nn_lstm_forward(nn_lstm_t *lstm, const nn_real *in, const nn_real *weight_ih,
                        const nn_real *weight_hh, const nn_real *bias_ih, const nn_real *bias_hh,
                        nn_real *last);

/* Backward in three calls, in this order; each parameter's gradient is overwritten.
 * Through time: grad_last [questions][hidden] to the gates. */
int64_t nn_lstm_backward_gates(nn_lstm_t *lstm, const nn_real *weight_hh, const nn_real *grad_last);
int64_t nn_lstm_backward_weights(const nn_lstm_t *lstm, const nn_real *in, nn_real *grad_weight_ih,
                                 nn_real *grad_weight_hh, nn_real *grad_bias_ih,
                                 nn_real *grad_bias_hh);
/* grad_in: [words][in_width], rows as `in`. */
int64_t nn_lstm_backward_in(const nn_lstm_t *lstm, const nn_real *weight_ih, nn_real *grad_in);

#endif
