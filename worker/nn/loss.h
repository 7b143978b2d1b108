/* Softmax cross entropy, summed over the questions that have a label. */
#ifndef NN_LOSS_H
#define NN_LOSS_H

#include "worker/nn/real.h"

#include <stdint.h>

typedef struct {
    double sum;   /* of -log softmax(logits)[label] */
    int labelled; /* questions with a label */
    int correct;  /* of these, those whose largest logit (the first of equals) is the label */
} nn_loss_t;

/* logits: [questions][answers]; label: [questions], -1: no label. log_sum: [questions], for
 * backward: the logarithm of the sum of the exponentials of a row. */
nn_loss_t nn_cross_entropy_forward(int questions, int answers, const nn_real *logits,
                                   const int32_t *label, double *log_sum);

/* grad [questions][answers] of the sum; rows without a label are zero. */
void nn_cross_entropy_backward(int questions, int answers, const nn_real *logits,
                               const int32_t *label, const double *log_sum, nn_real *grad);

#endif
