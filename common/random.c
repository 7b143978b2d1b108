#include "common/random.h"

#include <math.h>

static void philox(const uint32_t key_in[2], const uint32_t counter[4], uint32_t out[4]) {
    uint32_t k0 = key_in[0], k1 = key_in[1];
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t hp_random_mix(uint64_t a, uint64_t b) { /* the finaliser of splitmix64 */
    uint64_t z = a * 0x9E3779B97F4A7C15u + b + 0x632BE59BD9B4E019u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

hp_random_t hp_random(uint64_t seed, hp_random_purpose_t purpose, uint64_t a, uint64_t b) {
    uint64_t key = hp_random_mix(seed, (uint64_t)purpose);
    uint64_t stream = hp_random_mix(a, hp_random_mix(b, (uint64_t)purpose));
    hp_random_t r = {.key = {(uint32_t)key, (uint32_t)(key >> 32)},
                     .counter = {0, 0, (uint32_t)stream, (uint32_t)(stream >> 32)},
                     .used = 4};
    return r;
}

uint32_t hp_random_u32(hp_random_t *r) {
    if (r->used == 4) {
        philox(r->key, r->counter, r->block);
        r->used = 0;
        if (++r->counter[0] == 0) r->counter[1]++;
    }
    return r->block[r->used++];
}

uint64_t hp_random_u64(hp_random_t *r) {
    uint64_t low = hp_random_u32(r);
    return low | (uint64_t)hp_random_u32(r) << 32;
}

double hp_random_uniform(hp_random_t *r) { return (double)(hp_random_u64(r) >> 11) * 0x1p-53; }

double hp_random_normal(hp_random_t *r) {
    double u = 1.0 - hp_random_uniform(r); /* (0, 1] */
    double v = hp_random_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

uint64_t hp_random_below(hp_random_t *r, uint64_t n) {
    uint64_t limit = UINT64_MAX - UINT64_MAX % n; /* a multiple of n */
    uint64_t x = hp_random_u64(r);
    while (x >= limit) x = hp_random_u64(r);
    return x % n;
}

void hp_random_shuffle(hp_random_t *r, uint32_t *v, uint64_t n) {
    for (uint64_t i = n; i > 1; i--) {
        uint64_t j = hp_random_below(r, i);
        uint32_t t = v[i - 1];
        v[i - 1] = v[j];
        v[j] = t;
    }
}
