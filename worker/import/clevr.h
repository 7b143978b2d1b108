/* CLEVR v1.0 (Johnson et al. 2017) as published:
 * FOLDER/questions/CLEVR_{train,val,test}_questions.json and FOLDER/images/{train,val,test}/. The
 * JSON is read as a stream. */
#ifndef WK_CLEVR_H
#define WK_CLEVR_H

#include "worker/import/pixels.h"

/* The type that results are reported by, from the last function of a question's program: "count",
 * "exist", "compare integer", "query attribute", "compare attribute"; "" for any other.
 * (equal_integer compares integers; the family index does not tell the type: it counts within a
 * template file.) */
const char *wk_clevr_type(const char *function);

/* Splits train, val, test: those there are, train must be. A question's type is its program's last
 * function, its answer type wk_clevr_type of it; both are empty in test, which has no programs. */
hp_status_t wk_clevr_read(const char *folder, wk_pixel_set_t *set, hp_error_t *err) HP_MUST_CHECK;

#endif
