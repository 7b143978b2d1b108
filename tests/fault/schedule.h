/* Threads under a scheduler of our own, so that a run of servers and workers is a pure function of
 * a seed. Exactly one thread runs at a time; whenever one locks, waits, signals, sleeps, starts or
 * joins, the seed decides who goes on. Time is virtual: it jumps when everybody waits. The calls
 * are caught by the linker (--wrap), so the code under test is what is shipped.
 *
 * What it cannot see: data races between two such calls (the thread sanitizer does). */
#ifndef TESTS_SCHEDULE_H
#define TESTS_SCHEDULE_H

#include <stdint.h>

typedef struct {
    uint64_t switches;
    double seconds; /* of virtual time */
} schedule_stats_t;

/* Runs body in the calling thread, with all threads it starts, under the schedule of the seed.
 * Where everybody waits for ever, or no end comes, prints who waits for what and ends the process
 * with status 70. All threads must have been joined when body returns. */
void schedule_run(uint64_t seed, void (*body)(void *context), void (*gave_up)(void *context),
                  void *context, schedule_stats_t *stats);

#endif
