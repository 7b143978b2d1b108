#include "common/checkpoint.h"
#include "common/checkpoint_format.h"
#include "common/memory.h"
#include "common/shard_plan.h"

static hp_status_t write_shard(const char *run, const hp_shard_plan_t *plan, const float *weights,
                               hp_shard_record_t *record, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)plan->chunks, sizeof(hp_shard_chunk_t), "chunks", err));
    hp_shard_chunk_t *chunk = p;
    for (int c = 0; c < plan->chunks; c++)
        chunk[c] = (hp_shard_chunk_t){.begin = plan->chunk[c].begin,
                                      .end = plan->chunk[c].end,
                                      .weights = weights + plan->chunk[c].begin};
    hp_status_t status = hp_checkpoint_write_shard(run, 0, 0, 1, plan->chunks, chunk, record, err);
    hp_free(p);
    return status;
}

hp_status_t hp_checkpoint_write_first(const char *run, const hp_params_t *params,
                                      const float *weights, const char *config_yaml,
                                      const hp_position_t *position, hp_error_t *err) {
    hp_shard_plan_t plan = {0};
    hp_shard_record_t record = {0};
    HP_TRY(hp_checkpoint_clean(run, err));
    HP_TRY(hp_shard_plan_create(params, 1, &plan, err));
    hp_status_t status = write_shard(run, &plan, weights, &record, err);
    if (status == HP_OK)
        status = hp_checkpoint_commit(run, params, position, config_yaml, 1, &record, 1, -1, err);
    if (status != HP_OK) hp_checkpoint_discard(run, 0);
    hp_shard_plan_release(&plan);
    return status;
}

void hp_checkpoint_remove_first(const char *run) {
    char folder[HP_CHECKPOINT_PATH];
    if (hp_checkpoint_folder(run, 0, "", folder, NULL) == HP_OK)
        (void)hp_checkpoint_remove_folder(folder);
}
