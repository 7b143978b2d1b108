/* The official VQA accuracy: golden vectors, both versions, and four predictors of the real sample.
 */
#include "worker/metric.h"

#include "common/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

#include <cmocka.h>

static const char *normalise(const char *in, char *out) {
    char middle[512];
    wk_vqa_punctuation(in, middle);
    wk_vqa_digit_article(middle, out);
    return out;
}

static void test_normalise(void **state) {
    (void)state;
    static const char *const golden[][2] = {
        {"yes!", "yes"},
        {"T-shirt", "t shirt"},
        {"10,000", "10000"},
        {"1,000 - 2,000", "1000 2000"},
        {"U.S.", "us"},
        {"U. S. A.", "u s"},
        {"3.5", "3.5"},
        {".5", ".5"},
        {"5.", "5"},
        {"", ""},
        {"  the  two\tDogs ", "2 dogs"},
        {"none", "0"},
        {"ten a an", "10"},
        {"dont", "don't"},
        {"somebody'd", "somebodyd"},
        {"y'allll and ows'at", "y'all'll and ows'at"},
        {"it's 5:30, $3 & 4%", "it's 5:30 $3 & 4%"},
        {"a/b", "b"},
        {"caf\xc3\xa9\xc2\xa0noir", "caf\xc3\xa9 noir"},
        /* as str.lower has it: É À ×, Œ Ÿ ł, Ω Ά, Ж Ё */
        {"CAF\xc3\x89 \xc3\x80\xc3\x97", "caf\xc3\xa9 \xc3\xa0\xc3\x97"},
        {"\xc5\x92\xc5\xb8\xc5\x82 \xc5\x81", "\xc5\x93\xc3\xbf\xc5\x82 \xc5\x82"},
        {"\xce\xa9\xce\x86 \xd0\x96\xd0\x81", "\xcf\x89\xce\xac \xd0\xb6\xd1\x91"},
        {"................................. x", ". x"}, /* only 32 periods are removed */
    };
    char out[512];
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++)
        assert_string_equal(normalise(golden[i][0], out), golden[i][1]);
}

#define HUMANS 10

/* n humans say `a`, the rest `b`. */
static hp_question_t question(hp_answer_t *answer, int n, const char *a, const char *b, bool ids) {
    for (int i = 0; i < HUMANS; i++)
        answer[i] =
            (hp_answer_t){.text = i < n ? a : b, .answer_id = ids ? i + 1 : -1, .confidence = 3};
    return (hp_question_t){.target = a, .answers = HUMANS, .answer = answer};
}

static void test_score(void **state) {
    (void)state;
    hp_error_t err = {0};
    hp_answer_t answer[HUMANS];
    wk_scorer_t *scorer = NULL;
    double score[WK_METRICS];
    assert_int_equal(wk_scorer_create(&scorer, &err), HP_OK);
    static const double closed[] = {0, 0.3, 0.6, 0.9, 1, 1, 1, 1, 1, 1, 1};
    for (int n = 0; n <= HUMANS; n++) {
        hp_question_t q = question(answer, n, "cat", "dog", true);
        assert_int_equal(wk_score(scorer, "cat", &q, score, &err), HP_OK);
        assert_float_equal(score[WK_VQA_2016], closed[n], 1e-12);
        assert_float_equal(score[WK_VQA_2021], closed[n], 1e-12);
        assert_true(score[WK_EXACT] == 1);
    }
    /* Without ids equal records leave together: nobody is left to agree with. */
    hp_question_t q = question(answer, 10, "cat", "dog", false);
    assert_int_equal(wk_score(scorer, "cat", &q, score, &err), HP_OK);
    assert_true(score[WK_VQA_2021] == 0);
    q = question(answer, 5, "cat", "dog", false);
    assert_int_equal(wk_score(scorer, "cat", &q, score, &err), HP_OK);
    assert_float_equal(score[WK_VQA_2021], 0.5, 1e-12);

    /* Unanimous truth: the old version normalises the prediction only. */
    q = question(answer, 10, "garbage_bin", "", true);
    assert_int_equal(wk_score(scorer, "garbage_bin", &q, score, &err), HP_OK);
    assert_true(score[WK_VQA_2016] == 0 && score[WK_VQA_2021] == 1 && score[WK_EXACT] == 1);
    q = question(answer, 10, "none", "", true);
    assert_int_equal(wk_score(scorer, "none", &q, score, &err), HP_OK);
    assert_true(score[WK_VQA_2016] == 0 && score[WK_VQA_2021] == 1);
    assert_int_equal(wk_score(scorer, "\tnone\n", &q, score, &err), HP_OK);
    assert_true(score[WK_VQA_2021] == 1 && score[WK_EXACT] == 0);
    /* Not unanimous: the old version leaves articles in the truth. */
    q = question(answer, 5, "the cat", "dog", true);
    assert_int_equal(wk_score(scorer, "Cat!", &q, score, &err), HP_OK);
    assert_true(score[WK_VQA_2016] == 0);
    assert_float_equal(score[WK_VQA_2021], 1, 1e-12);
    q = (hp_question_t){.target = "red"};
    assert_int_equal(wk_score(scorer, "red", &q, score, &err), HP_OK);
    assert_true(score[WK_VQA_2021] == 1 && score[WK_EXACT] == 1);
    wk_scorer_destroy(scorer);
}

static void test_tally(void **state) {
    (void)state;
    hp_error_t err = {0};
    wk_tally_t t = {0};
    for (int i = 0; i < 8; i++) {
        double score[WK_METRICS] = {i == 0, i < 3, 1};
        assert_int_equal(
            wk_tally_add(&t, i % 2 ? "yes/no" : "number", i < 5 ? "what" : "how", score, &err),
            HP_OK);
    }
    assert_true(wk_percent(&t.overall, WK_VQA_2016) == 12.5);
    assert_true(wk_percent(&t.overall, WK_VQA_2021) == 37.5);
    assert_int_equal(t.answer_types, 2);
    assert_string_equal(t.answer_type[0].name, "number");
    assert_true(wk_percent(&t.answer_type[1], WK_VQA_2021) == 25);
    assert_string_equal(t.question_type[0].name, "how");
    assert_int_equal(t.question_type[0].count, 3);
    wk_tally_release(&t);
    /* Half to even on the binary value, as Python: round(0.125, 2) = 0.12, round(2.675, 2) = 2.67.
     */
    wk_type_score_t s = {.count = 800, .sum = {1, 0, 0}};
    assert_true(wk_percent(&s, WK_VQA_2016) == 0.12);
    s = (wk_type_score_t){.count = 100, .sum = {2.675, 0, 0}};
    assert_true(wk_percent(&s, WK_VQA_2016) == 2.67);
}

static yajl_val get(yajl_val v, const char *key, yajl_type type) {
    return yajl_tree_get(v, (const char *[]){key, NULL}, type);
}

static const char *text(yajl_val v, const char *key) {
    return YAJL_GET_STRING(get(v, key, yajl_t_string));
}

static yajl_val read_sample(void) {
    const char *data = getenv("HANPS_DATA");
    if (data == NULL) return NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/vqa-v2-sample/annotations.json", data);
    FILE *file = fopen(path, "r");
    if (file == NULL) return NULL;
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    char *json = hp_calloc(size + 1, 1), why[256];
    assert_int_equal(fread(json, 1, size, file), size);
    fclose(file);
    yajl_val tree = yajl_tree_parse(json, why, sizeof why);
    hp_free(json);
    return tree;
}

/* The most frequent answer of a question type; the first seen where several are. */
static const char *most_frequent(yajl_val *v, size_t n, const char *type) {
    struct {
        const char *text;
        int count;
    } seen[4096];
    size_t used = 0, best = 0;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(text(v[i], "question_type"), type) != 0) continue;
        const char *answer = text(v[i], "multiple_choice_answer");
        size_t k = 0;
        while (k < used && strcmp(seen[k].text, answer) != 0) k++;
        if (k == used) {
            assert_true(used < 4096);
            seen[used].text = answer;
            seen[used++].count = 0;
        }
        seen[k].count++;
    }
    for (size_t k = 1; k < used; k++)
        if (seen[k].count > seen[best].count) best = k;
    return seen[best].text;
}

static void test_sample(void **state) {
    (void)state;
    yajl_val tree = read_sample();
    if (tree == NULL) {
        print_message("HANPS_DATA/vqa-v2-sample is not there\n");
        skip();
    }
    yajl_val list = get(tree, "annotations", yajl_t_array);
    size_t n = YAJL_GET_ARRAY(list)->len;
    yajl_val *v = YAJL_GET_ARRAY(list)->values;
    wk_scorer_t *scorer = NULL;
    hp_error_t err = {0};
    assert_int_equal(wk_scorer_create(&scorer, &err), HP_OK);
    wk_tally_t tally[4] = {0};
    struct {
        const char *type, *answer;
    } frequent[128];
    size_t types = 0;
    for (size_t i = 0; i < n; i++) {
        hp_answer_t answer[HUMANS];
        yajl_val given = get(v[i], "answers", yajl_t_array);
        assert_int_equal(YAJL_GET_ARRAY(given)->len, HUMANS);
        for (int k = 0; k < HUMANS; k++) {
            yajl_val a = YAJL_GET_ARRAY(given)->values[k];
            const char *confidence = text(a, "answer_confidence");
            answer[k] = (hp_answer_t){
                .text = text(a, "answer"),
                .answer_id = (int32_t)YAJL_GET_INTEGER(get(a, "answer_id", yajl_t_number)),
                .confidence = confidence[0]};
        }
        const char *type = text(v[i], "question_type");
        size_t t = 0;
        while (t < types && strcmp(frequent[t].type, type) != 0) t++;
        if (t == types) {
            assert_true(types < 128);
            frequent[t].type = type;
            frequent[t].answer = most_frequent(v, n, type);
            types++;
        }
        hp_question_t q = {
            .target = text(v[i], "multiple_choice_answer"), .answers = HUMANS, .answer = answer};
        const char *guess[4] = {"yes", frequent[t].answer, q.target, answer[2].text};
        for (int g = 0; g < 4; g++) {
            double score[WK_METRICS];
            assert_int_equal(wk_score(scorer, guess[g], &q, score, &err), HP_OK);
            assert_int_equal(wk_tally_add(&tally[g], text(v[i], "answer_type"), type, score, &err),
                             HP_OK);
        }
    }
    static const char *const want[4] = {"20.85", "35.24", "96.61", "87.34"};
    for (int g = 0; g < 4; g++) {
        char got[32];
        snprintf(got, sizeof got, "%.2f", wk_percent(&tally[g].overall, WK_VQA_2021));
        assert_string_equal(got, want[g]);
        assert_int_equal(tally[g].overall.count, n);
        assert_int_equal(tally[g].question_types, 65);
        assert_int_equal(tally[g].answer_types, 3);
        wk_tally_release(&tally[g]);
    }
    wk_scorer_destroy(scorer);
    yajl_tree_free(tree);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normalise),
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_tally),
        cmocka_unit_test(test_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
