/* hanps plan: what a run would be like on more machines than are at hand. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/plan_report.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/shard_plan.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char usage[] =
    "usage: hanps plan CONFIG --hosts N --bandwidth RATE [OPTION]... [--set KEY=VALUE]...\n\n"
    "How many machines does a run need? For 1, 2, 4, ... and N hosts like this one: the time of a "
    "step,\n"
    "examples/s, what the busiest link carries, the memory of a worker and of a server, what "
    "limits "
    "it first\n"
    "and what would help. Computed from rates that are measured here, in some ten seconds: forward "
    "and\n"
    "backward of CONFIG's model, Adam, messages. The data are those of data.store where it is "
    "there, else\n"
    "as in hanps bench.\n\n"
    "  --hosts N          the most hosts, 1 to 100000\n"
    "  --bandwidth RATE   of a host's link, each way: 10Gbit, 800Mbit, 1.2GB/s\n"
    "  --latency TIME     one way, half of what ping says: 50us, 0.1ms (0.05ms)\n"
    "  --servers S        so many, instead of the number that is fastest\n"
    "  --workers W        so many on N hosts, and only that row; else a worker on each host, or, "
    "where\n"
    "                     cluster.placement is packed or alone, on each without a server\n"
    "  --memory SIZE      of a host: 64GB; else this machine's\n"
    "  --rates FILE       the measured rates: read from FILE where it is there, else written to "
    "it. "
    "Measure\n"
    "                     on a machine of the cluster, plan anywhere\n"
    "  --json FILE        the table as JSON\n"
    "  --set KEY=VALUE    override a key: cluster.wire=bf16, cluster.consistency=sync\n\n"
    "Memory is what hanps allocates, with what a checkpoint keeps while it is written; a process "
    "takes\n"
    "some 0.05 GB more. Hosts are taken to be alike, with nothing else to do, and reading data to "
    "keep up\n"
    "(hanps data bench).\n";

enum { MOST_HOSTS = 100000, MOST_SERVERS = 4096, MOST_RANKS = 1000000 };

typedef struct {
    const char *config, *rates, *json;
    int64_t hosts, servers, workers;   /* 0: not given */
    double bandwidth, latency, memory; /* bandwidth, memory 0: not given */
    int sets;
    char **set; /* [sets] */
} options_t;

static hp_status_t parse_network(int option, options_t *o, hp_error_t *err) {
    static const cli_unit_t rates[] = {{"Gbit", 1e9 / 8}, {"Mbit", 1e6 / 8}, {"kbit", 1e3 / 8},
                                       {"GB/s", 1e9},     {"MB/s", 1e6},     {NULL, 0}};
    static const cli_unit_t times[] = {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {NULL, 0}};
    static const cli_unit_t sizes[] = {{"GB", 1e9}, {"MB", 1e6}, {"TB", 1e12}, {NULL, 0}};
    if (option == 'l') return cli_quantity("--latency", optarg, times, &o->latency, err);
    double *to = option == 'b' ? &o->bandwidth : &o->memory;
    const char *name = option == 'b' ? "--bandwidth" : "--memory";
    HP_TRY(cli_quantity(name, optarg, option == 'b' ? rates : sizes, to, err));
    if (*to > 0) return HP_OK;
    return hp_fail(err, HP_INPUT, "%s %s: more than 0 is needed", name, optarg);
}

static hp_status_t parse(int argc, char **argv, options_t *o, bool *help_p, hp_error_t *err) {
    static const struct option table[] = {{"hosts", required_argument, NULL, 'n'},
                                          {"bandwidth", required_argument, NULL, 'b'},
                                          {"latency", required_argument, NULL, 'l'},
                                          {"servers", required_argument, NULL, 'S'},
                                          {"workers", required_argument, NULL, 'W'},
                                          {"memory", required_argument, NULL, 'm'},
                                          {"rates", required_argument, NULL, 'r'},
                                          {"json", required_argument, NULL, 'j'},
                                          {"set", required_argument, NULL, 's'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    hp_status_t status = HP_OK;
    opterr = 0;
    for (int option;
         status == HP_OK && (option = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        if (option == 'h') *help_p = true;
        if (option == '?') return cli_bad_option(argv, err);
        if (option == 'n') status = cli_whole("--hosts", optarg, 1, MOST_HOSTS, &o->hosts, err);
        if (option == 'S')
            status = cli_whole("--servers", optarg, 1, MOST_SERVERS, &o->servers, err);
        if (option == 'W') status = cli_whole("--workers", optarg, 1, MOST_RANKS, &o->workers, err);
        if (option == 'b' || option == 'l' || option == 'm') status = parse_network(option, o, err);
        if (option == 'r') o->rates = optarg;
        if (option == 'j') o->json = optarg;
        if (option == 's') o->set[o->sets++] = optarg;
    }
    if (status != HP_OK || *help_p) return status;
    HP_TRY(cli_one_operand(argc, argv, "CONFIG", &o->config, err));
    if (o->hosts == 0) return hp_fail(err, HP_INPUT, "--hosts N is missing; see --help");
    if (o->bandwidth == 0) return hp_fail(err, HP_INPUT, "--bandwidth RATE is missing; see --help");
    return HP_OK;
}

/* ---- rows ---- */

/* HP_INPUT: so many servers have no place on so many hosts. */
static hp_status_t lay_out(const options_t *o, const hp_config_t *config, int hosts, int servers,
                           plan_layout_t *layout, hp_error_t *err) {
    const hp_placement_t placement = config->cluster.placement;
    *layout = (plan_layout_t){.placement = placement, .hosts = hosts, .servers = servers};
    layout->workers = (int)o->workers;
    if (o->workers == 0) {
        layout->workers = placement == HP_SPREAD ? hosts : hosts - servers;
        if (hosts == 1) layout->workers = 1;
    }
    return plan_layout_check(layout, err);
}

static int count_chunks(const hp_params_t *params) {
    hp_shard_plan_t plan;
    if (hp_shard_plan_create(params, 1, &plan, NULL) != HP_OK) return 1;
    const int chunks = plan.chunks;
    hp_shard_plan_release(&plan);
    return chunks;
}

/* The number of servers with most examples/s: of several that are within 2 %, the least. */
static hp_status_t choose(const options_t *o, const plan_work_t *work, int hosts,
                          plan_layout_t *layout, hp_error_t *err) {
    enum { WITHIN = 102 };
    plan_layout_t one;
    plan_result_t result, best = {0};
    const int chunks = count_chunks(work->params);
    bool found = false;
    int most = hosts < chunks ? hosts : chunks;
    if (o->servers > 0) return lay_out(o, work->config, hosts, (int)o->servers, layout, err);
    for (int servers = 1; servers <= most; servers += servers < 8 ? 1 : servers / 4) {
        if (lay_out(o, work->config, hosts, servers, &one, err) != HP_OK) continue;
        HP_TRY(plan_predict(work, &one, &result, err));
        if (found && result.examples * 100 < best.examples * WITHIN) continue;
        found = true;
        best = result;
        *layout = one;
    }
    return found ? HP_OK : HP_INPUT;
}

/* What a changed key, or more servers, would give. */
static void try_out(const plan_work_t *work, const plan_layout_t *layout, plan_row_t *row,
                    const char *what) {
    enum { LEAST = 105 };
    plan_result_t result;
    if (plan_predict(work, layout, &result, NULL) != HP_OK) return;
    const double gain = result.examples / row->result.examples;
    if (gain <= row->gain || gain * 100 < LEAST) return;
    row->gain = gain;
    snprintf(row->advice, sizeof row->advice, "%s: %.2f times the examples/s", what, gain);
}

static void advise(const options_t *o, const plan_work_t *work, plan_row_t *row) {
    const hp_config_t *config = work->config;
    char what[64];
    row->gain = 1;
    const bool well = row->speedup > 0.8 * row->layout.workers; /* they still do their work */
    snprintf(row->advice, sizeof row->advice, "%s", well ? "more hosts" : "-");
    if (row->result.cause == PLAN_MEMORY) {
        snprintf(row->advice, sizeof row->advice, "more servers or a smaller data.batch_size");
        return;
    }
    hp_config_t changed = *config;
    plan_work_t other = *work;
    other.config = &changed;
    changed.cluster.wire = HP_BF16;
    if (config->cluster.wire == HP_FP32) try_out(&other, &row->layout, row, "cluster.wire=bf16");
    changed = *config;
    changed.cluster.slots = 2 * config->cluster.slots;
    snprintf(what, sizeof what, "cluster.slots=%d", changed.cluster.slots);
    if (changed.cluster.slots <= 64) try_out(&other, &row->layout, row, what);
    changed = *config;
    changed.cluster.accumulate = 4 * config->cluster.accumulate;
    snprintf(what, sizeof what, "cluster.accumulate=%d", changed.cluster.accumulate);
    if (config->cluster.consistency != HP_SYNC && config->cluster.accumulate < 16)
        try_out(&other, &row->layout, row, what);
    changed = *config;
    plan_layout_t more = row->layout;
    more.servers *= 2;
    snprintf(what, sizeof what, "--servers %d", more.servers);
    if (o->servers > 0 && lay_out(o, config, more.hosts, more.servers, &more, NULL) == HP_OK)
        try_out(&other, &more, row, what);
    changed.data.batch_size = 2 * config->data.batch_size;
    other.rates.forward *= 2;
    other.rates.backward *= 2;
    snprintf(what, sizeof what, "data.batch_size=%d", changed.data.batch_size);
    try_out(&other, &row->layout, row, what);
}

static hp_status_t make_row(const options_t *o, const plan_work_t *work, int hosts,
                            plan_report_t *report, hp_error_t *err) {
    const plan_rates_t *r = &work->rates;
    plan_row_t *row = &report->row[report->rows];
    HP_TRY(choose(o, work, hosts, &row->layout, err));
    HP_TRY(plan_predict(work, &row->layout, &row->result, err));
    row->speedup =
        row->result.examples * (r->forward + r->backward) / work->config->data.batch_size;
    advise(o, work, row);
    report->rows++;
    return HP_OK;
}

/* Hosts that are too few for the servers have no row; the last must have one. */
static hp_status_t make_rows(const options_t *o, const plan_work_t *work, plan_report_t *report,
                             hp_error_t *err) {
    for (int64_t hosts = 1; hosts < o->hosts && o->workers == 0; hosts *= 2) {
        const hp_status_t status = make_row(o, work, (int)hosts, report, err);
        if (status != HP_OK && status != HP_INPUT) return status;
    }
    return make_row(o, work, (int)o->hosts, report, err);
}

/* ---- the command ---- */

static hp_status_t find_rates(const options_t *o, const plan_report_t *report,
                              plan_measured_t *measured, hp_error_t *err) {
    if (report->rates != NULL)
        return plan_rates_read(o->rates, report->config, report->params, measured, err);
    if (o->rates != NULL) HP_TRY(hp_check_place(o->rates, err));
    HP_TRY(plan_measure(report->config, report->shape, report->params, measured, err));
    if (o->rates == NULL) return HP_OK;
    return plan_rates_write(o->rates, report->config, report->params, measured, err);
}

static hp_status_t plan_it(const options_t *o, plan_report_t *report, plan_measured_t *measured,
                           hp_error_t *err) {
    const plan_shape_t *shape = report->shape;
    HP_TRY(find_rates(o, report, measured, err));
    plan_work_t work = {.config = report->config,
                        .params = report->params,
                        .need = measured->need,
                        .final = measured->final,
                        .rates = measured->rates,
                        .bandwidth = o->bandwidth,
                        .latency = o->latency,
                        .worker_bytes = shape->worker_bytes};
    work.rows =
        plan_distinct_words(shape->shape.words, shape->tokens * report->config->data.batch_size);
    if (o->memory > 0) work.rates.memory = o->memory;
    HP_TRY(make_rows(o, &work, report, err));
    plan_print(report);
    return o->json != NULL ? plan_write(report, o->json, err) : HP_OK;
}

static hp_status_t run(const options_t *o, hp_error_t *err) {
    hp_config_t config;
    plan_shape_t shape;
    hp_params_t params = {0};
    plan_measured_t measured = {.need = NULL};
    void *report = NULL;
    hp_config_default(&config);
    HP_TRY(hp_config_load(&config, o->config, err));
    for (int i = 0; i < o->sets; i++) HP_TRY(hp_config_set(&config, o->set[i], err));
    HP_TRY(hp_config_check(&config, err));
    if (o->json != NULL) HP_TRY(hp_check_place(o->json, err));
    HP_TRY(plan_shape(&config, o->config, &shape, err));
    HP_TRY(wk_model_table(&config, &shape.shape, &params, err));
    hp_status_t status = plan_measured_create(&params, &measured, err);
    if (status == HP_OK) status = hp_allocate(&report, 1, sizeof(plan_report_t), "report", err);
    if (report != NULL) {
        plan_report_t *r = report;
        *r = (plan_report_t){.path = o->config,
                             .config = &config,
                             .params = &params,
                             .shape = &shape,
                             .measured = &measured,
                             .bandwidth = o->bandwidth,
                             .latency = o->latency};
        if (o->rates != NULL && access(o->rates, F_OK) == 0) r->rates = o->rates;
        status = plan_it(o, r, &measured, err);
    }
    hp_free(report);
    plan_measured_release(&measured);
    hp_params_release(&params);
    return status;
}

hp_status_t cli_plan(int argc, char **argv, hp_error_t *err) {
    options_t options = {.latency = 0.05e-3};
    bool help = false;
    void *set = NULL;
    HP_TRY(hp_allocate(&set, (size_t)argc, sizeof *options.set, "arguments", err));
    options.set = set;
    hp_status_t status = parse(argc, argv, &options, &help, err);
    if (help) fputs(usage, stdout);
    if (status == HP_OK && !help) status = run(&options, err);
    hp_free(set);
    return status;
}
