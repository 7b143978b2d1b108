/* Which examples a unit of work holds: a pure function of (options, unit). Unit u is examples
 * [u B, (u+1) B) of an endless sequence of epochs laid end to end, so the last batch of an epoch
 * runs into the next and every example comes exactly once an epoch.
 *
 * Grouped, an epoch is a permutation of groups: the questions of one image follow one another (at
 * most max_questions_per_image; an image with more makes several groups). A batch's edge may
 * cut a group. Ungrouped, it is a permutation of questions, and every question brings its image;
 * with `distinct` the questions of a unit are then put in the order of their images, and each image
 * comes once. */
#ifndef WK_SAMPLER_H
#define WK_SAMPLER_H

#include "common/status.h"
#include "worker/data/part.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const uint32_t *image; /* column over all questions of the store: ordinal of the image */
    const int32_t *label;  /* the same: class, or -1; read by wk_sampler_create alone */
    uint64_t first, count; /* the split: questions [first, first + count) */
    wk_cut_t cut;          /* and of these, those of its images */
    uint64_t seed;
    int batch_size;      /* B, questions */
    bool labelled_only;  /* skip questions without a class: they cannot be trained on */
    bool group_by_image; /* questions of an image share its entry in the batch */
    bool shuffle;        /* false: every epoch in the order of the store */
    bool distinct; /* a unit's questions of one image and epoch share its entry, grouped or not */
    bool gather;   /* not shuffled, grouped: bring an image's questions together */
    int max_questions_per_image; /* in one group; 0: no cap */
} wk_sampler_options_t;

typedef struct {
    uint32_t question; /* ordinal in the store */
    uint32_t epoch;
    bool opens; /* begins a group: the batch needs a new image entry */
} wk_example_t;

typedef struct wk_sampler wk_sampler_t;

/* `image` must outlive the sampler. HP_INPUT: the split has no example to give. */
hp_status_t wk_sampler_create(const wk_sampler_options_t *options, wk_sampler_t **sampler_p,
                              hp_error_t *err) HP_MUST_CHECK;
void wk_sampler_destroy(wk_sampler_t *sampler);

uint64_t wk_sampler_size(const wk_sampler_t *sampler); /* examples in an epoch */

/* The most image entries a batch can hold, whatever the seed. */
int wk_sampler_max_images(const wk_sampler_t *sampler);

/* The examples of a unit, into out[batch_size]; the first always opens. Keeps the permutations of
 * two epochs: units in rising order cost one shuffle an epoch. One thread at a time. */
void wk_sampler_unit(wk_sampler_t *sampler, uint64_t unit, wk_example_t *out);

#endif
