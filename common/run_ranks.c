#include "common/run_ranks.h"

#include "common/run_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static hp_status_t read_line(const char *path, char *out, size_t size, hp_error_t *err) {
    FILE *file = fopen(path, "re");
    if (file == NULL) return hp_fail_errno(err, HP_IO, "cannot read '%s'", path);
    bool got = fgets(out, (int)size, file) != NULL;
    fclose(file);
    if (!got) return hp_fail(err, HP_IO, "cannot read '%s'", path);
    out[strcspn(out, "\n")] = '\0';
    return HP_OK;
}

/* Field 22 of /proc/self/stat. The second one is the program's name in parentheses, with anything
 * in it. */
static hp_status_t own_start(uint64_t *started_p, hp_error_t *err) {
    enum { BEFORE = 19 }; /* fields between the name and it */
    char line[1024];
    HP_TRY(read_line("/proc/self/stat", line, sizeof line, err));
    const char *at = strrchr(line, ')');
    for (int i = 0; at != NULL && i <= BEFORE; i++) {
        at = strchr(at, ' ');
        if (at != NULL) at++;
    }
    if (at == NULL) return hp_fail(err, HP_IO, "/proc/self/stat is not as expected");
    *started_p = strtoull(at, NULL, 10);
    return HP_OK;
}

static hp_status_t rank_path(const char *run, int rank, char path[HP_RUN_PATH], hp_error_t *err) {
    char name[32];
    snprintf(name, sizeof name, "ranks/%04d", rank);
    return hp_run_path(run, name, path, err);
}

hp_status_t hp_run_rank_note(const char *run, int rank, int64_t start, hp_error_t *err) {
    char boot[64], host[256] = "", folder[HP_RUN_PATH], name[32], line[1024];
    uint64_t started = 0;
    HP_TRY(hp_run_path(run, "ranks", folder, err));
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return hp_fail_errno(err, HP_IO, "cannot make folder '%s'", folder);
    HP_TRY(own_start(&started, err));
    HP_TRY(read_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot, err));
    gethostname(host, sizeof host - 1);
    int n = snprintf(line, sizeof line,
                     "{\"rank\":%d,\"host\":\"%s\",\"pid\":%ld,\"started\":%" PRIu64
                     ",\"boot\":\"%s\",\"start\":%" PRId64 "}\n",
                     rank, host, (long)getpid(), started, boot, start);
    snprintf(name, sizeof name, "ranks/%04d", rank);
    return hp_run_write_file(run, name, line, (size_t)n, err);
}

void hp_run_rank_forget(const char *run, int rank) {
    char path[HP_RUN_PATH];
    if (rank_path(run, rank, path, NULL) == HP_OK) unlink(path);
}

bool hp_run_ranks_claim(const char *run) {
    char path[HP_RUN_PATH];
    if (hp_run_path(run, "ranks/ended", path, NULL) != HP_OK) return false;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return false;
    close(fd);
    return true;
}

void hp_run_ranks_unclaim(const char *run) {
    char path[HP_RUN_PATH];
    if (hp_run_path(run, "ranks/ended", path, NULL) == HP_OK) unlink(path);
}
