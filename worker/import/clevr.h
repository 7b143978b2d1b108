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

/* The same, given to somebody else: `begin` before the questions of each split, with the file that
 * they are in. */
typedef struct {
    void *context;
    hp_status_t (*begin)(void *context, const char *split, const char *path, hp_error_t *err);
    hp_status_t (*add)(void *context, const wk_pixel_record_t *question, hp_error_t *err);
} wk_clevr_taker_t;

hp_status_t wk_clevr_read_to(const char *folder, const wk_clevr_taker_t *taker,
                             hp_error_t *err) HP_MUST_CHECK;

enum { WK_CLEVR_SPLITS = 3, WK_CLEVR_PATH = 4096 };
const char *wk_clevr_split(int split);
/* The file of a split's questions; HP_INPUT: its name is too long. */
hp_status_t wk_clevr_path(const char *folder, int split, char path[WK_CLEVR_PATH],
                          hp_error_t *err) HP_MUST_CHECK;

#endif
