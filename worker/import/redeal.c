#include "worker/import/redeal.h"

#include "common/memory.h"
#include "common/random.h"
#include "worker/import/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = -1, KEPT = 0, HELD = 1 };

/* ---- names --------------------------------------------------------------------------------- */

static hp_status_t add_split(wk_dealt_t *d, const char *name, uint8_t *number_p, hp_error_t *err) {
    for (int s = 0; s < d->splits; s++)
        if (strcmp(d->split[s], name) == 0) {
            *number_p = (uint8_t)s;
            return HP_OK;
        }
    if (d->splits == WK_REDEAL_SPLITS)
        return hp_fail(err, HP_INPUT, "at most %d splits", WK_REDEAL_SPLITS);
    *number_p = (uint8_t)d->splits;
    d->split[d->splits++] = name;
    return HP_OK;
}

/* Every question where it is; what will be dealt goes to `kept` for now. */
static hp_status_t begin(hp_store_t *store, const wk_redeal_t *r, wk_dealt_t *d, hp_split_t *pool,
                         uint8_t *held_p, hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(store);
    void *p = NULL;
    int from = 0;
    uint8_t kept = 0, number = 0;
    *pool = (hp_split_t){.first = 0, .count = info->questions};
    if (r->from != NULL) {
        HP_TRY(hp_store_find_split(store, r->from, &from, err));
        *pool = info->split[from];
    }
    const char *name = r->kept != NULL ? r->kept : r->from;
    if (name == NULL) return hp_fail(err, HP_INTERNAL, "what is kept has no name");
    for (int s = 0; r->from != NULL && s < info->splits; s++) {
        bool taken = strcmp(info->split[s].name, r->held) == 0 ||
                     (s != from && strcmp(info->split[s].name, name) == 0);
        if (taken)
            return hp_fail(err, HP_INPUT, "the store has a split '%s' already",
                           info->split[s].name);
    }
    if (strcmp(name, r->held) == 0)
        return hp_fail(err, HP_INPUT, "both splits are named '%s'", name);
    HP_TRY(hp_allocate(&p, info->questions, 1, "splits", err));
    d->of = p;
    HP_TRY(add_split(d, name, &kept, err));
    HP_TRY(add_split(d, r->held, held_p, err));
    memset(d->of, kept, info->questions);
    for (int s = 0; r->from != NULL && s < info->splits; s++) {
        if (s == from) continue;
        HP_TRY(add_split(d, info->split[s].name, &number, err));
        memset(d->of + info->split[s].first, number, info->split[s].count);
    }
    return HP_OK;
}

/* ---- by chance ----------------------------------------------------------------------------- */

static hp_status_t by_chance(hp_store_t *store, const wk_redeal_t *r, const hp_split_t *pool,
                             uint8_t held, wk_dealt_t *d, hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(store);
    const uint32_t *image = hp_store_question_image(store);
    const bool whole = r->how == WK_REDEAL_IMAGE;
    void *p = NULL, *q = NULL;
    HP_TRY(hp_allocate(&p, whole ? info->images : pool->count, sizeof(uint32_t), "an order", err));
    hp_status_t status = hp_allocate(&q, info->images, 1, "images", err);
    uint32_t *order = p, n = 0;
    uint8_t *mark = q;
    for (uint64_t i = 0; status == HP_OK && i < pool->count; i++) {
        if (!whole) {
            order[n++] = (uint32_t)i;
        } else if (!mark[image[pool->first + i]]) {
            mark[image[pool->first + i]] = 1;
            order[n++] = image[pool->first + i];
        }
    }
    if (status == HP_OK) {
        hp_random_t random = hp_random(r->seed, HP_RANDOM_SPLIT, 1 + (uint64_t)r->how, 0);
        hp_random_shuffle(&random, order, n);
        uint32_t go = (uint32_t)llround(r->share * n);
        for (uint32_t i = 0; i < go; i++)
            if (whole)
                mark[order[i]] = 2;
            else
                d->of[pool->first + order[i]] = held;
        for (uint64_t i = pool->first; whole && i < pool->first + pool->count; i++)
            if (mark[image[i]] == 2) d->of[i] = held;
    }
    hp_free(p);
    hp_free(q);
    return status;
}

/* ---- changing priors ----------------------------------------------------------------------- */

/* The questions of one type and one answer. */
typedef struct {
    uint32_t type, answer; /* numbers in `types` and `answers` */
    uint64_t count;
    int side; /* NONE, KEPT, HELD */
} group_t;

typedef struct {
    hp_store_reader_t *reader;
    wk_strings_t keys, types, answers, words;
    int64_t *of; /* [pool]: group; NONE */
    group_t *group;
    size_t groups, room;
    uint32_t *order;  /* [groups], the largest first */
    uint64_t *left;   /* [types]: groups that are not held */
    uint8_t *covered; /* [words] by a kept group */
    size_t *first;    /* [words + 1]: where each word's groups begin in `having` */
    uint32_t *having; /* groups that have a word, the largest first */
    uint64_t total, held;
} priors_t;

static hp_status_t add_group(priors_t *p, const hp_question_t *q, int64_t *group_p,
                             hp_error_t *err) {
    char key[64];
    uint32_t type = 0, answer = 0, number = 0, known = p->keys.count;
    HP_TRY(wk_strings_add(&p->types, q->question_type, strlen(q->question_type), &type, err));
    HP_TRY(wk_strings_add(&p->answers, q->target, strlen(q->target), &answer, err));
    int n = snprintf(key, sizeof key, "%lu %lu", (unsigned long)type, (unsigned long)answer);
    HP_TRY(wk_strings_add(&p->keys, key, (size_t)n, &number, err));
    if (number == known) {
        if (p->groups == p->room) {
            void *grown = NULL;
            size_t more = 2 * p->room + 1024;
            HP_TRY(hp_allocate(&grown, more, sizeof *p->group, "groups", err));
            if (p->groups > 0) memcpy(grown, p->group, p->groups * sizeof *p->group);
            hp_free(p->group);
            p->group = grown;
            p->room = more;
        }
        p->group[p->groups++] = (group_t){.type = type, .answer = answer, .side = NONE};
    }
    p->group[number].count++;
    p->total++;
    *group_p = number;
    return HP_OK;
}

/* The next word of `text` after *at; false: there is none. */
static bool each_word(const char *text, const char **at, size_t *bytes) {
    const char *from = *at == NULL ? text : *at + *bytes;
    from += strspn(from, " ");
    *at = from;
    *bytes = strcspn(from, " ");
    return *bytes > 0;
}

static int by_size(const void *a, const void *b, void *context) {
    const group_t *group = context;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    if (group[i].count != group[k].count) return group[i].count < group[k].count ? 1 : -1;
    return (i > k) - (i < k);
}

static void keep(priors_t *p, group_t *g) {
    const char *text[2] = {wk_strings_get(&p->types, g->type),
                           wk_strings_get(&p->answers, g->answer)};
    g->side = KEPT;
    for (int k = 0; k < 2; k++) {
        const char *at = NULL;
        for (size_t n = 0; each_word(text[k], &at, &n);)
            p->covered[wk_strings_find(&p->words, at, n)] = 1;
    }
}

/* For each word of a group that went away, the largest group that has it stays. */
static void cover(priors_t *p, const group_t *g) {
    const char *text[2] = {wk_strings_get(&p->types, g->type),
                           wk_strings_get(&p->answers, g->answer)};
    for (int k = 0; k < 2; k++) {
        const char *at = NULL;
        for (size_t n = 0; each_word(text[k], &at, &n);) {
            size_t word = (size_t)wk_strings_find(&p->words, at, n);
            for (size_t i = p->first[word]; !p->covered[word] && i < p->first[word + 1]; i++) {
                group_t *other = &p->group[p->having[i]];
                if (other->side == NONE) keep(p, other);
            }
            p->covered[word] = 1; /* nobody else has it, too */
        }
    }
}

/* Calls fill for every word of every group, the largest group first. */
static void each_having(priors_t *p, void (*fill)(priors_t *p, size_t word, uint32_t group)) {
    for (size_t i = 0; i < p->groups; i++) {
        const group_t *g = &p->group[p->order[i]];
        const char *text[2] = {wk_strings_get(&p->types, g->type),
                               wk_strings_get(&p->answers, g->answer)};
        for (int k = 0; k < 2; k++) {
            const char *at = NULL;
            for (size_t n = 0; each_word(text[k], &at, &n);)
                fill(p, (size_t)wk_strings_find(&p->words, at, n), p->order[i]);
        }
    }
}

static void count_having(priors_t *p, size_t word, uint32_t group) {
    (void)group;
    p->first[word + 1]++;
}

static void list_having(priors_t *p, size_t word, uint32_t group) {
    p->having[p->first[word]++] = group;
}

static hp_status_t index_words(priors_t *p, hp_error_t *err) {
    void *q = NULL;
    size_t words = p->words.count;
    HP_TRY(hp_allocate(&q, words + 1, sizeof *p->first, "words", err));
    p->first = q;
    each_having(p, count_having);
    for (size_t w = 0; w < words; w++) p->first[w + 1] += p->first[w];
    HP_TRY(hp_allocate(&q, p->first[words] + 1, sizeof *p->having, "words", err));
    p->having = q;
    each_having(p, list_having);
    for (size_t w = words; w > 0; w--) p->first[w] = p->first[w - 1];
    p->first[0] = 0;
    return HP_OK;
}

static hp_status_t prepare(priors_t *p, hp_error_t *err) {
    void *q = NULL;
    uint32_t number = 0;
    for (uint32_t i = 0; i < p->types.count + p->answers.count; i++) {
        const char *text = i < p->types.count ? wk_strings_get(&p->types, i)
                                              : wk_strings_get(&p->answers, i - p->types.count);
        const char *at = NULL;
        for (size_t n = 0; each_word(text, &at, &n);)
            HP_TRY(wk_strings_add(&p->words, at, n, &number, err));
    }
    HP_TRY(hp_allocate(&q, p->words.count + 1, 1, "words", err));
    p->covered = q;
    HP_TRY(hp_allocate(&q, p->types.count + 1, sizeof *p->left, "types", err));
    p->left = q;
    for (size_t i = 0; i < p->groups; i++) p->left[p->group[i].type]++;
    HP_TRY(hp_allocate(&q, p->groups + 1, sizeof *p->order, "groups", err));
    p->order = q;
    for (size_t i = 0; i < p->groups; i++) p->order[i] = (uint32_t)i;
    qsort_r(p->order, p->groups, sizeof *p->order, by_size, p->group);
    return index_words(p, err);
}

static hp_status_t deal_groups(priors_t *p, const wk_redeal_t *r, hp_error_t *err) {
    void *q = NULL;
    HP_TRY(prepare(p, err));
    HP_TRY(hp_allocate(&q, p->groups + 1, sizeof(uint32_t), "groups", err));
    uint32_t *chance = q;
    const uint64_t want = (uint64_t)llround(r->share * (double)p->total);
    for (size_t i = 0; i < p->groups; i++) chance[i] = (uint32_t)i;
    hp_random_t random = hp_random(r->seed, HP_RANDOM_SPLIT, 1 + (uint64_t)r->how, 0);
    hp_random_shuffle(&random, chance, p->groups);
    for (size_t i = 0; i < p->groups && p->held < want; i++) {
        group_t *g = &p->group[chance[i]];
        if (g->side != NONE || p->left[g->type] < 2 || p->held + g->count > want + want / 50)
            continue;
        g->side = HELD;
        p->left[g->type]--;
        p->held += g->count;
        cover(p, g);
    }
    hp_free(q);
    return HP_OK;
}

/* How far apart the answers of each type are. A group is whole on one side, so within a type
 * nothing is shared: the distance is 1 where both sides have the type, and a type of `held` alone
 * counts 0.
 */
static hp_status_t measure(const priors_t *p, wk_dealt_t *d, hp_error_t *err) {
    uint64_t apart = 0, covered = 0;
    void *q = NULL;
    HP_TRY(hp_allocate(&q, p->answers.count, 1, "answers", err));
    uint8_t *kept = q;
    for (size_t i = 0; i < p->groups; i++) kept[p->group[i].answer] |= p->group[i].side != HELD;
    for (size_t i = 0; i < p->groups; i++) {
        const group_t *g = &p->group[i];
        if (g->side != HELD) continue;
        apart += p->left[g->type] > 0 ? g->count : 0;
        covered += kept[g->answer] ? g->count : 0;
    }
    hp_free(q);
    d->distance = p->held > 0 ? (double)apart / (double)p->held : 0;
    d->covered = p->held > 0 ? (double)covered / (double)p->held : 0;
    return HP_OK;
}

static hp_status_t by_priors(const wk_redeal_t *r, const hp_split_t *pool, uint8_t held,
                             priors_t *p, wk_dealt_t *d, hp_error_t *err) {
    void *q = NULL;
    HP_TRY(hp_allocate(&q, pool->count, sizeof *p->of, "questions", err));
    p->of = q;
    for (uint64_t i = 0; i < pool->count; i++) {
        hp_question_t question;
        p->of[i] = NONE;
        HP_TRY(hp_store_read_question(p->reader, pool->first + i, &question, err));
        if (question.target[0] != '\0') HP_TRY(add_group(p, &question, &p->of[i], err));
    }
    HP_TRY(deal_groups(p, r, err));
    HP_TRY(measure(p, d, err));
    for (uint64_t i = 0; i < pool->count; i++)
        if (p->of[i] == NONE)
            d->of[pool->first + i] = WK_REDEAL_LEFT_OUT;
        else if (p->group[p->of[i]].side == HELD)
            d->of[pool->first + i] = held;
    return HP_OK;
}

static void release(priors_t *p) {
    hp_store_reader_close(p->reader);
    wk_strings_release(&p->keys);
    wk_strings_release(&p->types);
    wk_strings_release(&p->answers);
    wk_strings_release(&p->words);
    hp_free(p->of);
    hp_free(p->group);
    hp_free(p->order);
    hp_free(p->left);
    hp_free(p->covered);
    hp_free(p->first);
    hp_free(p->having);
}

hp_status_t wk_redeal(hp_store_t *store, const wk_redeal_t *r, wk_dealt_t *d, hp_error_t *err) {
    hp_split_t pool;
    uint8_t held = 0;
    priors_t priors = {0};
    *d = (wk_dealt_t){0};
    hp_status_t status = begin(store, r, d, &pool, &held, err);
    if (status == HP_OK && r->how != WK_REDEAL_PRIORS)
        status = by_chance(store, r, &pool, held, d, err);
    if (status == HP_OK && r->how == WK_REDEAL_PRIORS) {
        status = hp_store_reader_open(store, &priors.reader, err);
        if (status == HP_OK) status = by_priors(r, &pool, held, &priors, d, err);
        release(&priors);
    }
    for (uint64_t i = pool.first; status == HP_OK && i < pool.first + pool.count; i++) {
        d->held += d->of[i] == held;
        d->left_out += d->of[i] == WK_REDEAL_LEFT_OUT;
    }
    d->kept = pool.count - d->held - d->left_out;
    if (status == HP_OK && (d->kept == 0 || d->held == 0))
        status = hp_fail(err, HP_INPUT, "no question would be left in split '%s'",
                         d->split[d->kept == 0 ? 0 : held]);
    if (status != HP_OK) {
        hp_free(d->of);
        d->of = NULL;
    }
    return status;
}
