#include "common/store_write.h"

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

static hp_status_t lmdb_fail(const hp_store_writer_t *w, int code, hp_error_t *err) {
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

static hp_status_t grow(void **array, size_t *capacity, size_t need, size_t size, const char *what,
                        hp_error_t *err) {
    if (need <= *capacity) return HP_OK;
    size_t n = *capacity * 2 > need ? *capacity * 2 : need + 64;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, n, size, what, err));
    if (*array != NULL) memcpy(p, *array, *capacity * size);
    hp_free(*array);
    *array = p;
    *capacity = n;
    return HP_OK;
}

/* ---- transactions -------------------------------------------------------------------------- */

static hp_status_t begin(hp_store_writer_t *w, hp_error_t *err) {
    int code = hp_store_blocks_forget(w);
    if (code == 0) code = mdb_txn_begin(w->env, NULL, 0, &w->txn);
    w->pending = 0;
    return code == 0 ? HP_OK : lmdb_fail(w, code, err);
}

static hp_status_t commit(hp_store_writer_t *w, hp_error_t *err) {
    int code = mdb_txn_commit(w->txn);
    w->txn = NULL;
    if (code != 0) return lmdb_fail(w, code, err);
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

/* Room for records of `bytes` in this transaction and this map; starts new ones when needed. */
static hp_status_t make_room(hp_store_writer_t *w, size_t bytes, hp_error_t *err) {
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
        if (code != 0) return lmdb_fail(w, code, err);
        w->map = map;
    }
    HP_TRY(begin(w, err));
    w->pending = bytes + 64;
    return HP_OK;
}

static hp_status_t put(hp_store_writer_t *w, hp_store_db_t db, uint32_t ordinal, const void *data,
                       size_t bytes, hp_error_t *err) {
    unsigned char bytes4[4], bytes5[5];
    hp_store_key(ordinal, bytes4);
    MDB_val key = {sizeof bytes4, bytes4}, value = {bytes, (void *)data};
    int code = mdb_put(w->txn, w->dbi[db], &key, &value, MDB_APPEND);
    if (code != 0) return lmdb_fail(w, code, err);
    uint64_t hash = XXH3_64bits(data, bytes);
    key = (MDB_val){hp_store_hash_key(db, ordinal, bytes5), bytes5};
    value = (MDB_val){sizeof hash, &hash};
    code = mdb_put(w->txn, w->dbi[HP_DB_HASHES], &key, &value, 0);
    return code == 0 ? HP_OK : lmdb_fail(w, code, err);
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

static hp_status_t remember_name(hp_store_writer_t *w, const void *name, size_t bytes,
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
    if (code != MDB_NOTFOUND) return lmdb_fail(w, code, err);
    code = mdb_cursor_open(w->txn, w->dbi[HP_DB_NAMES], &cursor);
    while (code == 0 && (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        bool known;
        HP_TRY(remember_name(w, value.mv_data, value.mv_size, &known, err));
        w->images++;
    }
    if (cursor != NULL) mdb_cursor_close(cursor);
    return code == MDB_NOTFOUND ? HP_OK : lmdb_fail(w, code, err);
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
    if (code != 0) return lmdb_fail(w, code, err);
    HP_TRY(begin(w, err));
    for (int i = 0; i < HP_DB_COUNT; i++) {
        code = mdb_dbi_open(w->txn, hp_store_db[i].name, MDB_CREATE, &w->dbi[i]);
        if (code != 0) return lmdb_fail(w, code, err);
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

/* ---- records ------------------------------------------------------------------------------- */

uint64_t hp_store_writer_images(const hp_store_writer_t *writer) { return writer->images; }

hp_status_t hp_store_writer_image_name(hp_store_writer_t *w, uint32_t image, const char **name_p,
                                       hp_error_t *err) {
    unsigned char bytes[4];
    hp_store_key(image, bytes);
    MDB_val key = {sizeof bytes, bytes}, value;
    int code = mdb_get(w->txn, w->dbi[HP_DB_NAMES], &key, &value);
    if (code != 0) return lmdb_fail(w, code, err);
    if (value.mv_size >= sizeof w->name) return hp_fail(err, HP_CORRUPT, "%s: names", w->partial);
    memcpy(w->name, value.mv_data, value.mv_size);
    w->name[value.mv_size] = '\0';
    *name_p = w->name;
    return HP_OK;
}

static hp_status_t check_image(const hp_store_writer_t *w, const hp_store_image_t *image,
                               hp_error_t *err) {
    const hp_store_plan_t *plan = &w->plan;
    size_t bytes = image->name ? strlen(image->name) : 0;
    if (bytes == 0 || bytes >= sizeof w->name)
        return hp_fail(err, HP_INPUT, "image %llu: a name of %zu bytes",
                       (unsigned long long)w->images, bytes);
    if ((image->features != NULL) != (plan->feature_dtype != HP_DTYPE_NONE) ||
        (image->pixels != NULL) != (plan->pixel_height != 0) ||
        (image->boxes != NULL) != plan->boxes || image->objects < 0 ||
        image->objects > plan->max_objects || (image->picture != NULL && !plan->pictures))
        return hp_fail(err, HP_INTERNAL, "image '%s': other records than planned", image->name);
    if (image->features != NULL && (image->cells < 1 || image->cells > plan->max_cells ||
                                    (plan->grid_height != 0 && image->cells != plan->max_cells)))
        return hp_fail(err, HP_INPUT, "image '%s' has %d cells, %s%d are allowed", image->name,
                       image->cells, plan->grid_height ? "" : "1 to ", plan->max_cells);
    if (w->questions > 0 || w->splits > 0)
        return hp_fail(err, HP_INTERNAL, "image '%s' comes after questions", image->name);
    if (w->images == UINT32_MAX) return hp_fail(err, HP_INPUT, "too many images");
    return HP_OK;
}

/* The record of an image's features. */
static hp_status_t encode(hp_store_writer_t *w, const hp_store_image_t *image, const void **data_p,
                          size_t *bytes_p, hp_error_t *err) {
    const hp_store_plan_t *p = &w->plan;
    hp_sparse_t sparse;
    *data_p = image->features;
    *bytes_p = w->feature_bytes * (size_t)image->cells;
    if (image->encoded_bytes > 0) {
        *bytes_p = image->encoded_bytes;
        if (w->record == NULL ||
            !hp_sparse_parse(p->feature_dtype, *data_p, *bytes_p, p->channels, &sparse) ||
            sparse.cells != (uint32_t)image->cells || !hp_sparse_check(&sparse))
            return hp_fail(err, HP_CORRUPT, "image '%s': its encoded features are damaged",
                           image->name);
    } else if (w->record != NULL) {
        *data_p = w->record;
        *bytes_p = hp_sparse_encode(p->encoding, p->feature_dtype, image->features, image->cells,
                                    p->channels, w->record);
    }
    return HP_OK;
}

hp_status_t hp_store_write_image(hp_store_writer_t *w, const hp_store_image_t *image,
                                 uint32_t *image_p, hp_error_t *err) {
    HP_TRY(check_image(w, image, err));
    bool known = false;
    size_t name = strlen(image->name), features = 0;
    const void *data = NULL;
    if (image->features != NULL) HP_TRY(encode(w, image, &data, &features, err));
    HP_TRY(remember_name(w, image->name, name, &known, err));
    if (known) return hp_fail(err, HP_INPUT, "image '%s' is there twice", image->name);
    HP_TRY(make_room(w,
                     name + features + w->pixel_bytes + image->picture_bytes +
                         ((size_t)image->cells + (size_t)image->objects) * 16 + 6 * 4096,
                     err));
    uint32_t ordinal = (uint32_t)w->images;
    w->failed = true; /* until all its records are in */
    HP_TRY(put(w, HP_DB_NAMES, ordinal, image->name, name, err));
    if (data != NULL) HP_TRY(put(w, HP_DB_FEATURES, ordinal, data, features, err));
    if (image->boxes != NULL)
        HP_TRY(put(w, HP_DB_BOXES, ordinal, image->boxes, (size_t)image->cells * 16, err));
    if (w->plan.max_objects > 0)
        HP_TRY(put(w, HP_DB_OBJECTS, ordinal, image->object, (size_t)image->objects * 16, err));
    if (image->pixels != NULL)
        HP_TRY(put(w, HP_DB_PIXELS, ordinal, image->pixels, w->pixel_bytes, err));
    if (image->picture != NULL) {
        HP_TRY(put(w, HP_DB_PICTURES, ordinal, image->picture, image->picture_bytes, err));
        w->picture_count++;
    }
    w->failed = false;
    w->images++;
    if (image_p != NULL) *image_p = ordinal;
    return HP_OK;
}

hp_status_t hp_store_write_split(hp_store_writer_t *w, const char *name, hp_error_t *err) {
    if (name[0] == '\0' || strlen(name) >= sizeof w->split->name)
        return hp_fail(err, HP_INPUT, "split '%s': a name has 1 to %zu bytes", name,
                       sizeof w->split->name - 1);
    for (int i = 0; i < w->splits; i++)
        if (strcmp(w->split[i].name, name) == 0)
            return hp_fail(err, HP_INPUT, "split '%s' is there twice", name);
    size_t capacity = (size_t)w->split_capacity;
    void *p = w->split;
    HP_TRY(grow(&p, &capacity, (size_t)w->splits + 1, sizeof *w->split, "splits", err));
    w->split = p;
    w->split_capacity = (int)capacity;
    hp_split_t *s = &w->split[w->splits++];
    snprintf(s->name, sizeof s->name, "%s", name);
    s->first = w->questions;
    s->count = 0;
    return HP_OK;
}

/* Packs the message into `buffer`, or into memory of its own where that is too small. */
static hp_status_t pack_question(const hp_question_t *q, unsigned char *buffer, size_t room,
                                 unsigned char **data_p, size_t *bytes_p, hp_error_t *err) {
    enum { FEW = 32 };
    Hanps__StoreQuestion__Answer few[FEW], *answer = few, *pointer_few[FEW],
                                           **pointer = pointer_few;
    void *many = NULL, *pointers = NULL;
    size_t n = (size_t)q->answers;
    if (n > FEW) {
        HP_TRY(hp_allocate(&many, n, sizeof *answer, "answers", err));
        hp_status_t status = hp_allocate(&pointers, n, sizeof(void *), "answers", err);
        if (status != HP_OK) {
            hp_free(many);
            return status;
        }
        answer = many;
        pointer = pointers;
    }
    for (size_t i = 0; i < n; i++) {
        hanps__store_question__answer__init(&answer[i]);
        answer[i].text = (char *)q->answer[i].text;
        answer[i].answer_id = q->answer[i].answer_id;
        answer[i].confidence = (uint32_t)q->answer[i].confidence;
        pointer[i] = &answer[i];
    }
    Hanps__StoreQuestion m = HANPS__STORE_QUESTION__INIT;
    m.question_id = q->question_id;
    m.image = q->image;
    m.text = (char *)(q->text ? q->text : "");
    m.n_token = (size_t)q->tokens;
    m.token = (uint32_t *)(uintptr_t)q->token;
    m.code = q->code;
    m.question_type = (char *)(q->question_type ? q->question_type : "");
    m.answer_type = (char *)(q->answer_type ? q->answer_type : "");
    m.target = (char *)(q->target ? q->target : "");
    m.label = q->label;
    m.n_answer = n;
    m.answer = pointer;
    size_t bytes = hanps__store_question__get_packed_size(&m);
    hp_status_t status = HP_OK;
    void *data = buffer;
    if (bytes > room) status = hp_allocate(&data, bytes, 1, "a question", err);
    if (status == HP_OK) {
        *bytes_p = hanps__store_question__pack(&m, data);
        *data_p = data;
    }
    hp_free(many);
    hp_free(pointers);
    return status;
}

hp_status_t hp_store_write_question(hp_store_writer_t *w, const hp_question_t *q, hp_error_t *err) {
    if (w->splits == 0) return hp_fail(err, HP_INTERNAL, "a question before the first split");
    if (q->image >= w->images || q->tokens < 0 || q->answers < 0 || q->label < -1)
        return hp_fail(err, HP_INTERNAL, "question %lld: image %u of %llu, label %d",
                       (long long)q->question_id, q->image, (unsigned long long)w->images,
                       q->label);
    if (w->questions == UINT32_MAX) return hp_fail(err, HP_INPUT, "too many questions");
    for (int i = 0; i < q->tokens; i++) {
        if (q->token[i] < 0) return hp_fail(err, HP_INTERNAL, "token %d", q->token[i]);
        if (q->token[i] > w->top_token) w->top_token = q->token[i];
    }
    size_t capacity = w->column_capacity;
    void *image = w->image, *label = w->label;
    HP_TRY(grow(&image, &capacity, w->questions + 1, sizeof *w->image, "a column", err));
    w->image = image;
    capacity = w->column_capacity;
    HP_TRY(grow(&label, &capacity, w->questions + 1, sizeof *w->label, "a column", err));
    w->label = label;
    w->column_capacity = capacity;
    unsigned char buffer[8192], *data = NULL;
    size_t bytes = 0;
    HP_TRY(pack_question(q, buffer, sizeof buffer, &data, &bytes, err));
    hp_status_t status = make_room(w, bytes, err);
    if (status == HP_OK) status = put(w, HP_DB_QUESTIONS, (uint32_t)w->questions, data, bytes, err);
    if (data != buffer) hp_free(data);
    if (status != HP_OK) return status;
    w->image[w->questions] = q->image;
    w->label[w->questions] = q->label;
    if (q->label > w->top_label) w->top_label = q->label;
    if (q->tokens > w->max_tokens) w->max_tokens = q->tokens;
    w->questions++;
    w->split[w->splits - 1].count++;
    return HP_OK;
}

static hp_status_t copy_list(char ***list_p, int *count_p, int count, const char *const *text,
                             hp_error_t *err) {
    if (*list_p != NULL) return hp_fail(err, HP_INTERNAL, "a vocabulary is given twice");
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)count, sizeof(char *), "a vocabulary", err));
    *list_p = p;
    for (; *count_p < count; ++*count_p)
        if (((*list_p)[*count_p] = hp_strdup(text[*count_p])) == NULL)
            return hp_fail(err, HP_MEMORY, "out of memory");
    return HP_OK;
}

hp_status_t hp_store_write_words(hp_store_writer_t *w, int words, const char *const *word,
                                 hp_error_t *err) {
    return copy_list(&w->word, &w->words, words, word, err);
}

hp_status_t hp_store_write_answers(hp_store_writer_t *w, int answers, const char *const *answer,
                                   hp_error_t *err) {
    return copy_list(&w->answer, &w->answers, answers, answer, err);
}

/* ---- finishing ----------------------------------------------------------------------------- */

static hp_status_t write_column(hp_store_writer_t *w, const char *name, void *data,
                                hp_error_t *err) {
    if (w->questions == 0) return HP_OK;
    HP_TRY(make_room(w, 4 * w->questions, err));
    MDB_val key = {strlen(name), (void *)name}, value = {4 * w->questions, data};
    int code = mdb_put(w->txn, w->dbi[HP_DB_COLUMNS], &key, &value, 0);
    return code == 0 ? HP_OK : lmdb_fail(w, code, err);
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
