/* Pictures in memory: 8-bit RGB, read from PNG and JPEG, written as PNG. */
#ifndef WK_PICTURE_H
#define WK_PICTURE_H

#include "common/status.h"

#include <stddef.h>
#include <stdint.h>

#define WK_PICTURE_SIDE   16384               /* largest width and height accepted */
#define WK_PICTURE_PIXELS ((size_t)64 << 20)  /* most pixels accepted */
#define WK_PICTURE_BYTES  ((size_t)256 << 20) /* largest file accepted */

typedef struct {
    int width, height;
    uint8_t *pixel; /* [height][width][3] RGB; owned: wk_picture_release */
} wk_picture_t;

typedef struct {
    uint8_t r, g, b;
} wk_rgb_t;

hp_status_t wk_picture_allocate(int width, int height, wk_picture_t *picture,
                                hp_error_t *err) HP_MUST_CHECK;
void wk_picture_release(wk_picture_t *picture); /* of a zeroed one is fine */

/* "image/png", "image/jpeg" or NULL: what the first bytes say. */
const char *wk_picture_type(const void *data, size_t bytes);

/* Decode PNG or JPEG; grey becomes RGB, 16 bits become 8, transparency is laid over white.
 * HP_CORRUPT: truncated or damaged. HP_INPUT: neither format, or larger than the limits. */
hp_status_t wk_picture_decode(const void *data, size_t bytes, wk_picture_t *picture,
                              hp_error_t *err) HP_MUST_CHECK;

/* The same from a file; errors start with its path. */
hp_status_t wk_picture_load(const char *path, wk_picture_t *picture, hp_error_t *err) HP_MUST_CHECK;

/* Release *data_p with hp_free. */
hp_status_t wk_picture_encode_png(const wk_picture_t *picture, void **data_p, size_t *bytes_p,
                                  hp_error_t *err) HP_MUST_CHECK;

/* Resized to out->width x out->height (allocated by the caller). Shrinking averages the area that a
 * pixel covers; enlarging interpolates linearly. */
void wk_picture_resize(const wk_picture_t *in, wk_picture_t *out);

/* Every pixel repeated: out must be a whole multiple of in, or it is cut. */
void wk_picture_enlarge(const wk_picture_t *in, int times, wk_picture_t *out);

void wk_picture_fill(wk_picture_t *picture, int x, int y, int width, int height, wk_rgb_t colour);

/* Mix `colour` in with weight 0 .. 1 over a rectangle; what lies outside is cut. */
void wk_picture_blend(wk_picture_t *picture, int x, int y, int width, int height, wk_rgb_t colour,
                      double weight);

/* ASCII text in a 5x7 font, a character 6 x 8 pixels times `scale`; other characters become '?'.
 * Breaks lines at spaces to stay within `width` pixels. Returns the height used. Draws nothing
 * where `picture` is NULL: measures only. */
int wk_picture_text(wk_picture_t *picture, int x, int y, int width, int scale, const char *text,
                    wk_rgb_t colour);

#endif
