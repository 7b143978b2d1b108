/* hanps data verify: is every byte of a store as it was written? */
#include "cli/command.h"
#include "common/store_verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: hanps data verify STORE\n\n"
    "Reads all of a store and compares it with its hashes: finds every flipped bit, a truncated\n"
    "file, a missing record. Prints a line for each finding; exit status 0: whole, 2: damaged.\n";

static void found(void *context, const char *line) {
    (void)context;
    printf("%s\n", line);
}

static void progress(void *context, uint64_t done, uint64_t total) {
    uint64_t *last = context;
    if (done - *last < (uint64_t)256 << 20 && done < total) return;
    *last = done;
    fprintf(stderr, "\r\033[K%.1f of %.1f GB", (double)done / 1e9, (double)total / 1e9);
    if (done == total) fputs("\r\033[K", stderr);
}

hp_status_t cli_data_verify(int argc, char **argv, hp_error_t *err) {
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
        return HP_OK;
    }
    if (argc != 2 || argv[1][0] == '-')
        return hp_fail(err, HP_INPUT, "one STORE is needed; see --help");
    uint64_t last = 0;
    hp_store_verify_hooks_t hooks = {
        .found = found, .progress = isatty(STDERR_FILENO) ? progress : NULL, .context = &last};
    hp_store_verify_t result = {0};
    HP_TRY(hp_store_verify(argv[1], &hooks, &result, err));
    printf("%s: whole: %" PRIu64 " bytes, %" PRIu64 " records\n", argv[1], result.bytes,
           result.records);
    return HP_OK;
}
