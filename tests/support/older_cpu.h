/* A test's main: all of it once more with oneDNN's kernels of an older CPU, which oneDNN reads from
 * the environment when it starts. */
#ifndef TESTS_OLDER_CPU_H
#define TESTS_OLDER_CPU_H

/* Returns `failed`, or does not return: the program begins again. */
int older_cpu_too(int failed, char **argv);

#endif
