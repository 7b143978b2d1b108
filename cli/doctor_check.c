#include "cli/doctor.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_MOST_S   1.0
#define LATENCY_MOST_S 5e-3
#define RATE_LEAST     30e6 /* bytes/s: half a gigabit is twice that */
#define RATE_SHARE     0.25 /* of the fastest pair */
#define MEMORY_SHARE   0.9

static void say(doctor_report_t *report, const char *verdict, const char *what, const char *fmt,
                va_list args) {
    fprintf(report->out, "%-5s %-9s ", verdict, what);
    vfprintf(report->out, fmt, args);
    fputc('\n', report->out);
}

void doctor_ok(doctor_report_t *report, const char *what, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    say(report, "ok", what, fmt, args);
    va_end(args);
}

void doctor_wrong(doctor_report_t *report, const char *what, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    say(report, "WRONG", what, fmt, args);
    va_end(args);
    report->wrong++;
}

/* ---- builds ---- */

static void compare_libraries(doctor_report_t *report, const doctor_cluster_t *c, int h) {
    const doctor_machine_t *one = &c->machine[c->first[0]], *other = &c->machine[c->first[h]];
    for (int i = 0; i < one->libraries; i++)
        for (int k = 0; k < other->libraries; k++)
            if (strcmp(one->library[i].name, other->library[k].name) == 0 &&
                one->library[i].hash != other->library[k].hash)
                doctor_wrong(report, "library",
                             "%s is another on %s (%s) than on %s (%s): install the same version",
                             one->library[i].name, c->host[c->first[h]], other->library[k].file,
                             c->host[c->first[0]], one->library[i].file);
}

void doctor_check_builds(doctor_report_t *report, const doctor_cluster_t *c) {
    const doctor_machine_t *one = &c->machine[0];
    int before = report->wrong;
    for (int r = 1; r < c->ranks; r++)
        if (strcmp(c->machine[r].program, one->program) != 0)
            doctor_wrong(report, "build",
                         "rank %d on %s runs another build of hanps than rank 0 on %s: copy one to "
                         "all hosts",
                         r, c->host[r], c->host[0]);
    for (int h = 1; h < c->hosts; h++) compare_libraries(report, c, h);
    if (report->wrong == before)
        doctor_ok(report, "build", "the same program and %d libraries on all ranks",
                  one->libraries);
    before = report->wrong;
    for (int h = 1; h < c->hosts; h++)
        if (strcmp(c->machine[c->first[h]].kernel, one->kernel) != 0)
            doctor_wrong(report, "kernel",
                         "%s computes with '%s', %s with '%s': runs are not the same bits; one for "
                         "all: deploy/run -x "
                         "OPENBLAS_CORETYPE=Haswell, and -x ONEDNN_MAX_CPU_ISA=AVX2",
                         c->host[c->first[h]], c->machine[c->first[h]].kernel, c->host[0],
                         one->kernel);
    if (report->wrong == before) doctor_ok(report, "kernel", "%s", one->kernel);
}

/* ---- cores ---- */

static int ranks_on(const doctor_cluster_t *c, int h) {
    int n = 0;
    for (int r = 0; r < c->ranks; r++) n += strcmp(c->host[r], c->host[c->first[h]]) == 0;
    return n;
}

void doctor_check_cores(doctor_report_t *report, const doctor_cluster_t *c) {
    int before = report->wrong, least = INT32_MAX;
    for (int h = 0; h < c->hosts; h++) {
        const doctor_machine_t *m = &c->machine[c->first[h]];
        int ranks = ranks_on(c, h);
        if (m->allowed == 1 && m->cores > 1)
            doctor_wrong(report, "cores",
                         "a rank on %s is bound to one of %d cores: start with deploy/run, or "
                         "mpirun --bind-to none",
                         c->host[c->first[h]], m->cores);
        else if (ranks > m->allowed)
            doctor_wrong(report, "cores", "%s has %d cores for %d ranks: give it at most %d slots",
                         c->host[c->first[h]], m->allowed, ranks, m->allowed);
        if (m->allowed < least) least = m->allowed;
    }
    if (report->wrong == before)
        doctor_ok(report, "cores", "%d ranks on %d host%s of %d cores or more", c->ranks, c->hosts,
                  c->hosts > 1 ? "s" : "", least);
}

/* ---- networks ---- */

static void write_address(uint32_t a, char *text, size_t bytes) {
    snprintf(text, bytes, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
}

static int mask_bits(uint32_t mask) {
    int bits = 0;
    for (; mask != 0; mask <<= 1) bits++;
    return bits;
}

/* Is the interface in a list of names and networks (10.1.0.0/16)? */
static bool is_included(const char *list, const char *name, uint32_t address) {
    if (list == NULL) return true;
    while (*list != '\0') {
        size_t n = strcspn(list, ",");
        unsigned a, b, c, d, bits;
        if (n == strlen(name) && strncmp(list, name, n) == 0) return true;
        if (sscanf(list, "%u.%u.%u.%u/%u", &a, &b, &c, &d, &bits) == 5 && bits <= 32) {
            uint32_t mask = bits == 0 ? 0 : UINT32_MAX << (32 - bits),
                     net = a << 24 | b << 16 | c << 8 | d;
            if (((address ^ net) & mask) == 0) return true;
        }
        list += n + (list[n] == ',');
    }
    return false;
}

/* The same address on two hosts, a container bridge's: messages to the one would reach the other.
 */
static bool find_double(const doctor_cluster_t *c, const char *included, doctor_report_t *report) {
    const doctor_machine_t *one = &c->machine[c->first[0]];
    for (int h = 1; h < c->hosts; h++)
        for (int i = 0; i < one->networks; i++)
            for (int k = 0; k < c->machine[c->first[h]].networks; k++) {
                const doctor_machine_t *other = &c->machine[c->first[h]];
                char address[32];
                if (one->network[i].address != other->network[k].address ||
                    !is_included(included, one->network[i].name, one->network[i].address))
                    continue;
                write_address(one->network[i].address, address, sizeof address);
                doctor_wrong(report, "network",
                             "%s is %s on %s and %s on %s: name the network between hosts, "
                             "deploy/run --net CIDR",
                             address, one->network[i].name, c->host[0], other->network[k].name,
                             c->host[c->first[h]]);
                return true;
            }
    return false;
}

void doctor_check_networks(doctor_report_t *report, const doctor_cluster_t *c,
                           const char *included) {
    char text[DOCTOR_TEXT] = "";
    size_t used = 0;
    if (c->hosts == 1) {
        doctor_ok(report, "network", "one host: shared memory");
        return;
    }
    if (find_double(c, included, report)) return;
    for (int h = 0; h < c->hosts; h++) {
        const doctor_machine_t *m = &c->machine[c->first[h]];
        int candidates = 0;
        for (int i = 0; i < m->networks; i++) {
            if (!is_included(included, m->network[i].name, m->network[i].address)) continue;
            candidates++;
            char address[32];
            write_address(m->network[i].address & m->network[i].mask, address, sizeof address);
            if (h == 0 && used < sizeof text)
                used += (size_t)snprintf(text + used, sizeof text - used, "%s%s %s/%d",
                                         used > 0 ? ", " : "", m->network[i].name, address,
                                         mask_bits(m->network[i].mask));
        }
        if (candidates > 0) continue;
        doctor_wrong(
            report, "network",
            "%s has no interface %s%s: name one that all hosts have, deploy/run --net CIDR",
            c->host[c->first[h]], included != NULL ? "in " : "that is up",
            included != NULL ? included : "");
        return;
    }
    doctor_ok(report, "network", "%s%s", text,
              included == NULL && strchr(text, ',') != NULL
                  ? ": MPI uses all of them; --net chooses"
                  : "");
}

/* ---- links ---- */

static double best_rate(const doctor_pair_t *pair, int pairs) {
    double best = 0;
    for (int i = 0; i < pairs; i++)
        if (pair[i].link.answered && pair[i].link.rate > best) best = pair[i].link.rate;
    return best;
}

static bool is_slow(const doctor_pair_t *pair, double best) {
    return pair->link.answered &&
           (pair->link.rate < RATE_LEAST || pair->link.rate < RATE_SHARE * best);
}

/* A host all of whose pairs are slow, where others have fast ones; -1: none. */
static int find_slow_host(const doctor_cluster_t *c, const doctor_pair_t *pair, int pairs,
                          double best) {
    for (int h = 0; h < c->hosts; h++) {
        int slow = 0, fast = 0, elsewhere = 0;
        for (int i = 0; i < pairs; i++) {
            bool own = pair[i].a == h || pair[i].b == h, is = is_slow(&pair[i], best);
            slow += own && is;
            fast += own && !is;
            elsewhere += !own && !is;
        }
        if (slow > 1 && fast == 0 && elsewhere > 0) return h;
    }
    return -1;
}

static void report_link(doctor_report_t *report, const doctor_cluster_t *c, const doctor_pair_t *p,
                        double best, double push) {
    const char *a = c->host[c->first[p->a]], *b = c->host[c->first[p->b]];
    char push_text[64] = "";
    if (push > 0.1 * p->link.rate)
        snprintf(push_text, sizeof push_text, "; a push of %.0f MB takes %.1f s", push / 1e6,
                 push / p->link.rate);
    if (!p->link.answered)
        doctor_wrong(report, "link",
                     "no answer between %s and %s: a firewall, or a network that does not reach "
                     "(deploy/run --net)",
                     a, b);
    else if (is_slow(p, best))
        doctor_wrong(report, "link",
                     "%.0f MB/s between %s and %s, the fastest pair has %.0f%s: look at cable, "
                     "switch and --net",
                     p->link.rate / 1e6, a, b, best / 1e6, push_text);
    else if (p->link.latency > LATENCY_MOST_S)
        doctor_wrong(report, "link",
                     "%.1f ms there and back between %s and %s: hosts far apart; a larger "
                     "data.batch_size waits less often",
                     1e3 * p->link.latency, a, b);
}

void doctor_check_links(doctor_report_t *report, const doctor_cluster_t *c,
                        const doctor_pair_t *pair, int pairs, double push) {
    int before = report->wrong;
    double best = best_rate(pair, pairs), slowest = INFINITY, latest = 0;
    int slow = find_slow_host(c, pair, pairs, best);
    if (slow >= 0) {
        double most = 0;
        for (int i = 0; i < pairs; i++)
            if ((pair[i].a == slow || pair[i].b == slow) && pair[i].link.rate > most)
                most = pair[i].link.rate;
        doctor_wrong(report, "link",
                     "%s has %.0f MB/s to the others at most, the fastest pair has %.0f: look at "
                     "its cable and its port",
                     c->host[c->first[slow]], most / 1e6, best / 1e6);
    }
    for (int i = 0; i < pairs; i++) {
        if (pair[i].a != slow && pair[i].b != slow) report_link(report, c, &pair[i], best, push);
        if (pair[i].link.rate < slowest) slowest = pair[i].link.rate;
        if (pair[i].link.latency > latest) latest = pair[i].link.latency;
    }
    if (report->wrong == before && pairs > 0)
        doctor_ok(report, "link",
                  "%d pair%s of hosts: %.0f MB/s or more, %.2f ms there and back at most", pairs,
                  pairs > 1 ? "s" : "", slowest / 1e6, 1e3 * latest);
}

void doctor_check_clocks(doctor_report_t *report, const doctor_cluster_t *c, const double *offset) {
    int before = report->wrong;
    double most = 0;
    for (int h = 1; h < c->hosts; h++) {
        if (isnan(offset[h])) continue;
        if (fabs(offset[h]) > most) most = fabs(offset[h]);
        if (fabs(offset[h]) > CLOCK_MOST_S)
            doctor_wrong(report, "clock", "%s is %.1f s %s %s: start a time service (chrony) on it",
                         c->host[c->first[h]], fabs(offset[h]),
                         offset[h] > 0 ? "ahead of" : "behind", c->host[0]);
    }
    if (report->wrong == before && c->hosts > 1)
        doctor_ok(report, "clock", "%.1f ms apart at most", 1e3 * most);
}

/* ---- what a run needs ---- */

static void check_memory(doctor_report_t *report, const doctor_cluster_t *c,
                         const doctor_fit_t *fit) {
    int before = report->wrong;
    double most = 0;
    for (int h = 0; h < c->hosts; h++) {
        double need = 0, has = (double)c->machine[c->first[h]].memory;
        for (int r = 0; r < c->ranks; r++)
            if (strcmp(c->host[r], c->host[c->first[h]]) == 0) need += (double)fit[r].need;
        if (has > 0 && need > MEMORY_SHARE * has)
            doctor_wrong(report, "memory",
                         "%s has %.1f GB for ranks that need %.1f GB: fewer ranks there, more "
                         "servers, or a smaller data.batch_size",
                         c->host[c->first[h]], has / 1e9, need / 1e9);
        if (need > most) most = need;
    }
    if (report->wrong == before)
        doctor_ok(report, "memory", "a host's ranks need %.2f GB at most", most / 1e9);
}

/* Ranks of one host find the same fault: its first one says so. */
static bool is_said(const doctor_cluster_t *c, const doctor_fit_t *fit, int rank) {
    for (int r = 0; r < rank; r++)
        if (strcmp(c->host[r], c->host[rank]) == 0 && strcmp(fit[r].store, fit[rank].store) == 0 &&
            strcmp(fit[r].store_wrong, fit[rank].store_wrong) == 0 &&
            strcmp(fit[r].folder_wrong, fit[rank].folder_wrong) == 0)
            return true;
    return false;
}

void doctor_check_fit(doctor_report_t *report, const doctor_cluster_t *c, const doctor_fit_t *fit,
                      const hp_config_t *config, const char *folder) {
    int before = report->wrong;
    for (int r = 0; config != NULL && r < c->ranks; r++) {
        if (is_said(c, fit, r)) continue;
        if (fit[r].store_wrong[0] != '\0')
            doctor_wrong(report, "store", "rank %d on %s: %s", r, c->host[r], fit[r].store_wrong);
        else if (fit[r].store[0] != '\0' && fit[0].store[0] != '\0' &&
                 strcmp(fit[r].store, fit[0].store) != 0)
            doctor_wrong(report, "store",
                         "'%s' on %s is not the one that %s has: copy it again (deploy/stage)",
                         config->data.store, c->host[r], c->host[0]);
    }
    if (config != NULL && report->wrong == before)
        doctor_ok(report, "store", "%s, the same on all", fit[0].store);
    if (config != NULL && report->wrong == before) check_memory(report, c, fit);
    before = report->wrong;
    for (int r = 0; folder != NULL && r < c->ranks; r++)
        if (fit[r].folder_wrong[0] != '\0' && !is_said(c, fit, r))
            doctor_wrong(report, "folder", "rank %d on %s: %s", r, c->host[r], fit[r].folder_wrong);
    if (folder != NULL && report->wrong == before)
        doctor_ok(report, "folder", "%s is seen and written by all", folder);
}
