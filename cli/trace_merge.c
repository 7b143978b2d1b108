/* The parts of a trace put together. A part is a JSON array, an event a line, with its brackets on
 * lines of their own: what lies between them is copied. */
#include "cli/trace.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_BYTES ((size_t)4 << 30) /* of a part */

static const char head[] = "[\n", tail[] = "\n]\n";

/* The newest start that left a trace. */
static hp_status_t find_start(const char *run, int64_t *start_p, hp_error_t *err) {
    char path[HP_RUN_PATH], end;
    int64_t newest = 0, start;
    HP_TRY(hp_run_path(run, "trace", path, err));
    DIR *folder = opendir(path);
    for (const struct dirent *e; folder != NULL && (e = readdir(folder)) != NULL;)
        if (sscanf(e->d_name, "start-%" SCNd64 "%c", &start, &end) == 1 && start > newest)
            newest = start;
    if (folder != NULL) closedir(folder);
    *start_p = newest;
    return newest > 0 ? HP_OK
                      : hp_fail(err, HP_INPUT,
                                "'%s' has no trace: 'hanps train --trace STEPS' makes one", run);
}

/* How many ranks there were, by the parts' names. */
static hp_status_t count_ranks(const char *path, int *ranks_p, hp_error_t *err) {
    int rank, ranks;
    DIR *folder = opendir(path);
    if (folder == NULL) return hp_fail_errno(err, HP_IO, "cannot read folder '%s'", path);
    *ranks_p = 0;
    for (const struct dirent *e; (e = readdir(folder)) != NULL;)
        if (sscanf(e->d_name, "rank-%d-of-%d.json", &rank, &ranks) == 2 && ranks > *ranks_p)
            *ranks_p = ranks;
    closedir(folder);
    return *ranks_p > 0 ? HP_OK
                        : hp_fail(err, HP_INPUT,
                                  "no rank has written its part to '%s' yet: it does when its "
                                  "steps are done",
                                  path);
}

/* Appends a part; *there_p: whether it was there, and whole. */
static hp_status_t append(const char *folder, int rank, int ranks, bool first, FILE *out,
                          bool *there_p, hp_error_t *err) {
    char name[64], path[HP_RUN_PATH];
    unsigned char *data = NULL;
    size_t bytes = 0;
    const size_t h = sizeof head - 1, t = sizeof tail - 1;
    snprintf(name, sizeof name, "rank-%04d-of-%04d.json", rank, ranks);
    HP_TRY(hp_run_path(folder, name, path, err));
    *there_p = hp_read_file(path, MOST_BYTES, &data, &bytes, NULL) == HP_OK && bytes > h + t &&
               memcmp(data, head, h) == 0 && memcmp(data + bytes - t, tail, t) == 0;
    if (*there_p) {
        fputs(first ? head : ",\n", out);
        fwrite(data + h, 1, bytes - h - t, out);
    }
    hp_free(data);
    return HP_OK;
}

static hp_status_t append_all(const char *folder, int ranks, FILE *out, hp_error_t *err) {
    bool first = true, there;
    for (int r = 0; r < ranks; r++) {
        HP_TRY(append(folder, r, ranks, first, out, &there, err));
        if (there)
            first = false;
        else
            fprintf(stderr, "hanps report: rank %d of %d left no part of the trace\n", r, ranks);
    }
    if (first) return hp_fail(err, HP_CORRUPT, "no part of the trace in '%s' is whole", folder);
    fputs(tail, out);
    return HP_OK;
}

hp_status_t cli_trace_merge(const char *run, const char *out, hp_error_t *err) {
    char folder[HP_RUN_PATH], path[HP_RUN_PATH], name[64];
    char *text = NULL;
    size_t bytes = 0;
    int64_t start = 0;
    int ranks = 0;
    HP_TRY(find_start(run, &start, err));
    HP_TRY(hp_trace_folder(run, start, folder, err));
    HP_TRY(count_ranks(folder, &ranks, err));
    snprintf(name, sizeof name, "trace/start-%04" PRId64 ".json", start);
    HP_TRY(hp_run_path(run, name, path, err));
    if (out == NULL) out = path;
    FILE *all = open_memstream(&text, &bytes);
    if (all == NULL) return hp_fail_errno(err, HP_MEMORY, "the trace");
    hp_status_t status = append_all(folder, ranks, all, err);
    if (fclose(all) != 0 && status == HP_OK) status = hp_fail_errno(err, HP_MEMORY, "the trace");
    if (status == HP_OK) status = hp_write_file(out, text, bytes, err);
    free(text);
    if (status == HP_OK) printf("%s\n", out);
    return status;
}
