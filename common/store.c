#include "common/store.h"

#include "common/memory.h"
#include "common/store_convert.h"
#include "common/store_format.h"
#include "common/store_sparse.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct hp_store {
    hp_store_info_t info;
    Hanps__StoreManifest *manifest; /* owns info's strings */
    char *path;
    char *source;
    hp_split_t *split;
    hp_store_source_t *file;
    MDB_env *env;
    MDB_txn *txn; /* keeps the columns */
    MDB_dbi dbi[HP_DB_COUNT];
    bool has[HP_DB_COUNT];
    const uint32_t *image; /* columns: mapped, or the copies below where LMDB did not align them */
    const int32_t *label;
    void *copy[2];
    size_t page;
    bool no_readahead; /* by the kernel: records are asked for whole */
    hp_convert_level_t convert;
};

struct hp_store_reader {
    hp_store_t *store;
    MDB_txn *txn;
    unsigned char *arena; /* what the current question points at */
    size_t arena_bytes, arena_used;
    char name[4096];
};

size_t hp_dtype_size(hp_dtype_t dtype) {
    return dtype == HP_DTYPE_F32 ? 4 : dtype == HP_DTYPE_U8 ? 1 : dtype == HP_DTYPE_NONE ? 0 : 2;
}

const char *hp_dtype_name(hp_dtype_t dtype) {
    static const char *const name[] = {"none", "f16", "f32", "bf16", "u8"};
    return (unsigned)dtype < sizeof name / sizeof *name ? name[dtype] : "?";
}

const char *hp_encoding_name(hp_encoding_t encoding) {
    static const char *const name[] = {"raw", "sparse", "auto"};
    return (unsigned)encoding < sizeof name / sizeof *name ? name[encoding] : "?";
}

static hp_status_t lmdb_fail(hp_error_t *err, const char *path, const char *what, int code) {
    if (code == ENOMEM)
        return hp_fail(err, HP_MEMORY, "store %s: %s: out of memory or address space", path, what);
    if (code == EIO || code == ESTALE || code == EMFILE || code == ENFILE) /* the host's fault */
        return hp_fail(err, HP_IO, "store %s: %s: %s", path, what, mdb_strerror(code));
    return hp_fail(err, HP_CORRUPT, "store %s: %s: %s; 'hanps data verify' says more", path, what,
                   mdb_strerror(code));
}

static hp_status_t fill_info(hp_store_t *store, hp_error_t *err) {
    const Hanps__StoreManifest *m = store->manifest;
    const char *wrong = hp_store_check_manifest(m);
    if (wrong != NULL)
        return hp_fail(err, HP_CORRUPT, "store %s: %s: impossible %s", store->path,
                       HP_STORE_MANIFEST, wrong);
    void *p = NULL;
    HP_TRY(hp_allocate(&p, m->n_split, sizeof *store->split, "splits", err));
    store->split = p;
    for (size_t i = 0; i < m->n_split; i++) {
        hp_split_t *s = &store->split[i];
        snprintf(s->name, sizeof s->name, "%s", m->split[i]->name);
        s->first = m->split[i]->first;
        s->count = m->split[i]->count;
    }
    HP_TRY(hp_allocate(&p, m->n_source, sizeof *store->file, "sources", err));
    store->file = p;
    for (size_t i = 0; i < m->n_source; i++)
        store->file[i] = (hp_store_source_t){m->source[i]->name, m->source[i]->bytes};
    size_t bytes = strlen(m->command) + strlen(m->made_by) + strlen(m->created) + 32;
    HP_TRY(hp_allocate(&p, bytes, 1, "provenance", err));
    store->source = p;
    snprintf(store->source, bytes, "%s%s%s%s%s", m->command, *m->made_by ? ", by " : "", m->made_by,
             *m->created ? ", " : "", m->created);
    hp_store_info_t *info = &store->info;
    info->feature_dtype = (hp_dtype_t)m->feature_dtype;
    info->feature_encoding = (hp_encoding_t)m->feature_encoding;
    info->grid_height = (int)m->grid_height;
    info->grid_width = (int)m->grid_width;
    info->max_cells = (int)m->max_cells;
    info->channels = (int)m->channels;
    info->pixel_height = (int)m->pixel_height;
    info->pixel_width = (int)m->pixel_width;
    info->pictures = m->pictures;
    info->boxes = m->boxes;
    info->max_objects = (int)m->max_objects;
    info->images = m->images;
    info->questions = m->questions;
    info->words = (int)m->n_word;
    info->word = (const char *const *)m->word;
    info->answers = (int)m->n_answer;
    info->answer = (const char *const *)m->answer;
    info->splits = (int)m->n_split;
    info->split = store->split;
    info->metric = (hp_metric_t)m->metric;
    info->code_bits = (int)m->code_bits;
    info->max_tokens = (int)m->max_tokens;
    info->source = store->source;
    info->tokenizer = m->tokenizer;
    info->files = (int)m->n_source;
    info->file = store->file;
    info->picture_count = m->picture_count;
    info->data_bytes = m->data_bytes;
    return HP_OK;
}

/* ---- opening ------------------------------------------------------------------------------- */

/* A file that is shorter than LMDB's last page would end the process with SIGBUS at the first read
 * of what is missing, so lengths are compared before anything is read through the map. */
static hp_status_t open_environment(hp_store_t *store, bool strict, hp_error_t *err) {
    char name[4096];
    snprintf(name, sizeof name, "%s/%s", store->path, HP_STORE_DATA);
    struct stat st;
    if (stat(name, &st) != 0)
        return hp_fail_errno(err, HP_CORRUPT, "store %s: no %s", store->path, HP_STORE_DATA);
    uint64_t size = (uint64_t)st.st_size, want = store->manifest->data_bytes;
    if (size < want || (strict && size != want))
        return hp_fail(err, HP_CORRUPT, "store %s: %s has %llu bytes, the manifest says %llu: %s",
                       store->path, HP_STORE_DATA, (unsigned long long)size,
                       (unsigned long long)want,
                       size < want ? "it is truncated" : "it is another file");
    int code = mdb_env_create(&store->env);
    if (code != 0) return lmdb_fail(err, store->path, "LMDB", code);
    mdb_env_set_maxdbs(store->env, HP_DB_COUNT);
    mdb_env_set_mapsize(store->env, 1); /* LMDB takes what the file needs */
    unsigned flags = MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS;
    /* What does not fit in memory is read record by record, with an explicit read-ahead: the
     * kernel's own would fetch neighbours nobody asked for. */
    uint64_t memory = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGE_SIZE);
    store->no_readahead = size > memory / 2;
    if (store->no_readahead) flags |= MDB_NORDAHEAD;
    code = mdb_env_open(store->env, name, flags, 0644);
    if (code != 0) return lmdb_fail(err, store->path, HP_STORE_DATA, code);
    MDB_envinfo info;
    MDB_stat stat_;
    mdb_env_info(store->env, &info);
    mdb_env_stat(store->env, &stat_);
    if (stat_.ms_psize == 0 || (size_t)size / stat_.ms_psize <= info.me_last_pgno)
        return hp_fail(err, HP_CORRUPT, "store %s: %s ends before its last page", store->path,
                       HP_STORE_DATA);
    return HP_OK;
}

static hp_status_t count_is(hp_store_t *store, hp_store_db_t db, uint64_t want, hp_error_t *err) {
    MDB_stat stat;
    int code = mdb_stat(store->txn, store->dbi[db], &stat);
    if (code != 0) return lmdb_fail(err, store->path, hp_store_db[db].name, code);
    if (stat.ms_entries != want)
        return hp_fail(err, HP_CORRUPT, "store %s has %llu records of %s, the manifest says %llu",
                       store->path, (unsigned long long)stat.ms_entries, hp_store_db[db].name,
                       (unsigned long long)want);
    return HP_OK;
}

static hp_status_t open_databases(hp_store_t *store, bool strict, hp_error_t *err) {
    const hp_store_info_t *info = &store->info;
    store->has[HP_DB_FEATURES] = info->feature_dtype != HP_DTYPE_NONE;
    store->has[HP_DB_PIXELS] = info->pixel_height != 0;
    store->has[HP_DB_PICTURES] = info->pictures;
    store->has[HP_DB_BOXES] = info->boxes;
    store->has[HP_DB_OBJECTS] = info->max_objects > 0;
    store->has[HP_DB_NAMES] = store->has[HP_DB_QUESTIONS] = true;
    store->has[HP_DB_COLUMNS] = store->has[HP_DB_HASHES] = true;
    int code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->txn);
    if (code != 0) return lmdb_fail(err, store->path, "LMDB", code);
    for (int i = 0; i < HP_DB_COUNT; i++) {
        if (!store->has[i]) continue;
        code = mdb_dbi_open(store->txn, hp_store_db[i].name, 0, &store->dbi[i]);
        if (code != 0) return lmdb_fail(err, store->path, hp_store_db[i].name, code);
    }
    /* Committing makes the handles known to the readers' transactions. */
    code = mdb_txn_commit(store->txn);
    store->txn = NULL;
    if (code == 0) code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->txn);
    if (code != 0) return lmdb_fail(err, store->path, "LMDB", code);
    if (!strict) return HP_OK;
    const uint64_t count[HP_DB_COUNT] = {
        [HP_DB_FEATURES] = info->images,
        [HP_DB_PIXELS] = info->images,
        [HP_DB_PICTURES] = store->manifest->picture_count,
        [HP_DB_BOXES] = info->images,
        [HP_DB_OBJECTS] = info->images,
        [HP_DB_NAMES] = info->images,
        [HP_DB_QUESTIONS] = info->questions,
    };
    for (hp_store_db_t db = HP_DB_FEATURES; db <= HP_DB_QUESTIONS; db++)
        if (store->has[db]) HP_TRY(count_is(store, db, count[db], err));
    return HP_OK;
}

static hp_status_t open_column(hp_store_t *store, const char *name, void **copy_p,
                               const void **column_p, hp_error_t *err) {
    if (store->info.questions == 0) return HP_OK;
    MDB_val key = {strlen(name), (void *)name}, value;
    int code = mdb_get(store->txn, store->dbi[HP_DB_COLUMNS], &key, &value);
    if (code != 0) return lmdb_fail(err, store->path, name, code);
    if (value.mv_size != 4 * store->info.questions)
        return hp_fail(err, HP_CORRUPT, "store %s: column %s has %zu bytes for %llu questions",
                       store->path, name, value.mv_size, (unsigned long long)store->info.questions);
    *column_p = value.mv_data;
    if ((uintptr_t)value.mv_data % 4 == 0) return HP_OK;
    HP_TRY(hp_allocate(copy_p, value.mv_size, 1, "a column", err));
    memcpy(*copy_p, value.mv_data, value.mv_size);
    *column_p = *copy_p;
    return HP_OK;
}

static hp_status_t open_columns(hp_store_t *store, hp_error_t *err) {
    const void *image = NULL, *label = NULL;
    HP_TRY(open_column(store, HP_COLUMN_IMAGE, &store->copy[0], &image, err));
    HP_TRY(open_column(store, HP_COLUMN_LABEL, &store->copy[1], &label, err));
    store->image = image;
    store->label = label;
    for (uint64_t i = 0; image != NULL && label != NULL && i < store->info.questions; i++) {
        if (store->image[i] >= store->info.images)
            return hp_fail(err, HP_CORRUPT, "store %s: question %llu has no image", store->path,
                           (unsigned long long)i);
        if (store->label[i] < -1 || store->label[i] >= store->info.answers)
            return hp_fail(err, HP_CORRUPT, "store %s: question %llu has no such label %d",
                           store->path, (unsigned long long)i, store->label[i]);
    }
    return HP_OK;
}

hp_status_t hp_store_open_as(const char *path, bool strict, hp_store_t **store_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(hp_store_t), "a store", err));
    hp_store_t *store = p;
    store->page = (size_t)sysconf(_SC_PAGE_SIZE);
    store->convert = hp_convert_best();
    store->path = hp_strdup(path);
    hp_status_t status = store->path == NULL ? hp_fail(err, HP_MEMORY, "out of memory")
                                             : hp_store_load_manifest(path, &store->manifest,
                                                                      store->info.digest, err);
    if (status == HP_OK) status = fill_info(store, err);
    if (status == HP_OK) status = open_environment(store, strict, err);
    if (status == HP_OK) status = open_databases(store, strict, err);
    if (status == HP_OK) status = open_columns(store, err);
    if (status != HP_OK) {
        hp_store_close(store);
        return status;
    }
    *store_p = store;
    return HP_OK;
}

hp_status_t hp_store_open(const char *path, hp_store_t **store_p, hp_error_t *err) {
    return hp_store_open_as(path, true, store_p, err);
}

void hp_store_close(hp_store_t *store) {
    if (store == NULL) return;
    if (store->txn != NULL) mdb_txn_abort(store->txn);
    if (store->env != NULL) mdb_env_close(store->env);
    if (store->manifest != NULL) hanps__store_manifest__free_unpacked(store->manifest, NULL);
    hp_free(store->copy[0]);
    hp_free(store->copy[1]);
    hp_free(store->split);
    hp_free(store->file);
    hp_free(store->source);
    hp_free(store->path);
    hp_free(store);
}

const hp_store_info_t *hp_store_info(const hp_store_t *store) { return &store->info; }
const uint32_t *hp_store_question_image(const hp_store_t *store) { return store->image; }
const int32_t *hp_store_question_label(const hp_store_t *store) { return store->label; }
MDB_dbi hp_store_dbi(const hp_store_t *store, hp_store_db_t db) { return store->dbi[db]; }

hp_status_t hp_store_find_split(const hp_store_t *store, const char *name, int *split_p,
                                hp_error_t *err) {
    char list[512] = "";
    for (int i = 0; i < store->info.splits; i++) {
        if (strcmp(store->split[i].name, name) == 0) {
            *split_p = i;
            return HP_OK;
        }
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", store->split[i].name);
    }
    return hp_fail(err, HP_INPUT, "store %s has no split '%s'; it has: %s", store->path, name,
                   list[0] ? list : "none");
}

/* ---- reading ------------------------------------------------------------------------------- */

hp_status_t hp_store_reader_open(hp_store_t *store, hp_store_reader_t **reader_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(hp_store_reader_t), "a store's reader", err));
    hp_store_reader_t *reader = p;
    reader->store = store;
    reader->arena_bytes = 1 << 16;
    p = NULL;
    hp_status_t status = hp_allocate(&p, reader->arena_bytes, 1, "a store's reader", err);
    reader->arena = p;
    if (status == HP_OK) {
        int code = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &reader->txn);
        if (code != 0) status = lmdb_fail(err, store->path, "LMDB", code);
    }
    if (status != HP_OK) {
        hp_store_reader_close(reader);
        return status;
    }
    *reader_p = reader;
    return HP_OK;
}

void hp_store_reader_close(hp_store_reader_t *reader) {
    if (reader == NULL) return;
    if (reader->txn != NULL) mdb_txn_abort(reader->txn);
    hp_free(reader->arena);
    hp_free(reader);
}

MDB_txn *hp_store_reader_txn(hp_store_reader_t *reader) { return reader->txn; }

static hp_status_t get(hp_store_reader_t *reader, hp_store_db_t db, uint32_t ordinal,
                       MDB_val *value, hp_error_t *err) {
    const hp_store_t *store = reader->store;
    unsigned char bytes[4];
    hp_store_key(ordinal, bytes);
    MDB_val key = {sizeof bytes, bytes};
    int code = store->has[db] ? mdb_get(reader->txn, store->dbi[db], &key, value) : MDB_NOTFOUND;
    if (code == MDB_NOTFOUND)
        return hp_fail(err, HP_INPUT, "store %s has no %s %u", store->path, hp_store_db[db].record,
                       ordinal);
    return code == 0 ? HP_OK : lmdb_fail(err, store->path, hp_store_db[db].record, code);
}

static void *arena_alloc(void *context, size_t bytes) {
    hp_store_reader_t *reader = context;
    bytes = (bytes + 15) / 16 * 16;
    if (bytes > reader->arena_bytes - reader->arena_used) return NULL;
    void *p = reader->arena + reader->arena_used;
    reader->arena_used += bytes;
    return p;
}

static void arena_free(void *context, void *pointer) {
    (void)context;
    (void)pointer;
}

/* Decodes without malloc: the messages lie in the reader's arena, which grows to the largest. */
static hp_status_t unpack(hp_store_reader_t *reader, uint64_t question, const MDB_val *value,
                          Hanps__StoreQuestion **message_p, hp_answer_t **answer_p,
                          hp_error_t *err) {
    ProtobufCAllocator allocator = {arena_alloc, arena_free, reader};
    while (true) {
        reader->arena_used = 0;
        Hanps__StoreQuestion *m =
            hanps__store_question__unpack(&allocator, value->mv_size, value->mv_data);
        hp_answer_t *a = m == NULL ? NULL : arena_alloc(reader, (m->n_answer + 1) * sizeof *a);
        if (a != NULL) {
            *message_p = m;
            *answer_p = a;
            return HP_OK;
        }
        if (reader->arena_bytes / 64 > value->mv_size)
            return hp_fail(err, HP_CORRUPT, "store %s: question %llu is damaged",
                           reader->store->path, (unsigned long long)question);
        void *p = NULL;
        HP_TRY(hp_allocate(&p, reader->arena_bytes, 2, "a question", err));
        hp_free(reader->arena);
        reader->arena = p;
        reader->arena_bytes *= 2;
    }
}

hp_status_t hp_store_read_question(hp_store_reader_t *reader, uint64_t question, hp_question_t *out,
                                   hp_error_t *err) {
    const hp_store_info_t *info = &reader->store->info;
    if (question >= info->questions)
        return hp_fail(err, HP_INPUT, "store %s has %llu questions, no question %llu",
                       reader->store->path, (unsigned long long)info->questions,
                       (unsigned long long)question);
    MDB_val value = {0};
    HP_TRY(get(reader, HP_DB_QUESTIONS, (uint32_t)question, &value, err));
    Hanps__StoreQuestion *m = NULL;
    hp_answer_t *answer = NULL;
    HP_TRY(unpack(reader, question, &value, &m, &answer, err));
    if (m == NULL) return HP_INTERNAL;
    bool good = m->image < info->images && m->label >= -1 && m->label < info->answers &&
                m->n_token <= (size_t)info->max_tokens;
    for (size_t i = 0; good && i < m->n_token; i++) good = m->token[i] < (uint32_t)info->words;
    if (!good)
        return hp_fail(err, HP_CORRUPT, "store %s: question %llu is damaged", reader->store->path,
                       (unsigned long long)question);
    for (size_t i = 0; i < m->n_answer; i++)
        answer[i] = (hp_answer_t){.text = m->answer[i]->text,
                                  .answer_id = m->answer[i]->answer_id,
                                  .confidence = (int32_t)m->answer[i]->confidence};
    *out = (hp_question_t){
        .question_id = m->question_id,
        .image = m->image,
        .text = m->text,
        .tokens = (int)m->n_token,
        .token = (const int32_t *)m->token,
        .code = m->code,
        .question_type = m->question_type,
        .answer_type = m->answer_type,
        .target = m->target,
        .label = m->label,
        .answers = (int)m->n_answer,
        .answer = answer,
    };
    return HP_OK;
}

static hp_store_db_t db_of(hp_record_kind_t kind) {
    return kind == HP_RECORD_FEATURES ? HP_DB_FEATURES
           : kind == HP_RECORD_PIXELS ? HP_DB_PIXELS
           : kind == HP_RECORD_BOXES  ? HP_DB_BOXES
                                      : HP_DB_PICTURES;
}

static void will_need(const hp_store_t *store, const MDB_val *value) {
    uintptr_t begin = (uintptr_t)value->mv_data / store->page * store->page;
    uintptr_t end = (uintptr_t)value->mv_data + value->mv_size;
    if (value->mv_size > store->page) madvise((void *)begin, end - begin, MADV_WILLNEED);
}

hp_status_t hp_store_read_image(hp_store_reader_t *reader, uint32_t image, hp_record_kind_t kind,
                                const void **data_p, size_t *bytes_p, hp_error_t *err) {
    MDB_val value = {0};
    HP_TRY(get(reader, db_of(kind), image, &value, err));
    const hp_store_info_t *info = &reader->store->info;
    size_t pixels = (size_t)info->pixel_height * (size_t)info->pixel_width * 3;
    if (kind == HP_RECORD_PIXELS && value.mv_size != pixels)
        return hp_fail(err, HP_CORRUPT, "store %s: pixels of image %u have %zu bytes, not %zu",
                       reader->store->path, image, value.mv_size, pixels);
    if (reader->store->no_readahead) will_need(reader->store, &value);
    *data_p = value.mv_data;
    *bytes_p = value.mv_size;
    return HP_OK;
}

void hp_store_prefetch_image(hp_store_reader_t *reader, uint32_t image, hp_record_kind_t kind) {
    MDB_val value = {0};
    if (get(reader, db_of(kind), image, &value, NULL) == HP_OK) will_need(reader->store, &value);
}

hp_status_t hp_store_read_image_name(hp_store_reader_t *reader, uint32_t image, const char **name_p,
                                     hp_error_t *err) {
    MDB_val value = {0};
    HP_TRY(get(reader, HP_DB_NAMES, image, &value, err));
    if (value.mv_data == NULL || value.mv_size >= sizeof reader->name)
        return hp_fail(err, HP_CORRUPT, "store %s: name of image %u is damaged",
                       reader->store->path, image);
    memcpy(reader->name, value.mv_data, value.mv_size);
    reader->name[value.mv_size] = '\0';
    *name_p = reader->name;
    return HP_OK;
}

size_t hp_store_cells(const hp_store_info_t *info, const void *data, size_t bytes,
                      hp_sparse_t *sparse) {
    size_t cell = (size_t)info->channels * hp_dtype_size(info->feature_dtype), cells;
    if (info->feature_encoding == HP_ENCODING_RAW)
        cells = cell > 0 && bytes % cell == 0 ? bytes / cell : 0;
    else
        cells = hp_sparse_parse(info->feature_dtype, data, bytes, info->channels, sparse)
                    ? sparse->cells
                    : 0;
    bool good = info->grid_height != 0 ? cells == (size_t)info->max_cells
                                       : cells <= (size_t)info->max_cells;
    return good ? cells : 0;
}

static hp_status_t undecoded(const hp_store_reader_t *reader, uint32_t image, hp_error_t *err) {
    return hp_fail(err, HP_CORRUPT, "store %s: features of image %u do not decode",
                   reader->store->path, image);
}

/* The record of an image's features, with room for them asked for. */
static hp_status_t get_features(hp_store_reader_t *reader, uint32_t image, int capacity,
                                MDB_val *value, hp_sparse_t *sparse, size_t *cells_p,
                                hp_error_t *err) {
    const hp_store_t *store = reader->store;
    const hp_store_info_t *info = &store->info;
    HP_TRY(get(reader, HP_DB_FEATURES, image, value, err));
    size_t cells = hp_store_cells(info, value->mv_data, value->mv_size, sparse);
    if (cells == 0)
        return hp_fail(err, HP_CORRUPT,
                       "store %s: features of image %u have %zu bytes, not %s%d cells of %zu%s",
                       store->path, image, value->mv_size, info->grid_height ? "" : "1 to ",
                       info->max_cells, (size_t)info->channels * hp_dtype_size(info->feature_dtype),
                       info->feature_encoding == HP_ENCODING_SPARSE ? ", encoded" : "");
    if (cells > (size_t)capacity)
        return hp_fail(err, HP_INTERNAL, "image %u has %zu cells, there is room for %d", image,
                       cells, capacity);
    if (store->no_readahead) will_need(store, value);
    *cells_p = cells;
    return HP_OK;
}

hp_status_t hp_store_read_features(hp_store_reader_t *reader, uint32_t image, float *out,
                                   int capacity, int *cells_p, hp_error_t *err) {
    const hp_store_t *store = reader->store;
    const hp_store_info_t *info = &store->info;
    MDB_val value = {0};
    hp_sparse_t sparse;
    size_t cells = 0;
    HP_TRY(get_features(reader, image, capacity, &value, &sparse, &cells, err));
    if (info->feature_encoding == HP_ENCODING_RAW)
        hp_convert_to_f32(store->convert, info->feature_dtype, value.mv_data,
                          cells * (size_t)info->channels, out);
    else if (!hp_sparse_to_f32(store->convert, &sparse, out))
        return undecoded(reader, image, err);
    *cells_p = (int)cells;
    return HP_OK;
}

hp_status_t hp_store_read_raw(hp_store_reader_t *reader, uint32_t image, void *out, int capacity,
                              int *cells_p, hp_error_t *err) {
    MDB_val value = {0};
    hp_sparse_t sparse;
    size_t cells = 0;
    HP_TRY(get_features(reader, image, capacity, &value, &sparse, &cells, err));
    if (reader->store->info.feature_encoding == HP_ENCODING_RAW)
        memcpy(out, value.mv_data, value.mv_size);
    else if (!hp_sparse_to_raw(&sparse, out))
        return undecoded(reader, image, err);
    *cells_p = (int)cells;
    return HP_OK;
}

/* A record of f32 [n][4], n at most `most`. */
static hp_status_t read_rectangles(hp_store_reader_t *reader, hp_store_db_t db, uint32_t image,
                                   int most, float *out, int capacity, int *n_p, hp_error_t *err) {
    MDB_val value = {0};
    HP_TRY(get(reader, db, image, &value, err));
    size_t n = value.mv_size / 16;
    if (n * 16 != value.mv_size || n > (size_t)most)
        return hp_fail(err, HP_CORRUPT, "store %s: %s %u have %zu bytes", reader->store->path,
                       hp_store_db[db].record, image, value.mv_size);
    if (n > (size_t)capacity)
        return hp_fail(err, HP_INTERNAL, "%s %u: %zu of them, there is room for %d",
                       hp_store_db[db].record, image, n, capacity);
    if (n > 0) memcpy(out, value.mv_data, value.mv_size);
    *n_p = (int)n;
    return HP_OK;
}

hp_status_t hp_store_read_boxes(hp_store_reader_t *reader, uint32_t image, float *out, int capacity,
                                int *cells_p, hp_error_t *err) {
    return read_rectangles(reader, HP_DB_BOXES, image, reader->store->info.max_cells, out, capacity,
                           cells_p, err);
}

hp_status_t hp_store_read_objects(hp_store_reader_t *reader, uint32_t image, float *out,
                                  int capacity, int *objects_p, hp_error_t *err) {
    return read_rectangles(reader, HP_DB_OBJECTS, image, reader->store->info.max_objects, out,
                           capacity, objects_p, err);
}
