/* Weights of a checkpoint in formats that others read. Names and layouts are the parameter table's,
 * which are PyTorch's; the file appears when it is whole. */
#ifndef HP_EXPORT_H
#define HP_EXPORT_H

#include "common/checkpoint.h"
#include "common/status.h"

/* npz: a zip archive without compression, an .npy file for each parameter (numpy.load).
 * safetensors: https://github.com/huggingface/safetensors; step and configuration are in its
 * metadata. */
typedef enum { HP_EXPORT_NPZ, HP_EXPORT_SAFETENSORS } hp_export_format_t;

hp_status_t hp_export(hp_checkpoint_t *checkpoint, hp_export_format_t format, const char *path,
                      hp_error_t *err) HP_MUST_CHECK;

#endif
