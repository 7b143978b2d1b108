#include "cli/start.h"

#include "common/agree.h"
#include "common/checkpoint.h"
#include "common/clock.h"
#include "common/config_text.h"
#include "common/memory.h"
#include "common/placement.h"
#include "common/schedule.h"
#include "common/run_ranks.h"
#include "worker/data/batch.h"
#include "worker/train.h"
#include "worker/validate.h"
#include "worker/vectors.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define MAGIC UINT64_C(0x68616e7073303031)

static hp_status_t read_config(const cli_train_args_t *args, hp_config_t *config, hp_log_t *log,
                               hp_error_t *err) {
    hp_config_default(config);
    if (!args->resume) {
        HP_TRY(hp_config_load(config, args->config, err));
    } else {
        char path[HP_RUN_PATH];
        HP_TRY(hp_run_path(args->run, "config.yaml", path, err));
        if (access(path, R_OK) != 0)
            return hp_fail(err, HP_INPUT, "--resume: no run in '%s': there is no config.yaml in it",
                           args->run);
        HP_TRY(hp_config_load(config, path, err));
        if (args->config != NULL)
            hp_log(log, HP_LOG_INFO, "going on with %s; '%s' is not read again", path,
                   args->config);
    }
    hp_config_t before = *config;
    for (int i = 0; i < args->sets; i++) HP_TRY(hp_config_set(config, args->set[i], err));
    if (args->servers > 0) config->cluster.servers = args->servers;
    if (args->spares >= 0) config->cluster.spares = args->spares;
    if (args->placement != NULL) {
        char assignment[64];
        snprintf(assignment, sizeof assignment, "cluster.placement=%s", args->placement);
        HP_TRY(hp_config_set(config, assignment, err));
    }
    if (args->resume) HP_TRY(hp_config_resumable(&before, config, err));
    return hp_config_check(config, err);
}

static hp_status_t deal_ranks(const cli_train_args_t *args, bool launched, int ranks,
                              cli_plan_t *plan, hp_error_t *err) {
    hp_config_t *config = &plan->config;
    if (!launched && config->cluster.servers > 1) {
        if (args->servers > 1)
            return hp_fail(
                err, HP_INPUT,
                "--servers %d: one process is one server and one worker; start more ranks "
                "with mpirun -np N",
                args->servers);
        config->cluster.servers = 1;
    }
    if (!launched) config->cluster.spares = 0;
    if (config->cluster.servers >= ranks)
        return hp_fail(
            err, HP_INPUT,
            "cluster.servers: %d servers leave no worker among %d ranks; allowed: 1 to %d"
            "%s",
            config->cluster.servers, ranks, ranks - 1, ranks < 2 ? " (mpirun -np 2 or more)" : "");
    plan->servers = config->cluster.servers;
    plan->workers = ranks - plan->servers;
    int active = plan->workers - config->cluster.spares;
    if (active < 1)
        return hp_fail(
            err, HP_INPUT,
            "cluster.spares: %d spare ranks leave no worker among %d that are no server; "
            "allowed: 0 to %d",
            config->cluster.spares, plan->workers, plan->workers - 1);
    if (config->cluster.sync_shards == 0) config->cluster.sync_shards = active;
    return HP_OK;
}

/* The first ranks are to be servers: the order in which the plan's placement numbers them, with
 * `renumber` done. */
static hp_status_t place_ranks(hp_transport_t *transport, const cli_plan_t *plan, bool renumber,
                               hp_log_t *log, hp_error_t *err) {
    int ranks = hp_transport_size(transport);
    void *hosts = NULL, *numbers = NULL;
    HP_TRY(hp_allocate(&hosts, (size_t)ranks, sizeof(char *), "host names", err));
    hp_status_t status = hp_allocate(&numbers, (size_t)ranks, sizeof(int), "ranks", err);
    const char **host = hosts;
    for (int r = 0; r < ranks; r++) host[r] = hp_transport_peer_host(transport, r);
    if (status == HP_OK)
        status = hp_placement_order(plan->config.cluster.placement, ranks, host, plan->servers,
                                    numbers, err);
    if (status == HP_OK && renumber) {
        char text[1024];
        status = hp_transport_renumber(transport, numbers, err);
        for (int r = 0; r < ranks; r++) host[r] = hp_transport_peer_host(transport, r);
        snprintf(text, sizeof text, "rank %d", hp_transport_rank(transport));
        hp_log_rename(log, text);
        hp_placement_describe(ranks, host, plan->servers, text, sizeof text);
        if (hp_transport_rank(transport) == 0 && hp_transport_local_ranks(transport) < ranks)
            hp_log(log, HP_LOG_INFO, "%s", text);
    }
    hp_free(numbers);
    hp_free(hosts);
    return status;
}

/* Examples of an epoch, and where the run ends. */
static hp_status_t count_steps(cli_plan_t *plan, hp_store_t *store, hp_error_t *err) {
    const hp_config_t *c = &plan->config;
    HP_TRY(wk_train_examples(c, store, &plan->epoch_examples, err));
    double shards = hp_config_step_units(c);
    plan->steps = c->run.steps > 0 ? c->run.steps
                                   : (int64_t)ceil(c->run.epochs * (double)plan->epoch_examples /
                                                   (c->data.batch_size * shards));
    return HP_OK;
}

/* A wrong name would come to light when all is trained. */
static hp_status_t check_valid(cli_plan_t *plan, const hp_store_t *store, hp_error_t *err) {
    const hp_config_t *config = &plan->config;
    const uint32_t *image = hp_store_question_image(store);
    wk_part_t part;
    uint64_t questions = 0;
    if (config->data.valid[0] == '\0') return HP_OK;
    if (wk_part_find(store, config, config->data.valid, &part, err) != HP_OK)
        return hp_fail_prefix(err, "data.valid (\"\": none)");
    if (config->valid.every_steps == 0) return HP_OK;
    for (uint64_t q = part.range.first; q < part.range.first + part.range.count; q++)
        questions += wk_cut_has(&part.cut, image[q]);
    plan->valid_parts = wk_validate_parts(questions, config->data.batch_size);
    return questions > 0 ? HP_OK
                         : hp_fail(err, HP_INPUT, "data.valid: '%s' has no question to evaluate on",
                                   part.name);
}

static hp_status_t look_at_store(cli_start_t *start, hp_error_t *err) {
    cli_plan_t *plan = &start->plan;
    const hp_config_t *config = &plan->config;
    HP_TRY(hp_store_open(config->data.store, &start->store, err));
    const hp_store_info_t *info = hp_store_info(start->store);
    HP_TRY(count_steps(plan, start->store, err));
    HP_TRY(check_valid(plan, start->store, err));
    hp_schedule_t schedule;
    double step_examples = (double)config->data.batch_size * hp_config_step_units(config);
    HP_TRY(hp_schedule_make(config, plan->steps, step_examples, (double)plan->epoch_examples,
                            &schedule, err));
    HP_TRY(wk_batch_shape(config, info, &plan->shape, err));
    HP_TRY(wk_model_table(config, &plan->shape, &start->params, err));
    plan->total = start->params.total;
    snprintf(plan->digest, sizeof plan->digest, "%s", info->digest);
    return HP_OK;
}

/* The checkpoint to go on from. A run that ended before its first one begins again. */
static hp_status_t find_checkpoint(cli_plan_t *plan, const hp_params_t *params, hp_log_t *log,
                                   hp_error_t *err) {
    int count = 0;
    int64_t *steps = NULL, best = -1;
    HP_TRY(hp_checkpoint_list(plan->run, &count, &steps, &best, err));
    hp_free(steps);
    if (count == 0) {
        hp_log(log, HP_LOG_WARN, "'%s' has no checkpoint yet: starting from the beginning",
               plan->run);
        return HP_OK;
    }
    hp_checkpoint_t *checkpoint = NULL;
    char note[HP_CHECKPOINT_NOTE] = "";
    HP_TRY(hp_checkpoint_open(plan->run, "last", &checkpoint, note, err));
    if (note[0] != '\0') hp_log(log, HP_LOG_WARN, "%s", note);
    plan->resume_step = hp_checkpoint_step(checkpoint);
    hp_status_t status = hp_params_same(hp_checkpoint_params(checkpoint), params, err);
    if (status != HP_OK)
        status =
            hp_fail_prefix(err, "store '%s' does not fit the run's model", plan->config.data.store);
    /* data.store may change on a resume: a store may have moved, but must be the same one. */
    const char *digest = hp_checkpoint_position(checkpoint)->store_digest;
    if (status == HP_OK && digest != NULL && digest[0] != '\0' && strcmp(digest, plan->digest) != 0)
        status = hp_fail(err, HP_INPUT,
                         "data.store: '%s' is not the store that the run began with: its digest is "
                         "%s, not %s",
                         plan->config.data.store, plan->digest, digest);
    hp_checkpoint_close(checkpoint);
    return status;
}

/* Checkpoints that were there and are not are no reason to begin again, over the run's logs. */
static hp_status_t check_lost(const char *run, const hp_run_status_t *old, hp_error_t *err) {
    bool lost = false;
    char which[64] = "";
    if (hp_checkpoint_newest(run, &lost) >= 0 || (!lost && old->checkpoint < 0)) return HP_OK;
    if (old->checkpoint >= 0)
        snprintf(which, sizeof which, ", the newest of step %" PRId64, old->checkpoint);
    return hp_fail(err, HP_INPUT,
                   "--resume: '%s' has lost its checkpoints%s: there is none with a manifest in "
                   "'%s/checkpoints'; put them back, or begin again with another --run",
                   run, which, run);
}

/* What the run before left: a checkpoint half in its place, a request to stop that came too late.
 */
static hp_status_t tidy(const char *run, hp_error_t *err) {
    char path[HP_RUN_PATH];
    HP_TRY(hp_run_path(run, "stop", path, err));
    unlink(path);
    hp_run_ranks_unclaim(run);
    return hp_checkpoint_clean(run, err);
}

/* Word vectors: the run begins with a checkpoint of step 0 that has them, as if it were resumed. */
static hp_status_t begin_with_vectors(cli_start_t *start, hp_log_t *log, hp_error_t *err) {
    cli_plan_t *plan = &start->plan;
    const hp_config_t *config = &plan->config;
    const hp_store_info_t *info = hp_store_info(start->store);
    const bool zero = config->model.question.vectors_missing == HP_VECTORS_ZERO;
    const int row = hp_params_find(&start->params, "question.embedding.weight");
    wk_vectors_report_t found;
    void *p = NULL;
    if (config->model.question.vectors[0] == '\0') return HP_OK;
    if (row < 0) return hp_fail(err, HP_INTERNAL, "the model has no word embedding");
    HP_TRY(hp_allocate(&p, (size_t)start->params.total, sizeof(float), "weights", err));
    float *weights = p;
    hp_params_initialise(&start->params, (uint64_t)config->run.seed, 0, start->params.total,
                         weights);
    hp_status_t status = wk_vectors_read(config->model.question.vectors, info->words, info->word,
                                         config->model.question.embedding, zero,
                                         weights + start->params.param[row].offset, &found, err);
    if (status != HP_OK) hp_fail_prefix(err, "model.question.vectors");
    const hp_position_t position = {.store_digest = plan->digest,
                                    .pixel_height = plan->shape.pixel_height,
                                    .pixel_width = plan->shape.pixel_width};
    if (status == HP_OK)
        status = hp_checkpoint_write_first(plan->run, &start->params, weights, start->yaml,
                                           &position, err);
    hp_free(p);
    if (status != HP_OK) return status;
    plan->resume_step = 0;
    hp_log(log, HP_LOG_INFO, "%d of %d words have a vector in %s; the other %d begin %s",
           found.found, info->words, config->model.question.vectors, found.missing,
           zero ? "at zero" : "at random");
    return HP_OK;
}

static hp_status_t enter_folder(const cli_train_args_t *args, cli_start_t *start, hp_log_t *log,
                                hp_error_t *err) {
    cli_plan_t *plan = &start->plan;
    hp_run_status_t old = {.checkpoint = -1};
    if (args->resume) {
        HP_TRY(hp_run_open(plan->run, &start->lock, err));
        if (hp_run_status_read(plan->run, &old, NULL) == HP_OK) plan->start = old.start;
        HP_TRY(check_lost(plan->run, &old, err));
        HP_TRY(tidy(plan->run, err));
        HP_TRY(find_checkpoint(plan, &start->params, log, err));
    } else {
        HP_TRY(hp_run_create(plan->run, &start->lock, err));
    }
    plan->start++;
    HP_TRY(hp_config_yaml(&plan->config, &start->yaml, err));
    HP_TRY(hp_run_write_file(plan->run, "config.yaml", start->yaml, strlen(start->yaml), err));
    if (!args->resume) HP_TRY(begin_with_vectors(start, log, err));
    if (getrandom(&plan->token, sizeof plan->token, 0) != (ssize_t)sizeof plan->token)
        plan->token = (uint64_t)time(NULL);
    return hp_run_probe_leave(plan->run, plan->token, err);
}

/* A new run that does not come to start leaves nothing. */
static void leave_folder(cli_start_t *start) {
    if (start->lock == NULL) return;
    hp_run_probe_remove(start->plan.run, start->plan.token);
    if (start->plan.resume_step == 0) hp_checkpoint_remove_first(start->plan.run);
    hp_run_discard(start->plan.run, start->lock);
    start->lock = NULL;
}

static hp_status_t prepare(const cli_train_args_t *args, hp_transport_t *transport, int ranks,
                           hp_log_t *log, cli_start_t *start, hp_error_t *err) {
    cli_plan_t *plan = &start->plan;
    if (strlen(args->run) >= sizeof plan->run)
        return hp_fail(err, HP_INPUT, "--run: the name is longer than %d bytes", CLI_PATH - 1);
    memcpy(plan->run, args->run, strlen(args->run) + 1);
    plan->trace = args->trace;
    plan->trace_zero = hp_clock();
    HP_TRY(read_config(args, &plan->config, log, err));
    const int servers = plan->config.cluster.servers;
    HP_TRY(deal_ranks(args, transport != NULL, ranks, plan, err));
    if (transport != NULL) HP_TRY(place_ranks(transport, plan, false, log, err));
    HP_TRY(look_at_store(start, err));
    hp_status_t status = enter_folder(args, start, log, err);
    if (status != HP_OK && !args->resume) leave_folder(start);
    if (status == HP_OK && plan->servers < servers) /* where all is well: an error is one line */
        hp_log(log, HP_LOG_INFO, "one process: one server instead of cluster.servers %d", servers);
    return status;
}

/* Rank 0's plan to all. */
static hp_status_t share(hp_transport_t *transport, cli_start_t *start, hp_error_t *err) {
    bool first = hp_transport_rank(transport) == 0;
    void *data = NULL;
    size_t bytes = 0;
    if (first) {
        size_t yaml = start->yaml != NULL ? strlen(start->yaml) + 1 : 1;
        bytes = sizeof start->plan + yaml;
        HP_TRY(hp_allocate(&data, bytes, 1, "plan", err));
        memcpy(data, &start->plan, sizeof start->plan);
        if (start->yaml != NULL) memcpy((char *)data + sizeof start->plan, start->yaml, yaml);
    }
    hp_status_t status = hp_transport_share(transport, &data, &bytes, err);
    if (status == HP_OK && !first) {
        if (bytes <= sizeof start->plan) {
            status = hp_fail(err, HP_INPUT, "rank 0 runs another build of hanps");
        } else {
            memcpy(&start->plan, data, sizeof start->plan);
            start->yaml = hp_strdup((char *)data + sizeof start->plan);
            if (start->plan.magic != MAGIC || start->plan.bytes != sizeof start->plan)
                status = hp_fail(err, HP_INPUT, "rank 0 runs another build of hanps");
            else if (start->yaml == NULL)
                status = hp_fail(err, HP_MEMORY, "no memory for the configuration");
        }
    }
    hp_free(data);
    return status;
}

/* A rank that has got the plan: does it see what rank 0 sees? */
static hp_status_t check(hp_transport_t *transport, cli_start_t *start, hp_error_t *err) {
    cli_plan_t *plan = &start->plan;
    HP_TRY(hp_run_probe_find(plan->run, plan->token, err));
    HP_TRY(wk_model_table(&plan->config, &plan->shape, &start->params, err));
    if (start->params.total != plan->total)
        return hp_fail(err, HP_INPUT, "rank 0 runs another build of hanps");
    if (hp_transport_rank(transport) < plan->servers) return HP_OK;
    HP_TRY(hp_store_open(plan->config.data.store, &start->store, err));
    if (strcmp(hp_store_info(start->store)->digest, plan->digest) != 0)
        return hp_fail(err, HP_INPUT, "store '%s' is not the one rank 0 has",
                       plan->config.data.store);
    return HP_OK;
}

hp_status_t cli_start(const cli_train_args_t *args, hp_transport_t *transport, int ranks,
                      hp_log_t *log, cli_start_t *start, hp_error_t *err) {
    bool first = transport == NULL || hp_transport_rank(transport) == 0;
    *start =
        (cli_start_t){.plan = {.magic = MAGIC, .bytes = sizeof start->plan, .resume_step = -1}};
    hp_status_t status = HP_OK;
    if (first) {
        status = prepare(args, transport, ranks, log, start, err);
        start->plan.status = (int32_t)status;
    }
    if (transport == NULL) return status;
    hp_error_t sharing = {0};
    hp_status_t shared = share(transport, start, &sharing);
    if (first && status != HP_OK) return status;
    if (shared != HP_OK) {
        if (err != NULL) *err = sharing;
        return shared;
    }
    if (start->plan.status != HP_OK) return (hp_status_t)start->plan.status;
    status = place_ranks(transport, &start->plan, true, log, err);
    if (!first && status == HP_OK) status = check(transport, start, err);
    status = hp_agree(transport, status, err);
    if (first && status != HP_OK && !args->resume) leave_folder(start);
    return status;
}

void cli_start_release(cli_start_t *start) {
    if (start->plan.token != 0 && start->lock != NULL)
        hp_run_probe_remove(start->plan.run, start->plan.token);
    hp_store_close(start->store);
    hp_params_release(&start->params);
    hp_run_unlock(start->lock);
    hp_free(start->yaml);
    *start = (cli_start_t){0};
}

void cli_write_loss(const cli_plan_t *plan, int64_t step, const char *why, hp_log_t *log) {
    hp_run_status_t now;
    if (hp_run_status_read(plan->run, &now, NULL) != HP_OK || now.state != HP_RUN_RUNNING ||
        now.start != plan->start || !hp_run_ranks_claim(plan->run))
        return;
    const ps_outcome_t outcome = {.step = step};
    cli_write_status(plan, HP_RUN_FAILED, &outcome, true, why, log);
}

void cli_write_status(const cli_plan_t *plan, hp_run_state_t state, const ps_outcome_t *outcome,
                      bool requeue, const char *message, hp_log_t *log) {
    hp_run_status_t status = {.state = state,
                              .step = outcome->step,
                              .steps = plan->steps,
                              .checkpoint = hp_checkpoint_newest(plan->run, &(bool){false}),
                              .units_repeated = (int64_t)outcome->units_repeated,
                              .start = plan->start,
                              .pid = getpid(),
                              .requeue = requeue};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    status.time = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    gethostname(status.host, sizeof status.host - 1);
    snprintf(status.message, sizeof status.message, "%s", message);
    hp_error_t err;
    if (hp_run_status_write(plan->run, &status, &err) != HP_OK)
        hp_log(log, HP_LOG_WARN, "%s", err.text);
}
