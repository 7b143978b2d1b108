/* hanps data split: a store whose questions are dealt to other splits. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/import_line.h"
#include "common/memory.h"
#include "worker/import/combine.h"
#include "worker/import/redeal.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: hanps data split STORE --by HOW --out NEW [OPTION]...\n\n"
    "Makes a store with the same images, words and answers whose questions stand in other splits. "
    "(A\n"
    "validation split at training time needs no other store: data.valid: train:0.1.)\n\n"
    "  --by random        a share of the questions of a split, by chance\n"
    "  --by image         a share of its images, with all their questions\n"
    "  --by priors        as VQA-CP: the answers to a type of question are others in training than "
    "in\n"
    "                     test. Questions of one type and answer go together; without --from all "
    "the\n"
    "                     questions of the store are dealt anew\n"
    "  --from NAME        the split to deal (train; with priors all)\n"
    "  --name NAME        the split that is made (valid; with priors test)\n"
    "  --rest NAME        what the rest is called (as --from; with priors train)\n"
    "  --share X          how much of it goes there, 0 to 1 (0.1; with priors 0.33)\n"
    "  --seed N           of chance (1)\n";

typedef struct {
    const char *store, *out;
    wk_redeal_t redeal;
    bool help;
    char command[4096];
} args_t;

static hp_status_t set_how(const char *text, wk_redeal_how_t *how_p, hp_error_t *err) {
    static const char *const name[] = {"random", "image", "priors"};
    for (int i = 0; i < 3; i++)
        if (strcmp(text, name[i]) == 0) {
            *how_p = (wk_redeal_how_t)i;
            return HP_OK;
        }
    return hp_fail(err, HP_INPUT, "--by %s: allowed are random, image, priors", text);
}

static hp_status_t set_number(const char *option, const char *text, double most, double *out,
                              hp_error_t *err) {
    char *end = NULL;
    *out = strtod(text, &end);
    if (end == text || *end != '\0' || !(*out >= 0 && *out <= most))
        return hp_fail(err, HP_INPUT, "%s %s: a number from 0 to %.17g is allowed", option, text,
                       most);
    return HP_OK;
}

static hp_status_t set_defaults(args_t *a, bool by, hp_error_t *err) {
    wk_redeal_t *r = &a->redeal;
    bool priors = r->how == WK_REDEAL_PRIORS;
    if (!by) return hp_fail(err, HP_INPUT, "--by random, image or priors is needed");
    if (a->out == NULL) return hp_fail(err, HP_INPUT, "--out NEW is needed");
    if (r->share < 0) r->share = priors ? 0.33 : 0.1;
    if (r->share >= 1) return hp_fail(err, HP_INPUT, "--share: less than 1 is allowed");
    if (r->from == NULL && !priors) r->from = "train";
    if (r->held == NULL) r->held = priors ? "test" : "valid";
    if (r->kept == NULL && r->from == NULL) r->kept = "train";
    return HP_OK;
}

static hp_status_t parse(int argc, char **argv, args_t *a, hp_error_t *err) {
    enum { BY = 1, OUT, FROM, NAME, REST, SHARE, SEED };
    static const struct option options[] = {{"by", required_argument, NULL, BY},
                                            {"out", required_argument, NULL, OUT},
                                            {"from", required_argument, NULL, FROM},
                                            {"name", required_argument, NULL, NAME},
                                            {"rest", required_argument, NULL, REST},
                                            {"share", required_argument, NULL, SHARE},
                                            {"seed", required_argument, NULL, SEED},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    wk_redeal_t *r = &a->redeal;
    const char **text[] = {
        [OUT] = &a->out, [FROM] = &r->from, [NAME] = &r->held, [REST] = &r->kept};
    bool by = false;
    double number = 0;
    opterr = 0;
    for (int option; (option = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (option == 'h') {
            a->help = true;
            return HP_OK;
        }
        if (option == '?') return cli_bad_option(argv, err);
        if (option == BY) {
            HP_TRY(set_how(optarg, &r->how, err));
            by = true;
        } else if (option == SHARE) {
            HP_TRY(set_number("--share", optarg, 1, &r->share, err));
        } else if (option == SEED) {
            HP_TRY(set_number("--seed", optarg, 9007199254740992.0, &number, err));
            r->seed = (uint64_t)number;
        } else {
            if (option != OUT && (optarg[0] == '\0' || strlen(optarg) > 63))
                return hp_fail(err, HP_INPUT, "the name of a split has 1 to 63 bytes");
            *text[option] = optarg;
        }
    }
    HP_TRY(cli_one_operand(argc, argv, "STORE", &a->store, err));
    return set_defaults(a, by, err);
}

static hp_status_t split(const args_t *a, hp_error_t *err) {
    hp_store_t *store = NULL;
    wk_dealt_t dealt;
    cli_import_line_t line;
    wk_combine_report_t report = {0};
    HP_TRY(hp_store_open(a->store, &store, err));
    hp_status_t status = wk_redeal(store, &a->redeal, &dealt, err);
    cli_import_line_begin(&line);
    if (status == HP_OK) {
        const wk_combine_t combine = {.out = a->out,
                                      .stores = 1,
                                      .store = (const char *const[]){a->store},
                                      .splits = dealt.splits,
                                      .split = dealt.split,
                                      .split_of = dealt.of,
                                      .command = a->command,
                                      .progress = cli_import_line_show,
                                      .context = &line};
        status = wk_combine(&combine, &report, err);
    }
    cli_import_line_end(&line);
    if (status == HP_OK) {
        printf("%s: %" PRIu64 " images, %" PRIu64 " questions in %d splits\n%s %" PRIu64
               ", %s %" PRIu64 "\n",
               a->out, report.images, report.questions, report.splits, dealt.split[0], dealt.kept,
               dealt.split[1], dealt.held);
        if (dealt.left_out > 0)
            printf("%" PRIu64 " questions without an answer are left out\n", dealt.left_out);
        if (a->redeal.how == WK_REDEAL_PRIORS)
            printf("distance of the answers' priors %.2f of 1; %.1f %% of the answers of %s are "
                   "answers in %s\n",
                   dealt.distance, 100 * dealt.covered, dealt.split[1], dealt.split[0]);
    }
    hp_free(dealt.of);
    hp_store_close(store);
    return status;
}

hp_status_t cli_data_split(int argc, char **argv, hp_error_t *err) {
    args_t a = {.redeal = {.seed = 1, .share = -1}};
    HP_TRY(parse(argc, argv, &a, err));
    if (a.help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    size_t used = (size_t)snprintf(a.command, sizeof a.command, "hanps data");
    for (int i = 0; i < argc && used < sizeof a.command; i++)
        used += (size_t)snprintf(a.command + used, sizeof a.command - used, " %s", argv[i]);
    return split(&a, err);
}
