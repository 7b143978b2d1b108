/* What the selection of cells does: accuracy with it, how much two questions of one image select
 * the same cells, and how many of the selected cells touch an object. */
#ifndef WK_SELECTION_H
#define WK_SELECTION_H

#include "worker/data/part.h"
#include "worker/metric.h"
#include "worker/trained.h"

/* Percent, but for cells_mean. NaN: cannot be told. The chance is that of as many cells drawn at
 * random, without looking, for each question. */
typedef struct {
    uint64_t questions;
    double cells_mean;
    /* Cells that both of two questions selected over the mean of how many they selected: the mean
     * over all pairs of questions of one image. NaN: no image has two. */
    double overlap, overlap_chance;
    /* Selected cells that an object reaches into, where the store knows its objects. A cell is its
     * part of the image, cut evenly by the grid; what a convolution sees is larger. */
    double on_objects, on_objects_chance;
    wk_tally_t tally;
} wk_selection_report_t;

/* The tally is to be released by wk_tally_release, also of a zeroed report. */
hp_status_t wk_selection_measure(const wk_trained_t *trained, const wk_part_t *part,
                                 wk_selection_report_t *report, hp_error_t *err) HP_MUST_CHECK;

/* Which cells of a grid an object [x1, y1, x2, y2] of an image of height x width pixels reaches
 * into; bits are added to cells[], 64 a word, in the order of cells. */
void wk_selection_touch(const float object[4], int height, int width, int rows, int columns,
                        uint64_t *cells);

#endif
