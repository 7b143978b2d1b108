/* The hashes of data.mdb's blocks, computed while it grows: what was written two transactions ago
 * is in the page cache still, and at the end the file need not be read again. LMDB writes pages
 * again only after they were on its list of free pages; so before each transaction the blocks of
 * those are forgotten, and computed anew when they have settled. */
#include "common/memory.h"
#include "common/store_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static hp_status_t room_for(hp_store_blocks_t *b, size_t blocks, hp_error_t *err) {
    void *hash = NULL, *known = NULL;
    size_t room = blocks * 2 + 64;
    if (blocks <= b->room) return HP_OK;
    HP_TRY(hp_allocate(&hash, room, sizeof *b->hash, "hashes", err));
    hp_status_t status = hp_allocate(&known, room, 1, "hashes", err);
    if (status != HP_OK) {
        hp_free(hash);
        return status;
    }
    if (b->room > 0) {
        memcpy(hash, b->hash, b->room * sizeof *b->hash);
        memcpy(known, b->known, b->room);
    }
    hp_store_blocks_release(b);
    b->hash = hash;
    b->known = known;
    b->room = room;
    return HP_OK;
}

void hp_store_blocks_release(hp_store_blocks_t *b) {
    hp_free(b->hash);
    hp_free(b->known);
    b->hash = NULL;
    b->known = NULL;
}

/* A record of LMDB's list of free pages: how many, then their numbers. */
static void forget_pages(hp_store_blocks_t *b, const MDB_val *value, size_t page_bytes) {
    size_t count = 0, page;
    const unsigned char *list = value->mv_data;
    if (value->mv_size >= sizeof count) memcpy(&count, list, sizeof count);
    for (size_t i = 1; i <= count && (i + 1) * sizeof page <= value->mv_size; i++) {
        memcpy(&page, list + i * sizeof page, sizeof page);
        size_t block = (size_t)((uint64_t)page * page_bytes / HP_STORE_BLOCK);
        if (block < b->room) b->known[block] = 0;
    }
}

int hp_store_blocks_forget(hp_store_writer_t *w) {
    enum { FREE_PAGES = 0 }; /* its database's number, as LMDB's mdb_stat has it */
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_stat stat;
    MDB_val key, value;
    int code = mdb_txn_begin(w->env, NULL, MDB_RDONLY, &txn);
    if (code != 0) return code;
    mdb_env_stat(w->env, &stat);
    if (w->blocks.room > 0) w->blocks.known[0] = 0; /* the meta pages */
    code = mdb_cursor_open(txn, FREE_PAGES, &cursor);
    while (code == 0 && (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
        forget_pages(&w->blocks, &value, stat.ms_psize);
    if (cursor != NULL) mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return code == MDB_NOTFOUND ? 0 : code;
}

static hp_status_t hash_block(hp_store_blocks_t *b, int fd, size_t block, uint64_t bytes,
                              void *buffer, const char *name, hp_error_t *err) {
    uint64_t at = (uint64_t)block * HP_STORE_BLOCK, rest = bytes - at;
    size_t want = rest < HP_STORE_BLOCK ? (size_t)rest : HP_STORE_BLOCK, done = 0;
    while (done < want) {
        ssize_t n = pread(fd, (char *)buffer + done, want - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return hp_fail_errno(err, HP_IO, "reading %s", name);
        done += (size_t)n;
    }
    b->hash[block] = XXH3_64bits(buffer, want);
    b->known[block] = 1;
    return HP_OK;
}

/* Hashes what is not known of the first `bytes` bytes, whole blocks; and the last one where `all`.
 */
static hp_status_t hash_blocks(hp_store_writer_t *w, int fd, uint64_t bytes, bool all,
                               const char *name, hp_error_t *err) {
    hp_store_blocks_t *b = &w->blocks;
    size_t blocks = (size_t)((bytes + (all ? HP_STORE_BLOCK - 1 : 0)) / HP_STORE_BLOCK);
    void *buffer = NULL;
    HP_TRY(room_for(b, blocks, err));
    HP_TRY(hp_allocate(&buffer, HP_STORE_BLOCK, 1, "a block", err));
    hp_status_t status = HP_OK;
    for (size_t i = 0; status == HP_OK && i < blocks; i++)
        if (b->known[i] == 0) status = hash_block(b, fd, i, bytes, buffer, name, err);
    hp_free(buffer);
    return status;
}

static int open_data(const hp_store_writer_t *w, char name[4096]) {
    snprintf(name, 4096, "%s/%s", w->partial, HP_STORE_DATA);
    return open(name, O_RDONLY | O_CLOEXEC);
}

hp_status_t hp_store_blocks_follow(hp_store_writer_t *w, hp_error_t *err) {
    hp_store_blocks_t *b = &w->blocks;
    uint64_t settled = b->settled[0];
    char name[4096];
    b->settled[0] = b->settled[1];
    b->settled[1] = w->used;
    if (settled < HP_STORE_BLOCK) return HP_OK;
    int fd = open_data(w, name);
    if (fd < 0) return hp_fail_errno(err, HP_IO, "%s", name);
    hp_status_t status = hash_blocks(w, fd, settled, false, name, err);
    close(fd);
    return status;
}

hp_status_t hp_store_blocks_finish(hp_store_writer_t *w, uint64_t *bytes_p, size_t *count_p,
                                   hp_error_t *err) {
    char name[4096];
    struct stat st = {0};
    int fd = open_data(w, name);
    hp_status_t status = HP_OK;
    if (fd < 0 || fstat(fd, &st) != 0 || fsync(fd) != 0)
        status = hp_fail_errno(err, HP_IO, "%s", name);
    if (status == HP_OK) {
        *bytes_p = (uint64_t)st.st_size;
        *count_p = (size_t)((*bytes_p + HP_STORE_BLOCK - 1) / HP_STORE_BLOCK);
        status = hash_blocks(w, fd, *bytes_p, true, name, err);
    }
    if (fd >= 0) close(fd);
    return status;
}
