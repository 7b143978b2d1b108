/* Reads features ahead of their writer, in a thread of its own: the source's disk is read while the
 * store's disk is synced. Memory is bounded: what is read and not yet taken has 64 MiB, or two
 * images. */
#ifndef WK_FEATURES_AHEAD_H
#define WK_FEATURES_AHEAD_H

#include "common/status.h"
#include "common/store.h"
#include "worker/import/features.h"

#include <stdint.h>

typedef struct wk_features_ahead wk_features_ahead_t;

typedef struct {
    const void *features; /* [cells][channels] of the dtype */
    const float *boxes;   /* [cells][4]; NULL: the source has none */
    int cells;
} wk_features_image_t;

/* Images `first` and on to the last, as `dtype`. Until close, `features` belongs to the thread, but
 * for the images' names. */
hp_status_t wk_features_ahead_open(wk_features_t *features, hp_dtype_t dtype, uint64_t first,
                                   wk_features_ahead_t **ahead_p, hp_error_t *err) HP_MUST_CHECK;
void wk_features_ahead_close(wk_features_ahead_t *ahead); /* NULL is fine */

/* The next image, valid until the next call. HP_INPUT where it cannot be read, or has a number that
 * is not finite or too large for the dtype. */
hp_status_t wk_features_ahead_take(wk_features_ahead_t *ahead, wk_features_image_t *image,
                                   hp_error_t *err) HP_MUST_CHECK;

#endif
