/* Presence: one product an image against |x + q|^2 - |q|^2, element by element. */
#include "tests/numeric/check.h"
#include "tests/numeric/naive.h"
#include "worker/nn/presence.h"

enum { WIDTH = 21 };

static void test_against_naive(void **state) {
    (void)state;
    check_batch_t b;
    check_make_batch(&b);
    int offset[CHECK_QUESTIONS + 1], total = nn_presence_offsets(&b.batch, offset);
    assert_int_equal(total, 3 * 5 + 1 + 2 * 9 + 2 * 4);
    nn_real *x = check_random(CHECK_CELLS * WIDTH, 1, 1), *norm = check_buffer(CHECK_CELLS);
    nn_real *q = check_random(CHECK_QUESTIONS * WIDTH, 2, 1);
    nn_real *seen = check_random((size_t)total, 3, 1), *naive = check_buffer((size_t)total);
    for (int image_is_zero = 0; image_is_zero < 2; image_is_zero++) {
        if (image_is_zero) memset(x, 0, 5 * WIDTH * sizeof *x);
        nn_squared_norms(CHECK_CELLS, WIDTH, x, norm);
        int64_t madds = nn_presence(&b.batch, WIDTH, x, q, norm, offset, seen);
        assert_int_equal(madds, total * WIDTH);
        naive_presence(&b.batch, WIDTH, x, q, naive);
        check_close("presence", (size_t)total, seen, naive, 1e-12);
    }
    for (int i = 0; i < offset[3]; i++) assert_true(seen[i] == 0); /* the zero image */
    nn_presence_image_only(&b.batch, norm, offset, seen);
    memset(q, 0, CHECK_QUESTIONS * WIDTH * sizeof *q);
    naive_presence(&b.batch, WIDTH, x, q, naive);
    check_close("image_only", (size_t)total, seen, naive, 1e-12);
    check_free(x, CHECK_CELLS * WIDTH);
    check_free(q, CHECK_QUESTIONS * WIDTH);
    check_free(norm, CHECK_CELLS);
    check_free(seen, (size_t)total);
    check_free(naive, (size_t)total);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_naive)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
