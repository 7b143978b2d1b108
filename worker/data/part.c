#include "worker/data/part.h"

#include "common/random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool wk_cut_has(const wk_cut_t *cut, uint32_t image) {
    if (cut->share <= 0) return true;
    hp_random_t random = hp_random(cut->seed, HP_RANDOM_SPLIT, image, 0);
    return (hp_random_uniform(&random) < cut->share) != cut->rest;
}

static bool parse_share(const char *text, double *share_p) {
    if (text[0] == '\0' || text[strspn(text, "0123456789.")] != '\0') return false;
    char *end;
    *share_p = strtod(text, &end);
    return *end == '\0' && *share_p > 0 && *share_p < 1;
}

hp_status_t wk_part_find(const hp_store_t *store, const hp_config_t *config, const char *name,
                         wk_part_t *part, hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(store);
    wk_part_t found = {0};
    int split = 0;
    const char *colon = strrchr(name, ':');
    if (strlen(name) >= sizeof found.name)
        return hp_fail(err, HP_INPUT, "split '%.64s...': the name is too long", name);
    snprintf(found.name, sizeof found.name, "%s", name);
    if (colon != NULL && hp_store_find_split(store, name, &split, NULL) != HP_OK) {
        char whole[sizeof found.name];
        snprintf(whole, sizeof whole, "%.*s", (int)(colon - name), name);
        if (!parse_share(colon + 1, &found.cut.share))
            return hp_fail(err, HP_INPUT,
                           "split '%s': a share of its images between 0 and 1 is allowed after the "
                           "colon",
                           name);
        found.cut.seed = (uint64_t)config->data.valid_seed;
        HP_TRY(hp_store_find_split(store, whole, &split, err));
    } else {
        HP_TRY(hp_store_find_split(store, name, &split, err));
    }
    found.range = info->split[split];
    *part = found;
    return HP_OK;
}

hp_status_t wk_part_train(const hp_store_t *store, const hp_config_t *config, wk_part_t *part,
                          hp_error_t *err) {
    wk_part_t train, valid;
    int split = 0;
    if (hp_store_find_split(store, config->data.train, &split, err) != HP_OK)
        return hp_fail_prefix(err, "data.train");
    train = (wk_part_t){.range = hp_store_info(store)->split[split]};
    snprintf(train.name, sizeof train.name, "%s", config->data.train);
    if (strchr(config->data.valid, ':') != NULL) {
        if (wk_part_find(store, config, config->data.valid, &valid, err) != HP_OK)
            return hp_fail_prefix(err, "data.valid");
        if (valid.range.first == train.range.first && valid.cut.share > 0) {
            train.cut = valid.cut;
            train.cut.rest = true;
        }
    }
    *part = train;
    return HP_OK;
}
