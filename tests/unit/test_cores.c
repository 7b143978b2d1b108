/* What a control group leaves of a host's cores, by files as the kernel writes them. */
#include "common/cores.h"
#include "common/file.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char mount[64];

static void limit(const char *group, const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s%s/cpu.max", mount, group);
    hp_error_t err;
    assert_int_equal(hp_write_file(path, text, strlen(text), &err), HP_OK);
}

static void test_groups(void **state) {
    (void)state;
    char path[128];
    strcpy(mount, "/tmp/hanps-cores-XXXXXX");
    assert_non_null(mkdtemp(mount));
    for (const char *const *group = (const char *const[]){"/a", "/a/b", NULL}; *group; group++) {
        snprintf(path, sizeof path, "%s%s", mount, *group);
        assert_int_equal(mkdir(path, 0777), 0);
    }
    assert_int_equal(hp_cores_of_group(mount, "/a/b"), 0); /* no files: no controller */
    limit("/a/b", "max 100000\n");
    assert_int_equal(hp_cores_of_group(mount, "/a/b"), 0);
    limit("/a", "350000 100000\n"); /* a group above limits those below */
    assert_int_equal(hp_cores_of_group(mount, "/a/b"), 3);
    limit("/a/b", "200000 100000\n");
    assert_int_equal(hp_cores_of_group(mount, "/a/b"), 2);
    assert_int_equal(hp_cores_of_group(mount, "/a"), 3);
    assert_int_equal(hp_cores_of_group(mount, "/"), 0);
    limit("", "50000 100000\n"); /* as a container sees its own group */
    assert_int_equal(hp_cores_of_group(mount, "/"), 1);
    assert_int_equal(hp_cores_of_group(mount, "/a/b"), 1);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", mount);
    assert_int_equal(system(command), 0);
}

static void test_affinity(void **state) {
    (void)state;
    cpu_set_t all, one;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    assert_in_range(hp_usable_cores(), 1, CPU_COUNT(&all));
    int first = 0;
    while (!CPU_ISSET(first, &all)) first++;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    assert_int_equal(hp_usable_cores(), 1);
    assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_groups),
                                       cmocka_unit_test(test_affinity)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
