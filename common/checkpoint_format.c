#include "common/checkpoint_format.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

hp_status_t hp_checkpoint_root(const char *run, char *out, hp_error_t *err) {
    if (snprintf(out, HP_CHECKPOINT_PATH, "%s/checkpoints", run) >= HP_CHECKPOINT_PATH - 256)
        return hp_fail(err, HP_INPUT, "path of the run is too long: '%.200s...'", run);
    return HP_OK;
}

hp_status_t hp_checkpoint_folder(const char *run, int64_t step, const char *ending, char *out,
                                 hp_error_t *err) {
    HP_TRY(hp_checkpoint_root(run, out, err));
    size_t n = strlen(out);
    snprintf(out + n, HP_CHECKPOINT_PATH - n, "/step-%08" PRId64 "%s", step, ending);
    return HP_OK;
}

hp_status_t hp_checkpoint_file(const char *folder, const char *name, char *out, hp_error_t *err) {
    if (snprintf(out, HP_CHECKPOINT_PATH, "%s/%s", folder, name) >= HP_CHECKPOINT_PATH)
        return hp_fail(err, HP_INPUT, "path is too long: '%.200s...'", folder);
    return HP_OK;
}

void hp_checkpoint_shard_name(int shard, int shards, char out[64]) {
    snprintf(out, 64, "shard-%04d-of-%04d.bin", shard, shards);
}

void hp_digest(const void *data, size_t bytes, uint8_t digest[16]) {
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(data, bytes));
    memcpy(digest, canonical.digest, 16);
}

hp_status_t hp_pread(int fd, void *out, size_t bytes, uint64_t offset, const char *path,
                     hp_error_t *err) {
    unsigned char *p = out;
    while (bytes > 0) {
        ssize_t n = pread(fd, p, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return hp_fail_errno(err, HP_IO, "cannot read '%s'", path);
        if (n == 0) return hp_fail(err, HP_CORRUPT, "'%s' is truncated", path);
        p += n;
        offset += (uint64_t)n;
        bytes -= (size_t)n;
    }
    return HP_OK;
}

static hp_status_t read_chunk_header(int fd, const char *path, int i, uint64_t at, uint64_t bytes,
                                     hp_chunk_header_t *h, hp_chunk_place_t *place,
                                     hp_error_t *err) {
    HP_TRY(hp_pread(fd, h, sizeof *h, at, path, err));
    int64_t most = INT64_MAX / 16;
    if (h->magic != HP_CHUNK_MAGIC ||
        h->hash != XXH3_64bits(h, offsetof(hp_chunk_header_t, hash)) ||
        h->flags > HP_CHUNK_MOMENTS || h->begin < 0 || h->begin >= h->end || h->end > most)
        return hp_fail(err, HP_CORRUPT, "'%s': the header of chunk %d is damaged", path, i);
    bool moments = h->flags & HP_CHUNK_MOMENTS;
    *place = (hp_chunk_place_t){.begin = h->begin,
                                .end = h->end,
                                .version = h->version,
                                .updates = h->updates,
                                .moments = moments,
                                .offset = at + sizeof *h,
                                .hash = h->data_hash};
    place->bytes = (uint64_t)(h->end - h->begin) * sizeof(float) * (moments ? 3 : 1);
    if (place->bytes > bytes - place->offset)
        return hp_fail(err, HP_CORRUPT, "'%s': chunk %d goes past the end", path, i);
    return HP_OK;
}

static hp_status_t walk(int fd, const char *path, const hp_shard_header_t *expected, uint64_t bytes,
                        hp_chunk_place_t *place, XXH3_state_t *state, hp_error_t *err) {
    hp_shard_header_t h;
    HP_TRY(hp_pread(fd, &h, sizeof h, 0, path, err));
    if (memcmp(h.magic, HP_SHARD_MAGIC, sizeof h.magic) != 0)
        return hp_fail(err, HP_CORRUPT, "'%s' is not a shard of a checkpoint", path);
    if (h.version != HP_CHECKPOINT_VERSION)
        return hp_fail(err, HP_CORRUPT, "'%s' is of version %" PRIu32 "; this program reads %d",
                       path, h.version, HP_CHECKPOINT_VERSION);
    if (h.hash != XXH3_64bits(&h, offsetof(hp_shard_header_t, hash)))
        return hp_fail(err, HP_CORRUPT, "'%s': the header is damaged", path);
    if (h.shard != expected->shard || h.shards != expected->shards ||
        h.chunks != expected->chunks || h.step != expected->step)
        return hp_fail(err, HP_CORRUPT,
                       "'%s' says it is shard %" PRIu32 " of %" PRIu32 " with %" PRIu32
                       " chunks of step %" PRId64,
                       path, h.shard, h.shards, h.chunks, h.step);
    XXH3_128bits_update(state, &h, sizeof h);
    uint64_t at = sizeof h;
    for (int i = 0; i < (int)h.chunks; i++) {
        hp_chunk_header_t c;
        if (sizeof c > bytes - at) return hp_fail(err, HP_CORRUPT, "'%s' is truncated", path);
        HP_TRY(read_chunk_header(fd, path, i, at, bytes, &c, &place[i], err));
        place[i].shard = (int)h.shard;
        XXH3_128bits_update(state, &c, sizeof c);
        at = place[i].offset + place[i].bytes;
    }
    if (at != bytes)
        return hp_fail(err, HP_CORRUPT, "'%s' has %" PRIu64 " bytes after its last chunk", path,
                       bytes - at);
    return HP_OK;
}

hp_status_t hp_shard_walk(int fd, const char *path, int shard, int shards, int64_t step, int chunks,
                          uint64_t bytes, hp_chunk_place_t *place, uint8_t digest[16],
                          hp_error_t *err) {
    if (bytes < sizeof(hp_shard_header_t))
        return hp_fail(err, HP_CORRUPT, "'%s' is truncated", path);
    hp_shard_header_t expected = {.shard = (uint32_t)shard,
                                  .shards = (uint32_t)shards,
                                  .chunks = (uint32_t)chunks,
                                  .step = step};
    XXH3_state_t *state = XXH3_createState();
    if (state == NULL) return hp_fail(err, HP_MEMORY, "out of memory for a hash");
    XXH3_128bits_reset(state);
    hp_status_t status = walk(fd, path, &expected, bytes, place, state, err);
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
    memcpy(digest, canonical.digest, 16);
    XXH3_freeState(state);
    return status;
}

static int by_begin(const void *a, const void *b) {
    const hp_chunk_place_t *x = a, *y = b;
    return x->begin < y->begin ? -1 : x->begin > y->begin;
}

hp_status_t hp_chunks_cover(hp_chunk_place_t *place, int chunks, int64_t total, hp_error_t *err) {
    qsort(place, (size_t)chunks, sizeof *place, by_begin);
    int64_t at = 0;
    for (int i = 0; i < chunks; at = place[i++].end) {
        if (place[i].begin > at)
            return hp_fail(err, HP_CORRUPT, "elements %" PRId64 " to %" PRId64 " are in no shard",
                           at, place[i].begin - 1);
        if (place[i].begin < at)
            return hp_fail(err, HP_CORRUPT, "element %" PRId64 " is there twice", place[i].begin);
    }
    if (at != total)
        return hp_fail(err, HP_CORRUPT,
                       "shards end at element %" PRId64 ", the parameter table at %" PRId64, at,
                       total);
    return HP_OK;
}
