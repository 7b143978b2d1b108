#include "cli/doctor.h"
#include "cli/arguments.h"
#include "cli/command.h"
#include "common/clock.h"
#include "common/memory.h"
#include "common/placement.h"
#include "common/run_folder.h"

#include <getopt.h>
#include <libgen.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "usage: deploy/run --doctor -n RANKS [LAUNCHER'S OPTION]... [CONFIG] [--run RUN]\n"
    "       hanps doctor [CONFIG] [--run RUN] [--servers S] [--placement P] [--set "
    "KEY=VALUE]...\n\n"
    "Look at a cluster before a night is lost on it: the same build, libraries and CPU kernels on "
    "every\n"
    "rank, cores for the ranks, networks, bandwidth and latency between hosts, clocks; with --run "
    "RUN\n"
    "the shared folder; with CONFIG the store on every host and the memory that the run will need. "
    "A line\n"
    "for each thing; WRONG begins those that are wrong, and they end with what to do.\n\n"
    "  --run RUN        where the run is to be; nothing is left there\n"
    "  --servers S, --placement P, --set KEY=VALUE   as hanps train takes them\n"
    "  --limit SECONDS  how long a rank may take to answer (30)\n\n"
    "Exit status: 0 all well, 2 wrong input, 3 something is wrong.\n";

#define LINK_LIMIT_S 15.0

enum { TAG_MACHINE = 0x100, TAG_FIT, TAG_TASK, TAG_TASK_DONE };

typedef struct {
    const char *config, *run, *placement;
    int servers, sets;
    const char **set;
    double limit;
} doctor_args_t;

/* What rank 0 tells all after their first answer. Plain data. */
typedef struct {
    bool go_on, has_config;
    int servers;
    hp_config_t config;
    uint64_t token;           /* in `folder` */
    char folder[HP_RUN_PATH]; /* "": no --run */
} doctor_plan_t;

typedef enum { TASK_END, TASK_MEASURE, TASK_SERVE } task_kind_t;

typedef struct {
    task_kind_t kind;
    int peer, number;
} task_t;

typedef struct {
    hp_transport_t *transport;
    doctor_args_t args;
    doctor_plan_t plan;
    int ranks, hosts;
    const char **host;         /* [ranks] */
    int *first, *order;        /* [ranks] */
    doctor_machine_t *machine; /* [ranks] */
    doctor_fit_t *fit;         /* [ranks] */
    bool lost; /* a rank did not answer: nothing that it may still write to is released */
} doctor_t;

static hp_status_t take_limit(const cli_option_t *option, char *text, hp_error_t *err) {
    char *end = NULL;
    double limit = strtod(text, &end);
    if (end == text || *end != '\0' || !(limit >= 1 && limit <= 3600))
        return hp_fail(err, HP_INPUT, "--limit %s: 1 to 3600 seconds are allowed", text);
    *(double *)option->to.any = limit;
    return HP_OK;
}

static hp_status_t parse(int argc, char **argv, doctor_args_t *args, bool *help_p,
                         hp_error_t *err) {
    const cli_option_t options[] = {CLI_TEXT("run", &args->run),
                                    CLI_NUMBER("servers", &args->servers, 1, 4096),
                                    CLI_TEXT("placement", &args->placement),
                                    CLI_LIST("set", args->set, &args->sets, 0),
                                    CLI_OTHER("limit", take_limit, &args->limit),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, help_p, err));
    if (*help_p) return HP_OK;
    if (argc - optind > 1)
        return hp_fail(err, HP_INPUT, "%s: one CONFIG is allowed", argv[optind + 1]);
    if (optind < argc) args->config = argv[optind];
    return HP_OK;
}

/* ---- what rank 0 prepares ---- */

static hp_status_t read_config(doctor_t *d, hp_error_t *err) {
    const doctor_args_t *args = &d->args;
    hp_config_t *config = &d->plan.config;
    hp_config_default(config);
    if (args->config != NULL) HP_TRY(hp_config_load(config, args->config, err));
    for (int i = 0; i < args->sets; i++) HP_TRY(hp_config_set(config, args->set[i], err));
    if (args->servers > 0) config->cluster.servers = args->servers;
    if (args->placement != NULL) {
        char assignment[64];
        snprintf(assignment, sizeof assignment, "cluster.placement=%s", args->placement);
        HP_TRY(hp_config_set(config, assignment, err));
    }
    HP_TRY(hp_config_check(config, err));
    d->plan.has_config = args->config != NULL;
    d->plan.servers = d->ranks == 1 ? 1 : config->cluster.servers;
    if (d->ranks > 1 && d->plan.servers >= d->ranks)
        return hp_fail(
            err, HP_INPUT,
            "cluster.servers: %d servers leave no worker among %d ranks; allowed: 1 to %d",
            d->plan.servers, d->ranks, d->ranks - 1);
    return HP_OK;
}

/* RUN where it is, else the nearest folder above that is. A token is left in it for the others. */
static hp_status_t choose_folder(doctor_t *d, hp_error_t *err) {
    struct stat st;
    char *folder = d->plan.folder;
    if (d->args.run == NULL) return HP_OK;
    if (strlen(d->args.run) >= sizeof d->plan.folder)
        return hp_fail(err, HP_INPUT, "--run: the name is too long");
    memcpy(folder, d->args.run, strlen(d->args.run) + 1);
    while (stat(folder, &st) != 0 && strcmp(folder, "/") != 0 && strcmp(folder, ".") != 0) {
        char copy[HP_RUN_PATH];
        memcpy(copy, folder, sizeof copy);
        const char *above = dirname(copy);
        memmove(folder, above, strlen(above) + 1);
    }
    if (getrandom(&d->plan.token, sizeof d->plan.token, 0) != (ssize_t)sizeof d->plan.token)
        d->plan.token = 1;
    return hp_run_probe_leave(folder, d->plan.token, err);
}

static hp_status_t find_roles(doctor_t *d, hp_error_t *err) {
    d->order[0] = 0;
    return d->ranks == 1 ? HP_OK
                         : hp_placement_order(d->plan.config.cluster.placement, d->ranks, d->host,
                                              d->plan.servers, d->order, err);
}

/* ---- every rank ---- */

static void look(doctor_t *d, doctor_fit_t *fit) {
    int self = hp_transport_rank(d->transport), role = -1;
    hp_error_t err;
    for (int r = 0; d->ranks > 1 && r < d->ranks; r++)
        if (d->order[r] == self) role = r;
    memset(fit, 0, sizeof *fit);
    if (d->plan.has_config) doctor_fit(&d->plan.config, d->plan.servers, role, fit);
    if (d->plan.folder[0] == '\0') return;
    if (hp_run_probe_find(d->plan.folder, d->plan.token, &err) != HP_OK)
        snprintf(fit->folder_wrong, sizeof fit->folder_wrong, "%.*s", DOCTOR_TEXT - 1, err.text);
    else if (access(d->plan.folder, W_OK) != 0)
        snprintf(fit->folder_wrong, sizeof fit->folder_wrong, "%.200s cannot be written to",
                 d->plan.folder);
}

static bool do_task(doctor_t *d, const task_t *task, doctor_link_t *link) {
    const double limit = d->args.limit < LINK_LIMIT_S ? d->args.limit : LINK_LIMIT_S;
    memset(link, 0, sizeof *link);
    if (task->kind == TASK_SERVE)
        link->answered = doctor_link_serve(d->transport, task->peer, task->number, limit);
    if (task->kind == TASK_MEASURE)
        *link = doctor_link_measure(d->transport, task->peer, task->number, limit);
    return link->answered;
}

/* Answers, and does what rank 0 asks until it says that all is done. */
static hp_status_t follow(doctor_t *d, hp_error_t *err) {
    hp_transport_t *t = d->transport;
    doctor_machine(d->machine);
    void *plan = NULL;
    size_t bytes = 0;
    hp_error_t why;
    if (!doctor_send(t, 0, TAG_MACHINE, d->machine, sizeof *d->machine, d->args.limit) ||
        hp_transport_share(t, &plan, &bytes, &why) != HP_OK || bytes != sizeof d->plan) {
        d->lost = true;
        return HP_PEER; /* rank 0 says what is wrong */
    }
    memcpy(&d->plan, plan, sizeof d->plan);
    hp_free(plan);
    if (!d->plan.go_on || find_roles(d, &why) != HP_OK) return HP_OK;
    look(d, d->fit);
    d->lost = !doctor_send(t, 0, TAG_FIT, d->fit, sizeof *d->fit, d->args.limit);
    while (!d->lost) {
        task_t task;
        doctor_link_t link;
        /* Rank 0 may be busy with many pairs of others. */
        if (!doctor_receive(t, 0, TAG_TASK, &task, sizeof task, 100 * d->args.limit))
            d->lost = true;
        if (d->lost || task.kind == TASK_END) break;
        do_task(d, &task, &link);
        if (hp_transport_send(t, 0, TAG_TASK_DONE, &link, sizeof link, NULL, NULL, err) != HP_OK)
            d->lost = true;
    }
    return HP_OK;
}

/* ---- rank 0 leads ---- */

static bool gather(doctor_t *d, uint32_t tag, void *all, size_t bytes, double limit,
                   doctor_report_t *report) {
    const double until = hp_clock() + limit;
    for (int r = 1; r < d->ranks; r++) {
        double left = until - hp_clock();
        if (doctor_receive(d->transport, r, tag, (char *)all + (size_t)r * bytes, bytes,
                           left > 0.1 ? left : 0.1))
            continue;
        d->lost = true;
        doctor_wrong(
            report, "ranks",
            "rank %d on %s gave no answer in %.0f s, or is of another build: look at that process",
            r, d->host[r], limit);
    }
    return !d->lost;
}

/* Measure between the first ranks of two hosts. */
static doctor_link_t measure_pair(doctor_t *d, int a, int b, int number) {
    const task_t serve = {TASK_SERVE, d->first[a], number},
                 measure = {TASK_MEASURE, d->first[b], number};
    doctor_link_t link = {.answered = false}, served;
    hp_transport_t *t = d->transport;
    bool sent = hp_transport_send(t, d->first[b], TAG_TASK, &serve, sizeof serve, NULL, NULL,
                                  NULL) == HP_OK;
    if (d->first[a] == 0) {
        do_task(d, &measure, &link);
    } else {
        sent = sent && hp_transport_send(t, d->first[a], TAG_TASK, &measure, sizeof measure, NULL,
                                         NULL, NULL) == HP_OK;
        if (!sent ||
            !doctor_receive(t, d->first[a], TAG_TASK_DONE, &link, sizeof link, 2 * LINK_LIMIT_S))
            link.answered = false;
    }
    if (!doctor_receive(t, d->first[b], TAG_TASK_DONE, &served, sizeof served, 2 * LINK_LIMIT_S))
        link.answered = false;
    if (!link.answered) d->lost = true;
    return link;
}

/* All pairs of few hosts; of many, the first with each and each with the next. */
static hp_status_t measure_links(doctor_t *d, doctor_pair_t **pair_p, int *pairs_p, double *offset,
                                 hp_error_t *err) {
    void *p = NULL;
    int most =
            d->hosts <= DOCTOR_MOST_HOSTS_IN_PAIRS ? d->hosts * (d->hosts - 1) / 2 : 2 * d->hosts,
        n = 0;
    HP_TRY(hp_allocate(&p, (size_t)most + 1, sizeof(doctor_pair_t), "pairs of hosts", err));
    doctor_pair_t *pair = p;
    for (int a = 0; a < d->hosts; a++)
        for (int b = a + 1; b < d->hosts; b++) {
            if (a > 0 && b > a + 1 && d->hosts > DOCTOR_MOST_HOSTS_IN_PAIRS) break;
            pair[n] = (doctor_pair_t){a, b, measure_pair(d, a, b, n)};
            if (a == 0) offset[b] = pair[n].link.answered ? pair[n].link.clock : NAN;
            n++;
        }
    *pair_p = pair;
    *pairs_p = n;
    return HP_OK;
}

/* Bytes of a push, where the store tells what the model is. */
static double push_bytes(const doctor_t *d) {
    size_t bytes = 0;
    if (!d->plan.has_config || doctor_push(&d->plan.config, &bytes) != HP_OK) return 0;
    return (double)bytes;
}

static void end_all(doctor_t *d) {
    const task_t end = {TASK_END, 0, 0};
    for (int r = 1; r < d->ranks; r++)
        if (hp_transport_send(d->transport, r, TAG_TASK, &end, sizeof end, NULL, NULL, NULL) !=
            HP_OK)
            d->lost = true;
}

static hp_status_t examine(doctor_t *d, const doctor_cluster_t *cluster, doctor_report_t *report,
                           hp_error_t *err) {
    doctor_pair_t *pair = NULL;
    int pairs = 0;
    void *p = NULL;
    look(d, &d->fit[0]);
    if (!gather(d, TAG_FIT, d->fit, sizeof *d->fit, d->args.limit + 10, report)) return HP_OK;
    HP_TRY(hp_allocate(&p, (size_t)d->hosts, sizeof(double), "clocks", err));
    double *offset = p;
    hp_status_t status = measure_links(d, &pair, &pairs, offset, err);
    end_all(d);
    if (status == HP_OK) {
        doctor_check_links(report, cluster, pair, pairs, push_bytes(d));
        doctor_check_clocks(report, cluster, offset);
        doctor_check_fit(report, cluster, d->fit, d->plan.has_config ? &d->plan.config : NULL,
                         d->plan.folder[0] != '\0' ? d->plan.folder : NULL);
    }
    hp_free(pair);
    hp_free(offset);
    return status;
}

/* Whether all are of one build, so that the ranks understand one another. */
static bool check_machines(doctor_report_t *report, const doctor_cluster_t *cluster) {
    doctor_check_builds(report, cluster);
    doctor_check_cores(report, cluster);
    doctor_check_networks(report, cluster, getenv("OMPI_MCA_btl_tcp_if_include"));
    for (int r = 1; r < cluster->ranks; r++)
        if (strcmp(cluster->machine[r].program, cluster->machine[0].program) != 0) return false;
    return true;
}

static hp_status_t lead(doctor_t *d, hp_error_t *err) {
    doctor_report_t report = {.out = stdout};
    const doctor_cluster_t cluster = {d->ranks, d->hosts, d->host, d->first, d->machine};
    void *plan = &d->plan;
    size_t bytes = sizeof d->plan;
    hp_error_t why;
    hp_status_t status = read_config(d, err);
    doctor_machine(&d->machine[0]);
    if (gather(d, TAG_MACHINE, d->machine, sizeof *d->machine, d->args.limit, &report)) {
        if (status == HP_OK) d->plan.go_on = check_machines(&report, &cluster);
        if (status == HP_OK) status = choose_folder(d, err);
        if (status == HP_OK) status = find_roles(d, err);
        if (status != HP_OK) d->plan.go_on = false;
        if (d->ranks > 1 && hp_transport_share(d->transport, &plan, &bytes, &why) != HP_OK)
            d->lost = true;
        if (d->plan.go_on && !d->lost) status = examine(d, &cluster, &report, err);
        if (d->plan.folder[0] != '\0') hp_run_probe_remove(d->plan.folder, d->plan.token);
    }
    HP_TRY(status);
    fflush(stdout);
    if (report.wrong == 0) return HP_OK;
    return hp_fail(err, HP_PEER, "%d line%s above %s WRONG", report.wrong,
                   report.wrong > 1 ? "s" : "", report.wrong > 1 ? "say" : "says");
}

static hp_status_t allocate(doctor_t *d, hp_error_t *err) {
    void *p = NULL;
    size_t n = (size_t)d->ranks;
    HP_TRY(hp_allocate(&p, n, sizeof *d->host, "host names", err));
    d->host = p;
    HP_TRY(hp_allocate(&p, n, sizeof *d->first, "hosts", err));
    d->first = p;
    HP_TRY(hp_allocate(&p, n, sizeof *d->order, "ranks", err));
    d->order = p;
    HP_TRY(hp_allocate(&p, n, sizeof *d->machine, "machines", err));
    d->machine = p;
    HP_TRY(hp_allocate(&p, n, sizeof *d->fit, "needs", err));
    d->fit = p;
    for (int r = 0; r < d->ranks; r++) {
        int h = 0;
        d->host[r] = hp_transport_peer_host(d->transport, r);
        while (h < d->hosts && strcmp(d->host[d->first[h]], d->host[r]) != 0) h++;
        if (h == d->hosts) d->first[d->hosts++] = r;
    }
    return HP_OK;
}

static void release(doctor_t *d) {
    hp_free(d->host);
    hp_free(d->first);
    hp_free(d->order);
    hp_free(d->machine);
    hp_free(d->fit);
}

/* Arguments are the same on every rank: all refuse them alike, and rank 0 alone says why. */
static hp_status_t run(doctor_t *d, int argc, char **argv, hp_error_t *err) {
    bool help = false, first = hp_transport_rank(d->transport) == 0;
    hp_status_t status = parse(argc, argv, &d->args, &help, err);
    if (help && first) fputs(usage, stdout);
    if (status == HP_OK && !help) status = allocate(d, err);
    if (status != HP_OK && !first) err->text[0] = '\0';
    if (status != HP_OK || help) return status;
    return first ? lead(d, err) : follow(d, err);
}

hp_status_t cli_doctor(int argc, char **argv, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(doctor_t), "doctor", err));
    doctor_t *d = p;
    d->args.limit = 30;
    hp_status_t status = hp_allocate(&p, (size_t)argc, sizeof *d->args.set, "arguments", err);
    d->args.set = p;
    if (status == HP_OK)
        status = hp_transport_launched() ? hp_transport_mpi(&d->transport, err)
                                         : hp_transport_loopback(1, &d->transport, err);
    if (status != HP_OK) return status;
    d->ranks = hp_transport_size(d->transport);
    status = run(d, argc, argv, err);
    if (status != HP_OK && err->text[0] != '\0') fprintf(stderr, "hanps doctor: %s\n", err->text);
    err->told = true;
    hp_transport_close(d->transport, !d->lost);
    if (d->lost) return status;
    hp_free(d->args.set);
    release(d);
    hp_free(d);
    return status;
}
