#include "cli/bench_passes.h"

#include "cli/bench_machine.h"
#include "common/clock.h"
#include "common/gemm.h"
#include "common/memory.h"
#include "common/store_convert.h"
#include "common/vector.h"
#include "ps/adam.h"
#include "worker/nn/batchnorm.h"
#include "worker/nn/linear.h"

enum { WIDTH = 256, ROUNDS = 7, ARRAYS = 4 };

typedef struct {
    int64_t n;
    int rows;
    float *array[ARRAYS]; /* [n], or [rows][WIDTH] */
    float mean[WIDTH], var[WIDTH], gamma[WIDTH], beta[WIDTH], sum[WIDTH];
    hp_arena_t arena;
    nn_batchnorm_t norm;
    double seen; /* of results that nothing else reads */
} bench_t;

/* ---- the passes ---- */

static void adam(bench_t *b) {
    static const ps_adam_t how = {.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    float *w = b->array[1], *m = b->array[2], *v = b->array[3];
    ps_adam(&how, 10, b->n, b->array[0], 1.0 / 128, w, w, m, m, v, v);
}

static void norm(bench_t *b) { b->seen += hp_sum_squares(b->array[0], b->n); }

static void pack(bench_t *b) { b->seen += hp_bf16_pack((void *)b->array[1], b->array[0], b->n); }

static void add_packed(bench_t *b) { hp_bf16_add(b->array[0], (void *)b->array[1], b->n); }

static void widen(bench_t *b) {
    hp_convert_to_f32(hp_convert_best(), HP_DTYPE_F16, b->array[1], (size_t)b->n, b->array[0]);
}

static void relu_backward(bench_t *b) {
    nn_mask_and_sum(b->rows, WIDTH, b->array[0], b->array[1], b->sum);
}

static void batchnorm_forward(bench_t *b) {
    nn_batchnorm_statistics(&b->norm, b->rows, b->array[0], b->mean, b->var);
    nn_batchnorm_forward(&b->norm, b->rows, true, b->array[0], b->mean, b->var, b->gamma, b->beta,
                         b->array[1]);
}

static void batchnorm_backward(bench_t *b) {
    float grad_gamma[WIDTH], grad_beta[WIDTH];
    nn_batchnorm_backward(&b->norm, b->rows, true, b->array[0], b->mean, b->var, b->array[2],
                          grad_gamma, grad_beta);
}

static const struct {
    const char *name, *title;
    double bytes;
    void (*run)(bench_t *b);
} kind[] = {
    {"adam", "Adam, in place", 28, adam},
    {"norm", "a gradient's norm", 4, norm},
    {"bf16_pack", "a gradient to bf16, and its norm", 6, pack},
    {"bf16_add", "a gradient of bf16 added to a sum", 10, add_packed},
    {"fp16_widen", "features, fp16 to fp32", 6, widen},
    {"relu_backward", "backward through the ReLU and the bias", 12, relu_backward},
    /* The statistics of all rows come before the first is normalised: two visits each way. */
    {"batchnorm_forward", "batch normalisation and ReLU, forward", 12, batchnorm_forward},
    {"batchnorm_backward", "the same, backward", 20, batchnorm_backward},
};
enum { KINDS = sizeof kind / sizeof *kind };
_Static_assert((int)KINDS <= (int)CLI_BENCH_PASSES, "room for the passes");

/* ---- all of them ---- */

static hp_status_t allocate(bench_t *b, hp_error_t *err) {
    for (int i = 0; i < ARRAYS; i++) {
        void *p = NULL;
        HP_TRY(hp_allocate(&p, (size_t)b->n, sizeof(float), "arrays", err));
        b->array[i] = p;
        for (int64_t k = 0; k < b->n; k++) b->array[i][k] = (float)(k % 31 + i) / 32;
    }
    for (int c = 0; c < WIDTH; c++) b->gamma[c] = 1;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) HP_TRY(hp_arena_commit(&b->arena, "arrays", err));
        nn_batchnorm_take(&b->norm, &b->arena, WIDTH, b->rows);
    }
    return HP_OK;
}

/* The passes take turns, so that whatever else the machine does meets all of them. */
static void measure(bench_t *b, cli_bench_passes_t *passes) {
    double spent[KINDS][ROUNDS];
    for (int round = -1; round < ROUNDS; round++) /* one to warm up */
        for (int i = 0; i < KINDS; i++) {
            const double start = hp_clock();
            kind[i].run(b);
            if (round >= 0) spent[i][round] = hp_clock() - start + 1e-9;
        }
    for (int i = 0; i < KINDS; i++)
        passes->pass[passes->count++] = (cli_bench_pass_t){
            .name = kind[i].name,
            .title = kind[i].title,
            .bytes = kind[i].bytes,
            .rate = kind[i].bytes * (double)b->n / cli_bench_median(ROUNDS, spent[i])};
}

hp_status_t cli_bench_passes(bool small, cli_bench_passes_t *passes, hp_error_t *err) {
    bench_t b = {.rows = small ? 1 << 8 : 1 << 16};
    b.n = (int64_t)b.rows * WIDTH;
    *passes = (cli_bench_passes_t){.numbers = b.n};
    hp_gemm_set_threads(1);
    hp_status_t status = allocate(&b, err);
    if (status == HP_OK) measure(&b, passes);
    if (status == HP_OK && !(b.seen > 0))
        status = hp_fail(err, HP_INTERNAL, "a pass gives no number");
    for (int i = 0; i < ARRAYS; i++) hp_free(b.array[i]);
    hp_arena_release(&b.arena);
    return status;
}
