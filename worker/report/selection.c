#include "worker/report/selection.h"

#include "common/gemm.h"
#include "common/memory.h"
#include "worker/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const wk_trained_t *trained;
    const wk_part_t *part;
    const hp_split_t *split; /* the part is of */
    size_t words;            /* of 64 cells */
    uint64_t *selected;      /* [questions of the split][words] */
    int *cells;              /* [questions of the split] of their image */
    int32_t *answer;         /* [questions of the split] */
    uint32_t *order;         /* [asked] places in the split, by image */
    uint64_t asked;
} job_t;

static hp_status_t keep(void *context, const wk_answered_t *answered, hp_error_t *err) {
    (void)err;
    job_t *job = context;
    const uint64_t place = answered->question - job->split->first;
    uint64_t *bits = job->selected + place * job->words;
    for (int s = 0; s < answered->selected; s++)
        bits[answered->cell[s] / 64] |= (uint64_t)1 << answered->cell[s] % 64;
    job->cells[place] = answered->cells;
    job->answer[place] = answered->answer;
    return HP_OK;
}

static int count_both(const job_t *job, const uint64_t *a, const uint64_t *b) {
    int n = 0;
    for (size_t w = 0; w < job->words; w++) n += __builtin_popcountll(a[w] & b[w]);
    return n;
}

static uint32_t image_of(const job_t *job, uint32_t place) {
    return hp_store_question_image(job->trained->store)[job->split->first + place];
}

static int by_image(const void *a, const void *b, void *context) {
    const job_t *job = context;
    const uint32_t p = *(const uint32_t *)a, q = *(const uint32_t *)b;
    const uint32_t i = image_of(job, p), j = image_of(job, q);
    return i != j ? (i > j) - (i < j) : (p > q) - (p < q);
}

static void measure_overlap(const job_t *job, wk_selection_report_t *report) {
    double sum = 0, chance = 0, pairs = 0;
    for (uint64_t i = 0; i < job->asked; i++) {
        const uint64_t *a = job->selected + job->order[i] * job->words;
        const double m = count_both(job, a, a);
        for (uint64_t j = i; j-- > 0;) {
            if (image_of(job, job->order[j]) != image_of(job, job->order[i])) break;
            const uint64_t *b = job->selected + job->order[j] * job->words;
            const double n = count_both(job, b, b);
            sum += 2 * count_both(job, a, b) / (m + n);
            chance += 2 * m * n / ((m + n) * job->cells[job->order[i]]);
            pairs++;
        }
    }
    report->overlap = pairs > 0 ? 100 * sum / pairs : NAN;
    report->overlap_chance = pairs > 0 ? 100 * chance / pairs : NAN;
}

void wk_selection_touch(const float object[4], int height, int width, int rows, int columns,
                        uint64_t *cells) {
    for (int c = 0; c < rows * columns; c++) {
        const int row = c / columns, column = c % columns;
        const double top = (double)row * height / rows, left = (double)column * width / columns;
        const double bottom = (double)(row + 1) * height / rows;
        const double right = (double)(column + 1) * width / columns;
        if (object[0] < right && object[2] > left && object[1] < bottom && object[3] > top)
            cells[c / 64] |= (uint64_t)1 << c % 64;
    }
}

static hp_status_t touch_image(const job_t *job, hp_store_reader_t *reader, uint32_t image,
                               float *object, uint64_t *touched, hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(job->trained->store);
    const wk_model_shape_t *shape = &job->trained->shape;
    int objects = 0;
    HP_TRY(hp_store_read_objects(reader, image, object, info->max_objects, &objects, err));
    memset(touched, 0, job->words * sizeof *touched);
    for (int o = 0; o < objects; o++)
        wk_selection_touch(object + 4 * o, info->pixel_height, info->pixel_width,
                           shape->grid_height, shape->grid_width, touched);
    return HP_OK;
}

static hp_status_t measure_objects(const job_t *job, hp_store_reader_t *reader, float *object,
                                   uint64_t *touched, wk_selection_report_t *report,
                                   hp_error_t *err) {
    double selected = 0, on = 0, chance = 0;
    for (uint64_t i = 0; i < job->asked; i++) {
        const uint32_t place = job->order[i], image = image_of(job, place);
        if (i == 0 || image_of(job, job->order[i - 1]) != image)
            HP_TRY(touch_image(job, reader, image, object, touched, err));
        const uint64_t *a = job->selected + place * job->words;
        const double n = count_both(job, a, a);
        selected += n;
        on += count_both(job, a, touched);
        chance += n * count_both(job, touched, touched) / job->cells[place];
    }
    report->on_objects = selected > 0 ? 100 * on / selected : NAN;
    report->on_objects_chance = selected > 0 ? 100 * chance / selected : NAN;
    return HP_OK;
}

static hp_status_t look_at_objects(const job_t *job, wk_selection_report_t *report,
                                   hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(job->trained->store);
    report->on_objects = report->on_objects_chance = NAN;
    if (info->max_objects == 0 || job->trained->shape.grid_height == 0) return HP_OK;
    hp_store_reader_t *reader = NULL;
    void *object = NULL, *touched = NULL;
    hp_status_t status = hp_store_reader_open(job->trained->store, &reader, err);
    if (status == HP_OK)
        status = hp_allocate(&object, (size_t)info->max_objects, 4 * sizeof(float), "objects", err);
    if (status == HP_OK)
        status = hp_allocate(&touched, job->words, sizeof(uint64_t), "objects", err);
    if (status == HP_OK) status = measure_objects(job, reader, object, touched, report, err);
    hp_free(touched);
    hp_free(object);
    hp_store_reader_close(reader);
    return status;
}

static hp_status_t make_room(job_t *job, hp_error_t *err) {
    const uint64_t n = job->split->count;
    void *p = NULL;
    if (n > UINT32_MAX) return hp_fail(err, HP_INPUT, "too many questions");
    HP_TRY(hp_allocate(&p, n * job->words, sizeof(uint64_t), "selections", err));
    job->selected = p;
    HP_TRY(hp_allocate(&p, n, sizeof(int), "selections", err));
    job->cells = p;
    HP_TRY(hp_allocate(&p, n, sizeof(int32_t), "answers", err));
    job->answer = p;
    HP_TRY(hp_allocate(&p, n, sizeof(uint32_t), "selections", err));
    job->order = p;
    for (uint32_t i = 0; i < n; i++) job->answer[i] = WK_NOT_ASKED;
    return HP_OK;
}

static hp_status_t measure(job_t *job, wk_selection_report_t *report, hp_error_t *err) {
    const wk_trained_t *trained = job->trained;
    HP_TRY(make_room(job, err));
    const wk_evaluate_options_t options = {.config = &trained->config,
                                           .store = trained->store,
                                           .split = job->split,
                                           .cut = job->part->cut,
                                           .weights = trained->weights,
                                           .each = keep,
                                           .context = job};
    wk_evaluation_t evaluation = {0};
    hp_gemm_set_threads(trained->config.cluster.threads);
    HP_TRY(wk_evaluate(&options, &evaluation, err));
    report->questions = evaluation.examples;
    report->cells_mean = evaluation.cells_mean;
    for (uint32_t i = 0; i < job->split->count; i++)
        if (job->answer[i] != WK_NOT_ASKED) job->order[job->asked++] = i;
    qsort_r(job->order, job->asked, sizeof *job->order, by_image, job);
    measure_overlap(job, report);
    HP_TRY(look_at_objects(job, report, err));
    return wk_score_split(trained->store, job->split, job->answer, NULL, NULL, &report->tally, err);
}

hp_status_t wk_selection_measure(const wk_trained_t *trained, const wk_part_t *part,
                                 wk_selection_report_t *report, hp_error_t *err) {
    job_t job = {.trained = trained,
                 .part = part,
                 .split = &part->range,
                 .words = ((size_t)trained->shape.max_cells + 63) / 64};
    *report = (wk_selection_report_t){0};
    hp_status_t status = measure(&job, report, err);
    hp_free(job.selected);
    hp_free(job.cells);
    hp_free(job.answer);
    hp_free(job.order);
    return status;
}
