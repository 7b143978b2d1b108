/* What hanps doctor makes of what it has found: a line for each thing that is wrong, and none where
 * all is well. */
#include "cli/doctor.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 6, HOSTS = 3 };

static const char *const host[RANKS] = {"a", "a", "b", "b", "c", "c"};
static const int first[HOSTS] = {0, 2, 4};

typedef struct {
    doctor_machine_t machine[RANKS];
    doctor_fit_t fit[RANKS];
    doctor_cluster_t cluster;
    doctor_report_t report;
    char *text;
    size_t bytes;
} fixture_t;

/* Three hosts alike, nothing wrong. */
static int set_up(void **state) {
    fixture_t *f = calloc(1, sizeof *f);
    if (f == NULL) return -1;
    for (int r = 0; r < RANKS; r++) {
        doctor_machine_t *m = &f->machine[r];
        *m = (doctor_machine_t){
            .program = "abc", .kernel = "Haswell", .cores = 4, .allowed = 4, .memory = 8000000000};
        m->networks = 1;
        snprintf(m->network[0].name, sizeof m->network[0].name, "eth0");
        m->network[0].address = 0x0a010001u + (uint32_t)(r / 2);
        m->network[0].mask = 0xffff0000u;
        m->libraries = 1;
        snprintf(m->library[0].name, sizeof m->library[0].name, "libblas.so.0");
        snprintf(m->library[0].file, sizeof m->library[0].file, "libblas-1.so");
        m->library[0].hash = 7;
        snprintf(f->fit[r].store, sizeof f->fit[r].store, "d1");
        f->fit[r].need = 1000000000;
    }
    f->cluster = (doctor_cluster_t){RANKS, HOSTS, host, first, f->machine};
    f->report.out = open_memstream(&f->text, &f->bytes);
    *state = f;
    return f->report.out == NULL;
}

static int tear_down(void **state) {
    fixture_t *f = *state;
    fclose(f->report.out);
    free(f->text);
    free(f);
    return 0;
}

/* What was written: `wrong` lines say so, and `says` is among it. */
static void expect(fixture_t *f, int wrong, const char *says) {
    fflush(f->report.out);
    if (f->report.wrong != wrong || strstr(f->text, says) == NULL)
        fail_msg("%d wrong, not %d, or no '%s': %s", f->report.wrong, wrong, says, f->text);
    int lines = 0;
    for (const char *p = f->text; (p = strstr(p, "WRONG ")) != NULL; p++) lines++;
    assert_int_equal(lines, wrong);
}

static void test_well(void **state) {
    fixture_t *f = *state;
    const doctor_pair_t pair[] = {
        {0, 1, {true, 1e-4, 1e8, 0}}, {0, 2, {true, 1e-4, 9e7, 0}}, {1, 2, {true, 1e-4, 1.2e8, 0}}};
    const double offset[HOSTS] = {0, 0.5, -0.02};
    hp_config_t config;
    hp_config_default(&config);
    doctor_check_builds(&f->report, &f->cluster);
    doctor_check_cores(&f->report, &f->cluster);
    doctor_check_networks(&f->report, &f->cluster, NULL);
    doctor_check_links(&f->report, &f->cluster, pair, 3, 1e8);
    doctor_check_clocks(&f->report, &f->cluster, offset);
    doctor_check_fit(&f->report, &f->cluster, f->fit, &config, "/runs");
    expect(f, 0, "90 MB/s or more, 0.10 ms");
    expect(f, 0, "500.0 ms apart");
    expect(f, 0, "eth0 10.1.0.0/16");
}

static void test_builds(void **state) {
    fixture_t *f = *state;
    f->machine[3].program[0] = 'x';
    f->machine[4].library[0].hash = 8;
    snprintf(f->machine[4].library[0].file, sizeof f->machine[4].library[0].file, "libblas-2.so");
    snprintf(f->machine[2].kernel, sizeof f->machine[2].kernel, "SkylakeX");
    doctor_check_builds(&f->report, &f->cluster);
    expect(f, 3, "rank 3 on b runs another build");
    expect(f, 3, "libblas.so.0 is another on c (libblas-2.so) than on a (libblas-1.so)");
    expect(f, 3, "b computes with 'SkylakeX', a with 'Haswell'");
}

static void test_cores(void **state) {
    fixture_t *f = *state;
    f->machine[2].allowed = 1;
    f->machine[4].cores = f->machine[4].allowed = 1;
    doctor_check_cores(&f->report, &f->cluster);
    expect(f, 2, "a rank on b is bound to one of 4 cores");
    expect(f, 2, "c has 1 cores for 2 ranks: give it at most 1 slots");
}

static void test_networks(void **state) {
    fixture_t *f = *state;
    for (int r = 0; r < RANKS; r++) {
        f->machine[r].networks = 2;
        snprintf(f->machine[r].network[1].name, sizeof f->machine[r].network[1].name, "docker0");
        f->machine[r].network[1].address = 0xac110001u;
        f->machine[r].network[1].mask = 0xffff0000u;
    }
    doctor_check_networks(&f->report, &f->cluster, "10.1.0.0/16");
    expect(f, 0, "ok    network   eth0 10.1.0.0/16");
    doctor_check_networks(&f->report, &f->cluster, "lo,eth0");
    expect(f, 0, "ok    network   eth0 10.1.0.0/16");
    doctor_check_networks(&f->report, &f->cluster, NULL);
    expect(f, 1, "172.17.0.1 is docker0 on a and docker0 on b");
    doctor_check_networks(&f->report, &f->cluster, "10.2.0.0/16");
    expect(f, 2, "a has no interface in 10.2.0.0/16");
}

static void test_links(void **state) {
    fixture_t *f = *state;
    doctor_pair_t pair[] = {
        {0, 1, {true, 1e-4, 1e8, 0}}, {0, 2, {true, 1e-4, 1e7, 0}}, {1, 2, {true, 1e-4, 1.1e7, 0}}};
    doctor_check_links(&f->report, &f->cluster, pair, 3, 0);
    expect(f, 1, "c has 11 MB/s to the others at most, the fastest pair has 100");
    pair[2].link.rate = 1e8;
    doctor_check_links(&f->report, &f->cluster, pair, 3, 1e8);
    expect(f, 2,
           "10 MB/s between a and c, the fastest pair has 100; a push of 100 MB takes 10.0 s");
    pair[1].link = (doctor_link_t){.answered = false};
    pair[2].link.latency = 0.02;
    doctor_check_links(&f->report, &f->cluster, pair, 3, 0);
    expect(f, 4, "no answer between a and c");
    expect(f, 4, "20.0 ms there and back between b and c");
}

static void test_clocks(void **state) {
    fixture_t *f = *state;
    const double offset[HOSTS] = {0, -3.5, NAN};
    doctor_check_clocks(&f->report, &f->cluster, offset);
    expect(f, 1, "b is 3.5 s behind a");
}

static void test_fit(void **state) {
    fixture_t *f = *state;
    hp_config_t config;
    hp_config_default(&config);
    f->fit[2].need = 7000000000;
    snprintf(f->fit[3].folder_wrong, sizeof f->fit[3].folder_wrong, "not shared");
    doctor_check_fit(&f->report, &f->cluster, f->fit, &config, "/runs");
    expect(f, 2, "b has 8.0 GB for ranks that need 8.0 GB");
    expect(f, 2, "rank 3 on b: not shared");
    f->fit[4].store[1] = f->fit[5].store[1] = '2';
    snprintf(f->fit[3].store_wrong, sizeof f->fit[3].store_wrong, "no store");
    doctor_check_fit(&f->report, &f->cluster, f->fit, &config, NULL);
    expect(f, 4, "'data/vqacp' on c is not the one that a has");
    expect(f, 4, "rank 3 on b: no store");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_well, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_builds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cores, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_networks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_links, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_clocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fit, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
