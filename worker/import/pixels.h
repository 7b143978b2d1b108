/* Data sets of questions about picture files, gathered first and then written as a store of pixels
 * of one size. What the importers of NLVR and CLEVR share. */
#ifndef WK_PIXELS_H
#define WK_PIXELS_H

#include "common/status.h"
#include "common/store_write.h"
#include "worker/import/text.h"

#include <stdbool.h>
#include <stdint.h>

enum { WK_PIXEL_SPLITS = 8, WK_PIXEL_SOURCES = 8 };

/* A question as a file gives it. */
typedef struct {
    int64_t id;
    const char *image, *path; /* name of the image, unique, and its file */
    const char *text, *question_type, *answer_type;
    const char *answer; /* NULL: not given */
} wk_pixel_record_t;

/* The same, strings by number. */
typedef struct {
    int64_t id;
    uint32_t image, text, question_type, answer_type, answer;
    bool answered;
} wk_pixel_question_t;

typedef struct {
    char name[64];
    uint64_t questions;
    size_t capacity;
    wk_pixel_question_t *question;
} wk_pixel_split_t;

/* Zero it before use. */
typedef struct {
    wk_strings_t strings;
    wk_strings_t images, paths; /* alike numbered: the ordinals of the store */
    int splits;
    wk_pixel_split_t split[WK_PIXEL_SPLITS];
    int sources;
    char source_name[WK_PIXEL_SOURCES][512];
    uint64_t source_bytes[WK_PIXEL_SOURCES];
    int64_t source_time[WK_PIXEL_SOURCES]; /* of its last change, ns */
} wk_pixel_set_t;

/* The questions added from now on belong to split `name`, new or not. */
hp_status_t wk_pixels_split(wk_pixel_set_t *set, const char *name, int *split_p,
                            hp_error_t *err) HP_MUST_CHECK;
/* Strings are copied. HP_INPUT: the image's file is not there. */
hp_status_t wk_pixels_add(wk_pixel_set_t *set, int split, const wk_pixel_record_t *record,
                          hp_error_t *err) HP_MUST_CHECK;
/* A file that was read, for the store's provenance. */
hp_status_t wk_pixels_source(wk_pixel_set_t *set, const char *path, hp_error_t *err) HP_MUST_CHECK;
void wk_pixels_release(wk_pixel_set_t *set);

typedef struct {
    const char *out;
    int height,
        width; /* every image is resized to this: averaged, or interpolated if it is smaller */
    const wk_tokenizer_t *tokenizer;
    const char *command; /* provenance; and what must be the same to go on after an interruption */
    void (*progress)(void *context, const char *what, uint64_t done, uint64_t total); /* or NULL */
    void *context;
} wk_pixel_options_t;

typedef struct {
    uint64_t images, kept_images, questions, unlabelled;
    int words, answers;
} wk_pixel_report_t;

/* Words and answers are those of the first split, the most frequent first. */
hp_status_t wk_pixels_write(const wk_pixel_set_t *set, const wk_pixel_options_t *options,
                            wk_pixel_report_t *report, hp_error_t *err) HP_MUST_CHECK;

#endif
