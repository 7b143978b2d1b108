#include "cli/bench_run.h"

#include "cli/command.h"
#include "common/clock.h"
#include "common/file.h"
#include "common/memory.h"
#include "common/random.h"
#include "common/store_write.h"
#include "worker/evaluate.h"
#include "worker/trained.h"

#include <ftw.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yajl/yajl_tree.h>

enum { BATCHES = 4, SIDE = 10, TOKENS = 7, SEED = 1, LOG_LIMIT = 64 << 20 };
enum { WARM = 4 }; /* steps before those that count: by then all buffers have been used */

typedef struct {
    char folder[CLI_BENCH_FOLDER], store[160], config[160], run[160];
} places_t;

/* fp16 numbers from 0 to 2, half of them zero. */
static void fill_features(uint16_t *features, size_t n, uint32_t image) {
    hp_random_t random = hp_random(SEED, HP_RANDOM_TEST, 2, image);
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = hp_random_u32(&random);
        features[i] = bits & 1 ? (uint16_t)(bits >> 18) : 0;
    }
}

#define NAME_BYTES 16

static hp_status_t write_names(hp_store_writer_t *writer, const wk_model_shape_t *shape,
                               hp_error_t *err) {
    int most = shape->words > shape->answers ? shape->words : shape->answers;
    void *pointers = NULL, *text = NULL;
    HP_TRY(hp_allocate(&pointers, (size_t)most, sizeof(char *), "names", err));
    hp_status_t status = hp_allocate(&text, (size_t)most, NAME_BYTES, "names", err);
    const char **name = pointers;
    for (int i = 0; i < most && status == HP_OK; i++) {
        char *at = (char *)text + NAME_BYTES * (size_t)i;
        name[i] = at;
        snprintf(at, NAME_BYTES, "n%d", i);
    }
    if (status == HP_OK) status = hp_store_write_words(writer, shape->words, name, err);
    if (status == HP_OK) status = hp_store_write_answers(writer, shape->answers, name, err);
    hp_free(text);
    hp_free(pointers);
    return status;
}

static hp_status_t write_images(hp_store_writer_t *writer, const wk_model_shape_t *shape,
                                uint32_t images, hp_error_t *err) {
    size_t numbers = (size_t)shape->max_cells * (size_t)shape->channels;
    void *features = NULL;
    HP_TRY(hp_allocate(&features, numbers, sizeof(uint16_t), "features", err));
    hp_status_t status = HP_OK;
    for (uint32_t i = 0; i < images && status == HP_OK; i++) {
        char name[16];
        snprintf(name, sizeof name, "%u", i);
        fill_features(features, numbers, i);
        const hp_store_image_t image = {
            .name = name, .features = features, .cells = shape->max_cells};
        status = hp_store_write_image(writer, &image, NULL, err);
    }
    hp_free(features);
    return status;
}

static hp_status_t write_questions(hp_store_writer_t *writer, const wk_model_shape_t *shape,
                                   uint32_t images, uint32_t questions, hp_error_t *err) {
    hp_random_t random = hp_random(SEED, HP_RANDOM_TEST, 3, 0);
    HP_TRY(hp_store_write_split(writer, "train", err));
    for (uint32_t q = 0; q < questions; q++) {
        int32_t token[TOKENS + 2];
        hp_question_t question = {.question_id = q,
                                  .image = (uint32_t)((uint64_t)q * images / questions),
                                  .text = "",
                                  .tokens = TOKENS - 2 + (int)(q % 5),
                                  .token = token};
        for (int t = 0; t < question.tokens; t++)
            token[t] = (int32_t)hp_random_below(&random, (uint64_t)shape->words);
        question.label = (int32_t)hp_random_below(&random, (uint64_t)shape->answers);
        HP_TRY(hp_store_write_question(writer, &question, err));
    }
    return HP_OK;
}

static hp_status_t write_store(const char *path, const wk_model_shape_t *shape, uint32_t images,
                               uint32_t questions, hp_error_t *err) {
    const hp_store_plan_t plan = {.feature_dtype = HP_DTYPE_F16,
                                  .grid_height = SIDE,
                                  .grid_width = shape->max_cells / SIDE,
                                  .max_cells = shape->max_cells,
                                  .channels = shape->channels,
                                  .metric = HP_METRIC_EXACT,
                                  .command = "hanps bench"};
    hp_store_writer_t *writer = NULL;
    HP_TRY(hp_store_writer_open(path, &plan, &writer, err));
    hp_status_t status = write_images(writer, shape, images, err);
    if (status == HP_OK) status = write_questions(writer, shape, images, questions, err);
    if (status == HP_OK) status = write_names(writer, shape, err);
    if (status == HP_OK) return hp_store_writer_finish(writer, err);
    hp_store_writer_abandon(writer);
    return status;
}

static hp_status_t write_config(const hp_config_t *base, const places_t *at, hp_error_t *err) {
    hp_config_t config = *base;
    snprintf(config.data.store, sizeof config.data.store, "%s", at->store);
    snprintf(config.data.train, sizeof config.data.train, "train");
    config.data.valid[0] = '\0';
    config.cluster.servers = 1;
    config.checkpoint.every_steps = 0;
    config.checkpoint.every_minutes = 0;
    config.run.steps += WARM;
    FILE *out = fopen(at->config, "w");
    if (out == NULL) return hp_fail_errno(err, HP_IO, "%s", at->config);
    hp_status_t status = hp_config_write(&config, out, err);
    if (fclose(out) != 0 && status == HP_OK) status = hp_fail_errno(err, HP_IO, "%s", at->config);
    return status;
}

static double number(yajl_val line, const char *key) {
    const char *path[] = {key, NULL};
    yajl_val value = yajl_tree_get(line, path, yajl_t_number);
    return value != NULL ? YAJL_GET_DOUBLE(value) : NAN;
}

static hp_status_t parse_line(const char *path, const char *text, yajl_val *line_p,
                              hp_error_t *err) {
    char problem[128];
    *line_p = yajl_tree_parse(text, problem, sizeof problem);
    return *line_p != NULL ? HP_OK : hp_fail(err, HP_INTERNAL, "%s: a line is no JSON", path);
}

/* Lines of the worker's log have the run's totals so far: the last one's less those of the steps
 * that are not counted. */
static void subtract(yajl_val first, yajl_val last, cli_bench_run_t *out) {
    double total[8];
    static const char *const key[8] = {"time_s",           "total_data_s",  "total_forward_s",
                                       "total_backward_s", "total_push_s",  "total_pull_s",
                                       "total_wait_s",     "total_examples"};
    for (int i = 0; i < 8; i++) total[i] = number(last, key[i]) - number(first, key[i]);
    *out = (cli_bench_run_t){.seconds = total[0],
                             .data_s = total[1],
                             .forward_s = total[2],
                             .backward_s = total[3],
                             .push_s = total[4],
                             .pull_s = total[5],
                             .wait_s = total[6],
                             .examples_per_s = total[7] / total[0]};
}

static hp_status_t read_totals(const places_t *at, cli_bench_run_t *out, hp_error_t *err) {
    char path[256];
    snprintf(path, sizeof path, "%s/log/worker-0000.jsonl", at->run);
    unsigned char *bytes = NULL;
    size_t size = 0;
    HP_TRY(hp_read_file(path, LOG_LIMIT, &bytes, &size, err));
    char *rest = (char *)bytes, *first_line = NULL, *last_line = NULL;
    yajl_val first = NULL, last = NULL;
    if (size > 0) bytes[size - 1] = '\0'; /* the last newline */
    for (int n = 1; size > 0 && rest != NULL; n++) {
        last_line = strsep(&rest, "\n");
        if (n == WARM) first_line = last_line;
    }
    hp_status_t status = first_line != last_line && first_line != NULL
                             ? parse_line(path, first_line, &first, err)
                             : hp_fail(err, HP_INTERNAL, "%s: too few lines", path);
    if (status == HP_OK) status = parse_line(path, last_line, &last, err);
    if (status == HP_OK) subtract(first, last, out);
    yajl_tree_free(first);
    yajl_tree_free(last);
    hp_free(bytes);
    return status;
}

/* Of an evaluation: examples after the first batch, and the time they took. */
typedef struct {
    double first, last; /* clock */
    int batches;
} evaluated_t;

static hp_status_t pass_over(void *context, const wk_answered_t *answered, hp_error_t *err) {
    (void)context;
    (void)answered;
    (void)err;
    return HP_OK;
}

static hp_status_t note_batch(void *context, const wk_result_t *result, hp_error_t *err) {
    evaluated_t *e = context;
    (void)result;
    (void)err;
    e->last = hp_clock();
    if (e->batches++ == 0) e->first = e->last;
    return HP_OK;
}

/* run.steps times over the store, which has a few batches; the first of each is not counted: it is
 * not read beside the computation of another. */
static hp_status_t evaluate_trained(const wk_trained_t *trained, double *rate_p, hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(trained->store);
    wk_model_limits_t limits;
    wk_model_t *model = NULL;
    evaluated_t e;
    wk_evaluation_t ignored;
    wk_evaluate_options_t options = {.config = &trained->config,
                                     .store = trained->store,
                                     .split = &info->split[0],
                                     .weights = trained->weights,
                                     .each = pass_over,
                                     .batch = note_batch,
                                     .context = &e};
    HP_TRY(wk_evaluate_limits(&options, &limits, err));
    HP_TRY(wk_model_create(&trained->config, &trained->shape, &limits, &model, err));
    options.model = model;
    hp_status_t status = HP_OK;
    double seconds = 0, batches = 0;
    for (int64_t i = 0; i < trained->config.run.steps - WARM && status == HP_OK; i++) {
        e = (evaluated_t){0};
        status = wk_evaluate(&options, &ignored, err);
        seconds += e.last - e.first;
        batches += e.batches - 1;
    }
    wk_model_destroy(model);
    *rate_p = batches * trained->config.data.batch_size / seconds;
    return status;
}

static hp_status_t evaluate(const places_t *at, cli_bench_run_t *out, hp_error_t *err) {
    wk_trained_t trained = {0};
    hp_status_t status = wk_trained_open(at->run, "last", 0, NULL, &trained, err);
    if (status == HP_OK) status = evaluate_trained(&trained, &out->evaluated_per_s, err);
    wk_trained_close(&trained);
    return status;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk) {
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path);
}

static hp_status_t train(const hp_config_t *config, const wk_model_shape_t *shape,
                         double questions_per_image, places_t *at, cli_bench_run_t *out,
                         hp_error_t *err) {
    snprintf(at->store, sizeof at->store, "%s/store", at->folder);
    snprintf(at->config, sizeof at->config, "%s/config.yaml", at->folder);
    snprintf(at->run, sizeof at->run, "%s/run", at->folder);
    uint32_t questions = BATCHES * (uint32_t)config->data.batch_size;
    uint32_t images = (uint32_t)(questions / questions_per_image + 0.5);
    HP_TRY(write_store(at->store, shape, images > 0 ? images : 1, questions, err));
    HP_TRY(write_config(config, at, err));
    char command[] = "train", option[] = "--run";
    char *argv[] = {command, at->config, option, at->run, NULL};
    optind = 0; /* getopt_long begins anew */
    HP_TRY(cli_train(4, argv, err));
    HP_TRY(read_totals(at, out, err));
    return evaluate(at, out, err);
}

hp_status_t cli_bench_folder(char folder[CLI_BENCH_FOLDER], hp_error_t *err) {
    const char *parent = getenv("TMPDIR");
    int n = snprintf(folder, CLI_BENCH_FOLDER, "%s/hanps-bench-XXXXXX",
                     parent != NULL ? parent : "/tmp");
    if (n >= CLI_BENCH_FOLDER)
        return hp_fail(err, HP_INPUT, "TMPDIR: the path is longer than 100 bytes");
    return mkdtemp(folder) != NULL ? HP_OK : hp_fail_errno(err, HP_IO, "%s", folder);
}

void cli_bench_folder_remove(const char *folder) {
    nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

hp_status_t cli_bench_run(const hp_config_t *config, const wk_model_shape_t *shape,
                          double questions_per_image, cli_bench_run_t *out, hp_error_t *err) {
    places_t at;
    HP_TRY(cli_bench_folder(at.folder, err));
    hp_status_t status = train(config, shape, questions_per_image, &at, out, err);
    cli_bench_folder_remove(at.folder);
    return status;
}
