#include "cli/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

hp_status_t cli_take_text(const cli_option_t *o, char *text, hp_error_t *err) {
    (void)err;
    *o->to.text = text;
    return HP_OK;
}

hp_status_t cli_take_list(const cli_option_t *o, char *text, hp_error_t *err) {
    if (o->most > 0 && *o->count == o->most)
        return hp_fail(err, HP_INPUT, "--%s: at most %" PRId64 " are allowed", o->name, o->most);
    o->to.text[(*o->count)++] = text;
    return HP_OK;
}

hp_status_t cli_take_whole(const cli_option_t *o, char *text, hp_error_t *err) {
    char option[64];
    snprintf(option, sizeof option, "--%s", o->name);
    return cli_whole(option, text, o->least, o->most, o->to.whole, err);
}

hp_status_t cli_take_number(const cli_option_t *o, char *text, hp_error_t *err) {
    int64_t value = 0;
    cli_option_t whole = *o;
    whole.to.whole = &value;
    HP_TRY(cli_take_whole(&whole, text, err));
    *o->to.number = (int)value;
    return HP_OK;
}

hp_status_t cli_options(int argc, char **argv, const cli_option_t *options, bool *help_p,
                        hp_error_t *err) {
    enum { FIRST = 256 }; /* no letter's number */
    struct option table[CLI_OPTIONS + 2] = {{0}};
    int rows = 0;
    for (; options[rows].name != NULL; rows++) {
        if (rows == CLI_OPTIONS) return hp_fail(err, HP_INTERNAL, "too many options");
        table[rows] = (struct option){options[rows].name,
                                      options[rows].take != NULL ? required_argument : no_argument,
                                      NULL, FIRST + rows};
    }
    table[rows] = (struct option){"help", no_argument, NULL, 'h'};
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        if (option == '?') return cli_bad_option(argv, err);
        if (option == 'h') {
            *help_p = true;
            return HP_OK;
        }
        const cli_option_t *o = &options[option - FIRST];
        if (o->take == NULL)
            *o->to.flag = true;
        else
            HP_TRY(o->take(o, optarg, err));
    }
    return HP_OK;
}

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
