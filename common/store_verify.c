#include "common/store_verify.h"

#include "common/memory.h"
#include "common/store.h"
#include "common/store_format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { FEW = 10 }; /* lines of one kind */

typedef struct {
    const char *path;
    const hp_store_verify_hooks_t *hooks;
    hp_store_verify_t *result;
} verify_t;

static void HP_PRINTF(2, 3) found(verify_t *v, const char *fmt, ...) {
    char line[1200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    v->result->findings++;
    if (v->hooks->found != NULL) v->hooks->found(v->hooks->context, line);
}

/* ---- the file's blocks --------------------------------------------------------------------- */

static hp_status_t read_block(int fd, void *buffer, uint64_t at, size_t want, size_t *got_p,
                              hp_error_t *err) {
    size_t done = 0;
    while (done < want) {
        ssize_t n = pread(fd, (char *)buffer + done, want - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return hp_fail_errno(err, HP_IO, "reading %s at %" PRIu64, HP_STORE_DATA, at);
        if (n == 0) break;
        done += (size_t)n;
    }
    *got_p = done;
    return HP_OK;
}

static hp_status_t check_blocks(verify_t *v, const Hanps__StoreManifest *m, int fd,
                                hp_error_t *err) {
    void *buffer = NULL;
    uint64_t bad = 0;
    if (m->block_bytes == 0 || m->block_bytes > (uint64_t)1 << 30 ||
        m->n_block_xxh3 != (m->data_bytes + m->block_bytes - 1) / m->block_bytes)
        return hp_fail(err, HP_CORRUPT, "store %s: impossible blocks", v->path);
    HP_TRY(hp_allocate(&buffer, m->block_bytes, 1, "a block", err));
    hp_status_t status = HP_OK;
    for (size_t i = 0; status == HP_OK && i < m->n_block_xxh3; i++) {
        uint64_t at = i * m->block_bytes, rest = m->data_bytes - at;
        size_t want = (size_t)(rest < m->block_bytes ? rest : m->block_bytes), got = 0;
        status = read_block(fd, buffer, at, want, &got, err);
        if (status != HP_OK) break;
        if (got < want) break; /* truncated: said already */
        if (XXH3_64bits(buffer, want) != m->block_xxh3[i] && ++bad <= FEW)
            found(v, "%s is damaged between bytes %" PRIu64 " and %" PRIu64, HP_STORE_DATA, at,
                  at + want);
        if (v->hooks->progress != NULL)
            v->hooks->progress(v->hooks->context, at + want, m->data_bytes);
    }
    if (bad > FEW) found(v, "and in %" PRIu64 " more blocks", bad - FEW);
    hp_free(buffer);
    return status;
}

/* ---- the records, in a child process ------------------------------------------------------- */

typedef struct {
    FILE *out;
    hp_store_t *store;
    hp_store_reader_t *reader;
    uint64_t records, findings;
} walk_t;

static void HP_PRINTF(3, 4) tell(walk_t *w, uint64_t *count, const char *fmt, ...) {
    w->findings++;
    if (++*count > FEW) return;
    va_list args;
    va_start(args, fmt);
    vfprintf(w->out, fmt, args);
    va_end(args);
    fputc('\n', w->out);
    fflush(w->out); /* what is known before a crash */
}

static int get(walk_t *w, hp_store_db_t db, const void *bytes, size_t size, MDB_val *value) {
    MDB_val key = {size, (void *)bytes};
    return mdb_get(hp_store_reader_txn(w->reader), hp_store_dbi(w->store, db), &key, value);
}

/* Is the record what the manifest's shapes say? */
static bool fits(const hp_store_info_t *info, hp_store_db_t db, const MDB_val *value) {
    hp_sparse_t sparse;
    if (db == HP_DB_PIXELS)
        return value->mv_size == (size_t)info->pixel_height * (size_t)info->pixel_width * 3;
    if (db != HP_DB_FEATURES) return true;
    return hp_store_cells(info, value->mv_data, value->mv_size, &sparse) > 0 &&
           (info->feature_encoding == HP_ENCODING_RAW || hp_sparse_check(&sparse));
}

static void check_records(walk_t *w, hp_store_db_t db, uint64_t count, bool optional) {
    const char *record = hp_store_db[db].record;
    uint64_t bad = 0, hash = 0;
    for (uint64_t i = 0; i < count; i++) {
        unsigned char key[4], hash_key[5];
        MDB_val value, stored;
        hp_store_key((uint32_t)i, key);
        size_t bytes = hp_store_hash_key(db, (uint32_t)i, hash_key);
        int code = get(w, db, key, sizeof key, &value);
        int hashed = get(w, HP_DB_HASHES, hash_key, bytes, &stored);
        if (code == MDB_NOTFOUND && hashed == MDB_NOTFOUND && optional) continue;
        if (code == MDB_NOTFOUND) {
            tell(w, &bad, "%s %" PRIu64 " is missing", record, i);
            continue;
        }
        if (code != 0 || hashed != 0 || stored.mv_size != sizeof hash) {
            tell(w, &bad, "%s %" PRIu64 " cannot be read: %s", record, i,
                 code != 0 ? mdb_strerror(code) : "it has no hash");
            continue;
        }
        memcpy(&hash, stored.mv_data, sizeof hash);
        if (hash != XXH3_64bits(value.mv_data, value.mv_size))
            tell(w, &bad, "%s %" PRIu64 " is damaged", record, i);
        else if (!fits(hp_store_info(w->store), db, &value))
            tell(w, &bad, "%s %" PRIu64 " has %zu bytes: not the manifest's shape", record, i,
                 value.mv_size);
        w->records++;
    }
    if (bad > FEW) {
        fprintf(w->out, "and %" PRIu64 " more like this\n", bad - FEW);
        w->findings++;
    }
}

static void check_questions(walk_t *w) {
    uint64_t bad = 0;
    hp_error_t err;
    hp_question_t q;
    for (uint64_t i = 0; i < hp_store_info(w->store)->questions; i++)
        if (hp_store_read_question(w->reader, i, &q, &err) == HP_CORRUPT)
            tell(w, &bad, "%s", err.text);
        else if (q.image != hp_store_question_image(w->store)[i] ||
                 q.label != hp_store_question_label(w->store)[i])
            tell(w, &bad, "question %" PRIu64 " and its columns differ", i);
}

static void walk(const char *path, FILE *out) {
    walk_t w = {.out = out};
    hp_error_t err = {0};
    uint64_t one = 0;
    if (hp_store_open_as(path, false, &w.store, &err) != HP_OK ||
        hp_store_reader_open(w.store, &w.reader, &err) != HP_OK) {
        tell(&w, &one, "%s", err.text);
    } else {
        const hp_store_info_t *info = hp_store_info(w.store);
        check_records(&w, HP_DB_NAMES, info->images, false);
        if (info->feature_dtype != HP_DTYPE_NONE)
            check_records(&w, HP_DB_FEATURES, info->images, false);
        if (info->boxes) check_records(&w, HP_DB_BOXES, info->images, false);
        if (info->max_objects > 0) check_records(&w, HP_DB_OBJECTS, info->images, false);
        if (info->pixel_height != 0) check_records(&w, HP_DB_PIXELS, info->images, false);
        if (info->pictures) check_records(&w, HP_DB_PICTURES, info->images, true);
        check_records(&w, HP_DB_QUESTIONS, info->questions, false);
        if (w.findings == 0) check_questions(&w);
    }
    hp_store_reader_close(w.reader);
    hp_store_close(w.store);
    fprintf(out, "=%" PRIu64 "\n", w.records);
    fflush(out);
}

static void child(const char *path, int to) {
    int null = open("/dev/null", O_WRONLY);
    if (null >= 0) dup2(null, STDERR_FILENO); /* LMDB's last words */
    FILE *out = fdopen(to, "w");
    if (out == NULL) _exit(2);
    walk(path, out);
    _exit(0);
}

static hp_status_t check_in_child(verify_t *v, hp_error_t *err) {
    int pipes[2];
    if (pipe2(pipes, O_CLOEXEC) != 0) return hp_fail_errno(err, HP_IO, "a pipe");
    pid_t pid = fork();
    if (pid < 0) {
        close(pipes[0]);
        close(pipes[1]);
        return hp_fail_errno(err, HP_IO, "a process");
    }
    if (pid == 0) {
        close(pipes[0]);
        child(v->path, pipes[1]);
    }
    close(pipes[1]);
    FILE *in = fdopen(pipes[0], "r");
    char line[1200];
    bool done = false;
    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '=') {
            v->result->records = strtoull(line + 1, NULL, 10);
            done = true;
        } else {
            found(v, "%s", line);
        }
    }
    if (in != NULL)
        fclose(in);
    else
        close(pipes[0]);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (!done) found(v, "LMDB's own pages are damaged: the records cannot be listed");
    return HP_OK;
}

hp_status_t hp_store_verify(const char *path, const hp_store_verify_hooks_t *hooks,
                            hp_store_verify_t *result, hp_error_t *err) {
    Hanps__StoreManifest *m = NULL;
    char digest[33], name[4096];
    verify_t v = {path, hooks, result};
    *result = (hp_store_verify_t){0};
    HP_TRY(hp_store_load_manifest(path, &m, digest, err));
    snprintf(name, sizeof name, "%s/%s", path, HP_STORE_DATA);
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    struct stat st = {0};
    hp_status_t status = HP_OK;
    if (fd < 0 || fstat(fd, &st) != 0)
        status = hp_fail_errno(err, HP_CORRUPT, "store %s: %s", path, HP_STORE_DATA);
    if (status == HP_OK) {
        result->bytes = (uint64_t)st.st_size;
        if (result->bytes != m->data_bytes)
            found(&v, "%s has %" PRIu64 " bytes, the manifest says %" PRIu64, HP_STORE_DATA,
                  result->bytes, m->data_bytes);
        status = check_blocks(&v, m, fd, err);
    }
    if (fd >= 0) close(fd);
    if (status == HP_OK && result->bytes >= m->data_bytes) status = check_in_child(&v, err);
    hanps__store_manifest__free_unpacked(m, NULL);
    HP_TRY(status);
    if (result->findings > 0) return hp_fail(err, HP_CORRUPT, "store %s is damaged", path);
    return HP_OK;
}
