/* What writing and reading checkpoints share. docs/checkpoint.md describes the format. */
#ifndef HP_CHECKPOINT_FORMAT_H
#define HP_CHECKPOINT_FORMAT_H

#include "common/checkpoint.h"

#include <stdbool.h>
#include <stdint.h>
#include <xxhash.h>

#define HP_CHECKPOINT_VERSION 1
#define HP_CHECKPOINT_PATH    4096

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "shards are written as they lie in memory");

/* A shard's file: this, then for each chunk its header and its data, without gaps. */
typedef struct {
    char magic[8]; /* HP_SHARD_MAGIC */
    uint32_t version, shard, shards, chunks;
    int64_t step;
    uint64_t reserved[3];
    uint64_t hash; /* XXH3-64 of the bytes before */
} hp_shard_header_t;

/* The data: weights [end - begin], and with HP_CHUNK_MOMENTS the first and the second moment. */
typedef struct {
    uint32_t magic; /* HP_CHUNK_MAGIC */
    uint32_t flags;
    int64_t begin, end, version, updates;
    uint64_t data_hash; /* XXH3-64 */
    uint64_t reserved;
    uint64_t hash; /* of the bytes before */
} hp_chunk_header_t;

#define HP_SHARD_MAGIC   "HANPSHRD"
#define HP_CHUNK_MAGIC   0x4B4E4843u /* "CHNK" */
#define HP_CHUNK_MOMENTS 1u

_Static_assert(sizeof(hp_shard_header_t) == 64 && sizeof(hp_chunk_header_t) == 64, "packed");

/* A chunk as a reader finds it. */
typedef struct {
    int64_t begin, end, version, updates;
    int shard;
    bool moments, verified;
    uint64_t offset, bytes; /* of the data in the shard's file */
    uint64_t hash;
} hp_chunk_place_t;

/* "RUN/checkpoints", and in it the folder of a step: `ending` is "", ".tmp" (being written) or
 * ".old" (being replaced). */
hp_status_t hp_checkpoint_root(const char *run, char *out, hp_error_t *err) HP_MUST_CHECK;
hp_status_t hp_checkpoint_folder(const char *run, int64_t step, const char *ending, char *out,
                                 hp_error_t *err) HP_MUST_CHECK;
hp_status_t hp_checkpoint_file(const char *folder, const char *name, char *out,
                               hp_error_t *err) HP_MUST_CHECK;
void hp_checkpoint_shard_name(int shard, int shards, char out[64]);

/* Walk the headers of a shard's file: the chunks it holds go to place[0 .. chunks), the digest of
 * all headers to digest[16]. HP_CORRUPT: it is not what it says. */
hp_status_t hp_shard_walk(int fd, const char *path, int shard, int shards, int64_t step, int chunks,
                          uint64_t bytes, hp_chunk_place_t *place, uint8_t digest[16],
                          hp_error_t *err) HP_MUST_CHECK;

/* Sort by `begin`; HP_CORRUPT unless they hold elements [0, total) once each. */
hp_status_t hp_chunks_cover(hp_chunk_place_t *place, int chunks, int64_t total,
                            hp_error_t *err) HP_MUST_CHECK;

hp_status_t hp_pread(int fd, void *out, size_t bytes, uint64_t offset, const char *path,
                     hp_error_t *err) HP_MUST_CHECK;

void hp_digest(const void *data, size_t bytes, uint8_t digest[16]); /* XXH3-128, canonical */

/* Remove a folder of plain files, its manifest first. False: something is left. */
bool hp_checkpoint_remove_folder(const char *folder);

/* Opens without verifying the data. */
hp_status_t hp_checkpoint_open_step(const char *run, int64_t step, hp_checkpoint_t **checkpoint_p,
                                    hp_error_t *err) HP_MUST_CHECK;

#define HP_CHECKPOINT_MANIFEST "manifest.pb"

#endif
