#include "tests/fault/faults.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const fault_name[FAULT_KINDS] = {"none",   "open",  "write",  "short write", "fsync",
                                             "rename", "mkdir", "thread", "memory",      "read"};

static atomic_int armed, left, lasts, failed;

int __real_open(const char *, int, ...);
ssize_t __real_write(int, const void *, size_t);
int __real_fsync(int);
int __real_rename(const char *, const char *);
int __real_mkdir(const char *, mode_t);
void *__real_aligned_alloc(size_t, size_t);
int __real_mdb_get(void *, unsigned, void *, void *);

int __wrap_open(const char *, int, ...);
ssize_t __wrap_write(int, const void *, size_t);
int __wrap_fsync(int);
int __wrap_rename(const char *, const char *);
int __wrap_mkdir(const char *, mode_t);
void *__wrap_aligned_alloc(size_t, size_t);
int __wrap_mdb_get(void *, unsigned, void *, void *);

void fault_arm(fault_t kind, int n, bool lasting) {
    atomic_store(&left, n);
    atomic_store(&lasts, lasting);
    atomic_store(&failed, 0);
    atomic_store(&armed, (int)kind);
}

int fault_disarm(void) {
    atomic_store(&armed, FAULT_NONE);
    return atomic_load(&failed);
}

bool fault_now(fault_t kind, int error) {
    if (atomic_load(&armed) != (int)kind) return false;
    int n = atomic_fetch_sub(&left, 1);
    if (n > 1 || (n < 1 && !atomic_load(&lasts))) return false;
    atomic_fetch_add(&failed, 1);
    errno = error;
    return true;
}

int __wrap_open(const char *path, int flags, ...) {
    mode_t mode = 0;
    if ((flags & O_CREAT) != 0) {
        va_list list;
        va_start(list, flags);
        mode = va_arg(list, mode_t);
        va_end(list);
        if (fault_now(FAULT_OPEN, EACCES)) return -1;
    }
    return __real_open(path, flags, mode);
}

ssize_t __wrap_write(int fd, const void *data, size_t bytes) {
    if (fault_now(FAULT_WRITE, ENOSPC)) return -1;
    if (fault_now(FAULT_SHORT_WRITE, ENOSPC)) {
        if (bytes < 2) return -1;
        atomic_store(&left, 1); /* the rest fails */
        return __real_write(fd, data, bytes / 2);
    }
    return __real_write(fd, data, bytes);
}

int __wrap_fsync(int fd) { return fault_now(FAULT_FSYNC, EIO) ? -1 : __real_fsync(fd); }

int __wrap_rename(const char *from, const char *to) {
    return fault_now(FAULT_RENAME, EIO) ? -1 : __real_rename(from, to);
}

int __wrap_mkdir(const char *path, mode_t mode) {
    return fault_now(FAULT_MKDIR, EROFS) ? -1 : __real_mkdir(path, mode);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes) {
    return fault_now(FAULT_MEMORY, ENOMEM) ? NULL : __real_aligned_alloc(alignment, bytes);
}

int __wrap_mdb_get(void *txn, unsigned database, void *key, void *value) {
    return fault_now(FAULT_READ, EIO) ? EIO : __real_mdb_get(txn, database, key, value);
}
