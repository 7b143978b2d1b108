/* Reading a checkpoint. Nothing of a file is believed before its hash was checked, and no number
 * of a manifest before it was compared with the others. */
#include "common/checkpoint.h"

#include "common/checkpoint_format.h"
#include "common/file.h"
#include "common/memory.h"
#include "proto/checkpoint.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST_MOST ((size_t)1 << 30)

struct hp_checkpoint {
    char folder[HP_CHECKPOINT_PATH];
    Hanps__CheckpointManifest *m;
    hp_params_t params;
    hp_position_t position;
    int shards, chunks;
    int *fd;                 /* [shards] */
    hp_chunk_place_t *place; /* [chunks], ascending */
    uint64_t bytes;
    unsigned char *scratch; /* the data of the largest chunk; allocated by the first read */
    uint64_t scratch_bytes;
};

/* ---- opening ---- */

static hp_status_t parse_manifest(hp_checkpoint_t *c, const char *path, const uint8_t *data,
                                  size_t bytes, hp_error_t *err) {
    Hanps__CheckpointFile *file = hanps__checkpoint_file__unpack(NULL, bytes, data);
    if (file == NULL) return hp_fail(err, HP_CORRUPT, "'%s' is damaged: it cannot be parsed", path);
    uint8_t digest[16];
    hp_status_t status = HP_OK;
    hp_digest(file->manifest.data, file->manifest.len, digest);
    if (file->digest.len != sizeof digest ||
        memcmp(file->digest.data, digest, sizeof digest) != 0 || file->base.n_unknown_fields > 0)
        status = hp_fail(err, HP_CORRUPT, "'%s' is damaged: its hash does not match", path);
    else if (file->version != HP_CHECKPOINT_VERSION)
        status = hp_fail(err, HP_CORRUPT, "'%s' is of version %" PRIu32 "; this program reads %d",
                         path, file->version, HP_CHECKPOINT_VERSION);
    if (status == HP_OK) {
        c->m = hanps__checkpoint_manifest__unpack(NULL, file->manifest.len, file->manifest.data);
        if (c->m == NULL)
            status = hp_fail(err, HP_CORRUPT, "'%s' is damaged: it cannot be parsed", path);
    }
    hanps__checkpoint_file__free_unpacked(file, NULL);
    return status;
}

static hp_status_t take_params(hp_checkpoint_t *c, const char *path, hp_error_t *err) {
    for (size_t i = 0; i < c->m->n_parameters; i++) {
        const Hanps__CheckpointManifest__Parameter *q = c->m->parameters[i];
        hp_param_kind_t kind =
            q->kind == HANPS__CHECKPOINT_MANIFEST__KIND__BUFFER ? HP_PARAM_BUFFER : HP_PARAM_WEIGHT;
        int row = -1;
        int dims = q->n_shape > HP_PARAM_DIMS ? HP_PARAM_DIMS + 1 : (int)q->n_shape;
        hp_error_t why = {0};
        if (q->init > HP_INIT_NORMAL ||
            hp_params_add(&c->params, q->name, dims, q->shape, kind, (hp_init_kind_t)q->init,
                          q->init_scale, q->sparse_rows, &row, &why) != HP_OK ||
            c->params.param[row].offset != q->offset)
            return hp_fail(err, why.status == HP_MEMORY ? HP_MEMORY : HP_CORRUPT,
                           "'%s': row %zu of the parameter table is not possible%s%s", path, i,
                           why.text[0] ? ": " : "", why.text);
        c->params.param[row].forward_order = (int)q->forward_order;
    }
    if (c->params.total != c->m->elements || c->params.total == 0)
        return hp_fail(err, HP_CORRUPT,
                       "'%s': the parameter table has %" PRId64 " elements, not %" PRId64, path,
                       c->params.total, c->m->elements);
    return HP_OK;
}

static hp_status_t take_chunks(hp_checkpoint_t *c, const char *path, hp_error_t *err) {
    const Hanps__CheckpointManifest *m = c->m;
    if (m->n_chunks > INT32_MAX || m->n_shards > INT32_MAX)
        return hp_fail(err, HP_CORRUPT, "'%s' has too many chunks", path);
    void *place = NULL;
    HP_TRY(hp_allocate(&place, m->n_chunks, sizeof *c->place, "chunks", err));
    c->place = place;
    c->chunks = (int)m->n_chunks;
    for (int i = 0; i < c->chunks; i++) {
        const Hanps__CheckpointManifest__Chunk *q = m->chunks[i];
        if (q->shard >= m->n_shards || q->begin < 0 || q->begin >= q->end ||
            q->end > c->params.total)
            return hp_fail(err, HP_CORRUPT, "'%s': chunk %d is not possible", path, i);
        uint64_t bytes = (uint64_t)(q->end - q->begin) * sizeof(float) * (q->moments ? 3 : 1);
        uint64_t there = m->shards[q->shard]->bytes;
        if (q->offset > there || bytes > there - q->offset)
            return hp_fail(err, HP_CORRUPT, "'%s': chunk %d is not in its shard", path, i);
        c->place[i] = (hp_chunk_place_t){.begin = q->begin,
                                         .end = q->end,
                                         .version = q->version,
                                         .updates = q->updates,
                                         .shard = (int)q->shard,
                                         .moments = q->moments,
                                         .offset = q->offset,
                                         .bytes = bytes,
                                         .hash = q->hash};
        if (bytes > c->scratch_bytes) c->scratch_bytes = bytes;
    }
    hp_status_t status = hp_chunks_cover(c->place, c->chunks, c->params.total, err);
    return status == HP_OK ? status : hp_fail_prefix(err, "'%s'", path);
}

static hp_status_t open_shards(hp_checkpoint_t *c, hp_error_t *err) {
    void *fd = NULL;
    HP_TRY(hp_allocate(&fd, c->m->n_shards, sizeof *c->fd, "shards", err));
    c->fd = fd;
    c->shards = (int)c->m->n_shards;
    for (int i = 0; i < c->shards; i++) c->fd[i] = -1;
    for (int i = 0; i < c->shards; i++) {
        const Hanps__CheckpointManifest__Shard *s = c->m->shards[i];
        char name[64], path[HP_CHECKPOINT_PATH];
        struct stat st;
        hp_checkpoint_shard_name(i, c->shards, name);
        HP_TRY(hp_checkpoint_file(c->folder, name, path, err));
        if (strcmp(s->file, name) != 0 || s->digest.len != 16)
            return hp_fail(err, HP_CORRUPT,
                           "'%s/" HP_CHECKPOINT_MANIFEST "': shard %d is named '%s'", c->folder, i,
                           s->file);
        c->fd[i] = open(path, O_RDONLY | O_CLOEXEC);
        if (c->fd[i] < 0 || fstat(c->fd[i], &st) != 0)
            return hp_fail_errno(err, errno == ENOENT ? HP_CORRUPT : HP_IO, "cannot read '%s'",
                                 path);
        if ((uint64_t)st.st_size != s->bytes)
            return hp_fail(err, HP_CORRUPT, "'%s' has %lld bytes, not %" PRIu64, path,
                           (long long)st.st_size, s->bytes);
        c->bytes += s->bytes;
    }
    return HP_OK;
}

static hp_status_t take_position(hp_checkpoint_t *c, int64_t step, const char *path,
                                 hp_error_t *err) {
    const Hanps__CheckpointManifest *m = c->m;
    if (m->step != step) return hp_fail(err, HP_CORRUPT, "'%s' is of step %" PRId64, path, m->step);
    bool good = m->n_outstanding_units <= INT32_MAX && m->sync_shards <= INT32_MAX &&
                m->poorer <= INT32_MAX && m->pixel_height <= INT32_MAX &&
                m->pixel_width <= INT32_MAX;
    for (size_t i = 0; i < m->n_outstanding_units && good; i++)
        good = m->outstanding_units[i] < m->next_unit &&
               (i == 0 || m->outstanding_units[i - 1] < m->outstanding_units[i]);
    if (!good) return hp_fail(err, HP_CORRUPT, "'%s': the position is not possible", path);
    c->position = (hp_position_t){.step = m->step,
                                  .next_unit = m->next_unit,
                                  .units_repeated = m->units_repeated,
                                  .sync_shards = (int)m->sync_shards,
                                  .outstanding = (int)m->n_outstanding_units,
                                  .outstanding_unit = m->outstanding_units,
                                  .evaluated = m->evaluated,
                                  .best_step = m->best_step,
                                  .best_accuracy = m->best_accuracy,
                                  .poorer = (int)m->poorer,
                                  .epoch = m->epoch,
                                  .incarnation = m->incarnation,
                                  .workers = (int)m->workers,
                                  .store_digest = m->store_digest,
                                  .kernel = m->kernel,
                                  .pixel_height = (int)m->pixel_height,
                                  .pixel_width = (int)m->pixel_width};
    return HP_OK;
}

static hp_status_t open_into(hp_checkpoint_t *c, const char *run, int64_t step, hp_error_t *err) {
    char path[HP_CHECKPOINT_PATH];
    unsigned char *data = NULL;
    size_t bytes = 0;
    HP_TRY(hp_checkpoint_folder(run, step, "", c->folder, err));
    HP_TRY(hp_checkpoint_file(c->folder, HP_CHECKPOINT_MANIFEST, path, err));
    HP_TRY(hp_read_file(path, MANIFEST_MOST, &data, &bytes, err));
    c->bytes = bytes;
    hp_status_t status = parse_manifest(c, path, data, bytes, err);
    hp_free(data);
    if (status == HP_OK) status = take_params(c, path, err);
    if (status == HP_OK) status = take_position(c, step, path, err);
    if (status == HP_OK) status = take_chunks(c, path, err);
    if (status == HP_OK) status = open_shards(c, err);
    return status;
}

hp_status_t hp_checkpoint_open_step(const char *run, int64_t step, hp_checkpoint_t **checkpoint_p,
                                    hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(hp_checkpoint_t), "a checkpoint", err));
    hp_status_t status = open_into(p, run, step, err);
    if (status != HP_OK) {
        hp_checkpoint_close(p);
        return status;
    }
    *checkpoint_p = p;
    return HP_OK;
}

void hp_checkpoint_close(hp_checkpoint_t *c) {
    if (c == NULL) return;
    for (int i = 0; i < c->shards; i++)
        if (c->fd[i] >= 0) close(c->fd[i]);
    if (c->m != NULL) hanps__checkpoint_manifest__free_unpacked(c->m, NULL);
    hp_params_release(&c->params);
    hp_free(c->fd);
    hp_free(c->place);
    hp_free(c->scratch);
    hp_free(c);
}

/* The newest that is whole, data included. */
static hp_status_t open_last(const char *run, int count, const int64_t *step,
                             hp_checkpoint_t **checkpoint_p, char *note, hp_error_t *err) {
    size_t used = 0;
    for (int i = count - 1; i >= 0; i--) {
        hp_checkpoint_t *c = NULL;
        hp_error_t why = {0};
        hp_status_t status = hp_checkpoint_open_step(run, step[i], &c, &why);
        if (status == HP_OK) status = hp_checkpoint_verify(c, &why);
        if (status == HP_OK) {
            *checkpoint_p = c;
            return HP_OK;
        }
        hp_checkpoint_close(c);
        if (status == HP_MEMORY) return hp_fail(err, status, "%s", why.text);
        if (used < HP_CHECKPOINT_NOTE)
            used += (size_t)snprintf(note + used, HP_CHECKPOINT_NOTE - used,
                                     "%sstep %" PRId64 " is passed over: %s", used ? "; " : "",
                                     step[i], why.text);
    }
    if (count == 0) return hp_fail(err, HP_INPUT, "run '%s' has no checkpoint", run);
    return hp_fail(err, HP_CORRUPT, "no checkpoint of run '%s' is whole: %s", run, note);
}

hp_status_t hp_checkpoint_open(const char *run, const char *which, hp_checkpoint_t **checkpoint_p,
                               char *note, hp_error_t *err) {
    char unused[HP_CHECKPOINT_NOTE], *end;
    if (note == NULL) note = unused;
    note[0] = '\0';
    int count = 0;
    int64_t *step = NULL, best = -1;
    HP_TRY(hp_checkpoint_list(run, &count, &step, &best, err));
    hp_status_t status;
    if (strcmp(which, "last") == 0) {
        status = open_last(run, count, step, checkpoint_p, note, err);
    } else if (strcmp(which, "best") == 0) {
        status = best < 0 ? hp_fail(err, HP_INPUT, "run '%s' has no best checkpoint", run)
                          : hp_checkpoint_open_step(run, best, checkpoint_p, err);
    } else {
        errno = 0;
        int64_t wanted = strtoll(which, &end, 10);
        bool number = errno == 0 && end != which && *end == '\0' && wanted >= 0, there = false;
        for (int i = 0; i < count && number; i++) there = there || step[i] == wanted;
        if (!number)
            status =
                hp_fail(err, HP_INPUT, "checkpoint '%s': allowed are a step, last, best", which);
        else if (!there)
            status =
                hp_fail(err, HP_INPUT, "run '%s' has no checkpoint of step %" PRId64, run, wanted);
        else
            status = hp_checkpoint_open_step(run, wanted, checkpoint_p, err);
    }
    hp_free(step);
    return status;
}

/* ---- what it holds ---- */

int64_t hp_checkpoint_step(const hp_checkpoint_t *c) { return c->position.step; }
const hp_params_t *hp_checkpoint_params(const hp_checkpoint_t *c) { return &c->params; }
const hp_position_t *hp_checkpoint_position(const hp_checkpoint_t *c) { return &c->position; }
const char *hp_checkpoint_config(const hp_checkpoint_t *c) { return c->m->config; }
const char *hp_checkpoint_date(const hp_checkpoint_t *c) { return c->m->date; }
uint64_t hp_checkpoint_bytes(const hp_checkpoint_t *c) { return c->bytes; }
int hp_checkpoint_shards(const hp_checkpoint_t *c) { return c->shards; }
int hp_checkpoint_chunks(const hp_checkpoint_t *c) { return c->chunks; }

/* The chunk that holds `element`, which is in range. */
static int find_chunk(const hp_checkpoint_t *c, int64_t element) {
    int low = 0, high = c->chunks - 1;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (c->place[middle].end <= element)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

hp_status_t hp_checkpoint_chunk(const hp_checkpoint_t *c, int64_t element, int64_t *version_p,
                                int64_t *updates_p, hp_error_t *err) {
    if (element < 0 || element >= c->params.total)
        return hp_fail(err, HP_INTERNAL, "element %" PRId64 " of %" PRId64, element,
                       c->params.total);
    const hp_chunk_place_t *p = &c->place[find_chunk(c, element)];
    *version_p = p->version;
    *updates_p = p->updates;
    return HP_OK;
}

static hp_status_t need_scratch(hp_checkpoint_t *c, hp_error_t *err) {
    if (c->scratch != NULL) return HP_OK;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, c->scratch_bytes, 1, "a chunk of a checkpoint", err));
    c->scratch = p;
    return HP_OK;
}

/* The chunk's data is in scratch afterwards. */
static hp_status_t load_chunk(hp_checkpoint_t *c, hp_chunk_place_t *p, hp_error_t *err) {
    const char *file = c->m->shards[p->shard]->file;
    HP_TRY(need_scratch(c, err));
    HP_TRY(hp_pread(c->fd[p->shard], c->scratch, p->bytes, p->offset, file, err));
    if (XXH3_64bits(c->scratch, p->bytes) != p->hash)
        return hp_fail(err, HP_CORRUPT,
                       "'%s/%s' is damaged: elements %" PRId64 " to %" PRId64
                       " do not match their hash",
                       c->folder, file, p->begin, p->end - 1);
    p->verified = true;
    return HP_OK;
}

/* Elements [from, to) of the chunk, into out[0 .. 3], each NULL or where element `from` goes. */
static hp_status_t read_part(hp_checkpoint_t *c, hp_chunk_place_t *p, int64_t from, int64_t to,
                             float *const out[3], hp_error_t *err) {
    bool whole = !p->verified;
    if (whole) HP_TRY(load_chunk(c, p, err));
    size_t bytes = (size_t)(to - from) * sizeof(float);
    uint64_t plane = (uint64_t)(p->end - p->begin) * sizeof(float);
    for (int k = 0; k < 3; k++) {
        uint64_t at = plane * (uint64_t)k + (uint64_t)(from - p->begin) * sizeof(float);
        if (out[k] == NULL) continue;
        if (k > 0 && !p->moments)
            memset(out[k], 0, bytes);
        else if (whole)
            memcpy(out[k], c->scratch + at, bytes);
        else
            HP_TRY(hp_pread(c->fd[p->shard], out[k], bytes, p->offset + at,
                            c->m->shards[p->shard]->file, err));
    }
    return HP_OK;
}

hp_status_t hp_checkpoint_read(hp_checkpoint_t *c, int64_t begin, int64_t end, float *weights,
                               float *first_moment, float *second_moment, hp_error_t *err) {
    if (begin < 0 || begin > end || end > c->params.total)
        return hp_fail(err, HP_INTERNAL, "elements %" PRId64 " to %" PRId64 " of %" PRId64, begin,
                       end, c->params.total);
    for (int64_t at = begin; at < end;) {
        hp_chunk_place_t *p = &c->place[find_chunk(c, at)];
        int64_t to = p->end < end ? p->end : end, from = at - begin;
        float *const out[3] = {weights == NULL ? NULL : weights + from,
                               first_moment == NULL ? NULL : first_moment + from,
                               second_moment == NULL ? NULL : second_moment + from};
        HP_TRY(read_part(c, p, at, to, out, err));
        at = to;
    }
    return HP_OK;
}

/* The shards' headers say the same as the manifest. */
static hp_status_t verify_headers(hp_checkpoint_t *c, int shard, hp_chunk_place_t *place,
                                  hp_error_t *err) {
    const Hanps__CheckpointManifest__Shard *s = c->m->shards[shard];
    uint8_t digest[16];
    char path[HP_CHECKPOINT_PATH];
    int chunks = 0;
    for (int i = 0; i < c->chunks; i++) chunks += c->place[i].shard == shard;
    HP_TRY(hp_checkpoint_file(c->folder, s->file, path, err));
    HP_TRY(hp_shard_walk(c->fd[shard], path, shard, c->shards, c->position.step, chunks, s->bytes,
                         place, digest, err));
    if (memcmp(digest, s->digest.data, sizeof digest) != 0)
        return hp_fail(err, HP_CORRUPT, "'%s' is not the file that the manifest names", path);
    return HP_OK;
}

hp_status_t hp_checkpoint_verify(hp_checkpoint_t *c, hp_error_t *err) {
    void *place = NULL;
    HP_TRY(hp_allocate(&place, (size_t)c->chunks, sizeof(hp_chunk_place_t), "chunks", err));
    hp_status_t status = HP_OK;
    for (int i = 0; i < c->shards && status == HP_OK; i++)
        status = verify_headers(c, i, place, err);
    hp_free(place);
    for (int i = 0; i < c->chunks && status == HP_OK; i++)
        status = load_chunk(c, &c->place[i], err);
    return status;
}
