#include "worker/nn/select.h"

#include "common/random.h"
#include "worker/nn/rows.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

size_t nn_select_slots(const nn_select_t *select, int questions, int max_cells) {
    bool fixed = select->kind != NN_SELECT_ALL && select->kind != NN_SELECT_ADAPTIVE;
    int most = fixed && select->cells < max_cells ? select->cells : max_cells;
    return (size_t)questions * (size_t)most;
}

void nn_selected_take(nn_selected_t *selected, hp_arena_t *arena, int images, int questions,
                      int cells, size_t slots) {
    *selected = (nn_selected_t){0};
    selected->offset = hp_arena_take(arena, (size_t)questions + 1, sizeof(int));
    selected->cell = hp_arena_take(arena, slots, sizeof(int));
    selected->row = hp_arena_take(arena, slots, sizeof(int));
    selected->row_offset = hp_arena_take(arena, (size_t)images + 1, sizeof(int));
    selected->row_cell = hp_arena_take(arena, (size_t)cells, sizeof(int));
    selected->cell_row = hp_arena_take(arena, (size_t)cells, sizeof(int));
}

static int select_all(int n, int *out) {
    for (int i = 0; i < n; i++) out[i] = i;
    return n;
}

/* Whether cell a ranks before cell b: a strict order, whatever the presences are. */
static bool before(const nn_real *presence, double sign, int a, int b) {
    double x = sign * (double)presence[a], y = sign * (double)presence[b];
    if (isnan(x)) x = -INFINITY;
    if (isnan(y)) y = -INFINITY;
    return x > y || (x == y && a < b);
}

static void sift_down(const nn_real *presence, double sign, int *heap, int k, int at) {
    int moving = heap[at];
    for (int child; (child = 2 * at + 1) < k; at = child) {
        if (child + 1 < k && before(presence, sign, heap[child], heap[child + 1])) child++;
        if (!before(presence, sign, moving, heap[child])) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

/* The k cells that rank first, k < n. A heap of the best k so far, its root the last of them, ends
 * with the last selected cell at the root: one more pass over the cells writes them in ascending
 * order. */
static int select_ranked(const nn_real *presence, double sign, int n, int k, int *out) {
    if (k <= 0) return 0;
    select_all(k, out);
    for (int at = k / 2; at-- > 0;) sift_down(presence, sign, out, k, at);
    for (int i = k; i < n; i++) {
        if (!before(presence, sign, i, out[0])) continue;
        out[0] = i;
        sift_down(presence, sign, out, k, 0);
    }
    int last = out[0], count = 0;
    for (int i = 0; i < n; i++)
        if (i == last || before(presence, sign, i, last)) out[count++] = i;
    return count;
}

/* Knuth's algorithm S: every subset of k cells is equally likely, in ascending order, without a
 * list of the cells. */
static int select_random(uint64_t seed, uint64_t key, int n, int k, int *out) {
    hp_random_t r = hp_random(seed, HP_RANDOM_SELECT, key, 0);
    int count = 0;
    for (int i = 0; i < n && count < k; i++)
        if (hp_random_below(&r, (uint64_t)(n - i)) < (uint64_t)(k - count)) out[count++] = i;
    return count;
}

static double norm_of(nn_real presence, nn_real question_norm) {
    double square = (double)presence + (double)question_norm;
    if (isnan(square)) return -INFINITY;
    return square > 0 ? sqrt(square) : 0; /* rounding can leave it just below zero */
}

/* exp(p - max), defined for infinite presences too. */
static double weight_of(double p, double max) { return p == max ? 1 : exp(p - max); }

static int select_adaptive(const nn_real *presence, nn_real question_norm, int n, int *out) {
    double max = -INFINITY, sum = 0;
    for (int i = 0; i < n; i++) max = fmax(max, norm_of(presence[i], question_norm));
    for (int i = 0; i < n; i++) sum += weight_of(norm_of(presence[i], question_norm), max);
    int count = 0;
    for (int i = 0; i < n; i++)
        if (n * weight_of(norm_of(presence[i], question_norm), max) > sum) out[count++] = i;
    return count > 0 || n == 0 ? count : select_ranked(presence, 1, n, 1, out);
}

/* presence: of the question's n cells; not read where the kind has no need of it. */
static int select_question(const nn_select_t *select, uint64_t key, int n, const nn_real *presence,
                           const nn_real *question_norm, int *out) {
    if (select->kind == NN_SELECT_ADAPTIVE)
        return select_adaptive(presence, *question_norm, n, out);
    if (select->kind == NN_SELECT_ALL || select->cells >= n) return select_all(n, out);
    if (select->kind == NN_SELECT_RANDOM)
        return select_random(select->seed, key, n, select->cells, out);
    return select_ranked(presence, select->kind == NN_SELECT_LOWEST ? -1 : 1, n, select->cells,
                         out);
}

void nn_select(const nn_select_t *select, const nn_batch_t *batch, const nn_real *presence,
               const int *presence_offset, const nn_real *question_norm, nn_selected_t *selected) {
    bool ranked = select->kind != NN_SELECT_ALL && select->kind != NN_SELECT_RANDOM;
    bool adaptive = select->kind == NN_SELECT_ADAPTIVE;
    int slots = 0;
    for (int q = 0; q < batch->questions; q++) {
        int image = batch->image[q];
        int n = batch->cell_offset[image + 1] - batch->cell_offset[image];
        selected->offset[q] = slots;
        slots += select_question(select, select->kind == NN_SELECT_RANDOM ? batch->key[q] : 0, n,
                                 ranked ? presence + presence_offset[q] : NULL,
                                 adaptive ? question_norm + q : NULL, selected->cell + slots);
    }
    selected->offset[batch->questions] = slots;
    selected->questions = batch->questions;
    selected->slots = slots;
}

void nn_select_given(const nn_batch_t *batch, const int *offset, const int *cell,
                     nn_selected_t *selected) {
    int slots = offset[batch->questions];
    memcpy(selected->offset, offset, ((size_t)batch->questions + 1) * sizeof *offset);
    if (slots > 0) memcpy(selected->cell, cell, (size_t)slots * sizeof *cell);
    selected->questions = batch->questions;
    selected->slots = slots;
}

/* cell_row says which cells get a row: 0 or more yes, -1 no. */
static void number_rows(const nn_batch_t *batch, nn_selected_t *selected) {
    int rows = 0;
    for (int i = 0; i < batch->images; i++) {
        selected->row_offset[i] = rows;
        for (int c = batch->cell_offset[i]; c < batch->cell_offset[i + 1]; c++) {
            if (selected->cell_row[c] < 0) continue;
            selected->row_cell[rows] = c;
            selected->cell_row[c] = rows++;
        }
    }
    selected->row_offset[batch->images] = rows;
    for (int q = 0; q < batch->questions; q++) {
        int first = batch->cell_offset[batch->image[q]];
        for (int s = selected->offset[q]; s < selected->offset[q + 1]; s++)
            selected->row[s] = selected->cell_row[first + selected->cell[s]];
    }
    selected->images = batch->images;
    selected->rows = rows;
}

void nn_select_pack(const nn_batch_t *batch, nn_selected_t *selected) {
    for (int c = 0; c < batch->cell_offset[batch->images]; c++) selected->cell_row[c] = -1;
    for (int q = 0; q < batch->questions; q++) {
        int first = batch->cell_offset[batch->image[q]];
        for (int s = selected->offset[q]; s < selected->offset[q + 1]; s++)
            selected->cell_row[first + selected->cell[s]] = 0;
    }
    number_rows(batch, selected);
}

void nn_select_pack_every(const nn_batch_t *batch, nn_selected_t *selected) {
    for (int c = 0; c < batch->cell_offset[batch->images]; c++) selected->cell_row[c] = 0;
    number_rows(batch, selected);
}

void nn_gather_rows(int rows, int width, const nn_real *x, const int *index, nn_real *out) {
    for (int r = 0; r < rows; r++)
        memcpy(nn_row(out, r, width), nn_row_const(x, index[r], width),
               (size_t)width * sizeof *out);
}
