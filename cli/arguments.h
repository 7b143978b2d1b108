/* Arguments of the subcommands: a table of options, and what is said of those that are wrong. */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include "common/status.h"

#include <stdbool.h>
#include <stdint.h>

/* An option, and where its value goes. Rows of a table are made by the macros below; {0} ends it.
 */
typedef struct cli_option cli_option_t;
struct cli_option {
    const char *name; /* without its dashes */
    /* Takes the value, which is argv's; an error names the option. NULL: the option has none. */
    hp_status_t (*take)(const cli_option_t *option, char *text, hp_error_t *err);
    union {
        bool *flag;
        const char **text; /* one, or a list */
        int *number;
        int64_t *whole;
        void *any;
    } to;
    int *count; /* of the list so far */
    int64_t least,
        most; /* of a number; of a list the most values, 0: it has room for all of argv */
};

enum { CLI_OPTIONS = 32 }; /* most rows of a table */

#define CLI_FLAG(n, p)                                                                             \
    { .name = (n), .to.flag = (p) }
#define CLI_TEXT(n, p)                                                                             \
    { .name = (n), .take = cli_take_text, .to.text = (p) }
#define CLI_LIST(n, list, count_p, room)                                                           \
    { .name = (n), .take = cli_take_list, .to.text = (list), .count = (count_p), .most = (room) }
#define CLI_NUMBER(n, p, low, high)                                                                \
    { .name = (n), .take = cli_take_number, .to.number = (p), .least = (low), .most = (high) }
#define CLI_WHOLE(n, p, low, high)                                                                 \
    { .name = (n), .take = cli_take_whole, .to.whole = (p), .least = (low), .most = (high) }
#define CLI_OTHER(n, function, p)                                                                  \
    { .name = (n), .take = (function), .to.any = (p) }

hp_status_t cli_take_text(const cli_option_t *option, char *text, hp_error_t *err);
hp_status_t cli_take_list(const cli_option_t *option, char *text, hp_error_t *err);
hp_status_t cli_take_number(const cli_option_t *option, char *text, hp_error_t *err);
hp_status_t cli_take_whole(const cli_option_t *option, char *text, hp_error_t *err);

/* Takes all options, in their order; what is left begins at optind. --help ends it: *help_p is true
 * then, and nothing else need be right. */
hp_status_t cli_options(int argc, char **argv, const cli_option_t *options, bool *help_p,
                        hp_error_t *err) HP_MUST_CHECK;

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
