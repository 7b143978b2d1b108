#include "tests/support/made_checkpoint.h"

#include "common/memory.h"
#include "common/random.h"

#include <stdio.h>

enum { MOST_CHUNKS = 128 };

hp_params_t made_table(int rows) {
    hp_params_t params = {0};
    for (int i = 0; i < rows; i++) {
        char name[32];
        int64_t shape[2] = {3 + i, 7};
        snprintf(name, sizeof name, "layer%d.weight", i);
        hp_param_kind_t kind = i % 3 == 2 ? HP_PARAM_BUFFER : HP_PARAM_WEIGHT;
        if (hp_params_add(&params, name, 2, shape, kind, HP_INIT_UNIFORM, 0.25 * i, i == 1, NULL,
                          NULL) != HP_OK)
            break;
    }
    return params;
}

float made_value(uint64_t seed, int64_t i, int k) {
    hp_random_t r = hp_random(seed, HP_RANDOM_TEST, (uint64_t)i, (uint64_t)k);
    return (float)hp_random_normal(&r);
}

bool made_with_moments(int64_t chunk) { return chunk % 5 != 4; }

typedef struct {
    float plane[3][MADE_CHUNK];
} chunk_t;

static hp_shard_chunk_t make_chunk(const made_t *made, int64_t c, chunk_t *data) {
    int64_t begin = c * MADE_CHUNK, end = begin + MADE_CHUNK;
    if (end > made->params->total) end = made->params->total;
    for (int k = 0; k < 3; k++)
        for (int64_t i = begin; i < end; i++)
            data->plane[k][i - begin] =
                made_value(made->seed, i, k) + (k == 2 && i == made->changed);
    bool moments = made_with_moments(c);
    return (hp_shard_chunk_t){.begin = begin,
                              .end = end,
                              .version = 10 * c + made->step,
                              .updates = c,
                              .weights = data->plane[0],
                              .first_moment = moments ? data->plane[1] : NULL,
                              .second_moment = moments ? data->plane[2] : NULL};
}

hp_status_t make_shards(const made_t *made, hp_shard_record_t *record, hp_error_t *err) {
    int64_t chunks = (made->params->total + MADE_CHUNK - 1) / MADE_CHUNK;
    if (chunks > MOST_CHUNKS) return hp_fail(err, HP_INTERNAL, "the table is too large");
    void *data = NULL;
    HP_TRY(hp_allocate(&data, MOST_CHUNKS, sizeof(chunk_t), "chunks", err));
    hp_status_t status = HP_OK;
    for (int s = 0; s < made->servers && status == HP_OK; s++) {
        hp_shard_chunk_t chunk[MOST_CHUNKS];
        int n = 0;
        for (int64_t c = s; c < chunks; c += made->servers, n++)
            chunk[n] = make_chunk(made, c, (chunk_t *)data + n);
        status = hp_checkpoint_write_shard(made->run, made->step, s, made->servers, n, chunk,
                                           &record[s], err);
    }
    hp_free(data);
    return status;
}

hp_status_t make_checkpoint(const made_t *made, int keep, hp_error_t *err) {
    static const uint64_t outstanding[3] = {90, 93, 99};
    hp_shard_record_t record[16];
    hp_position_t position = {.step = made->step,
                              .next_unit = 100,
                              .units_repeated = 4,
                              .sync_shards = 2,
                              .outstanding = 3,
                              .outstanding_unit = outstanding,
                              .epoch = 3,
                              .incarnation = 2,
                              .workers = 5,
                              .store_digest = "abc",
                              .kernel = "OpenBLAS test",
                              .pixel_height = 75,
                              .pixel_width = 80};
    HP_TRY(make_shards(made, record, err));
    return hp_checkpoint_commit(made->run, made->params, &position, "run: {seed: 1}\n",
                                made->servers, record, keep, -1, err);
}
