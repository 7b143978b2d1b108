/* hanps: git-like subcommands. Each lives in its own file and is a row of the table. */
#include "cli/command.h"

#include <stdio.h>
#include <string.h>

static void usage(FILE *out) {
    fputs("usage: hanps COMMAND [ARGUMENT]...\n\ncommands:\n", out);
    for (const cli_command_t *c = cli_commands(); c->name != NULL; c++)
        fprintf(out, "  %-10s %s\n", c->name, c->summary);
    fputs("\n'hanps COMMAND --help' explains one.\n", out);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    for (const cli_command_t *c = cli_commands(); c->name != NULL; c++)
        if (strcmp(argv[1], c->name) == 0) {
            hp_error_t err = {0};
            hp_status_t status = c->run(argc - 1, argv + 1, &err);
            if (status != HP_OK && err.text[0] != '\0')
                fprintf(stderr, "hanps %s: %s\n", c->name, err.text);
            return hp_status_exit_code(status);
        }
    fprintf(stderr, "hanps: no command '%s'; 'hanps --help' lists them\n", argv[1]);
    return 2;
}
