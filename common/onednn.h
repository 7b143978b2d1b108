/* dnnl.h, and what its versions 2 and 3 spell differently: for the *_dnnl.c alone. */
#ifndef HP_ONEDNN_H
#define HP_ONEDNN_H

#ifdef HP_WITH_DNNL

#include "common/gemm.h"

#include <dnnl.h>

/* Version 2 gives descriptors by value, version 3 behind a pointer. */
#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t hp_dnnl_layout_t;
static inline hp_dnnl_layout_t hp_dnnl_ref(const dnnl_memory_desc_t *layout) { return *layout; }
static inline void hp_dnnl_release(dnnl_memory_desc_t *layout) {
    dnnl_memory_desc_destroy(*layout);
}
#else
typedef const dnnl_memory_desc_t *hp_dnnl_layout_t;
static inline hp_dnnl_layout_t hp_dnnl_ref(const dnnl_memory_desc_t *layout) { return layout; }
static inline void hp_dnnl_release(dnnl_memory_desc_t *layout) { (void)layout; }
#endif

/* A ReLU is a leaky one of slope 2^-50: max(x, 0) of a NaN would be 0 and hide a run that has
 * diverged, and from a slope that small every square stays a normal number. */
static inline dnnl_status_t hp_dnnl_append_activation(dnnl_post_ops_t ops,
                                                      hp_gemm_activation_t activation) {
    if (activation == HP_GEMM_LINEAR) return dnnl_success;
    const dnnl_alg_kind_t kind = activation == HP_GEMM_RELU ? dnnl_eltwise_relu : dnnl_eltwise_tanh;
    const float slope = activation == HP_GEMM_RELU ? 0x1p-50f : 0;
#if DNNL_VERSION_MAJOR >= 3
    return dnnl_post_ops_append_eltwise(ops, kind, slope, 0);
#else
    return dnnl_post_ops_append_eltwise(ops, 1, kind, slope, 0);
#endif
}

#endif
#endif
