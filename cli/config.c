/* hanps config: the resolved configuration, and the documentation of its keys. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/parameters.h"
#include "common/config.h"
#include "common/store.h"
#include "worker/data/batch.h"

#include <getopt.h>
#include <stdio.h>

static const char usage[] =
    "usage: hanps config [CONFIG] [--set KEY=VALUE]...\n"
    "       hanps config CONFIG --parameters [--set KEY=VALUE]...\n"
    "       hanps config --keys\n\n"
    "Prints the configuration with everything that CONFIG extends, every default and every --set\n"
    "filled in; without CONFIG, the defaults.\n\n"
    "  --set KEY=VALUE  override a key: --set model.attention.cells=32\n"
    "  --parameters     instead, the model's parameters and their number, for the words, answers "
    "and\n"
    "                   features or pixels of data.store\n"
    "  --keys           list all keys with what is allowed, the default and the meaning\n";

static hp_status_t print_parameters(const hp_config_t *config, hp_error_t *err) {
    hp_store_t *store = NULL;
    hp_params_t params = {0};
    wk_model_shape_t shape;
    HP_TRY(hp_store_open(config->data.store, &store, err));
    hp_status_t status = wk_batch_shape(config, hp_store_info(store), &shape, err);
    if (status == HP_OK) status = wk_model_table(config, &shape, &params, err);
    if (status == HP_OK) {
        cli_parameters_head();
        printf("\n");
        for (int i = 0; i < params.count; i++) {
            cli_parameters_row(&params.param[i]);
            printf("\n");
        }
        cli_parameters_sum(&params);
    }
    hp_params_release(&params);
    hp_store_close(store);
    return status;
}

hp_status_t cli_config(int argc, char **argv, hp_error_t *err) {
    enum { SET = 1, KEYS, PARAMETERS };
    static const struct option options[] = {{"set", required_argument, NULL, SET},
                                            {"keys", no_argument, NULL, KEYS},
                                            {"parameters", no_argument, NULL, PARAMETERS},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    /* The file first, whatever the order of the arguments: what --set says comes last. */
    int option;
    bool parameters = false;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return HP_OK;
        }
        if (option == PARAMETERS) parameters = true;
        if (option == KEYS) return hp_config_document(stdout, err);
        if (option == '?') return cli_bad_option(argv, err);
    }
    if (argc - optind > 1)
        return hp_fail(err, HP_INPUT, "%s: one CONFIG is allowed", argv[optind + 1]);
    hp_config_t config;
    hp_config_default(&config);
    if (optind < argc) HP_TRY(hp_config_load(&config, argv[optind], err));
    optind = 1;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1)
        if (option == SET) HP_TRY(hp_config_set(&config, optarg, err));
    HP_TRY(hp_config_check(&config, err));
    return parameters ? print_parameters(&config, err) : hp_config_write(&config, stdout, err);
}
