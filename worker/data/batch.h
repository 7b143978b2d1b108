/* Builds a batch from the store: reads features and questions, normalises, appends coordinates. All
 * memory is planned for the largest batch; building one allocates nothing.
 *
 * Normalisation is done here, in fp32, never in the store; a bf16 model's cells are rounded in the
 * same pass. With N cells x_i in an image:
 *   image_rms  x_i sqrt(N) / |x|   (|x|: norm over all cells and channels; cells of mean square 1)
 *   image      x_i / |x|           (the paper's literal reading)
 *   cell       x_i / |x_i|
 *   none       x_i
 * An image, or cell, that is zero stays zero.
 *
 * Coordinates are two or four more channels, not normalised: worker/data/coords.h.
 *
 * `blank_images` makes every channel zero, coordinates included: all cells are alike, so that
 * neither the image nor a choice among its cells can tell anything.
 *
 * For a trunk the batch holds pixels instead (pixel_norm.h), and the trunk appends the coordinates.
 * Blank images are zero. */
#ifndef WK_BATCH_H
#define WK_BATCH_H

#include "common/config.h"
#include "common/store.h"
#include "worker/data/augment.h"
#include "worker/data/sampler.h"
#include "worker/model.h"

typedef struct {
    const hp_store_info_t *info;
    hp_feature_norm_t norm;
    hp_coords_t coords;
    bool blank;
    bool pixels; /* for a trunk, instead of features */
    hp_labels_t labels;
    bool shares;   /* soft labels are shares of the answers, not scores */
    uint64_t seed; /* of sampled labels */
    bool augmented;
    wk_augment_t augment;
    hp_pixel_norm_t pixel_norm;
    bool half; /* cells are rounded to bf16: the model reads them so */
    wk_model_shape_t shape;
    wk_model_limits_t limits;
} wk_batch_plan_t;

typedef struct {
    nn_batch_t nn; /* what the network reads */
    uint64_t unit; /* which unit this is, and the step it belongs to: set by the prefetcher */
    int64_t step;
    bool evaluate; /* no batch: a part of an evaluation stands in its place */
    int part, parts;
    const wk_example_t *example; /* [nn.questions] */
    const uint32_t *image;       /* [nn.images]: ordinal in the store */
    int labelled;                /* questions with a class */
} wk_batch_t;

typedef struct wk_batch_memory wk_batch_memory_t;

/* What a store and a configuration fix of the model: HP_INPUT where they do not fit (no features,
 * coordinates without a grid, no answers). */
hp_status_t wk_batch_shape(const hp_config_t *config, const hp_store_info_t *info,
                           wk_model_shape_t *shape, hp_error_t *err) HP_MUST_CHECK;

/* Batches of training: pixels are cropped and rotated, and labels sampled, as the configuration
 * says. Otherwise neither is: sampled labels are the most frequent ones. */
void wk_batch_training(const hp_config_t *config, wk_batch_plan_t *plan);

/* The plan for batches of at most `questions` questions and `images` image entries. `info` must
 * outlive it. */
hp_status_t wk_batch_plan(const hp_config_t *config, const hp_store_info_t *info, int questions,
                          int images, wk_batch_plan_t *plan, hp_error_t *err) HP_MUST_CHECK;

size_t wk_batch_bytes(const wk_batch_plan_t *plan); /* that a batch's memory takes */
hp_status_t wk_batch_create(const wk_batch_plan_t *plan, wk_batch_memory_t **memory_p,
                            hp_error_t *err) HP_MUST_CHECK;
void wk_batch_destroy(wk_batch_memory_t *memory);

/* Fill `memory` with n examples, and *batch with pointers into it, valid until the next build. */
hp_status_t wk_batch_build(wk_batch_memory_t *memory, const wk_batch_plan_t *plan,
                           hp_store_reader_t *reader, const wk_example_t *example, int n,
                           wk_batch_t *batch, hp_error_t *err) HP_MUST_CHECK;

/* The same with one question that is in no store: about image `image`, with tokens[token] (1 to
 * limits.tokens words, each checked by the model). It has no label. */
hp_status_t wk_batch_ask(wk_batch_memory_t *memory, const wk_batch_plan_t *plan,
                         hp_store_reader_t *reader, uint32_t image, const int32_t *token,
                         int tokens, wk_batch_t *batch, hp_error_t *err) HP_MUST_CHECK;

/* An image as a trunk's batch has it: [height][width][3]. */
hp_status_t wk_batch_read_pixels(const wk_batch_plan_t *plan, hp_store_reader_t *reader,
                                 uint32_t image, float *out, hp_error_t *err) HP_MUST_CHECK;

#endif
