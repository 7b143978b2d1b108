/* HDF5 by a process of its own. libhdf5 is not safe on damaged files: a few wrong bytes, and it
 * reads and writes memory that is not its own, whatever is asked of it before. So a child opens the
 * file and reads it; where the library breaks down, the child ends, and here that is an error like
 * any other.
 *
 * Requests (an image) and replies go over a pair of sockets. The numbers and boxes of an image lie
 * in memory that both have: the child reads into it, and nothing is copied on the way. The child
 * ends with this process, however that ends, and with the thread that opened the source. */
#include "common/memory.h"
#include "worker/import/features_source.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef HP_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

typedef struct {
    wk_features_t *features;
    pid_t child;
    bool ended;
    int status; /* of waitpid, where it has ended */
    int socket, memory;
    float *shared; /* an image's numbers, then its boxes */
    size_t bytes;
} apart_t;

typedef struct {
    hp_status_t status;
    int cells; /* of the image */
    hp_error_t err;
} reply_t;

/* Behind the reply to the opening: the ids, one after the other with their NUL, and the sizes. */
typedef struct {
    wk_features_shape_t shape;
    size_t names_bytes;
    bool sizes;
} opened_t;

static bool put(int fd, const void *data, size_t bytes) {
    for (const char *p = data; bytes > 0;) {
        const ssize_t n = send(fd, p, bytes, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

static bool get(int fd, void *data, size_t bytes) {
    for (char *p = data; bytes > 0;) {
        const ssize_t n = recv(fd, p, bytes, MSG_WAITALL);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        bytes -= (size_t)n;
    }
    return true;
}

/* Of an image; the shape is one that wk_features_axes or _check_ranges takes. */
static size_t bytes_of(const wk_features_shape_t *s) {
    return (size_t)s->cells * ((size_t)s->channels + 4) * sizeof(float);
}

/* The child ---------------------------------------------------------------------------------- */

/* What a library that breaks down ends by. */
static const int deadly[] = {SIGABRT, SIGILL, SIGSEGV, SIGBUS, SIGFPE};
enum {
    DEADLY = sizeof deadly / sizeof *deadly,
#ifdef HP_LIBFUZZER
    DEFAULTED = 2 /* the others are the sanitizer's, see below */
#else
    DEFAULTED = DEADLY
#endif
};

#ifdef HP_ADDRESS_SANITIZER
/* The sanitizer has found something: it is the library's where the library did it, and with memory
 * that the library had asked for; then the child ends as it would without the sanitizer. Else it is
 * ours, and the child ends with the sanitizer's exit status, which is no error of the input. */
static void on_report(const char *report) {
    for (const char *p = report, *end; p != NULL; p = end) { /* parts, some with a stack */
        end = strstr(p, "\n\n");
        if (end != NULL) end += 2;
        const char *stack = strstr(p, " #0 "), *library = strstr(p, "libhdf5");
        if (stack == NULL || (end != NULL && stack >= end)) continue;
        if (library == NULL || (end != NULL && library >= end)) return;
    }
    raise(SIGABRT);
}
#endif

static void settle(pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(0); /* it has ended already */
    prctl(PR_SET_DUMPABLE, 0);         /* no core file */
    for (int i = 0; i < DEFAULTED; i++) signal(deadly[i], SIG_DFL);
#ifdef HP_ADDRESS_SANITIZER
    __asan_set_error_report_callback(on_report);
#elif !defined(HP_SANITIZED)
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null >= 0) dup2(null, STDERR_FILENO); /* last words of the C library */
#endif
}

static hp_status_t open_here(wk_features_t *f, int memory, hp_error_t *err) {
    HP_TRY(wk_features_open_hdf5(f, err));
    const size_t bytes = bytes_of(&f->shape);
    if (ftruncate(memory, (off_t)bytes) != 0)
        return hp_fail_errno(err, HP_MEMORY, "%s: memory for an image", f->options.path);
    float *shared = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    if (shared == MAP_FAILED)
        return hp_fail_errno(err, HP_MEMORY, "%s: memory for an image", f->options.path);
    f->values = shared;
    f->boxes = shared + (size_t)f->shape.cells * (size_t)f->shape.channels;
    return HP_OK;
}

static void serve(wk_features_t *f, int fd, int memory) {
    reply_t reply = {0};
    reply.status = open_here(f, memory, &reply.err);
    const opened_t opened = {f->shape, f->names.used, f->sizes != NULL};
    bool good = put(fd, &reply, sizeof reply) && reply.status == HP_OK &&
                put(fd, &opened, sizeof opened) && put(fd, f->names.bytes, opened.names_bytes);
    if (good && opened.sizes)
        good = put(fd, f->sizes, (size_t)f->shape.images * 2 * sizeof *f->sizes);
    for (uint64_t image; good && get(fd, &image, sizeof image);) {
        reply = (reply_t){0};
        f->cells = f->shape.cells;
        reply.status = f->read(f, image, &reply.err);
        reply.cells = f->cells;
        good = put(fd, &reply, sizeof reply);
    }
}

/* The parent --------------------------------------------------------------------------------- */

/* Whatever it is at; it has nothing to save. Where it has ended already, its status stays. */
static void end_child(apart_t *a) {
    if (a->ended || a->child <= 0) return;
    kill(a->child, SIGKILL);
    while (waitpid(a->child, &a->status, 0) < 0 && errno == EINTR) {
    }
    a->ended = true;
}

static void close_apart(void *source) {
    apart_t *a = source;
    end_child(a);
    if (a->socket >= 0) close(a->socket);
    if (a->memory >= 0) close(a->memory);
    if (a->shared != NULL) munmap(a->shared, a->bytes);
    a->features->values = a->features->boxes = NULL;
    hp_free(a);
}

/* There is no reply, or (`sense` is false) one that makes no sense. A child that somebody has
 * killed, or that our own code has ended, is no error of the input. */
static hp_status_t broken(const wk_features_t *f, bool sense, const char *doing, hp_error_t *err) {
    apart_t *a = f->source;
    end_child(a);
    const int number = WIFSIGNALED(a->status) ? WTERMSIG(a->status) : 0;
    if (!sense)
        return hp_fail(err, HP_INPUT, "%s: libhdf5 broke down %s: the file is damaged",
                       f->options.path, doing);
    for (int i = 0; i < DEADLY; i++)
        if (number == deadly[i])
            return hp_fail(err, HP_INPUT,
                           "%s: libhdf5 broke down (signal %d) %s: the file is damaged",
                           f->options.path, number, doing);
    return hp_fail(err, HP_IO, "%s: the process that reads it was ended (%s %d) %s",
                   f->options.path, number != 0 ? "signal" : "exit status",
                   number != 0 ? number : WEXITSTATUS(a->status), doing);
}

static hp_status_t get_reply(const wk_features_t *f, reply_t *reply, const char *doing,
                             hp_error_t *err) {
    const apart_t *a = f->source;
    if (!get(a->socket, reply, sizeof *reply)) return broken(f, true, doing, err);
    if (reply->status >= HP_STATUS_COUNT) return broken(f, false, doing, err);
    return reply->status == HP_OK ? HP_OK : hp_fail(err, reply->status, "%.1023s", reply->err.text);
}

static hp_status_t read_image(wk_features_t *f, uint64_t image, hp_error_t *err) {
    const apart_t *a = f->source;
    reply_t reply;
    char doing[512];
    snprintf(doing, sizeof doing, "reading row %llu of '%s'", (unsigned long long)image,
             f->options.dataset);
    if (!put(a->socket, &image, sizeof image)) return broken(f, true, doing, err);
    HP_TRY(get_reply(f, &reply, doing, err));
    if (reply.cells < 1 || reply.cells > f->shape.cells) return broken(f, false, doing, err);
    f->cells = reply.cells;
    return HP_OK;
}

static const char opening[] = "opening it";

static hp_status_t take_names(wk_features_t *f, size_t bytes, hp_error_t *err) {
    const apart_t *a = f->source;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, bytes + 1, 1, "ids", err));
    hp_status_t status = HP_OK;
    if (!get(a->socket, p, bytes)) status = broken(f, true, opening, err);
    const char *end = (char *)p + bytes;
    for (const char *id = p; status == HP_OK && id < end; id += strlen(id) + 1) {
        uint32_t number = 0;
        status = wk_strings_add(&f->names, id, strlen(id), &number, err);
    }
    hp_free(p);
    return status;
}

static hp_status_t take_sizes(wk_features_t *f, hp_error_t *err) {
    const apart_t *a = f->source;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, f->shape.images, 2 * sizeof(float), "sizes", err));
    f->sizes = p;
    return get(a->socket, p, (size_t)f->shape.images * 2 * sizeof(float))
               ? HP_OK
               : broken(f, true, opening, err);
}

/* What the child has opened. */
static hp_status_t take_opened(wk_features_t *f, hp_error_t *err) {
    apart_t *a = f->source;
    reply_t reply;
    opened_t opened;
    HP_TRY(get_reply(f, &reply, opening, err));
    if (!get(a->socket, &opened, sizeof opened)) return broken(f, true, opening, err);
    const wk_features_shape_t *s = &opened.shape;
    if (s->cells < 1 || s->channels < 1 || s->cells > (1 << 28) / s->channels || s->images < 1 ||
        s->images > UINT32_MAX - 1)
        return broken(f, false, opening, err);
    f->shape = *s;
    HP_TRY(take_names(f, opened.names_bytes, err));
    if (f->names.count != s->images) return broken(f, false, opening, err);
    if (opened.sizes) HP_TRY(take_sizes(f, err));
    void *shared = mmap(NULL, bytes_of(s), PROT_READ, MAP_SHARED, a->memory, 0);
    if (shared == MAP_FAILED)
        return hp_fail_errno(err, HP_MEMORY, "%s: memory for an image", f->options.path);
    a->shared = shared;
    a->bytes = bytes_of(s);
    f->values = a->shared;
    f->boxes = a->shared + (size_t)s->cells * (size_t)s->channels;
    return HP_OK;
}

static hp_status_t open_child(wk_features_t *f, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(apart_t), "HDF5", err));
    apart_t *a = p;
    *a = (apart_t){.features = f, .socket = -1, .memory = -1};
    f->source = a;
    f->close = close_apart;
    f->read = read_image;
    int pair[2];
    a->memory = memfd_create("hanps-image", MFD_CLOEXEC);
    if (a->memory < 0) return hp_fail_errno(err, HP_IO, "memory for an image");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return hp_fail_errno(err, HP_IO, "a pair of sockets");
    a->socket = pair[0];
    const pid_t parent = getpid();
    a->child = fork();
    if (a->child == 0) {
        close(pair[0]);
        settle(parent);
        serve(f, pair[1], a->memory);
        _exit(0); /* nothing that the parent has set up for its own end */
    }
    const int reason = errno;
    close(pair[1]);
    errno = reason;
    if (a->child < 0) return hp_fail_errno(err, HP_IO, "a process that reads HDF5");
    return take_opened(f, err);
}

#ifdef HP_LIBFUZZER
/* libFuzzer sees what its own process does: there the file is read anew, after a child has read it
 * to its end. At what makes the library break down it ends, as an error of the input; what breaks
 * down in our own code is found in either process. */
static hp_status_t survive(const wk_features_t *f, hp_error_t *err) {
    wk_features_t probe = {.options = f->options};
    hp_status_t status = open_child(&probe, err);
    for (uint64_t i = 0; status == HP_OK && i < probe.shape.images; i++)
        status = read_image(&probe, i, err);
    const bool ended = probe.source != NULL && ((apart_t *)probe.source)->ended;
    if (probe.source != NULL) close_apart(probe.source);
    wk_strings_release(&probe.names);
    hp_free(probe.sizes);
    return ended ? status : HP_OK;
}
#endif

hp_status_t wk_features_open_apart(wk_features_t *f, hp_error_t *err) {
#ifdef HP_LIBFUZZER
    HP_TRY(survive(f, err));
    return wk_features_open_hdf5(f, err);
#else
    return open_child(f, err);
#endif
}
