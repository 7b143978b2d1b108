#include "cli/bench_server.h"

#include "cli/bench_machine.h"
#include "cli/bench_run.h"
#include "common/clock.h"
#include "common/memory.h"
#include "ps/server.h"
#include "worker/client.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

enum { MOST_UPDATES = 10000, SPARSE_ROWS = 500 };

typedef struct {
    hp_transport_t *transport;
    const hp_config_t *config;
    const hp_params_t *params;
    const char *folder;
    hp_log_t *log;
    ps_outcome_t outcome;
    hp_status_t status;
    hp_error_t err;
} server_t;

static void *serve(void *context) {
    server_t *s = context;
    const ps_server_options_t options = {.transport = s->transport,
                                         .config = s->config,
                                         .params = s->params,
                                         .servers = 1,
                                         .workers = 1,
                                         .run = s->folder,
                                         .config_yaml = "",
                                         .epoch_examples = 1,
                                         .log = s->log};
    s->status = ps_server_run(&options, &s->outcome, &s->err);
    return NULL;
}

/* What the worker finds. */
typedef struct {
    double seconds; /* of all updates */
    double pull_s;  /* median of a unit */
    uint64_t bytes;
    double idle_share;
} found_t;

static double cpu_seconds(void) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
}

static void rest(double seconds, double *share_p) {
    double begin = hp_clock(), before = cpu_seconds();
    const struct timespec pause = {.tv_sec = (time_t)seconds,
                                   .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&pause, NULL);
    *share_p = (cpu_seconds() - before) / (hp_clock() - begin);
}

/* Pull, and push zeros. */
static hp_status_t one_unit(wk_client_t *client, const hp_params_t *params, const wk_unit_t *unit,
                            double *pull_s, hp_error_t *err) {
    const float *weights;
    float *grads;
    int32_t row[SPARSE_ROWS];
    double begin = hp_clock();
    HP_TRY(wk_client_begin(client, unit, &weights, &grads, err));
    for (int p = 0; p < params->count; p++) HP_TRY(wk_client_need(client, p, err));
    *pull_s = hp_clock() - begin;
    for (int p = params->count - 1; p >= 0; p--) {
        const hp_param_t *param = &params->param[p];
        int rows = param->shape[0] < SPARSE_ROWS ? (int)param->shape[0] : SPARSE_ROWS;
        for (int i = 0; i < rows; i++) row[i] = i;
        if (param->sparse_rows) HP_TRY(wk_client_sparse_rows(client, p, rows, row, err));
        HP_TRY(wk_client_final(client, p, err));
    }
    return wk_client_commit(client, 1, err);
}

static hp_status_t all_units(wk_client_t *client, const server_t *s, found_t *found,
                             hp_error_t *err) {
    double pull[MOST_UPDATES], begin = -1, end = -1;
    int n = 0;
    wk_client_stats_t stats;
    for (wk_unit_t unit;;) {
        HP_TRY(wk_client_next_unit(client, &unit, err));
        if (unit.last) break;
        if (n == 1) { /* the first one warms up */
            begin = hp_clock();
            wk_client_take_stats(client, &stats);
        }
        double *at = &pull[n < MOST_UPDATES ? n : MOST_UPDATES - 1];
        hp_status_t status = one_unit(client, s->params, &unit, at, err);
        if (status == HP_INTERRUPTED) continue;
        HP_TRY(status);
        n++;
        end = hp_clock();
    }
    wk_client_take_stats(client, &stats);
    if (n < 2) return hp_fail(err, HP_INTERNAL, "%d units are too few to measure", n);
    found->seconds = (end - begin) / (n - 1);
    found->bytes = (stats.pushed_bytes + stats.pulled_bytes) / (uint64_t)(n - 1);
    found->pull_s = cli_bench_median((n < MOST_UPDATES ? n : MOST_UPDATES) - 1, pull + 1);
    return HP_OK;
}

static hp_status_t work(hp_transport_t *transport, const server_t *s, double idle_s, found_t *found,
                        hp_error_t *err) {
    wk_client_t *client = NULL;
    HP_TRY(wk_client_open(transport, s->config, s->params, &client, err));
    if (idle_s > 0) rest(idle_s, &found->idle_share);
    hp_status_t status = all_units(client, s, found, err);
    hp_error_t closing;
    hp_status_t closed = wk_client_close(client, NULL, NULL, &closing);
    if (status == HP_OK && closed != HP_OK) *err = closing;
    return status == HP_OK ? closed : status;
}

static hp_status_t run(server_t *s, double idle_s, found_t *found, hp_error_t *err) {
    hp_transport_t *endpoint[2] = {NULL, NULL};
    pthread_t thread;
    HP_TRY(hp_transport_loopback(2, endpoint, err));
    s->transport = endpoint[0];
    hp_status_t status = HP_OK;
    if (pthread_create(&thread, NULL, serve, s) != 0) {
        status = hp_fail(err, HP_MEMORY, "cannot start the server's thread");
    } else {
        status = work(endpoint[1], s, idle_s, found, err);
        pthread_join(thread, NULL);
        /* Where the worker only heard of it, the server's own words. */
        if (s->status != HP_OK && (status == HP_OK || err->told)) {
            status = s->status;
            *err = s->err;
        }
    }
    for (int i = 0; i < 2; i++) hp_transport_close(endpoint[i], status == HP_OK);
    return status;
}

/* One chunk of 64 KiB. */
static hp_status_t small_table(hp_params_t *params, hp_error_t *err) {
    const int64_t shape[2] = {128, 128};
    return hp_params_add(params, "weight", 2, shape, HP_PARAM_WEIGHT, HP_INIT_NORMAL, 0.1, false,
                         NULL, err);
}

static hp_status_t measure(const hp_config_t *base, const wk_model_shape_t *shape,
                           const char *folder, hp_log_t *log, int updates, double idle_s,
                           cli_bench_server_t *out, hp_error_t *err) {
    hp_config_t config = *base;
    hp_params_t large = {0}, small = {0};
    found_t of_large = {0}, of_small = {0};
    config.run.steps = (updates < MOST_UPDATES ? updates : MOST_UPDATES) + 1;
    config.cluster.servers = 1;
    config.cluster.spares = 0;
    config.checkpoint.every_steps = 0;
    config.checkpoint.every_minutes = 0;
    config.valid.every_steps = 0;
    /* A schedule is for the run's own number of steps, and a rate is as fast as another. */
    config.optimizer.schedule.kind = HP_SCHEDULE_CONSTANT;
    config.optimizer.schedule.milestones.count = 0;
    config.optimizer.schedule.warmup_from = config.optimizer.schedule.warmup_every = 0;
    HP_TRY(wk_model_table(&config, shape, &large, err));
    server_t s = {.config = &config, .params = &large, .folder = folder, .log = log};
    hp_status_t status = run(&s, 0, &of_large, err);
    if (status == HP_OK) status = small_table(&small, err);
    s.params = &small;
    if (status == HP_OK) status = run(&s, idle_s, &of_small, err);
    if (status == HP_OK)
        *out = (cli_bench_server_t){.parameters = large.total,
                                    .updates_per_s = 1 / of_large.seconds,
                                    .bytes_per_s = (double)of_large.bytes / of_large.seconds,
                                    .small_pull_s = of_small.pull_s,
                                    .idle_share = of_small.idle_share};
    hp_params_release(&large);
    hp_params_release(&small);
    return status;
}

hp_status_t cli_bench_server(const hp_config_t *config, const wk_model_shape_t *shape, int updates,
                             double idle_s, cli_bench_server_t *out, hp_error_t *err) {
    char folder[CLI_BENCH_FOLDER], log[CLI_BENCH_FOLDER + 8];
    hp_log_t *lines = NULL;
    HP_TRY(cli_bench_folder(folder, err));
    snprintf(log, sizeof log, "%s/log", folder);
    hp_status_t status = hp_log_open("bench", HP_LOG_WARN, &lines, err);
    if (status == HP_OK && mkdir(log, 0777) != 0) status = hp_fail_errno(err, HP_IO, "%s", log);
    if (status == HP_OK) status = measure(config, shape, folder, lines, updates, idle_s, out, err);
    hp_log_close(lines);
    cli_bench_folder_remove(folder);
    return status;
}
