/* Pictures: PNG and JPEG there and back, damage, limits, resizing, text. */
#include "common/memory.h"
#include "worker/report/picture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jpeglib.h>
#include <png.h>

static wk_picture_t make(int width, int height) {
    wk_picture_t p;
    assert_int_equal(wk_picture_allocate(width, height, &p, NULL), HP_OK);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *q = p.pixel + 3 * (y * width + x);
            q[0] = (uint8_t)(255 * x / width);
            q[1] = (uint8_t)(255 * y / height);
            q[2] = (uint8_t)(40 + 2 * x);
        }
    return p;
}

static unsigned char *make_jpeg(const wk_picture_t *p, unsigned long *bytes) {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    jpeg.err = jpeg_std_error(&errors);
    jpeg_create_compress(&jpeg);
    jpeg_mem_dest(&jpeg, &data, bytes);
    jpeg.image_width = (JDIMENSION)p->width;
    jpeg.image_height = (JDIMENSION)p->height;
    jpeg.input_components = 3;
    jpeg.in_color_space = JCS_RGB;
    jpeg_set_defaults(&jpeg);
    jpeg_set_quality(&jpeg, 95, TRUE);
    jpeg_start_compress(&jpeg, TRUE);
    while (jpeg.next_scanline < jpeg.image_height) {
        JSAMPROW row = p->pixel + 3 * (size_t)p->width * jpeg.next_scanline;
        jpeg_write_scanlines(&jpeg, &row, 1);
    }
    jpeg_finish_compress(&jpeg);
    jpeg_destroy_compress(&jpeg);
    return data;
}

static void test_png(void **state) {
    (void)state;
    wk_picture_t p = make(33, 21), q = {0};
    void *data = NULL;
    size_t bytes = 0;
    assert_int_equal(wk_picture_encode_png(&p, &data, &bytes, NULL), HP_OK);
    assert_string_equal(wk_picture_type(data, bytes), "image/png");
    assert_int_equal(wk_picture_decode(data, bytes, &q, NULL), HP_OK);
    assert_int_equal(q.width, 33);
    assert_int_equal(q.height, 21);
    assert_memory_equal(p.pixel, q.pixel, 33 * 21 * 3);
    wk_picture_release(&q);
    for (size_t n = 0; n + 12 < bytes; n += 7) { /* the last chunk, IEND, carries nothing */
        hp_error_t err = {0};
        hp_status_t status = wk_picture_decode(data, n, &q, &err);
        assert_true(status == HP_CORRUPT || (n < 8 && status == HP_INPUT));
        assert_true(err.text[0] != '\0' && strchr(err.text, '\n') == NULL);
    }
    hp_free(data);
    wk_picture_release(&p);
}

static void test_png_kinds(void **state) {
    (void)state;
    /* Transparent over white, half black over white, opaque red. */
    const uint8_t rgba[] = {9, 9, 9, 0, 0, 0, 0, 128, 255, 0, 0, 255};
    png_image png = {
        .version = PNG_IMAGE_VERSION, .width = 3, .height = 1, .format = PNG_FORMAT_RGBA};
    uint8_t data[1024];
    png_alloc_size_t bytes = sizeof data;
    assert_true(png_image_write_to_memory(&png, data, &bytes, 0, rgba, 0, NULL));
    wk_picture_t p = {0};
    assert_int_equal(wk_picture_decode(data, bytes, &p, NULL), HP_OK);
    assert_int_equal(p.pixel[0], 255);
    assert_in_range(p.pixel[4], 100, 200);
    assert_int_equal(p.pixel[6], 255);
    assert_int_equal(p.pixel[7], 0);
    wk_picture_release(&p);
    const uint8_t grey[] = {0, 100, 255};
    png.format = PNG_FORMAT_GRAY;
    bytes = sizeof data;
    assert_true(png_image_write_to_memory(&png, data, &bytes, 0, grey, 0, NULL));
    assert_int_equal(wk_picture_decode(data, bytes, &p, NULL), HP_OK);
    for (int i = 0; i < 9; i++) assert_int_equal(p.pixel[i], grey[i / 3]);
    wk_picture_release(&p);
}

static void test_jpeg(void **state) {
    (void)state;
    wk_picture_t p = make(64, 48), q = {0};
    unsigned long bytes = 0;
    unsigned char *data = make_jpeg(&p, &bytes);
    assert_string_equal(wk_picture_type(data, bytes), "image/jpeg");
    assert_int_equal(wk_picture_decode(data, bytes, &q, NULL), HP_OK);
    for (int i = 0; i < 64 * 48 * 3; i++) assert_true(abs(p.pixel[i] - q.pixel[i]) < 24);
    wk_picture_release(&q);
    for (size_t n = 3; n < bytes; n += 5) {
        hp_error_t err = {0};
        assert_int_equal(wk_picture_decode(data, n, &q, &err), HP_CORRUPT);
        assert_true(strncmp(err.text, "damaged JPEG: ", 14) == 0 && strchr(err.text, '\n') == NULL);
    }
    /* Height and width in the frame header beyond the limits. */
    for (unsigned long i = 0; i + 9 < bytes; i++)
        if (data[i] == 0xff && data[i + 1] == 0xc0) {
            memset(data + i + 5, 0xfe, 4);
            break;
        }
    hp_error_t err = {0};
    assert_int_equal(wk_picture_decode(data, bytes, &q, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "at most"));
    free(data);
    wk_picture_release(&p);
}

static void test_bad_files(void **state) {
    (void)state;
    wk_picture_t p = {0};
    hp_error_t err;
    assert_int_equal(wk_picture_decode("GIF89a", 6, &p, &err), HP_INPUT);
    assert_string_equal(err.text, "neither PNG nor JPEG");
    assert_int_equal(wk_picture_load("/nonexistent.png", &p, &err), HP_INPUT);
    assert_non_null(strstr(err.text, "/nonexistent.png"));
    assert_int_equal(wk_picture_load("/dev/null", &p, &err), HP_INPUT);
    assert_int_equal(wk_picture_allocate(0, 5, &p, &err), HP_INPUT);
    assert_int_equal(wk_picture_allocate(WK_PICTURE_SIDE, WK_PICTURE_SIDE, &p, &err), HP_INPUT);
    assert_null(p.pixel);
}

static void test_resize(void **state) {
    (void)state;
    wk_picture_t p = make(60, 40), q = {0}, r = {0};
    assert_int_equal(wk_picture_allocate(20, 10, &q, NULL), HP_OK);
    wk_picture_resize(&p, &q);
    for (int y = 0; y < 10; y++) /* the mean of each 3 x 4 block */
        for (int x = 0; x < 20; x++) {
            int sum = 0;
            for (int i = 0; i < 12; i++) sum += p.pixel[3 * ((4 * y + i / 3) * 60 + 3 * x + i % 3)];
            assert_int_equal(q.pixel[3 * (y * 20 + x)], (int)(sum / 12.0 + 0.5));
        }
    assert_int_equal(wk_picture_allocate(47, 93, &r, NULL), HP_OK);
    memset(q.pixel, 77, 20 * 10 * 3);
    wk_picture_resize(&q, &r); /* one colour stays that colour, whatever the factor */
    for (int i = 0; i < 47 * 93 * 3; i++) assert_int_equal(r.pixel[i], 77);
    q.pixel[0] = 177;
    wk_picture_resize(&q, &r);
    assert_int_equal(r.pixel[0], 177);
    assert_true(r.pixel[6] < 177 && r.pixel[6] > 77);
    wk_picture_t big = {0};
    assert_int_equal(wk_picture_allocate(60, 30, &big, NULL), HP_OK);
    wk_picture_enlarge(&q, 3, &big);
    assert_int_equal(big.pixel[3 * (2 * 60 + 2)], 177);
    assert_int_equal(big.pixel[3 * (2 * 60 + 3)], 77);
    wk_picture_release(&big);
    wk_picture_release(&p);
    wk_picture_release(&q);
    wk_picture_release(&r);
}

static void test_text(void **state) {
    (void)state;
    wk_picture_t p = make(64, 40);
    memset(p.pixel, 0, 64 * 40 * 3);
    int height = wk_picture_text(&p, 2, 2, 60, 1, "I see one \xc3\xa9 two", (wk_rgb_t){255, 9, 9});
    assert_int_equal(height, 20); /* ten characters a line */
    assert_int_equal(wk_picture_text(NULL, 0, 0, 60, 1, "abcdefghijklmn", (wk_rgb_t){0}), 20);
    assert_int_equal(wk_picture_text(NULL, 0, 0, 1, 1, "ab", (wk_rgb_t){0}), 20);
    static const char *const letter[] = {".###.", "..#..", "..#..", "..#..",
                                         "..#..", "..#..", ".###."};
    for (int y = 0; y < 7; y++)
        for (int x = 0; x < 5; x++)
            assert_int_equal(p.pixel[3 * ((2 + y) * 64 + 2 + x)], letter[y][x] == '#' ? 255 : 0);
    wk_picture_text(&p, 60, 36, 60, 3, "W", (wk_rgb_t){1, 1, 1}); /* runs over the edge */
    wk_picture_blend(&p, -5, -5, 500, 500, (wk_rgb_t){200, 200, 200}, 0.5);
    assert_int_equal(p.pixel[3 * (39 * 64)], 100);
    wk_picture_release(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_png),    cmocka_unit_test(test_png_kinds),
        cmocka_unit_test(test_jpeg),   cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_resize), cmocka_unit_test(test_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
