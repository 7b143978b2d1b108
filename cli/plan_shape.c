#include "cli/plan_shape.h"

#include "cli/bench_work.h"
#include "common/store.h"
#include "worker/data/batch.h"
#include "worker/data/coords.h"
#include "worker/train.h"

#include <math.h>
#include <unistd.h>

enum { LOOK_AT = 500 }; /* questions, for their length */

static hp_status_t mean_length(hp_store_t *store, const hp_split_t *range, double *tokens_p,
                               hp_error_t *err) {
    hp_store_reader_t *reader = NULL;
    const uint64_t n = range->count < LOOK_AT ? range->count : LOOK_AT;
    double sum = 0;
    HP_TRY(hp_store_reader_open(store, &reader, err));
    hp_status_t status = HP_OK;
    for (uint64_t i = 0; i < n && status == HP_OK; i++) {
        hp_question_t question;
        status =
            hp_store_read_question(reader, range->first + i * (range->count / n), &question, err);
        if (status == HP_OK) sum += question.tokens;
    }
    hp_store_reader_close(reader);
    *tokens_p = n > 0 ? sum / (double)n : 1;
    return status;
}

static hp_status_t look(const hp_config_t *config, hp_store_t *store, plan_shape_t *s,
                        hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(store);
    wk_part_t part;
    size_t bytes = 0;
    HP_TRY(wk_batch_shape(config, info, &s->shape, err));
    HP_TRY(wk_part_train(store, config, &part, err));
    HP_TRY(mean_length(store, &part.range, &s->tokens, err));
    HP_TRY(wk_train_memory(config, store, &bytes, err));
    s->worker_bytes = (double)bytes;
    s->questions_per_image = 1;
    if (config->data.group_by_image && info->images > 0)
        s->questions_per_image = (double)info->questions / (double)info->images;
    if (s->questions_per_image < 1) s->questions_per_image = 1;
    return HP_OK;
}

/* As wk_train_memory, with batches of as many images as are to be expected. */
static hp_status_t expect_memory(const hp_config_t *config, plan_shape_t *s, hp_error_t *err) {
    const wk_model_shape_t *shape = &s->shape;
    const int questions = config->data.batch_size;
    const int images = (int)ceil(questions / s->questions_per_image) + 1;
    const hp_store_info_t info = {
        .feature_dtype = HP_DTYPE_F16,
        .grid_height = shape->grid_height,
        .grid_width = shape->grid_width,
        .max_cells = shape->max_cells,
        .channels = shape->channels - wk_coords_channels(config->data.coords),
        .pixel_height = shape->pixel_height,
        .pixel_width = shape->pixel_width,
        .words = shape->words,
        .answers = shape->answers,
        .max_tokens = (int)(3 * s->tokens),
    };
    wk_batch_plan_t plan;
    hp_params_t params = {0};
    size_t model = 0;
    HP_TRY(wk_batch_plan(config, &info, questions, images < questions ? images : questions, &plan,
                         err));
    wk_batch_training(config, &plan);
    HP_TRY(wk_model_measure(config, shape, &plan.limits, &model, err));
    HP_TRY(wk_model_table(config, shape, &params, err));
    s->worker_bytes = (double)model + 3 * (double)params.total * sizeof(float) +
                      (config->data.prefetch + 1.0) * (double)wk_batch_bytes(&plan);
    hp_params_release(&params);
    return HP_OK;
}

hp_status_t plan_shape(const hp_config_t *config, const char *path, plan_shape_t *s,
                       hp_error_t *err) {
    cli_bench_work_t work;
    *s = (plan_shape_t){0};
    if (access(config->data.store, F_OK) == 0) {
        hp_store_t *store = NULL;
        HP_TRY(hp_store_open(config->data.store, &store, err));
        s->of_store = true;
        hp_status_t status = look(config, store, s, err);
        hp_store_close(store);
        return status;
    }
    HP_TRY(cli_bench_shape(config, path, false, &work, err));
    s->shape = work.shape;
    s->questions_per_image = work.questions_per_image;
    s->tokens = work.features ? 7 : 18;
    if (work.features) {
        s->shape.channels += wk_coords_channels(config->data.coords);
        s->shape.grid_height = s->shape.grid_width = (int)sqrt(s->shape.max_cells);
    }
    return expect_memory(config, s, err);
}
