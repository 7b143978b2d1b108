#include "common/file.h"

#include "common/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH = 4096, LONGEST_WRITE = 1 << 30 };

hp_status_t hp_write_all(int fd, const void *data, size_t bytes, const char *path,
                         hp_error_t *err) {
    const unsigned char *p = data;
    while (bytes > 0) {
        ssize_t n = write(fd, p, bytes < LONGEST_WRITE ? bytes : LONGEST_WRITE);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return hp_fail_errno(err, HP_IO, "cannot write '%s'", path);
        if (n == 0) return hp_fail(err, HP_IO, "cannot write '%s': no bytes are taken", path);
        p += n;
        bytes -= (size_t)n;
    }
    return HP_OK;
}

hp_status_t hp_sync_close(int fd, const char *path, hp_error_t *err) {
    hp_status_t status = HP_OK;
    if (fsync(fd) != 0) status = hp_fail_errno(err, HP_IO, "cannot sync '%s'", path);
    if (close(fd) != 0 && status == HP_OK)
        status = hp_fail_errno(err, HP_IO, "cannot close '%s'", path);
    return status;
}

hp_status_t hp_sync_folder(const char *path, hp_error_t *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return hp_fail_errno(err, HP_IO, "cannot open folder '%s'", path);
    return hp_sync_close(fd, path, err);
}

static void parent_of(const char *path, char folder[PATH]) {
    const char *slash = strrchr(path, '/');
    int length = slash == NULL ? 1 : slash == path ? 1 : (int)(slash - path);
    snprintf(folder, PATH, "%.*s", length, slash == NULL ? "." : path);
}

static hp_status_t sync_parent(const char *path, hp_error_t *err) {
    char folder[PATH];
    parent_of(path, folder);
    return hp_sync_folder(folder, err);
}

hp_status_t hp_check_place(const char *path, hp_error_t *err) {
    char folder[PATH];
    struct stat st;
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return hp_fail(err, HP_INPUT, "cannot write '%s': it is a folder", path);
    parent_of(path, folder);
    if (stat(folder, &st) != 0 || access(folder, W_OK | X_OK) != 0)
        return hp_fail_errno(err, HP_INPUT, "cannot write '%s': folder '%s'", path, folder);
    if (!S_ISDIR(st.st_mode))
        return hp_fail(err, HP_INPUT, "cannot write '%s': '%s' is not a folder", path, folder);
    return HP_OK;
}

hp_status_t hp_write_file(const char *path, const void *data, size_t bytes, hp_error_t *err) {
    char part[PATH];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return hp_fail(err, HP_INPUT, "path is too long: '%.200s...'", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return hp_fail_errno(err, HP_IO, "cannot write '%s'", part);
    hp_status_t status = hp_write_all(fd, data, bytes, part, err);
    hp_status_t synced = hp_sync_close(fd, part, status == HP_OK ? err : NULL);
    if (status == HP_OK) status = synced;
    if (status == HP_OK && rename(part, path) != 0)
        status = hp_fail_errno(err, HP_IO, "cannot rename '%s' to '%s'", part, path);
    if (status != HP_OK) {
        unlink(part);
        return status;
    }
    return sync_parent(path, err);
}

hp_status_t hp_read_file(const char *path, size_t limit, unsigned char **data_p, size_t *bytes_p,
                         hp_error_t *err) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return hp_fail_errno(err, errno == ENOENT ? HP_INPUT : HP_IO, "cannot read '%s'", path);
    void *p = NULL;
    hp_status_t status = HP_OK;
    if (fstat(fd, &st) != 0)
        status = hp_fail_errno(err, HP_IO, "cannot read '%s'", path);
    else if (!S_ISREG(st.st_mode))
        status = hp_fail(err, HP_INPUT, "'%s' is not a file", path);
    else if ((size_t)st.st_size > limit)
        status = hp_fail(err, HP_CORRUPT, "'%s' has %lld bytes; at most %zu are expected", path,
                         (long long)st.st_size, limit);
    if (status == HP_OK) status = hp_allocate(&p, (size_t)st.st_size, 1, "a file", err);
    for (size_t got = 0; status == HP_OK && got < (size_t)st.st_size;) {
        ssize_t n = read(fd, (unsigned char *)p + got, (size_t)st.st_size - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            status = hp_fail_errno(err, HP_IO, "cannot read '%s'", path);
        else if (n == 0)
            status = hp_fail(err, HP_CORRUPT, "'%s' ends while it is read", path);
        else
            got += (size_t)n;
    }
    close(fd);
    if (status != HP_OK) {
        hp_free(p);
        return status;
    }
    *data_p = p;
    *bytes_p = (size_t)st.st_size;
    return HP_OK;
}

hp_status_t hp_make_folders(const char *path, hp_error_t *err) {
    char part[4096];
    if (strlen(path) >= sizeof part)
        return hp_fail(err, HP_INPUT, "path is too long: '%.200s...'", path);
    memcpy(part, path, strlen(path) + 1);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return hp_fail_errno(err, HP_INPUT, "cannot make folder '%s'", part);
        *slash = '/';
    }
    if (mkdir(part, 0777) != 0 && errno != EEXIST)
        return hp_fail_errno(err, HP_INPUT, "cannot make folder '%s'", part);
    return HP_OK;
}

bool hp_read_at(int fd, uint64_t at, void *out, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(fd, (char *)out + done, bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}
