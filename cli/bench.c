/* hanps bench: what a training step costs on this machine, beside the rate of its matrix products;
 * and the parameter server alone. */
#include "cli/arguments.h"
#include "cli/bench_machine.h"
#include "cli/bench_report.h"
#include "cli/command.h"
#include "common/file.h"
#include "common/gemm.h"
#include "common/memory.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: hanps bench CONFIG... [--set KEY=VALUE]... [--case NAME] [--small] [--json FILE]\n\n"
    "Times forward and backward of each CONFIG's model over a synthetic batch: of VQA-CP's shape\n"
    "(features of 10x10x2048, 15,000 words, 1,000 answers, 3.6 questions an image), or of CLEVR's\n"
    "where the model has a trunk (128x128 pixels, 85 words, 28 answers, 10 questions an image;\n"
    "data.group_by_image decides whether they share it). run.steps steps are measured after one "
    "to\n"
    "warm up; the table has their median. The rate of a large sgemm is measured in the same run.\n"
    "Then, with the first CONFIG that reads features, the whole of training: one server and one\n"
    "worker in one process, from a store in TMPDIR, after four steps to warm up;\n"
    "evaluation from that store, beside forward alone;\n"
    "the parameter server alone, with a worker that computes nothing; and the passes over arrays\n"
    "between the products, by the bytes that they must move, beside memcpy.\n\n"
    "  --case NAME  forward and backward of this case alone: own, as the model selects, or where "
    "it\n"
    "               selects a number of cells: same, different, all, own_ungrouped, all_ungrouped\n"
    "  --small      a tiny shape and one step: only to see that it works\n"
    "  --json FILE  the figures as JSON: a work is named by its CONFIG's file\n";

typedef struct {
    const char *json, *only; /* only: NULL: all cases */
    bool small;
    int configs;
    char **config; /* [configs] */
} options_t;

static hp_status_t parse_options(int argc, char **argv, options_t *options, bool *help_p,
                                 hp_error_t *err) {
    enum { SET = 1, SMALL, JSON, CASE };
    static const struct option table[] = {
        {"set", required_argument, NULL, SET},   {"small", no_argument, NULL, SMALL},
        {"json", required_argument, NULL, JSON}, {"case", required_argument, NULL, CASE},
        {"help", no_argument, NULL, 'h'},        {0}};
    opterr = 0;
    int sets = 0;
    for (int option; (option = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        if (option == 'h') *help_p = true;
        if (option == SMALL) options->small = true;
        if (option == JSON) options->json = optarg;
        if (option == CASE) options->only = optarg;
        if (option == SET) options->config[sets++] = optarg; /* moved behind the files below */
        if (option == '?') return cli_bad_option(argv, err);
    }
    if (*help_p) return HP_OK;
    options->configs = argc - optind;
    if (options->json != NULL) HP_TRY(hp_check_place(options->json, err));
    if (options->configs == 0) return hp_fail(err, HP_INPUT, "CONFIG is missing; see --help");
    if (options->configs > CLI_BENCH_WORKS)
        return hp_fail(err, HP_INPUT, "%d CONFIGs; at most %d are allowed", options->configs,
                       CLI_BENCH_WORKS);
    memmove(options->config + options->configs, options->config,
            (size_t)sets * sizeof *options->config);
    memcpy(options->config, argv + optind, (size_t)options->configs * sizeof *options->config);
    options->config[options->configs + sets] = NULL;
    return HP_OK;
}

static hp_status_t load(const options_t *options, const char *path, hp_config_t *config,
                        hp_error_t *err) {
    hp_config_default(config);
    HP_TRY(hp_config_load(config, path, err));
    if (options->small) { /* before --set, which may say otherwise */
        config->model.question.embedding = config->model.question.lstm = 16;
        config->model.image.width = 32;
        if (strcmp(config->model.image.trunk, "cnn") == 0) config->model.attention.cells = 2;
        config->model.attention.width = config->model.aggregate.head_width = 8;
        config->model.classifier.layers = (hp_layers_t){1, {16}};
        config->data.batch_size = 12;
        config->run.steps = 1;
    }
    for (char **set = options->config + options->configs; *set != NULL; set++)
        HP_TRY(hp_config_set(config, *set, err));
    if (config->run.steps < 1) return hp_fail(err, HP_INPUT, "run.steps: at least 1 is needed");
    return hp_config_check(config, err);
}

/* What is done once, with the first configuration that reads features. */
static hp_status_t whole(const options_t *options, const hp_config_t *config,
                         cli_bench_work_t *work, cli_bench_report_t *report, hp_error_t *err) {
    printf("\nThe whole of training, one server with Adam and one worker in one process, features "
           "from LMDB:\n");
    fflush(stdout);
    HP_TRY(cli_bench_run(config, &work->shape, work->questions_per_image, &report->run, err));
    report->trained = work;
    cli_bench_print_evaluation(report);
    HP_TRY(cli_bench_server(config, &work->shape, options->small ? 4 : 30, options->small ? 0.1 : 3,
                            &report->server, err));
    cli_bench_print_server(report);
    return HP_OK;
}

static hp_status_t run(const options_t *options, cli_bench_report_t *report, hp_error_t *err) {
    hp_config_t config, first;
    HP_TRY(load(options, options->config[0], &first, err));
    hp_gemm_set_threads(first.cluster.threads);
    HP_TRY(cli_bench_machine(&first, options->small, &report->machine, err));
    cli_bench_print_machine(report);
    for (int i = 0; i < options->configs; i++) {
        cli_bench_work_t *work = &report->work[i];
        HP_TRY(load(options, options->config[i], &config, err));
        HP_TRY(cli_bench_shape(&config, options->config[i], options->small, work, err));
        cli_bench_print_work(work);
        HP_TRY(cli_bench_measure(&config, options->only, work, cli_bench_print_case, report, err));
        report->works++;
    }
    for (int i = 0; i < options->configs && report->trained == NULL && options->only == NULL; i++) {
        if (!report->work[i].features) continue;
        HP_TRY(load(options, options->config[i], &config, err));
        HP_TRY(whole(options, &config, &report->work[i], report, err));
    }
    if (options->only == NULL) {
        HP_TRY(cli_bench_passes(options->small, &report->passes, err));
        cli_bench_print_passes(report);
    }
    return options->json != NULL ? cli_bench_write(report, options->json, err) : HP_OK;
}

hp_status_t cli_bench(int argc, char **argv, hp_error_t *err) {
    options_t options = {0};
    bool help = false;
    void *list = NULL, *report = NULL;
    HP_TRY(hp_allocate(&list, (size_t)argc + 1, sizeof *options.config, "arguments", err));
    options.config = list;
    hp_status_t status = parse_options(argc, argv, &options, &help, err);
    if (help) fputs(usage, stdout);
    if (status == HP_OK && !help)
        status = hp_allocate(&report, 1, sizeof(cli_bench_report_t), "report", err);
    if (report != NULL) status = run(&options, report, err);
    hp_free(report);
    hp_free(list);
    return status;
}
