/* hanps data: a second level of subcommands. */
#include "cli/command.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const cli_command_t table[] = {
    {"import", "import a data set: vqa, jsonl, nlvr, clevr", cli_data_import},
    {"bench", "time the reading of features, raw and sparse", cli_data_bench},
    {"info", "say what is in a store", cli_data_info},
    {"merge", "make one store of several", cli_data_merge},
    {"split", "make a store with other splits", cli_data_split},
    {"subset", "make a store of a part of another", cli_data_subset},
    {"verify", "find damage in a store", cli_data_verify},
    {"synth", "make a data set: sort-of-clevr", cli_data_synth},
    {NULL, NULL, NULL},
};

static void usage(FILE *out) {
    fputs("usage: hanps data COMMAND [ARGUMENT]...\n\n", out);
    for (const cli_command_t *c = table; c->name != NULL; c++)
        fprintf(out, "  %-10s %s\n", c->name, c->summary);
    fputs("\n'hanps data COMMAND --help' explains one.\n", out);
}

hp_status_t cli_data(int argc, char **argv, hp_error_t *err) {
    if (argc < 2) {
        usage(stderr);
        return hp_fail(err, HP_INPUT, "a command is needed");
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        usage(stdout);
        return HP_OK;
    }
    for (const cli_command_t *c = table; c->name != NULL; c++)
        if (strcmp(argv[1], c->name) == 0) {
            hp_status_t status = c->run(argc - 1, argv + 1, err);
            return status == HP_OK ? HP_OK : hp_fail_prefix(err, "%s", c->name);
        }
    return hp_fail(err, HP_INPUT, "no command '%s'; 'hanps data --help' lists them", argv[1]);
}
