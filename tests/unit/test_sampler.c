/* The sampler: every example once an epoch, purity, grouping, cutting, order of the store. */
#include "worker/data/sampler.h"

#include "common/memory.h"
#include "common/random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define QUESTIONS 1000
#define FIRST     100
#define COUNT     700
#define BATCH     32

static uint32_t image[QUESTIONS];
static int32_t label[QUESTIONS];

static int setup(void **state) {
    (void)state;
    hp_random_t r = hp_random(3, HP_RANDOM_TEST, 0, 0);
    for (int i = 0; i < QUESTIONS; i++) {
        image[i] = (uint32_t)hp_random_below(&r, 150);
        label[i] = (int32_t)hp_random_below(&r, 8) - 1;
    }
    return 0;
}

static wk_sampler_options_t options(void) {
    return (wk_sampler_options_t){.image = image,
                                  .label = label,
                                  .first = FIRST,
                                  .count = COUNT,
                                  .seed = 5,
                                  .batch_size = BATCH,
                                  .labelled_only = true,
                                  .group_by_image = true,
                                  .shuffle = true,
                                  .max_questions_per_image = 3};
}

static wk_sampler_t *create(wk_sampler_options_t o) {
    wk_sampler_t *s = NULL;
    hp_error_t err = {0};
    assert_int_equal(wk_sampler_create(&o, &s, &err), HP_OK);
    return s;
}

/* Examples of units 0 .. units-1. */
static wk_example_t *take(wk_sampler_t *s, int batch, int units) {
    wk_example_t *e = hp_calloc((size_t)(batch * units), sizeof *e);
    for (int u = 0; u < units; u++) wk_sampler_unit(s, (uint64_t)u, e + u * batch);
    return e;
}

static void check_epochs(wk_sampler_options_t o) {
    wk_sampler_t *s = create(o);
    uint64_t size = wk_sampler_size(s);
    int epochs = 4, units = (int)(((uint64_t)epochs * size + BATCH - 1) / BATCH);
    wk_example_t *e = take(s, BATCH, units);
    for (int epoch = 0; epoch < epochs; epoch++) {
        int seen[QUESTIONS] = {0};
        for (uint64_t i = 0; i < size; i++) {
            const wk_example_t *x = &e[(uint64_t)epoch * size + i];
            assert_int_equal(x->epoch, epoch);
            assert_true(x->question >= FIRST && x->question < FIRST + COUNT);
            assert_true(!o.labelled_only || label[x->question] >= 0);
            assert_int_equal(seen[x->question]++, 0);
        }
    }
    hp_free(e);
    wk_sampler_destroy(s);
}

static void test_once_an_epoch(void **state) {
    (void)state;
    uint64_t labelled = 0;
    for (int i = FIRST; i < FIRST + COUNT; i++) labelled += label[i] >= 0;
    for (int mode = 0; mode < 16; mode++) {
        wk_sampler_options_t o = options();
        o.group_by_image = mode & 1;
        o.shuffle = mode & 2;
        o.labelled_only = mode & 4;
        o.gather = mode & 8;
        wk_sampler_t *s = create(o);
        assert_int_equal(wk_sampler_size(s), o.labelled_only ? labelled : COUNT);
        wk_sampler_destroy(s);
        check_epochs(o);
    }
}

/* The same unit is the same examples whatever was asked before; another seed, another order. */
static void test_pure(void **state) {
    (void)state;
    int units = 200;
    wk_sampler_t *a = create(options()), *b = create(options());
    wk_example_t *rising = take(a, BATCH, units), one[BATCH];
    hp_random_t r = hp_random(1, HP_RANDOM_TEST, 1, 0);
    for (int i = 0; i < 300; i++) {
        uint64_t u = hp_random_below(&r, (uint64_t)units);
        wk_sampler_unit(b, u, one);
        for (int k = 0; k < BATCH; k++) {
            assert_int_equal(one[k].question, rising[u * BATCH + (uint64_t)k].question);
            assert_int_equal(one[k].opens, rising[u * BATCH + (uint64_t)k].opens);
        }
    }
    wk_sampler_options_t o = options();
    o.seed = 6;
    wk_sampler_t *c = create(o);
    wk_sampler_unit(c, 0, one);
    int same = 0;
    for (int k = 0; k < BATCH; k++) same += one[k].question == rising[k].question;
    assert_in_range(same, 0, BATCH / 4);
    int repeated = 0, size = (int)wk_sampler_size(a);
    for (int k = 0; k < BATCH; k++) repeated += rising[k].question == rising[size + k].question;
    assert_in_range(repeated, 0, BATCH / 4); /* the second epoch has another order */
    hp_free(rising);
    wk_sampler_destroy(a);
    wk_sampler_destroy(b);
    wk_sampler_destroy(c);
}

static void test_groups(void **state) {
    (void)state;
    int units = 400, cut = 0, longest = 0, most = 0;
    wk_sampler_t *s = create(options());
    wk_example_t *e = take(s, BATCH, units);
    for (int u = 0; u < units; u++) {
        int images = 0, run = 0;
        for (int k = 0; k < BATCH; k++) {
            const wk_example_t *x = &e[u * BATCH + k];
            if (k == 0) assert_true(x->opens);
            if (x->opens)
                images++, run = 0;
            else
                assert_int_equal(image[x->question], image[x[-1].question]);
            run++;
            if (run > longest) longest = run;
        }
        if (u > 0 && image[e[u * BATCH].question] == image[e[u * BATCH - 1].question]) cut++;
        if (images > most) most = images;
    }
    assert_int_equal(longest, 3);
    assert_true(cut > 10);
    assert_in_range(most, 1, wk_sampler_max_images(s));
    assert_in_range(wk_sampler_max_images(s), most, BATCH);
    hp_free(e);
    wk_sampler_destroy(s);

    wk_sampler_options_t o = options();
    o.max_questions_per_image = 0; /* no cap: an image with many questions is one group */
    s = create(o);
    e = take(s, BATCH, 30);
    longest = 0;
    for (int i = 1, run = 1; i < 30 * BATCH; i++) {
        run = e[i].opens ? 1 : run + 1;
        if (run > longest) longest = run;
    }
    assert_true(longest > 5);
    hp_free(e);
    wk_sampler_destroy(s);
    o.group_by_image = false; /* every question brings its image */
    s = create(o);
    e = take(s, BATCH, 3);
    for (int i = 0; i < 3 * BATCH; i++) assert_true(e[i].opens);
    assert_int_equal(wk_sampler_max_images(s), BATCH);
    hp_free(e);
    wk_sampler_destroy(s);
}

static void test_store_order(void **state) {
    (void)state;
    wk_sampler_options_t o = options();
    o.shuffle = o.labelled_only = false;
    wk_sampler_t *s = create(o);
    wk_example_t *e = take(s, BATCH, 50);
    for (int i = 0; i < 50 * BATCH; i++)
        assert_int_equal(e[i].question, FIRST + i % COUNT); /* [u B, (u+1) B) modulo the size */
    hp_free(e);
    wk_sampler_destroy(s);
    o.gather = true;
    s = create(o);
    e = take(s, BATCH, COUNT / BATCH);
    for (int i = 1; i < COUNT / BATCH * BATCH; i++)
        assert_true(image[e[i].question] >= image[e[i - 1].question]);
    hp_free(e);
    wk_sampler_destroy(s);
}

static void test_small_and_bad(void **state) {
    (void)state;
    wk_sampler_options_t o = options();
    wk_sampler_t *s = NULL;
    hp_error_t err = {0};
    o.count = 5; /* a batch holds several epochs */
    o.labelled_only = false;
    s = create(o);
    wk_example_t e[BATCH];
    int seen[5] = {0};
    wk_sampler_unit(s, 1, e);
    for (int i = 0; i < BATCH; i++) {
        assert_int_equal(e[i].epoch, (BATCH + i) / 5);
        seen[e[i].question - FIRST]++;
    }
    for (int i = 0; i < 5; i++) assert_in_range(seen[i], 6, 7);
    assert_int_equal(wk_sampler_max_images(s), BATCH);
    wk_sampler_destroy(s);
    o.count = 0;
    assert_int_equal(wk_sampler_create(&o, &s, &err), HP_INPUT);
    int32_t none[QUESTIONS];
    for (int i = 0; i < QUESTIONS; i++) none[i] = -1;
    o = options();
    o.label = none;
    assert_int_equal(wk_sampler_create(&o, &s, &err), HP_INPUT);
}

/* The same examples as without, each image of a unit once, whatever the order of the epoch. */
static void test_distinct(void **state) {
    (void)state;
    for (int grouped = 0; grouped < 2; grouped++) {
        wk_sampler_options_t o = options();
        o.group_by_image = grouped == 1;
        wk_sampler_t *plain = create(o);
        o.distinct = true;
        wk_sampler_t *s = create(o);
        int units = 60, shared = 0;
        wk_example_t *a = take(plain, BATCH, units), *b = take(s, BATCH, units);
        for (int u = 0; u < units; u++) {
            const wk_example_t *x = a + u * BATCH, *y = b + u * BATCH;
            int images = 0;
            assert_true(y[0].opens);
            for (int i = 0; i < BATCH; i++) {
                int same = 0, first = 1;
                for (int k = 0; k < BATCH; k++)
                    same += x[k].question == y[i].question && x[k].epoch == y[i].epoch;
                for (int k = 0; k < i; k++)
                    first &=
                        image[y[k].question] != image[y[i].question] || y[k].epoch != y[i].epoch;
                assert_int_equal(same, 1);
                assert_int_equal(y[i].opens, first);
                images += y[i].opens;
                shared += !y[i].opens;
            }
            assert_true(images <= wk_sampler_max_images(s));
        }
        assert_true(shared > 0);
        hp_free(a);
        hp_free(b);
        wk_sampler_destroy(plain);
        wk_sampler_destroy(s);
    }
}

/* A share of the images cut off: with the rest it is the split, image by image; another seed gives
 * other images. */
static void test_cut(void **state) {
    (void)state;
    int part[2][2][QUESTIONS] = {0}; /* seed, rest or not, question */
    for (int seed = 0; seed < 2; seed++)
        for (int rest = 0; rest < 2; rest++) {
            wk_sampler_options_t o = options();
            o.cut = (wk_cut_t){.share = 0.25, .seed = (uint64_t)seed, .rest = rest == 1};
            wk_sampler_t *s = create(o);
            uint64_t size = wk_sampler_size(s);
            assert_true(rest == 1 ? size > 380 && size < 520 : size > 90 && size < 230);
            wk_example_t *e = take(s, BATCH, (int)(size / BATCH) + 1);
            for (uint64_t i = 0; i < size; i++) part[seed][rest][e[i].question]++;
            hp_free(e);
            wk_sampler_destroy(s);
        }
    int same = 0;
    for (int q = FIRST; q < FIRST + COUNT; q++) {
        for (int seed = 0; seed < 2; seed++)
            assert_int_equal(part[seed][0][q] + part[seed][1][q], label[q] >= 0);
        for (int p = FIRST; p < q; p++)
            if (image[p] == image[q] && label[p] >= 0 && label[q] >= 0)
                assert_int_equal(part[0][0][p], part[0][0][q]);
        same += part[0][0][q] == part[1][0][q];
    }
    assert_true(same < COUNT - 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_once_an_epoch), cmocka_unit_test(test_pure),
        cmocka_unit_test(test_groups),        cmocka_unit_test(test_store_order),
        cmocka_unit_test(test_small_and_bad), cmocka_unit_test(test_cut),
        cmocka_unit_test(test_distinct),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
