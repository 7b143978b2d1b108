#include "worker/nn/loss.h"

#include "common/vector.h"
#include "worker/nn/activation.h"

#include <stddef.h>
#include <string.h>

/* The sum of exp(x - most), in 16 lanes. */
HP_VECTOR static double sum_exp(int n, const nn_real *x, nn_real most) {
    double lane[16] = {0};
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        nn_real e[16];
        for (int j = 0; j < 16; j++) e[j] = nn_exp(x[i + j] - most);
        for (int j = 0; j < 16; j++) lane[j] += (double)e[j];
    }
    for (int j = 0; i + j < n; j++) lane[j] += (double)nn_exp(x[i + j] - most);
    double sum = 0;
    for (int j = 0; j < 16; j++) sum += lane[j];
    return sum;
}

/* y = exp(x - log_sum) */
HP_VECTOR static void softmax(int n, const nn_real *restrict x, double log_sum,
                              nn_real *restrict y) {
    for (int i = 0; i < n; i++) y[i] = nn_exp((nn_real)((double)x[i] - log_sum));
}

nn_loss_t nn_cross_entropy_forward(int questions, int answers, const nn_real *logits,
                                   const int32_t *label, double *log_sum) {
    nn_loss_t loss = {0};
    for (int q = 0; q < questions; q++, logits += answers) {
        int best = 0;
        for (int i = 1; i < answers; i++)
            if (logits[i] > logits[best]) best = i;
        log_sum[q] = (double)logits[best] + log(sum_exp(answers, logits, logits[best]));
        if (label[q] < 0) continue;
        loss.sum += log_sum[q] - (double)logits[label[q]];
        loss.labelled++;
        loss.correct += best == label[q];
    }
    return loss;
}

void nn_cross_entropy_backward(int questions, int answers, const nn_real *logits,
                               const int32_t *label, const double *log_sum, nn_real *grad) {
    for (int q = 0; q < questions; q++, logits += answers, grad += answers) {
        if (label[q] < 0) {
            memset(grad, 0, (size_t)answers * sizeof *grad);
            continue;
        }
        softmax(answers, logits, log_sum[q], grad);
        grad[label[q]] -= 1;
    }
}

/* log(1 + exp(x)) */
static double softplus(double x) { return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }

double nn_binary_forward(int questions, int answers, const nn_real *logits, const int32_t *label,
                         const nn_targets_t *target) {
    double sum = 0;
    for (int q = 0; q < questions; q++, logits += answers) {
        if (label[q] < 0) continue;
        for (int i = 0; i < answers; i++) sum += softplus((double)logits[i]);
        for (int t = target->offset[q]; t < target->offset[q + 1]; t++)
            sum -= (double)target->weight[t] * (double)logits[target->answer[t]];
    }
    return sum;
}

void nn_binary_backward(int questions, int answers, const nn_real *logits, const int32_t *label,
                        const nn_targets_t *target, nn_real *grad) {
    for (int q = 0; q < questions; q++, logits += answers, grad += answers) {
        memset(grad, 0, (size_t)answers * sizeof *grad);
        if (label[q] < 0) continue;
        for (int i = 0; i < answers; i++) grad[i] = 1 / (1 + nn_exp(-logits[i]));
        for (int t = target->offset[q]; t < target->offset[q + 1]; t++)
            grad[target->answer[t]] -= target->weight[t];
    }
}

double nn_soft_forward(int questions, int answers, const nn_real *logits, const int32_t *label,
                       const nn_targets_t *target, const double *log_sum) {
    double sum = 0;
    for (int q = 0; q < questions; q++, logits += answers)
        for (int t = target->offset[q]; label[q] >= 0 && t < target->offset[q + 1]; t++)
            sum += (double)target->weight[t] * (log_sum[q] - (double)logits[target->answer[t]]);
    return sum;
}

void nn_soft_backward(int questions, int answers, const nn_real *logits, const int32_t *label,
                      const nn_targets_t *target, const double *log_sum, nn_real *grad) {
    for (int q = 0; q < questions; q++, logits += answers, grad += answers) {
        nn_real whole = 0;
        memset(grad, 0, (size_t)answers * sizeof *grad);
        if (label[q] < 0) continue;
        for (int t = target->offset[q]; t < target->offset[q + 1]; t++) whole += target->weight[t];
        for (int i = 0; i < answers; i++)
            grad[i] = whole * nn_exp((nn_real)((double)logits[i] - log_sum[q]));
        for (int t = target->offset[q]; t < target->offset[q + 1]; t++)
            grad[target->answer[t]] -= target->weight[t];
    }
}
