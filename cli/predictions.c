#include "cli/predictions.h"

#include "cli/scores.h"
#include "common/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int cli_prediction_top(const cli_predictions_t *p, const wk_answered_t *a, int *order,
                       double *probability) {
    double sum = 0;
    int top = p->top < a->answers ? p->top : a->answers, kept = 0;
    for (int i = 0; i < a->answers; i++) {
        sum += exp((double)a->logits[i] - (double)a->logits[a->answer]);
        if (kept == top && (top == 0 || a->logits[i] <= a->logits[order[top - 1]])) continue;
        int at = kept < top ? kept++ : top - 1;
        for (; at > 0 && a->logits[order[at - 1]] < a->logits[i]; at--) order[at] = order[at - 1];
        order[at] = i;
    }
    for (int k = 0; k < kept; k++)
        probability[k] = exp((double)a->logits[order[k]] - (double)a->logits[a->answer]) / sum;
    return kept;
}

static void put_string(yajl_gen gen, const char *key, const char *text) {
    cli_put_key(gen, key);
    cli_put_key(gen, text);
}

static void put_top(yajl_gen gen, const cli_predictions_t *p, int top, const int *order,
                    const double *probability) {
    cli_put_key(gen, "top");
    yajl_gen_array_open(gen);
    for (int k = 0; k < top; k++) {
        yajl_gen_map_open(gen);
        put_string(gen, "answer", p->info->answer[order[k]]);
        cli_put_real(gen, "probability", probability[k], 6);
        yajl_gen_map_close(gen);
    }
    yajl_gen_array_close(gen);
}

static void put_cells(yajl_gen gen, const cli_predictions_t *p, const wk_answered_t *a) {
    cli_put_key(gen, "cells");
    yajl_gen_array_open(gen);
    for (int i = 0; i < a->selected; i++) yajl_gen_integer(gen, a->cell[i]);
    yajl_gen_array_close(gen);
    cli_put_key(gen, "cells_of_image");
    yajl_gen_integer(gen, a->cells);
    if (p->shape->grid_height * p->shape->grid_width == 0) return;
    cli_put_key(gen, "grid");
    yajl_gen_array_open(gen);
    yajl_gen_integer(gen, p->shape->grid_height);
    yajl_gen_integer(gen, p->shape->grid_width);
    yajl_gen_array_close(gen);
}

static void put_logits(yajl_gen gen, const wk_answered_t *a) {
    cli_put_key(gen, "logits");
    yajl_gen_array_open(gen);
    for (int i = 0; i < a->answers; i++) {
        char text[32];
        int n = snprintf(text, sizeof text, "%.9g", (double)a->logits[i]);
        yajl_gen_number(gen, text, (size_t)n);
    }
    yajl_gen_array_close(gen);
}

hp_status_t cli_prediction_write(const cli_predictions_t *p, const wk_answered_t *a,
                                 const int64_t *id, const char *image, const char *question,
                                 const char *target, FILE *out, hp_error_t *err) {
    size_t room = (size_t)(p->top < a->answers ? p->top : a->answers) + 1;
    void *order = NULL, *probability = NULL;
    HP_TRY(hp_allocate(&order, room, sizeof(int), "answers", err));
    hp_status_t status = hp_allocate(&probability, room, sizeof(double), "answers", err);
    yajl_gen gen = status == HP_OK ? yajl_gen_alloc(NULL) : NULL;
    if (status == HP_OK && gen == NULL)
        status = hp_fail(err, HP_MEMORY, "out of memory for the JSON");
    if (status == HP_OK) {
        int top = cli_prediction_top(p, a, order, probability);
        yajl_gen_map_open(gen);
        if (id != NULL) {
            cli_put_key(gen, "question_id");
            yajl_gen_integer(gen, *id);
        }
        put_string(gen, "image", image);
        put_string(gen, "question", question);
        put_string(gen, "answer", p->info->answer[a->answer]);
        if (target != NULL && target[0] != '\0') put_string(gen, "target", target);
        put_top(gen, p, top, order, probability);
        put_cells(gen, p, a);
        if (p->logits) put_logits(gen, a);
        yajl_gen_map_close(gen);
        const unsigned char *text = NULL;
        size_t bytes = 0;
        if (yajl_gen_get_buf(gen, &text, &bytes) != yajl_gen_status_ok)
            status = hp_fail(err, HP_INTERNAL, "a prediction is no JSON");
        else if (fwrite(text, 1, bytes, out) != bytes || fputc('\n', out) == EOF)
            status = hp_fail_errno(err, HP_IO, "cannot write a prediction");
    }
    if (gen != NULL) yajl_gen_free(gen);
    hp_free(order);
    hp_free(probability);
    return status;
}
