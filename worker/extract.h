/* Runs the trunk of a trained model over the pixels of a store and writes what comes out, the cells
 * of its last layer, as the features of a new store, with the same images, questions, words,
 * answers and splits. A model with `trunk: features` reads them with `feature_norm: none`; where
 * the configuration has coordinates, they are appended there as they were here. */
#ifndef WK_EXTRACT_H
#define WK_EXTRACT_H

#include "common/store_write.h"
#include "common/team.h"
#include "worker/trained.h"

typedef struct {
    hp_team_t *team;             /* rank 0 writes what all compute */
    const wk_trained_t *trained; /* its store is the one that is read */
    const char *out, *command;
    hp_dtype_t dtype;
    hp_encoding_t encoding;
    bool keep_pixels; /* in the new store too, with the places of objects */
    int batch;        /* images at once */
    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total);
    void *context; /* progress is called on rank 0 */
} wk_extract_options_t;

typedef struct {
    uint64_t images, kept_images, questions; /* kept_images: from an extraction that was cut off */
    int rows, columns, channels;
} wk_extract_report_t;

/* HP_INPUT: no trunk, OUT is there. HP_NONFINITE: a feature is none that dtype can hold. What is
 * cut off goes on where it was, with the same model and store. Collective: rank 0 has the report;
 * the store is the same for any number of ranks. */
hp_status_t wk_extract(const wk_extract_options_t *options, wk_extract_report_t *report,
                       hp_error_t *err) HP_MUST_CHECK;

#endif
