#include "cli/command.h"

#include <stddef.h>

const cli_command_t *cli_commands(void) {
    static const cli_command_t table[] = {
        {"config", "print a configuration, or all its keys", cli_config},
        {NULL, NULL, NULL},
    };
    return table;
}
