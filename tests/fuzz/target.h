/* What is fuzzed: files that come from somebody else's scripts, one target for each kind. */
#ifndef TESTS_FUZZ_TARGET_H
#define TESTS_FUZZ_TARGET_H

#include <stdbool.h>
#include <stddef.h>

/* All targets' names; NULL ends the list. Most have a folder of seeds in tests/fuzz/corpus/. */
extern const char *const fuzz_target_names[];

/* Makes a folder for the target's files. False: there is no such target, or no folder. */
bool fuzz_open(const char *target);

/* Lets hanps read the bytes as the target's file, with everything beside it as it must be: true
 * where it takes them. Aborts where hanps does not answer bad input with one line and the exit
 * status for it, or leaves a store that looks whole. */
bool fuzz_one(const unsigned char *data, size_t bytes);

/* After fuzz_open: the file that is as it must be, where the target makes one itself and has no
 * seeds in the corpus; else NULL. fuzz_one writes over it. */
const char *fuzz_made_seed(void);

void fuzz_close(void);

#endif
