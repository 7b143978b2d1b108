/* Chunks cover the block once, do not depend on the number of servers, and are dealt evenly. */
#include "common/shard_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void add(hp_params_t *t, const char *name, int64_t rows, int64_t columns, bool sparse,
                hp_param_kind_t kind) {
    int64_t shape[2] = {rows, columns};
    assert_int_equal(hp_params_add(t, name, 2, shape, kind, HP_INIT_ZERO, 0, sparse, NULL, NULL),
                     HP_OK);
}

/* The paper's model for VQA-CP: about 26 M parameters. */
static hp_params_t paper_table(void) {
    hp_params_t t = {0};
    add(&t, "question.embedding.weight", 12000, 300, true, HP_PARAM_WEIGHT);
    add(&t, "question.lstm.weight_ih_l0", 2048, 300, false, HP_PARAM_WEIGHT);
    add(&t, "question.lstm.weight_hh_l0", 2048, 512, false, HP_PARAM_WEIGHT);
    add(&t, "question.lstm.bias_ih_l0", 2048, 1, false, HP_PARAM_WEIGHT);
    add(&t, "question.lstm.bias_hh_l0", 2048, 1, false, HP_PARAM_WEIGHT);
    add(&t, "image.0.weight", 2048, 2048, false, HP_PARAM_WEIGHT);
    add(&t, "image.0.bias", 2048, 1, false, HP_PARAM_WEIGHT);
    add(&t, "image.1.weight", 2048, 2048, false, HP_PARAM_WEIGHT);
    add(&t, "image.1.bias", 2048, 1, false, HP_PARAM_WEIGHT);
    add(&t, "image.norm", 2048, 2, false, HP_PARAM_BUFFER);
    add(&t, "question.0.weight", 2048, 512, false, HP_PARAM_WEIGHT);
    add(&t, "question.1.weight", 2048, 2048, false, HP_PARAM_WEIGHT);
    add(&t, "classifier.0.weight", 1024, 2048, false, HP_PARAM_WEIGHT);
    add(&t, "classifier.1.weight", 2048, 1024, false, HP_PARAM_WEIGHT);
    add(&t, "classifier.2.weight", 1000, 2048, false, HP_PARAM_WEIGHT);
    add(&t, "classifier.2.bias", 1000, 1, false, HP_PARAM_WEIGHT);
    return t;
}

static hp_params_t small_table(void) {
    hp_params_t t = {0};
    add(&t, "embedding", 37, 7, true, HP_PARAM_WEIGHT);
    add(&t, "a", 50, 50, false, HP_PARAM_WEIGHT);
    add(&t, "a.bias", 50, 1, false, HP_PARAM_WEIGHT);
    add(&t, "statistics", 3, 1, false, HP_PARAM_BUFFER);
    add(&t, "other", 5, 300, true, HP_PARAM_WEIGHT);
    add(&t, "b", 1, 1, false, HP_PARAM_WEIGHT);
    return t;
}

static void check_chunk(const hp_params_t *t, const hp_chunk_t *c) {
    const hp_param_t *first = &t->param[c->first_param], *last = &t->param[c->last_param];
    int64_t last_end = c->last_param + 1 < t->count ? t->param[c->last_param + 1].offset : t->total;
    assert_true(first->offset <= c->begin && c->begin < c->end && c->end <= last_end);
    assert_true(last->offset < c->end);
    if (first->sparse_rows || first->kind == HP_PARAM_BUFFER)
        assert_int_equal(c->first_param, c->last_param);
    for (int i = c->first_param; i <= c->last_param; i++)
        assert_true((t->param[i].kind == HP_PARAM_BUFFER) == c->buffer);
    assert_true((c->rows > 0) == first->sparse_rows);
    if (c->rows == 0) return;
    assert_int_equal(c->row_width, first->count / first->shape[0]);
    assert_int_equal(c->begin, first->offset + (int64_t)c->first_row * c->row_width);
    assert_true(c->first_row + c->rows <= first->shape[0]);
    assert_true(c->end - c->begin - (int64_t)c->rows * c->row_width < 16);
}

static void check_table(hp_params_t t, double spread) {
    hp_shard_plan_t one, plan;
    assert_int_equal(hp_shard_plan_create(&t, 1, &one, NULL), HP_OK);
    for (int servers = 1; servers <= 8 && servers <= one.chunks; servers++) {
        assert_int_equal(hp_shard_plan_create(&t, servers, &plan, NULL), HP_OK);
        assert_int_equal(plan.chunks, one.chunks);
        int64_t at = 0, sum = 0;
        bool seen[4096] = {false};
        for (int k = 0; k < plan.chunks; k++) {
            const hp_chunk_t *c = &plan.chunk[k];
            assert_int_equal(c->begin, at);
            assert_int_equal(c->end, one.chunk[k].end);
            assert_in_range(c->server, 0, servers - 1);
            check_chunk(&t, c);
            at = c->end;
            int n = plan.by_need[k];
            assert_false(seen[n]);
            seen[n] = true;
            if (k > 0) assert_true(plan.chunk[plan.by_need[k - 1]].order <= plan.chunk[n].order);
        }
        assert_int_equal(at, t.total);
        double mean = (double)t.total / servers;
        for (int s = 0; s < servers; s++) {
            sum += plan.server_floats[s];
            assert_true((double)plan.server_floats[s] <= mean * (1 + spread));
            assert_true((double)plan.server_floats[s] >= mean * (1 - spread));
        }
        assert_int_equal(sum, t.total);
        assert_true((hp_shard_plan_digest(&t, &plan, 0) == hp_shard_plan_digest(&t, &one, 0)) ==
                    (servers == 1));
        assert_true(hp_shard_plan_digest(&t, &plan, 0) != hp_shard_plan_digest(&t, &plan, 1));
        hp_shard_plan_release(&plan);
    }
    assert_int_equal(hp_shard_plan_create(&t, one.chunks + 1, &plan, NULL), HP_INPUT);
    hp_shard_plan_release(&one);
    hp_params_release(&t);
}

static void test_paper(void **state) {
    (void)state;
    check_table(paper_table(), 0.01);
}

static void test_small(void **state) {
    (void)state;
    check_table(small_table(), 10);
}

static void test_push_bytes(void **state) {
    (void)state;
    const hp_chunk_t dense = {.begin = 10, .end = 34}, rows = {.rows = 20, .row_width = 5};
    assert_int_equal(hp_chunk_push_bytes(&dense, 3), 4 * 24);
    assert_int_equal(hp_chunk_push_bytes(&rows, 0), 4 * 16);
    assert_int_equal(hp_chunk_push_bytes(&rows, 1), 4 * (16 + 16 + 5));
    assert_int_equal(hp_chunk_push_bytes(&rows, 16), 4 * (16 + 16 + 80));
    assert_int_equal(hp_chunk_push_bytes(&rows, 17), 4 * (16 + 32 + 85));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paper),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_push_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
