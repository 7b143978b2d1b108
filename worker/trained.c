#include "worker/trained.h"

#include "common/memory.h"
#include "common/run_folder.h"
#include "worker/data/batch.h"

#include <string.h>
#include <unistd.h>

#define TRUNK "image.trunk."

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

/* Reads those rows of the table whose name begins with `prefix`, each wherever it stands in the
 * checkpoint. */
static hp_status_t read_rows(hp_checkpoint_t *checkpoint, const char *prefix, wk_trained_t *t,
                             hp_error_t *err) {
    const hp_params_t *from = hp_checkpoint_params(checkpoint);
    for (int i = 0; i < t->params.count; i++) {
        const hp_param_t *row = &t->params.param[i];
        if (strncmp(row->name, prefix, strlen(prefix)) != 0) continue;
        const int at = hp_params_find(from, row->name);
        const hp_param_t *old = at >= 0 ? &from->param[at] : NULL;
        if (old == NULL || old->dims != row->dims ||
            memcmp(old->shape, row->shape, (size_t)row->dims * sizeof row->shape[0]) != 0)
            return hp_fail(err, HP_INPUT, "parameter %s is %s in the checkpoint", row->name,
                           old == NULL ? "not" : "of another shape");
        HP_TRY(hp_checkpoint_read(checkpoint, old->offset, old->offset + old->count,
                                  t->weights + row->offset, NULL, NULL, err));
    }
    return HP_OK;
}

/* A trunk takes pixels of any size, but makes other cells of them than those it was trained on. */
static hp_status_t check_pixels(const hp_position_t *p, const wk_trained_t *t, hp_error_t *err) {
    const wk_model_shape_t *shape = &t->shape;
    if (p->pixel_height == 0 || shape->pixel_height == 0 ||
        (p->pixel_height == shape->pixel_height && p->pixel_width == shape->pixel_width))
        return HP_OK;
    return hp_fail(err, HP_INPUT,
                   "store '%s' has images of %dx%d pixels; the run was trained on %dx%d",
                   t->config.data.store, shape->pixel_height, shape->pixel_width, p->pixel_height,
                   p->pixel_width);
}

static hp_status_t read_weights(const char *run, const char *which, bool trunk, wk_trained_t *t,
                                hp_error_t *err) {
    hp_checkpoint_t *checkpoint = NULL;
    HP_TRY(hp_checkpoint_open(run, which, &checkpoint, t->note, err));
    t->step = hp_checkpoint_step(checkpoint);
    void *p = NULL;
    hp_status_t status = check_pixels(hp_checkpoint_position(checkpoint), t, err);
    if (status == HP_OK)
        status = hp_allocate(&p, (size_t)t->params.total, sizeof(float), "weights", err);
    t->weights = p;
    const bool left_out =
        strcmp(t->config.model.image.trunk, "cnn") != 0 &&
        hp_params_find(hp_checkpoint_params(checkpoint), TRUNK "0.conv.weight") >= 0;
    if (status == HP_OK) {
        if (trunk || left_out)
            status = read_rows(checkpoint, trunk ? TRUNK : "", t, err);
        else
            status = hp_params_same(hp_checkpoint_params(checkpoint), &t->params, err);
        if (status != HP_OK)
            hp_fail_prefix(err, "configuration and store '%s' do not fit the checkpoint's model",
                           t->config.data.store);
    }
    if (status == HP_OK && !trunk && !left_out)
        status = hp_checkpoint_read(checkpoint, 0, t->params.total, t->weights, NULL, NULL, err);
    hp_checkpoint_close(checkpoint);
    return status;
}

static hp_status_t open_all(const char *run, const char *checkpoint, int sets,
                            const char *const *set, bool trunk, wk_trained_t *t, hp_error_t *err) {
    HP_TRY(read_config(run, sets, set, &t->config, err));
    HP_TRY(hp_store_open(t->config.data.store, &t->store, err));
    HP_TRY(wk_batch_shape(&t->config, hp_store_info(t->store), &t->shape, err));
    HP_TRY(wk_model_table(&t->config, &t->shape, &t->params, err));
    return read_weights(run, checkpoint, trunk, t, err);
}

static hp_status_t open_or_close(const char *run, const char *checkpoint, int sets,
                                 const char *const *set, bool trunk, wk_trained_t *trained,
                                 hp_error_t *err) {
    *trained = (wk_trained_t){0};
    hp_status_t status = open_all(run, checkpoint, sets, set, trunk, trained, err);
    if (status != HP_OK) wk_trained_close(trained);
    return status;
}

hp_status_t wk_trained_open(const char *run, const char *checkpoint, int sets,
                            const char *const *set, wk_trained_t *trained, hp_error_t *err) {
    return open_or_close(run, checkpoint, sets, set, false, trained, err);
}

hp_status_t wk_trained_open_trunk(const char *run, const char *checkpoint, int sets,
                                  const char *const *set, wk_trained_t *trained, hp_error_t *err) {
    return open_or_close(run, checkpoint, sets, set, true, trained, err);
}

void wk_trained_close(wk_trained_t *trained) {
    hp_free(trained->weights);
    hp_params_release(&trained->params);
    hp_store_close(trained->store);
    *trained = (wk_trained_t){0};
}
