/* A trained model as a run left it: configuration, store, weights of a checkpoint. What evaluation,
 * masks and exports begin with. */
#ifndef WK_TRAINED_H
#define WK_TRAINED_H

#include "common/checkpoint.h"
#include "common/config.h"
#include "common/params.h"
#include "common/store.h"
#include "worker/model.h"

typedef struct {
    hp_config_t config;
    hp_store_t *store;
    int64_t step;
    wk_model_shape_t shape;
    hp_params_t params;
    float *weights;                /* [params.total] */
    char note[HP_CHECKPOINT_NOTE]; /* which newer checkpoints were passed over, and why; or "" */
} wk_trained_t;

/* `checkpoint` as hp_checkpoint_open takes it. `set`: assignments over the run's configuration
 * (data.store=..., say). Without a trunk, by an assignment, of a run that has one, the trunk's
 * weights are left out: its features come from the store. HP_INPUT where the checkpoint's
 * parameters are not those of configuration and store, or the store's pixels are of another size
 * than those the trunk was trained on. Release with wk_trained_close, which is fine
 * on a zeroed struct. */
hp_status_t wk_trained_open(const char *run, const char *checkpoint, int sets,
                            const char *const *set, wk_trained_t *trained,
                            hp_error_t *err) HP_MUST_CHECK;
/* The same, but for a trunk alone: its weights are read, all others are zero, so that words and
 * answers of the store may be others than the run's. */
hp_status_t wk_trained_open_trunk(const char *run, const char *checkpoint, int sets,
                                  const char *const *set, wk_trained_t *trained,
                                  hp_error_t *err) HP_MUST_CHECK;
void wk_trained_close(wk_trained_t *trained);

#endif
