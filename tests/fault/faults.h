/* The n-th call of one kind fails, in whatever thread. The calls are caught by the linker (--wrap).
 */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

#include <stdbool.h>

typedef enum {
    FAULT_NONE,
    FAULT_OPEN,        /* of a file that is to be written: EACCES */
    FAULT_WRITE,       /* ENOSPC */
    FAULT_SHORT_WRITE, /* half is written, and then ENOSPC */
    FAULT_FSYNC,       /* EIO */
    FAULT_RENAME,      /* EIO */
    FAULT_MKDIR,       /* EROFS */
    FAULT_THREAD,      /* pthread_create: EAGAIN */
    FAULT_MEMORY,      /* aligned_alloc, which hp_allocate uses */
    FAULT_READ,        /* mdb_get: EIO */
    FAULT_KINDS
} fault_t;

extern const char *const fault_name[FAULT_KINDS];

/* From now on. n counts from 1. `lasting`: all calls after it fail too. */
void fault_arm(fault_t kind, int n, bool lasting);
/* For whoever catches a call: does this one fail? Sets errno. */
bool fault_now(fault_t kind, int error);
/* Ends it. Returns how many calls have failed. */
int fault_disarm(void);

#endif
