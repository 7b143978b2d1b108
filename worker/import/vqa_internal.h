/* What an import of questions is made of. Private to worker/import/vqa*.c. */
#ifndef WK_VQA_INTERNAL_H
#define WK_VQA_INTERNAL_H

#include "common/store_write.h"
#include "worker/import/clevr.h"
#include "worker/import/features_ahead.h"
#include "worker/import/json_lines.h"
#include "worker/import/pattern.h"
#include "worker/import/vqa.h"
#include "worker/import/vqa_json.h"
#include "worker/report/picture.h"

enum { WK_VQA_SOURCES = 4 + 64 + 2 * WK_VQA_FILES };

typedef struct {
    const wk_vqa_import_t *import;
    wk_vqa_report_t report;
    wk_strings_t strings, images;
    int splits;
    wk_vqa_set_t *set;      /* [splits] */
    wk_json_lines_t *lines; /* where they come from JSON Lines: their names */
    hp_metric_t metric;
    wk_features_t *features;
    wk_files_t pictures, pixels;
    int64_t *ordinal;  /* [images.count] of the store; -1: has no features, or no pixels */
    uint32_t *written; /* without features: [write] numbers in `images`, in the store's order */
    uint64_t write;
    int32_t *label; /* [strings.count]; -1: not among the answers */
    wk_strings_t words;
    const char **word, **answer;
    hp_store_source_t source[WK_VQA_SOURCES];
    int sources;
    char *identity, clevr[WK_CLEVR_SPLITS][WK_CLEVR_PATH]; /* clevr: its files */
    hp_store_writer_t *writer;
    wk_features_ahead_t *ahead;
    char *token_text;
    int32_t *token;
    hp_answer_t *human;
    size_t token_room, human_room;
    wk_picture_t resized; /* pixels of an image */
    unsigned char *picture;
    size_t picture_room;
} wk_vqa_job_t;

static inline const char *wk_vqa_split_name(const wk_vqa_job_t *job, int split) {
    return job->lines != NULL ? job->lines->name[split] : job->import->split[split].name;
}

/* The file that a question of the split was read from. */
static inline const char *wk_vqa_file_of(const wk_vqa_job_t *job, int split,
                                         const wk_vqa_question_t *q) {
    return job->import->clevr != NULL ? job->import->clevr
           : job->lines != NULL       ? job->import->line[q->file]
                                      : job->import->split[split].question[q->file];
}

void wk_vqa_progress(const wk_vqa_job_t *job, const char *what, uint64_t done, uint64_t total);

/* vqa_clevr.c: fills job->lines. */
hp_status_t wk_vqa_read_clevr(wk_vqa_job_t *job, hp_error_t *err) HP_MUST_CHECK;

/* vqa_images.c: opens what images come from; says which image of the store each of the questions'
 * is (HP_INPUT where one is missing, unless these are skipped); writes them all. */
hp_status_t wk_vqa_open_images(wk_vqa_job_t *job, hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_vqa_match_images(wk_vqa_job_t *job, hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_vqa_open_writer(wk_vqa_job_t *job, hp_error_t *err) HP_MUST_CHECK;
hp_status_t wk_vqa_write_images(wk_vqa_job_t *job, hp_error_t *err) HP_MUST_CHECK;
void wk_vqa_close_images(wk_vqa_job_t *job);

#endif
