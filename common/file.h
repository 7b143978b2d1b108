/* Whole files. */
#ifndef HP_FILE_H
#define HP_FILE_H

#include "common/status.h"

#include <stddef.h>

/* Write a file so that it is there whole or not at all: under PATH.part, synced, renamed. HP_IO. */
hp_status_t hp_write_file(const char *path, const void *data, size_t bytes,
                          hp_error_t *err) HP_MUST_CHECK;

#endif
