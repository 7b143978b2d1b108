/* Pixels of the store as the trunk reads them:
 *
 *   none      v / 255
 *   inverted  1 - v / 255
 *   median    (v - the median of its channel in the image) / 255
 *
 * Hard attention selects by norm, and the convolutions pad with zeros: with a background that is
 * far from zero, cells at the border and empty ones are the largest, draw the selection, and no
 * gradient ever reaches the objects. `median` makes the background zero, whatever its colour. */
#ifndef WK_PIXEL_NORM_H
#define WK_PIXEL_NORM_H

#include "common/config.h"

#include <stddef.h>

/* pixels: [count][channels] bytes, channels at most WK_PIXEL_NORM_CHANNELS; out: as many floats. */
enum { WK_PIXEL_NORM_CHANNELS = 4 };
void wk_pixel_norm(hp_pixel_norm_t norm, const unsigned char *pixels, size_t count, int channels,
                   float *out);

#endif
