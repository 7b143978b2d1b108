/* Several people's answers as labels: which are classes, their scores and shares, sampling. */
#include "worker/data/labels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char *const classes[] = {"yes", "no", "2", "red", "blue"};
static wk_labels_t *labels;

static int setup(void **state) {
    (void)state;
    return wk_labels_create(5, classes, &labels, NULL);
}

static int teardown(void **state) {
    (void)state;
    wk_labels_destroy(labels);
    return 0;
}

static hp_question_t question(hp_answer_t *answer, int n, const char *const *text, int32_t label) {
    for (int i = 0; i < n; i++) answer[i] = (hp_answer_t){.text = text[i]};
    return (hp_question_t){.answers = n, .answer = answer, .label = label};
}

static const char *const ten[] = {"red",  "no", "red", "grey", "red",
                                  "blue", "no", "red", "red",  "dark"};

static void test_find(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) assert_int_equal(wk_labels_find(labels, classes[i]), i);
    assert_int_equal(wk_labels_find(labels, "r"), -1);
    assert_int_equal(wk_labels_find(labels, ""), -1);
}

static void test_soft(void **state) {
    (void)state;
    hp_answer_t answer[10];
    hp_question_t q = question(answer, 10, ten, 3);
    for (int shares = 0; shares < 2; shares++) {
        int32_t class[WK_LABELS_MOST];
        float weight[WK_LABELS_MOST], of[5] = {0};
        const float want[2][5] = {{0, 0.6F, 0, 1, 0.3F}, {0, 0.2F, 0, 0.5F, 0.1F}};
        int n = wk_labels_soft(labels, &q, shares == 1, class, weight);
        assert_int_equal(n, 3);
        for (int i = 0; i < n; i++) of[class[i]] += weight[i];
        for (int i = 0; i < 5; i++) assert_true(fabsf(of[i] - want[shares][i]) < 1e-6F);
    }
    int32_t class[WK_LABELS_MOST];
    float weight[WK_LABELS_MOST];
    const float score[] = {0, 0.3F, 0.6F, 0.9F, 1, 1, 1};
    for (int n = 2; n <= 6; n++) { /* all alike */
        const char *const same[] = {"2", "2", "2", "2", "2", "2"};
        q = question(answer, n, same, 2);
        assert_int_equal(wk_labels_soft(labels, &q, false, class, weight), 1);
        assert_true(class[0] == 2 && fabsf(weight[0] - score[n]) < 1e-6F);
    }
    q = question(answer, 1, ten, 3); /* one answer, and none that is a class: the label */
    assert_int_equal(wk_labels_soft(labels, &q, false, class, weight), 1);
    assert_true(class[0] == 3 && weight[0] == 1);
    const char *const strange[] = {"a", "b", "c"};
    q = question(answer, 3, strange, 1);
    assert_int_equal(wk_labels_soft(labels, &q, true, class, weight), 1);
    assert_true(class[0] == 1 && weight[0] == 1);
    q.label = -1;
    assert_int_equal(wk_labels_soft(labels, &q, true, class, weight), 0);
    q = question(answer, 1, ten, -1); /* the only answer is a class, which the file did not say */
    assert_int_equal(wk_labels_soft(labels, &q, false, class, weight), 1);
    assert_true(class[0] == 3 && weight[0] == 1);
}

static void test_sample(void **state) {
    (void)state;
    hp_answer_t answer[10];
    hp_question_t q = question(answer, 10, ten, 3);
    int seen[5] = {0}, differ = 0;
    for (uint64_t key = 0; key < 8000; key++) {
        int32_t class = wk_labels_sample(labels, &q, 5, key);
        assert_in_range(class, 0, 4);
        assert_int_equal(class, wk_labels_sample(labels, &q, 5, key));
        differ += class != wk_labels_sample(labels, &q, 6, key);
        seen[class]++;
    }
    assert_true(seen[0] == 0 && seen[2] == 0); /* 2 of 8, 5 of 8, 1 of 8 */
    assert_in_range(seen[1], 1850, 2150);
    assert_in_range(seen[3], 4830, 5170);
    assert_in_range(seen[4], 880, 1120);
    assert_in_range(differ, 3500, 5000);
    const char *const strange[] = {"a", "b", "c"};
    q = question(answer, 3, strange, 1);
    assert_int_equal(wk_labels_sample(labels, &q, 5, 1), 1);
    q.answers = 0;
    assert_int_equal(wk_labels_sample(labels, &q, 5, 1), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_find), cmocka_unit_test(test_soft),
                                       cmocka_unit_test(test_sample)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
