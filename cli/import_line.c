#include "cli/import_line.h"

#include "common/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void cli_import_line_begin(cli_import_line_t *line) {
    *line = (cli_import_line_t){.terminal = isatty(STDERR_FILENO), .last = hp_clock()};
}

void cli_import_line_show(void *context, const char *what, uint64_t done, uint64_t total) {
    cli_import_line_t *line = context;
    double now = hp_clock();
    if (line->what == NULL || strcmp(line->what, what) != 0) {
        line->what = what;
        line->first = now;
        line->began = done;
    }
    if (now - line->last < (line->terminal ? 0.2 : 10.0) && (done < total || !line->terminal))
        return;
    line->last = now;
    double spent = now - line->first;
    double rate = spent > 0 ? (double)(done - line->began) / spent : 0;
    fprintf(stderr, "%s%" PRIu64, line->terminal ? "\r\033[K" : "", done);
    if (total > 0) fprintf(stderr, " of %" PRIu64, total);
    fprintf(stderr, " %s", what);
    if (total > done && rate > 0)
        fprintf(stderr, ", %.0f a second, %.0f s left", rate, (double)(total - done) / rate);
    if (!line->terminal) fputc('\n', stderr);
    line->open = line->terminal;
}

void cli_import_line_end(cli_import_line_t *line) {
    if (line->open) fputs("\r\033[K", stderr);
    line->open = false;
}
