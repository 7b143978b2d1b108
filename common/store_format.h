/* What the writer, the reader and the verifier of a store agree on. Private to common/store*.c;
 * docs/store.md describes it. */
#ifndef HP_STORE_FORMAT_H
#define HP_STORE_FORMAT_H

#include "common/status.h"
#include "common/store.h"
#include "common/store_sparse.h"
#include "proto/store.pb-c.h"

#include <lmdb.h>
#include <stdint.h>

/* 2 where the features are encoded, which readers of 1 do not know; else 1. */
enum { HP_STORE_VERSION = 1, HP_STORE_VERSION_ENCODED = 2 };

#define HP_STORE_BLOCK    ((uint64_t)4 << 20) /* bytes of data.mdb that share a hash */
#define HP_STORE_MANIFEST "manifest.pb"
#define HP_STORE_DATA     "data.mdb"
#define HP_STORE_IDENTITY "identity" /* of an import under way */
#define HP_STORE_PARTIAL  ".partial"

/* The databases. Keys are ordinals, four bytes, most significant first; except those of COLUMNS
 * (names) and HASHES (the database's letter, then the ordinal). */
typedef enum {
    HP_DB_FEATURES,
    HP_DB_PIXELS,
    HP_DB_PICTURES,
    HP_DB_BOXES,
    HP_DB_OBJECTS,
    HP_DB_NAMES,
    HP_DB_QUESTIONS,
    HP_DB_COLUMNS,
    HP_DB_HASHES,
    HP_DB_COUNT
} hp_store_db_t;

typedef struct {
    const char *name;
    char letter;        /* in keys of HASHES; 0: not hashed by record */
    const char *record; /* for messages */
} hp_store_db_row_t;

extern const hp_store_db_row_t hp_store_db[HP_DB_COUNT];

#define HP_COLUMN_IMAGE "question_image" /* u32 [questions] */
#define HP_COLUMN_LABEL "question_label" /* i32 [questions] */

void hp_store_key(uint32_t ordinal, unsigned char key[4]);
size_t hp_store_hash_key(hp_store_db_t db, uint32_t ordinal, unsigned char key[5]); /* its length */

/* Shared by the reader and the verifier. `strict` refuses a data file whose length is not the
 * manifest's. */
hp_status_t hp_store_open_as(const char *path, bool strict, hp_store_t **store_p,
                             hp_error_t *err) HP_MUST_CHECK;
hp_status_t hp_store_load_manifest(const char *path, Hanps__StoreManifest **manifest_p,
                                   char digest[33], hp_error_t *err) HP_MUST_CHECK;
unsigned hp_store_version(int encoding); /* of the format */
/* What is impossible in it, or NULL. */
const char *hp_store_check_manifest(const Hanps__StoreManifest *manifest);
/* How many cells a record of features has; 0 where its length is none that the manifest allows.
 * Fills `sparse` where the store is encoded. */
size_t hp_store_cells(const hp_store_info_t *info, const void *data, size_t bytes,
                      hp_sparse_t *sparse);
MDB_txn *hp_store_reader_txn(hp_store_reader_t *reader);
MDB_dbi hp_store_dbi(const hp_store_t *store, hp_store_db_t db);

#endif
