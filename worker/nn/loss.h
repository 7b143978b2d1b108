/* Softmax cross entropy, summed over the questions that have a label. */
#ifndef NN_LOSS_H
#define NN_LOSS_H

#include "worker/nn/batch.h"
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

/* Losses of answers with weights; questions whose label is -1 add nothing. log_sum is that of
 * nn_cross_entropy_forward over the same logits.
 *
 * binary: for every class the cross entropy of its logistic with the class's weight, 0 where it is
 * not among the targets; summed over the classes (the mean times their number, as VQA models train
 * on soft scores since bottom-up attention, Anderson et al. 2018).
 * soft: the sum of weight times -log softmax(logits)[answer] (Kazemi and Elqursh 2017). */
double nn_binary_forward(int questions, int answers, const nn_real *logits, const int32_t *label,
                         const nn_targets_t *target);
void nn_binary_backward(int questions, int answers, const nn_real *logits, const int32_t *label,
                        const nn_targets_t *target, nn_real *grad);
double nn_soft_forward(int questions, int answers, const nn_real *logits, const int32_t *label,
                       const nn_targets_t *target, const double *log_sum);
void nn_soft_backward(int questions, int answers, const nn_real *logits, const int32_t *label,
                      const nn_targets_t *target, const double *log_sum, nn_real *grad);

/* grad [questions][answers] of the sum; rows without a label are zero. */
void nn_cross_entropy_backward(int questions, int answers, const nn_real *logits,
                               const int32_t *label, const double *log_sum, nn_real *grad);

#endif
