/* hanps export: the weights of a checkpoint for other programs. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "common/export.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
    "usage: hanps export RUN --format FORMAT --out FILE [--checkpoint STEP]\n\n"
    "Writes the weights of a checkpoint under the names of the parameter table, in PyTorch's "
    "layouts\n"
    "(an LSTM's gates are i, f, g, o; a linear layer's weight is [out, in]).\n\n"
    "  --format FORMAT    npz (numpy.load) or safetensors\n"
    "  --out FILE         the file; replaced when the new one is whole\n"
    "  --checkpoint STEP  or last (last)\n";

typedef struct {
    const char *run, *format, *out, *checkpoint;
    bool help;
} args_t;

static hp_status_t parse(int argc, char **argv, args_t *args, hp_error_t *err) {
    enum { FORMAT = 1, OUT, CHECKPOINT };
    static const struct option options[] = {{"format", required_argument, NULL, FORMAT},
                                            {"out", required_argument, NULL, OUT},
                                            {"checkpoint", required_argument, NULL, CHECKPOINT},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (option) {
        case FORMAT:
            args->format = optarg;
            break;
        case OUT:
            args->out = optarg;
            break;
        case CHECKPOINT:
            args->checkpoint = optarg;
            break;
        case 'h':
            args->help = true;
            return HP_OK;
        default:
            return cli_bad_option(argv, err);
        }
    }
    HP_TRY(cli_one_operand(argc, argv, "RUN", &args->run, err));
    if (args->format == NULL || args->out == NULL)
        return hp_fail(err, HP_INPUT, "--%s is missing; see --help",
                       args->format == NULL ? "format" : "out");
    return HP_OK;
}

hp_status_t cli_export(int argc, char **argv, hp_error_t *err) {
    args_t args = {.checkpoint = "last"};
    char note[HP_CHECKPOINT_NOTE];
    hp_checkpoint_t *c = NULL;
    HP_TRY(parse(argc, argv, &args, err));
    if (args.help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    bool npz = strcmp(args.format, "npz") == 0;
    if (!npz && strcmp(args.format, "safetensors") != 0)
        return hp_fail(err, HP_INPUT, "--format %s: allowed are npz, safetensors", args.format);
    HP_TRY(hp_checkpoint_open(args.run, args.checkpoint, &c, note, err));
    if (note[0] != '\0') fprintf(stderr, "hanps export: warning: %s\n", note);
    hp_status_t status = hp_export(c, npz ? HP_EXPORT_NPZ : HP_EXPORT_SAFETENSORS, args.out, err);
    if (status == HP_OK)
        printf("%s: %d parameters of step %" PRId64 "\n", args.out, hp_checkpoint_params(c)->count,
               hp_checkpoint_step(c));
    hp_checkpoint_close(c);
    return status;
}
