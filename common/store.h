/* The store: images, questions, vocabulary and answers of a data set in one LMDB environment that
 * is written once, renamed into place when whole, and never changed. The only door to LMDB.
 * docs/store.md describes the format. */
#ifndef HP_STORE_H
#define HP_STORE_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum { HP_DTYPE_NONE, HP_DTYPE_F16, HP_DTYPE_F32, HP_DTYPE_BF16, HP_DTYPE_U8 } hp_dtype_t;
typedef enum { HP_METRIC_VQA, HP_METRIC_EXACT } hp_metric_t;
/* How a record of features is kept: as it is, or without its zeros (common/store_sparse.h). AUTO is
 * for the writer alone: SPARSE, in which a record that would not be shorter is kept as it is. */
typedef enum { HP_ENCODING_RAW, HP_ENCODING_SPARSE, HP_ENCODING_AUTO } hp_encoding_t;
typedef enum {
    HP_RECORD_FEATURES,
    HP_RECORD_PIXELS,
    HP_RECORD_PICTURE,
    HP_RECORD_BOXES
} hp_record_kind_t;

size_t hp_dtype_size(hp_dtype_t dtype);
const char *hp_dtype_name(hp_dtype_t dtype);
const char *hp_encoding_name(hp_encoding_t encoding);

typedef struct {
    char name[64];
    uint64_t first, count; /* questions [first, first + count) of the store */
} hp_split_t;

/* A file that the data came from. */
typedef struct {
    const char *name;
    uint64_t bytes; /* 0: a folder */
} hp_store_source_t;

/* What the manifest says. Strings live as long as the store. A store holds features, or pixels, or
 * both; `pictures` are encoded PNG or JPEG files, for people to look at. */
typedef struct {
    /* features: [cells][channels], row-major; u8 means value / 255 */
    hp_dtype_t feature_dtype; /* NONE: no features */
    hp_encoding_t feature_encoding;
    int grid_height, grid_width; /* cells = height * width; 0, 0 for a ragged set */
    int max_cells, channels;
    bool boxes;      /* a box for each cell: f32 x1, y1, x2, y2, as the source had them */
    int max_objects; /* of an image, whose places are known; 0: they are not */
    /* pixels: u8 [height][width][3] */
    int pixel_height, pixel_width; /* 0: no pixels */
    bool pictures;
    uint64_t images, questions;
    int words; /* word 0 is the unknown word */
    const char *const *word;
    int answers;
    const char *const *answer;
    int splits;
    const hp_split_t *split;
    hp_metric_t metric;
    int code_bits;         /* length of a question's bit code (Sort-of-CLEVR: 11); 0: none */
    int max_tokens;        /* longest question */
    const char *source;    /* provenance, one line */
    const char *tokenizer; /* name of the rule that made tokens from text; may be empty */
    int files;
    const hp_store_source_t *file; /* [files] that the data came from */
    uint64_t picture_count, data_bytes;
    char digest[33]; /* of the manifest, hexadecimal: what ranks compare */
} hp_store_info_t;

/* One human answer. */
typedef struct {
    const char *text;
    int32_t answer_id;  /* -1: the file gave none */
    int32_t confidence; /* 0 none given, 1 no, 2 maybe, 3 yes */
} hp_answer_t;

/* One question. Pointers are valid until the same reader's next question. */
typedef struct {
    int64_t question_id;
    uint32_t image; /* ordinal of its image */
    const char *text;
    int tokens;
    const int32_t *token; /* indices in `word` */
    uint32_t code;        /* bit code */
    const char *question_type, *answer_type;
    const char *target; /* the answer that training uses (multiple_choice_answer) */
    int32_t label;      /* target's index in `answer`, or -1: not among them */
    int answers;
    const hp_answer_t *answer;
} hp_question_t;

typedef struct hp_store hp_store_t;
typedef struct hp_store_reader hp_store_reader_t;

/* Open read-only. HP_INPUT: not there, not a store, another version. HP_CORRUPT: truncated or a
 * manifest that does not match its hash. */
hp_status_t hp_store_open(const char *path, hp_store_t **store_p, hp_error_t *err) HP_MUST_CHECK;
void hp_store_close(hp_store_t *store); /* after all its readers; NULL is fine */
const hp_store_info_t *hp_store_info(const hp_store_t *store);

/* Index in info->split, or an error that lists the splits there are. */
hp_status_t hp_store_find_split(const hp_store_t *store, const char *name, int *split_p,
                                hp_error_t *err) HP_MUST_CHECK;

/* Columns over all questions of the store, [info->questions] each, memory-mapped, valid while the
 * store is open: what a sampler needs without decoding records. */
const uint32_t *hp_store_question_image(const hp_store_t *store);
const int32_t *hp_store_question_label(const hp_store_t *store);

/* A reader is one LMDB read transaction: use it from one thread at a time. */
hp_status_t hp_store_reader_open(hp_store_t *store, hp_store_reader_t **reader_p,
                                 hp_error_t *err) HP_MUST_CHECK;
void hp_store_reader_close(hp_store_reader_t *reader);

hp_status_t hp_store_read_question(hp_store_reader_t *reader, uint64_t question, hp_question_t *out,
                                   hp_error_t *err) HP_MUST_CHECK;

/* The payload of an image as it is stored, uncopied, valid while the reader is open; not aligned.
 * Features may be encoded: hp_store_read_features decodes them.
 * `prefetch` asks the kernel to read it ahead and returns nothing. */
hp_status_t hp_store_read_image(hp_store_reader_t *reader, uint32_t image, hp_record_kind_t kind,
                                const void **data_p, size_t *bytes_p,
                                hp_error_t *err) HP_MUST_CHECK;
void hp_store_prefetch_image(hp_store_reader_t *reader, uint32_t image, hp_record_kind_t kind);

/* The image's name or id as its source had it. Valid until the reader's next call. */
hp_status_t hp_store_read_image_name(hp_store_reader_t *reader, uint32_t image, const char **name_p,
                                     hp_error_t *err) HP_MUST_CHECK;

/* Features of an image as fp32 [cells][channels]; u8 is divided by 255. `capacity` cells at most.
 */
hp_status_t hp_store_read_features(hp_store_reader_t *reader, uint32_t image, float *out,
                                   int capacity, int *cells_p, hp_error_t *err) HP_MUST_CHECK;

/* The same in the store's dtype, not converted, whether the record is encoded or not. */
hp_status_t hp_store_read_raw(hp_store_reader_t *reader, uint32_t image, void *out, int capacity,
                              int *cells_p, hp_error_t *err) HP_MUST_CHECK;

/* Boxes of an image's cells, [cells][4]: x1, y1, x2, y2. HP_INPUT where the store has none. */
hp_status_t hp_store_read_boxes(hp_store_reader_t *reader, uint32_t image, float *out, int capacity,
                                int *cells_p, hp_error_t *err) HP_MUST_CHECK;

/* Where an image's objects are, [objects][4]: x1, y1, x2, y2 in pixels, x2 and y2 just outside.
 * HP_INPUT where the store does not know. */
hp_status_t hp_store_read_objects(hp_store_reader_t *reader, uint32_t image, float *out,
                                  int capacity, int *objects_p, hp_error_t *err) HP_MUST_CHECK;

#endif
