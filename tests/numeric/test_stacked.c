/* Stacked attention: the naive twin, finite differences, grouped and not, evaluation. */
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"

enum { WIDTH = 5, ATTENTION = 4, MAX_HOPS = 3 };

typedef struct {
    const nn_selected_t *selected;
    hp_arena_t arena;
    nn_stacked_t stacked;
    nn_real *weight[MAX_HOPS][4], *grad[MAX_HOPS][4]; /* image, question, bias, score */
    nn_stacked_weights_t weights;
    nn_stacked_grads_t grads;
    nn_real *x, *q, *mix, *out;
    size_t n_x, n_q;
} setup_t;

static const size_t sizes[4] = {ATTENTION * WIDTH, ATTENTION *WIDTH, ATTENTION, ATTENTION};

static void open_setup(setup_t *t, const nn_selected_t *selected, int hops, bool train) {
    *t = (setup_t){.selected = selected};
    hp_error_t err;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) assert_int_equal(hp_arena_commit(&t->arena, "stacked", &err), HP_OK);
        nn_stacked_take(&t->stacked, &t->arena, &(nn_stacked_shape_t){WIDTH, ATTENTION, hops},
                        selected->rows, selected->questions, (size_t)selected->slots,
                        CHECK_MAX_CELLS, train);
    }
    for (int hop = 0; hop < hops; hop++) {
        for (int i = 0; i < 4; i++) {
            t->weight[hop][i] = check_random(sizes[i], (uint64_t)(10 * hop + i), 0.7);
            t->grad[hop][i] = check_buffer(sizes[i]);
        }
        t->weights.image[hop] = t->weight[hop][0];
        t->weights.question[hop] = t->weight[hop][1];
        t->weights.bias[hop] = t->weight[hop][2];
        t->weights.score[hop] = t->weight[hop][3];
        t->grads.image[hop] = t->grad[hop][0];
        t->grads.question[hop] = t->grad[hop][1];
        t->grads.bias[hop] = t->grad[hop][2];
        t->grads.score[hop] = t->grad[hop][3];
    }
    t->n_x = (size_t)selected->rows * WIDTH;
    t->n_q = (size_t)selected->questions * WIDTH;
    t->x = check_random(t->n_x, 50, 1);
    t->q = check_random(t->n_q, 51, 1);
    t->mix = check_random(t->n_q, 52, 1);
    t->out = check_buffer(t->n_q);
    t->grads.x = check_buffer(t->n_x);
    t->grads.q = check_buffer(t->n_q);
}

static void close_setup(setup_t *t) {
    for (int hop = 0; hop < t->stacked.shape.hops; hop++)
        for (int i = 0; i < 4; i++) {
            check_free(t->weight[hop][i], sizes[i]);
            check_free(t->grad[hop][i], sizes[i]);
        }
    nn_real *of_q[] = {t->q, t->mix, t->out, t->grads.q};
    for (int i = 0; i < 4; i++) check_free(of_q[i], t->n_q);
    check_free(t->x, t->n_x);
    check_free(t->grads.x, t->n_x);
    hp_arena_release(&t->arena);
}

static double loss(void *context) {
    setup_t *t = context;
    check_spoil(&t->arena);
    nn_stacked_forward(&t->stacked, t->selected, &t->weights, t->x, t->q, t->out);
    double sum = 0;
    for (size_t i = 0; i < t->n_q; i++) sum += t->mix[i] * t->out[i];
    return sum;
}

static void backward(setup_t *t) {
    loss(t);
    nn_stacked_backward(&t->stacked, t->selected, &t->weights, t->x, t->mix, &t->grads);
}

static void check_kind(nn_select_kind_t kind, int k, int hops) {
    static const char *const names[4] = {"image", "question", "bias", "score"};
    check_batch_t b;
    check_make_batch(&b);
    hp_arena_t arena;
    nn_selected_t s;
    check_select(&b, kind, k, &arena, &s);
    setup_t t, eval;
    open_setup(&t, &s, hops, true);
    nn_real *naive = check_buffer(t.n_q);
    naive_stacked(&t.stacked.shape, &s, &t.weights, t.x, t.q, naive);
    backward(&t);
    check_close("stacked", t.n_q, t.out, naive, 1e-13);
    for (int q = 0; q < s.questions; q++) {
        double sum = 0;
        for (int i = s.offset[q]; i < s.offset[q + 1]; i++) sum += t.stacked.p[hops - 1][i];
        assert_true(fabs(sum - 1) < 1e-12);
    }
    for (int hop = 0; hop < hops; hop++)
        for (int i = 0; i < 4; i++)
            check_gradient(names[i], t.weight[hop][i], sizes[i], t.grad[hop][i], loss, &t);
    check_gradient("x", t.x, t.n_x, t.grads.x, loss, &t);
    check_gradient("q", t.q, t.n_q, t.grads.q, loss, &t);
    open_setup(&eval, &s, hops, false);
    loss(&eval);
    check_close("evaluation", t.n_q, eval.out, naive, 1e-13);
    check_free(naive, t.n_q);
    close_setup(&t);
    close_setup(&eval);
    hp_arena_release(&arena);
}

static void test_gradients(void **state) {
    (void)state;
    check_kind(NN_SELECT_ALL, 0, 1);
    check_kind(NN_SELECT_ALL, 0, 2);
    check_kind(NN_SELECT_ALL, 0, 3);
    check_kind(NN_SELECT_LARGEST, 1, 2);
}

static void test_grouping(void **state) {
    (void)state;
    check_batch_t b;
    check_make_batch(&b);
    hp_arena_t arena;
    nn_selected_t s, apart;
    check_select(&b, NN_SELECT_ALL, 0, &arena, &s);
    int row[CHECK_QUESTIONS * CHECK_MAX_CELLS], row_of[CHECK_QUESTIONS * CHECK_MAX_CELLS];
    check_ungroup(&s, row, row_of, &apart);
    setup_t one, two;
    open_setup(&one, &s, 2, true);
    open_setup(&two, &apart, 2, true);
    nn_gather_rows(apart.rows, WIDTH, one.x, row_of, two.x);
    backward(&one);
    backward(&two);
    check_close("out", one.n_q, two.out, one.out, 1e-13);
    for (int hop = 0; hop < 2; hop++)
        for (int i = 0; i < 4; i++)
            check_close("weight", sizes[i], two.grad[hop][i], one.grad[hop][i], 1e-12);
    nn_real *sum = check_buffer(one.n_x);
    for (int r = 0; r < apart.rows; r++)
        for (int c = 0; c < WIDTH; c++) sum[row_of[r] * WIDTH + c] += two.grads.x[r * WIDTH + c];
    check_close("x", one.n_x, sum, one.grads.x, 1e-12);
    check_free(sum, one.n_x);
    close_setup(&one);
    close_setup(&two);
    hp_arena_release(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_gradients),
                                       cmocka_unit_test(test_grouping)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
