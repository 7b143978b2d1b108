/* Weights from a file that hanps export, or anybody's PyTorch, has written. */
#ifndef WK_WEIGHTS_H
#define WK_WEIGHTS_H

#include "common/params.h"
#include "common/status.h"

/* *weights_p[params->total] from a safetensors file (F32, F16 or BF16) or an .npz (<f4 or <f2, in C
 * order), whichever it begins like: every row of the table by its name and shape; padding is zero.
 * The caller releases it with hp_free; it is made when the file is known to have all of them.
 * "num_batches_tracked", which PyTorch adds to batch normalisation, is passed over. HP_INPUT: not
 * such a file, a parameter is missing, of another shape or type, not finite, or belongs to no row;
 * the line names it. */
hp_status_t wk_weights_read(const char *path, const hp_params_t *params, float **weights_p,
                            hp_error_t *err) HP_MUST_CHECK;

#endif
