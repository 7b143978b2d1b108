/* Status codes and the error object that travels with them.
 *
 * Every function that can fail returns an hp_status_t and takes an hp_error_t * as its last
 * argument. The function that first sees the failure writes one line of text; callers only
 * propagate. Outputs are written only on success. Libraries never print and never exit: the
 * command turns the status into an exit status with hp_status_exit_code. */
#ifndef HP_STATUS_H
#define HP_STATUS_H

#include <stdarg.h>
#include <stdbool.h>

/* name, exit status, text. Exit status 1: a comparison found a difference. 2: the user's input is
 * wrong. 3: a failure while running. 130: interrupted. */
#define HP_STATUS_MAP(X)                                                                           \
    X(OK, 0, "success")                                                                            \
    X(DIFFERENT, 1, "not the same")                                                                \
    X(INPUT, 2, "wrong input")                                                                     \
    X(CORRUPT, 2, "damaged file")                                                                  \
    X(MEMORY, 3, "out of memory")                                                                  \
    X(IO, 3, "input or output failed")                                                             \
    X(PEER, 3, "a rank failed")                                                                    \
    X(TRANSPORT, 3, "communication failed")                                                        \
    X(NONFINITE, 3, "not a finite number")                                                         \
    X(UNSUPPORTED, 3, "not supported by this build or machine")                                    \
    X(INTERNAL, 3, "internal error")                                                               \
    X(INTERRUPTED, 130, "interrupted")

typedef enum {
#define HP_STATUS_ENUM(name, code, text) HP_##name,
    HP_STATUS_MAP(HP_STATUS_ENUM)
#undef HP_STATUS_ENUM
        HP_STATUS_COUNT
} hp_status_t;

typedef struct {
    hp_status_t status;
    char text[1024]; /* one line, no newline at its end */
    bool told;       /* to the user, by another rank or already: main need not */
} hp_error_t;

#define HP_MUST_CHECK   __attribute__((warn_unused_result))
#define HP_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* Propagate a failure to the caller. */
#define HP_TRY(call)                                                                               \
    do {                                                                                           \
        hp_status_t hp_try_status_ = (call);                                                       \
        if (hp_try_status_ != HP_OK) return hp_try_status_;                                        \
    } while (0)

/* Record a failure, as one that nobody has told yet, and return its status. `err` may be NULL. */
hp_status_t hp_fail(hp_error_t *err, hp_status_t status, const char *fmt, ...) HP_PRINTF(3, 4);

#ifdef __clang_analyzer__ /* it cannot know that what goes in comes out */
#define hp_fail(err, status, ...) ((void)(hp_fail)(err, status, __VA_ARGS__), (status))
#endif

/* The same, with strerror(errno) appended. */
hp_status_t hp_fail_errno(hp_error_t *err, hp_status_t status, const char *fmt, ...)
    HP_PRINTF(3, 4);

/* Put "prefix: " before the text already there (a file's name, say). Returns err->status. */
hp_status_t hp_fail_prefix(hp_error_t *err, const char *fmt, ...) HP_PRINTF(2, 3);

const char *hp_status_name(hp_status_t status);
const char *hp_status_text(hp_status_t status);
int hp_status_exit_code(hp_status_t status);

#endif
