#include "common/convolution.h"

#include "common/memory.h"
#include "common/onednn.h"
#include "common/vector.h"

#include <stdio.h>
#include <string.h>

#ifdef HP_WITH_DNNL

enum { FORWARD, TO_IN, TO_WEIGHT, PASSES };
/* What a pass reads or writes; bias and scratch may be missing. */
enum { IN, WEIGHT, OUT, BIAS, SCRATCH, ARGS };
enum { ROOM_WEIGHT, ROOM_GRAD = ROOM_WEIGHT + PASSES, ROOM_IN, ROOM_OUT, ROOM_SCRATCH, ROOMS };
enum { SIZES = 31 };

static const int argument[PASSES][ARGS] = {
    [FORWARD] = {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST, DNNL_ARG_BIAS, DNNL_ARG_SCRATCHPAD},
    [TO_IN] = {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST, 0, DNNL_ARG_SCRATCHPAD},
    [TO_WEIGHT] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST, 0, DNNL_ARG_SCRATCHPAD},
};

typedef struct {
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[ARGS]; /* NULL: the argument is not there */
} pass_t;

/* The weights between PyTorch's order and a pass's own: memory[0] to memory[1]. */
typedef struct {
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[2];
} reorder_t;

struct hp_convolution {
    hp_convolution_shape_t shape;
    hp_convolution_use_t use;
    int out_height, out_width;
    dnnl_engine_t cpu;
    dnnl_stream_t stream;
    int sizes; /* 1, 2, 4, ... images */
    pass_t pass[PASSES][SIZES];
    reorder_t reorder[PASSES];
    dnnl_memory_desc_t weight[PASSES]; /* the passes' own orders */
    bool has_weight[PASSES];
    size_t bytes[ROOMS]; /* multiples of HP_ALIGN */
    void *room[ROOMS];
    char kernel[48]; /* of forward */
    bool failed;
    hp_error_t error;
};

static size_t in_numbers(const hp_convolution_t *c) {
    return (size_t)c->shape.height * (size_t)c->shape.width * (size_t)c->shape.channels;
}

static size_t out_numbers(const hp_convolution_t *c) {
    return (size_t)c->out_height * (size_t)c->out_width * (size_t)c->shape.filters;
}

/* ---- Preparing ---- */

typedef struct {
    dnnl_memory_desc_t in, weight, out, bias;
} layouts_t;

static bool tagged(dnnl_memory_desc_t *layout, int dims, const dnnl_dims_t size, bool bf16,
                   dnnl_format_tag_t tag) {
    const dnnl_data_type_t type = bf16 ? dnnl_bf16 : dnnl_f32;
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_create_with_tag(layout, dims, size, type, tag) == dnnl_success;
#else
    return dnnl_memory_desc_init_by_tag(layout, dims, size, type, tag) == dnnl_success;
#endif
}

static bool copied(dnnl_memory_desc_t *to, hp_dnnl_layout_t from) {
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_memory_desc_clone(to, from) == dnnl_success;
#else
    *to = *from;
    return true;
#endif
}

static bool weight_layout(const hp_convolution_t *c, dnnl_memory_desc_t *layout, bool bf16,
                          dnnl_format_tag_t tag) {
    const hp_convolution_shape_t *s = &c->shape;
    return tagged(layout, 4, (const dnnl_dims_t){s->filters, s->channels, s->kernel, s->kernel},
                  bf16, tag);
}

/* Weights in any order for one image, whose choice the other sizes take over. */
static bool make_layouts(const hp_convolution_t *c, int pass, int images, layouts_t *l) {
    const hp_convolution_shape_t *s = &c->shape;
    const bool bf16 = c->use.bf16;
    memset(l, 0, sizeof *l);
    return tagged(&l->in, 4, (const dnnl_dims_t){images, s->channels, s->height, s->width},
                  bf16 && pass != TO_IN, dnnl_nhwc) &&
           tagged(&l->out, 4, (const dnnl_dims_t){images, s->filters, c->out_height, c->out_width},
                  bf16 && pass != FORWARD, dnnl_nhwc) &&
           tagged(&l->bias, 1, (const dnnl_dims_t){s->filters}, false, dnnl_x) &&
           (c->has_weight[pass]
                ? copied(&l->weight, hp_dnnl_ref(&c->weight[pass]))
                : weight_layout(c, &l->weight, bf16 && pass != TO_WEIGHT, dnnl_format_tag_any));
}

static void release_layouts(layouts_t *l) {
    dnnl_memory_desc_t *const each[] = {&l->in, &l->weight, &l->out, &l->bias};
    for (int i = 0; i < 4; i++) hp_dnnl_release(each[i]);
}

static dnnl_primitive_attr_t make_attributes(bool relu) {
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_post_ops_t ops = NULL;
    bool good = dnnl_primitive_attr_create(&attributes) == dnnl_success &&
                dnnl_post_ops_create(&ops) == dnnl_success &&
                dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user) ==
                    dnnl_success;
    good = good && (!relu || hp_dnnl_append_activation(ops, HP_GEMM_RELU) == dnnl_success);
    good = good && dnnl_primitive_attr_set_post_ops(attributes, ops) == dnnl_success;
    if (ops != NULL) dnnl_post_ops_destroy(ops);
    if (!good && attributes != NULL) dnnl_primitive_attr_destroy(attributes);
    return good ? attributes : NULL;
}

/* forward: of the same number of images, for the other passes. */
static dnnl_primitive_desc_t describe(const hp_convolution_t *c, int pass, const layouts_t *l,
                                      dnnl_primitive_attr_t attributes,
                                      dnnl_primitive_desc_t forward) {
    const dnnl_dims_t stride = {c->shape.stride, c->shape.stride}, dilation = {0, 0};
    const dnnl_dims_t padding = {c->shape.padding, c->shape.padding};
    hp_dnnl_layout_t in = hp_dnnl_ref(&l->in), weight = hp_dnnl_ref(&l->weight);
    hp_dnnl_layout_t out = hp_dnnl_ref(&l->out);
    hp_dnnl_layout_t bias = pass == FORWARD && c->use.finish ? hp_dnnl_ref(&l->bias) : NULL;
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    dnnl_primitive_desc_t described = NULL;
    dnnl_status_t status;
#if DNNL_VERSION_MAJOR >= 3
    if (pass == FORWARD)
        status = dnnl_convolution_forward_primitive_desc_create(
            &described, c->cpu, dnnl_forward_training, direct, in, weight, bias, out, stride,
            dilation, padding, padding, attributes);
    else if (pass == TO_IN)
        status = dnnl_convolution_backward_data_primitive_desc_create(
            &described, c->cpu, direct, in, weight, out, stride, dilation, padding, padding,
            forward, attributes);
    else
        status = dnnl_convolution_backward_weights_primitive_desc_create(
            &described, c->cpu, direct, in, weight, NULL, out, stride, dilation, padding, padding,
            forward, attributes);
#else
    dnnl_convolution_desc_t wanted;
    if (pass == FORWARD)
        status = dnnl_dilated_convolution_forward_desc_init(&wanted, dnnl_forward_training, direct,
                                                            in, weight, bias, out, stride, dilation,
                                                            padding, padding);
    else if (pass == TO_IN)
        status = dnnl_dilated_convolution_backward_data_desc_init(
            &wanted, direct, in, weight, out, stride, dilation, padding, padding);
    else
        status = dnnl_dilated_convolution_backward_weights_desc_init(
            &wanted, direct, in, weight, NULL, out, stride, dilation, padding, padding);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&described, &wanted, attributes, c->cpu, forward);
#endif
    return status == dnnl_success ? described : NULL;
}

/* Compiled for the CPU; what there is beside them is im2col, or loops for reference. */
static bool is_fast(hp_convolution_t *c, dnnl_primitive_desc_t described) {
    const char *kernel = NULL;
    (void)dnnl_primitive_desc_query(described, dnnl_query_impl_info_str, 0, &kernel);
    if (kernel == NULL) return false;
    if (c->kernel[0] == '\0') snprintf(c->kernel, sizeof c->kernel, "%s", kernel);
    return strncmp(kernel, "jit", 3) == 0 || strncmp(kernel, "brg", 3) == 0;
}

static void want(hp_convolution_t *c, int room, size_t bytes) {
    bytes = (bytes + HP_ALIGN - 1) / HP_ALIGN * HP_ALIGN;
    if (c->bytes[room] < bytes) c->bytes[room] = bytes;
}

static bool add_memory(const hp_convolution_t *c, dnnl_memory_t *memory, hp_dnnl_layout_t layout) {
    return dnnl_memory_create(memory, layout, c->cpu, DNNL_MEMORY_NONE) == dnnl_success;
}

/* The weights' order, and the way to it or, of the gradient, from it. */
static bool choose_weight(hp_convolution_t *c, int pass, hp_dnnl_layout_t chosen) {
    if (c->has_weight[pass]) return true;
    c->has_weight[pass] = copied(&c->weight[pass], chosen);
    const size_t bytes = dnnl_memory_desc_get_size(chosen);
    want(c, ROOM_WEIGHT + pass, bytes);
    if (pass == TO_WEIGHT && c->sizes > 1) want(c, ROOM_GRAD, bytes);
    dnnl_memory_desc_t plain;
    if (!c->has_weight[pass] || !weight_layout(c, &plain, false, dnnl_oihw)) return false;
    reorder_t *r = &c->reorder[pass];
    hp_dnnl_layout_t from = pass == TO_WEIGHT ? chosen : hp_dnnl_ref(&plain);
    hp_dnnl_layout_t to = pass == TO_WEIGHT ? hp_dnnl_ref(&plain) : chosen;
    dnnl_primitive_desc_t described = NULL;
    const bool good = dnnl_reorder_primitive_desc_create(&described, from, c->cpu, to, c->cpu,
                                                         NULL) == dnnl_success &&
                      dnnl_primitive_create(&r->primitive, described) == dnnl_success &&
                      add_memory(c, &r->memory[0], from) && add_memory(c, &r->memory[1], to);
    if (described != NULL) dnnl_primitive_desc_destroy(described);
    hp_dnnl_release(&plain);
    return good;
}

static bool bind_pass(hp_convolution_t *c, int pass, pass_t *p, const layouts_t *l,
                      dnnl_primitive_desc_t described) {
    const dnnl_query_t weights =
        pass == TO_WEIGHT ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
    hp_dnnl_layout_t chosen = dnnl_primitive_desc_query_md(described, weights, 0);
    hp_dnnl_layout_t scratch = dnnl_primitive_desc_query_md(described, dnnl_query_scratchpad_md, 0);
    const size_t scratch_bytes = scratch != NULL ? dnnl_memory_desc_get_size(scratch) : 0;
    want(c, ROOM_SCRATCH, scratch_bytes);
    return chosen != NULL && choose_weight(c, pass, chosen) &&
           dnnl_primitive_create(&p->primitive, described) == dnnl_success &&
           add_memory(c, &p->memory[IN], hp_dnnl_ref(&l->in)) &&
           add_memory(c, &p->memory[WEIGHT], chosen) &&
           add_memory(c, &p->memory[OUT], hp_dnnl_ref(&l->out)) &&
           (pass != FORWARD || !c->use.finish ||
            add_memory(c, &p->memory[BIAS], hp_dnnl_ref(&l->bias))) &&
           (scratch_bytes == 0 || add_memory(c, &p->memory[SCRATCH], scratch));
}

/* *forward_p: NULL before the forward pass, which leaves its description there. */
static bool prepare_pass(hp_convolution_t *c, int pass, int i, dnnl_primitive_desc_t *forward_p) {
    layouts_t l;
    dnnl_primitive_attr_t attributes = make_attributes(pass == FORWARD && c->use.finish);
    dnnl_primitive_desc_t described = NULL;
    const bool laid = make_layouts(c, pass, 1 << i, &l);
    if (laid && attributes != NULL) described = describe(c, pass, &l, attributes, *forward_p);
    const bool good = described != NULL && is_fast(c, described) &&
                      bind_pass(c, pass, &c->pass[pass][i], &l, described);
    if (laid) release_layouts(&l);
    if (attributes != NULL) dnnl_primitive_attr_destroy(attributes);
    if (pass == FORWARD)
        *forward_p = described;
    else if (described != NULL)
        dnnl_primitive_desc_destroy(described);
    return good;
}

static bool prepare_size(hp_convolution_t *c, int i) {
    dnnl_primitive_desc_t forward = NULL;
    bool good = true;
    for (int pass = 0; pass < PASSES && good; pass++)
        if (pass != TO_IN || c->use.grad_in) good = prepare_pass(c, pass, i, &forward);
    if (forward != NULL) dnnl_primitive_desc_destroy(forward);
    return good;
}

static bool prepare(hp_convolution_t *c) {
    for (int64_t power = 1; power <= c->use.images; power *= 2) c->sizes++;
    if (c->use.bf16) {
        want(c, ROOM_IN, (size_t)c->use.images * in_numbers(c) * sizeof(hp_bf16_t));
        want(c, ROOM_OUT, (size_t)c->use.images * out_numbers(c) * sizeof(hp_bf16_t));
    }
    if (dnnl_engine_create(&c->cpu, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&c->stream, c->cpu, dnnl_stream_default_flags) != dnnl_success)
        return false;
    for (int i = 0; i < c->sizes; i++)
        if (!prepare_size(c, i)) return false;
    return true;
}

hp_status_t hp_convolution_open(const hp_convolution_shape_t *shape,
                                const hp_convolution_use_t *use, hp_convolution_t **conv_p,
                                hp_error_t *err) {
    void *memory = NULL;
    *conv_p = NULL;
    HP_TRY(hp_allocate(&memory, 1, sizeof(hp_convolution_t), "a convolution", err));
    hp_convolution_t *c = memory;
    c->shape = *shape;
    c->use = *use;
    c->out_height = (shape->height + 2 * shape->padding - shape->kernel) / shape->stride + 1;
    c->out_width = (shape->width + 2 * shape->padding - shape->kernel) / shape->stride + 1;
    if (prepare(c))
        *conv_p = c;
    else
        hp_convolution_close(c);
    return HP_OK;
}

static void release(dnnl_primitive_t primitive, dnnl_memory_t *memory, int count) {
    if (primitive != NULL) dnnl_primitive_destroy(primitive);
    for (int i = 0; i < count; i++)
        if (memory[i] != NULL) dnnl_memory_destroy(memory[i]);
}

void hp_convolution_close(hp_convolution_t *c) {
    if (c == NULL) return;
    for (int pass = 0; pass < PASSES; pass++) {
        for (int i = 0; i < c->sizes; i++)
            release(c->pass[pass][i].primitive, c->pass[pass][i].memory, ARGS);
        release(c->reorder[pass].primitive, c->reorder[pass].memory, 2);
        if (c->has_weight[pass]) hp_dnnl_release(&c->weight[pass]);
    }
    if (c->stream != NULL) dnnl_stream_destroy(c->stream);
    if (c->cpu != NULL) dnnl_engine_destroy(c->cpu);
    hp_free(c);
}

size_t hp_convolution_bytes(const hp_convolution_t *c) {
    size_t bytes = 0;
    for (int r = 0; r < ROOMS; r++) bytes += c->bytes[r];
    return bytes;
}

void hp_convolution_bind(hp_convolution_t *c, void *room) {
    unsigned char *at = room;
    for (int r = 0; r < ROOMS; at += c->bytes[r++]) c->room[r] = at;
}

/* ---- Computing ---- */

static void fail(hp_convolution_t *c) {
    if (!c->failed) (void)hp_fail(&c->error, HP_INTERNAL, "oneDNN: a convolution failed");
    c->failed = true;
}

static void run(hp_convolution_t *c, dnnl_primitive_t primitive, int count, const int *name,
                const dnnl_memory_t *memory, void *const *data) {
    dnnl_exec_arg_t args[ARGS];
    int n = 0;
    for (int i = 0; i < count; i++) {
        if (memory[i] == NULL) continue;
        args[n++] = (dnnl_exec_arg_t){name[i], memory[i]};
        if (dnnl_memory_set_data_handle(memory[i], data[i]) != dnnl_success) fail(c);
    }
    if (c->failed) return;
    if (dnnl_primitive_execute(primitive, c->stream, n, args) != dnnl_success ||
        dnnl_stream_wait(c->stream) != dnnl_success)
        fail(c);
}

static void reorder(hp_convolution_t *c, int pass, const void *from, void *to) {
    static const int name[2] = {DNNL_ARG_FROM, DNNL_ARG_TO};
    /* The handles are not const; operands are not written. */
    run(c, c->reorder[pass].primitive, 2, name, c->reorder[pass].memory,
        (void *const[2]){(void *)(uintptr_t)from, to});
}

static void run_pass(hp_convolution_t *c, int pass, int i, const void *in, void *weight,
                     const void *out, const float *bias) {
    run(c, c->pass[pass][i].primitive, ARGS, argument[pass], c->pass[pass][i].memory,
        (void *const[ARGS]){(void *)(uintptr_t)in, weight, (void *)(uintptr_t)out,
                            (void *)(uintptr_t)bias, c->room[ROOM_SCRATCH]});
}

/* The largest size in so many images, as i of 2^i. */
static int largest(int images) {
    int i = 0;
    while (images >> i > 1) i++;
    return i;
}

/* In the products' number format; a part begins `first` numbers behind. */
static const void *rounded(const hp_convolution_t *c, int room, const float *numbers,
                           size_t count) {
    if (!c->use.bf16) return numbers;
    hp_bf16_round(c->room[room], numbers, (int64_t)count);
    return c->room[room];
}

static const void *part(const hp_convolution_t *c, const void *numbers, size_t first) {
    return (const unsigned char *)numbers +
           first * (c->use.bf16 ? sizeof(hp_bf16_t) : sizeof(float));
}

void hp_convolution_forward(hp_convolution_t *c, int images, const float *in, const float *weight,
                            const float *bias, float *out) {
    const void *from = rounded(c, ROOM_IN, in, (size_t)images * in_numbers(c));
    reorder(c, FORWARD, weight, c->room[ROOM_WEIGHT + FORWARD]);
    for (int done = 0, i; done < images; done += 1 << i) {
        i = largest(images - done);
        run_pass(c, FORWARD, i, part(c, from, (size_t)done * in_numbers(c)),
                 c->room[ROOM_WEIGHT + FORWARD], out + (size_t)done * out_numbers(c), bias);
    }
}

static void weight_gradient(hp_convolution_t *c, int images, const void *in, const void *grad_out,
                            float *grad_weight) {
    float *sum = c->room[ROOM_WEIGHT + TO_WEIGHT], *more = c->room[ROOM_GRAD];
    const int64_t numbers = (int64_t)(c->bytes[ROOM_WEIGHT + TO_WEIGHT] / sizeof *sum);
    if (images == 0) memset(sum, 0, c->bytes[ROOM_WEIGHT + TO_WEIGHT]);
    for (int done = 0, i; done < images; done += 1 << i) {
        i = largest(images - done);
        run_pass(c, TO_WEIGHT, i, part(c, in, (size_t)done * in_numbers(c)), done > 0 ? more : sum,
                 part(c, grad_out, (size_t)done * out_numbers(c)), NULL);
        if (done > 0) hp_add(sum, more, numbers);
    }
    reorder(c, TO_WEIGHT, sum, grad_weight);
}

void hp_convolution_backward(hp_convolution_t *c, int images, const float *in, const float *weight,
                             const float *grad_out, float *grad_weight, float *grad_in) {
    /* Forward rounded the same images. */
    const void *from = c->use.bf16 ? c->room[ROOM_IN] : (const void *)in;
    const void *grad = rounded(c, ROOM_OUT, grad_out, (size_t)images * out_numbers(c));
    weight_gradient(c, images, from, grad, grad_weight);
    if (grad_in == NULL) return;
    reorder(c, TO_IN, weight, c->room[ROOM_WEIGHT + TO_IN]);
    for (int done = 0, i; done < images; done += 1 << i) {
        i = largest(images - done);
        run_pass(c, TO_IN, i, grad_in + (size_t)done * in_numbers(c), c->room[ROOM_WEIGHT + TO_IN],
                 part(c, grad, (size_t)done * out_numbers(c)), NULL);
    }
}

hp_status_t hp_convolution_status(const hp_convolution_t *c, hp_error_t *err) {
    if (!c->failed) return HP_OK;
    if (err != NULL) *err = c->error;
    return c->error.status;
}

void hp_convolution_describe(bool bf16, char *text, size_t size) {
    const hp_convolution_shape_t usual = {32, 32, 24, 24, 3, 2, 1};
    const hp_convolution_use_t use = {.images = 1, .bf16 = bf16, .grad_in = true};
    const dnnl_version_t *version = dnnl_version();
    hp_convolution_t *c = NULL;
    hp_error_t ignored;
    snprintf(text, size, "%s", "");
    if (hp_convolution_open(&usual, &use, &c, &ignored) != HP_OK || c == NULL) return;
    snprintf(text, size, "oneDNN %d.%d.%d %s", version->major, version->minor, version->patch,
             c->kernel);
    hp_convolution_close(c);
}

#else

hp_status_t hp_convolution_open(const hp_convolution_shape_t *shape,
                                const hp_convolution_use_t *use, hp_convolution_t **conv_p,
                                hp_error_t *err) {
    (void)shape;
    (void)use;
    (void)err;
    *conv_p = NULL;
    return HP_OK;
}

/* There is no convolution to call these with. */
void hp_convolution_close(hp_convolution_t *conv) { (void)conv; }

size_t hp_convolution_bytes(const hp_convolution_t *conv) {
    (void)conv;
    return 0;
}

void hp_convolution_bind(hp_convolution_t *conv, void *room) {
    (void)conv;
    (void)room;
}

void hp_convolution_forward(hp_convolution_t *conv, int images, const float *in,
                            const float *weight, const float *bias, float *out) {
    (void)conv, (void)images, (void)in, (void)weight, (void)bias, (void)out;
}

void hp_convolution_backward(hp_convolution_t *conv, int images, const float *in,
                             const float *weight, const float *grad_out, float *grad_weight,
                             float *grad_in) {
    (void)conv, (void)images, (void)in, (void)weight, (void)grad_out, (void)grad_weight;
    (void)grad_in;
}

hp_status_t hp_convolution_status(const hp_convolution_t *conv, hp_error_t *err) {
    (void)conv;
    return hp_fail(err, HP_INTERNAL, "no oneDNN");
}

void hp_convolution_describe(bool bf16, char *text, size_t size) {
    (void)bf16;
    if (size > 0) text[0] = '\0';
}

#endif
