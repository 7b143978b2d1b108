#include "worker/report/masks.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/run_folder.h"
#include "worker/evaluate.h"
#include "worker/report/masks_page.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* A question of the page. */
typedef struct {
    uint64_t question; /* ordinal in the store */
    uint32_t image;
    bool answered;
    int64_t id;
    char *text, *type, *truth, *image_name;
    double score;
    int guesses, guess[WK_MASKS_GUESSES];
    double probability[WK_MASKS_GUESSES];
    int cells, selected;
    int *cell;
    float *presence;
} shown_t;

typedef struct {
    const wk_masks_options_t *options;
    const hp_store_info_t *info;
    hp_store_reader_t *reader;
    hp_split_t whole;
    wk_cut_t cut;
    hp_split_t scored; /* with cut: the questions that accuracy speaks of */
    int shown_count, capacity;
    shown_t *shown;  /* in order of `question` */
    int32_t *answer; /* [scored.count] */
    bool presence;
} job_t;

static int by_question(const void *a, const void *b) {
    uint64_t p = ((const shown_t *)a)->question, q = ((const shown_t *)b)->question;
    return p < q ? -1 : p > q;
}

static shown_t *find_shown(job_t *job, uint64_t question) {
    const shown_t key = {.question = question};
    return bsearch(&key, job->shown, (size_t)job->shown_count, sizeof key, by_question);
}

/* ---- which questions ---- */

static bool is_shown(const job_t *job, uint64_t question) {
    for (int i = 0; i < job->shown_count; i++)
        if (job->shown[i].question == question) return true;
    return false;
}

/* How different two questions are: what one looks for in a second question of an image. */
static int difference(const char *answer_type, const char *question_type, const hp_question_t *q) {
    return 2 * (strcmp(answer_type, q->answer_type) != 0) +
           (strcmp(question_type, q->question_type) != 0);
}

/* A second question of the image, of another type if possible. *second_p: UINT64_MAX where no other
 * is near. */
static hp_status_t find_partner(job_t *job, uint64_t question, uint64_t *second_p,
                                hp_error_t *err) {
    enum { NEAR = 32 };
    const uint32_t *image = hp_store_question_image(job->options->trained->store);
    uint64_t begin = job->scored.first, end = begin + job->scored.count;
    hp_question_t record;
    char answer_type[128], question_type[128];
    HP_TRY(hp_store_read_question(job->reader, question, &record, err));
    snprintf(answer_type, sizeof answer_type, "%s", record.answer_type);
    snprintf(question_type, sizeof question_type, "%s", record.question_type);
    int best = -1;
    if (question > begin + NEAR) begin = question - NEAR;
    *second_p = UINT64_MAX;
    for (uint64_t q = begin; q < end && q <= question + NEAR; q++) {
        if (image[q] != image[question] || is_shown(job, q)) continue;
        HP_TRY(hp_store_read_question(job->reader, q, &record, err));
        int d = difference(answer_type, question_type, &record);
        if (d <= best) continue;
        best = d;
        *second_p = q;
    }
    return HP_OK;
}

static void add_shown(job_t *job, uint64_t question) {
    if (!is_shown(job, question) && job->shown_count < job->capacity)
        job->shown[job->shown_count++] =
            (shown_t){.question = question,
                      .image = hp_store_question_image(job->options->trained->store)[question]};
}

static hp_status_t choose_spread(job_t *job, hp_error_t *err) {
    const uint32_t *image = hp_store_question_image(job->options->trained->store);
    uint64_t count = job->scored.count, first = job->scored.first;
    uint64_t anchors = ((uint64_t)job->options->count + 1) / 2;
    for (uint64_t i = 0; i < anchors && i < count; i++) {
        uint64_t question = first + (anchors < count ? i * (count / anchors) : i);
        uint64_t second;
        while (question < first + count && !wk_cut_has(&job->cut, image[question])) question++;
        if (question == first + count) break;
        add_shown(job, question);
        HP_TRY(find_partner(job, question, &second, err));
        if (second != UINT64_MAX) add_shown(job, second);
    }
    return HP_OK;
}

static hp_status_t choose_ids(job_t *job, hp_error_t *err) {
    const hp_split_t *split = &job->whole;
    for (int i = 0; i < job->options->ids; i++) {
        int before = job->shown_count;
        hp_question_t record;
        for (uint64_t q = 0; q < split->count && job->shown_count == before; q++) {
            HP_TRY(hp_store_read_question(job->reader, split->first + q, &record, err));
            if (record.question_id == job->options->id[i]) {
                add_shown(job, split->first + q);
                break;
            }
            if (q + 1 == split->count)
                return hp_fail(err, HP_INPUT, "question %" PRId64 " is not in split '%s'",
                               job->options->id[i], split->name);
        }
    }
    return HP_OK;
}

/* ---- what the model says ---- */

static void best_guesses(const wk_answered_t *a, shown_t *shown) {
    shown->guesses = a->answers < WK_MASKS_GUESSES ? a->answers : WK_MASKS_GUESSES;
    double sum = 0;
    for (int i = 0; i < a->answers; i++) sum += exp((double)a->logits[i] - a->logits[a->answer]);
    for (int g = 0; g < shown->guesses; g++) {
        int best = -1;
        for (int i = 0; i < a->answers; i++) {
            bool taken = false;
            for (int k = 0; k < g; k++) taken = taken || shown->guess[k] == i;
            if (!taken && (best < 0 || a->logits[i] > a->logits[best])) best = i;
        }
        shown->guess[g] = best;
        shown->probability[g] = exp((double)a->logits[best] - a->logits[a->answer]) / sum;
    }
}

static hp_status_t keep_answer(job_t *job, shown_t *shown, const wk_answered_t *a,
                               hp_error_t *err) {
    if (shown->answered) return HP_OK;
    void *cell = NULL, *presence = NULL;
    if (a->selected > 0)
        HP_TRY(hp_allocate(&cell, (size_t)a->selected, sizeof *shown->cell, "selection", err));
    shown->cell = cell;
    if (a->presence != NULL) {
        HP_TRY(hp_allocate(&presence, (size_t)a->cells, sizeof *shown->presence, "presence", err));
        memcpy(presence, a->presence, (size_t)a->cells * sizeof *shown->presence);
        job->presence = true;
    }
    shown->presence = presence;
    if (a->selected > 0) memcpy(cell, a->cell, (size_t)a->selected * sizeof *shown->cell);
    shown->cells = a->cells;
    shown->selected = a->selected;
    best_guesses(a, shown);
    shown->answered = true;
    return HP_OK;
}

static hp_status_t see_answer(void *context, const wk_answered_t *a, hp_error_t *err) {
    job_t *job = context;
    if (a->question - job->scored.first < job->scored.count)
        job->answer[a->question - job->scored.first] = a->answer;
    shown_t *shown = find_shown(job, a->question);
    return shown == NULL ? HP_OK : keep_answer(job, shown, a, err);
}

static hp_status_t copy_text(const char *text, char **out, hp_error_t *err) {
    *out = hp_strdup(text);
    return *out != NULL ? HP_OK : hp_fail(err, HP_MEMORY, "out of memory: a question");
}

static hp_status_t score_shown(job_t *job, wk_scorer_t *scorer, shown_t *shown, hp_error_t *err) {
    hp_question_t record;
    double score[WK_METRICS];
    HP_TRY(hp_store_read_question(job->reader, shown->question, &record, err));
    HP_TRY(wk_score(scorer, job->info->answer[shown->guess[0]], &record, score, err));
    shown->score = score[job->options->metric];
    shown->id = record.question_id;
    HP_TRY(copy_text(record.text, &shown->text, err));
    HP_TRY(copy_text(record.question_type, &shown->type, err));
    HP_TRY(copy_text(record.target, &shown->truth, err));
    const char *name = NULL;
    HP_TRY(hp_store_read_image_name(job->reader, shown->image, &name, err));
    return copy_text(name, &shown->image_name, err);
}

static hp_status_t answer_all(job_t *job, wk_evaluation_t *evaluation, hp_error_t *err) {
    const wk_trained_t *trained = job->options->trained;
    wk_evaluate_options_t options = {.config = &trained->config,
                                     .store = trained->store,
                                     .split = &job->scored,
                                     .cut = job->cut,
                                     .weights = trained->weights,
                                     .each = see_answer,
                                     .context = job};
    void *answer = NULL;
    HP_TRY(hp_allocate(&answer, (size_t)job->scored.count, sizeof *job->answer, "answers", err));
    job->answer = answer;
    for (uint64_t i = 0; i < job->scored.count; i++) job->answer[i] = WK_NOT_ASKED;
    HP_TRY(wk_evaluate(&options, evaluation, err));
    for (int i = 0; i < job->shown_count; i++) { /* questions beyond those that are scored */
        if (job->shown[i].answered) continue;
        hp_split_t one = {.first = job->shown[i].question, .count = 1};
        wk_evaluation_t ignored;
        options.split = &one;
        options.cut = (wk_cut_t){0};
        HP_TRY(wk_evaluate(&options, &ignored, err));
    }
    wk_scorer_t *scorer = NULL;
    HP_TRY(wk_scorer_create(&scorer, err));
    hp_status_t status = HP_OK;
    for (int i = 0; i < job->shown_count && status == HP_OK; i++)
        status = score_shown(job, scorer, &job->shown[i], err);
    wk_scorer_destroy(scorer);
    return status;
}

/* ---- what is written ---- */

/* The picture of an image: the source's own file where the store has it, else its pixels as PNG.
 * picture->pixel is NULL where there is none, or none that can be read (which is noted). `data` and
 * `owned`: the bytes to embed. */
typedef struct {
    wk_picture_t picture;
    const void *data;
    size_t bytes;
    const char *type;
    void *owned; /* hp_free */
} image_t;

static void note_picture(job_t *job, const shown_t *shown, const hp_error_t *why) {
    char text[1400];
    if (job->options->note == NULL) return;
    snprintf(text, sizeof text, "image %s is shown without its picture: %s", shown->image_name,
             why->text);
    job->options->note(job->options->context, text);
}

/* Files that a page should not carry whole are embedded smaller. */
static hp_status_t shrink(image_t *image, hp_error_t *err) {
    enum { SIDE = 640 };
    wk_picture_t *p = &image->picture, smaller = {0};
    if (image->bytes <= 200000) return HP_OK;
    int longer = p->width > p->height ? p->width : p->height;
    if (longer > SIDE) {
        int width = (int)((long)p->width * SIDE / longer);
        int height = (int)((long)p->height * SIDE / longer);
        HP_TRY(wk_picture_allocate(width > 0 ? width : 1, height > 0 ? height : 1, &smaller, err));
        wk_picture_resize(p, &smaller);
        wk_picture_release(p);
        *p = smaller;
    }
    HP_TRY(wk_picture_encode_png(p, &image->owned, &image->bytes, err));
    image->data = image->owned;
    image->type = "image/png";
    return HP_OK;
}

static hp_status_t load_image(job_t *job, const shown_t *shown, image_t *image, hp_error_t *err) {
    const void *data = NULL;
    size_t bytes = 0;
    hp_error_t why = {0};
    if (job->info->pictures &&
        hp_store_read_image(job->reader, shown->image, HP_RECORD_PICTURE, &data, &bytes, &why) ==
            HP_OK &&
        bytes > 0) {
        if (wk_picture_decode(data, bytes, &image->picture, &why) == HP_OK) {
            image->data = data;
            image->bytes = bytes;
            image->type = wk_picture_type(data, bytes);
            return shrink(image, err);
        }
        note_picture(job, shown, &why);
    }
    if (job->info->pixel_height == 0) return HP_OK;
    HP_TRY(hp_store_read_image(job->reader, shown->image, HP_RECORD_PIXELS, &data, &bytes, err));
    HP_TRY(
        wk_picture_allocate(job->info->pixel_width, job->info->pixel_height, &image->picture, err));
    memcpy(image->picture.pixel, data, bytes);
    HP_TRY(wk_picture_encode_png(&image->picture, &image->owned, &image->bytes, err));
    image->data = image->owned;
    image->type = "image/png";
    return HP_OK;
}

static hp_status_t write_picture(job_t *job, const wk_masks_card_t *card,
                                 const wk_picture_t *picture, hp_error_t *err) {
    wk_picture_t out = {0};
    void *png = NULL;
    size_t bytes = 0;
    char name[64];
    snprintf(name, sizeof name, "question-%" PRId64 ".png", card->question_id);
    HP_TRY(wk_masks_picture(card, picture, &out, err));
    hp_status_t status = wk_picture_encode_png(&out, &png, &bytes, err);
    wk_picture_release(&out);
    HP_TRY(status);
    status = hp_run_write_file(job->options->out, name, png, bytes, err);
    hp_free(png);
    return status;
}

static hp_status_t write_card(job_t *job, FILE *page, const shown_t *shown, bool first_of_image,
                              hp_error_t *err) {
    image_t image = {0};
    wk_masks_card_t card = {
        .question_id = shown->id,
        .image = shown->image,
        .image_name = shown->image_name,
        .question = shown->text,
        .question_type = shown->type,
        .truth = shown->truth,
        .score = shown->score,
        .guesses = shown->guesses,
        .mask = {.rows = job->options->trained->shape.grid_height,
                 .columns = job->options->trained->shape.grid_width,
                 .cells = shown->cells,
                 .selected = shown->selected,
                 .cell = shown->cell,
                 .presence = shown->presence},
    };
    for (int g = 0; g < shown->guesses; g++) {
        card.guess[g].text = job->info->answer[shown->guess[g]];
        card.guess[g].probability = shown->probability[g];
    }
    hp_status_t status = load_image(job, shown, &image, err);
    bool has_picture = image.picture.pixel != NULL;
    if (status == HP_OK) {
        card.width = image.picture.width;
        card.height = image.picture.height;
        if (has_picture && first_of_image)
            wk_masks_page_picture(page, shown->image, image.type, image.data, image.bytes);
        wk_masks_page_card(page, &card);
        status = write_picture(job, &card, has_picture ? &image.picture : NULL, err);
    }
    wk_picture_release(&image.picture);
    hp_free(image.owned);
    return status;
}

static bool seen_before(const job_t *job, int index) {
    for (int i = 0; i < index; i++)
        if (job->shown[i].image == job->shown[index].image) return true;
    return false;
}

static void describe_model(const hp_config_t *config, int cells, char *out, size_t bytes) {
    char kind[64], aggregate[64];
    hp_config_text(config, "model.attention.kind", kind, sizeof kind);
    hp_config_text(config, "model.aggregate.kind", aggregate, sizeof aggregate);
    hp_attention_t attention = config->model.attention.kind;
    bool counted =
        attention != HP_ATTEND_ALL && attention != HP_ATTEND_ADAHAN && attention != HP_ATTEND_SOFT;
    if (counted)
        snprintf(out, bytes, "%s, %d of %d cells, %s", kind, config->model.attention.cells, cells,
                 aggregate);
    else
        snprintf(out, bytes, "%s over %d cells, %s", kind, cells, aggregate);
}

static hp_status_t write_page(job_t *job, const wk_masks_summary_t *summary, hp_error_t *err) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *page = open_memstream(&text, &bytes);
    if (page == NULL) return hp_fail_errno(err, HP_MEMORY, "the page of masks");
    wk_masks_page_begin(page, summary);
    hp_status_t status = HP_OK;
    for (int i = 0; i < job->shown_count && status == HP_OK; i++)
        status = write_card(job, page, &job->shown[i], !seen_before(job, i), err);
    wk_masks_page_end(page, summary);
    bool whole = ferror(page) == 0;
    if (fclose(page) != 0 || !whole) {
        if (status == HP_OK) status = hp_fail(err, HP_MEMORY, "out of memory: the page of masks");
    }
    if (status == HP_OK)
        status = hp_run_write_file(job->options->out, "index.html", text, bytes, err);
    free(text);
    return status;
}

static hp_status_t summarise(job_t *job, const wk_tally_t *tally, const wk_evaluation_t *evaluation,
                             wk_masks_outcome_t *outcome, hp_error_t *err) {
    const wk_trained_t *trained = job->options->trained;
    wk_metric_t metric = job->options->metric;
    char model[256];
    void *groups = NULL;
    describe_model(&trained->config, trained->shape.max_cells, model, sizeof model);
    if (tally->answer_types > 0)
        HP_TRY(hp_allocate(&groups, (size_t)tally->answer_types, sizeof(wk_masks_group_t),
                           "answer types", err));
    wk_masks_group_t *group = groups;
    for (int i = 0; i < tally->answer_types; i++)
        group[i] = (wk_masks_group_t){tally->answer_type[i].name,
                                      wk_percent(&tally->answer_type[i], metric),
                                      tally->answer_type[i].count};
    wk_masks_summary_t summary = {
        .run = job->options->run,
        .split = job->options->split,
        .source = job->info->source,
        .model = model,
        .step = trained->step,
        .questions = evaluation->examples,
        .accuracy = wk_percent(&tally->overall, metric),
        .cells_mean = evaluation->cells_mean,
        .max_cells = trained->shape.max_cells,
        .groups = tally->answer_types,
        .group = group,
        .presence = job->presence,
    };
    for (int i = 0; i < job->shown_count; i++) {
        double score = job->shown[i].score;
        int *n = score >= 1 ? &summary.right : score > 0 ? &summary.partly : &summary.wrong;
        (*n)++;
    }
    hp_status_t status = write_page(job, &summary, err);
    hp_free(groups);
    *outcome = (wk_masks_outcome_t){.shown = job->shown_count,
                                    .right = summary.right,
                                    .partly = summary.partly,
                                    .wrong = summary.wrong,
                                    .scored = summary.questions,
                                    .accuracy = summary.accuracy,
                                    .cells_mean = summary.cells_mean,
                                    .answer_types = summary.groups};
    return status == HP_OK ? hp_run_path(job->options->out, "index.html", outcome->page, err)
                           : status;
}

static hp_status_t run(job_t *job, wk_masks_outcome_t *outcome, hp_error_t *err) {
    const wk_masks_options_t *o = job->options;
    wk_evaluation_t evaluation = {0};
    wk_tally_t tally = {0};
    HP_TRY(o->ids > 0 ? choose_ids(job, err) : choose_spread(job, err));
    qsort(job->shown, (size_t)job->shown_count, sizeof *job->shown, by_question);
    HP_TRY(answer_all(job, &evaluation, err));
    HP_TRY(wk_score_split(o->trained->store, &job->scored, job->answer, NULL, NULL, &tally, err));
    hp_status_t status = hp_make_folders(o->out, err);
    if (status == HP_OK) status = summarise(job, &tally, &evaluation, outcome, err);
    wk_tally_release(&tally);
    return status;
}

static void release(job_t *job) {
    for (int i = 0; i < job->shown_count; i++) {
        shown_t *s = &job->shown[i];
        hp_free(s->text);
        hp_free(s->type);
        hp_free(s->truth);
        hp_free(s->image_name);
        hp_free(s->cell);
        hp_free(s->presence);
    }
    hp_free(job->shown);
    hp_free(job->answer);
    hp_store_reader_close(job->reader);
}

hp_status_t wk_masks(const wk_masks_options_t *options, wk_masks_outcome_t *outcome,
                     hp_error_t *err) {
    hp_store_t *store = options->trained->store;
    job_t job = {.options = options, .info = hp_store_info(store)};
    wk_part_t part;
    HP_TRY(wk_part_find(store, &options->trained->config, options->split, &part, err));
    job.whole = job.scored = part.range;
    job.cut = part.cut;
    if (job.scored.count == 0)
        return hp_fail(err, HP_INPUT, "split '%s' has no questions", options->split);
    if (job.scored.count > options->scored) job.scored.count = options->scored;
    job.capacity = options->ids > 0 ? options->ids : options->count;
    void *shown = NULL;
    HP_TRY(hp_allocate(&shown, (size_t)job.capacity, sizeof *job.shown, "questions", err));
    job.shown = shown;
    hp_status_t status = hp_store_reader_open(store, &job.reader, err);
    if (status == HP_OK) status = run(&job, outcome, err);
    release(&job);
    return status;
}
