#include "worker/trained.h"

#include "common/memory.h"
#include "common/run_folder.h"
#include "worker/data/batch.h"

#include <unistd.h>

static hp_status_t read_config(const char *run, int sets, const char *const *set,
                               hp_config_t *config, hp_error_t *err) {
    char path[HP_RUN_PATH];
    HP_TRY(hp_run_path(run, "config.yaml", path, err));
    if (access(path, R_OK) != 0)
        return hp_fail(err, HP_INPUT, "no run in '%s': there is no config.yaml in it", run);
    hp_config_default(config);
    HP_TRY(hp_config_load(config, path, err));
    for (int i = 0; i < sets; i++) HP_TRY(hp_config_set(config, set[i], err));
    return hp_config_check(config, err);
}

static hp_status_t read_weights(const char *run, const char *which, wk_trained_t *t,
                                hp_error_t *err) {
    hp_checkpoint_t *checkpoint = NULL;
    HP_TRY(hp_checkpoint_open(run, which, &checkpoint, t->note, err));
    t->step = hp_checkpoint_step(checkpoint);
    void *p = NULL;
    hp_status_t status = hp_params_same(hp_checkpoint_params(checkpoint), &t->params, err);
    if (status != HP_OK)
        hp_fail_prefix(err, "configuration and store '%s' do not fit the checkpoint's model",
                       t->config.data.store);
    if (status == HP_OK)
        status = hp_allocate(&p, (size_t)t->params.total, sizeof(float), "weights", err);
    if (status == HP_OK) {
        t->weights = p;
        status = hp_checkpoint_read(checkpoint, 0, t->params.total, t->weights, NULL, NULL, err);
    }
    hp_checkpoint_close(checkpoint);
    return status;
}

static hp_status_t open_all(const char *run, const char *checkpoint, int sets,
                            const char *const *set, wk_trained_t *t, hp_error_t *err) {
    HP_TRY(read_config(run, sets, set, &t->config, err));
    HP_TRY(hp_store_open(t->config.data.store, &t->store, err));
    HP_TRY(wk_batch_shape(&t->config, hp_store_info(t->store), &t->shape, err));
    HP_TRY(wk_model_table(&t->config, &t->shape, &t->params, err));
    return read_weights(run, checkpoint, t, err);
}

hp_status_t wk_trained_open(const char *run, const char *checkpoint, int sets,
                            const char *const *set, wk_trained_t *trained, hp_error_t *err) {
    *trained = (wk_trained_t){0};
    hp_status_t status = open_all(run, checkpoint, sets, set, trained, err);
    if (status != HP_OK) wk_trained_close(trained);
    return status;
}

void wk_trained_close(wk_trained_t *trained) {
    hp_free(trained->weights);
    hp_params_release(&trained->params);
    hp_store_close(trained->store);
    *trained = (wk_trained_t){0};
}
