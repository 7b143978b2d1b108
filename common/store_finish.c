#include "common/memory.h"
#include "common/store_format.h"
#include "common/store_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static void describe(const hp_store_writer_t *w, Hanps__StoreManifest *m) {
    const hp_store_plan_t *p = &w->plan;
    m->feature_dtype = (Hanps__StoreManifest__Dtype)p->feature_dtype;
    if (p->feature_dtype != HP_DTYPE_NONE) {
        if (p->encoding != HP_ENCODING_RAW)
            m->feature_encoding = HANPS__STORE_MANIFEST__ENCODING__SPARSE;
        m->grid_height = (uint32_t)p->grid_height;
        m->grid_width = (uint32_t)p->grid_width;
        m->max_cells = (uint32_t)p->max_cells;
        m->channels = (uint32_t)p->channels;
    }
    m->pixel_height = (uint32_t)p->pixel_height;
    m->pixel_width = (uint32_t)p->pixel_width;
    m->boxes = p->boxes;
    m->max_objects = (uint32_t)p->max_objects;
    m->pictures = p->pictures;
    m->picture_count = w->picture_count;
    m->images = w->images;
    m->questions = w->questions;
    m->n_word = (size_t)w->words;
    m->word = w->word;
    m->n_answer = (size_t)w->answers;
    m->answer = w->answer;
    m->metric = (Hanps__StoreManifest__Metric)p->metric;
    m->code_bits = (uint32_t)p->code_bits;
    m->max_tokens = (uint32_t)w->max_tokens;
    m->tokenizer = (char *)p->tokenizer;
    m->command = (char *)p->command;
    m->made_by = (char *)"hanps";
    m->block_bytes = HP_STORE_BLOCK;
}

static hp_status_t write_synced(const char *folder, const char *name, const void *data,
                                size_t bytes, hp_error_t *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool good = fd >= 0;
    for (size_t done = 0; good && done < bytes;) {
        ssize_t n = write(fd, (const char *)data + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        good = n > 0;
        done += good ? (size_t)n : 0;
    }
    good = good && fsync(fd) == 0;
    if (!good) hp_fail_errno(err, HP_IO, "writing %s", path);
    if (fd >= 0) close(fd);
    return good ? HP_OK : HP_IO;
}

static hp_status_t write_manifest(hp_store_writer_t *w, Hanps__StoreManifest *m, hp_error_t *err) {
    Hanps__StoreFile file = HANPS__STORE_FILE__INIT;
    XXH128_canonical_t digest;
    void *inner = NULL, *outer = NULL;
    size_t bytes = hanps__store_manifest__get_packed_size(m);
    hp_status_t status = hp_allocate(&inner, bytes, 1, "a manifest", err);
    if (status == HP_OK) {
        hanps__store_manifest__pack(m, inner);
        XXH128_canonicalFromHash(&digest, XXH3_128bits(inner, bytes));
        file.version = hp_store_version((int)m->feature_encoding);
        file.manifest = (ProtobufCBinaryData){bytes, inner};
        file.digest = (ProtobufCBinaryData){sizeof digest, (void *)&digest};
        bytes = hanps__store_file__get_packed_size(&file);
        status = hp_allocate(&outer, bytes, 1, "a manifest", err);
    }
    if (status == HP_OK) {
        hanps__store_file__pack(&file, outer);
        status = write_synced(w->partial, HP_STORE_MANIFEST, outer, bytes, err);
    }
    hp_free(inner);
    hp_free(outer);
    return status;
}

/* SOURCE_DATE_EPOCH, as other tools have it, makes equal stores equal in every byte. */
static void now_utc(char *text, size_t size) {
    const char *fixed = getenv("SOURCE_DATE_EPOCH");
    time_t now = fixed != NULL ? (time_t)strtoll(fixed, NULL, 10) : time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc) == NULL || strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        text[0] = '\0';
}

hp_status_t hp_store_write_manifest(hp_store_writer_t *w, hp_error_t *err) {
    Hanps__StoreManifest m = HANPS__STORE_MANIFEST__INIT;
    char created[64];
    now_utc(created, sizeof created);
    m.created = created;
    describe(w, &m);
    void *splits = NULL, *split_p = NULL, *sources = NULL, *source_p = NULL;
    size_t ns = (size_t)w->splits, no = (size_t)w->plan.sources;
    hp_status_t status = hp_allocate(&splits, ns, sizeof(Hanps__StoreManifest__Split), "m", err);
    if (status == HP_OK) status = hp_allocate(&split_p, ns, sizeof(void *), "m", err);
    if (status == HP_OK)
        status = hp_allocate(&sources, no, sizeof(Hanps__StoreManifest__Source), "m", err);
    if (status == HP_OK) status = hp_allocate(&source_p, no, sizeof(void *), "m", err);
    if (status == HP_OK) status = hp_store_blocks_finish(w, &m.data_bytes, &m.n_block_xxh3, err);
    if (status == HP_OK) {
        m.block_xxh3 = w->blocks.hash;
        m.n_split = ns;
        m.split = split_p;
        for (size_t i = 0; i < ns; i++) {
            Hanps__StoreManifest__Split *s = (Hanps__StoreManifest__Split *)splits + i;
            hanps__store_manifest__split__init(s);
            s->name = w->split[i].name;
            s->first = w->split[i].first;
            s->count = w->split[i].count;
            m.split[i] = s;
        }
        m.n_source = no;
        m.source = source_p;
        for (size_t i = 0; i < no; i++) {
            Hanps__StoreManifest__Source *s = (Hanps__StoreManifest__Source *)sources + i;
            hanps__store_manifest__source__init(s);
            s->name = (char *)w->plan.source[i].name;
            s->bytes = w->plan.source[i].bytes;
            m.source[i] = s;
        }
        status = write_manifest(w, &m, err);
    }
    hp_free(splits);
    hp_free(split_p);
    hp_free(sources);
    hp_free(source_p);
    return status;
}

static hp_status_t sync_folder(const char *path, hp_error_t *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool good = fd >= 0 && fsync(fd) == 0;
    if (!good) hp_fail_errno(err, HP_IO, "syncing %s", path);
    if (fd >= 0) close(fd);
    return good ? HP_OK : HP_IO;
}

hp_status_t hp_store_move_into_place(hp_store_writer_t *w, hp_error_t *err) {
    HP_TRY(sync_folder(w->partial, err));
    /* Of two imports to one name the second must not replace the first's store. */
    int code = renameat2(AT_FDCWD, w->partial, AT_FDCWD, w->path, RENAME_NOREPLACE);
    if (code != 0 && (errno == ENOSYS || errno == EINVAL)) code = rename(w->partial, w->path);
    if (code != 0) return hp_fail_errno(err, HP_IO, "naming %s %s", w->partial, w->path);
    char name[4096];
    snprintf(name, sizeof name, "%s/%s", w->path, HP_STORE_IDENTITY);
    unlink(name);
    snprintf(name, sizeof name, "%s", w->path);
    char *slash = strrchr(name, '/');
    if (slash == NULL) return sync_folder(".", err);
    slash[slash == name] = '\0';
    return sync_folder(name, err);
}
