/* The parameter table as commands print it. */
#ifndef CLI_PARAMETERS_H
#define CLI_PARAMETERS_H

#include "common/params.h"

/* The head of the table, without the end of its line: more columns may follow. */
void cli_parameters_head(void);

/* A row, without the end of its line: name, shape, number of values, kind. */
void cli_parameters_row(const hp_param_t *param);

/* The last line: the number of all weights, and of buffers where there are any. */
void cli_parameters_sum(const hp_params_t *params);

#endif
