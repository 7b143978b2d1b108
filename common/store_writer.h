/* The writer's state, shared by the files that open and close it, write records, and write the
 * manifest. Private to common/store_write*.c, store_blocks.c and store_finish.c. */
#ifndef HP_STORE_WRITER_H
#define HP_STORE_WRITER_H

#include "common/status.h"
#include "common/store.h"
#include "common/store_write.h"

#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/store_format.h"

/* Hashes of the blocks of data.mdb, where they are known. */
typedef struct {
    uint64_t *hash;
    unsigned char *known; /* [room] */
    size_t room;
    uint64_t settled[2]; /* bytes of the file after the last transactions */
} hp_store_blocks_t;

struct hp_store_writer {
    char *path, *partial;
    hp_store_plan_t plan;
    size_t feature_bytes, pixel_bytes; /* of a cell; of an image */
    unsigned char *record;             /* room for encoded features; NULL where they are not */
    int lock;                          /* descriptor of the identity file, locked */
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi[HP_DB_COUNT];
    hp_store_blocks_t blocks;
    size_t map, used, pending; /* bytes: of the map, committed, in the transaction */
    uint64_t images, questions, picture_count;
    uint64_t *seen; /* hashes of the names, open addressing; 0 is free */
    size_t seen_size;
    hp_split_t *split;
    int splits, split_capacity;
    uint32_t *image; /* columns */
    int32_t *label;
    size_t column_capacity;
    int32_t top_token, top_label;
    int max_tokens;
    char **word, **answer;
    int words, answers;
    bool failed; /* the transaction holds part of an image */
    char name[4096];
};

/* store_writer.c. What LMDB's code says, as the failure of this import. */
hp_status_t hp_store_writer_fail(const hp_store_writer_t *w, int code, hp_error_t *err);
/* Room for records of `bytes` in this transaction and this map; starts new ones when needed. */
hp_status_t hp_store_writer_room(hp_store_writer_t *w, size_t bytes, hp_error_t *err) HP_MUST_CHECK;
/* A record, for which there is room, and its hash. Ordinals of a table come in their order. */
hp_status_t hp_store_writer_put(hp_store_writer_t *w, hp_store_db_t db, uint32_t ordinal,
                                const void *data, size_t bytes, hp_error_t *err) HP_MUST_CHECK;
/* *known_p: an image has this name already. */
hp_status_t hp_store_writer_remember(hp_store_writer_t *w, const void *name, size_t bytes,
                                     bool *known_p, hp_error_t *err) HP_MUST_CHECK;

/* store_blocks.c. Before a transaction: forget the blocks that it may write to; LMDB's code. After
 * one: hash what has settled. At the end, the file closed and whole: hash the rest. */
int hp_store_blocks_forget(hp_store_writer_t *w);
hp_status_t hp_store_blocks_follow(hp_store_writer_t *w, hp_error_t *err) HP_MUST_CHECK;
hp_status_t hp_store_blocks_finish(hp_store_writer_t *w, uint64_t *bytes_p, size_t *count_p,
                                   hp_error_t *err) HP_MUST_CHECK;
void hp_store_blocks_release(hp_store_blocks_t *blocks);

/* store_finish.c: hash the data file, which is closed and whole; write and sync the manifest. */
hp_status_t hp_store_write_manifest(hp_store_writer_t *w, hp_error_t *err) HP_MUST_CHECK;
hp_status_t hp_store_move_into_place(hp_store_writer_t *w, hp_error_t *err) HP_MUST_CHECK;

#endif
