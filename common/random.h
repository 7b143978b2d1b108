/* Counter-based random numbers: Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as
 * easy as 1, 2, 3"). A stream is a pure function of (seed, purpose, a, b): nothing depends on which
 * rank draws, when, or in which batch. */
#ifndef HP_RANDOM_H
#define HP_RANDOM_H

#include <stdint.h>

typedef enum {
    HP_RANDOM_INIT = 1,  /* a = hash of the parameter's name, b = first element */
    HP_RANDOM_ORDER,     /* a = epoch */
    HP_RANDOM_DROPOUT,   /* a = example key, b = layer */
    HP_RANDOM_SELECT,    /* a = example key: `random` attention */
    HP_RANDOM_AUGMENT,   /* a = image key */
    HP_RANDOM_LABEL,     /* a = example key: sampled answer */
    HP_RANDOM_SYNTH,     /* a = image number */
    HP_RANDOM_SPLIT,     /* a = split number */
    HP_RANDOM_BOOTSTRAP, /* a = draw */
    HP_RANDOM_TEST = 1000
} hp_random_purpose_t;

typedef struct {
    uint32_t key[2];
    uint32_t counter[4];
    uint32_t block[4];
    unsigned used; /* values of block already handed out */
} hp_random_t;

hp_random_t hp_random(uint64_t seed, hp_random_purpose_t purpose, uint64_t a, uint64_t b);

uint32_t hp_random_u32(hp_random_t *r);
uint64_t hp_random_u64(hp_random_t *r);
double hp_random_uniform(hp_random_t *r);             /* [0, 1), 53 bits */
double hp_random_normal(hp_random_t *r);              /* mean 0, variance 1 (Box-Muller) */
uint64_t hp_random_below(hp_random_t *r, uint64_t n); /* 0 .. n-1, unbiased; n > 0 */
void hp_random_shuffle(hp_random_t *r, uint32_t *v, uint64_t n); /* Fisher-Yates, in place */

/* Mixes two words into one: the key of an example in an epoch, say. */
uint64_t hp_random_mix(uint64_t a, uint64_t b);

#endif
