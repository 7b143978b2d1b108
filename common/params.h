/* The parameter table: everything about weights derives from it. Workers, servers, checkpoints and
 * exports read the same table. Names and layouts are PyTorch's (`weight` is [out, in]). */
#ifndef HP_PARAMS_H
#define HP_PARAMS_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

#define HP_PARAM_NAME 96
#define HP_PARAM_DIMS 4

typedef enum {
    HP_INIT_ZERO,
    HP_INIT_ONE,
    HP_INIT_UNIFORM, /* U(-a, a) */
    HP_INIT_NORMAL   /* N(0, a^2) */
} hp_init_kind_t;

typedef enum {
    HP_PARAM_WEIGHT, /* trained by the optimizer */
    HP_PARAM_BUFFER  /* no gradient: averaged by the servers (batch-norm statistics) */
} hp_param_kind_t;

typedef struct {
    char name[HP_PARAM_NAME];
    int dims;
    int64_t shape[HP_PARAM_DIMS];
    int64_t offset; /* elements, in the flat block; a multiple of 16 (64 bytes) */
    int64_t count;  /* elements: the product of shape */
    hp_param_kind_t kind;
    hp_init_kind_t init;
    double init_scale; /* a, above */
    bool sparse_rows;  /* the gradient touches few rows of shape[0] (word embedding) */
    int forward_order; /* 0 is read first by forward */
} hp_param_t;

typedef struct {
    int count;
    int capacity;
    hp_param_t *param; /* [count], in order of offset */
    int64_t total;     /* elements of the flat block, padding included */
} hp_params_t;

/* Append a row; its offset follows the rows before. -1 and an error where the name is taken, too
 * long or a size is not positive. */
hp_status_t hp_params_add(hp_params_t *params, const char *name, int dims, const int64_t *shape,
                          hp_param_kind_t kind, hp_init_kind_t init, double init_scale,
                          bool sparse_rows, int *index_p, hp_error_t *err) HP_MUST_CHECK;
void hp_params_release(hp_params_t *params);

int hp_params_find(const hp_params_t *params, const char *name); /* -1: no such row */

/* Write the initial values of elements [begin, end) of the flat block to out[0 .. end-begin).
 * A pure function of (table, seed, range): any server initialises its own chunks alone. Padding is
 * zero. */
void hp_params_initialise(const hp_params_t *params, uint64_t seed, int64_t begin, int64_t end,
                          float *out);

/* True when both tables have the same rows; otherwise the first difference is described. */
hp_status_t hp_params_same(const hp_params_t *a, const hp_params_t *b,
                           hp_error_t *err) HP_MUST_CHECK;

#endif
