#include "common/gemm_dnnl.h"

#include "common/gemm.h"
#include "common/memory.h"
#include "common/onednn.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#ifdef HP_WITH_DNNL

void omp_set_num_threads(int threads); /* <omp.h> does not come with every compiler */

/* Products that are kept: SETS * WAYS, the longest unused of a set makes room. */
enum { SETS = 256, WAYS = 4, ARGS = 5 };
enum { ROOM_A, ROOM_B, ROOM_WIDE_A, ROOM_WIDE_B, ROOM_WIDE_C, ROOM_SCRATCH, ROOMS };

enum { EMPTY, PRODUCT, ROUNDING, PLAIN /* oneDNN has no kernel for it on this CPU */ };

/* What makes a prepared product. No padding: compared and hashed as bytes. */
typedef struct {
    int32_t kind, m, n, k, lda, ldb, ldc;
    uint8_t a_type, b_type, c_type, a_transposed, b_transposed, bias, activation, add;
} shape_t;
_Static_assert(sizeof(shape_t) == 7 * 4 + 8, "no padding");

typedef struct {
    shape_t key;
    int kind;
    uint64_t used;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[ARGS];
    int arg[ARGS], args;
    size_t scratch; /* bytes */
} prepared_t;

struct hp_gemm_engine {
    bool bf16, failed;
    dnnl_engine_t cpu;
    dnnl_stream_t stream;
    uint64_t tick;
    void *room[ROOMS];
    size_t room_bytes[ROOMS];
    hp_error_t error;
    prepared_t prepared[SETS][WAYS];
};

bool hp_gemm_has_engine(void) { return true; }

void hp_dnnl_set_threads(int threads) { omp_set_num_threads(threads); }

bool hp_gemm_engine_bf16(const hp_gemm_engine_t *engine) { return engine->bf16; }

static bool fail(hp_gemm_engine_t *engine, hp_status_t status, const char *what) {
    if (!engine->failed) (void)hp_fail(&engine->error, status, "oneDNN: %s", what);
    engine->failed = true;
    return false;
}

hp_status_t hp_gemm_engine_status(const hp_gemm_engine_t *engine, hp_error_t *err) {
    if (!engine->failed) return HP_OK;
    if (err != NULL) *err = engine->error;
    return engine->error.status;
}

static void *room(hp_gemm_engine_t *engine, int which, size_t bytes) {
    if (engine->room_bytes[which] >= bytes) return engine->room[which];
    hp_free(engine->room[which]);
    engine->room[which] = hp_calloc(bytes, 1);
    engine->room_bytes[which] = engine->room[which] != NULL ? bytes : 0;
    if (engine->room[which] == NULL) fail(engine, HP_MEMORY, "out of memory");
    return engine->room[which];
}

static dnnl_data_type_t type_of(uint8_t type) {
    return type == HP_GEMM_BF16 ? dnnl_bf16 : dnnl_f32;
}

static bool layout(dnnl_memory_desc_t *out, int rows, int columns, int ld, bool transposed,
                   uint8_t type) {
    const dnnl_dims_t dims = {rows, columns};
    const dnnl_dims_t strides = {transposed ? 1 : ld, transposed ? ld : 1};
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_strides(out, 2, dims, type_of(type), strides) ==
           dnnl_success;
#else
    return dnnl_memory_desc_init_by_strides(out, 2, dims, type_of(type), strides) == dnnl_success;
#endif
}

static dnnl_status_t append_sum(dnnl_post_ops_t ops) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
#else
    return dnnl_post_ops_append_sum(ops, 1);
#endif
}

static dnnl_primitive_attr_t make_attributes(const shape_t *key) {
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_post_ops_t ops = NULL;
    bool good = dnnl_primitive_attr_create(&attributes) == dnnl_success &&
                dnnl_post_ops_create(&ops) == dnnl_success;
    good = good && dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user) ==
                       dnnl_success;
    good = good && (!key->add || append_sum(ops) == dnnl_success);
    good = good && hp_dnnl_append_activation(ops, key->activation) == dnnl_success;
    good = good && dnnl_primitive_attr_set_post_ops(attributes, ops) == dnnl_success;
    if (ops != NULL) dnnl_post_ops_destroy(ops);
    if (!good && attributes != NULL) dnnl_primitive_attr_destroy(attributes);
    return good ? attributes : NULL;
}

enum { LAYOUT_A, LAYOUT_B, LAYOUT_C, LAYOUT_BIAS, LAYOUTS };

static dnnl_primitive_desc_t describe_product(hp_gemm_engine_t *engine, const shape_t *key,
                                              const dnnl_memory_desc_t *l,
                                              dnnl_primitive_attr_t attributes) {
    dnnl_primitive_desc_t described = NULL;
    hp_dnnl_layout_t bias = key->bias ? hp_dnnl_ref(&l[LAYOUT_BIAS]) : NULL;
#if DNNL_VERSION_MAJOR >= 3
    dnnl_status_t status = dnnl_matmul_primitive_desc_create(
        &described, engine->cpu, hp_dnnl_ref(&l[LAYOUT_A]), hp_dnnl_ref(&l[LAYOUT_B]), bias,
        hp_dnnl_ref(&l[LAYOUT_C]), attributes);
#else
    dnnl_matmul_desc_t wanted;
    dnnl_status_t status =
        dnnl_matmul_desc_init(&wanted, hp_dnnl_ref(&l[LAYOUT_A]), hp_dnnl_ref(&l[LAYOUT_B]), bias,
                              hp_dnnl_ref(&l[LAYOUT_C]));
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&described, &wanted, attributes, engine->cpu, NULL);
#endif
    return status == dnnl_success ? described : NULL;
}

static dnnl_primitive_desc_t describe_rounding(hp_gemm_engine_t *engine,
                                               const dnnl_memory_desc_t *l,
                                               dnnl_primitive_attr_t attributes) {
    dnnl_primitive_desc_t described = NULL;
    dnnl_status_t status =
        dnnl_reorder_primitive_desc_create(&described, hp_dnnl_ref(&l[LAYOUT_A]), engine->cpu,
                                           hp_dnnl_ref(&l[LAYOUT_C]), engine->cpu, attributes);
    return status == dnnl_success ? described : NULL;
}

static void release(prepared_t *p) {
    for (int i = 0; i < p->args; i++) dnnl_memory_destroy(p->memory[i]);
    if (p->primitive != NULL) dnnl_primitive_destroy(p->primitive);
    memset(p, 0, sizeof *p);
}

static bool add_memory(hp_gemm_engine_t *engine, prepared_t *p, int arg, hp_dnnl_layout_t l) {
    if (dnnl_memory_create(&p->memory[p->args], l, engine->cpu, DNNL_MEMORY_NONE) != dnnl_success)
        return false;
    p->arg[p->args++] = arg;
    return true;
}

/* Arguments in the order of execute(): a, c, b, bias, scratch, those that there are. */
static bool bind(hp_gemm_engine_t *engine, prepared_t *p, const dnnl_memory_desc_t *l,
                 dnnl_primitive_desc_t described) {
    const bool product = p->key.kind == PRODUCT;
    hp_dnnl_layout_t scratch = dnnl_primitive_desc_query_md(described, dnnl_query_scratchpad_md, 0);
    p->scratch = scratch != NULL ? dnnl_memory_desc_get_size(scratch) : 0;
    return dnnl_primitive_create(&p->primitive, described) == dnnl_success &&
           add_memory(engine, p, DNNL_ARG_SRC, hp_dnnl_ref(&l[LAYOUT_A])) &&
           add_memory(engine, p, DNNL_ARG_DST, hp_dnnl_ref(&l[LAYOUT_C])) &&
           (!product || add_memory(engine, p, DNNL_ARG_WEIGHTS, hp_dnnl_ref(&l[LAYOUT_B]))) &&
           (!p->key.bias || add_memory(engine, p, DNNL_ARG_BIAS, hp_dnnl_ref(&l[LAYOUT_BIAS]))) &&
           (p->scratch == 0 || add_memory(engine, p, DNNL_ARG_SCRATCHPAD, scratch));
}

static dnnl_primitive_desc_t describe(hp_gemm_engine_t *engine, const shape_t *key,
                                      const dnnl_memory_desc_t *l) {
    dnnl_primitive_attr_t attributes = make_attributes(key);
    if (attributes == NULL) return NULL;
    dnnl_primitive_desc_t described = key->kind == PRODUCT
                                          ? describe_product(engine, key, l, attributes)
                                          : describe_rounding(engine, l, attributes);
    dnnl_primitive_attr_destroy(attributes);
    return described;
}

static bool make_layouts(const shape_t *key, dnnl_memory_desc_t *l) {
    if (key->kind == ROUNDING) /* b and bias are not used */
        return layout(&l[LAYOUT_A], key->m, key->n, key->lda, false, HP_GEMM_FLOAT) &&
               layout(&l[LAYOUT_B], 1, 1, 1, false, HP_GEMM_FLOAT) &&
               layout(&l[LAYOUT_C], key->m, key->n, key->ldc, false, HP_GEMM_BF16) &&
               layout(&l[LAYOUT_BIAS], 1, 1, 1, false, HP_GEMM_FLOAT);
    return layout(&l[LAYOUT_A], key->m, key->k, key->lda, key->a_transposed, key->a_type) &&
           layout(&l[LAYOUT_B], key->k, key->n, key->ldb, key->b_transposed, key->b_type) &&
           layout(&l[LAYOUT_C], key->m, key->n, key->ldc, false, key->c_type) &&
           layout(&l[LAYOUT_BIAS], 1, key->n, key->n, false, HP_GEMM_FLOAT);
}

static void prepare(hp_gemm_engine_t *engine, const shape_t *key, prepared_t *p) {
    release(p);
    p->key = *key;
    p->kind = PLAIN;
    dnnl_memory_desc_t l[LAYOUTS];
    if (!make_layouts(key, l)) return; /* only where memory is out: the plain way needs none */
    dnnl_primitive_desc_t described = describe(engine, key, l);
    if (described != NULL && bind(engine, p, l, described)) p->kind = key->kind;
    if (described != NULL) dnnl_primitive_desc_destroy(described);
    for (int i = 0; i < LAYOUTS; i++) hp_dnnl_release(&l[i]);
}

static prepared_t *find(hp_gemm_engine_t *engine, const shape_t *key) {
    unsigned char bytes[sizeof *key];
    memcpy(bytes, key, sizeof bytes);
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < sizeof bytes; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
    prepared_t *set = engine->prepared[hash >> 32 & (SETS - 1)], *oldest = set;
    for (prepared_t *p = set; p < set + WAYS; p++) {
        if (p->kind != EMPTY && memcmp(&p->key, key, sizeof *key) == 0) {
            p->used = ++engine->tick;
            return p;
        }
        if (p->used < oldest->used) oldest = p;
    }
    prepare(engine, key, oldest);
    oldest->used = ++engine->tick;
    return oldest;
}

static void execute(hp_gemm_engine_t *engine, prepared_t *p, void *const data[ARGS - 1]) {
    dnnl_exec_arg_t argument[ARGS];
    for (int i = 0, next = 0; i < p->args; i++) {
        void *at = NULL;
        if (p->arg[i] == DNNL_ARG_SCRATCHPAD) {
            at = room(engine, ROOM_SCRATCH, p->scratch);
            if (at == NULL) return;
        } else {
            at = data[next++];
        }
        argument[i] = (dnnl_exec_arg_t){p->arg[i], p->memory[i]};
        if (dnnl_memory_set_data_handle(p->memory[i], at) != dnnl_success)
            fail(engine, HP_INTERNAL, "a matrix was refused");
    }
    if (engine->failed) return;
    if (dnnl_primitive_execute(p->primitive, engine->stream, p->args, argument) != dnnl_success ||
        dnnl_stream_wait(engine->stream) != dnnl_success)
        fail(engine, HP_INTERNAL, "a product failed");
}

void hp_gemm_round(hp_gemm_engine_t *engine, int rows, int columns, const float *in,
                   hp_bf16_t *out) {
    if (rows <= 0 || columns <= 0) return;
    const shape_t key = {.kind = ROUNDING, .m = rows, .n = columns, .lda = columns, .ldc = columns};
    prepared_t *p = find(engine, &key);
    if (p->kind == ROUNDING) {
        execute(engine, p, (void *const[ARGS - 1]){(void *)(uintptr_t)in, out});
        return;
    }
    const size_t count = (size_t)rows * (size_t)columns;
    for (size_t i = 0; i < count; i++) out[i] = hp_bf16_from_float(in[i]);
}

/* An operand as the engine multiplies it. Rows as stored. */
static hp_gemm_in_t rounded(hp_gemm_engine_t *engine, hp_gemm_in_t in, int rows, int columns,
                            int which) {
    if (!engine->bf16 || in.type == HP_GEMM_BF16) return in;
    hp_bf16_t *out = room(engine, which, (size_t)rows * (size_t)columns * sizeof *out);
    if (out == NULL) return in;
    if (in.ld == columns)
        hp_gemm_round(engine, rows, columns, in.data, out);
    else
        for (int r = 0; r < rows; r++) {
            const float *from = (const float *)in.data + (size_t)r * (size_t)in.ld;
            for (int c = 0; c < columns; c++)
                out[(size_t)r * (size_t)columns + (size_t)c] = hp_bf16_from_float(from[c]);
        }
    return (hp_gemm_in_t){out, HP_GEMM_BF16, in.transposed, columns};
}

/* An operand in float, dense where it had to be copied. */
static const float *widened(hp_gemm_engine_t *engine, const hp_gemm_in_t *in, int rows, int columns,
                            int which, int *ld) {
    *ld = in->ld;
    if (in->type == HP_GEMM_FLOAT) return in->data;
    float *wide = room(engine, which, (size_t)rows * (size_t)columns * sizeof *wide), *out = wide;
    const hp_bf16_t *from = in->data;
    *ld = columns;
    for (int r = 0; wide != NULL && r < rows; r++, from += in->ld, out += columns)
        for (int c = 0; c < columns; c++) out[c] = hp_bf16_to_float(from[c]);
    return wide;
}

/* c = activation(wide + bias), one row. */
static void finish_row(const hp_gemm_product_t *p, int row, const float *wide) {
    float *c = (float *)p->c + (size_t)row * (size_t)p->ld;
    hp_bf16_t *half = (hp_bf16_t *)p->c + (size_t)row * (size_t)p->ld;
    for (int i = 0; i < p->n; i++) {
        float x = wide[i] + (p->bias != NULL ? p->bias[i] : 0);
        if (p->activation == HP_GEMM_RELU && x < 0) x = 0;
        if (p->activation == HP_GEMM_TANH) x = tanhf(x);
        if (p->type == HP_GEMM_BF16)
            half[i] = hp_bf16_from_float(x);
        else
            c[i] = x;
    }
}

/* By OpenBLAS, in float: slower, and right on every machine. */
static void multiply_plainly(hp_gemm_engine_t *engine, const hp_gemm_product_t *p) {
    int lda, ldb;
    const float *a = widened(engine, &p->a, p->a.transposed ? p->k : p->m,
                             p->a.transposed ? p->m : p->k, ROOM_WIDE_A, &lda);
    const float *b = widened(engine, &p->b, p->b.transposed ? p->n : p->k,
                             p->b.transposed ? p->k : p->n, ROOM_WIDE_B, &ldb);
    if (a == NULL || b == NULL) return;
    const bool in_place = p->type == HP_GEMM_FLOAT;
    float *c = in_place ? p->c : room(engine, ROOM_WIDE_C, (size_t)p->m * (size_t)p->n * sizeof *c);
    const int ldc = in_place ? p->ld : p->n;
    if (c == NULL) return;
    hp_gemm(p->a.transposed, p->b.transposed, p->m, p->n, p->k, 1, a, lda, b, ldb, p->add ? 1 : 0,
            c, ldc);
    if (in_place && p->bias == NULL && p->activation == HP_GEMM_LINEAR) return;
    for (int r = 0; r < p->m; r++) finish_row(p, r, c + (size_t)r * (size_t)ldc);
}

int64_t hp_gemm_multiply(hp_gemm_engine_t *engine, const hp_gemm_product_t *product) {
    hp_gemm_product_t p = *product;
    if (p.m <= 0 || p.n <= 0) return 0;
    p.a = rounded(engine, p.a, p.a.transposed ? p.k : p.m, p.a.transposed ? p.m : p.k, ROOM_A);
    p.b = rounded(engine, p.b, p.b.transposed ? p.n : p.k, p.b.transposed ? p.k : p.n, ROOM_B);
    const shape_t shape = {.kind = PRODUCT,
                           .m = p.m,
                           .n = p.n,
                           .k = p.k,
                           .lda = p.a.ld,
                           .ldb = p.b.ld,
                           .ldc = p.ld,
                           .a_type = (uint8_t)p.a.type,
                           .b_type = (uint8_t)p.b.type,
                           .c_type = (uint8_t)p.type,
                           .a_transposed = p.a.transposed,
                           .b_transposed = p.b.transposed,
                           .bias = p.bias != NULL,
                           .activation = (uint8_t)p.activation,
                           .add = p.add};
    prepared_t *ready = p.k > 0 ? find(engine, &shape) : NULL;
    if (ready == NULL || ready->kind == PLAIN) {
        multiply_plainly(engine, &p);
    } else {
        /* The handles are not const; operands are not written. */
        execute(engine, ready,
                (void *const[ARGS - 1]){(void *)(uintptr_t)p.a.data, p.c,
                                        (void *)(uintptr_t)p.b.data, (void *)(uintptr_t)p.bias});
    }
    return (int64_t)p.m * p.n * p.k;
}

hp_status_t hp_gemm_engine_open(bool bf16, hp_gemm_engine_t **engine_p, hp_error_t *err) {
    void *memory = NULL;
    HP_TRY(hp_allocate(&memory, 1, sizeof(hp_gemm_engine_t), "oneDNN's engine", err));
    hp_gemm_engine_t *engine = memory;
    engine->bf16 = bf16;
    if (dnnl_engine_create(&engine->cpu, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&engine->stream, engine->cpu, dnnl_stream_default_flags) !=
            dnnl_success) {
        hp_gemm_engine_close(engine);
        return hp_fail(err, HP_INTERNAL, "oneDNN does not start on this CPU");
    }
    *engine_p = engine;
    return HP_OK;
}

void hp_gemm_engine_close(hp_gemm_engine_t *engine) {
    if (engine == NULL) return;
    for (int i = 0; i < SETS * WAYS; i++) release(&engine->prepared[i / WAYS][i % WAYS]);
    if (engine->stream != NULL) dnnl_stream_destroy(engine->stream);
    if (engine->cpu != NULL) dnnl_engine_destroy(engine->cpu);
    for (int i = 0; i < ROOMS; i++) hp_free(engine->room[i]);
    hp_free(engine);
}

void hp_gemm_engine_describe(hp_gemm_engine_t *engine, char *text, size_t size) {
    const dnnl_version_t *version = dnnl_version();
    const uint8_t type = engine->bf16 ? HP_GEMM_BF16 : HP_GEMM_FLOAT;
    const shape_t large = {.kind = PRODUCT,
                           .m = 1024,
                           .n = 1024,
                           .k = 1024,
                           .lda = 1024,
                           .ldb = 1024,
                           .ldc = 1024,
                           .a_type = type,
                           .b_type = type};
    const char *kernel = NULL;
    dnnl_memory_desc_t l[LAYOUTS];
    dnnl_primitive_desc_t described = NULL;
    if (make_layouts(&large, l)) {
        described = describe(engine, &large, l);
        for (int i = 0; i < LAYOUTS; i++) hp_dnnl_release(&l[i]);
    }
    if (described != NULL)
        (void)dnnl_primitive_desc_query(described, dnnl_query_impl_info_str, 0, &kernel);
    char blas[200];
    hp_gemm_describe(blas, sizeof blas);
    const bool units = kernel != NULL && strstr(kernel, "bf16") != NULL;
    snprintf(text, size, "oneDNN %d.%d.%d; kernel %s%s; %s", version->major, version->minor,
             version->patch, kernel != NULL ? kernel : "none",
             !engine->bf16 ? ""
             : units       ? " for bf16"
                           : " (this CPU has no units for bf16)",
             blas);
    if (described != NULL) dnnl_primitive_desc_destroy(described);
}

#else

bool hp_gemm_has_engine(void) { return false; }

void hp_dnnl_set_threads(int threads) { (void)threads; }

hp_status_t hp_gemm_engine_open(bool bf16, hp_gemm_engine_t **engine_p, hp_error_t *err) {
    (void)bf16;
    *engine_p = NULL;
    return hp_fail(err, HP_INPUT, "this hanps was built without oneDNN (libdnnl-dev)");
}

/* There is no engine to call these with. */
void hp_gemm_engine_close(hp_gemm_engine_t *engine) { (void)engine; }
bool hp_gemm_engine_bf16(const hp_gemm_engine_t *engine) { return engine != NULL && false; }

int64_t hp_gemm_multiply(hp_gemm_engine_t *engine, const hp_gemm_product_t *product) {
    (void)engine;
    (void)product;
    return 0;
}

void hp_gemm_round(hp_gemm_engine_t *engine, int rows, int columns, const float *in,
                   hp_bf16_t *out) {
    (void)engine;
    for (size_t i = 0; i < (size_t)rows * (size_t)columns; i++) out[i] = hp_bf16_from_float(in[i]);
}

hp_status_t hp_gemm_engine_status(const hp_gemm_engine_t *engine, hp_error_t *err) {
    (void)engine;
    return hp_fail(err, HP_INTERNAL, "no oneDNN");
}

void hp_gemm_engine_describe(hp_gemm_engine_t *engine, char *text, size_t size) {
    (void)engine;
    hp_gemm_describe(text, size);
}

#endif
