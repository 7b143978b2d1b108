#include "worker/extract.h"

#include "common/gemm.h"
#include "common/memory.h"
#include "common/store_convert.h"
#include "worker/data/batch.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const wk_extract_options_t *options;
    const hp_store_info_t *info;
    wk_extract_report_t *report;
    wk_batch_plan_t plan;
    wk_model_t *model;
    hp_store_reader_t *reader;
    hp_store_writer_t *writer; /* rank 0 */
    uint32_t next;             /* rank 0: the image that is written next */
    size_t pixels, cells;      /* numbers of an image */
    size_t payload_bytes;      /* of an image's features */
    float *pixel;              /* [batch][pixels] */
    float *object;             /* [max_objects][4] */
    void *payload;             /* [cells] as the store has them */
} job_t;

static void progress(const job_t *job, const char *what, uint64_t done, uint64_t total) {
    if (job->options->progress != NULL)
        job->options->progress(job->options->context, what, done, total);
}

static hp_status_t make_model(job_t *job, hp_error_t *err) {
    const wk_trained_t *t = job->options->trained;
    wk_extract_report_t *r = job->report;
    if (strcmp(t->config.model.image.trunk, "cnn") != 0)
        return hp_fail(err, HP_INPUT, "model.image.trunk: %s; a run with a cnn is needed",
                       t->config.model.image.trunk);
    /* Of the model's workspace only the trunk's part is used. */
    HP_TRY(wk_batch_plan(&t->config, job->info, 1, job->options->batch, &job->plan, err));
    HP_TRY(wk_model_create(&t->config, &job->plan.shape, &job->plan.limits, &job->model, err));
    HP_TRY(wk_model_grid(&t->config, t->shape.pixel_height, t->shape.pixel_width, &r->rows,
                         &r->columns, err));
    const hp_layers_t *filters = &t->config.model.image.filters;
    r->channels = filters->size[filters->count - 1];
    job->pixels = (size_t)t->shape.pixel_height * (size_t)t->shape.pixel_width * 3;
    job->cells = (size_t)r->rows * (size_t)r->columns * (size_t)r->channels;
    void *p = NULL;
    HP_TRY(
        hp_allocate(&p, (size_t)job->options->batch * job->pixels, sizeof(float), "pixels", err));
    job->pixel = p;
    HP_TRY(hp_allocate(&p, (size_t)job->info->max_objects + 1, 4 * sizeof(float), "objects", err));
    job->object = p;
    job->payload_bytes = job->cells * hp_dtype_size(job->options->dtype);
    HP_TRY(hp_allocate(&job->payload, job->payload_bytes, 1, "features", err));
    return hp_store_reader_open(t->store, &job->reader, err);
}

static hp_status_t open_writer(job_t *job, hp_error_t *err) {
    const wk_extract_options_t *o = job->options;
    char identity[256];
    snprintf(identity, sizeof identity, "extract %s, store %s, step %" PRId64 ", %s %s, pixels %d",
             o->command, job->info->digest, o->trained->step, hp_dtype_name(o->dtype),
             hp_encoding_name(o->encoding), o->keep_pixels);
    const hp_store_plan_t plan = {
        .feature_dtype = o->dtype,
        .encoding = o->encoding,
        .grid_height = job->report->rows,
        .grid_width = job->report->columns,
        .max_cells = job->report->rows * job->report->columns,
        .channels = job->report->channels,
        .pixel_height = o->keep_pixels ? job->info->pixel_height : 0,
        .pixel_width = o->keep_pixels ? job->info->pixel_width : 0,
        .max_objects = o->keep_pixels ? job->info->max_objects : 0,
        .pictures = job->info->pictures,
        .metric = job->info->metric,
        .code_bits = job->info->code_bits,
        .tokenizer = job->info->tokenizer,
        .command = o->command,
        .sources = job->info->files,
        .source = job->info->file,
        .identity = identity,
    };
    HP_TRY(hp_store_writer_open(o->out, &plan, &job->writer, err));
    job->report->kept_images = hp_store_writer_images(job->writer);
    if (job->report->kept_images > job->info->images)
        return hp_fail(err, HP_CORRUPT, "%s.partial has too many images", o->out);
    return HP_OK;
}

/* ---- each rank: features of images ---- */

/* cells: of one image, `width` numbers each, of which the first are the features. */
static hp_status_t put_image(job_t *job, uint32_t ordinal, const float *cells, int width,
                             hp_error_t *err) {
    const hp_dtype_t dtype = job->options->dtype;
    const size_t channels = (size_t)job->report->channels, count = job->cells / channels;
    for (size_t c = 0; c < count; c++) {
        const float *cell = cells + c * (size_t)width;
        const size_t bad = hp_convert_find_bad(dtype, cell, channels);
        if (bad < channels) {
            const char *name = NULL;
            HP_TRY(hp_store_read_image_name(job->reader, ordinal, &name, err));
            return hp_fail(err, HP_NONFINITE, "image '%s', cell %zu, channel %zu: %g is no %s",
                           name, c, bad, (double)cell[bad], hp_dtype_name(dtype));
        }
        hp_convert_from_f32(hp_convert_best(), dtype, cell, channels,
                            (char *)job->payload + c * channels * hp_dtype_size(dtype));
    }
    return hp_team_append(job->options->team, job->payload, job->payload_bytes, err);
}

static hp_status_t put_batch(job_t *job, uint32_t first, int n, hp_error_t *err) {
    const float *cells = NULL;
    int width = 0;
    for (int i = 0; i < n; i++)
        HP_TRY(wk_batch_read_pixels(&job->plan, job->reader, first + (uint32_t)i,
                                    job->pixel + (size_t)i * job->pixels, err));
    HP_TRY(wk_model_trunk(job->model, job->options->trained->weights, n, job->pixel, &cells, &width,
                          err));
    const size_t size = (size_t)job->report->rows * (size_t)job->report->columns;
    for (int i = 0; i < n; i++)
        HP_TRY(put_image(job, first + (uint32_t)i, cells + (size_t)i * size * (size_t)width, width,
                         err));
    return hp_team_put(job->options->team, err);
}

/* The batches of the images that are not there yet, this rank's of them. */
static hp_status_t put_batches(job_t *job, hp_error_t *err) {
    const uint64_t total = job->info->images, batch = (uint64_t)job->options->batch;
    const uint64_t rank = (uint64_t)hp_team_rank(job->options->team);
    const uint64_t step = batch * (uint64_t)hp_team_size(job->options->team);
    for (uint64_t first = job->report->kept_images + rank * batch; first < total; first += step)
        HP_TRY(put_batch(job, (uint32_t)first, (int)(batch < total - first ? batch : total - first),
                         err));
    return HP_OK;
}

/* ---- rank 0: the store ---- */

static hp_status_t write_image(job_t *job, const void *features, hp_error_t *err) {
    const wk_extract_options_t *o = job->options;
    const uint32_t ordinal = job->next++;
    hp_store_image_t image = {.features = features,
                              .cells = job->report->rows * job->report->columns};
    HP_TRY(hp_store_read_image_name(job->reader, ordinal, &image.name, err));
    const void *pixels = NULL;
    size_t bytes = 0;
    if (o->keep_pixels) {
        HP_TRY(hp_store_read_image(job->reader, ordinal, HP_RECORD_PIXELS, &pixels, &bytes, err));
        image.pixels = pixels;
        if (job->info->max_objects > 0)
            HP_TRY(hp_store_read_objects(job->reader, ordinal, job->object, job->info->max_objects,
                                         &image.objects, err));
        image.object = job->object;
    }
    if (job->info->pictures) {
        hp_status_t status = hp_store_read_image(job->reader, ordinal, HP_RECORD_PICTURE,
                                                 &image.picture, &image.picture_bytes, err);
        if (status != HP_OK && status != HP_INPUT) return status; /* an image may have none */
    }
    return hp_store_write_image(job->writer, &image, NULL, err);
}

static hp_status_t take_batch(void *context, const void *data, size_t bytes, hp_error_t *err) {
    job_t *job = context;
    for (size_t at = 0; at < bytes; at += job->payload_bytes)
        HP_TRY(write_image(job, (const char *)data + at, err));
    progress(job, "images", job->next, job->info->images);
    return HP_OK;
}

static hp_status_t extract_images(job_t *job, hp_error_t *err) {
    hp_team_t *team = job->options->team;
    hp_status_t status = hp_team_begin(team, take_batch, job, err);
    job->next = (uint32_t)job->report->kept_images;
    if (status == HP_OK) status = put_batches(job, err);
    job->report->images = job->info->images;
    return hp_team_end(team, status, err);
}

static hp_status_t write_questions(job_t *job, hp_error_t *err) {
    const hp_store_info_t *info = job->info;
    HP_TRY(hp_store_write_words(job->writer, info->words, info->word, err));
    HP_TRY(hp_store_write_answers(job->writer, info->answers, info->answer, err));
    for (int s = 0; s < info->splits; s++) {
        const hp_split_t *split = &info->split[s];
        HP_TRY(hp_store_write_split(job->writer, split->name, err));
        for (uint64_t i = 0; i < split->count; i++) {
            hp_question_t question;
            HP_TRY(hp_store_read_question(job->reader, split->first + i, &question, err));
            HP_TRY(hp_store_write_question(job->writer, &question, err));
            progress(job, "questions", ++job->report->questions, info->questions);
        }
    }
    return HP_OK;
}

static hp_status_t prepare(job_t *job, hp_error_t *err) {
    hp_team_t *team = job->options->team;
    hp_gemm_set_threads(hp_team_threads(team, job->options->trained->config.cluster.threads));
    HP_TRY(make_model(job, err));
    return hp_team_rank(team) == 0 ? open_writer(job, err) : HP_OK;
}

static hp_status_t run(job_t *job, hp_error_t *err) {
    uint64_t *kept = &job->report->kept_images;
    HP_TRY(hp_team_agree(job->options->team, prepare(job, err), kept, sizeof *kept, err));
    HP_TRY(extract_images(job, err));
    if (hp_team_rank(job->options->team) > 0) return HP_OK;
    HP_TRY(write_questions(job, err));
    hp_store_writer_t *writer = job->writer;
    job->writer = NULL;
    return hp_store_writer_finish(writer, err);
}

hp_status_t wk_extract(const wk_extract_options_t *options, wk_extract_report_t *report,
                       hp_error_t *err) {
    *report = (wk_extract_report_t){0};
    job_t job = {
        .options = options, .info = hp_store_info(options->trained->store), .report = report};
    hp_status_t status = run(&job, err);
    hp_store_writer_abandon(job.writer);
    hp_store_reader_close(job.reader);
    wk_model_destroy(job.model);
    hp_free(job.pixel);
    hp_free(job.object);
    hp_free(job.payload);
    return status;
}
