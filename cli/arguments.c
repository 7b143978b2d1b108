#include "cli/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hp_status_t cli_bad_option(char **argv, hp_error_t *err) {
    return hp_fail(err, HP_INPUT, "%s: no such option, or its value is missing; see --help",
                   argv[optind - 1]);
}

hp_status_t cli_whole(const char *option, const char *text, int64_t least, int64_t most,
                      int64_t *value_p, hp_error_t *err) {
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < least || value > most)
        return hp_fail(err, HP_INPUT,
                       "%s %s: a whole number from %" PRId64 " to %" PRId64 " is allowed", option,
                       text, least, most);
    *value_p = value;
    return HP_OK;
}

hp_status_t cli_quantity(const char *option, const char *text, const cli_unit_t *units,
                         double *value_p, hp_error_t *err) {
    char *end = NULL, names[128] = "";
    const double value = strtod(text, &end);
    const bool number = end != text && isfinite(value) && value >= 0;
    for (const cli_unit_t *unit = units; unit->name != NULL; unit++) {
        if (number && strcmp(end, unit->name) == 0) {
            *value_p = value * unit->value;
            return HP_OK;
        }
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "", unit->name);
    }
    return hp_fail(err, HP_INPUT,
                   "%s %s: a number from 0 with one of the units %s is allowed: 10%s", option, text,
                   names, units->name);
}

hp_status_t cli_one_operand(int argc, char **argv, const char *name, const char **operand_p,
                            hp_error_t *err) {
    if (optind >= argc) return hp_fail(err, HP_INPUT, "%s is missing; see --help", name);
    if (argc - optind > 1)
        return hp_fail(err, HP_INPUT, "%s: one %s is allowed; see --help", argv[optind + 1], name);
    *operand_p = argv[optind];
    return HP_OK;
}
