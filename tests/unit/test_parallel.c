/* Loops by several threads: every item once, parts of a grain or more, and passes of the network
 * with the same bits for any number of threads. */
#include "common/gemm.h"
#include "common/parallel.h"
#include "common/random.h"
#include "worker/nn/linear.h"
#include "worker/nn/presence.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { N = 1000, ROWS = 300, WIDTH = 517 };

typedef struct {
    atomic_int seen[N];
    atomic_int parts;
    atomic_llong least;
} counted_t;

static void count(void *context, int64_t begin, int64_t end) {
    counted_t *c = context;
    atomic_fetch_add(&c->parts, 1);
    long long least = atomic_load(&c->least);
    while (end - begin < least && !atomic_compare_exchange_weak(&c->least, &least, end - begin))
        continue;
    for (int64_t i = begin; i < end; i++) atomic_fetch_add(&c->seen[i], 1);
}

static void test_every_item(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        hp_gemm_set_threads(threads);
        for (int n = 0; n <= N; n = 2 * n + 1)
            for (int64_t grain = 0; grain <= N; grain = 3 * grain + 1) {
                static counted_t c;
                memset(&c, 0, sizeof c);
                c.least = N;
                hp_parallel(n, grain, count, &c);
                for (int i = 0; i < N; i++) assert_int_equal(c.seen[i], i < n);
                assert_true(c.parts <= threads);
                if (c.parts > 1) assert_true(c.least >= grain);
                if (n == 0) assert_int_equal(c.parts, 0);
            }
    }
}

static void test_several(void **state) {
    (void)state;
#ifdef HP_SANITIZED
    skip();
#endif
    if (!hp_gemm_has_engine()) skip();
    static counted_t c;
    hp_gemm_set_threads(3);
    hp_parallel(N, 10, count, &c);
    assert_int_equal(c.parts, 3);
}

typedef struct {
    float x[ROWS * WIDTH], y[ROWS * WIDTH], weight[3 * WIDTH], grad_weight[3 * WIDTH], bias[WIDTH];
    float in[ROWS * 3], norm[ROWS];
} passes_t;

static void run_passes(passes_t *p) {
    hp_random_t r = hp_random(1, HP_RANDOM_TEST, 0, 0);
    for (int i = 0; i < ROWS * WIDTH; i++) p->x[i] = (float)hp_random_normal(&r);
    for (int i = 0; i < 3 * WIDTH; i++) p->weight[i] = (float)hp_random_normal(&r);
    for (int i = 0; i < WIDTH; i++) p->bias[i] = (float)hp_random_normal(&r);
    for (int i = 0; i < 3 * ROWS; i++) p->in[i] = (float)hp_random_normal(&r);
    nn_squared_norms(ROWS, WIDTH, p->x, p->norm);
    nn_linear_forward(ROWS, 3, WIDTH, true, p->in, p->weight, p->bias, p->y);
    nn_linear_backward_weight(ROWS, 3, WIDTH, p->in, p->y, p->x, p->grad_weight, p->bias);
}

static void test_same_bits(void **state) {
    (void)state;
    static passes_t one, several;
    hp_gemm_set_threads(1);
    run_passes(&one);
    for (int threads = 2; threads <= 5; threads++) {
        hp_gemm_set_threads(threads);
        run_passes(&several);
        assert_memory_equal(one.x, several.x, sizeof one.x);
        assert_memory_equal(one.y, several.y, sizeof one.y);
        assert_memory_equal(one.bias, several.bias, sizeof one.bias);
        assert_memory_equal(one.norm, several.norm, sizeof one.norm);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_item),
                                       cmocka_unit_test(test_several),
                                       cmocka_unit_test(test_same_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
