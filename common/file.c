#include "common/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

static hp_status_t write_and_sync(const char *path, const void *data, size_t bytes,
                                  hp_error_t *err) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return hp_fail_errno(err, HP_IO, "cannot write '%s'", path);
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = write(fd, (const char *)data + done, bytes - done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) break;
        done += (size_t)n;
    }
    bool good = done == bytes && fsync(fd) == 0;
    int why = errno;
    if (close(fd) != 0 && good) {
        good = false;
        why = errno;
    }
    errno = why;
    if (!good) return hp_fail_errno(err, HP_IO, "cannot write '%s'", path);
    return HP_OK;
}

hp_status_t hp_write_file(const char *path, const void *data, size_t bytes, hp_error_t *err) {
    char part[PATH_MAX];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return hp_fail(err, HP_INPUT, "path too long: '%.200s...'", path);
    hp_status_t status = write_and_sync(part, data, bytes, err);
    if (status == HP_OK && rename(part, path) != 0)
        status = hp_fail_errno(err, HP_IO, "cannot rename '%s' to '%s'", part, path);
    if (status != HP_OK) unlink(part);
    return status;
}
