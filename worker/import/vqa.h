/* Imports data sets in the form of VQA v1, v2 and VQA-CP: questions and annotations in JSON,
 * features from HDF5 or .npy files, pictures to look at. */
#ifndef WK_VQA_H
#define WK_VQA_H

#include "common/status.h"
#include "common/store.h"
#include "worker/import/features.h"
#include "worker/import/text.h"

#include <stdbool.h>
#include <stdint.h>

enum { WK_VQA_FILES = 16 };

typedef struct {
    const char *name;
    int questions, annotations; /* files; a split without annotations has no answers */
    const char *question[WK_VQA_FILES], *annotation[WK_VQA_FILES];
} wk_vqa_split_t;

typedef struct {
    const char *out;
    int splits;
    const wk_vqa_split_t *split;
    int lines; /* files of JSON Lines (worker/import/json_lines.h), which say what is in which
                  split; then `splits` is 0 */
    const char *line[WK_VQA_FILES];
    const char *clevr; /* CLEVR's folder, of which the questions are read; then both are 0 */
    /* The splits that words and answers are counted in, "all" for all of them; NULL: train, or the
     * first. answer_vocabulary NULL: as vocabulary. */
    const char *vocabulary, *answer_vocabulary;
    const wk_features_options_t *features; /* the first; NULL: none */
    hp_dtype_t dtype;
    hp_encoding_t encoding;                 /* of the features */
    const char *pictures, *picture_pattern; /* a folder; NULL: none */
    const char *pixels, *pixel_pattern;     /* a folder of PNG or JPEG files; NULL: none */
    int pixel_height, pixel_width;          /* each of them is resized to this */
    uint64_t answers;                       /* at most this many, the most frequent */
    uint64_t least_answer, least_word;      /* occurrences below which one is left out */
    const wk_tokenizer_t *tokenizer;
    hp_metric_t metric;
    bool guess_metric;   /* exact where no question has two answers, else vqa */
    bool skip_missing;   /* leave out questions whose image has no features, instead of refusing */
    const char *command; /* provenance */
    /* Called now and then; `what` is "features", "questions" and so on. May be NULL. */
    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total);
    void *context;
} wk_vqa_import_t;

typedef struct {
    uint64_t images, kept_images; /* kept from an interrupted import */
    uint64_t questions, unlabelled, skipped, pictures;
    int words, answers;
    int splits;
    uint64_t last_count; /* occurrences of the rarest answer that is in */
} wk_vqa_report_t;

/* HP_INPUT before anything is written wherever the fault shows in the questions, or in the shape of
 * the features. */
hp_status_t wk_vqa_import(const wk_vqa_import_t *import, wk_vqa_report_t *report,
                          hp_error_t *err) HP_MUST_CHECK;

#endif
