/* What the subcommands say of arguments that getopt_long does not take. */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include "common/status.h"

#include <stdint.h>

/* The option that getopt_long has just refused (opterr is 0). HP_INPUT. */
hp_status_t cli_bad_option(char **argv, hp_error_t *err);

/* The value of an option that is a whole number from least to most. */
hp_status_t cli_whole(const char *option, const char *text, int64_t least, int64_t most,
                      int64_t *value_p, hp_error_t *err) HP_MUST_CHECK;

/* A unit that a value may have: "Gbit" is 1e9 / 8 bytes/s. */
typedef struct {
    const char *name;
    double value;
} cli_unit_t;

/* The value of an option that is a number from 0 on and one of the units, which end with one
 * without a name ("10Gbit"): in what the units' values are in. */
hp_status_t cli_quantity(const char *option, const char *text, const cli_unit_t *units,
                         double *value_p, hp_error_t *err) HP_MUST_CHECK;

/* After the options exactly one argument is left, which is what `name` says ("RUN"): *operand_p is
 * it, within argv. Else HP_INPUT. */
hp_status_t cli_one_operand(int argc, char **argv, const char *name, const char **operand_p,
                            hp_error_t *err) HP_MUST_CHECK;

#endif
