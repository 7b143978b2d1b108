/* hanps doctor: what each rank finds on its machine, and what rank 0 makes of it. doctor.c: the
 * command; doctor_facts.c: a rank's machine; doctor_link.c: messages between hosts; doctor_check.c:
 * what is wrong. */
#ifndef CLI_DOCTOR_H
#define CLI_DOCTOR_H

#include "common/config.h"
#include "common/transport.h"

#include <stdio.h>

#define DOCTOR_TEXT 320

enum { DOCTOR_NETWORKS = 8, DOCTOR_LIBRARIES = 96, DOCTOR_MOST_HOSTS_IN_PAIRS = 6 };

/* A rank's machine. Plain data, sent to rank 0 as it is. */
typedef struct {
    uint64_t bytes;   /* of this struct: another build may have another */
    char program[33]; /* digest of the program's file */
    char kernel[DOCTOR_TEXT];
    int cores, allowed; /* of the host; those that this process may use */
    uint64_t memory; /* bytes that can still be had, a container's limit included; 0: not known */
    int networks;
    struct {
        char name[16];
        uint32_t address, mask; /* IPv4, in the host's byte order */
    } network[DOCTOR_NETWORKS]; /* up, without loopback */
    int libraries;
    struct {
        char name[40], file[56]; /* as it is asked for, and as it is called here */
        uint64_t hash;           /* of the file */
    } library[DOCTOR_LIBRARIES]; /* loaded; plug-ins are left out */
} doctor_machine_t;

void doctor_machine(doctor_machine_t *machine);

/* What the run of a configuration would find there. */
typedef struct {
    char store[33]; /* digest; "": this rank needs no store, or has none */
    char store_wrong[DOCTOR_TEXT];
    char folder_wrong[DOCTOR_TEXT];
    uint64_t need; /* bytes that the rank would take */
} doctor_fit_t;

/* servers: of the whole run; role: this rank's number when servers come first; -1: it is all of
 * them. */
void doctor_fit(const hp_config_t *config, int servers, int role, doctor_fit_t *fit);

/* Bytes of one worker's push to all servers. */
hp_status_t doctor_push(const hp_config_t *config, size_t *bytes_p) HP_MUST_CHECK;

/* Between two hosts: the middle of many round trips and the rate of 4 MiB messages; for the clock
 * the peer's time less ours. */
typedef struct {
    bool answered;
    double latency, rate, clock; /* seconds there and back, bytes/s, seconds */
} doctor_link_t;

/* Measure the way to `peer`, which must call doctor_link_serve meanwhile; `number`: of the pair,
 * the same on both, another for each. Give up after `limit` seconds. */
doctor_link_t doctor_link_measure(hp_transport_t *transport, int peer, int number, double limit);
bool doctor_link_serve(hp_transport_t *transport, int peer, int number, double limit);

/* One message, there for at most `limit` seconds; false where it did not go, or was not of that
 * many bytes. What did not end may still use the buffer. */
bool doctor_send(hp_transport_t *transport, int to, uint32_t tag, const void *buffer, size_t bytes,
                 double limit);
bool doctor_receive(hp_transport_t *transport, int from, uint32_t tag, void *buffer, size_t bytes,
                    double limit);

/* ---- rank 0 ---- */

typedef struct {
    FILE *out;
    int wrong; /* lines that say so */
} doctor_report_t;

void doctor_ok(doctor_report_t *report, const char *what, const char *fmt, ...) HP_PRINTF(3, 4);
void doctor_wrong(doctor_report_t *report, const char *what, const char *fmt, ...) HP_PRINTF(3, 4);

typedef struct {
    int ranks, hosts;
    const char *const *host; /* [ranks] */
    const int *first;        /* [hosts]: the first rank of each */
    const doctor_machine_t *machine;
} doctor_cluster_t;

typedef struct {
    int a, b; /* hosts */
    doctor_link_t link;
} doctor_pair_t;

void doctor_check_builds(doctor_report_t *report, const doctor_cluster_t *cluster);
void doctor_check_cores(doctor_report_t *report, const doctor_cluster_t *cluster);
/* included: what MPI was told to use, names or networks with commas; NULL: all. */
void doctor_check_networks(doctor_report_t *report, const doctor_cluster_t *cluster,
                           const char *included);
/* push: bytes of one push, for the message; 0: not known. */
void doctor_check_links(doctor_report_t *report, const doctor_cluster_t *cluster,
                        const doctor_pair_t *pair, int pairs, double push);
/* offset[hosts]: of the hosts' clocks from rank 0's; NAN where not known. */
void doctor_check_clocks(doctor_report_t *report, const doctor_cluster_t *cluster,
                         const double *offset);
/* `folder`: where the run is to be; NULL: no --run. `config` NULL: no configuration. */
void doctor_check_fit(doctor_report_t *report, const doctor_cluster_t *cluster,
                      const doctor_fit_t *fit, const hp_config_t *config, const char *folder);

#endif
