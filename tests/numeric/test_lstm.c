/* The LSTM over ragged questions: an independent naive one, finite differences, batching. */
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"
#include "worker/nn/lstm.h"

enum { IN = 3, HIDDEN = 4, GATES = 4 * HIDDEN, MOST_QUESTIONS = 6, MOST_WORDS = 20 };

typedef struct {
    hp_arena_t arena;
    nn_lstm_t lstm;
    int questions, words;
    const int *offset;
    nn_real *vector; /* [words][IN], in the batch's order */
    nn_real *weight_ih, *weight_hh, *bias_ih, *bias_hh, *mix;
    nn_real *in, *last, *grad_ih, *grad_hh, *grad_bias_ih, *grad_bias_hh, *grad_in, *grad_vector;
} setup_t;

static void open_setup(setup_t *t, int questions, const int *offset) {
    *t = (setup_t){.questions = questions, .words = offset[questions], .offset = offset};
    hp_error_t err;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) assert_int_equal(hp_arena_commit(&t->arena, "lstm", &err), HP_OK);
        nn_lstm_take(&t->lstm, &t->arena, IN, HIDDEN, MOST_QUESTIONS, MOST_WORDS);
    }
    check_spoil(&t->arena);
    t->vector = check_random((size_t)t->words * IN, 1, 1);
    t->weight_ih = check_random(GATES * IN, 2, 0.7);
    t->weight_hh = check_random(GATES * HIDDEN, 3, 0.7);
    t->bias_ih = check_random(GATES, 4, 0.5);
    t->bias_hh = check_random(GATES, 5, 0.5);
    t->mix = check_random(MOST_QUESTIONS * HIDDEN, 6, 1);
    t->in = check_buffer((size_t)t->words * IN);
    t->last = check_buffer((size_t)questions * HIDDEN);
    t->grad_ih = check_buffer(GATES * IN);
    t->grad_hh = check_buffer(GATES * HIDDEN);
    t->grad_bias_ih = check_buffer(GATES);
    t->grad_bias_hh = check_buffer(GATES);
    t->grad_in = check_buffer((size_t)t->words * IN);
    t->grad_vector = check_buffer((size_t)t->words * IN);
}

static void close_setup(setup_t *t) {
    check_free(t->vector, (size_t)t->words * IN);
    check_free(t->weight_ih, GATES * IN);
    check_free(t->weight_hh, GATES * HIDDEN);
    check_free(t->bias_ih, GATES);
    check_free(t->bias_hh, GATES);
    check_free(t->mix, MOST_QUESTIONS * HIDDEN);
    check_free(t->in, (size_t)t->words * IN);
    check_free(t->last, (size_t)t->questions * HIDDEN);
    check_free(t->grad_ih, GATES * IN);
    check_free(t->grad_hh, GATES * HIDDEN);
    check_free(t->grad_bias_ih, GATES);
    check_free(t->grad_bias_hh, GATES);
    check_free(t->grad_in, (size_t)t->words * IN);
    check_free(t->grad_vector, (size_t)t->words * IN);
    hp_arena_release(&t->arena);
}

static double loss(void *context) {
    setup_t *t = context;
    nn_lstm_pack(&t->lstm, t->questions, t->offset);
    assert_int_equal(t->lstm.words, t->words);
    for (int r = 0; r < t->words; r++)
        memcpy(t->in + r * IN, t->vector + t->lstm.index[r] * IN, IN * sizeof *t->in);
    nn_lstm_forward(&t->lstm, t->in, t->weight_ih, t->weight_hh, t->bias_ih, t->bias_hh, t->last);
    double sum = 0;
    for (int i = 0; i < t->questions * HIDDEN; i++) sum += t->mix[i] * t->last[i];
    return sum;
}

static void backward(setup_t *t) {
    loss(t);
    nn_lstm_backward_gates(&t->lstm, t->weight_hh, t->mix);
    nn_lstm_backward_weights(&t->lstm, t->in, t->grad_ih, t->grad_hh, t->grad_bias_ih,
                             t->grad_bias_hh);
    nn_lstm_backward_in(&t->lstm, t->weight_ih, t->grad_in);
    for (int r = 0; r < t->words; r++)
        memcpy(t->grad_vector + t->lstm.index[r] * IN, t->grad_in + r * IN,
               IN * sizeof *t->grad_in);
}

static void check_lengths(int questions, const int *offset) {
    setup_t t;
    open_setup(&t, questions, offset);
    backward(&t);
    for (int q = 0; q < questions; q++) {
        nn_real naive[HIDDEN];
        naive_lstm(offset[q + 1] - offset[q], IN, HIDDEN, t.vector + offset[q] * IN, t.weight_ih,
                   t.weight_hh, t.bias_ih, t.bias_hh, naive);
        check_close("last", HIDDEN, t.last + q * HIDDEN, naive, 1e-13);
    }
    check_gradient("weight_ih", t.weight_ih, GATES * IN, t.grad_ih, loss, &t);
    check_gradient("weight_hh", t.weight_hh, GATES * HIDDEN, t.grad_hh, loss, &t);
    check_gradient("bias_ih", t.bias_ih, GATES, t.grad_bias_ih, loss, &t);
    check_gradient("bias_hh", t.bias_hh, GATES, t.grad_bias_hh, loss, &t);
    check_gradient("in", t.vector, (size_t)t.words * IN, t.grad_vector, loss, &t);
    close_setup(&t);
}

static void test_gradients(void **state) {
    (void)state;
    check_lengths(1, (int[]){0, 1});
    check_lengths(1, (int[]){0, 5});
    check_lengths(3, (int[]){0, 1, 2, 3});
    check_lengths(3, (int[]){0, 4, 8, 12});
    check_lengths(6, (int[]){0, 2, 7, 8, 14, 15, 20});
    check_lengths(6, (int[]){0, 7, 8, 10, 13, 15, 20});
}

static void test_no_questions(void **state) {
    (void)state;
    setup_t t;
    open_setup(&t, 0, (int[]){0});
    backward(&t);
    for (int i = 0; i < GATES * HIDDEN; i++) assert_true(t.grad_hh[i] == 0);
    for (int i = 0; i < GATES * IN; i++) assert_true(t.grad_ih[i] == 0);
    close_setup(&t);
}

/* Together, and each alone. */
static void test_batching(void **state) {
    (void)state;
    static const int offset[] = {0, 2, 7, 8, 14, 15, 20};
    setup_t t;
    open_setup(&t, 6, offset);
    backward(&t);
    nn_real *sum = check_buffer(GATES * HIDDEN);
    memset(sum, 0, GATES * HIDDEN * sizeof *sum);
    for (int q = 0; q < 6; q++) {
        int length[] = {0, offset[q + 1] - offset[q]};
        const size_t n = (size_t)length[1] * IN;
        setup_t one;
        open_setup(&one, 1, length);
        memcpy(one.vector, t.vector + offset[q] * IN, n * sizeof *sum);
        memcpy(one.mix, t.mix + q * HIDDEN, HIDDEN * sizeof *sum);
        backward(&one);
        check_close("last", HIDDEN, t.last + q * HIDDEN, one.last, 1e-14);
        check_close("grad_in", n, t.grad_vector + offset[q] * IN, one.grad_vector, 1e-14);
        for (int i = 0; i < GATES * HIDDEN; i++) sum[i] += one.grad_hh[i];
        close_setup(&one);
    }
    check_close("grad_hh", GATES * HIDDEN, t.grad_hh, sum, 1e-13);
    check_free(sum, GATES * HIDDEN);
    close_setup(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients),
                                       cmocka_unit_test(test_no_questions),
                                       cmocka_unit_test(test_batching)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
