/* hanps data import nlvr, clevr: picture files into a store of pixels. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/import_line.h"
#include "cli/import_options.h"
#include "worker/import/clevr.h"
#include "worker/import/nlvr.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: hanps data import nlvr FOLDER --out STORE [OPTION]...\n"
    "       hanps data import clevr FOLDER --out STORE [OPTION]...\n\n"
    "Imports NLVR (FOLDER/train/train.json ...) or CLEVR v1.0 (FOLDER/questions, FOLDER/images) "
    "as\n"
    "published: every split that is there, images as pixels of one size. What is interrupted goes "
    "on\n"
    "where it was when the same command is given again. With features instead of pixels: clevr "
    "FOLDER\n"
    "--features PATH..., see 'hanps data import --help'.\n\n"
    "  --out STORE            where the store is written; must not exist\n"
    "  --size HxW             every image is resized to this (nlvr 100x400, as published; clevr\n"
    "                         128x128, as for Relation Networks)\n"
    "  --tokenizer NAME       words, ban, mcan, mcb, kazemi, kaihua, iep, punctuation, split,\n"
    "                         nltk (word_tokenize of NLTK 3.10, of the text in lower case, which\n"
    "                         is taken as one sentence: only a dot at the very end is a word),\n"
    "                         nltk3.9 (that of 3.7 to 3.9: 'stop' is parted as 'stop and '), or\n"
    "                         spaces: of text that has one between words (words)\n"
    "  --permutations N       nlvr: the first N of the six orders of an example's boxes (1)\n"
    "  --valid-directories N  nlvr: the last N of train's image directories become the split "
    "`valid`\n"
    "                         (8); sentences repeat within a directory\n";

typedef struct {
    bool nlvr;
    wk_nlvr_options_t nlvr_options;
    wk_pixel_options_t options;
    char command[1024];
} arguments_t;

static hp_status_t parse(int argc, char **argv, arguments_t *a, bool *help, hp_error_t *err) {
    enum { OUT = 1, SIZE, TOKENIZER, PERMUTATIONS, VALID };
    static const struct option table[] = {{"out", required_argument, NULL, OUT},
                                          {"size", required_argument, NULL, SIZE},
                                          {"tokenizer", required_argument, NULL, TOKENIZER},
                                          {"permutations", required_argument, NULL, PERMUTATIONS},
                                          {"valid-directories", required_argument, NULL, VALID},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    int64_t number = 0;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        if ((option == PERMUTATIONS || option == VALID) && !a->nlvr)
            return hp_fail(err, HP_INPUT, "%s is for nlvr",
                           option == VALID ? "--valid-directories" : "--permutations");
        switch (option) {
        case OUT:
            a->options.out = optarg;
            break;
        case SIZE:
            HP_TRY(cli_parse_size(optarg, &a->options.height, &a->options.width, err));
            break;
        case TOKENIZER:
            HP_TRY(cli_parse_tokenizer(optarg, &a->options.tokenizer, err));
            break;
        case PERMUTATIONS:
            HP_TRY(cli_whole("--permutations", optarg, 1, 6, &number, err));
            a->nlvr_options.permutations = (int)number;
            break;
        case VALID:
            HP_TRY(cli_whole("--valid-directories", optarg, 0, 10000, &number, err));
            a->nlvr_options.valid_directories = (int)number;
            break;
        case 'h':
            *help = true;
            return HP_OK;
        default:
            return cli_bad_option(argv, err);
        }
    }
    const char *folder = NULL;
    HP_TRY(cli_one_operand(argc, argv, "FOLDER", &folder, err));
    if (a->options.out == NULL) return hp_fail(err, HP_INPUT, "--out STORE is needed");
    a->nlvr_options.folder = folder;
    return HP_OK;
}

static hp_status_t import(const arguments_t *a, hp_error_t *err) {
    wk_pixel_set_t set = {0};
    wk_pixel_report_t r = {0};
    cli_import_line_t line;
    cli_import_line_begin(&line);
    wk_pixel_options_t options = a->options;
    options.progress = cli_import_line_show;
    options.context = &line;
    hp_status_t status = a->nlvr ? wk_nlvr_read(&a->nlvr_options, &set, err)
                                 : wk_clevr_read(a->nlvr_options.folder, &set, err);
    if (status == HP_OK) status = wk_pixels_write(&set, &options, &r, err);
    cli_import_line_end(&line);
    wk_pixels_release(&set);
    if (status != HP_OK) return status;
    printf("%s: %" PRIu64 " images, %" PRIu64 " questions", a->options.out, r.images, r.questions);
    if (r.kept_images > 0) printf(" (%" PRIu64 " images kept from before)", r.kept_images);
    printf("\n%d words, %d answers\n", r.words, r.answers);
    if (r.unlabelled > 0) printf("%" PRIu64 " questions without a label\n", r.unlabelled);
    return HP_OK;
}

hp_status_t cli_data_import_pixels(int argc, char **argv, hp_error_t *err) {
    arguments_t a = {.nlvr = strcmp(argv[1], "nlvr") == 0,
                     .nlvr_options = {.permutations = 1, .valid_directories = 8},
                     .options = {.tokenizer = wk_tokenizer_find("words")}};
    bool help = false;
    a.options.height = a.nlvr ? 100 : 128;
    a.options.width = a.nlvr ? 400 : 128;
    HP_TRY(parse(argc - 1, argv + 1, &a, &help, err));
    if (help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    int n =
        snprintf(a.command, sizeof a.command, "hanps data import %s %s --size %dx%d --tokenizer %s",
                 a.nlvr ? "nlvr" : "clevr", a.nlvr_options.folder, a.options.height,
                 a.options.width, a.options.tokenizer->name);
    if (a.nlvr && n > 0 && (size_t)n < sizeof a.command)
        snprintf(a.command + n, sizeof a.command - (size_t)n,
                 " --permutations %d --valid-directories %d", a.nlvr_options.permutations,
                 a.nlvr_options.valid_directories);
    a.options.command = a.command;
    return import(&a, err);
}
