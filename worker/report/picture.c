#include "worker/report/picture.h"

#include "common/file.h"
#include "common/memory.h"

#include <stdio.h>
#include <setjmp.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>
#include <png.h>

hp_status_t wk_picture_allocate(int width, int height, wk_picture_t *picture, hp_error_t *err) {
    if (width < 1 || height < 1 || width > WK_PICTURE_SIDE || height > WK_PICTURE_SIDE ||
        (size_t)width * (size_t)height > WK_PICTURE_PIXELS)
        return hp_fail(err, HP_INPUT,
                       "a picture of %d x %d pixels; at most %d a side and %zu in all are allowed",
                       width, height, WK_PICTURE_SIDE, WK_PICTURE_PIXELS);
    void *pixel = NULL;
    HP_TRY(hp_allocate(&pixel, (size_t)width * (size_t)height, 3, "picture", err));
    *picture = (wk_picture_t){width, height, pixel};
    return HP_OK;
}

void wk_picture_release(wk_picture_t *picture) {
    hp_free(picture->pixel);
    *picture = (wk_picture_t){0};
}

const char *wk_picture_type(const void *data, size_t bytes) {
    if (bytes >= 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0) return "image/png";
    if (bytes >= 3 && memcmp(data, "\xff\xd8\xff", 3) == 0) return "image/jpeg";
    return NULL;
}

static hp_status_t decode_png(const void *data, size_t bytes, wk_picture_t *picture,
                              hp_error_t *err) {
    png_image png = {.version = PNG_IMAGE_VERSION};
    if (!png_image_begin_read_from_memory(&png, data, bytes))
        return hp_fail(err, HP_CORRUPT, "damaged PNG: %s", png.message);
    png.format = PNG_FORMAT_RGB;
    wk_picture_t out = {0};
    int width = png.width > INT32_MAX ? -1 : (int)png.width;
    int height = png.height > INT32_MAX ? -1 : (int)png.height;
    hp_status_t status = wk_picture_allocate(width, height, &out, err);
    if (status != HP_OK) {
        png_image_free(&png);
        return status;
    }
    const png_color white = {255, 255, 255};
    if (!png_image_finish_read(&png, &white, out.pixel, 0, NULL)) {
        wk_picture_release(&out);
        return hp_fail(err, HP_CORRUPT, "damaged PNG: %s", png.message);
    }
    *picture = out;
    return HP_OK;
}

/* libjpeg leaves through longjmp; everything that must be released lives here, outside the frame
 * that setjmp returns to. */
typedef struct {
    struct jpeg_error_mgr base;
    jmp_buf escape;
    hp_error_t *err;
    hp_status_t status;
    wk_picture_t out;
} jpeg_state_t;

static void jpeg_failed(j_common_ptr common) {
    jpeg_state_t *s = (jpeg_state_t *)common->err;
    char text[JMSG_LENGTH_MAX];
    common->err->format_message(common, text);
    if (s->status == HP_OK) s->status = hp_fail(s->err, HP_CORRUPT, "damaged JPEG: %s", text);
    longjmp(s->escape, 1);
}

/* libjpeg only warns where a file ends early, and fills the rest with grey. */
static void jpeg_message(j_common_ptr common, int level) {
    int code = common->err->msg_code;
    if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER)) jpeg_failed(common);
}

static void jpeg_read(struct jpeg_decompress_struct *jpeg, jpeg_state_t *s, const void *data,
                      size_t bytes) {
    if (setjmp(s->escape) != 0) return;
    jpeg_create_decompress(jpeg);
    jpeg_mem_src(jpeg, data, (unsigned long)bytes);
    jpeg_read_header(jpeg, TRUE);
    jpeg->out_color_space = JCS_RGB;
    s->status =
        wk_picture_allocate((int)jpeg->image_width, (int)jpeg->image_height, &s->out, s->err);
    if (s->status != HP_OK) return;
    jpeg_start_decompress(jpeg);
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = s->out.pixel + 3 * (size_t)s->out.width * jpeg->output_scanline;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_decompress(jpeg);
}

static hp_status_t decode_jpeg(const void *data, size_t bytes, wk_picture_t *picture,
                               hp_error_t *err) {
    jpeg_state_t s = {.err = err, .status = HP_OK};
    struct jpeg_decompress_struct jpeg = {.err = jpeg_std_error(&s.base)};
    s.base.error_exit = jpeg_failed;
    s.base.emit_message = jpeg_message;
    jpeg_read(&jpeg, &s, data, bytes);
    jpeg_destroy_decompress(&jpeg);
    if (s.status != HP_OK)
        wk_picture_release(&s.out);
    else
        *picture = s.out;
    return s.status;
}

hp_status_t wk_picture_decode(const void *data, size_t bytes, wk_picture_t *picture,
                              hp_error_t *err) {
    const char *type = wk_picture_type(data, bytes);
    if (type == NULL) return hp_fail(err, HP_INPUT, "neither PNG nor JPEG");
    return strcmp(type, "image/png") == 0 ? decode_png(data, bytes, picture, err)
                                          : decode_jpeg(data, bytes, picture, err);
}

hp_status_t wk_picture_load(const char *path, wk_picture_t *picture, hp_error_t *err) {
    unsigned char *data = NULL;
    size_t bytes = 0;
    HP_TRY(hp_read_file(path, WK_PICTURE_BYTES, &data, &bytes, err));
    hp_status_t status = wk_picture_decode(data, bytes, picture, err);
    hp_free(data);
    return status == HP_OK ? HP_OK : hp_fail_prefix(err, "%s", path);
}

hp_status_t wk_picture_encode_png(const wk_picture_t *picture, void **data_p, size_t *bytes_p,
                                  hp_error_t *err) {
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)picture->width,
                     .height = (png_uint_32)picture->height,
                     .format = PNG_FORMAT_RGB};
    png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(png);
    void *data = NULL;
    HP_TRY(hp_allocate(&data, bytes, 1, "PNG", err));
    if (!png_image_write_to_memory(&png, data, &bytes, 0, picture->pixel, 0, NULL)) {
        hp_free(data);
        return hp_fail(err, HP_INTERNAL, "PNG: %s", png.message);
    }
    *data_p = data;
    *bytes_p = bytes;
    return HP_OK;
}

/* One axis of a resize: output i mixes inputs first .. first+count-1. Shrinking: weights are the
 * shares of the covered interval. Enlarging: the two nearest centres. */
typedef struct {
    int first, last;
    double first_weight, last_weight; /* of the two ends; those between weigh 1 */
    double total;
} span_t;

static span_t span(int i, int in, int out) {
    double scale = (double)in / out;
    span_t s;
    if (scale >= 1) {
        double begin = i * scale, end = (i + 1) * scale;
        s.first = (int)begin;
        s.last = (int)end;
        if (s.last >= in) s.last = in - 1;
        s.first_weight = s.first == s.last ? end - begin : s.first + 1 - begin;
        s.last_weight = end - s.last;
    } else {
        double at = (i + 0.5) * scale - 0.5;
        if (at < 0) at = 0;
        s.first = (int)at;
        s.last = s.first + 1 < in ? s.first + 1 : s.first;
        s.last_weight = at - s.first;
        s.first_weight = s.first == s.last ? 1 : 1 - s.last_weight;
    }
    s.total = s.first == s.last ? s.first_weight
                                : s.first_weight + s.last_weight + (s.last - s.first - 1);
    return s;
}

static double weight(const span_t *s, int i) {
    return i == s->first ? s->first_weight : i == s->last ? s->last_weight : 1;
}

void wk_picture_resize(const wk_picture_t *in, wk_picture_t *out) {
    for (int y = 0; y < out->height; y++) {
        span_t sy = span(y, in->height, out->height);
        for (int x = 0; x < out->width; x++) {
            span_t sx = span(x, in->width, out->width);
            double sum[3] = {0};
            for (int v = sy.first; v <= sy.last; v++)
                for (int u = sx.first; u <= sx.last; u++) {
                    double w = weight(&sy, v) * weight(&sx, u);
                    const uint8_t *p = in->pixel + 3 * ((size_t)v * (size_t)in->width + (size_t)u);
                    for (int c = 0; c < 3; c++) sum[c] += w * p[c];
                }
            uint8_t *p = out->pixel + 3 * ((size_t)y * (size_t)out->width + (size_t)x);
            for (int c = 0; c < 3; c++) p[c] = (uint8_t)(sum[c] / (sy.total * sx.total) + 0.5);
        }
    }
}

void wk_picture_enlarge(const wk_picture_t *in, int times, wk_picture_t *out) {
    for (int y = 0; y < out->height && y / times < in->height; y++)
        for (int x = 0; x < out->width && x / times < in->width; x++)
            memcpy(out->pixel + 3 * ((size_t)y * (size_t)out->width + (size_t)x),
                   in->pixel + 3 * ((size_t)(y / times) * (size_t)in->width + (size_t)(x / times)),
                   3);
}

void wk_picture_blend(wk_picture_t *picture, int x, int y, int width, int height, wk_rgb_t colour,
                      double mix) {
    const double add[3] = {mix * colour.r + 0.5, mix * colour.g + 0.5, mix * colour.b + 0.5};
    int right = x + width < picture->width ? x + width : picture->width;
    int bottom = y + height < picture->height ? y + height : picture->height;
    for (int v = y < 0 ? 0 : y; v < bottom; v++)
        for (int u = x < 0 ? 0 : x; u < right; u++) {
            uint8_t *p = picture->pixel + 3 * ((size_t)v * (size_t)picture->width + (size_t)u);
            for (int c = 0; c < 3; c++) p[c] = (uint8_t)((1 - mix) * p[c] + add[c]);
        }
}

void wk_picture_fill(wk_picture_t *picture, int x, int y, int width, int height, wk_rgb_t colour) {
    wk_picture_blend(picture, x, y, width, height, colour, 1);
}
