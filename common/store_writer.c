#include "common/file.h"
#include "common/memory.h"
#include "common/store_format.h"
#include "common/store_sparse.h"
#include "common/store_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define BATCH_BYTES ((size_t)64 << 20) /* of a transaction: bounds its memory */
#define MAP_STEP    ((size_t)1 << 30)

hp_status_t hp_store_writer_fail(const hp_store_writer_t *w, int code, hp_error_t *err) {
    struct statvfs fs;
    /* Of a write that was cut short LMDB says EIO. */
    if (code == ENOSPC ||
        (code == EIO && statvfs(w->partial, &fs) == 0 && fs.f_bavail * fs.f_frsize < BATCH_BYTES))
        return hp_fail(err, HP_IO,
                       "writing %s: no space left on the disk; make room and give the same command "
                       "again%s",
                       w->partial, w->plan.identity != NULL ? ": what is written is kept" : "");
    return hp_fail(err, code == ENOMEM ? HP_MEMORY : HP_IO, "writing %s: %s", w->partial,
                   mdb_strerror(code));
}

/* ---- transactions -------------------------------------------------------------------------- */

static hp_status_t begin(hp_store_writer_t *w, hp_error_t *err) {
    int code = hp_store_blocks_forget(w);
    if (code == 0) code = mdb_txn_begin(w->env, NULL, 0, &w->txn);
    w->pending = 0;
    return code == 0 ? HP_OK : hp_store_writer_fail(w, code, err);
}

static hp_status_t commit(hp_store_writer_t *w, hp_error_t *err) {
    int code = mdb_txn_commit(w->txn);
    w->txn = NULL;
    if (code != 0) return hp_store_writer_fail(w, code, err);
    MDB_envinfo info;
    MDB_stat stat;
    mdb_env_info(w->env, &info);
    mdb_env_stat(w->env, &stat);
    w->used = (info.me_last_pgno + 1) * stat.ms_psize;
    return hp_store_blocks_follow(w, err);
}

static size_t batch_bytes(const hp_store_writer_t *w) {
    return w->plan.batch_bytes > 0 ? w->plan.batch_bytes : BATCH_BYTES;
}

hp_status_t hp_store_writer_room(hp_store_writer_t *w, size_t bytes, hp_error_t *err) {
    size_t need = bytes + bytes / 8 + ((size_t)16 << 20); /* page ends, tree, free list */
    bool full = w->pending > batch_bytes(w);
    if (!full && w->used + w->pending + w->pending / 8 + need < w->map) {
        w->pending += bytes + 64;
        return HP_OK;
    }
    HP_TRY(commit(w, err));
    if (w->used + need + 2 * batch_bytes(w) > w->map) {
        size_t map = (w->used * 2 + need + MAP_STEP) / MAP_STEP * MAP_STEP;
        int code = mdb_env_set_mapsize(w->env, map);
        if (code != 0) return hp_store_writer_fail(w, code, err);
        w->map = map;
    }
    HP_TRY(begin(w, err));
    w->pending = bytes + 64;
    return HP_OK;
}

hp_status_t hp_store_writer_put(hp_store_writer_t *w, hp_store_db_t db, uint32_t ordinal,
                                const void *data, size_t bytes, hp_error_t *err) {
    unsigned char bytes4[4], bytes5[5];
    hp_store_key(ordinal, bytes4);
    MDB_val key = {sizeof bytes4, bytes4}, value = {bytes, (void *)data};
    int code = mdb_put(w->txn, w->dbi[db], &key, &value, MDB_APPEND);
    if (code != 0) return hp_store_writer_fail(w, code, err);
    uint64_t hash = XXH3_64bits(data, bytes);
    key = (MDB_val){hp_store_hash_key(db, ordinal, bytes5), bytes5};
    value = (MDB_val){sizeof hash, &hash};
    code = mdb_put(w->txn, w->dbi[HP_DB_HASHES], &key, &value, 0);
    return code == 0 ? HP_OK : hp_store_writer_fail(w, code, err);
}

/* ---- opening ------------------------------------------------------------------------------- */

/* Removes what an earlier import left. Only the files a writer makes: a folder with anything else
 * in it stays, and is an error. */
static hp_status_t remove_partial(const hp_store_writer_t *w, hp_error_t *err) {
    static const char *const file[] = {HP_STORE_DATA, HP_STORE_MANIFEST, HP_STORE_IDENTITY};
    char name[4096];
    for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
        snprintf(name, sizeof name, "%s/%s", w->partial, file[i]);
        if (unlink(name) != 0 && errno != ENOENT)
            return hp_fail_errno(err, HP_IO, "cannot remove %s", name);
    }
    return HP_OK;
}

/* Takes the folder for this writer, decides whether what is in it is kept. */
static hp_status_t claim(hp_store_writer_t *w, bool *kept_p, hp_error_t *err) {
    char name[4096], old[65536];
    struct stat st;
    if (lstat(w->path, &st) == 0)
        return hp_fail(err, HP_INPUT, "%s exists already; a store is never changed", w->path);
    HP_TRY(hp_make_folders(w->partial, err));
    snprintf(name, sizeof name, "%s/%s", w->partial, HP_STORE_IDENTITY);
    w->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (w->lock < 0) return hp_fail_errno(err, HP_INPUT, "cannot write %s", name);
    if (flock(w->lock, LOCK_EX | LOCK_NB) != 0)
        return hp_fail(err, HP_INPUT, "%s is being written by another import", w->partial);
    ssize_t n = pread(w->lock, old, sizeof old, 0);
    const char *identity = w->plan.identity;
    char data[4096];
    snprintf(data, sizeof data, "%s/%s", w->partial, HP_STORE_DATA);
    bool there = n > 0 && access(data, F_OK) == 0;
    *kept_p = there && identity != NULL && (size_t)n == strlen(identity) &&
              memcmp(old, identity, (size_t)n) == 0;
    if (*kept_p) return HP_OK;
    if (there && identity != NULL)
        return hp_fail(err, HP_INPUT,
                       "%s was left by an import with other options or sources; give those again, "
                       "or remove it",
                       w->partial);
    HP_TRY(remove_partial(w, err));
    int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (fd >= 0) close(fd);
        return hp_fail_errno(err, HP_IO, "cannot write %s", name);
    }
    close(w->lock);
    w->lock = fd;
    size_t bytes = identity != NULL ? strlen(identity) : 0;
    if (bytes >= sizeof old) return hp_fail(err, HP_INPUT, "the import has too many sources");
    if (bytes > 0 && (write(fd, identity, bytes) != (ssize_t)bytes || fsync(fd) != 0))
        return hp_fail_errno(err, HP_IO, "writing %s", name);
    return HP_OK;
}

hp_status_t hp_store_writer_remember(hp_store_writer_t *w, const void *name, size_t bytes,
                                     bool *known_p, hp_error_t *err) {
    if ((w->images + 1) * 2 > w->seen_size) {
        void *p = NULL;
        size_t n = w->seen_size ? w->seen_size * 2 : 1024;
        HP_TRY(hp_allocate(&p, n, sizeof *w->seen, "names", err));
        uint64_t *table = p;
        for (size_t i = 0; i < w->seen_size; i++) {
            if (w->seen[i] == 0) continue;
            size_t at = w->seen[i] & (n - 1);
            while (table[at] != 0) at = (at + 1) & (n - 1);
            table[at] = w->seen[i];
        }
        hp_free(w->seen);
        w->seen = table;
        w->seen_size = n;
    }
    uint64_t hash = XXH3_64bits(name, bytes) | 1;
    size_t at = hash & (w->seen_size - 1);
    while (w->seen[at] != 0 && w->seen[at] != hash) at = (at + 1) & (w->seen_size - 1);
    *known_p = w->seen[at] == hash;
    w->seen[at] = hash;
    return HP_OK;
}

/* What a killed import has committed: whole images, and perhaps questions, which are written anew.
 */
static hp_status_t recover(hp_store_writer_t *w, hp_error_t *err) {
    MDB_stat stat;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    int code = mdb_stat(w->txn, w->dbi[HP_DB_PICTURES], &stat);
    w->picture_count = stat.ms_entries;
    if (code == 0) code = mdb_drop(w->txn, w->dbi[HP_DB_QUESTIONS], 0);
    if (code == 0) code = mdb_drop(w->txn, w->dbi[HP_DB_COLUMNS], 0);
    if (code == 0) code = mdb_cursor_open(w->txn, w->dbi[HP_DB_HASHES], &cursor);
    char q = hp_store_db[HP_DB_QUESTIONS].letter;
    while (code == 0) {
        key = (MDB_val){1, &q};
        code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (code == 0 && *(const char *)key.mv_data != q) code = MDB_NOTFOUND;
        if (code == 0) code = mdb_cursor_del(cursor, 0);
    }
    if (cursor != NULL) mdb_cursor_close(cursor);
    if (code != MDB_NOTFOUND) return hp_store_writer_fail(w, code, err);
    code = mdb_cursor_open(w->txn, w->dbi[HP_DB_NAMES], &cursor);
    while (code == 0 && (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        bool known;
        HP_TRY(hp_store_writer_remember(w, value.mv_data, value.mv_size, &known, err));
        w->images++;
    }
    if (cursor != NULL) mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? HP_OK : hp_store_writer_fail(w, code, err);
}

static hp_status_t open_environment(hp_store_writer_t *w, bool kept, hp_error_t *err) {
    char name[4096];
    struct stat st = {0};
    snprintf(name, sizeof name, "%s/%s", w->partial, HP_STORE_MANIFEST);
    if (unlink(name) != 0 && errno != ENOENT) return hp_fail_errno(err, HP_IO, "%s", name);
    snprintf(name, sizeof name, "%s/%s", w->partial, HP_STORE_DATA);
    if (kept && stat(name, &st) != 0) return hp_fail_errno(err, HP_IO, "%s", name);
    w->map = ((size_t)st.st_size * 2 + 2 * MAP_STEP) / MAP_STEP * MAP_STEP;
    int code = mdb_env_create(&w->env);
    if (code == 0) code = mdb_env_set_maxdbs(w->env, HP_DB_COUNT);
    if (code == 0) code = mdb_env_set_mapsize(w->env, w->map);
    if (code == 0) code = mdb_env_open(w->env, name, MDB_NOSUBDIR | MDB_NOLOCK, 0666);
    if (code != 0) return hp_store_writer_fail(w, code, err);
    HP_TRY(begin(w, err));
    for (int i = 0; i < HP_DB_COUNT; i++) {
        code = mdb_dbi_open(w->txn, hp_store_db[i].name, MDB_CREATE, &w->dbi[i]);
        if (code != 0) return hp_store_writer_fail(w, code, err);
    }
    if (kept) HP_TRY(recover(w, err));
    HP_TRY(commit(w, err));
    return begin(w, err);
}

static void release(hp_store_writer_t *w) {
    if (w->txn != NULL) mdb_txn_abort(w->txn);
    if (w->env != NULL) mdb_env_close(w->env);
    if (w->lock >= 0) close(w->lock);
    for (int i = 0; i < w->words; i++) hp_free(w->word[i]);
    for (int i = 0; i < w->answers; i++) hp_free(w->answer[i]);
    for (int i = 0; i < w->plan.sources; i++) hp_free((void *)w->plan.source[i].name);
    hp_free((void *)w->plan.source);
    hp_free((void *)w->plan.tokenizer);
    hp_free((void *)w->plan.command);
    hp_free((void *)w->plan.identity);
    hp_store_blocks_release(&w->blocks);
    hp_free(w->record);
    hp_free(w->word);
    hp_free(w->answer);
    hp_free(w->seen);
    hp_free(w->split);
    hp_free(w->image);
    hp_free(w->label);
    hp_free(w->path);
    hp_free(w->partial);
    hp_free(w);
}

static hp_status_t copy_text(const char **text_p, const char *text, hp_error_t *err) {
    if (text == NULL) text = "";
    *text_p = hp_strdup(text);
    return *text_p != NULL ? HP_OK : hp_fail(err, HP_MEMORY, "out of memory");
}

static hp_status_t check_plan(const hp_store_plan_t *p, hp_error_t *err) {
    bool features = p->feature_dtype != HP_DTYPE_NONE;
    if (features && (p->max_cells <= 0 || p->channels <= 0))
        return hp_fail(err, HP_INPUT, "features need a positive number of cells and channels");
    if (features && (p->grid_height != 0 || p->grid_width != 0) &&
        (p->grid_height <= 0 || p->grid_width <= 0 ||
         (int64_t)p->grid_height * p->grid_width != p->max_cells))
        return hp_fail(err, HP_INPUT, "a grid of %dx%d has not %d cells", p->grid_height,
                       p->grid_width, p->max_cells);
    if (features && (double)p->max_cells * p->channels > 1 << 28)
        return hp_fail(err, HP_INPUT, "%d cells of %d channels are too much for one image",
                       p->max_cells, p->channels);
    if (p->boxes && !features) return hp_fail(err, HP_INPUT, "boxes without features");
    if (p->max_objects < 0 || (p->max_objects > 0 && p->pixel_height == 0))
        return hp_fail(err, HP_INPUT, "objects without pixels");
    if (p->pixel_height < 0 || p->pixel_width < 0 ||
        (p->pixel_height == 0) != (p->pixel_width == 0))
        return hp_fail(err, HP_INPUT, "pixels of %dx%d", p->pixel_height, p->pixel_width);
    return HP_OK;
}

static hp_status_t copy_plan(hp_store_writer_t *w, const hp_store_plan_t *plan, hp_error_t *err) {
    HP_TRY(check_plan(plan, err));
    w->plan = *plan;
    w->plan.sources = 0;
    w->plan.source = NULL;
    w->plan.tokenizer = w->plan.command = w->plan.identity = NULL;
    w->feature_bytes = (size_t)plan->channels * hp_dtype_size(plan->feature_dtype);
    w->pixel_bytes = (size_t)plan->pixel_height * (size_t)plan->pixel_width * 3;
    HP_TRY(copy_text(&w->plan.tokenizer, plan->tokenizer, err));
    HP_TRY(copy_text(&w->plan.command, plan->command, err));
    if (plan->identity != NULL) HP_TRY(copy_text(&w->plan.identity, plan->identity, err));
    void *p = NULL;
    if (plan->feature_dtype != HP_DTYPE_NONE && plan->encoding != HP_ENCODING_RAW) {
        size_t count = (size_t)plan->max_cells * (size_t)plan->channels;
        HP_TRY(hp_allocate(&p, hp_sparse_room(plan->feature_dtype, count), 1, "a record", err));
        w->record = p;
    }
    HP_TRY(hp_allocate(&p, (size_t)plan->sources, sizeof(hp_store_source_t), "sources", err));
    hp_store_source_t *source = p;
    w->plan.source = source;
    for (; w->plan.sources < plan->sources; w->plan.sources++) {
        source[w->plan.sources].bytes = plan->source[w->plan.sources].bytes;
        HP_TRY(copy_text(&source[w->plan.sources].name, plan->source[w->plan.sources].name, err));
    }
    return HP_OK;
}

hp_status_t hp_store_writer_open(const char *path, const hp_store_plan_t *plan,
                                 hp_store_writer_t **writer_p, hp_error_t *err) {
    size_t bytes = strlen(path);
    while (bytes > 1 && path[bytes - 1] == '/') bytes--;
    if (bytes == 0 || bytes > 4000) return hp_fail(err, HP_INPUT, "no name for the store");
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(hp_store_writer_t), "a store's writer", err));
    hp_store_writer_t *w = p;
    w->lock = -1;
    w->top_token = w->top_label = -1;
    w->path = hp_calloc(bytes + 16, 1);
    w->partial = hp_calloc(bytes + 16, 1);
    if (w->path == NULL || w->partial == NULL) {
        release(w);
        return hp_fail(err, HP_MEMORY, "out of memory");
    }
    bool kept = false;
    hp_status_t status = copy_plan(w, plan, err);
    if (status == HP_OK) {
        snprintf(w->path, bytes + 16, "%.*s", (int)bytes, path);
        snprintf(w->partial, bytes + 16, "%s%s", w->path, HP_STORE_PARTIAL);
        status = claim(w, &kept, err);
    }
    if (status == HP_OK) status = open_environment(w, kept, err);
    if (status != HP_OK) {
        release(w);
        return status;
    }
    *writer_p = w;
    return HP_OK;
}

/* ---- finishing ----------------------------------------------------------------------------- */

static hp_status_t write_column(hp_store_writer_t *w, const char *name, void *data,
                                hp_error_t *err) {
    if (w->questions == 0) return HP_OK;
    HP_TRY(hp_store_writer_room(w, 4 * w->questions, err));
    MDB_val key = {strlen(name), (void *)name}, value = {4 * w->questions, data};
    int code = mdb_put(w->txn, w->dbi[HP_DB_COLUMNS], &key, &value, 0);
    return code == 0 ? HP_OK : hp_store_writer_fail(w, code, err);
}

hp_status_t hp_store_writer_finish(hp_store_writer_t *w, hp_error_t *err) {
    hp_status_t status = HP_OK;
    if (w->top_token >= w->words)
        status = hp_fail(err, HP_INTERNAL, "token %d, but %d words", w->top_token, w->words);
    if (status == HP_OK && w->top_label >= w->answers)
        status = hp_fail(err, HP_INTERNAL, "label %d, but %d answers", w->top_label, w->answers);
    if (status == HP_OK) status = write_column(w, HP_COLUMN_IMAGE, w->image, err);
    if (status == HP_OK) status = write_column(w, HP_COLUMN_LABEL, w->label, err);
    if (status == HP_OK) status = commit(w, err);
    if (w->env != NULL) {
        if (w->txn != NULL) mdb_txn_abort(w->txn);
        mdb_env_close(w->env);
        w->txn = NULL;
        w->env = NULL;
    }
    if (status == HP_OK) status = hp_store_write_manifest(w, err);
    if (status == HP_OK) status = hp_store_move_into_place(w, err);
    release(w);
    return status;
}

void hp_store_writer_abandon(hp_store_writer_t *writer) {
    if (writer == NULL) return;
    hp_error_t ignored; /* what cannot be kept is imported again */
    if (writer->txn != NULL && !writer->failed) (void)!commit(writer, &ignored);
    if (writer->images == 0 && remove_partial(writer, &ignored) == HP_OK) rmdir(writer->partial);
    release(writer);
}
