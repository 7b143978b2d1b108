/* What the numeric tests share: guarded buffers, ragged batches, finite differences. In double. */
#ifndef TESTS_NUMERIC_CHECK_H
#define TESTS_NUMERIC_CHECK_H

#include "common/memory.h"
#include "common/random.h"
#include "worker/nn/select.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* A buffer with a pattern before and after it, which check_free compares. */
enum { CHECK_GUARD = 8 };
static const double check_pattern = -7.25e77;

static inline nn_real *check_buffer(size_t n) {
    nn_real *p = hp_calloc(n + 2 * CHECK_GUARD, sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < CHECK_GUARD; i++) p[i] = p[CHECK_GUARD + n + i] = check_pattern;
    return p + CHECK_GUARD; /* zeroed */
}

static inline void check_free(nn_real *p, size_t n) {
    if (p == NULL) return;
    for (size_t i = 1; i <= CHECK_GUARD; i++) {
        assert_true(p[-(ptrdiff_t)i] == check_pattern);
        assert_true(p[n + i - 1] == check_pattern);
    }
    hp_free(p - CHECK_GUARD);
}

static inline nn_real *check_random(size_t n, uint64_t stream, double scale) {
    nn_real *p = check_buffer(n);
    hp_random_t r = hp_random(1, HP_RANDOM_TEST, stream, n);
    for (size_t i = 0; i < n; i++) p[i] = scale * hp_random_normal(&r);
    return p;
}

/* Bytes that are no number: what a workspace holds before it is written must not matter. Writes
 * over the guards that the address sanitizer's build puts between takes, hence the attribute. */
__attribute__((no_sanitize("address"))) static inline void check_spoil(hp_arena_t *arena) {
    for (size_t i = 0; i < arena->size; i++) *((volatile unsigned char *)arena->base + i) = 0xff;
}

static inline void check_close(const char *what, size_t n, const nn_real *seen,
                               const nn_real *expected, double tolerance) {
    for (size_t i = 0; i < n; i++) {
        double limit = tolerance * (1 + fabs(expected[i]));
        if (!(fabs(seen[i] - expected[i]) <= limit))
            fail_msg("%s[%zu] is %.15g, expected %.15g", what, i, seen[i], expected[i]);
    }
}

static inline double check_difference(nn_real *x, double step, double (*loss)(void *context),
                                      void *context) {
    double keep = *x;
    *x = keep + step;
    double above = loss(context);
    *x = keep - step;
    double below = loss(context);
    *x = keep;
    return (above - below) / (2 * step);
}

/* The gradient of a loss with respect to x[0 .. n) against central differences. A step that crosses
 * the kink of a ReLU says nothing; a smaller one then stays on one side. */
static inline void check_gradient(const char *what, nn_real *x, size_t n, const nn_real *grad,
                                  double (*loss)(void *context), void *context) {
    for (size_t i = 0; i < n; i++) {
        double numeric = 0;
        bool agree = false;
        for (double step = 1e-5; !agree && step > 1e-8; step /= 10) {
            numeric = check_difference(x + i, step, loss, context);
            agree = fabs(numeric - grad[i]) <= 1e-6 * (1 + fabs(numeric));
        }
        if (!agree)
            fail_msg("gradient of %s[%zu] is %.12g, differences give %.12g", what, i, grad[i],
                     numeric);
    }
}

/* Ragged images with several questions each; no tokens. */
enum { CHECK_IMAGES = 4, CHECK_QUESTIONS = 8, CHECK_CELLS = 19, CHECK_MAX_CELLS = 9 };
typedef struct {
    int cell_offset[CHECK_IMAGES + 1], image[CHECK_QUESTIONS];
    uint64_t key[CHECK_QUESTIONS];
    nn_batch_t batch;
} check_batch_t;

/* Images of 5, 1, 9 and 4 cells with 3, 1, 2 and 2 questions. */
static inline void check_make_batch(check_batch_t *b) {
    static const int cells[CHECK_IMAGES] = {5, 1, 9, 4}, asked[CHECK_IMAGES] = {3, 1, 2, 2};
    int q = 0;
    b->cell_offset[0] = 0;
    for (int i = 0; i < CHECK_IMAGES; i++) {
        b->cell_offset[i + 1] = b->cell_offset[i] + cells[i];
        for (int j = 0; j < asked[i]; j++) b->image[q++] = i;
    }
    for (q = 0; q < CHECK_QUESTIONS; q++) b->key[q] = 1000 + 7 * (uint64_t)q;
    b->batch = (nn_batch_t){.images = CHECK_IMAGES,
                            .cell_offset = b->cell_offset,
                            .questions = CHECK_QUESTIONS,
                            .image = b->image,
                            .key = b->key};
}

/* A selection of that batch by random presences, its arrays in an arena of its own. */
static inline void check_select(const check_batch_t *b, nn_select_kind_t kind, int k,
                                hp_arena_t *arena, nn_selected_t *selected) {
    nn_select_t select = {kind, k, 3};
    nn_real presence[CHECK_QUESTIONS * CHECK_MAX_CELLS], question_norm[CHECK_QUESTIONS];
    int offset[CHECK_QUESTIONS + 1] = {0};
    hp_random_t r = hp_random(1, HP_RANDOM_TEST, 77, 0);
    for (int i = 0; i < CHECK_QUESTIONS * CHECK_MAX_CELLS; i++)
        presence[i] = 4 * hp_random_uniform(&r);
    for (int q = 0; q < CHECK_QUESTIONS; q++) {
        offset[q + 1] = offset[q] + b->cell_offset[b->image[q] + 1] - b->cell_offset[b->image[q]];
        question_norm[q] = 1;
    }
    *arena = (hp_arena_t){0};
    hp_error_t err;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) assert_int_equal(hp_arena_commit(arena, "selection", &err), HP_OK);
        nn_selected_take(selected, arena, CHECK_IMAGES, CHECK_QUESTIONS, CHECK_CELLS,
                         nn_select_slots(&select, CHECK_QUESTIONS, CHECK_MAX_CELLS));
    }
    nn_select(&select, &b->batch, presence, offset, question_norm, selected);
    nn_select_pack(&b->batch, selected);
}

/* A selection in which every question has rows of its own: what an ungrouped batch would give.
 * row_of[new row] is the row it copies. Arrays are the caller's. */
static inline void check_ungroup(const nn_selected_t *grouped, int *row, int *row_of,
                                 nn_selected_t *ungrouped) {
    *ungrouped = *grouped;
    for (int s = 0; s < grouped->slots; s++) {
        row[s] = s;
        row_of[s] = grouped->row[s];
    }
    ungrouped->row = row;
    ungrouped->rows = grouped->slots;
}

#endif
