/* The manifest, and the names of the databases. */
#include "common/memory.h"
#include "common/store_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

const hp_store_db_row_t hp_store_db[HP_DB_COUNT] = {
    {"features", 'F', "features of image"},
    {"pixels", 'P', "pixels of image"},
    {"pictures", 'I', "picture of image"},
    {"boxes", 'B', "boxes of image"},
    {"objects", 'O', "objects of image"},
    {"names", 'N', "name of image"},
    {"questions", 'Q', "question"},
    {"columns", 0, "column"},
    {"hashes", 0, "hash"},
};

void hp_store_key(uint32_t ordinal, unsigned char key[4]) {
    for (int i = 0; i < 4; i++) key[i] = (unsigned char)(ordinal >> (24 - 8 * i));
}

size_t hp_store_hash_key(hp_store_db_t db, uint32_t ordinal, unsigned char key[5]) {
    key[0] = (unsigned char)hp_store_db[db].letter;
    hp_store_key(ordinal, key + 1);
    return 5;
}

unsigned hp_store_version(int encoding) {
    return encoding == HP_ENCODING_RAW ? HP_STORE_VERSION : HP_STORE_VERSION_ENCODED;
}

static hp_status_t read_file(const char *path, const char *name, unsigned char **data_p,
                             size_t *bytes_p, hp_error_t *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return hp_fail_errno(err, HP_INPUT, "store %s: no readable %s", name, path);
    struct stat st;
    hp_status_t status = HP_OK;
    void *data = NULL;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)1 << 30)
        status = hp_fail(err, HP_INPUT, "store %s: %s is not a manifest", name, path);
    if (status == HP_OK) status = hp_allocate(&data, (size_t)st.st_size, 1, "a manifest", err);
    size_t done = 0;
    while (status == HP_OK && done < (size_t)st.st_size) {
        ssize_t n = read(fd, (char *)data + done, (size_t)st.st_size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) status = hp_fail_errno(err, HP_IO, "store %s: reading %s", name, path);
        if (n <= 0) break;
        done += (size_t)n;
    }
    close(fd);
    if (status != HP_OK) {
        hp_free(data);
        return status;
    }
    *data_p = data;
    *bytes_p = done;
    return HP_OK;
}

static hp_status_t parse_manifest(const char *path, const unsigned char *data, size_t bytes,
                                  Hanps__StoreManifest **manifest_p, char digest[33],
                                  hp_error_t *err) {
    Hanps__StoreFile *file = hanps__store_file__unpack(NULL, bytes, data);
    if (file == NULL)
        return hp_fail(err, HP_CORRUPT, "store %s: %s is damaged (it does not parse)", path,
                       HP_STORE_MANIFEST);
    hp_status_t status = HP_OK;
    XXH128_canonical_t hash;
    XXH128_canonicalFromHash(&hash, XXH3_128bits(file->manifest.data, file->manifest.len));
    if (file->version == 0) /* never written: an empty file, say */
        status = hp_fail(err, HP_CORRUPT, "store %s: %s is damaged (it has no version)", path,
                         HP_STORE_MANIFEST);
    else if (file->version > HP_STORE_VERSION_ENCODED)
        status =
            hp_fail(err, HP_INPUT, "store %s is of format version %u; this program reads 1 to %d",
                    path, file->version, HP_STORE_VERSION_ENCODED);
    else if (file->digest.len != sizeof hash || memcmp(file->digest.data, &hash, sizeof hash) != 0)
        status = hp_fail(err, HP_CORRUPT, "store %s: %s is damaged (it does not match its hash)",
                         path, HP_STORE_MANIFEST);
    Hanps__StoreManifest *manifest = NULL;
    if (status == HP_OK) {
        manifest = hanps__store_manifest__unpack(NULL, file->manifest.len, file->manifest.data);
        if (manifest == NULL)
            status =
                hp_fail(err, HP_CORRUPT, "store %s: %s does not parse", path, HP_STORE_MANIFEST);
    }
    if (status == HP_OK && file->version != hp_store_version(manifest->feature_encoding)) {
        status = hp_fail(err, HP_CORRUPT, "store %s: %s is of version %u, its encoding is not",
                         path, HP_STORE_MANIFEST, file->version);
        hanps__store_manifest__free_unpacked(manifest, NULL);
    }
    hanps__store_file__free_unpacked(file, NULL);
    if (status != HP_OK) return status;
    for (size_t i = 0; i < sizeof hash; i++)
        snprintf(digest + 2 * i, 3, "%02x", ((const unsigned char *)&hash)[i]);
    *manifest_p = manifest;
    return HP_OK;
}

hp_status_t hp_store_load_manifest(const char *path, Hanps__StoreManifest **manifest_p,
                                   char digest[33], hp_error_t *err) {
    char name[4096];
    struct stat st;
    if (snprintf(name, sizeof name, "%s/%s", path, HP_STORE_MANIFEST) >= (int)sizeof name)
        return hp_fail(err, HP_INPUT, "store: the path is too long");
    if (stat(path, &st) != 0) {
        char partial[4096];
        snprintf(partial, sizeof partial, "%s%s", path, HP_STORE_PARTIAL);
        if (access(partial, F_OK) == 0)
            return hp_fail(err, HP_INPUT,
                           "no store %s: %s is an import that has not finished; run it again", path,
                           partial);
        return hp_fail_errno(err, HP_INPUT, "no store %s", path);
    }
    if (!S_ISDIR(st.st_mode))
        return hp_fail(err, HP_INPUT, "%s is not a store (a store is a folder)", path);
    if (access(name, F_OK) != 0)
        return hp_fail(err, HP_INPUT, "%s is not a whole store: it has no %s", path,
                       HP_STORE_MANIFEST);
    unsigned char *data = NULL;
    size_t bytes = 0;
    HP_TRY(read_file(name, path, &data, &bytes, err));
    hp_status_t status = parse_manifest(path, data, bytes, manifest_p, digest, err);
    hp_free(data);
    return status;
}

const char *hp_store_check_manifest(const Hanps__StoreManifest *m) {
    uint64_t next = 0;
    if (m->images > UINT32_MAX || m->questions > UINT32_MAX) return "counts";
    if (m->feature_dtype > HANPS__STORE_MANIFEST__DTYPE__U8) return "feature dtype";
    if (m->feature_encoding > HANPS__STORE_MANIFEST__ENCODING__SPARSE) return "feature encoding";
    if (m->metric > HANPS__STORE_MANIFEST__METRIC__EXACT) return "metric";
    if (m->feature_dtype != HANPS__STORE_MANIFEST__DTYPE__NONE &&
        (m->max_cells == 0 || m->channels == 0 || m->max_cells > 1 << 24 || m->channels > 1 << 24))
        return "feature shape";
    if ((m->grid_height != 0 || m->grid_width != 0) &&
        (uint64_t)m->grid_height * m->grid_width != m->max_cells)
        return "grid";
    if (m->boxes && m->feature_dtype == HANPS__STORE_MANIFEST__DTYPE__NONE) return "boxes";
    if (m->pixel_height > 1 << 20 || m->pixel_width > 1 << 20 ||
        (m->pixel_height == 0) != (m->pixel_width == 0))
        return "pixel shape";
    if (m->max_objects > 1 << 20 || (m->max_objects > 0 && m->pixel_height == 0)) return "objects";
    if (m->n_word > INT32_MAX || m->n_answer > INT32_MAX || m->n_split > 10000 ||
        m->n_source > 10000)
        return "counts";
    if (m->code_bits > 32 || m->max_tokens > 1 << 24) return "limits";
    for (size_t i = 0; i < m->n_split; i++) {
        if (m->split[i]->first != next || m->split[i]->count > m->questions - next ||
            strlen(m->split[i]->name) >= sizeof((hp_split_t *)0)->name)
            return "splits";
        next += m->split[i]->count;
    }
    return next != m->questions ? "splits" : NULL;
}
