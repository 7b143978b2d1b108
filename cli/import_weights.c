/* hanps import-weights: a run that begins with weights from a file. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "common/checkpoint.h"
#include "common/config_text.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/run_folder.h"
#include "common/store.h"
#include "worker/data/batch.h"
#include "worker/import/json_lines.h"
#include "worker/weights.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

static const char usage[] =
    "usage: hanps import-weights FILE --run RUN [OPTION]...\n\n"
    "Makes the folder of a run whose first checkpoint, of step 0, has the weights of FILE: a "
    "safetensors\n"
    "file or an .npz as hanps export writes it, or as PyTorch or numpy.savez saves it under the "
    "same names.\n"
    "'hanps eval RUN' then scores them, 'hanps train --run RUN --resume' trains them on.\n\n"
    "  --run RUN          must not exist yet\n"
    "  --config CONFIG    the model's configuration (FILE.json, which hanps export left beside "
    "FILE)\n"
    "  --set KEY=VALUE    override a key of it: --set data.store=...\n";

typedef struct {
    const char *file, *run, *config;
    bool help;
    int sets;
    const char **set; /* room for every argument */
} args_t;

typedef struct {
    const args_t *args;
    hp_config_t config;
    hp_store_t *store;
    hp_params_t params;
    float *weights;
    char *yaml;
    hp_run_lock_t *lock;
} job_t;

static hp_status_t parse(int argc, char **argv, args_t *args, hp_error_t *err) {
    const cli_option_t options[] = {CLI_TEXT("run", &args->run),
                                    CLI_TEXT("config", &args->config),
                                    CLI_LIST("set", args->set, &args->sets, 0),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, &args->help, err));
    if (args->help) return HP_OK;
    HP_TRY(cli_one_operand(argc, argv, "FILE", &args->file, err));
    if (args->run == NULL) return hp_fail(err, HP_INPUT, "--run RUN is missing; see --help");
    return HP_OK;
}

/* The configuration that FILE.json holds becomes RUN/config.yaml, and is read from there. */
static hp_status_t take_described(job_t *job, char yaml_path[HP_RUN_PATH], hp_error_t *err) {
    enum { MOST = 256 << 20, DEPTH = 64 };
    char path[HP_RUN_PATH], why[128] = "";
    unsigned char *data = NULL;
    size_t bytes = 0;
    if (snprintf(path, sizeof path, "%s.json", job->args->file) >= HP_RUN_PATH)
        return hp_fail(err, HP_INPUT, "the path is too long");
    if (access(path, R_OK) != 0)
        return hp_fail(err, HP_INPUT, "--config CONFIG is needed: there is no %s", path);
    HP_TRY(hp_read_file(path, MOST, &data, &bytes, err));
    void *text = NULL;
    hp_status_t status = hp_allocate(&text, bytes + 1, 1, "a description", err);
    if (status == HP_OK) memcpy(text, data, bytes);
    hp_free(data);
    if (status != HP_OK) return status;
    yajl_val tree = NULL;
    if (wk_json_is_flat(text, DEPTH))
        tree = yajl_tree_parse(text, why, sizeof why);
    else
        snprintf(why, sizeof why, "it is nested too deeply");
    yajl_val yaml = yajl_tree_get(tree, (const char *[]){"config_yaml", NULL}, yajl_t_string);
    const char *config = YAJL_GET_STRING(yaml);
    if (config == NULL)
        status = hp_fail(err, HP_INPUT, "%s: expected an object with \"config_yaml\"%s%.*s", path,
                         why[0] != '\0' ? ": " : "", (int)strcspn(why, "\n"), why);
    else
        status = hp_run_write_file(job->args->run, "config.yaml", config, strlen(config), err);
    yajl_tree_free(tree);
    hp_free(text);
    if (status == HP_OK) status = hp_run_path(job->args->run, "config.yaml", yaml_path, err);
    return status;
}

static hp_status_t read_config(job_t *job, hp_error_t *err) {
    char path[HP_RUN_PATH] = "";
    if (job->args->config == NULL) HP_TRY(take_described(job, path, err));
    hp_config_default(&job->config);
    HP_TRY(hp_config_load(&job->config, job->args->config != NULL ? job->args->config : path, err));
    for (int i = 0; i < job->args->sets; i++)
        HP_TRY(hp_config_set(&job->config, job->args->set[i], err));
    return hp_config_check(&job->config, err);
}

static hp_status_t fill(job_t *job, hp_error_t *err) {
    const char *run = job->args->run;
    wk_model_shape_t shape;
    HP_TRY(read_config(job, err));
    HP_TRY(hp_store_open(job->config.data.store, &job->store, err));
    const hp_store_info_t *info = hp_store_info(job->store);
    HP_TRY(wk_batch_shape(&job->config, info, &shape, err));
    HP_TRY(wk_model_table(&job->config, &shape, &job->params, err));
    HP_TRY(wk_weights_read(job->args->file, &job->params, &job->weights, err));
    HP_TRY(hp_config_yaml(&job->config, &job->yaml, err));
    HP_TRY(hp_run_write_file(run, "config.yaml", job->yaml, strlen(job->yaml), err));
    const hp_position_t position = {.store_digest = info->digest,
                                    .pixel_height = shape.pixel_height,
                                    .pixel_width = shape.pixel_width};
    HP_TRY(hp_checkpoint_write_first(run, &job->params, job->weights, job->yaml, &position, err));
    hp_run_status_t status = {.state = HP_RUN_STOPPED,
                              .steps = job->config.run.steps,
                              .checkpoint = 0,
                              .pid = getpid(),
                              .time = (double)time(NULL),
                              .requeue = true};
    gethostname(status.host, sizeof status.host - 1);
    snprintf(status.message, sizeof status.message, "weights from %.400s", job->args->file);
    return hp_run_status_write(run, &status, err);
}

static hp_status_t import(const args_t *args, hp_error_t *err) {
    job_t job = {.args = args};
    HP_TRY(hp_run_create(args->run, &job.lock, err));
    hp_status_t status = fill(&job, err);
    if (status == HP_OK) {
        printf("%s: %d parameters of %s; eval scores it, train --resume goes on from it\n",
               args->run, job.params.count, args->file);
        hp_run_unlock(job.lock);
    } else {
        hp_run_discard(args->run, job.lock);
    }
    hp_params_release(&job.params);
    hp_store_close(job.store);
    hp_free(job.weights);
    hp_free(job.yaml);
    return status;
}

hp_status_t cli_import_weights(int argc, char **argv, hp_error_t *err) {
    args_t args = {0};
    void *set = NULL;
    HP_TRY(hp_allocate(&set, (size_t)argc, sizeof *args.set, "arguments", err));
    args.set = set;
    hp_status_t status = parse(argc, argv, &args, err);
    if (args.help) fputs(usage, stdout);
    if (status == HP_OK && !args.help) status = import(&args, err);
    hp_free(set);
    return status;
}
