/* Selection of cells by their presence, and the packed set that results. Selection has no gradient
 * and no parameters. It is deterministic: of equal presences the lowest cell comes first. */
#ifndef NN_SELECT_H
#define NN_SELECT_H

#include "common/memory.h"
#include "worker/nn/batch.h"

#include <stdint.h>

typedef enum {
    NN_SELECT_ALL,
    NN_SELECT_LARGEST, /* HAN: the k largest presences; also the control `image_only` */
    NN_SELECT_LOWEST,  /* control: the k smallest */
    NN_SELECT_RANDOM,  /* control: k cells, drawn with (seed, example key) */
    NN_SELECT_ADAPTIVE /* AdaHAN: softmax over the cells' norms above 1/cells */
} nn_select_kind_t;

typedef struct {
    nn_select_kind_t kind;
    int cells;     /* k; an image with fewer gives all it has. Not used by ALL and ADAPTIVE */
    uint64_t seed; /* RANDOM */
} nn_select_t;

/* The selected cells of a batch. A slot is one selected cell of one question. The same cell
 * selected by several questions of an image is one packed row, so rows <= slots: forward and
 * backward of the image embedding work on rows, and what comes after looks its slots up in them. */
typedef struct {
    int images, questions;
    int slots, rows;
    int *offset;     /* [questions + 1]; slots of question q: offset[q] .. offset[q + 1] */
    int *cell;       /* [slots], counted from the image's first cell; ascending in a question */
    int *row;        /* [slots], packed row of each slot; ascending in a question */
    int *row_offset; /* [images + 1]; packed rows of image i: row_offset[i] .. row_offset[i + 1] */
    int *row_cell;   /* [rows], counted from the batch's first cell; ascending */
    int *cell_row;   /* [cells of the batch], packed row of each cell; -1: nobody selected it */
} nn_selected_t;

/* Slots that a batch of `questions` can need, of images of at most `max_cells`. */
size_t nn_select_slots(const nn_select_t *select, int questions, int max_cells);

/* Take the arrays from an arena, for batches of up to so many images, questions, cells (of all
 * images) and slots. */
void nn_selected_take(nn_selected_t *selected, hp_arena_t *arena, int images, int questions,
                      int cells, size_t slots);

/* Fill offset, cell and slots.
 * presence, presence_offset: as nn_presence gives them; not read by ALL and RANDOM (may be NULL).
 * question_norm: [questions], |q|^2; read by ADAPTIVE alone (else NULL), which selects cell i
 * where n exp(p_i - max p) > sum_j exp(p_j - max p), p = sqrt(presence + |q|^2), n the image's
 * number of cells, in double; where no cell passes (all presences equal), the largest. A presence
 * that is no number ranks below all others: the selection stays well formed. */
void nn_select(const nn_select_t *select, const nn_batch_t *batch, const nn_real *presence,
               const int *presence_offset, const nn_real *question_norm, nn_selected_t *selected);

/* The same from a selection that is given: CSR over questions, cells ascending. */
void nn_select_given(const nn_batch_t *batch, const int *offset, const int *cell,
                     nn_selected_t *selected);

/* Fill row, row_offset, row_cell, cell_row and rows from offset and cell. */
void nn_select_pack(const nn_batch_t *batch, nn_selected_t *selected);

/* The same where every cell is a row, selected or not: rows are the cells of the batch. For
 * gradients that reach all cells. */
void nn_select_pack_every(const nn_batch_t *batch, nn_selected_t *selected);

/* out[r] = x[index[r]]; x: [..][width], out: [rows][width]. */
void nn_gather_rows(int rows, int width, const nn_real *x, const int *index, nn_real *out);

#endif
