/* hanps extract: features of one's own, from a trunk that was trained here. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/import_line.h"
#include "cli/import_options.h"
#include "cli/team.h"
#include "common/store_sparse.h"
#include "worker/extract.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: hanps extract RUN --out STORE [OPTION]...\n\n"
    "Runs the trunk (the cnn) of a trained model over the pixels of a store and writes what comes\n"
    "out as the features of a new store, with the same questions, answers and splits. A model "
    "with\n"
    "model.image.trunk=features and data.feature_norm=none trains on it. What is interrupted goes\n"
    "on where it was when the same command is given again. Under mpirun the ranks share the "
    "images;\n"
    "the store is the same for any number of them: deploy/run --extract.\n\n"
    "  --out STORE         where the store is written; must not exist\n"
    "  --store PIXELS      a store with pixels of the same size (the run's); its words and "
    "answers\n"
    "                      may be others\n"
    "  --checkpoint STEP   or last, best (last)\n"
    "  --dtype T           f16, bf16 or f32 (f16)\n"
    "  --encoding E        raw, sparse (without the zeros) or auto (auto)\n"
    "  --keep-pixels       pixels in the new store too, for pictures of what was selected\n"
    "  --batch N           images at once (64)\n"
    "  --set KEY=VALUE     over the run's configuration\n";

enum { SETS_MAX = 32, TEXT = 1024 };

typedef struct {
    const char *run, *store, *checkpoint;
    int sets;
    const char *set[SETS_MAX + 1];
    wk_extract_options_t extract;
} args_t;

static hp_status_t take_dtype(const cli_option_t *option, char *text, hp_error_t *err) {
    return cli_parse_dtype("--dtype", text, option->to.any, err);
}

static hp_status_t take_encoding(const cli_option_t *option, char *text, hp_error_t *err) {
    return cli_parse_encoding(text, option->to.any, err);
}

static hp_status_t parse(int argc, char **argv, args_t *args, bool *help, hp_error_t *err) {
    const cli_option_t options[] = {CLI_TEXT("out", &args->extract.out),
                                    CLI_TEXT("store", &args->store),
                                    CLI_TEXT("checkpoint", &args->checkpoint),
                                    CLI_OTHER("dtype", take_dtype, &args->extract.dtype),
                                    CLI_OTHER("encoding", take_encoding, &args->extract.encoding),
                                    CLI_FLAG("keep-pixels", &args->extract.keep_pixels),
                                    CLI_NUMBER("batch", &args->extract.batch, 1, 4096),
                                    CLI_LIST("set", args->set, &args->sets, SETS_MAX),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, help, err));
    if (*help) return HP_OK;
    HP_TRY(cli_one_operand(argc, argv, "RUN", &args->run, err));
    return args->extract.out != NULL ? HP_OK : hp_fail(err, HP_INPUT, "--out STORE is needed");
}

static void print_report(const args_t *args, const wk_trained_t *trained,
                         const wk_extract_report_t *report) {
    printf("%s: %" PRIu64 " images, %" PRIu64 " questions", args->extract.out, report->images,
           report->questions);
    if (report->kept_images > 0)
        printf(" (%" PRIu64 " images kept from before)", report->kept_images);
    printf("\n%d x %d cells of %d channels, of step %" PRId64 "\n", report->rows, report->columns,
           report->channels, trained->step);
}

/* On every rank; what is wrong with the arguments is so on all of them. */
static hp_status_t run(args_t *args, hp_team_t *team, hp_error_t *err) {
    char store[TEXT], command[TEXT];
    if (args->store != NULL) {
        snprintf(store, sizeof store, "data.store=%s", args->store);
        args->set[args->sets++] = store;
    }
    wk_trained_t trained = {0};
    wk_extract_report_t report = {0};
    const cli_trained_options_t options = {.command = "extract",
                                           .run = args->run,
                                           .checkpoint = args->checkpoint,
                                           .sets = args->sets,
                                           .set = args->set,
                                           .trunk = true};
    hp_status_t status = cli_team_trained(team, HP_OK, &options, &trained, err);
    if (status == HP_OK) {
        snprintf(command, sizeof command, "hanps extract %.500s --store %.400s", args->run,
                 trained.config.data.store);
        cli_import_line_t line;
        cli_import_line_begin(&line);
        args->extract.team = team;
        args->extract.trained = &trained;
        args->extract.command = command;
        args->extract.progress = cli_import_line_show;
        args->extract.context = &line;
        status = wk_extract(&args->extract, &report, err);
        cli_import_line_end(&line);
    }
    if (status == HP_OK && hp_team_rank(team) == 0) print_report(args, &trained, &report);
    wk_trained_close(&trained);
    return status;
}

hp_status_t cli_extract(int argc, char **argv, hp_error_t *err) {
    args_t args = {.checkpoint = "last",
                   .extract = {.dtype = HP_DTYPE_F16, .encoding = HP_ENCODING_AUTO, .batch = 64}};
    bool help = false;
    hp_team_t *team = NULL;
    hp_status_t status = hp_team_open(&team, err);
    if (status == HP_OK) status = parse(argc, argv, &args, &help, err);
    if (help && hp_team_rank(team) == 0) fputs(usage, stdout);
    if (status == HP_OK && !help) status = run(&args, team, err);
    return cli_team_close(team, "extract", status, err);
}
