/* Sort-of-CLEVR: geometry, drawing, answers against a brute force over the pixels, chance levels.
 */
#include "worker/import/sort_of_clevr.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { IMAGES = 3000, SIDE = WK_SOC_SIDE };

static const uint8_t rgb[6][3] = {{255, 0, 0},   {0, 255, 0},     {0, 0, 255},
                                  {255, 156, 0}, {128, 128, 128}, {255, 255, 0}};

static int count_colour(const uint8_t *pixels, int colour) {
    int n = 0;
    for (int i = 0; i < SIDE * SIDE; i++) n += memcmp(pixels + 3 * i, rgb[colour], 3) == 0;
    return n;
}

static int colour_at(const uint8_t *pixels, int x, int y) {
    for (int c = 0; c < 6; c++)
        if (memcmp(pixels + 3 * (y * SIDE + x), rgb[c], 3) == 0) return c;
    return -1;
}

static void test_scene(void **state) {
    (void)state;
    int circles = 0, low = SIDE, high = 0;
    double mean = 0;
    for (int n = 0; n < IMAGES; n++) {
        wk_soc_scene_t s, again;
        memset(&s, 0, sizeof s);
        memset(&again, 0, sizeof again);
        wk_soc_scene(1, (uint64_t)n, &s);
        wk_soc_scene(1, (uint64_t)n, &again);
        assert_memory_equal(&s, &again, sizeof s);
        for (int i = 0; i < WK_SOC_OBJECTS; i++) {
            const wk_soc_object_t *a = &s.object[i];
            circles += a->circle;
            mean += a->x + a->y;
            low = a->x < low ? a->x : low;
            high = a->y > high ? a->y : high;
            assert_in_range(a->x, 5, 69);
            assert_in_range(a->y, 5, 69);
            for (int j = 0; j < i; j++) {
                int dx = a->x - s.object[j].x, dy = a->y - s.object[j].y;
                assert_true(dx * dx + dy * dy >= 100);
            }
        }
    }
    assert_int_equal(low, 5);
    assert_int_equal(high, 69);
    int n = IMAGES * WK_SOC_OBJECTS;
    assert_true(fabs((double)circles / n - 0.5) < 0.015);
    assert_true(fabs(mean / (2 * n) - 37) < 0.5);
    wk_soc_scene_t a, b;
    wk_soc_scene(1, 7, &a);
    wk_soc_scene(2, 7, &b);
    assert_memory_not_equal(&a.object[0], &b.object[0], sizeof a.object[0]);
}

static void test_draw(void **state) {
    (void)state;
    static uint8_t pixels[SIDE * SIDE * 3];
    wk_soc_scene_t s = {{{5, 5, false},
                         {5, 30, true},
                         {69, 5, true},
                         {69, 69, false},
                         {35, 35, true},
                         {35, 69, false}}};
    wk_soc_draw(&s, pixels);
    for (int c = 0; c < 6; c++)
        assert_int_equal(count_colour(pixels, c), s.object[c].circle ? 81 : 121);
    static const char *const circle[] = {".....#.....", "..#######..", ".#########.", ".#########.",
                                         ".#########.", "###########", ".#########.", ".#########.",
                                         ".#########.", "..#######..", ".....#....."};
    for (int y = 0; y < 11; y++)
        for (int x = 0; x < 11; x++)
            assert_int_equal(colour_at(pixels, 30 + x, 30 + y), circle[y][x] == '#' ? 4 : -1);
    assert_int_equal(pixels[3 * (20 * SIDE + 50)], 255);
}

/* An answer found by looking: the six objects are recovered from centre pixels and corner pixels.
 */
static int look(const wk_soc_scene_t *s, const uint8_t *pixels, int kind, int colour) {
    double x[6], y[6];
    int shape[6];
    for (int c = 0; c < 6; c++) {
        x[c] = s->object[c].x;
        y[c] = s->object[c].y;
        int corners = 0; /* a corner may be hidden by a later object, four cannot be */
        for (int k = 0; k < 4; k++)
            corners +=
                colour_at(pixels, (int)x[c] + (k & 1 ? 5 : -5), (int)y[c] + (k & 2 ? 5 : -5)) == c;
        shape[c] = corners > 0 ? 2 : 3;
    }
    if (kind == WK_SOC_SHAPE) return shape[colour];
    if (kind == WK_SOC_LEFT) return x[colour] < SIDE / 2.0 ? 0 : 1;
    if (kind == WK_SOC_TOP) return y[colour] < SIDE / 2.0 ? 0 : 1;
    double best = kind == WK_SOC_CLOSEST ? INFINITY : 0;
    int same = 0, at = -1;
    for (int c = 0; c < 6; c++) {
        if (c == colour) continue;
        same += shape[c] == shape[colour];
        double d = hypot(x[c] - x[colour], y[c] - y[colour]);
        if (kind == WK_SOC_CLOSEST ? d < best : d > best) {
            best = d;
            at = c;
        }
    }
    return kind == WK_SOC_COUNT ? 4 + same : shape[at];
}

static void test_answers(void **state) {
    (void)state;
    static uint8_t pixels[SIDE * SIDE * 3];
    static int count[WK_SOC_KINDS][WK_SOC_ANSWERS];
    int per_kind[WK_SOC_KINDS] = {0}, per_colour[6] = {0};
    for (int n = 0; n < IMAGES; n++) {
        wk_soc_scene_t s;
        wk_soc_question_t q[WK_SOC_QUESTIONS];
        wk_soc_scene(3, (uint64_t)n, &s);
        wk_soc_draw(&s, pixels);
        wk_soc_questions(3, (uint64_t)n, &s, q);
        for (int i = 0; i < WK_SOC_QUESTIONS; i++) {
            assert_int_equal(q[i].kind >= WK_SOC_CLOSEST, i >= 10);
            assert_int_equal(q[i].answer, look(&s, pixels, (int)q[i].kind, q[i].colour));
            uint32_t code = 1u << q[i].colour | (i < 10 ? 64u : 128u) | 256u << q[i].kind % 3;
            assert_int_equal(q[i].code, code);
            assert_non_null(strstr(q[i].text, wk_soc_colour(q[i].colour)));
            assert_int_equal(q[i].text[strlen(q[i].text) - 1], '?');
            count[q[i].kind][q[i].answer]++;
            per_kind[q[i].kind]++;
            per_colour[q[i].colour]++;
        }
    }
    double rate[WK_SOC_KINDS];
    for (int k = 0; k < WK_SOC_KINDS; k++) {
        int most = 0;
        for (int a = 0; a < WK_SOC_ANSWERS; a++) most = count[k][a] > most ? count[k][a] : most;
        rate[k] = (double)most / per_kind[k];
        assert_true(fabs((double)per_kind[k] / (IMAGES * 10) - 1.0 / 3) < 0.012);
    }
    for (int c = 0; c < 6; c++)
        assert_true(fabs((double)per_colour[c] / (IMAGES * 20) - 1.0 / 6) < 0.008);
    /* Chance of who sees the question only: 50 % and (50 + 50 + 31.25) / 3 = 43.75 %. */
    assert_true(fabs((rate[0] + rate[1] + rate[2]) / 3 - 0.5) < 0.02);
    assert_true(fabs((rate[3] + rate[4] + rate[5]) / 3 - 0.4375) < 0.02);
    for (int k = 0; k < 6; k++) assert_true(count[WK_SOC_COUNT][4 + k] > 0);
}

/* An object far from all others still has a closest neighbour that is not itself. */
static void test_closest_is_another(void **state) {
    (void)state;
    wk_soc_scene_t s = {{{5, 5, true},
                         {69, 69, false},
                         {58, 69, false},
                         {69, 58, false},
                         {58, 58, false},
                         {47, 58, false}}};
    assert_int_equal(wk_soc_solve(&s, WK_SOC_CLOSEST, 0), 2);
    assert_int_equal(wk_soc_solve(&s, WK_SOC_FURTHEST, 0), 2);
    assert_int_equal(wk_soc_solve(&s, WK_SOC_FURTHEST, 1), 3);
    assert_int_equal(wk_soc_solve(&s, WK_SOC_COUNT, 0), 4);
    assert_int_equal(wk_soc_solve(&s, WK_SOC_COUNT, 1), 8);
    /* 1 is as far from 2 as from 3: no answer when their shapes differ, and one when they agree. */
    assert_int_equal(wk_soc_solve(&s, WK_SOC_CLOSEST, 1), 2);
    s.object[2].circle = true;
    assert_int_equal(wk_soc_solve(&s, WK_SOC_CLOSEST, 1), -1);
}

static void test_patches(void **state) {
    (void)state;
    static uint8_t pixels[SIDE * SIDE * 3], patch[100][12][12][3];
    wk_soc_scene_t s;
    wk_soc_scene(1, 1, &s);
    wk_soc_draw(&s, pixels);
    wk_soc_patches(pixels, &patch[0][0][0][0]);
    for (int cell = 0; cell < 100; cell++)
        for (int y = 0; y < 12; y++)
            for (int x = 0; x < 12; x++) {
                const uint8_t *p = pixels + 3 * ((cell / 10 * 7 + y) * SIDE + cell % 10 * 7 + x);
                for (int c = 0; c < 3; c++) assert_int_equal(patch[cell][y][x][c], 255 - p[c]);
            }
}

/* The first image of seed 1, so that a set made today is made again tomorrow. */
static void test_pinned(void **state) {
    (void)state;
    wk_soc_scene_t s;
    wk_soc_question_t q[WK_SOC_QUESTIONS];
    wk_soc_scene(1, 0, &s);
    wk_soc_questions(1, 0, &s, q);
    char text[128];
    snprintf(text, sizeof text, "%d,%d,%d %d,%d,%d %s", s.object[0].x, s.object[0].y,
             s.object[0].circle, s.object[5].x, s.object[5].y, s.object[5].circle, q[0].text);
    assert_string_equal(text, "56,51,1 46,64,0 is the yellow object at the top?");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scene),   cmocka_unit_test(test_draw),
        cmocka_unit_test(test_answers), cmocka_unit_test(test_closest_is_another),
        cmocka_unit_test(test_patches), cmocka_unit_test(test_pinned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
