/* Files that are whole or not there. */
#ifndef HP_FILE_H
#define HP_FILE_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Write all bytes, however many calls it takes. `path` is for the message. */
hp_status_t hp_write_all(int fd, const void *data, size_t bytes, const char *path,
                         hp_error_t *err) HP_MUST_CHECK;

/* fsync, then close, whatever happened. */
hp_status_t hp_sync_close(int fd, const char *path, hp_error_t *err) HP_MUST_CHECK;

/* Make a folder's names durable. */
hp_status_t hp_sync_folder(const char *path, hp_error_t *err) HP_MUST_CHECK;

/* Put a file in its place: written to path.part, synced, renamed, the folder synced. On failure
 * what was there before is untouched. */
hp_status_t hp_write_file(const char *path, const void *data, size_t bytes,
                          hp_error_t *err) HP_MUST_CHECK;

/* mkdir -p: parents too, so that `--run runs/a` and `--out data/a` need no preparation. A folder
 * that is there is no error; one that cannot be made is HP_INPUT. */
hp_status_t hp_make_folders(const char *path, hp_error_t *err) HP_MUST_CHECK;

/* Could hp_write_file put one there? HP_INPUT where its folder is not there or may not be written,
 * or where a folder has that name. For a command that works long before it writes. */
hp_status_t hp_check_place(const char *path, hp_error_t *err) HP_MUST_CHECK;

/* Read a whole file of at most `limit` bytes; release *data_p with hp_free. A file that is not
 * there is HP_INPUT. */
hp_status_t hp_read_file(const char *path, size_t limit, unsigned char **data_p, size_t *bytes_p,
                         hp_error_t *err) HP_MUST_CHECK;

/* The bytes of a file from `at` on; false: it has not all of them, or cannot be read. */
bool hp_read_at(int fd, uint64_t at, void *out, size_t bytes) HP_MUST_CHECK;

#endif
