#include "common/run_folder.h"

#include "common/file.h"
#include "common/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <dirent.h>
#include <yajl/yajl_tree.h>
#include <yajl/yajl_gen.h>

struct hp_run_lock {
    int fd;
};

hp_status_t hp_run_path(const char *run, const char *name, char *out, hp_error_t *err) {
    int n = snprintf(out, HP_RUN_PATH, "%s/%s", run, name);
    if (n < 0 || n >= HP_RUN_PATH)
        return hp_fail(err, HP_INPUT, "path of the run is too long: '%.200s...'", run);
    return HP_OK;
}

static const char *const sub_folders[] = {"checkpoints", "log", "eval", "ranks"};
enum { SUB_FOLDERS = sizeof sub_folders / sizeof *sub_folders };

/* Nothing is in the folder, or only what the start of a run makes before config.yaml is there. */
static bool is_unused(const char *path) {
    DIR *dir = opendir(path);
    if (dir == NULL) return false;
    bool unused = true;
    for (struct dirent *e; unused && (e = readdir(dir)) != NULL;) {
        static const char *const begun[] = {".", "..", "lock", "supervise", "config.yaml.part"};
        unused = false;
        for (size_t i = 0; i < sizeof begun / sizeof *begun; i++)
            unused = unused || strcmp(e->d_name, begun[i]) == 0;
        for (int i = 0; i < SUB_FOLDERS; i++)
            unused = unused || strcmp(e->d_name, sub_folders[i]) == 0;
    }
    closedir(dir);
    return unused;
}

/* Open file description locks belong to the open file: they end with the process, work on NFS, and
 * are not lost when another part of the program closes the same file. */
static hp_status_t take_lock(const char *run, bool make, hp_run_lock_t **lock_p, hp_error_t *err) {
    char path[HP_RUN_PATH];
    HP_TRY(hp_run_path(run, "lock", path, err));
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(hp_run_lock_t), "lock", err));
    hp_run_lock_t *lock = p;
    lock->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock->fd < 0) {
        hp_free(lock);
        return hp_fail_errno(err, HP_INPUT, "cannot open '%s'", path);
    }
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(lock->fd, F_OFD_SETLK, &whole) != 0) {
        int why = errno;
        char holder[300] = "";
        ssize_t n = pread(lock->fd, holder, sizeof holder - 1, 0);
        holder[n > 0 ? strcspn(holder, "\n") : 0] = '\0';
        hp_run_unlock(lock);
        errno = why;
        if (why == EAGAIN || why == EACCES)
            return hp_fail(err, HP_INPUT, "run folder '%s' is in use by %s", run,
                           holder[0] != '\0' ? holder : "another process");
        return hp_fail_errno(err, HP_IO, "cannot lock '%s'", path);
    }
    char host[256] = "", text[300];
    gethostname(host, sizeof host - 1);
    int n = snprintf(text, sizeof text, "process %ld on %s\n", (long)getpid(), host);
    if (ftruncate(lock->fd, 0) != 0 || pwrite(lock->fd, text, (size_t)n, 0) != n) {
        hp_status_t status = hp_fail_errno(err, HP_IO, "cannot write '%s'", path);
        if (make)
            hp_run_discard(run, lock);
        else
            hp_run_unlock(lock);
        return status;
    }
    *lock_p = lock;
    return HP_OK;
}

hp_status_t hp_run_create(const char *run, hp_run_lock_t **lock_p, hp_error_t *err) {
    if (run[0] == '\0') return hp_fail(err, HP_INPUT, "the run folder's name is empty");
    struct stat st;
    if (stat(run, &st) == 0 && !(S_ISDIR(st.st_mode) && is_unused(run)))
        return hp_fail(err, HP_INPUT,
                       "run folder '%s' exists: continue it with --resume, or take another name",
                       run);
    HP_TRY(hp_make_folders(run, err));
    HP_TRY(take_lock(run, true, lock_p, err));
    for (int i = 0; i < SUB_FOLDERS; i++) {
        char path[HP_RUN_PATH];
        hp_status_t status = hp_run_path(run, sub_folders[i], path, err);
        if (status == HP_OK) status = hp_make_folders(path, err);
        if (status != HP_OK) {
            hp_run_discard(run, *lock_p);
            *lock_p = NULL;
            return status;
        }
    }
    return HP_OK;
}

hp_status_t hp_run_open(const char *run, hp_run_lock_t **lock_p, hp_error_t *err) {
    char path[HP_RUN_PATH];
    HP_TRY(hp_run_path(run, "config.yaml", path, err));
    if (access(path, R_OK) != 0)
        return hp_fail(err, HP_INPUT, "no run in '%s': there is no config.yaml in it", run);
    return take_lock(run, false, lock_p, err);
}

hp_status_t hp_run_held(const char *run, bool *held_p, hp_error_t *err) {
    char path[HP_RUN_PATH];
    HP_TRY(hp_run_path(run, "lock", path, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return hp_fail_errno(err, HP_INPUT, "no run in '%s': cannot open '%s'", run, path);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    hp_status_t status = HP_OK;
    if (fcntl(fd, F_OFD_GETLK, &whole) != 0)
        status = hp_fail_errno(err, HP_IO, "cannot ask for the lock '%s'", path);
    else
        *held_p = whole.l_type != F_UNLCK;
    close(fd);
    return status;
}

bool hp_run_supervised(const char *run) {
    char path[HP_RUN_PATH];
    if (hp_run_path(run, "supervise", path, NULL) != HP_OK) return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    close(fd);
    return held;
}

void hp_run_discard(const char *run, hp_run_lock_t *lock) {
    static const char *const file[] = {"config.yaml", "status", "lock"};
    char path[HP_RUN_PATH];
    for (size_t i = 0; i < sizeof file / sizeof *file; i++)
        if (hp_run_path(run, file[i], path, NULL) == HP_OK) unlink(path);
    for (int i = 0; i < SUB_FOLDERS; i++)
        if (hp_run_path(run, sub_folders[i], path, NULL) == HP_OK) rmdir(path);
    rmdir(run);
    hp_run_unlock(lock);
}

void hp_run_unlock(hp_run_lock_t *lock) {
    if (lock == NULL) return;
    close(lock->fd);
    hp_free(lock);
}

hp_status_t hp_run_write_file(const char *run, const char *name, const char *text, size_t bytes,
                              hp_error_t *err) {
    char path[HP_RUN_PATH];
    HP_TRY(hp_run_path(run, name, path, err));
    return hp_write_file(path, text, bytes, err);
}

static const char *const state_name[] = {"running", "done", "stopped", "failed"};

const char *hp_run_state_name(hp_run_state_t state) { return state_name[state]; }

hp_status_t hp_run_status_write(const char *run, const hp_run_status_t *status, hp_error_t *err) {
    yajl_gen gen = yajl_gen_alloc(NULL);
    if (gen == NULL) return hp_fail(err, HP_MEMORY, "out of memory for the run's status");
#define KEY(name) yajl_gen_string(gen, (const unsigned char *)(name), strlen(name))
    yajl_gen_map_open(gen);
    KEY("state"), KEY(state_name[status->state]);
    KEY("step"), yajl_gen_integer(gen, status->step);
    KEY("steps"), yajl_gen_integer(gen, status->steps);
    KEY("checkpoint"), yajl_gen_integer(gen, status->checkpoint);
    KEY("units_repeated"), yajl_gen_integer(gen, status->units_repeated);
    KEY("start"), yajl_gen_integer(gen, status->start);
    KEY("host"), KEY(status->host);
    KEY("pid"), yajl_gen_integer(gen, status->pid);
    KEY("time"), yajl_gen_double(gen, status->time);
    KEY("requeue"), yajl_gen_bool(gen, status->requeue);
    KEY("message"), KEY(status->message);
    yajl_gen_map_close(gen);
#undef KEY
    const unsigned char *text;
    size_t bytes;
    yajl_gen_get_buf(gen, &text, &bytes);
    char line[4096];
    hp_status_t result;
    if (bytes + 1 < sizeof line) {
        memcpy(line, text, bytes);
        line[bytes++] = '\n';
        result = hp_run_write_file(run, "status", line, bytes, err);
    } else {
        result = hp_fail(err, HP_INTERNAL, "the run's status is too long");
    }
    yajl_gen_free(gen);
    return result;
}

static int64_t get_int(yajl_val tree, const char *key, int64_t otherwise) {
    const char *path[] = {key, NULL};
    yajl_val v = yajl_tree_get(tree, path, yajl_t_number);
    return YAJL_IS_INTEGER(v) ? YAJL_GET_INTEGER(v) : otherwise;
}

static void get_text(yajl_val tree, const char *key, char *out, size_t size) {
    const char *path[] = {key, NULL};
    yajl_val v = yajl_tree_get(tree, path, yajl_t_string);
    snprintf(out, size, "%s", v != NULL ? YAJL_GET_STRING(v) : "");
}

hp_status_t hp_run_status_read(const char *run, hp_run_status_t *status, hp_error_t *err) {
    char path[HP_RUN_PATH], text[4096], why[256], state[16];
    HP_TRY(hp_run_path(run, "status", path, err));
    FILE *file = fopen(path, "re");
    if (file == NULL) return hp_fail_errno(err, HP_INPUT, "cannot read '%s'", path);
    size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    yajl_val tree = yajl_tree_parse(text, why, sizeof why);
    if (tree == NULL) return hp_fail(err, HP_CORRUPT, "'%s' is not a run's status", path);
    hp_run_status_t out = {.step = get_int(tree, "step", 0),
                           .steps = get_int(tree, "steps", 0),
                           .checkpoint = get_int(tree, "checkpoint", -1),
                           .units_repeated = get_int(tree, "units_repeated", 0),
                           .start = get_int(tree, "start", 0),
                           .pid = get_int(tree, "pid", 0)};
    get_text(tree, "state", state, sizeof state);
    get_text(tree, "host", out.host, sizeof out.host);
    get_text(tree, "message", out.message, sizeof out.message);
    yajl_val time = yajl_tree_get(tree, (const char *[]){"time", NULL}, yajl_t_number);
    out.time = time != NULL ? YAJL_GET_DOUBLE(time) : 0;
    out.requeue = yajl_tree_get(tree, (const char *[]){"requeue", NULL}, yajl_t_true) != NULL;
    yajl_tree_free(tree);
    for (int i = 0; i < 4; i++)
        if (strcmp(state, state_name[i]) == 0) {
            out.state = (hp_run_state_t)i;
            *status = out;
            return HP_OK;
        }
    return hp_fail(err, HP_CORRUPT, "'%s' is not a run's status", path);
}

static void probe_name(uint64_t token, char out[64]) {
    snprintf(out, 64, ".probe-%016" PRIx64, token);
}

hp_status_t hp_run_probe_leave(const char *run, uint64_t token, hp_error_t *err) {
    char name[64];
    probe_name(token, name);
    return hp_run_write_file(run, name, "", 0, err);
}

hp_status_t hp_run_probe_find(const char *run, uint64_t token, hp_error_t *err) {
    char name[64], path[HP_RUN_PATH], host[256] = "";
    probe_name(token, name);
    HP_TRY(hp_run_path(run, name, path, err));
    for (int i = 0; i < 50; i++) {
        if (access(path, F_OK) == 0) return HP_OK;
        /* Listing the folder makes NFS clients look again. */
        is_unused(run);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    gethostname(host, sizeof host - 1);
    return hp_fail(err, HP_INPUT,
                   "run folder '%s' on host %s is not the one rank 0 uses: it must be on a file "
                   "system that all hosts share",
                   run, host);
}

void hp_run_probe_remove(const char *run, uint64_t token) {
    char name[64], path[HP_RUN_PATH];
    probe_name(token, name);
    if (hp_run_path(run, name, path, NULL) == HP_OK) unlink(path);
}
