/* Word embedding: lookup, the rows that have a gradient, and that no other row is written. */
#include "tests/numeric/check.h"
#include "worker/nn/embedding.h"

enum { WORDS = 9, WIDTH = 3, TOKENS = 7 };

static const int32_t token[TOKENS] = {4, 8, 4, 0, 8, 8, 2};
static const int order[TOKENS] = {6, 0, 3, 1, 5, 2, 4}; /* of the rows */

typedef struct {
    nn_real *weight, *out, *mix;
} setup_t;

static double loss(void *context) {
    setup_t *t = context;
    nn_embedding_forward(TOKENS, WIDTH, t->weight, token, order, t->out);
    double sum = 0;
    for (int i = 0; i < TOKENS * WIDTH; i++) sum += t->mix[i] * t->out[i];
    return sum;
}

static void test_embedding(void **state) {
    (void)state;
    setup_t t = {.weight = check_random(WORDS * WIDTH, 1, 1),
                 .out = check_buffer(TOKENS * WIDTH),
                 .mix = check_random(TOKENS * WIDTH, 2, 1)};
    loss(&t);
    for (int r = 0; r < TOKENS; r++)
        check_close("row", WIDTH, t.out + r * WIDTH, t.weight + token[order[r]] * WIDTH, 0);

    unsigned char mark[WORDS];
    int32_t row[TOKENS];
    memset(mark, 0xff, sizeof mark);
    assert_int_equal(nn_embedding_rows(TOKENS, WORDS, token, mark, row), 4);
    const int32_t expected[] = {0, 2, 4, 8};
    assert_memory_equal(row, expected, sizeof expected);

    nn_real *grad = check_buffer(WORDS * WIDTH);
    for (int i = 0; i < WORDS * WIDTH; i++) grad[i] = 77;
    nn_embedding_backward(TOKENS, WIDTH, token, order, 4, row, t.mix, grad);
    for (int word = 0; word < WORDS; word++) {
        if (word == 0 || word == 2 || word == 4 || word == 8) continue;
        for (int c = 0; c < WIDTH; c++) {
            assert_true(grad[word * WIDTH + c] == 77);
            grad[word * WIDTH + c] = 0;
        }
    }
    check_gradient("weight", t.weight, WORDS * WIDTH, grad, loss, &t);
    check_free(t.weight, WORDS * WIDTH);
    check_free(t.out, TOKENS * WIDTH);
    check_free(t.mix, TOKENS * WIDTH);
    check_free(grad, WORDS * WIDTH);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_embedding)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
