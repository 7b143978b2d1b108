#include "cli/arguments.h"

#include <getopt.h>

hp_status_t cli_bad_option(char **argv, hp_error_t *err) {
    return hp_fail(err, HP_INPUT, "%s: no such option, or its value is missing; see --help",
                   argv[optind - 1]);
}

hp_status_t cli_one_operand(int argc, char **argv, const char *name, const char **operand_p,
                            hp_error_t *err) {
    if (optind >= argc) return hp_fail(err, HP_INPUT, "%s is missing; see --help", name);
    if (argc - optind > 1)
        return hp_fail(err, HP_INPUT, "%s: one %s is allowed; see --help", argv[optind + 1], name);
    *operand_p = argv[optind];
    return HP_OK;
}
