/* Finds damage in a store: every flipped bit, a truncated file, a record that is missing. */
#ifndef HP_STORE_VERIFY_H
#define HP_STORE_VERIFY_H

#include "common/status.h"

#include <stdint.h>

typedef struct {
    /* A line for each thing that is wrong. May be NULL. */
    void (*found)(void *context, const char *line);
    /* Bytes read of all. May be NULL. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
} hp_store_verify_hooks_t;

typedef struct {
    uint64_t bytes;    /* of the data file */
    uint64_t records;  /* compared with their hashes */
    uint64_t findings; /* lines given to `found` */
} hp_store_verify_t;

/* Compares all of the data file with the hashes of its blocks, then each record with its own, which
 * names what is damaged. The records are read in a child process: LMDB trusts its pages, and
 * damaged ones may crash it. HP_CORRUPT where anything was found; HP_INPUT where there is no store.
 */
hp_status_t hp_store_verify(const char *path, const hp_store_verify_hooks_t *hooks,
                            hp_store_verify_t *result, hp_error_t *err) HP_MUST_CHECK;

#endif
