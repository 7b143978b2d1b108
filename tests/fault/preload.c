/* Loaded before a rank's own libraries. SIGUSR1 makes the process call _exit in that moment, as a
 * library that gives up does. While the file that HANPS_DISK names holds one of these words, what
 * is written below a folder `checkpoints` meets quota  a write fails with EDQUOT short  a write
 * takes half of the bytes fsync  fsync fails with EIO */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void leave(int number) {
    (void)number;
    _exit(5);
}

__attribute__((constructor)) static void begin(void) { signal(SIGUSR1, leave); }

static bool meets(const char *fault, int fd) {
    char link[64], path[4096], word[16] = "";
    const char *control = getenv("HANPS_DISK");
    if (control == NULL) return false;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return false;
    path[n] = '\0';
    if (strstr(path, "/checkpoints/") == NULL) return false;
    int file = open(control, O_RDONLY | O_CLOEXEC);
    if (file < 0) return false;
    n = read(file, word, sizeof word - 1);
    close(file);
    return n > 0 && strcmp(word, fault) == 0;
}

ssize_t write(int fd, const void *data, size_t bytes) {
    static ssize_t (*next)(int, const void *, size_t);
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "write");
    if (meets("quota", fd)) {
        errno = EDQUOT;
        return -1;
    }
    if (bytes > 1 && meets("short", fd)) bytes /= 2;
    return next(fd, data, bytes);
}

int fsync(int fd) {
    static int (*next)(int);
    if (next == NULL) *(void **)&next = dlsym(RTLD_NEXT, "fsync");
    if (meets("fsync", fd)) {
        errno = EIO;
        return -1;
    }
    return next(fd);
}
