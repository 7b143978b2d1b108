/* hanps data synth: data sets that are made, not downloaded. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "worker/import/synth_sort_of_clevr.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: hanps data synth sort-of-clevr --out STORE [OPTION]...\n\n"
    "Makes Sort-of-CLEVR: 75 x 75 images of six coloured squares and circles, ten questions about\n"
    "one object and ten about relations between objects for each image. An image depends on the\n"
    "seed and its number alone: a smaller set is the beginning of a larger one.\n\n"
    "  --out STORE       where the store is written; must not exist\n"
    "  --images N        images of the split `train` (9800)\n"
    "  --valid N         images of the split `valid` (200)\n"
    "  --test N          images of the split `test` (2000)\n"
    "  --seed S          (1)\n"
    "  --features KIND   patches: 12 x 12 pixels of the inverted image on a 10 x 10 grid, beside\n"
    "                    the pixels (default); none: pixels only\n";

static hp_status_t take_features(const cli_option_t *option, char *text, hp_error_t *err) {
    bool *patches = option->to.any;
    *patches = strcmp(text, "patches") == 0;
    if (!*patches && strcmp(text, "none") != 0)
        return hp_fail(err, HP_INPUT, "--features %s: patches or none is allowed", text);
    return HP_OK;
}

hp_status_t cli_data_synth(int argc, char **argv, hp_error_t *err) {
    wk_synth_options_t options = {.patches = true};
    int64_t seed = 1, train = 9800, valid = 200, test = 2000;
    bool help = false;
    const cli_option_t table[] = {CLI_TEXT("out", &options.out),
                                  CLI_WHOLE("images", &train, 1, WK_SYNTH_IMAGES_MAX),
                                  CLI_WHOLE("valid", &valid, 0, WK_SYNTH_IMAGES_MAX),
                                  CLI_WHOLE("test", &test, 0, WK_SYNTH_IMAGES_MAX),
                                  CLI_WHOLE("seed", &seed, 0, INT64_MAX),
                                  CLI_OTHER("features", take_features, &options.patches),
                                  {0}};
    HP_TRY(cli_options(argc, argv, table, &help, err));
    if (help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    options.seed = (uint64_t)seed;
    options.train = (uint32_t)train;
    options.valid = (uint32_t)valid;
    options.test = (uint32_t)test;
    if (argc - optind != 1 || strcmp(argv[optind], "sort-of-clevr") != 0)
        return hp_fail(err, HP_INPUT, "%s: the set to make is needed: sort-of-clevr",
                       optind < argc ? argv[optind] : "synth");
    if (options.out == NULL) return hp_fail(err, HP_INPUT, "--out STORE is needed");
    char command[256];
    snprintf(command, sizeof command,
             "hanps data synth sort-of-clevr --images %" PRIu32 " --valid %" PRIu32
             " --test %" PRIu32 " --seed %" PRIu64 " --features %s",
             options.train, options.valid, options.test, options.seed,
             options.patches ? "patches" : "none");
    options.command = command;
    return wk_synth_sort_of_clevr(&options, err);
}
