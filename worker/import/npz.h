/* A member of a .npz file: a zip archive whose members are .npy files, stored (numpy.savez) or
 * deflated (numpy.savez_compressed). */
#ifndef WK_NPZ_H
#define WK_NPZ_H

#include "common/status.h"
#include "worker/import/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint64_t offset; /* of its bytes in the file */
    uint64_t packed; /* bytes in the file */
    uint64_t bytes;  /* bytes once inflated */
    uint32_t crc;
    bool deflated;
} wk_npz_member_t;

/* True where the file begins like a zip archive. */
bool wk_npz_is(int fd);

/* The array `key`, which is the member key.npy; or, where `only` is true and the archive has one
 * array, that one. `size`: of the file. An error says what arrays there are, and not the file. */
hp_status_t wk_npz_find(int fd, uint64_t size, const char *key, bool only, wk_npz_member_t *member,
                        hp_error_t *err) HP_MUST_CHECK;

/* Adds the names of all arrays. */
hp_status_t wk_npz_names(int fd, uint64_t size, wk_strings_t *names, hp_error_t *err) HP_MUST_CHECK;

/* The first `bytes` bytes of a member, inflated, to `out`: all of them are compared with their CRC,
 * a part is not. */
hp_status_t wk_npz_read(int fd, const wk_npz_member_t *member, void *out, size_t bytes,
                        hp_error_t *err) HP_MUST_CHECK;

#endif
