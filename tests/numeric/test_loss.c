/* Cross entropy and dropout. */
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"
#include "worker/nn/dropout.h"
#include "worker/nn/loss.h"

enum { QUESTIONS = 4, ANSWERS = 5 };

static const int32_t label[QUESTIONS] = {3, -1, 0, 4};

static double loss(void *context) {
    double log_sum[QUESTIONS];
    return nn_cross_entropy_forward(QUESTIONS, ANSWERS, context, label, log_sum).sum;
}

static void test_cross_entropy(void **state) {
    (void)state;
    nn_real *logits = check_random(QUESTIONS * ANSWERS, 1, 3);
    nn_real *grad = check_buffer(QUESTIONS * ANSWERS);
    logits[3] = 20;                                         /* question 0 is right */
    logits[2 * ANSWERS + 2] = 300;                          /* question 2 is wrong, and far out */
    logits[3 * ANSWERS + 1] = logits[3 * ANSWERS + 4] = 30; /* a tie: the first is the answer */
    double log_sum[QUESTIONS], naive = 0;
    nn_loss_t seen = nn_cross_entropy_forward(QUESTIONS, ANSWERS, logits, label, log_sum);
    for (int q = 0; q < QUESTIONS; q++)
        if (label[q] >= 0) naive += naive_cross_entropy(ANSWERS, logits + q * ANSWERS, label[q]);
    assert_true(fabs(seen.sum - naive) < 1e-12 * naive);
    assert_int_equal(seen.labelled, 3);
    assert_int_equal(seen.correct, 1);
    nn_cross_entropy_backward(QUESTIONS, ANSWERS, logits, label, log_sum, grad);
    check_gradient("logits", logits, QUESTIONS * ANSWERS, grad, loss, logits);
    logits[1] = NAN;
    assert_true(isnan(loss(logits)));
    check_free(logits, QUESTIONS * ANSWERS);
    check_free(grad, QUESTIONS * ANSWERS);
}

static const int target_offset[QUESTIONS + 1] = {0, 3, 4, 4, 6};
static const int32_t target_answer[] = {3, 0, 1, 2, 4, 1};
static const nn_real target_weight[] = {1, (nn_real)0.3, (nn_real)0.6,
                                        1, (nn_real)0.9, (nn_real)0.3};
static const nn_targets_t target = {target_offset, target_answer, target_weight};

static double binary(void *context) {
    return nn_binary_forward(QUESTIONS, ANSWERS, context, label, &target);
}

static double soft(void *context) {
    double log_sum[QUESTIONS];
    nn_cross_entropy_forward(QUESTIONS, ANSWERS, context, label, log_sum);
    return nn_soft_forward(QUESTIONS, ANSWERS, context, label, &target, log_sum);
}

/* The two losses by their definitions, class by class. */
static double naive_targets(const nn_real *logits, bool is_binary) {
    double sum = 0;
    for (int q = 0; q < QUESTIONS; q++)
        for (int i = 0; i < ANSWERS && label[q] >= 0; i++) {
            double weight = 0, p = 1 / (1 + exp(-(double)logits[q * ANSWERS + i]));
            for (int t = target_offset[q]; t < target_offset[q + 1]; t++)
                if (target_answer[t] == i) weight = (double)target_weight[t];
            sum += is_binary ? -weight * log(p) - (1 - weight) * log(1 - p)
                             : weight * naive_cross_entropy(ANSWERS, logits + q * ANSWERS, i);
        }
    return sum;
}

static void test_targets(void **state) {
    (void)state;
    double log_sum[QUESTIONS];
    nn_real *logits = check_random(QUESTIONS * ANSWERS, 1, 3);
    nn_real *grad = check_buffer(QUESTIONS * ANSWERS);
    assert_true(fabs(binary(logits) - naive_targets(logits, true)) < 1e-12 * binary(logits));
    assert_true(fabs(soft(logits) - naive_targets(logits, false)) < 1e-12 * soft(logits));
    nn_binary_backward(QUESTIONS, ANSWERS, logits, label, &target, grad);
    check_gradient("binary", logits, QUESTIONS * ANSWERS, grad, binary, logits);
    nn_cross_entropy_forward(QUESTIONS, ANSWERS, logits, label, log_sum);
    nn_soft_backward(QUESTIONS, ANSWERS, logits, label, &target, log_sum, grad);
    check_gradient("soft", logits, QUESTIONS * ANSWERS, grad, soft, logits);
    logits[0] = 800; /* far out on both sides: finite, and without a gradient where it is right */
    logits[3] = -800;
    assert_true(isfinite(binary(logits)) && isfinite(soft(logits)));
    nn_binary_backward(QUESTIONS, ANSWERS, logits, label, &target, grad);
    assert_true(fabs((double)grad[0] - 0.7) < 1e-6 && fabs((double)grad[3] + 1) < 1e-6);
    logits[0] = NAN;
    assert_true(isnan(binary(logits)) && isnan(soft(logits)));
    check_free(logits, QUESTIONS * ANSWERS);
    check_free(grad, QUESTIONS * ANSWERS);
}

static void test_dropout(void **state) {
    (void)state;
    enum { ROWS = 3, WIDTH = 4000 };
    nn_real *x = check_buffer(ROWS * WIDTH), *y = check_buffer(WIDTH);
    const uint64_t key[ROWS] = {11, 12, 11};
    for (int i = 0; i < ROWS * WIDTH; i++) x[i] = 2;
    nn_dropout(ROWS, WIDTH, 0.25, 5, 1, key, x);
    int dropped = 0, differ = 0;
    for (int i = 0; i < WIDTH; i++) {
        assert_true(x[i] == 0 || fabs(x[i] - 2 / 0.75) < 1e-15);
        dropped += x[i] == 0;
        differ += x[i] != x[WIDTH + i];
        assert_true(x[i] == x[2 * WIDTH + i]); /* the same example */
    }
    assert_in_range(dropped, WIDTH / 4 - 130, WIDTH / 4 + 130); /* 4.7 sigma */
    assert_in_range(differ, 1200, 1800);
    for (int i = 0; i < WIDTH; i++) y[i] = 2; /* alone, and as another layer */
    nn_dropout(1, WIDTH, 0.25, 5, 1, key + 1, y);
    assert_memory_equal(y, x + WIDTH, WIDTH * sizeof *y);
    for (int i = 0; i < WIDTH; i++) y[i] = 2;
    nn_dropout(1, WIDTH, 0.25, 5, 2, key + 1, y);
    assert_memory_not_equal(y, x + WIDTH, WIDTH * sizeof *y);
    for (int i = 0; i < WIDTH; i++) y[i] = 2;
    nn_dropout(1, WIDTH, 0, 5, 2, key, y);
    for (int i = 0; i < WIDTH; i++) assert_true(y[i] == 2);
    check_free(x, ROWS * WIDTH);
    check_free(y, WIDTH);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cross_entropy),
                                       cmocka_unit_test(test_targets),
                                       cmocka_unit_test(test_dropout)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
