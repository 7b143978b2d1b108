#include "cli/bench_machine.h"
#include "cli/bench_server.h"
#include "cli/plan_rates.h"
#include "common/clock.h"
#include "common/cores.h"
#include "common/gemm.h"
#include "common/memory.h"
#include "ps/applier.h"
#include "worker/bench.h"

#include <arpa/inet.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { STEPS = 5, UPDATES = 5, PIECE = 1 << 18, COPY = 1 << 28 };
#define STEPS_S    15.0 /* no step is begun after so long, once there are three */
#define MESSAGES_S 0.3

hp_status_t plan_measured_create(const hp_params_t *params, plan_measured_t *m, hp_error_t *err) {
    void *p = NULL;
    *m = (plan_measured_t){.need = NULL};
    HP_TRY(hp_allocate(&p, 2 * (size_t)params->count, sizeof(double), "rates", err));
    m->need = p;
    m->final = m->need + params->count;
    return HP_OK;
}

void plan_measured_release(plan_measured_t *m) {
    hp_free(m->need);
    m->need = m->final = NULL;
}

/* ---- a worker's step ---- */

static double share_of(double seconds, double all) {
    const double share = seconds / all;
    return share < 0 ? 0 : share > 1 ? 1 : share;
}

static hp_status_t run_steps(wk_bench_t *bench, const hp_params_t *params, plan_measured_t *m,
                             hp_error_t *err) {
    double forward[STEPS], backward[STEPS];
    wk_bench_step_t step;
    int n = 0;
    const double begin = hp_clock();
    HP_TRY(wk_bench_step(bench, &step, err)); /* warms up */
    while (n < STEPS && (n < 3 || hp_clock() - begin < STEPS_S)) {
        HP_TRY(wk_bench_step(bench, &step, err));
        forward[n] = step.forward_s;
        backward[n++] = step.backward_s;
    }
    for (int i = 0; i < params->count; i++) {
        m->need[i] = share_of(wk_bench_need(bench)[i], step.forward_s);
        m->final[i] = share_of(wk_bench_final(bench)[i], step.backward_s);
    }
    m->rates.forward = cli_bench_median(n, forward);
    m->rates.backward = cli_bench_median(n, backward);
    return HP_OK;
}

static hp_status_t measure_step(const hp_config_t *config, const plan_shape_t *shape,
                                const hp_params_t *params, plan_measured_t *m, hp_error_t *err) {
    const wk_bench_plan_t plan = {.shape = shape->shape,
                                  .questions = config->data.batch_size,
                                  .questions_per_image = shape->questions_per_image,
                                  .tokens = (int)(shape->tokens + 0.5),
                                  .selection = WK_BENCH_OWN};
    wk_bench_t *bench = NULL;
    HP_TRY(wk_bench_create(config, &plan, &bench, err));
    hp_status_t status = run_steps(bench, params, m, err);
    wk_bench_destroy(bench);
    return status;
}

/* ---- a server's jobs ---- */

typedef struct {
    ps_shard_t *shard;
    ps_applier_t *applier;
    void **part; /* [chunks] a push */
} server_t;

static hp_status_t run_job(const server_t *s, const ps_job_t *job, double *seconds_p,
                           hp_error_t *err) {
    const struct timespec nap = {.tv_nsec = 200000};
    const double before = ps_applier_seconds(s->applier);
    ps_job_t done;
    HP_TRY(ps_applier_give(s->applier, job, err));
    while (!ps_applier_take(s->applier, &done)) nanosleep(&nap, NULL);
    if (done.status != HP_OK && err != NULL) *err = done.err;
    *seconds_p = ps_applier_seconds(s->applier) - before;
    return done.status;
}

/* Some updates, and some pushes added to a sum; the first of each warms up. */
static hp_status_t run_jobs(const server_t *s, double *update_p, double *fold_p, hp_error_t *err) {
    double update[UPDATES], fold[UPDATES];
    for (int i = -1; i < UPDATES; i++) {
        const ps_job_t first = {.part = s->part, .first = true, .weight = 1};
        const ps_job_t more = {.part = s->part, .weight = 1};
        const ps_job_t step = {.update = true, .how = {.scale = 1, .rate = 1e-4, .units = 2}};
        const int at = i < 0 ? 0 : i;
        double ignored;
        HP_TRY(run_job(s, &first, &ignored, err));
        HP_TRY(run_job(s, &more, &fold[at], err));
        HP_TRY(run_job(s, &step, &update[at], err));
    }
    *update_p = cli_bench_median(UPDATES, update);
    *fold_p = cli_bench_median(UPDATES, fold);
    return HP_OK;
}

/* A push of zeros: without rows of sparse chunks, which are few. */
static hp_status_t create_push(server_t *s, hp_error_t *err) {
    const int chunks = ps_shard_chunks(s->shard);
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)chunks, sizeof *s->part, "a push", err));
    s->part = p;
    for (int i = 0; i < chunks; i++) {
        const hp_chunk_t *chunk = ps_shard_chunk(s->shard, i);
        HP_TRY(hp_allocate(&s->part[i], hp_chunk_push_bytes(chunk, 0), 1, "a push", err));
    }
    return HP_OK;
}

static void destroy_push(server_t *s) {
    for (int i = 0; s->part != NULL && i < ps_shard_chunks(s->shard); i++) hp_free(s->part[i]);
    hp_free(s->part);
}

static hp_status_t measure_threads(const hp_config_t *config, ps_shard_t *shard,
                                   hp_transport_t *transport, int64_t numbers, plan_rates_t *rates,
                                   hp_error_t *err) {
    server_t s = {.shard = shard};
    const int most = rates->cores < PLAN_THREADS ? rates->cores : PLAN_THREADS;
    ps_shard_initialise(shard, (uint64_t)config->run.seed);
    hp_status_t status = create_push(&s, err);
    for (int t = 1; t <= most && status == HP_OK; t++) {
        status = ps_applier_start(shard, transport, 4, t, NULL, 0, &s.applier, err);
        if (status != HP_OK) break;
        double update = 0, fold = 0;
        status = run_jobs(&s, &update, &fold, err);
        ps_applier_stop(s.applier);
        rates->adam[t - 1] = update / (double)numbers;
        rates->fold[t - 1] = fold / (double)numbers;
    }
    for (int t = most; t < PLAN_THREADS && most > 0; t++) { /* as the cores that are there do it */
        rates->adam[t] = rates->adam[most - 1];
        rates->fold[t] = rates->fold[most - 1];
    }
    destroy_push(&s);
    return status;
}

static hp_status_t measure_server(const hp_config_t *config, const hp_params_t *params,
                                  plan_rates_t *rates, hp_error_t *err) {
    const ps_adam_t adam = {.lr = config->optimizer.lr,
                            .beta1 = config->optimizer.beta1,
                            .beta2 = config->optimizer.beta2,
                            .eps = config->optimizer.eps};
    hp_shard_plan_t plan = {0};
    ps_shard_t *shard = NULL;
    hp_transport_t *endpoint[1] = {NULL};
    HP_TRY(hp_shard_plan_create(params, 1, &plan, err));
    if (config->cluster.wire == HP_BF16) hp_shard_plan_halve(&plan);
    hp_status_t status = hp_transport_loopback(1, endpoint, err);
    if (status == HP_OK)
        status = ps_shard_create(&plan, params, 0, &adam, config->optimizer.decay_on,
                                 config->optimizer.lazy, config->cluster.consistency == HP_SYNC,
                                 &shard, err);
    if (status == HP_OK)
        status = measure_threads(config, shard, endpoint[0], params->total, rates, err);
    ps_shard_destroy(shard);
    if (endpoint[0] != NULL) hp_transport_close(endpoint[0], true);
    hp_shard_plan_release(&plan);
    return status;
}

/* ---- messages ---- */

static void *send_all(void *context) {
    static const char zeros[PIECE];
    const int fd = *(const int *)context;
    for (double begin = hp_clock(); hp_clock() - begin < MESSAGES_S;)
        if (send(fd, zeros, sizeof zeros, MSG_NOSIGNAL) < 0) break;
    shutdown(fd, SHUT_WR);
    return NULL;
}

/* A connection over 127.0.0.1: out[0] and out[1] are its ends. */
static bool connect_both(int out[2]) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof at;
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    out[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    out[1] = -1;
    if (listener >= 0 && out[0] >= 0 && bind(listener, (struct sockaddr *)&at, sizeof at) == 0 &&
        listen(listener, 1) == 0 && getsockname(listener, (struct sockaddr *)&at, &length) == 0 &&
        connect(out[0], (struct sockaddr *)&at, sizeof at) == 0)
        out[1] = accept(listener, NULL, NULL);
    if (listener >= 0) close(listener);
    return out[1] >= 0;
}

/* What one thread sends and another receives. */
static hp_status_t measure_messages(double *rate_p, hp_error_t *err) {
    int end[2];
    pthread_t thread;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, PIECE, 1, "a message", err));
    hp_status_t status =
        connect_both(end) ? HP_OK : hp_fail_errno(err, HP_IO, "a connection over loopback");
    if (status == HP_OK && pthread_create(&thread, NULL, send_all, &end[0]) != 0)
        status = hp_fail(err, HP_MEMORY, "cannot start a thread");
    if (status == HP_OK) {
        double bytes = 0;
        const double begin = hp_clock();
        for (ssize_t n; (n = recv(end[1], p, PIECE, 0)) > 0;) bytes += (double)n;
        *rate_p = bytes / (hp_clock() - begin);
        pthread_join(thread, NULL);
        if (bytes == 0) status = hp_fail(err, HP_IO, "nothing came over loopback");
    }
    for (int i = 0; i < 2; i++)
        if (end[i] >= 0) close(end[i]);
    hp_free(p);
    return status;
}

/* It does not depend on the model: a small one does. */
static hp_status_t measure_reply(double *reply, hp_error_t *err) {
    enum { PULLS = 50 };
    const wk_model_shape_t shape = {.channels = 8, .max_cells = 4, .words = 8, .answers = 8};
    hp_config_t config;
    cli_bench_server_t server;
    hp_config_default(&config);
    config.model.image.width = config.model.question.lstm = config.model.question.embedding = 8;
    config.model.attention.cells = shape.max_cells;
    HP_TRY(cli_bench_server(&config, &shape, PULLS, 0, &server, err));
    *reply = server.small_pull_s;
    return HP_OK;
}

hp_status_t plan_measure(const hp_config_t *config, const plan_shape_t *shape,
                         const hp_params_t *params, plan_measured_t *m, hp_error_t *err) {
    plan_rates_t *r = &m->rates;
    r->cores = hp_usable_cores();
    r->threads = config->cluster.threads > 0 ? config->cluster.threads : r->cores;
    r->memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    hp_gemm_set_threads(r->threads);
    cli_bench_cpu(m->cpu, sizeof m->cpu);
    HP_TRY(cli_bench_copy(COPY, &r->copy, err));
    HP_TRY(measure_step(config, shape, params, m, err));
    HP_TRY(measure_server(config, params, r, err));
    HP_TRY(measure_messages(&r->message, err));
    return measure_reply(&r->reply, err);
}
