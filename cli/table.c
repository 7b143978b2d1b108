/* hanps table: accuracies of finished runs, side by side. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "common/file.h"
#include "worker/report/table.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: hanps table RUN... [OPTION]...\n\n"
    "A row for each model, from what 'hanps eval' left in RUN/eval: selected cells, accuracy\n"
    "overall and by answer type (Yes/No, Number, Other for VQA). Runs that differ in nothing but\n"
    "run.seed are one row: mean and standard deviation. Every row is compared with the first by a\n"
    "paired bootstrap over images: the difference and its 95 % interval.\n\n"
    "  --split NAME      the split (the one that was evaluated)\n"
    "  --step N          (the newest that was evaluated)\n"
    "  --metric NAME     exact, vqa_2021 or vqa_2016 (what the first run was scored by)\n"
    "  --format F        text, markdown or csv (text)\n"
    "  --samples N       draws of the bootstrap; 0: no intervals (2000)\n"
    "  --seed N          of the bootstrap (1)\n"
    "  --out FILE        (standard output)\n";

typedef struct {
    wk_table_options_t table;
    wk_table_format_t format;
    const char *out;
} args_t;

static hp_status_t take_format(const cli_option_t *option, char *text, hp_error_t *err) {
    static const char *const name[] = {
        [WK_TABLE_TEXT] = "text", [WK_TABLE_MARKDOWN] = "markdown", [WK_TABLE_CSV] = "csv"};
    for (int f = 0; f < 3; f++)
        if (strcmp(text, name[f]) == 0) {
            *(wk_table_format_t *)option->to.any = (wk_table_format_t)f;
            return HP_OK;
        }
    return hp_fail(err, HP_INPUT, "--format %s: allowed are text, markdown, csv", text);
}

static hp_status_t take_metric(const cli_option_t *option, char *text, hp_error_t *err) {
    return wk_metric_find(text, option->to.any, err);
}

static hp_status_t parse(int argc, char **argv, args_t *args, bool *help, hp_error_t *err) {
    const cli_option_t options[] = {CLI_TEXT("split", &args->table.split),
                                    CLI_WHOLE("step", &args->table.step, 0, INT64_MAX),
                                    CLI_OTHER("metric", take_metric, &args->table.metric),
                                    CLI_OTHER("format", take_format, &args->format),
                                    CLI_NUMBER("samples", &args->table.samples, 0, 1000000),
                                    CLI_WHOLE("seed", (int64_t *)&args->table.seed, 0, INT64_MAX),
                                    CLI_TEXT("out", &args->out),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, help, err));
    if (*help) return HP_OK;
    args->table.runs = argc - optind;
    args->table.run = (const char *const *)argv + optind;
    if (args->table.runs < 1) return hp_fail(err, HP_INPUT, "RUN is missing");
    return args->out != NULL ? hp_check_place(args->out, err) : HP_OK;
}

static hp_status_t write_table(const wk_table_t *table, const args_t *args, hp_error_t *err) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *stream = open_memstream(&text, &bytes);
    if (stream == NULL) return hp_fail_errno(err, HP_MEMORY, "the table");
    wk_table_write(table, args->format, stream);
    hp_status_t status = HP_OK;
    if (fclose(stream) != 0) status = hp_fail_errno(err, HP_MEMORY, "the table");
    if (status == HP_OK && args->out != NULL) status = hp_write_file(args->out, text, bytes, err);
    if (status == HP_OK) fputs(args->out != NULL ? "" : text, stdout);
    free(text);
    return status;
}

hp_status_t cli_table(int argc, char **argv, hp_error_t *err) {
    args_t args = {.table = {.step = -1, .metric = -1, .samples = 2000, .seed = 1}};
    bool help = false;
    HP_TRY(parse(argc, argv, &args, &help, err));
    if (help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    wk_table_t table = {0};
    HP_TRY(wk_table_make(&args.table, &table, err));
    hp_status_t status = write_table(&table, &args, err);
    wk_table_release(&table);
    return status;
}
