/* hanps data merge, hanps data subset: stores out of other stores. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/import_line.h"
#include "cli/import_options.h"
#include "worker/import/combine.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char merge_usage[] =
    "usage: hanps data merge STORE STORE... --out NEW [--vocabulary first] [--encoding E]\n\n"
    "Makes one store of several of the same shapes, metric and tokenizer. An image that several "
    "have\n"
    "under one name must be the same to the bit. Splits of one name become one; a question_id may "
    "be\n"
    "in it once. Words and answers of the later stores are added behind those of the first.\n\n"
    "  --out NEW              where the store is written; must not exist\n"
    "  --vocabulary first     no words and answers are added: a model that was trained on the "
    "first\n"
    "                         store reads the new one (all)\n"
    "  --encoding E           features anew: raw, sparse or auto (as they are; raw ones beside\n"
    "                         encoded ones as auto)\n\n"
    "What is interrupted goes on where it was when the same command is given again.\n";

static const char subset_usage[] =
    "usage: hanps data subset STORE --out NEW [--split NAME[,NAME]...] [--images FILE]\n"
    "           [--questions N] [--encoding E]\n\n"
    "Makes a store of a part of another one. The vocabulary stays, so that models of the one read "
    "the\n"
    "other; images without a question that is kept are left out. Without a choice it is a copy, "
    "which\n"
    "--encoding may make smaller.\n\n"
    "  --out NEW              where the store is written; must not exist\n"
    "  --split NAME,...       these splits alone\n"
    "  --images FILE          images whose names stand in FILE, one a line, and their questions\n"
    "  --questions N          the first N questions of each split\n"
    "  --encoding E           features anew: raw, sparse or auto (as they are)\n\n"
    "What is interrupted goes on where it was when the same command is given again.\n";

enum { MAX_STORES = 64, MAX_SPLITS = 64, TEXT = 8192 };
enum { OUT = 1, VOCABULARY, SPLIT, IMAGES, QUESTIONS, ENCODING };

typedef struct {
    wk_combine_t combine;
    const char *split[MAX_SPLITS];
    char splits[TEXT], command[TEXT];
} arguments_t;

static hp_status_t set_splits(arguments_t *a, const char *text, hp_error_t *err) {
    char *rest = a->splits, *name;
    if (snprintf(a->splits, TEXT, "%s", text) >= TEXT)
        return hp_fail(err, HP_INPUT, "--split: too long");
    a->combine.splits = 0;
    a->combine.split = a->split;
    while ((name = strsep(&rest, ",")) != NULL) {
        if (name[0] == '\0') return hp_fail(err, HP_INPUT, "--split %s: an empty name", text);
        if (a->combine.splits == MAX_SPLITS)
            return hp_fail(err, HP_INPUT, "--split: at most %d splits", MAX_SPLITS);
        a->split[a->combine.splits++] = name;
    }
    return HP_OK;
}

static hp_status_t set(arguments_t *a, int option, const char *value, hp_error_t *err) {
    char *end;
    switch (option) {
    case OUT:
        a->combine.out = value;
        return HP_OK;
    case VOCABULARY:
        a->combine.first_vocabulary = strcmp(value, "first") == 0;
        if (a->combine.first_vocabulary || strcmp(value, "all") == 0) return HP_OK;
        return hp_fail(err, HP_INPUT, "--vocabulary %s: allowed are all, first", value);
    case SPLIT:
        return set_splits(a, value, err);
    case IMAGES:
        a->combine.images = value;
        return HP_OK;
    case QUESTIONS:
        errno = 0;
        a->combine.most = strtoull(value, &end, 10);
        if (isdigit((unsigned char)value[0]) && *end == '\0' && errno == 0 && a->combine.most > 0)
            return HP_OK;
        return hp_fail(err, HP_INPUT, "--questions %s: a whole number from 1 is allowed", value);
    default:
        a->combine.encode = true;
        return cli_parse_encoding(value, &a->combine.encoding, err);
    }
}

static void report(const char *out, const wk_combine_report_t *r) {
    printf("%s: %" PRIu64 " images, %" PRIu64 " questions in %d splits", out, r->images,
           r->questions, r->splits);
    if (r->kept_images > 0) printf(" (%" PRIu64 " images kept from before)", r->kept_images);
    if (r->shared > 0) printf("; %" PRIu64 " images were there more than once", r->shared);
    printf("\n%d words, %d answers; %" PRIu64 " questions without a label\n", r->words, r->answers,
           r->unlabelled);
}

static hp_status_t combine(int argc, char **argv, const struct option *table, const char *usage,
                           int least, int most, hp_error_t *err) {
    arguments_t a = {.combine = {.command = a.command}};
    cli_import_line_t line;
    cli_import_line_begin(&line);
    a.combine.progress = cli_import_line_show;
    a.combine.context = &line;
    size_t used = (size_t)snprintf(a.command, TEXT, "hanps data");
    for (int i = 0; i < argc && used < TEXT; i++)
        used += (size_t)snprintf(a.command + used, TEXT - used, " %s", argv[i]);
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return HP_OK;
        }
        if (option == '?') return cli_bad_option(argv, err);
        HP_TRY(set(&a, option, optarg, err));
    }
    if (a.combine.out == NULL) return hp_fail(err, HP_INPUT, "--out NEW is needed");
    a.combine.stores = argc - optind;
    a.combine.store = (const char *const *)argv + optind;
    if (a.combine.stores < least || a.combine.stores > most)
        return hp_fail(err, HP_INPUT, "%d stores: %s; see --help", a.combine.stores,
                       most == 1 ? "one is needed" : "2 to 64 are needed");
    wk_combine_report_t result = {0};
    hp_status_t status = wk_combine(&a.combine, &result, err);
    cli_import_line_end(&line);
    if (status == HP_OK) report(a.combine.out, &result);
    return status;
}

hp_status_t cli_data_merge(int argc, char **argv, hp_error_t *err) {
    static const struct option table[] = {{"out", 1, NULL, OUT},
                                          {"vocabulary", 1, NULL, VOCABULARY},
                                          {"encoding", 1, NULL, ENCODING},
                                          {"help", 0, NULL, 'h'},
                                          {0}};
    return combine(argc, argv, table, merge_usage, 2, MAX_STORES, err);
}

hp_status_t cli_data_subset(int argc, char **argv, hp_error_t *err) {
    static const struct option table[] = {{"out", 1, NULL, OUT},
                                          {"split", 1, NULL, SPLIT},
                                          {"images", 1, NULL, IMAGES},
                                          {"questions", 1, NULL, QUESTIONS},
                                          {"encoding", 1, NULL, ENCODING},
                                          {"help", 0, NULL, 'h'},
                                          {0}};
    return combine(argc, argv, table, subset_usage, 1, 1, err);
}
