/* Adam (Kingma and Ba 2015) as torch.optim.Adam computes it: a pure function over arrays.
 *
 *   m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
 *   w <- w - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps) */
#ifndef PS_ADAM_H
#define PS_ADAM_H

#include <stdint.h>

typedef struct {
    double lr, beta1, beta2, eps;
    double l2;        /* g <- g + l2 w first: the weight decay of torch.optim.Adam */
    double decoupled; /* w <- w (1 - lr decoupled) first: that of torch.optim.AdamW */
} ps_adam_t;

/* Step t (1 is the first) of n elements. The gradient is gradient[i] * scale: one over the number
 * of examples, times the clipping coefficient. An output may be its own input; otherwise arrays do
 * not overlap. Bits depend on the inputs alone, not on how the array is cut. */
void ps_adam(const ps_adam_t *adam, int64_t t, int64_t n, const float *gradient, double scale,
             const float *w_in, float *w_out, const float *m_in, float *m_out, const float *v_in,
             float *v_out);

/* The coefficient that torch.nn.utils.clip_grad_norm_ gives for a squared norm; 1 for clip 0. */
double ps_clip(double clip_norm, double squared_norm);

#endif
