/* hanps train: one process, or a rank of mpirun's; server or worker. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/start.h"
#include "cli/trace.h"
#include "common/cores.h"
#include "common/gemm.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/run_ranks.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

static const char usage[] =
    "usage: hanps train CONFIG --run RUN [--servers S] [--trace STEPS] [--set KEY=VALUE]...\n"
    "       hanps train --run RUN --resume [--servers S] [--set KEY=VALUE]...\n\n"
    "Under mpirun -np N S ranks are parameter servers, the others workers. Without mpirun one\n"
    "process is one server and one worker.\n\n"
    "  --run RUN        folder for configuration, checkpoints and logs; must not exist yet\n"
    "  --resume         go on with RUN from its newest whole checkpoint, by its own configuration\n"
    "  --servers S      ranks that hold the weights (cluster.servers)\n"
    "  --spares N       ranks that sleep until a worker is lost and take its place "
    "(cluster.spares)\n"
    "  --placement P    servers over hosts: spread, packed or alone (cluster.placement)\n"
    "  --trace STEPS    what every rank does during the first STEPS (1 to 1000) steps of each "
    "worker\n"
    "                   after this start goes to RUN/trace; then: hanps report RUN --trace\n"
    "  --set KEY=VALUE  override a key of the configuration: --set optimizer.lr=3e-4\n\n"
    "SIGINT, SIGTERM and SIGUSR2 write a checkpoint and stop; a second one ends at once.\n"
    "Exit status: 0 done, 2 wrong input, 3 failure, 130 stopped with a checkpoint.\n";

enum { MOST_RANKS = 4096 };

#define CLOCK_LIMIT_S 10.0 /* for a rank to compare its clock with rank 0's */

/* Everything of one rank. */
typedef struct {
    cli_start_t start;
    hp_transport_t *transport; /* NULL: one process */
    atomic_int stop;
    hp_log_t *log;
    cli_clock_t clock; /* for a trace */
    bool clean;        /* every peer has said goodbye: MPI can be finalised */
} rank_t;

/* *help_p: --help was asked for. args->set has room for argc assignments. */
static hp_status_t parse(int argc, char **argv, cli_train_args_t *args, bool *help_p,
                         hp_error_t *err) {
    const cli_option_t options[] = {CLI_TEXT("run", &args->run),
                                    CLI_NUMBER("servers", &args->servers, 1, MOST_RANKS),
                                    CLI_NUMBER("spares", &args->spares, 0, MOST_RANKS),
                                    CLI_FLAG("resume", &args->resume),
                                    CLI_LIST("set", args->set, &args->sets, 0),
                                    CLI_TEXT("placement", &args->placement),
                                    CLI_NUMBER("trace", &args->trace, 1, HP_TRACE_STEPS),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, help_p, err));
    if (*help_p) return HP_OK;
    if (argc - optind > 1)
        return hp_fail(err, HP_INPUT, "%s: one CONFIG is allowed", argv[optind + 1]);
    if (optind < argc) args->config = argv[optind];
    if (args->config == NULL && !args->resume)
        return hp_fail(err, HP_INPUT, "CONFIG is missing; see --help");
    if (args->run == NULL) return hp_fail(err, HP_INPUT, "--run RUN is missing; see --help");
    return HP_OK;
}

/* cluster.server_threads: auto is the cores this process may use, shared with the host's other
 * ranks. */
static int server_threads(const cli_plan_t *plan, const hp_transport_t *transport) {
    enum { MOST = 4 };
    if (plan->config.cluster.server_threads > 0) return plan->config.cluster.server_threads;
    const int ranks = transport != NULL ? hp_transport_local_ranks(transport) : 1;
    const int threads = hp_usable_cores() / ranks;
    return threads < 1 ? 1 : threads < MOST ? threads : MOST;
}

/* cluster.threads: auto is the cores this process may use, shared with the host's other workers. */
static int compute_threads(const cli_plan_t *plan, const hp_transport_t *transport) {
    if (plan->config.cluster.threads > 0) return plan->config.cluster.threads;
    int usable = hp_usable_cores();
    int neighbours = 1;
    if (transport != NULL) {
        neighbours = 0;
        int active = hp_transport_size(transport) - plan->config.cluster.spares;
        for (int r = plan->servers; r < active; r++)
            neighbours +=
                strcmp(hp_transport_peer_host(transport, r), hp_transport_host(transport)) == 0;
    }
    if (neighbours == 0) neighbours = 1; /* a spare on a host without workers */
    return usable / neighbours > 1 ? usable / neighbours : 1;
}

static hp_status_t serve(rank_t *rank, hp_transport_t *transport, ps_outcome_t *outcome,
                         hp_error_t *err) {
    const cli_plan_t *plan = &rank->start.plan;
    char step[32], kernel[256];
    wk_model_describe_products(&plan->config, kernel, sizeof kernel);
    snprintf(step, sizeof step, "%" PRId64, plan->resume_step);
    ps_server_options_t options = {
        .transport = transport,
        .config = &plan->config,
        .params = &rank->start.params,
        .threads = server_threads(plan, rank->transport),
        .servers = plan->servers,
        .workers = plan->workers,
        .run = plan->run,
        .resume = plan->resume_step >= 0 ? step : NULL,
        .config_yaml = rank->start.yaml,
        .epoch_examples = plan->epoch_examples,
        .valid_parts = plan->valid_parts,
        .log = rank->log,
        .stop = &rank->stop,
        .start = plan->start,
        .store_digest = plan->digest,
        .kernel = kernel,
        .pixel_height = plan->shape.pixel_height,
        .pixel_width = plan->shape.pixel_width,
        .trace = cli_trace_open(plan, transport, &rank->clock, rank->log),
    };
    hp_status_t status = ps_server_run(&options, outcome, err);
    hp_trace_destroy(options.trace);
    rank->clean = outcome->clean;
    return status;
}

static hp_status_t work(rank_t *rank, hp_transport_t *transport, hp_error_t *err) {
    const cli_plan_t *plan = &rank->start.plan;
    int worker = hp_transport_rank(transport) - plan->servers;
    int threads = compute_threads(plan, rank->transport);
    hp_gemm_set_threads(threads);
    cli_progress_t progress;
    cli_progress_begin(&progress, plan, stderr);
    wk_train_options_t options = {
        .transport = transport,
        .config = &plan->config,
        .params = &rank->start.params,
        .store = rank->start.store,
        .run = plan->run,
        .worker = worker,
        .start = plan->start,
        .log = rank->log,
        .trace = cli_trace_open(plan, transport, &rank->clock, rank->log),
        .stop = &rank->stop,
        .progress = worker == 0 ? cli_progress_show : NULL,
        .context = &progress,
    };
    if (worker == 0) {
        char kernel[256];
        wk_model_describe_products(&plan->config, kernel, sizeof kernel);
        int spares = plan->config.cluster.spares, active = plan->workers - spares;
        char also[32] = "";
        if (spares > 0) snprintf(also, sizeof also, ", %d spare", spares);
        hp_log(rank->log, HP_LOG_INFO, "%d server%s, %d worker%s%s, %d parameters; %s",
               plan->servers, plan->servers > 1 ? "s" : "", active, active > 1 ? "s" : "", also,
               (int)plan->total, kernel);
    }
    wk_train_totals_t totals;
    hp_status_t status = wk_train(&options, &totals, err);
    hp_trace_destroy(options.trace);
    if (rank->transport != NULL) rank->clean = totals.clean;
    if (rank->transport != NULL && totals.lead_lost)
        cli_write_loss(plan, totals.step, err->text, rank->log);
    cli_progress_end(&progress);
    return status;
}

/* Rank 0's last words: status file, closing table, exit status. */
static hp_status_t conclude(rank_t *rank, hp_status_t status, const ps_outcome_t *outcome,
                            hp_error_t *err) {
    const cli_plan_t *plan = &rank->start.plan;
    if (status != HP_OK) {
        cli_write_status(plan, HP_RUN_FAILED, outcome,
                         hp_status_exit_code(status) == 3 && status != HP_NONFINITE, err->text,
                         rank->log);
        return status;
    }
    cli_closing_table(plan, outcome, stdout);
    if (!outcome->stopped) {
        cli_write_status(plan, HP_RUN_DONE, outcome, false,
                         outcome->early ? "ended early: no evaluation was better any more" : "",
                         rank->log);
        return HP_OK;
    }
    cli_write_status(plan, HP_RUN_STOPPED, outcome, true, "stopped with a checkpoint", rank->log);
    return hp_fail(err, HP_INTERRUPTED,
                   "stopped at step %" PRId64
                   " with a checkpoint; go on with: hanps train --run %s "
                   "--resume",
                   outcome->step, plan->run);
}

/* ---- one process ---- */

typedef struct {
    rank_t *rank;
    hp_transport_t *transport;
    hp_status_t status;
    hp_error_t err;
} worker_thread_t;

static void *worker_main(void *argument) {
    worker_thread_t *w = argument;
    w->status = work(w->rank, w->transport, &w->err);
    return NULL;
}

static hp_status_t run_both(rank_t *rank, hp_transport_t *endpoint[2], ps_outcome_t *outcome,
                            hp_error_t *err) {
    worker_thread_t worker = {.rank = rank, .transport = endpoint[1]};
    pthread_t thread;
    if (pthread_create(&thread, NULL, worker_main, &worker) != 0)
        return hp_fail(err, HP_MEMORY, "cannot start the worker's thread");
    hp_status_t status = serve(rank, endpoint[0], outcome, err);
    pthread_join(thread, NULL);
    /* The worker's failure is the cause where both ended badly after it. */
    bool own = worker.status != HP_OK && !worker.err.told;
    if (own && (status == HP_OK || worker.status == HP_NONFINITE)) {
        status = worker.status;
        *err = worker.err;
    }
    return status;
}

static hp_status_t one_process(rank_t *rank, const cli_train_args_t *args, hp_error_t *err) {
    HP_TRY(cli_start(args, NULL, 2, rank->log, &rank->start, err));
    hp_transport_t *endpoint[2] = {NULL, NULL};
    HP_TRY(hp_transport_loopback(2, endpoint, err));
    ps_outcome_t outcome = {0};
    cli_write_status(&rank->start.plan, HP_RUN_RUNNING, &outcome, true, "", rank->log);
    hp_status_t status = run_both(rank, endpoint, &outcome, err);
    for (int i = 0; i < 2; i++) hp_transport_close(endpoint[i], rank->clean);
    return conclude(rank, status, &outcome, err);
}

/* ---- a rank ---- */

static hp_status_t one_rank(rank_t *rank, const cli_train_args_t *args, hp_error_t *err) {
    hp_status_t started = cli_start(args, rank->transport, hp_transport_size(rank->transport),
                                    rank->log, &rank->start, err);
    /* All ranks refuse alike, except where one has not spoken. */
    rank->clean = started != HP_PEER && started != HP_TRANSPORT;
    if (started != HP_OK) return started;
    const cli_plan_t *plan = &rank->start.plan;
    int self = hp_transport_rank(rank->transport);
    hp_error_t unnoted;
    if (hp_run_rank_note(plan->run, self, plan->start, &unnoted) != HP_OK)
        hp_log(rank->log, HP_LOG_WARN, "%s; the run goes on", unnoted.text);
    if (plan->trace > 0) rank->clock = cli_trace_clock(rank->transport, CLOCK_LIMIT_S);
    if (self >= plan->servers) return work(rank, rank->transport, err);
    ps_outcome_t outcome = {0};
    if (self == 0) cli_write_status(plan, HP_RUN_RUNNING, &outcome, true, "", rank->log);
    hp_status_t status = serve(rank, rank->transport, &outcome, err);
    rank->clean = outcome.clean;
    if (outcome.lead_lost) cli_write_loss(plan, outcome.step, err->text, rank->log);
    return self == 0 ? conclude(rank, status, &outcome, err) : status;
}

/* Arguments are the same on every rank: rank 0 alone complains. */
static hp_status_t run(rank_t *rank, int argc, char **argv, cli_train_args_t *args,
                       hp_error_t *err) {
    bool help = false;
    int self = rank->transport != NULL ? hp_transport_rank(rank->transport) : 0;
    hp_status_t status = parse(argc, argv, args, &help, err);
    if (help && self == 0) fputs(usage, stdout);
    if (self != 0) err->text[0] = '\0';
    rank->clean = true; /* all ranks see the same arguments and end alike */
    if (status != HP_OK || help) return status;
    return rank->transport == NULL ? one_process(rank, args, err) : one_rank(rank, args, err);
}

/* Before the rank leaves: mpirun may end the others as soon as one that failed has. */
static void say_why(hp_error_t *err) {
    if (err->text[0] != '\0' && !err->told) fprintf(stderr, "hanps train: %s\n", err->text);
    err->told = true;
}

/* mpirun ends all ranks as soon as one has ended with a failure: one that has nothing to say itself
 * leaves time to rank 0, which has. */
static void give_way(const rank_t *rank, hp_status_t status, const hp_error_t *err) {
    const struct timespec a_second = {.tv_sec = 1};
    const bool told = err->told || err->text[0] == '\0';
    if (status != HP_OK && told && !rank->clean && rank->transport != NULL &&
        hp_transport_rank(rank->transport) > 0)
        nanosleep(&a_second, NULL);
}

hp_status_t cli_train(int argc, char **argv, hp_error_t *err) {
    rank_t rank = {.transport = NULL};
    cli_train_args_t args = {.spares = -1};
    cli_signals_t *signals = NULL;
    void *set = NULL;
    bool launched = hp_transport_launched();
    HP_TRY(hp_allocate(&set, (size_t)argc, sizeof *args.set, "arguments", err));
    args.set = set;
    hp_status_t status = cli_signals_open(&rank.stop, launched, &signals, err);
    if (status == HP_OK && launched) status = hp_transport_mpi(&rank.transport, err);
    char who[32] = "hanps";
    if (launched && rank.transport != NULL)
        snprintf(who, sizeof who, "rank %d", hp_transport_rank(rank.transport));
    if (status == HP_OK) status = hp_log_open(who, HP_LOG_INFO, &rank.log, err);
    if (status == HP_OK) status = run(&rank, argc, argv, &args, err);
    char noted[CLI_PATH];
    int self = rank.transport != NULL ? hp_transport_rank(rank.transport) : 0;
    memcpy(noted, rank.start.plan.run, sizeof noted);
    cli_start_release(&rank.start);
    give_way(&rank, status, err);
    if (status != HP_OK) say_why(err);
    if (rank.transport != NULL) hp_transport_close(rank.transport, rank.clean);
    if (rank.transport != NULL && noted[0] != '\0') hp_run_rank_forget(noted, self);
    cli_signals_close(signals);
    hp_log_close(rank.log);
    hp_free(set);
    return status;
}
