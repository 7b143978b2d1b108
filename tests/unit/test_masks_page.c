/* HTML escaping, base64, the mask as pixels and as SVG, the page of masks. */
#include "common/memory.h"
#include "worker/report/html.h"
#include "worker/report/masks_page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *collect(void (*write)(FILE *, const void *), const void *argument) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    write(out, argument);
    fclose(out);
    return text;
}

static void write_text(FILE *out, const void *text) { wk_html_text(out, text); }
static void write_base64(FILE *out, const void *text) { wk_html_base64(out, text, strlen(text)); }
static void write_svg(FILE *out, const void *mask) { wk_mask_svg(out, mask); }
static void write_card(FILE *out, const void *card) { wk_masks_page_card(out, card); }

static void check(void (*write)(FILE *, const void *), const char *in, const char *want) {
    char *got = collect(write, in);
    assert_string_equal(got, want);
    free(got);
}

static int occurrences(const char *text, const char *what) {
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)) != NULL; p++) n++;
    return n;
}

static void test_text(void **state) {
    (void)state;
    check(write_text, "<b a=\"1\">'&'</b>", "&lt;b a=&quot;1&quot;&gt;&#39;&amp;&#39;&lt;/b&gt;");
    check(write_text, "na\xc3\xafve \xe4\xb8\xad \xf0\x9f\x98\x80",
          "na\xc3\xafve \xe4\xb8\xad \xf0\x9f\x98\x80");
    check(write_text, "a\xff\xc3(\x01\xed\xa0\x80",
          "a&#xfffd;&#xfffd;(&#xfffd;&#xfffd;&#xfffd;&#xfffd;");
    check(write_text, "\xc3", "&#xfffd;");
    check(write_text, "\xf0\x9f\x98", "&#xfffd;&#xfffd;&#xfffd;");
    check(write_base64, "Many hands", "TWFueSBoYW5kcw==");
    check(write_base64, "Man", "TWFu");
    check(write_base64, "Ma", "TWE=");
    check(write_base64, "", "");
}

static const uint8_t *pixel(const wk_picture_t *p, int x, int y) {
    return p->pixel + 3 * (y * p->width + x);
}

static void test_mask_draw(void **state) {
    (void)state;
    wk_picture_t in = {0}, out = {0};
    assert_int_equal(wk_picture_allocate(40, 20, &in, NULL), HP_OK);
    memset(in.pixel, 200, 40 * 20 * 3);
    const int cell[] = {1, 2, 7};
    const float presence[] = {0, 9, 9, 0, 1, 2, 3, 9};
    wk_mask_t mask = {2, 4, 8, 3, cell, presence};
    assert_int_equal(wk_mask_draw(&in, &mask, &out, NULL), HP_OK);
    assert_int_equal(out.width, 480);
    assert_int_equal(out.height, 240);
    for (int c = 0; c < 8; c++) {
        int value = pixel(&out, c % 4 * 120 + 60, c / 4 * 120 + 60)[0];
        if (c == 1 || c == 2 || c == 7)
            assert_int_equal(value, 200);
        else
            assert_in_range(value, 20, 120);
    }
    assert_true(pixel(&out, 300, 180)[0] > pixel(&out, 60, 180)[0]); /* more present, less dimmed */
    assert_int_equal(pixel(&out, 120, 60)[0], 255);                  /* an edge of the selection */
    assert_true(pixel(&out, 240, 60)[0] != 255);                     /* within it there is none */
    wk_picture_release(&out);
    mask.rows = mask.columns = 0; /* cells on no grid: the image as it is */
    assert_int_equal(wk_mask_draw(&in, &mask, &out, NULL), HP_OK);
    for (int i = 0; i < out.width * out.height * 3; i++) assert_int_equal(out.pixel[i], 200);
    wk_picture_release(&out);
    mask.rows = 2;
    mask.columns = 4;
    mask.presence = NULL;
    assert_int_equal(wk_mask_draw(NULL, &mask, &out, NULL), HP_OK);
    assert_int_equal(out.width, 480);
    wk_picture_release(&out);
    wk_picture_release(&in);
}

static void test_mask_svg(void **state) {
    (void)state;
    const int cell[] = {0, 1};
    wk_mask_t mask = {2, 2, 4, 2, cell, NULL};
    char *svg = collect(write_svg, &mask);
    assert_non_null(strstr(svg, "d=\"M0 0h20v20h-20zM0 0h10v10h-10zM10 0h10v10h-10z\""));
    assert_non_null(
        strstr(svg, "class=\"edge\" d=\"M0 0h10M0 0v10M10 0h10M20 0v10M0 10h10M10 10h10\""));
    assert_null(strstr(svg, "heat"));
    free(svg);
    const float presence[] = {1, 3, 3, 2};
    mask.presence = presence;
    svg = collect(write_svg, &mask);
    assert_int_equal(occurrences(svg, "<path class=\"h"), 3);
    free(svg);
    mask.rows = 0;
    svg = collect(write_svg, &mask);
    assert_string_equal(svg, "");
    free(svg);
}

static void test_card(void **state) {
    (void)state;
    const int cell[] = {3};
    wk_masks_card_t card = {.question_id = 7,
                            .image = 2,
                            .image_name = "<i>",
                            .question = "is it <script>alert(1)</script>?",
                            .question_type = "is \"it\"",
                            .truth = "no & never",
                            .guesses = 2,
                            .guess = {{"yes", 0.75}, {"maybe", 0.2}},
                            .width = 75,
                            .height = 75,
                            .mask = {2, 2, 4, 1, cell, NULL}};
    char *html = collect(write_card, &card);
    assert_null(strstr(html, "<script"));
    assert_null(strstr(html, "<i>"));
    assert_non_null(strstr(html, "truth: <b>no &amp; never</b>"));
    assert_non_null(strstr(html, "class=\"card wrong\" id=\"q7\""));
    assert_non_null(strstr(html, "75 %"));
    assert_non_null(strstr(html, "1 of 4 cells"));
    free(html);
    card.truth = "maybe";
    card.score = 0.3;
    html = collect(write_card, &card);
    assert_null(strstr(html, "truth:"));
    assert_non_null(strstr(html, "card partly"));
    assert_non_null(strstr(html, "<li class=\"yes\" style=\"--w:20.0%\"><span>maybe"));
    free(html);
    wk_picture_t out = {0};
    assert_int_equal(wk_masks_picture(&card, NULL, &out, NULL), HP_OK);
    assert_int_equal(out.width, 480);
    assert_true(out.height > 480 + 60);
    wk_picture_release(&out);
}

static void test_page(void **state) {
    (void)state;
    const wk_masks_group_t group[] = {{"yes/no", 50.25, 10}, {"<other>", 12.5, 20}};
    wk_masks_summary_t s = {.run = "runs/<a>",
                            .split = "test",
                            .source = "somewhere",
                            .model = "han",
                            .step = 12,
                            .questions = 30,
                            .accuracy = 25.08,
                            .cells_mean = 16,
                            .max_cells = 100,
                            .groups = 2,
                            .group = group,
                            .right = 1,
                            .wrong = 2,
                            .presence = true};
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    wk_masks_page_begin(out, &s);
    wk_masks_page_picture(out, 5, "image/png", "abc", 3);
    wk_masks_page_end(out, &s);
    fclose(out);
    assert_int_equal(strncmp(text, "<!doctype html>", 15), 0);
    assert_non_null(strstr(text, "<h1>runs/&lt;a&gt;</h1>"));
    assert_non_null(strstr(text, "25.08 %"));
    assert_non_null(strstr(text, "&lt;other&gt;"));
    assert_non_null(strstr(text, ".p5{background-image:url(data:image/png;base64,YWJj)}"));
    assert_null(strstr(text, "http")); /* nothing from the network */
    assert_string_equal(text + bytes - 8, "</html>\n");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),     cmocka_unit_test(test_mask_draw),
        cmocka_unit_test(test_mask_svg), cmocka_unit_test(test_card),
        cmocka_unit_test(test_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
