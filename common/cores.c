#include "common/cores.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

/* "QUOTA PERIOD", in microseconds, or "max PERIOD". */
static int cores_of_file(const char *path) {
    long long quota = 0, period = 0;
    FILE *in = fopen(path, "r");
    if (in == NULL) return 0;
    const int read = fscanf(in, "%lld %lld", &quota, &period);
    fclose(in);
    if (read != 2 || quota <= 0 || period <= 0) return 0;
    const long long cores = quota / period;
    return cores < 1 ? 1 : cores < 1 << 20 ? (int)cores : 0;
}

int hp_cores_of_group(const char *mount, const char *group) {
    char at[2048], path[4200];
    int least = 0;
    if (snprintf(at, sizeof at, "%s", group) >= (int)sizeof at) return 0;
    for (char *end = at; end != NULL;) {
        snprintf(path, sizeof path, "%s%s/cpu.max", mount, strcmp(at, "/") == 0 ? "" : at);
        const int cores = cores_of_file(path);
        if (cores > 0 && (least == 0 || cores < least)) least = cores;
        end = strrchr(at, '/');
        if (end != NULL) *end = '\0';
    }
    return least;
}

/* The group of version 2: the line "0::GROUP". */
static int quota(void) {
    char line[2048];
    int cores = 0;
    FILE *in = fopen("/proc/self/cgroup", "r");
    while (in != NULL && fgets(line, sizeof line, in) != NULL) {
        if (strncmp(line, "0::", 3) != 0) continue;
        line[strcspn(line, "\n")] = '\0';
        cores = hp_cores_of_group("/sys/fs/cgroup", line + 3);
    }
    if (in != NULL) fclose(in);
    return cores;
}

int hp_usable_cores(void) {
    cpu_set_t set;
    const int affinity = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    const int most = quota();
    return most > 0 && most < affinity ? most : affinity;
}
