/* A batch as the neural network sees it: a set of images, and a set of questions that point at
 * them. Cells and words are packed ragged sets (offsets as in CSR). Plain data: owned by whoever
 * built it. */
#ifndef NN_BATCH_H
#define NN_BATCH_H

#include "common/bf16.h"
#include "worker/nn/real.h"

#include <stdint.h>

/* Answers with weights, ragged over the questions: several people's answers to each. */
typedef struct {
    const int *offset;     /* [questions + 1]; NULL: the label alone counts */
    const int32_t *answer; /* [offset[questions]] classes, each at most once for a question */
    const nn_real *weight; /* the same */
} nn_targets_t;

typedef struct {
    int images;
    const int *cell_offset; /* [images + 1]; cells of image i: cell_offset[i] .. cell_offset[i+1] */
    const nn_real *cells;   /* [cell_offset[images]][channels], normalised, coordinates appended */
    const hp_bf16_t *half;  /* the same rounded, `cells` being NULL, for a model that reads it so */
    int channels;
    const nn_real *pixels; /* [images][height][width][3], 0 to 1: a trunk makes the cells, `cells`
                              is NULL; else NULL */

    int questions;
    const int *image;        /* [questions], non-decreasing: questions of an image are neighbours */
    const int *token_offset; /* [questions + 1] */
    const int32_t *token;    /* [token_offset[questions]]; every question has at least one */
    const int32_t *label;    /* [questions]; -1: unknown, adds nothing to the loss */
    nn_targets_t target;     /* where the loss reads more than the label */
    const uint64_t *key;     /* [questions]; identity of (epoch, example), for random choices */
} nn_batch_t;

#endif
