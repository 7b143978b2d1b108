/* The table of subcommands. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "common/status.h"

typedef struct {
    const char *name, *summary;
    /* argv[0] is the command's name. Prints its own output; an error is returned, and printed once
     * by main. */
    hp_status_t (*run)(int argc, char **argv, hp_error_t *err);
} cli_command_t;

const cli_command_t *cli_commands(void); /* ends with a NULL name */

hp_status_t cli_config(int argc, char **argv, hp_error_t *err);
hp_status_t cli_data(int argc, char **argv, hp_error_t *err);
hp_status_t cli_data_import(int argc, char **argv, hp_error_t *err);
hp_status_t cli_data_import_pixels(int argc, char **argv, hp_error_t *err);
hp_status_t cli_data_bench(int argc, char **argv, hp_error_t *err);
hp_status_t cli_data_merge(int argc, char **argv, hp_error_t *err);
hp_status_t cli_data_subset(int argc, char **argv, hp_error_t *err);
hp_status_t cli_data_info(int argc, char **argv, hp_error_t *err);
hp_status_t cli_data_verify(int argc, char **argv, hp_error_t *err);
hp_status_t cli_data_split(int argc, char **argv, hp_error_t *err);
hp_status_t cli_data_synth(int argc, char **argv, hp_error_t *err);
hp_status_t cli_train(int argc, char **argv, hp_error_t *err);
hp_status_t cli_eval(int argc, char **argv, hp_error_t *err);
hp_status_t cli_masks(int argc, char **argv, hp_error_t *err);
hp_status_t cli_monitor(int argc, char **argv, hp_error_t *err);
hp_status_t cli_report(int argc, char **argv, hp_error_t *err);
hp_status_t cli_checkpoint(int argc, char **argv, hp_error_t *err);
hp_status_t cli_score(int argc, char **argv, hp_error_t *err);
hp_status_t cli_import_weights(int argc, char **argv, hp_error_t *err);
hp_status_t cli_extract(int argc, char **argv, hp_error_t *err);
hp_status_t cli_export(int argc, char **argv, hp_error_t *err);
hp_status_t cli_selection(int argc, char **argv, hp_error_t *err);
hp_status_t cli_table(int argc, char **argv, hp_error_t *err);
hp_status_t cli_doctor(int argc, char **argv, hp_error_t *err);
hp_status_t cli_stop(int argc, char **argv, hp_error_t *err);
hp_status_t cli_ask(int argc, char **argv, hp_error_t *err);
hp_status_t cli_plan(int argc, char **argv, hp_error_t *err);
hp_status_t cli_bench(int argc, char **argv, hp_error_t *err);

#endif
