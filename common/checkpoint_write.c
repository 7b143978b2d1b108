/* Writing a checkpoint: shards by their servers, the manifest by server 0. */
#include "common/checkpoint_format.h"
#include "common/file.h"
#include "common/memory.h"
#include "proto/checkpoint.pb-c.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- a shard ---- */

static uint64_t data_hash(const hp_shard_chunk_t *c, bool moments, XXH3_state_t *state) {
    size_t bytes = (size_t)(c->end - c->begin) * sizeof(float);
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, c->weights, bytes);
    if (moments) {
        XXH3_64bits_update(state, c->first_moment, bytes);
        XXH3_64bits_update(state, c->second_moment, bytes);
    }
    return XXH3_64bits_digest(state);
}

static hp_status_t write_chunk(int fd, const char *path, const hp_shard_chunk_t *c,
                               XXH3_state_t *headers, XXH3_state_t *data, uint64_t *bytes_p,
                               hp_error_t *err) {
    bool moments = c->first_moment != NULL && c->second_moment != NULL;
    if (c->begin < 0 || c->begin >= c->end || c->weights == NULL)
        return hp_fail(err, HP_INTERNAL, "chunk [%" PRId64 ", %" PRId64 ") of a shard", c->begin,
                       c->end);
    hp_chunk_header_t h = {.magic = HP_CHUNK_MAGIC,
                           .flags = moments ? HP_CHUNK_MOMENTS : 0,
                           .begin = c->begin,
                           .end = c->end,
                           .version = c->version,
                           .updates = c->updates,
                           .data_hash = data_hash(c, moments, data)};
    h.hash = XXH3_64bits(&h, offsetof(hp_chunk_header_t, hash));
    XXH3_128bits_update(headers, &h, sizeof h);
    size_t bytes = (size_t)(c->end - c->begin) * sizeof(float);
    HP_TRY(hp_write_all(fd, &h, sizeof h, path, err));
    HP_TRY(hp_write_all(fd, c->weights, bytes, path, err));
    if (moments) {
        HP_TRY(hp_write_all(fd, c->first_moment, bytes, path, err));
        HP_TRY(hp_write_all(fd, c->second_moment, bytes, path, err));
    }
    *bytes_p += sizeof h + bytes * (moments ? 3 : 1);
    return HP_OK;
}

static hp_status_t write_chunks(int fd, const char *path, const hp_shard_header_t *head,
                                const hp_shard_chunk_t *chunk, hp_shard_record_t *record,
                                hp_error_t *err) {
    XXH3_state_t *headers = XXH3_createState(), *data = XXH3_createState();
    hp_status_t status = HP_OK;
    if (headers == NULL || data == NULL) {
        status = hp_fail(err, HP_MEMORY, "out of memory for a hash");
    } else {
        XXH3_128bits_reset(headers);
        XXH3_128bits_update(headers, head, sizeof *head);
        record->bytes = sizeof *head;
        status = hp_write_all(fd, head, sizeof *head, path, err);
        for (int i = 0; i < (int)head->chunks && status == HP_OK; i++)
            status = write_chunk(fd, path, &chunk[i], headers, data, &record->bytes, err);
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(headers));
        memcpy(record->hash, canonical.digest, sizeof record->hash);
    }
    XXH3_freeState(headers);
    XXH3_freeState(data);
    return status;
}

static hp_status_t make_folder(const char *path, hp_error_t *err) {
    if (mkdir(path, 0777) != 0 && errno != EEXIST)
        return hp_fail_errno(err, HP_IO, "cannot make folder '%s'", path);
    return HP_OK;
}

hp_status_t hp_checkpoint_write_shard(const char *run, int64_t step, int server, int servers,
                                      int chunks, const hp_shard_chunk_t *chunk,
                                      hp_shard_record_t *record_p, hp_error_t *err) {
    char root[HP_CHECKPOINT_PATH], folder[HP_CHECKPOINT_PATH], path[HP_CHECKPOINT_PATH],
        part[HP_CHECKPOINT_PATH], name[64], part_name[80];
    HP_TRY(hp_checkpoint_root(run, root, err));
    HP_TRY(hp_checkpoint_folder(run, step, ".tmp", folder, err));
    hp_checkpoint_shard_name(server, servers, name);
    snprintf(part_name, sizeof part_name, "%s.part", name);
    HP_TRY(hp_checkpoint_file(folder, name, path, err));
    HP_TRY(hp_checkpoint_file(folder, part_name, part, err));
    HP_TRY(make_folder(root, err));
    HP_TRY(make_folder(folder, err));
    hp_shard_header_t head = {.magic = HP_SHARD_MAGIC,
                              .version = HP_CHECKPOINT_VERSION,
                              .shard = (uint32_t)server,
                              .shards = (uint32_t)servers,
                              .chunks = (uint32_t)chunks,
                              .step = step};
    head.hash = XXH3_64bits(&head, offsetof(hp_shard_header_t, hash));
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return hp_fail_errno(err, HP_IO, "cannot write '%s'", part);
    hp_shard_record_t record = {.server = server, .chunks = chunks};
    hp_status_t status = write_chunks(fd, part, &head, chunk, &record, err);
    hp_status_t synced = hp_sync_close(fd, part, status == HP_OK ? err : NULL);
    if (status == HP_OK) status = synced;
    if (status == HP_OK && rename(part, path) != 0)
        status = hp_fail_errno(err, HP_IO, "cannot rename '%s' to '%s'", part, path);
    if (status == HP_OK) {
        status = hp_sync_folder(folder, err);
        if (status != HP_OK) unlink(path);
    } else {
        unlink(part);
    }
    if (status != HP_OK) {
        rmdir(folder); /* if it is empty: others may be writing theirs */
        return status;
    }
    *record_p = record;
    return HP_OK;
}

/* ---- the manifest ---- */

static hp_status_t read_back(const char *folder, int64_t step, int servers,
                             const hp_shard_record_t *record, hp_chunk_place_t *place,
                             hp_error_t *err) {
    char name[64], path[HP_CHECKPOINT_PATH];
    uint8_t digest[16];
    struct stat st;
    hp_checkpoint_shard_name(record->server, servers, name);
    HP_TRY(hp_checkpoint_file(folder, name, path, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hp_fail_errno(err, HP_IO, "server %d wrote '%s', but here it cannot be read",
                             record->server, path);
    hp_status_t status = HP_OK;
    if (fstat(fd, &st) != 0)
        status = hp_fail_errno(err, HP_IO, "cannot read '%s'", path);
    else if ((uint64_t)st.st_size != record->bytes)
        status = hp_fail(err, HP_CORRUPT, "'%s' has %lld bytes; its server wrote %" PRIu64, path,
                         (long long)st.st_size, record->bytes);
    else
        status = hp_shard_walk(fd, path, record->server, servers, step, record->chunks,
                               record->bytes, place, digest, err);
    if (status == HP_OK && memcmp(digest, record->hash, sizeof digest) != 0)
        status = hp_fail(err, HP_CORRUPT, "'%s' is not what its server wrote", path);
    close(fd);
    return status;
}

/* All the arrays a packed manifest points at, in one allocation each kind. */
typedef struct {
    Hanps__CheckpointManifest m;
    Hanps__CheckpointManifest__Parameter *parameter, **parameter_p;
    Hanps__CheckpointManifest__Shard *shard, **shard_p;
    Hanps__CheckpointManifest__Chunk *chunk, **chunk_p;
    char (*name)[64];
    char date[32];
} draft_t;

static hp_status_t plan_draft(draft_t *d, hp_arena_t *arena, int rows, int servers, int chunks,
                              hp_error_t *err) {
    for (int pass = 0; pass < 2; pass++) {
        d->parameter = hp_arena_take(arena, (size_t)rows, sizeof *d->parameter);
        d->parameter_p = hp_arena_take(arena, (size_t)rows, sizeof *d->parameter_p);
        d->shard = hp_arena_take(arena, (size_t)servers, sizeof *d->shard);
        d->shard_p = hp_arena_take(arena, (size_t)servers, sizeof *d->shard_p);
        d->name = hp_arena_take(arena, (size_t)servers, sizeof *d->name);
        d->chunk = hp_arena_take(arena, (size_t)chunks, sizeof *d->chunk);
        d->chunk_p = hp_arena_take(arena, (size_t)chunks, sizeof *d->chunk_p);
        if (pass == 0) HP_TRY(hp_arena_commit(arena, "a manifest", err));
    }
    return HP_OK;
}

static void draft_rows(draft_t *d, const hp_params_t *params) {
    for (int i = 0; i < params->count; i++) {
        hp_param_t *p = &params->param[i];
        Hanps__CheckpointManifest__Parameter *q = d->parameter_p[i] = &d->parameter[i];
        hanps__checkpoint_manifest__parameter__init(q);
        q->name = p->name;
        q->n_shape = (size_t)p->dims;
        q->shape = p->shape;
        q->offset = p->offset;
        q->kind = p->kind == HP_PARAM_BUFFER ? HANPS__CHECKPOINT_MANIFEST__KIND__BUFFER
                                             : HANPS__CHECKPOINT_MANIFEST__KIND__WEIGHT;
        q->sparse_rows = p->sparse_rows;
        q->forward_order = (uint32_t)p->forward_order;
        q->init = (uint32_t)p->init;
        q->init_scale = p->init_scale;
    }
    d->m.n_parameters = (size_t)params->count;
    d->m.parameters = d->parameter_p;
    d->m.elements = params->total;
}

static void draft_shards(draft_t *d, int servers, const hp_shard_record_t *record, int chunks,
                         const hp_chunk_place_t *place) {
    for (int i = 0; i < servers; i++) {
        Hanps__CheckpointManifest__Shard *s = d->shard_p[i] = &d->shard[i];
        hanps__checkpoint_manifest__shard__init(s);
        hp_checkpoint_shard_name(i, servers, d->name[i]);
        s->file = d->name[i];
        s->bytes = record[i].bytes;
        s->digest.len = sizeof record[i].hash;
        s->digest.data = (uint8_t *)(uintptr_t)record[i].hash; /* packing only reads */
    }
    for (int i = 0; i < chunks; i++) {
        Hanps__CheckpointManifest__Chunk *c = d->chunk_p[i] = &d->chunk[i];
        hanps__checkpoint_manifest__chunk__init(c);
        c->begin = place[i].begin;
        c->end = place[i].end;
        c->shard = (uint32_t)place[i].shard;
        c->offset = place[i].offset;
        c->moments = place[i].moments;
        c->hash = place[i].hash;
        c->version = place[i].version;
        c->updates = place[i].updates;
    }
    d->m.n_shards = (size_t)servers;
    d->m.shards = d->shard_p;
    d->m.n_chunks = (size_t)chunks;
    d->m.chunks = d->chunk_p;
}

static char *text_or_empty(const char *text) {
    return (char *)(uintptr_t)(text == NULL ? "" : text); /* packing only reads */
}

static void draft_position(draft_t *d, const hp_position_t *p, const char *config_yaml) {
    time_t now = time(NULL);
    struct tm utc;
    gmtime_r(&now, &utc);
    strftime(d->date, sizeof d->date, "%Y-%m-%dT%H:%M:%SZ", &utc);
    d->m.step = p->step;
    d->m.date = d->date;
    d->m.next_unit = p->next_unit;
    d->m.n_outstanding_units = (size_t)p->outstanding;
    d->m.outstanding_units = (uint64_t *)(uintptr_t)p->outstanding_unit;
    d->m.units_repeated = p->units_repeated;
    d->m.sync_shards = (uint32_t)p->sync_shards;
    d->m.evaluated = p->evaluated;
    d->m.best_step = p->best_step;
    d->m.best_accuracy = p->best_accuracy;
    d->m.poorer = (uint32_t)p->poorer;
    d->m.epoch = p->epoch;
    d->m.incarnation = p->incarnation;
    d->m.workers = (uint32_t)p->workers;
    d->m.config = text_or_empty(config_yaml);
    d->m.store_digest = text_or_empty(p->store_digest);
    d->m.kernel = text_or_empty(p->kernel);
    d->m.pixel_height = (uint32_t)p->pixel_height;
    d->m.pixel_width = (uint32_t)p->pixel_width;
}

static hp_status_t write_manifest(const char *folder, const Hanps__CheckpointManifest *m,
                                  hp_error_t *err) {
    char path[HP_CHECKPOINT_PATH];
    HP_TRY(hp_checkpoint_file(folder, HP_CHECKPOINT_MANIFEST, path, err));
    void *inner = NULL, *outer = NULL;
    uint8_t digest[16];
    size_t bytes = hanps__checkpoint_manifest__get_packed_size(m);
    HP_TRY(hp_allocate(&inner, bytes, 1, "a manifest", err));
    hanps__checkpoint_manifest__pack(m, inner);
    hp_digest(inner, bytes, digest);
    Hanps__CheckpointFile file = HANPS__CHECKPOINT_FILE__INIT;
    file.version = HP_CHECKPOINT_VERSION;
    file.manifest = (ProtobufCBinaryData){bytes, inner};
    file.digest = (ProtobufCBinaryData){sizeof digest, digest};
    size_t size = hanps__checkpoint_file__get_packed_size(&file);
    hp_status_t status = hp_allocate(&outer, size, 1, "a manifest", err);
    if (status == HP_OK) {
        hanps__checkpoint_file__pack(&file, outer);
        status = hp_write_file(path, outer, size, err);
    }
    hp_free(inner);
    hp_free(outer);
    return status;
}

/* Files of an earlier attempt, on another number of servers. */
static void remove_strangers(const char *folder, const Hanps__CheckpointManifest *m) {
    DIR *dir = opendir(folder);
    if (dir == NULL) return;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        bool known = strcmp(e->d_name, HP_CHECKPOINT_MANIFEST) == 0;
        for (size_t i = 0; i < m->n_shards && !known; i++)
            known = strcmp(e->d_name, m->shards[i]->file) == 0;
        if (!known && e->d_name[0] != '.') unlinkat(dirfd(dir), e->d_name, 0);
    }
    closedir(dir);
}

/* The folder is whole: it takes its name, and the place of one of the same step. */
static hp_status_t put_in_place(const char *run, int64_t step, hp_error_t *err) {
    char root[HP_CHECKPOINT_PATH], written[HP_CHECKPOINT_PATH], final[HP_CHECKPOINT_PATH],
        old[HP_CHECKPOINT_PATH];
    HP_TRY(hp_checkpoint_root(run, root, err));
    HP_TRY(hp_checkpoint_folder(run, step, ".tmp", written, err));
    HP_TRY(hp_checkpoint_folder(run, step, "", final, err));
    HP_TRY(hp_checkpoint_folder(run, step, ".old", old, err));
    (void)hp_checkpoint_remove_folder(old);
    bool replaces = rename(final, old) == 0;
    if (!replaces && errno != ENOENT)
        return hp_fail_errno(err, HP_IO, "cannot rename '%s' to '%s'", final, old);
    if (rename(written, final) != 0) {
        hp_status_t status =
            hp_fail_errno(err, HP_IO, "cannot rename '%s' to '%s'", written, final);
        if (replaces) (void)rename(old, final);
        return status;
    }
    hp_status_t status = hp_sync_folder(root, err);
    if (status != HP_OK) { /* it may be gone after a power cut: do not let it look whole */
        (void)rename(final, written);
        if (replaces) (void)rename(old, final);
        return status;
    }
    if (replaces) (void)hp_checkpoint_remove_folder(old);
    return HP_OK;
}

void hp_checkpoint_prune(const char *run, int64_t written, int keep, int64_t spare) {
    int64_t *step = NULL, best = -1;
    int count = 0, kept = 0;
    char folder[HP_CHECKPOINT_PATH];
    if (keep < 1) keep = 1;
    if (hp_checkpoint_list(run, &count, &step, &best, NULL) != HP_OK) return;
    for (int i = count - 1; i >= 0; i--) {
        bool stays = step[i] > written || step[i] == best || step[i] == spare;
        if (stays || kept++ < keep) continue;
        if (hp_checkpoint_folder(run, step[i], "", folder, NULL) == HP_OK)
            (void)hp_checkpoint_remove_folder(folder);
    }
    hp_free(step);
}

static hp_status_t commit(const char *run, const char *folder, const hp_params_t *params,
                          const hp_position_t *position, const char *config_yaml, int servers,
                          const hp_shard_record_t *record, int chunks, hp_chunk_place_t *place,
                          hp_error_t *err) {
    hp_chunk_place_t *p = place;
    for (int i = 0; i < servers; p += record[i++].chunks)
        HP_TRY(read_back(folder, position->step, servers, &record[i], p, err));
    HP_TRY(hp_chunks_cover(place, chunks, params->total, err));
    draft_t draft = {.m = HANPS__CHECKPOINT_MANIFEST__INIT};
    hp_arena_t arena = {0};
    hp_status_t status = plan_draft(&draft, &arena, params->count, servers, chunks, err);
    if (status == HP_OK) {
        draft_rows(&draft, params);
        draft_shards(&draft, servers, record, chunks, place);
        draft_position(&draft, position, config_yaml);
        remove_strangers(folder, &draft.m);
        status = write_manifest(folder, &draft.m, err);
    }
    hp_arena_release(&arena);
    if (status == HP_OK) status = put_in_place(run, position->step, err);
    return status;
}

hp_status_t hp_checkpoint_commit(const char *run, const hp_params_t *params,
                                 const hp_position_t *position, const char *config_yaml,
                                 int servers, const hp_shard_record_t *record, int keep,
                                 int64_t spare, hp_error_t *err) {
    char folder[HP_CHECKPOINT_PATH];
    int chunks = 0;
    for (int i = 0; i < servers; i++) {
        if (record[i].server != i || record[i].chunks < 0)
            return hp_fail(err, HP_INTERNAL, "record %d of a checkpoint is of server %d", i,
                           record[i].server);
        chunks += record[i].chunks;
    }
    HP_TRY(hp_checkpoint_folder(run, position->step, ".tmp", folder, err));
    void *place = NULL;
    HP_TRY(hp_allocate(&place, (size_t)chunks, sizeof(hp_chunk_place_t), "a manifest", err));
    hp_status_t status =
        commit(run, folder, params, position, config_yaml, servers, record, chunks, place, err);
    hp_free(place);
    if (status != HP_OK) return status;
    hp_checkpoint_prune(run, position->step, keep, spare);
    return HP_OK;
}
