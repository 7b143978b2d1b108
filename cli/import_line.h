/* How far an import is: on a terminal one line that is written over, elsewhere a line every ten
 * seconds. */
#ifndef CLI_IMPORT_LINE_H
#define CLI_IMPORT_LINE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    bool terminal, open;
    double last, first; /* clock */
    const char *what;
    uint64_t began;
} cli_import_line_t;

void cli_import_line_begin(cli_import_line_t *line);

/* The importers' progress callback; context is a cli_import_line_t. */
void cli_import_line_show(void *context, const char *what, uint64_t done, uint64_t total);
void cli_import_line_end(cli_import_line_t *line);

#endif
