/* The cores this process was given. */
#ifndef HP_CORES_H
#define HP_CORES_H

/* As many as its affinity and the quota of its control group allow; at least 1. */
int hp_usable_cores(void);

/* The whole cores that control group `group` ("/a/b") and those above it may use at once, by their
 * cpu.max below `mount` (/sys/fs/cgroup); 0: no limit. */
int hp_cores_of_group(const char *mount, const char *group);

#endif
