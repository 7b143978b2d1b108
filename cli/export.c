/* hanps export: the weights of a checkpoint for other programs. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/model_describe.h"
#include "common/export.h"
#include "common/file.h"
#include "common/memory.h"
#include "worker/trained.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: hanps export RUN --format FORMAT --out FILE [--checkpoint STEP]\n\n"
    "Writes the weights of a checkpoint under the names of the parameter table, in PyTorch's "
    "layouts\n"
    "(an LSTM's gates are i, f, g, o; a linear layer's weight is [out, in]).\n\n"
    "Beside it FILE.json says what else a program needs that uses them: configuration, tokenizer, "
    "words,\n"
    "answers, and how features are normalised. docs/pytorch.md has the module that reads both.\n\n"
    "  --format FORMAT    npz (numpy.load) or safetensors\n"
    "  --out FILE         the file; replaced when the new one is whole\n"
    "  --checkpoint STEP  or last (last)\n"
    "  --weights-only     no FILE.json; the store need not be there\n"
    "  --set KEY=VALUE    over the run's configuration: --set data.store=...\n";

typedef struct {
    const char *run, *format, *out, *checkpoint;
    bool weights_only, help;
    int sets;
    const char **set; /* room for every argument */
} args_t;

static hp_status_t parse(int argc, char **argv, args_t *args, hp_error_t *err) {
    const cli_option_t options[] = {
        CLI_TEXT("format", &args->format),          CLI_TEXT("out", &args->out),
        CLI_TEXT("checkpoint", &args->checkpoint),  CLI_FLAG("weights-only", &args->weights_only),
        CLI_LIST("set", args->set, &args->sets, 0), {0}};
    HP_TRY(cli_options(argc, argv, options, &args->help, err));
    if (args->help) return HP_OK;
    HP_TRY(cli_one_operand(argc, argv, "RUN", &args->run, err));
    if (args->format == NULL || args->out == NULL)
        return hp_fail(err, HP_INPUT, "--%s is missing; see --help",
                       args->format == NULL ? "format" : "out");
    return hp_check_place(args->out, err);
}

/* FILE.json, from what the run's store says. */
static hp_status_t describe(const args_t *args, hp_error_t *err) {
    wk_trained_t trained;
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s.json", args->out) >= (int)sizeof path)
        return hp_fail(err, HP_INPUT, "path is too long: '%.200s...'", args->out);
    if (wk_trained_open(args->run, args->checkpoint, args->sets, args->set, &trained, err) != HP_OK)
        return hp_fail_prefix(err, "%s ('--weights-only' does without it)", path);
    hp_status_t status = cli_model_describe(&trained, args->out, path, err);
    wk_trained_close(&trained);
    return status;
}

static hp_status_t export(const args_t *args, hp_error_t *err) {
    char note[HP_CHECKPOINT_NOTE];
    hp_checkpoint_t *c = NULL;
    const char *format = args->format != NULL ? args->format : ""; /* parse asks for it */
    bool npz = strcmp(format, "npz") == 0;
    if (!npz && strcmp(format, "safetensors") != 0)
        return hp_fail(err, HP_INPUT, "--format %s: allowed are npz, safetensors", format);
    HP_TRY(hp_checkpoint_open(args->run, args->checkpoint, &c, note, err));
    if (note[0] != '\0') fprintf(stderr, "hanps export: warning: %s\n", note);
    hp_status_t status = args->weights_only ? HP_OK : describe(args, err);
    if (status == HP_OK)
        status = hp_export(c, npz ? HP_EXPORT_NPZ : HP_EXPORT_SAFETENSORS, args->out, err);
    if (status == HP_OK)
        printf("%s: %d parameters of step %" PRId64 "\n", args->out, hp_checkpoint_params(c)->count,
               hp_checkpoint_step(c));
    hp_checkpoint_close(c);
    return status;
}

hp_status_t cli_export(int argc, char **argv, hp_error_t *err) {
    args_t args = {.checkpoint = "last"};
    void *set = NULL;
    HP_TRY(hp_allocate(&set, (size_t)argc, sizeof *args.set, "arguments", err));
    args.set = set;
    hp_status_t status = parse(argc, argv, &args, err);
    if (args.help) fputs(usage, stdout);
    if (status == HP_OK && !args.help) status = export(&args, err);
    hp_free(set);
    return status;
}
