#include "cli/command.h"

#include <stddef.h>

const cli_command_t *cli_commands(void) {
    static const cli_command_t table[] = {
        {NULL, NULL, NULL},
    };
    return table;
}
