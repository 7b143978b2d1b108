/* A split, or a part of it cut off by image: NAME:SHARE is the questions of a seeded share of
 * NAME's images, and what is left of NAME is the others. Which image is cut off depends on the seed
 * and the image's number alone. */
#ifndef WK_PART_H
#define WK_PART_H

#include "common/config.h"
#include "common/store.h"

#include <stdbool.h>
#include <stdint.h>

/* Which images; a zeroed one has all. */
typedef struct {
    double share; /* 0: all */
    uint64_t seed;
    bool rest; /* those that the share has not */
} wk_cut_t;

typedef struct {
    char name[64];
    hp_split_t range; /* questions of the split; those of the part are among them */
    wk_cut_t cut;
} wk_part_t;

bool wk_cut_has(const wk_cut_t *cut, uint32_t image);

/* The part that `name` means: a split, or NAME:SHARE with a share between 0 and 1, by the
 * configuration's data.valid_seed. HP_INPUT: no such split, no such share. */
hp_status_t wk_part_find(const hp_store_t *store, const hp_config_t *config, const char *name,
                         wk_part_t *part, hp_error_t *err) HP_MUST_CHECK;

/* What is trained on: data.train, less what data.valid cuts off it. */
hp_status_t wk_part_train(const hp_store_t *store, const hp_config_t *config, wk_part_t *part,
                          hp_error_t *err) HP_MUST_CHECK;

#endif
