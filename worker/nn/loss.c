#include "worker/nn/loss.h"

#include "worker/nn/activation.h"

#include <stddef.h>
#include <string.h>

nn_loss_t nn_cross_entropy_forward(int questions, int answers, const nn_real *logits,
                                   const int32_t *label, double *log_sum) {
    nn_loss_t loss = {0};
    for (int q = 0; q < questions; q++, logits += answers) {
        int best = 0;
        for (int i = 1; i < answers; i++)
            if (logits[i] > logits[best]) best = i;
        double sum = (double)nn_exp(logits[0] - logits[best]);
        for (int i = 1; i < answers; i++) sum += (double)nn_exp(logits[i] - logits[best]);
        log_sum[q] = (double)logits[best] + log(sum);
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
        for (int i = 0; i < answers; i++)
            grad[i] = nn_exp((nn_real)((double)logits[i] - log_sum[q]));
        grad[label[q]] -= 1;
    }
}
