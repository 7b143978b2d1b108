#include "worker/model_parts.h"
#include "worker/nn/dropout.h"
#include "worker/nn/embedding.h"
#include "worker/nn/linear.h"
#include "worker/nn/loss.h"
#include "worker/nn/presence.h"
#include "worker/nn/rows.h"

#include <limits.h>

static hp_status_t check_images(const wk_model_t *model, const nn_batch_t *batch, hp_error_t *err) {
    const bool trunk = model->network.trunk.layers > 0;
    if (trunk != (batch->pixels != NULL))
        return hp_fail(err, HP_INTERNAL, "batch: %s pixels where the model has %s trunk",
                       trunk ? "no" : "there are", trunk ? "a" : "no");
    if (!trunk && batch->half != NULL && (!model->bf16 || model->network.image.count == 0))
        return hp_fail(err, HP_INTERNAL, "batch: rounded cells, which this model does not read");
    if (!trunk && batch->channels != model->network.channels)
        return hp_fail(err, HP_INTERNAL, "batch: %d channels where the model has %d",
                       batch->channels, model->network.channels);
    for (int i = 0; i < batch->images; i++) {
        int cells = batch->cell_offset[i + 1] - batch->cell_offset[i];
        if (cells < 1 || cells > model->max_cells || (trunk && cells != model->max_cells))
            return hp_fail(err, HP_INTERNAL, "batch: image %d has %d cells; allowed: 1 to %d", i,
                           cells, model->max_cells);
    }
    return HP_OK;
}

static hp_status_t check_targets(const wk_model_t *model, const nn_batch_t *batch,
                                 hp_error_t *err) {
    const nn_targets_t *target = &batch->target;
    if (model->network.loss == WK_CROSS_ENTROPY) return HP_OK;
    if (target->offset == NULL)
        return hp_fail(err, HP_INTERNAL, "batch: the model's loss needs targets");
    for (int q = 0; q < batch->questions; q++)
        for (int t = target->offset[q]; t < target->offset[q + 1]; t++)
            if (target->answer[t] < 0 || target->answer[t] >= model->network.answers)
                return hp_fail(err, HP_INTERNAL, "batch: question %d has answer %d of %d", q,
                               (int)target->answer[t], model->network.answers);
    return HP_OK;
}

static hp_status_t check_questions(const wk_model_t *model, const nn_batch_t *batch,
                                   hp_error_t *err) {
    for (int q = 0; q < batch->questions; q++) {
        int image = batch->image[q];
        if (image < (q > 0 ? batch->image[q - 1] : 0) || image >= batch->images)
            return hp_fail(err, HP_INTERNAL, "batch: question %d has image %d of %d", q, image,
                           batch->images);
        if (batch->token_offset[q + 1] <= batch->token_offset[q])
            return hp_fail(err, HP_INTERNAL, "batch: question %d has no words", q);
        if (batch->label[q] < -1 || batch->label[q] >= model->network.answers)
            return hp_fail(err, HP_INTERNAL, "batch: question %d has answer %d of %d", q,
                           (int)batch->label[q], model->network.answers);
    }
    for (int t = 0; t < batch->token_offset[batch->questions]; t++)
        if (batch->token[t] < 0 || batch->token[t] >= model->network.words)
            return hp_fail(err, HP_INTERNAL, "batch: word %d of a vocabulary of %d",
                           (int)batch->token[t], model->network.words);
    return HP_OK;
}

/* The workspace is as large as was planned: nothing may be written beyond it. */
static hp_status_t check_batch(const wk_model_t *model, const nn_batch_t *batch, hp_error_t *err) {
    const wk_model_limits_t *most = &model->limits;
    if (batch->images < 0 || batch->questions < 0 || batch->images > most->images ||
        batch->questions > most->questions)
        return hp_fail(err, HP_INTERNAL,
                       "batch: %d images, %d questions; the model was made for %d and %d",
                       batch->images, batch->questions, most->images, most->questions);
    const int *cells = batch->cell_offset, *tokens = batch->token_offset;
    if (cells[0] != 0 || tokens[0] != 0 || cells[batch->images] > most->cells ||
        tokens[batch->questions] > most->tokens)
        return hp_fail(err, HP_INTERNAL,
                       "batch: %d cells, %d words; the model was made for %d and %d",
                       cells[batch->images], tokens[batch->questions], most->cells, most->tokens);
    HP_TRY(check_images(model, batch, err));
    HP_TRY(check_targets(model, batch, err));
    return check_questions(model, batch, err);
}

static hp_status_t check_selection(const wk_model_t *model, const nn_batch_t *batch,
                                   const wk_selection_t *fixed, hp_error_t *err) {
    for (int q = 0; q < batch->questions; q++) {
        const int image = batch->image[q];
        const int cells = batch->cell_offset[image + 1] - batch->cell_offset[image];
        bool good = fixed->offset[q] <= fixed->offset[q + 1] && fixed->offset[0] == 0 &&
                    (size_t)fixed->offset[q + 1] <= model->slots;
        for (int s = fixed->offset[q], least = 0; good && s < fixed->offset[q + 1]; s++) {
            good = fixed->cell[s] >= least && fixed->cell[s] < cells;
            least = fixed->cell[s] + 1;
        }
        if (!good)
            return hp_fail(err, HP_INTERNAL, "the selection given for question %d is not one", q);
    }
    return HP_OK;
}

static hp_status_t stack_forward(wk_run_t *run, const wk_stack_t *stack, int rows,
                                 const nn_real *in, nn_real *const *out) {
    if (run->model->engine != NULL) return wk_engine_forward(run, stack, rows, in, out);
    for (int i = 0; i < stack->count; in = out[i++]) {
        const wk_linear_t *layer = &stack->layer[i];
        HP_TRY(wk_need(run, layer->weight));
        HP_TRY(wk_need(run, layer->bias));
        run->madds +=
            nn_linear_forward(rows, layer->in, layer->out, layer->activation == WK_RELU, in,
                              wk_weight(run, layer->weight), wk_weight(run, layer->bias), out[i]);
        if (layer->activation == WK_TANH) nn_tanh_rows(rows, layer->out, out[i]);
    }
    return HP_OK;
}

static hp_status_t question_forward(wk_run_t *run) {
    wk_model_t *model = run->model;
    const wk_network_t *net = run->network;
    const nn_batch_t *batch = run->batch;
    nn_lstm_pack(&model->lstm, batch->questions, batch->token_offset);
    HP_TRY(wk_need(run, net->embedding_weight));
    nn_embedding_forward(model->lstm.words, net->embedding, wk_weight(run, net->embedding_weight),
                         batch->token, model->lstm.index, model->word);
    HP_TRY(wk_need(run, net->weight_ih));
    HP_TRY(wk_need(run, net->weight_hh));
    HP_TRY(wk_need(run, net->bias_ih));
    HP_TRY(wk_need(run, net->bias_hh));
    if (model->engine != NULL) wk_engine_lstm(run);
    run->madds += nn_lstm_forward(&model->lstm, model->word, wk_weight(run, net->weight_ih),
                                  wk_weight(run, net->weight_hh), wk_weight(run, net->bias_ih),
                                  wk_weight(run, net->bias_hh), model->last);
    if (run->pass->train && net->question_dropout > 0.0)
        nn_dropout(batch->questions, net->hidden, net->question_dropout, run->pass->seed,
                   WK_DROPOUT_QUESTION, batch->key, model->last);
    return stack_forward(run, &net->question, batch->questions, model->last, model->question_out);
}

/* Presence of all cells, where the attention has one. x: [cells][width]. */
static bool presence_forward(wk_run_t *run, const nn_real *x) {
    wk_model_t *model = run->model;
    const nn_batch_t *batch = run->batch;
    const int width = run->network->width;
    nn_presence_offsets(batch, model->presence_offset);
    const hp_attention_t attention = run->network->attention;
    if (attention == HP_ATTEND_ALL || attention == HP_ATTEND_RANDOM || attention == HP_ATTEND_SOFT)
        return false;
    nn_squared_norms(batch->cell_offset[batch->images], width, x, model->norm);
    if (attention == HP_ATTEND_IMAGE_ONLY)
        nn_presence_image_only(batch, model->norm, model->presence_offset, model->presence);
    else
        run->madds += nn_presence(batch, width, x, wk_question_vector(model), model->norm,
                                  model->presence_offset, model->presence);
    return true;
}

static hp_status_t select_cells(wk_run_t *run, bool has_presence) {
    wk_model_t *model = run->model;
    const wk_selection_t *fixed = run->pass->fixed;
    if (run->network->question.count > 0)
        nn_squared_norms(run->batch->questions, run->network->width, wk_question_vector(model),
                         model->question_norm);
    if (fixed != NULL) {
        HP_TRY(check_selection(model, run->batch, fixed, run->err));
        nn_select_given(run->batch, fixed->offset, fixed->cell, &model->selected);
    } else {
        nn_select_t select = run->network->select;
        select.seed = run->pass->seed;
        nn_select(&select, run->batch, has_presence ? model->presence : NULL,
                  model->presence_offset, model->question_norm, &model->selected);
    }
    if (!run->network->straight_through) {
        nn_select_pack(run->batch, &model->selected);
        return HP_OK;
    }
    nn_select_pack_every(run->batch, &model->selected);
    nn_select(&(nn_select_t){.kind = NN_SELECT_ALL}, run->batch, NULL, NULL, NULL, &model->every);
    nn_select_pack_every(run->batch, &model->every);
    return HP_OK;
}

/* model->x: the selected rows of x, packed. */
static void pack_embedding(wk_run_t *run, const nn_real *x) {
    wk_model_t *model = run->model;
    const nn_selected_t *selected = &model->selected;
    const int layers = run->network->image.count;
    if (layers > 0) {
        wk_pack_rows(selected, run->network->width, model->image_out[layers - 1]);
        model->x = x;
    } else if (selected->rows == run->batch->cell_offset[run->batch->images]) {
        model->x = x;
    } else {
        nn_gather_rows(selected->rows, run->network->width, x, selected->row_cell, model->gathered);
        model->x = model->gathered;
    }
}

static hp_status_t classify(wk_run_t *run) {
    wk_model_t *model = run->model;
    const wk_network_t *net = run->network;
    const int questions = run->batch->questions, hidden = net->classifier.count;
    HP_TRY(stack_forward(run, &net->classifier, questions, model->pooled, model->classifier_out));
    nn_real *features = hidden > 0 ? model->classifier_out[hidden - 1] : model->pooled;
    if (run->pass->train && net->dropout > 0.0)
        nn_dropout(questions, net->output.layer[0].in, net->dropout, run->pass->seed,
                   (uint64_t)hidden, run->batch->key, features);
    return stack_forward(run, &net->output, questions, features, model->output_out);
}

hp_status_t wk_model_forward(wk_model_t *model, const nn_real *weights, const nn_batch_t *batch,
                             const wk_pass_t *pass, wk_result_t *result, hp_error_t *err) {
    model->ready = false;
    HP_TRY(check_batch(model, batch, err));
    const wk_network_t *net = &model->network;
    wk_run_t run = {.model = model,
                    .network = net,
                    .weights = weights,
                    .batch = batch,
                    .pass = pass,
                    .err = err};
    HP_TRY(question_forward(&run));
    model->cells = batch->cells;
    if (net->trunk.layers > 0) HP_TRY(wk_trunk_forward(&run, &model->cells));
    HP_TRY(stack_forward(&run, &net->image, batch->cell_offset[batch->images], model->cells,
                         model->image_out));
    const nn_real *x = net->image.count > 0 ? model->image_out[net->image.count - 1] : model->cells;
    const bool has_presence = presence_forward(&run, x);
    HP_TRY(select_cells(&run, has_presence));
    pack_embedding(&run, x);
    HP_TRY(wk_aggregate_forward(&run));
    HP_TRY(classify(&run));
    HP_TRY(wk_engine_status(&run));

    const nn_real *logits = model->output_out[0];
    nn_loss_t loss = nn_cross_entropy_forward(batch->questions, net->answers, logits, batch->label,
                                              model->log_sum);
    if (net->loss == WK_BINARY)
        loss.sum =
            nn_binary_forward(batch->questions, net->answers, logits, batch->label, &batch->target);
    else if (net->loss == WK_SOFT)
        loss.sum = nn_soft_forward(batch->questions, net->answers, logits, batch->label,
                                   &batch->target, model->log_sum);
    *result = (wk_result_t){
        .loss_sum = loss.sum,
        .labelled = loss.labelled,
        .correct = loss.correct,
        .logits = logits,
        .selection = {.offset = model->selected.offset, .cell = model->selected.cell},
        .presence = has_presence ? model->presence : NULL,
        .presence_offset = model->presence_offset,
        .forward_madds = run.madds,
        .sparse_rows = nn_embedding_rows(batch->token_offset[batch->questions], net->words,
                                         batch->token, model->mark, model->sparse_row),
        .sparse_row = model->sparse_row};
    model->ready = true;
    return HP_OK;
}
