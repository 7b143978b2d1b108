/* hanps ask: a question about an image, answered at once. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/predictions.h"
#include "common/gemm.h"
#include "common/memory.h"
#include "worker/ask.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: hanps ask RUN --image ID --question TEXT [OPTION]...\n"
    "       hanps ask RUN [--image ID] [OPTION]... < QUESTIONS\n\n"
    "Answers a question about an image of the run's store: the most probable answers, and the "
    "cells\n"
    "that were looked at. Without --question every line of standard input is one; without --image "
    "too\n"
    "a line is ID, a tab, and the question.\n\n"
    "  --image ID         the image's id, as it was imported\n"
    "  --question TEXT    what is asked\n"
    "  --top N            answers to show (5)\n"
    "  --json             a JSON object a line instead\n"
    "  --checkpoint STEP  or last, or best (last)\n"
    "  --set KEY=VALUE    over the run's configuration: --set data.store=...\n";

typedef struct {
    const char *run, *image, *question, *checkpoint;
    int top, sets;
    bool json, help;
    const char **set; /* room for every argument */
} args_t;

static hp_status_t parse(int argc, char **argv, args_t *args, hp_error_t *err) {
    const cli_option_t options[] = {CLI_TEXT("image", &args->image),
                                    CLI_TEXT("question", &args->question),
                                    CLI_NUMBER("top", &args->top, 1, CLI_TOP),
                                    CLI_FLAG("json", &args->json),
                                    CLI_TEXT("checkpoint", &args->checkpoint),
                                    CLI_LIST("set", args->set, &args->sets, 0),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, &args->help, err));
    if (args->help) return HP_OK;
    HP_TRY(cli_one_operand(argc, argv, "RUN", &args->run, err));
    if (args->question != NULL && args->image == NULL)
        return hp_fail(err, HP_INPUT, "--question TEXT goes with --image ID");
    return HP_OK;
}

/* Cells in rows as they lie, those that were looked at as ##. */
static void draw(const wk_model_shape_t *shape, const wk_answered_t *a) {
    const int *next = a->cell, *end = a->cell + a->selected;
    for (int row = 0; row < shape->grid_height; row++) {
        printf("    ");
        for (int column = 0; column < shape->grid_width; column++) {
            bool in = next < end && *next == row * shape->grid_width + column;
            next += in;
            fputs(in ? "##" : " .", stdout);
        }
        putchar('\n');
    }
}

static void list(const wk_answered_t *a, const float *boxes) {
    for (int i = 0; i < a->selected; i++) {
        const float *b = boxes != NULL ? boxes + 4 * (size_t)a->cell[i] : NULL;
        printf("    cell %d", a->cell[i]);
        if (b != NULL)
            printf(": box %.6g, %.6g to %.6g, %.6g", (double)b[0], (double)b[1], (double)b[2],
                   (double)b[3]);
        putchar('\n');
    }
}

static hp_status_t show(const cli_predictions_t *p, const wk_answered_t *a, const float *boxes,
                        const char *image, const char *question, int unknown, hp_error_t *err) {
    void *order = NULL, *probability = NULL;
    HP_TRY(hp_allocate(&order, (size_t)p->top, sizeof(int), "answers", err));
    hp_status_t status = hp_allocate(&probability, (size_t)p->top, sizeof(double), "answers", err);
    if (status == HP_OK) {
        printf("image %s: %s\n", image, question);
        if (unknown > 0)
            printf("  %d word%s the model does not know\n", unknown, unknown > 1 ? "s" : "");
        int top = cli_prediction_top(p, a, order, probability);
        for (int k = 0; k < top; k++)
            printf("  %6.2f %%  %s\n", 100 * ((double *)probability)[k],
                   p->info->answer[((int *)order)[k]]);
        printf("  looked at %d of %d cells\n", a->selected, a->cells);
        if (p->shape->grid_height * p->shape->grid_width == a->cells)
            draw(p->shape, a);
        else
            list(a, boxes);
        fflush(stdout);
    }
    hp_free(order);
    hp_free(probability);
    return status;
}

static hp_status_t ask(const args_t *args, wk_ask_t *asker, const cli_predictions_t *p,
                       const char *image, const char *question, hp_error_t *err) {
    wk_answered_t answered;
    int unknown = 0;
    HP_TRY(wk_ask(asker, image, question, &answered, &unknown, err));
    if (!args->json) return show(p, &answered, wk_ask_boxes(asker), image, question, unknown, err);
    HP_TRY(cli_prediction_write(p, &answered, NULL, image, question, NULL, stdout, err));
    fflush(stdout);
    return HP_OK;
}

static hp_status_t ask_line(const args_t *args, wk_ask_t *asker, const cli_predictions_t *p,
                            char *line, hp_error_t *err) {
    if (args->image != NULL) return ask(args, asker, p, args->image, line, err);
    char *tab = strchr(line, '\t');
    if (tab == NULL)
        return hp_fail(err, HP_INPUT, "expected an image's id, a tab, and a question; or --image");
    *tab = '\0';
    return ask(args, asker, p, line, tab + 1, err);
}

static hp_status_t ask_lines(const args_t *args, wk_ask_t *asker, const cli_predictions_t *p,
                             hp_error_t *err) {
    char *line = NULL;
    size_t room = 0;
    uint64_t number = 0;
    hp_status_t status = HP_OK;
    while (status == HP_OK && getline(&line, &room, stdin) > 0) {
        number++;
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] == '\0') continue;
        status = ask_line(args, asker, p, line, err);
        if (status != HP_OK) hp_fail_prefix(err, "standard input, line %" PRIu64, number);
    }
    free(line);
    return status;
}

hp_status_t cli_ask(int argc, char **argv, hp_error_t *err) {
    args_t args = {.checkpoint = "last", .top = 5};
    void *set = NULL;
    HP_TRY(hp_allocate(&set, (size_t)argc, sizeof *args.set, "arguments", err));
    args.set = set;
    wk_trained_t trained = {0};
    wk_ask_t *asker = NULL;
    hp_status_t status = parse(argc, argv, &args, err);
    if (args.help) fputs(usage, stdout);
    if (status == HP_OK && !args.help) {
        status = wk_trained_open(args.run, args.checkpoint, args.sets, args.set, &trained, err);
        if (trained.note[0] != '\0') fprintf(stderr, "hanps ask: warning: %s\n", trained.note);
        if (status == HP_OK) status = wk_ask_open(&trained, &asker, err);
        if (status == HP_OK) {
            hp_gemm_set_threads(1);
            const cli_predictions_t p = {
                .top = args.top, .info = hp_store_info(trained.store), .shape = &trained.shape};
            status = args.question != NULL ? ask(&args, asker, &p, args.image, args.question, err)
                                           : ask_lines(&args, asker, &p, err);
        }
    }
    wk_ask_close(asker);
    wk_trained_close(&trained);
    hp_free(set);
    return status;
}
