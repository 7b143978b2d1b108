#include "cli/parameters.h"

#include <inttypes.h>
#include <stdio.h>

enum { SHAPE = 64 };

static void format_shape(const hp_param_t *p, char out[SHAPE]) {
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < p->dims && n < SHAPE; i++)
        n += (size_t)snprintf(out + n, SHAPE - n, "%s%" PRId64, i ? " x " : "", p->shape[i]);
}

void cli_parameters_head(void) {
    printf("%-36s %-18s %12s %-8s", "parameter", "shape", "values", "kind");
}

void cli_parameters_row(const hp_param_t *p) {
    char shape[SHAPE];
    format_shape(p, shape);
    printf("%-36s %-18s %12" PRId64 " %-8s", p->name, shape, p->count,
           p->kind == HP_PARAM_BUFFER ? "buffer"
           : p->sparse_rows           ? "rows"
                                      : "weight");
}

void cli_parameters_sum(const hp_params_t *params) {
    int64_t weights = 0, buffers = 0;
    for (int i = 0; i < params->count; i++)
        *(params->param[i].kind == HP_PARAM_BUFFER ? &buffers : &weights) += params->param[i].count;
    printf("%-36s %-18s %12" PRId64 "\n", "all weights", "", weights);
    if (buffers > 0) printf("%-36s %-18s %12" PRId64 "\n", "all buffers", "", buffers);
}
