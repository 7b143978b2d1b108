#include "worker/bench.h"

#include "common/clock.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/vector.h"

enum { SEED = 1 };

struct wk_bench {
    wk_model_t *model;
    wk_model_limits_t limits;
    nn_batch_t batch;
    wk_selection_t fixed;
    wk_pass_t pass;
    hp_arena_t arena;
    int64_t rows;
    bool reads_half;
    /* owned by the arena */
    float *weights, *grads, *cells; /* cells, or pixels for a trunk */
    size_t numbers;                 /* of all images */
    hp_bf16_t *half;                /* the cells rounded, where the model reads them so */
    int *cell_offset, *image, *token_offset, *selected_offset, *selected;
    int32_t *token, *label;
    uint64_t *key;
    uint32_t *order, *last; /* [max_cells]; last: the image that took a cell last, + 1 */
    double *need, *final;   /* [params] seconds after the last passes' begin */
    double begun;           /* clock at the pass that runs */
};

/* Lengths 2 below to 2 above the mean. */
static int question_length(const wk_bench_plan_t *plan, int question) {
    int length = plan->tokens - 2 + question % 5;
    return length > 0 ? length : 1;
}

static wk_model_limits_t count(const wk_bench_plan_t *plan) {
    wk_model_limits_t n = {.questions = plan->questions};
    n.images = (int)(plan->questions / plan->questions_per_image + 0.5);
    if (n.images < 1) n.images = 1;
    if (n.images > n.questions) n.images = n.questions;
    n.cells = n.images * plan->shape.max_cells;
    for (int q = 0; q < n.questions; q++) n.tokens += question_length(plan, q);
    return n;
}

static size_t numbers(const wk_bench_plan_t *plan, const wk_model_limits_t *n) {
    const wk_model_shape_t *s = &plan->shape;
    if (s->pixel_height == 0) return (size_t)n->cells * (size_t)s->channels;
    return (size_t)n->images * (size_t)s->pixel_height * (size_t)s->pixel_width *
           (size_t)s->channels;
}

static void take(wk_bench_t *b, const wk_bench_plan_t *plan, const hp_params_t *params) {
    const wk_model_limits_t *n = &b->limits;
    const int64_t parameters = params->total;
    hp_arena_t *a = &b->arena;
    b->need = hp_arena_take(a, (size_t)params->count, sizeof *b->need);
    b->final = hp_arena_take(a, (size_t)params->count, sizeof *b->final);
    b->weights = hp_arena_take(a, (size_t)parameters, sizeof *b->weights);
    b->grads = hp_arena_take(a, (size_t)parameters, sizeof *b->grads);
    b->cells = hp_arena_take(a, b->numbers, sizeof *b->cells);
    if (b->reads_half) b->half = hp_arena_take(a, b->numbers, sizeof *b->half);
    b->cell_offset = hp_arena_take(a, (size_t)n->images + 1, sizeof *b->cell_offset);
    b->image = hp_arena_take(a, (size_t)n->questions, sizeof *b->image);
    b->token_offset = hp_arena_take(a, (size_t)n->questions + 1, sizeof *b->token_offset);
    b->token = hp_arena_take(a, (size_t)n->tokens, sizeof *b->token);
    b->label = hp_arena_take(a, (size_t)n->questions, sizeof *b->label);
    b->key = hp_arena_take(a, (size_t)n->questions, sizeof *b->key);
    b->selected_offset = hp_arena_take(a, (size_t)n->questions + 1, sizeof *b->selected_offset);
    b->selected =
        hp_arena_take(a, (size_t)n->questions * (size_t)plan->shape.max_cells, sizeof *b->selected);
    b->order = hp_arena_take(a, (size_t)plan->shape.max_cells, sizeof *b->order);
    b->last = hp_arena_take(a, (size_t)plan->shape.max_cells, sizeof *b->last);
}

/* Half of the features are zero, as after a ReLU. */
static void fill_batch(wk_bench_t *b, const wk_bench_plan_t *plan) {
    const wk_model_limits_t *n = &b->limits;
    hp_random_t random = hp_random(SEED, HP_RANDOM_TEST, 0, 0);
    const bool pixels = plan->shape.pixel_height > 0;
    for (size_t i = 0; i < b->numbers; i++) {
        uint32_t bits = hp_random_u32(&random);
        b->cells[i] = bits & 1 ? (float)(bits >> 8) * 0x1p-24f : 0;
    }
    if (b->half != NULL) hp_bf16_round(b->half, b->cells, (int64_t)b->numbers);
    for (int i = 0; i <= n->images; i++) b->cell_offset[i] = i * plan->shape.max_cells;
    for (int q = 0; q < n->questions; q++) {
        b->image[q] = (int)((int64_t)q * n->images / n->questions);
        b->token_offset[q + 1] = b->token_offset[q] + question_length(plan, q);
        b->label[q] = (int32_t)hp_random_below(&random, (uint64_t)plan->shape.answers);
        b->key[q] = (uint64_t)q;
    }
    for (int t = 0; t < n->tokens; t++)
        b->token[t] = (int32_t)hp_random_below(&random, (uint64_t)plan->shape.words);
    b->batch = (nn_batch_t){.images = n->images,
                            .cell_offset = b->cell_offset,
                            .cells = pixels ? NULL : b->cells,
                            .pixels = pixels ? b->cells : NULL,
                            .half = b->half,
                            .channels = plan->shape.channels,
                            .questions = n->questions,
                            .image = b->image,
                            .token_offset = b->token_offset,
                            .token = b->token,
                            .label = b->label,
                            .key = b->key};
}

/* Each image's cells are shuffled; its questions take their first ones, or one after another. */
static void fill_selection(wk_bench_t *b, const wk_bench_plan_t *plan) {
    const int cells = plan->shape.max_cells;
    const int wanted = plan->cells < cells ? plan->cells : cells;
    int first = 0, image = -1;
    for (int q = 0; q < b->limits.questions; q++) {
        if (b->image[q] != image) {
            image = b->image[q];
            first = 0;
            for (int c = 0; c < cells; c++) b->order[c] = (uint32_t)c;
            hp_random_t random = hp_random(SEED, HP_RANDOM_TEST, 1, (uint64_t)image);
            hp_random_shuffle(&random, b->order, (uint64_t)cells);
        } else if (plan->selection == WK_BENCH_DIFFERENT) {
            first = (first + wanted) % cells;
        }
        int *out = b->selected + b->selected_offset[q];
        for (int i = 0; i < wanted; i++) { /* ascending: insertion */
            int cell = (int)b->order[(first + i) % cells], at = i;
            for (; at > 0 && out[at - 1] > cell; at--) out[at] = out[at - 1];
            out[at] = cell;
        }
        b->selected_offset[q + 1] = b->selected_offset[q] + wanted;
    }
    b->fixed = (wk_selection_t){.offset = b->selected_offset, .cell = b->selected};
}

/* Distinct cells over the questions of each image. */
static int64_t count_rows(const wk_bench_t *b, const wk_selection_t *selection) {
    int64_t rows = 0;
    for (int q = 0; q < b->limits.questions; q++)
        for (int i = selection->offset[q]; i < selection->offset[q + 1]; i++) {
            uint32_t *last = &b->last[selection->cell[i]];
            if (*last != (uint32_t)b->image[q] + 1) rows++;
            *last = (uint32_t)b->image[q] + 1;
        }
    return rows;
}

/* The first time counts: a parameter may be read again. */
static hp_status_t see_need(void *context, int param, hp_error_t *err) {
    wk_bench_t *b = context;
    (void)err;
    if (b->need[param] < 0) b->need[param] = hp_clock() - b->begun;
    return HP_OK;
}

static hp_status_t see_final(void *context, int param, hp_error_t *err) {
    wk_bench_t *b = context;
    (void)err;
    b->final[param] = hp_clock() - b->begun;
    return HP_OK;
}

hp_status_t wk_bench_create(const hp_config_t *config, const wk_bench_plan_t *plan,
                            wk_bench_t **bench_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(wk_bench_t), "bench", err));
    wk_bench_t *b = p;
    b->limits = count(plan);
    b->numbers = numbers(plan, &b->limits);
    b->reads_half = wk_model_reads_half(config);
    hp_status_t status = wk_model_create(config, &plan->shape, &b->limits, &b->model, err);
    if (status == HP_OK) {
        const hp_params_t *params = wk_model_params(b->model);
        take(b, plan, params);
        status = hp_arena_commit(&b->arena, "bench", err);
        if (status == HP_OK) {
            take(b, plan, params);
            hp_params_initialise(params, SEED, 0, params->total, b->weights);
            fill_batch(b, plan);
            if (plan->selection != WK_BENCH_OWN) fill_selection(b, plan);
        }
    }
    if (status != HP_OK) {
        wk_bench_destroy(b);
        return status;
    }
    b->pass = (wk_pass_t){.train = true,
                          .seed = SEED,
                          .fixed = plan->selection == WK_BENCH_OWN ? NULL : &b->fixed,
                          .hooks = {.need = see_need, .final = see_final, .context = b}};
    *bench_p = b;
    return HP_OK;
}

void wk_bench_destroy(wk_bench_t *b) {
    if (b == NULL) return;
    wk_model_destroy(b->model);
    hp_arena_release(&b->arena);
    hp_free(b);
}

const hp_params_t *wk_bench_params(const wk_bench_t *b) { return wk_model_params(b->model); }

const double *wk_bench_need(const wk_bench_t *b) { return b->need; }

const double *wk_bench_final(const wk_bench_t *b) { return b->final; }

const nn_batch_t *wk_bench_batch(const wk_bench_t *b) { return &b->batch; }

hp_status_t wk_bench_step(wk_bench_t *b, wk_bench_step_t *step, hp_error_t *err) {
    wk_result_t result;
    const int params = wk_model_params(b->model)->count;
    for (int i = 0; i < params; i++) b->need[i] = b->final[i] = -1;
    double begin = b->begun = hp_clock();
    HP_TRY(wk_model_forward(b->model, b->weights, &b->batch, &b->pass, &result, err));
    double middle = b->begun = hp_clock();
    HP_TRY(wk_model_backward(b->model, b->weights, &b->batch, &b->pass, b->grads, &result, err));
    double end = hp_clock();
    if (b->rows == 0) b->rows = count_rows(b, &result.selection);
    *step = (wk_bench_step_t){.forward_s = middle - begin,
                              .backward_s = end - middle,
                              .embed_backward_s = result.embed_backward_s,
                              .forward_madds = result.forward_madds,
                              .backward_madds = result.backward_madds,
                              .rows = b->rows};
    return HP_OK;
}
