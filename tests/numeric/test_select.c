/* Selection against a sort of all cells; ties, numbers that are none, ragged counts; packing. */
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"
#include "worker/nn/presence.h"

#include <stdbool.h>

enum { MOST = 70 };

/* One image of n cells with one question. */
typedef struct {
    int cell_offset[2], image[1], presence_offset[2];
    uint64_t key[1];
    nn_batch_t batch;
    hp_arena_t arena;
    nn_selected_t selected;
} one_t;

static void one_open(one_t *one, int n) {
    *one = (one_t){.cell_offset = {0, n}, .presence_offset = {0, n}, .key = {17}};
    one->batch = (nn_batch_t){.images = 1,
                              .questions = 1,
                              .cell_offset = one->cell_offset,
                              .image = one->image,
                              .key = one->key};
    hp_error_t err;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) assert_int_equal(hp_arena_commit(&one->arena, "test", &err), HP_OK);
        nn_selected_take(&one->selected, &one->arena, 1, 1, n, (size_t)n);
    }
}

static void assert_well_formed(const nn_selected_t *s, int n, int least, int most) {
    assert_int_equal(s->slots, s->offset[1]);
    assert_in_range(s->slots, least, most);
    for (int i = 0; i < s->slots; i++) {
        assert_in_range(s->cell[i], 0, n - 1);
        if (i > 0) assert_true(s->cell[i] > s->cell[i - 1]);
    }
}

static void compare(one_t *one, const nn_select_t *select, int n, const nn_real *p, nn_real q2) {
    int expected[MOST];
    nn_select(select, &one->batch, p, one->presence_offset, &q2, &one->selected);
    int count = naive_select(select, n, p, q2, expected);
    assert_well_formed(&one->selected, n, 1, n);
    assert_int_equal(one->selected.slots, count);
    assert_memory_equal(one->selected.cell, expected, (size_t)count * sizeof(int));
}

static void test_against_sort(void **state) {
    (void)state;
    hp_random_t r = hp_random(2, HP_RANDOM_TEST, 0, 0);
    for (int n = 1; n <= MOST; n++) {
        one_t one;
        one_open(&one, n);
        nn_real *p = check_buffer((size_t)n);
        for (int levels = 1; levels <= 1000; levels *= 10) { /* few levels: many ties */
            for (int i = 0; i < n; i++) p[i] = (double)hp_random_below(&r, (uint64_t)levels);
            for (int k = 1; k <= n + 2; k = k < 3 ? k + 1 : 2 * k) {
                compare(&one, &(nn_select_t){NN_SELECT_LARGEST, k, 0}, n, p, 0);
                compare(&one, &(nn_select_t){NN_SELECT_LOWEST, k, 0}, n, p, 0);
            }
            compare(&one, &(nn_select_t){NN_SELECT_ALL, 0, 0}, n, p, 0);
            if (levels != 10) compare(&one, &(nn_select_t){NN_SELECT_ADAPTIVE, 0, 0}, n, p, 2);
        }
        check_free(p, (size_t)n);
        hp_arena_release(&one.arena);
    }
}

/* All equal: softmax is exactly 1/n, no cell is above it; the lowest one is taken. */
static void test_adaptive_equal(void **state) {
    (void)state;
    for (int n = 1; n <= MOST; n++) {
        one_t one;
        one_open(&one, n);
        nn_real p[MOST];
        for (int i = 0; i < n; i++) p[i] = 0.1;
        compare(&one, &(nn_select_t){NN_SELECT_ADAPTIVE, 0, 0}, n, p, 0.7);
        assert_int_equal(one.selected.slots, 1);
        assert_int_equal(one.selected.cell[0], 0);
        hp_arena_release(&one.arena);
    }
}

/* Far apart, the largest alone; and presences whose |q|^2 must be added to give a norm. */
static void test_adaptive_extremes(void **state) {
    (void)state;
    one_t one;
    one_open(&one, 4);
    nn_select_t adaptive = {NN_SELECT_ADAPTIVE, 0, 0};
    compare(&one, &adaptive, 4, (nn_real[]){0, 1e8, 4, 1e8 - 1e6}, 0);
    assert_int_equal(one.selected.slots, 1);
    compare(&one, &adaptive, 4, (nn_real[]){-3, -1, -4, -1}, 4);
    assert_int_equal(one.selected.slots, 2);
    nn_real q2 = 1; /* p + |q|^2 below zero by rounding */
    nn_select(&adaptive, &one.batch, (nn_real[]){-1 - 1e-9, -1, -1, 3}, one.presence_offset, &q2,
              &one.selected);
    assert_int_equal(one.selected.slots, 1);
    assert_int_equal(one.selected.cell[0], 3);
    hp_arena_release(&one.arena);
}

/* Presences of a run that has diverged. */
static void test_not_finite(void **state) {
    (void)state;
    const double values[] = {NAN, INFINITY, -INFINITY, 1};
    hp_random_t r = hp_random(3, HP_RANDOM_TEST, 0, 0);
    for (int round = 0; round < 400; round++) {
        int n = 1 + round % 13, k = 1 + round % 5;
        one_t one;
        one_open(&one, n);
        nn_real p[13], q2 = values[round % 4];
        for (int i = 0; i < n; i++) p[i] = values[hp_random_below(&r, 4)];
        compare(&one, &(nn_select_t){NN_SELECT_LARGEST, k, 0}, n, p, q2);
        compare(&one, &(nn_select_t){NN_SELECT_LOWEST, k, 0}, n, p, q2);
        nn_select(&(nn_select_t){NN_SELECT_ADAPTIVE, 0, 0}, &one.batch, p, one.presence_offset, &q2,
                  &one.selected);
        assert_well_formed(&one.selected, n, 1, n);
        hp_arena_release(&one.arena);
    }
}

/* Every cell is drawn equally often; the draw depends on seed and key alone. */
static void test_random(void **state) {
    (void)state;
    enum { N = 10, K = 3, ROUNDS = 20000 };
    one_t one;
    one_open(&one, N);
    int drawn[N] = {0}, first[K];
    nn_select_t select = {NN_SELECT_RANDOM, K, 5};
    for (int round = 0; round < ROUNDS; round++) {
        one.key[0] = (uint64_t)round;
        nn_select(&select, &one.batch, NULL, NULL, NULL, &one.selected);
        assert_well_formed(&one.selected, N, K, K);
        for (int i = 0; i < K; i++) drawn[one.selected.cell[i]]++;
        if (round == 0) memcpy(first, one.selected.cell, sizeof first);
    }
    double expected = (double)ROUNDS * K / N, spread = sqrt(expected * (1 - (double)K / N));
    for (int i = 0; i < N; i++) assert_true(fabs(drawn[i] - expected) < 5 * spread);
    one.key[0] = 0;
    nn_select(&select, &one.batch, NULL, NULL, NULL, &one.selected);
    assert_memory_equal(first, one.selected.cell, sizeof first);
    hp_arena_release(&one.arena);
}

static void test_ragged_and_packed(void **state) {
    (void)state;
    check_batch_t b;
    check_make_batch(&b);
    int offset[CHECK_QUESTIONS + 1], total = nn_presence_offsets(&b.batch, offset);
    nn_real *p = check_random((size_t)total, 9, 1);
    nn_select_t select = {NN_SELECT_LARGEST, 4, 0};
    size_t slots = nn_select_slots(&select, CHECK_QUESTIONS, CHECK_MAX_CELLS);
    assert_int_equal(slots, CHECK_QUESTIONS * 4);
    assert_int_equal(nn_select_slots(&(nn_select_t){NN_SELECT_ALL, 4, 0}, 2, 9), 18);
    assert_int_equal(nn_select_slots(&(nn_select_t){NN_SELECT_RANDOM, 12, 0}, 2, 9), 18);
    hp_arena_t arena = {0};
    nn_selected_t s;
    hp_error_t err;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) assert_int_equal(hp_arena_commit(&arena, "test", &err), HP_OK);
        nn_selected_take(&s, &arena, CHECK_IMAGES, CHECK_QUESTIONS, CHECK_CELLS, slots);
    }
    check_spoil(&arena);
    nn_select(&select, &b.batch, p, offset, NULL, &s);
    nn_select_pack(&b.batch, &s);
    assert_int_equal(s.slots, 3 * 4 + 1 + 2 * 4 + 2 * 4);
    assert_in_range(s.rows, 4 + 1 + 4 + 4, CHECK_CELLS);
    assert_int_equal(s.row_offset[CHECK_IMAGES], s.rows);
    bool used[CHECK_CELLS] = {false};
    for (int q = 0; q < CHECK_QUESTIONS; q++)
        for (int i = s.offset[q]; i < s.offset[q + 1]; i++) {
            int image = b.image[q], cell = b.cell_offset[image] + s.cell[i];
            used[cell] = true;
            assert_int_equal(s.row_cell[s.row[i]], cell);
            assert_in_range(s.row[i], s.row_offset[image], s.row_offset[image + 1] - 1);
        }
    int rows = 0;
    for (int cell = 0; cell < CHECK_CELLS; cell++)
        assert_int_equal(s.cell_row[cell], used[cell] ? rows++ : -1);
    assert_int_equal(rows, s.rows);
    /* The same selection, given. */
    int given_offset[CHECK_QUESTIONS + 1], given_cell[CHECK_QUESTIONS * 4];
    memcpy(given_offset, s.offset, sizeof given_offset);
    memcpy(given_cell, s.cell, (size_t)s.slots * sizeof(int));
    check_spoil(&arena);
    nn_select_given(&b.batch, given_offset, given_cell, &s);
    nn_select_pack(&b.batch, &s);
    assert_int_equal(s.rows, rows);
    assert_memory_equal(s.cell, given_cell, (size_t)s.slots * sizeof(int));
    nn_select_pack_every(&b.batch, &s);
    assert_int_equal(s.rows, CHECK_CELLS);
    for (int cell = 0; cell < CHECK_CELLS; cell++) {
        assert_int_equal(s.row_cell[cell], cell);
        assert_int_equal(s.cell_row[cell], cell);
    }
    for (int q = 0; q < CHECK_QUESTIONS; q++)
        for (int i = s.offset[q]; i < s.offset[q + 1]; i++)
            assert_int_equal(s.row[i], b.cell_offset[b.image[q]] + s.cell[i]);
    nn_select_pack(&b.batch, &s);
    nn_real *x = check_random(CHECK_CELLS * 3, 4, 1), *packed = check_buffer((size_t)rows * 3);
    nn_gather_rows(rows, 3, x, s.row_cell, packed);
    for (int i = 0; i < rows * 3; i++) assert_true(packed[i] == x[s.row_cell[i / 3] * 3 + i % 3]);
    check_free(x, CHECK_CELLS * 3);
    check_free(packed, (size_t)rows * 3);
    check_free(p, (size_t)total);
    hp_arena_release(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_sort),
        cmocka_unit_test(test_adaptive_equal),
        cmocka_unit_test(test_adaptive_extremes),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_ragged_and_packed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
