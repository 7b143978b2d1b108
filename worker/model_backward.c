#include "common/clock.h"
#include "worker/model_parts.h"
#include "worker/nn/dropout.h"
#include "worker/nn/embedding.h"
#include "worker/nn/linear.h"
#include "worker/nn/loss.h"
#include "worker/nn/rows.h"

static void swap(nn_real **a, nn_real **b) {
    nn_real *t = *a;
    *a = *b;
    *b = t;
}

/* The parameters' gradients of one layer; grad is that of its output and passes its activation. */
static hp_status_t weight_backward(wk_run_t *run, const wk_linear_t *layer, int rows,
                                   const nn_real *in, const nn_real *out, nn_real *grad) {
    if (layer->activation == WK_TANH) nn_tanh_rows_backward(rows, layer->out, out, grad);
    run->madds += nn_linear_backward_weight(rows, layer->in, layer->out, in,
                                            layer->activation == WK_RELU ? out : NULL, grad,
                                            wk_grad(run, layer->weight), wk_grad(run, layer->bias));
    HP_TRY(wk_finish(run, layer->weight));
    return wk_finish(run, layer->bias);
}

/* *grad becomes the gradient of the layer's input; *spare is the other buffer. */
static void input_backward(wk_run_t *run, const wk_linear_t *layer, int rows, nn_real **grad,
                           nn_real **spare) {
    run->madds += nn_linear_backward_in(rows, layer->in, layer->out, wk_weight(run, layer->weight),
                                        *grad, *spare);
    swap(grad, spare);
}

static hp_status_t stack_backward(wk_run_t *run, const wk_stack_t *stack, int rows,
                                  const nn_real *in, nn_real *const *out, nn_real **grad,
                                  nn_real **spare) {
    if (run->model->engine != NULL)
        return wk_engine_backward(run, stack, rows, in, out, grad, spare);
    for (int i = stack->count - 1; i >= 0; i--) {
        const wk_linear_t *layer = &stack->layer[i];
        HP_TRY(weight_backward(run, layer, rows, i > 0 ? out[i - 1] : in, out[i], *grad));
        input_backward(run, layer, rows, grad, spare);
    }
    return HP_OK;
}

/* Of the logits. */
static void loss_backward(const wk_run_t *run, nn_real *grad) {
    const wk_model_t *model = run->model;
    const nn_batch_t *batch = run->batch;
    const int questions = batch->questions, answers = run->network->answers;
    const nn_real *logits = model->output_out[0];
    if (run->network->loss == WK_BINARY)
        nn_binary_backward(questions, answers, logits, batch->label, &batch->target, grad);
    else if (run->network->loss == WK_SOFT)
        nn_soft_backward(questions, answers, logits, batch->label, &batch->target, model->log_sum,
                         grad);
    else
        nn_cross_entropy_backward(questions, answers, logits, batch->label, model->log_sum, grad);
}

/* *grad comes back as the gradient of the pooled vectors. */
static hp_status_t classifier_backward(wk_run_t *run, nn_real **grad, nn_real **spare) {
    wk_model_t *model = run->model;
    const wk_network_t *net = run->network;
    const int questions = run->batch->questions, hidden = net->classifier.count;
    loss_backward(run, *grad);
    const nn_real *features = hidden > 0 ? model->classifier_out[hidden - 1] : model->pooled;
    HP_TRY(stack_backward(run, &net->output, questions, features, model->output_out, grad, spare));
    if (run->pass->train && net->dropout > 0.0)
        nn_dropout(questions, net->output.layer[0].in, net->dropout, run->pass->seed,
                   (uint64_t)hidden, run->batch->key, *grad);
    return stack_backward(run, &net->classifier, questions, model->pooled, model->classifier_out,
                          grad, spare);
}

/* Over the selected rows alone. The first layer's input has a gradient where a trunk made it;
 * features of the store are frozen. *grad_p: from the gradient of x to that of the cells. */
static hp_status_t image_layers_backward(wk_run_t *run, nn_real **grad_p) {
    wk_model_t *model = run->model;
    const wk_stack_t *stack = &run->network->image;
    const nn_selected_t *selected = &model->selected;
    const int rows = selected->rows, cells = run->batch->cell_offset[run->batch->images];
    const bool trunk = run->network->trunk.layers > 0;
    nn_real *spare = model->grad_row[1];
    for (int i = stack->count - 1; i >= 0; i--) {
        const wk_linear_t *layer = &stack->layer[i];
        const nn_real *in = model->cells;
        if (i > 0) {
            wk_pack_rows(selected, layer->in, model->image_out[i - 1]);
            in = model->image_out[i - 1];
        } else if (rows != cells) {
            nn_gather_rows(rows, layer->in, in, selected->row_cell, spare);
            in = spare;
        }
        HP_TRY(weight_backward(run, layer, rows, in, model->image_out[i], *grad_p));
        if (i > 0 || trunk) input_backward(run, layer, rows, grad_p, &spare);
    }
    return HP_OK;
}

static hp_status_t image_backward(wk_run_t *run, wk_result_t *result) {
    const wk_stack_t *stack = &run->network->image;
    const int64_t cells = run->batch->cell_offset[run->batch->images], before = run->madds;
    const bool trunk = run->network->trunk.layers > 0;
    nn_real *grad = run->model->grad_row[0];
    HP_TRY(run->model->engine != NULL ? wk_engine_image_backward(run, &grad)
                                      : image_layers_backward(run, &grad));
    for (int i = 0; i < stack->count; i++)
        result->embed_backward_madds_dense +=
            cells * stack->layer[i].in * stack->layer[i].out * (i > 0 || trunk ? 2 : 1);
    result->embed_backward_madds = run->madds - before;
    return trunk ? wk_trunk_backward(run, grad) : HP_OK;
}

static hp_status_t lstm_backward(wk_run_t *run, const nn_real *grad_last,
                                 const wk_result_t *result) {
    wk_model_t *model = run->model;
    const wk_network_t *net = run->network;
    nn_lstm_t *lstm = &model->lstm;
    run->madds += nn_lstm_backward_gates(lstm, wk_weight(run, net->weight_hh), grad_last);
    run->madds += nn_lstm_backward_weights(lstm, model->word, wk_grad(run, net->weight_ih),
                                           wk_grad(run, net->weight_hh), wk_grad(run, net->bias_ih),
                                           wk_grad(run, net->bias_hh));
    HP_TRY(wk_finish(run, net->bias_hh));
    HP_TRY(wk_finish(run, net->bias_ih));
    HP_TRY(wk_finish(run, net->weight_hh));
    HP_TRY(wk_finish(run, net->weight_ih));
    run->madds += nn_lstm_backward_in(lstm, wk_weight(run, net->weight_ih), model->grad_word);
    nn_embedding_backward(lstm->words, net->embedding, run->batch->token, lstm->index,
                          result->sparse_rows, result->sparse_row, model->grad_word,
                          wk_grad(run, net->embedding_weight));
    return wk_finish(run, net->embedding_weight);
}

hp_status_t wk_model_backward(wk_model_t *model, const nn_real *weights, const nn_batch_t *batch,
                              const wk_pass_t *pass, nn_real *grads, wk_result_t *result,
                              hp_error_t *err) {
    if (!model->ready)
        return hp_fail(err, HP_INTERNAL, "model: backward without a forward of its own");
    model->ready = false; /* activations are packed in place on the way */
    const wk_network_t *net = &model->network;
    wk_run_t run = {.model = model,
                    .network = net,
                    .weights = weights,
                    .batch = batch,
                    .pass = pass,
                    .grads = grads,
                    .err = err};
    result->embed_backward_madds = result->embed_backward_madds_dense = 0;
    nn_real *grad = model->grad_question[0], *spare = model->grad_question[1];
    nn_real *grad_q = model->grad_question[2];
    HP_TRY(classifier_backward(&run, &grad, &spare));
    const wk_grads_t to = {.q = grad_q, .x = model->grad_row[0], .state = model->grad_state};
    HP_TRY(wk_aggregate_backward(&run, grad, &to));
    const double begin = hp_clock();
    HP_TRY(image_backward(&run, result));
    result->embed_backward_s = hp_clock() - begin;
    HP_TRY(stack_backward(&run, &net->question, batch->questions, model->last, model->question_out,
                          &grad_q, &spare));
    if (net->question.count == 0)
        grad_q = model->grad_state;
    else if (model->grad_state != NULL)
        nn_add(batch->questions * net->hidden, model->grad_state, grad_q);
    if (pass->train && net->question_dropout > 0.0)
        nn_dropout(batch->questions, net->hidden, net->question_dropout, pass->seed,
                   WK_DROPOUT_QUESTION, batch->key, grad_q);
    HP_TRY(lstm_backward(&run, grad_q, result));
    HP_TRY(wk_engine_status(&run));
    result->backward_madds = run.madds;
    return HP_OK;
}
