/* Writing a store. It is built beside its name, in PATH.partial, which nothing opens; finish syncs
 * the data, writes the manifest last and renames the folder into place. Order of calls:
 *
 *     hp_store_writer_open
 *     hp_store_write_image ...                             ordinals 0, 1, 2, ...
 *     for each split: hp_store_write_split, hp_store_write_question ...
 *     hp_store_write_words, hp_store_write_answers         at any time
 *     hp_store_writer_finish  or  hp_store_writer_abandon
 *
 * A question may only point at an image that has been written. */
#ifndef HP_STORE_WRITE_H
#define HP_STORE_WRITE_H

#include "common/status.h"
#include "common/store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hp_store_writer hp_store_writer_t;

/* What is known before the first image. */
typedef struct {
    hp_dtype_t feature_dtype;      /* HP_DTYPE_NONE: no features */
    hp_encoding_t encoding;        /* of features */
    int grid_height, grid_width;   /* 0, 0: cells lie on no grid */
    int max_cells, channels;       /* of an image; without a grid images may have fewer cells */
    bool boxes;                    /* each cell has a box */
    int max_objects;               /* each image's objects have their places; 0: they do not */
    int pixel_height, pixel_width; /* 0, 0: no pixels */
    bool pictures;                 /* some images come with an encoded picture */
    hp_metric_t metric;
    int code_bits;
    const char *tokenizer; /* name of the rule that made tokens from text; NULL: "" */
    const char *command;   /* provenance: how the store was made, one line; NULL: "" */
    int sources;
    const hp_store_source_t *source;
    size_t batch_bytes; /* of a transaction, which is what an interruption loses; 0: 64 MiB */
    /* NULL: a PATH.partial left behind is replaced. Otherwise whatever the result depends on
     * (options, files with their sizes and times): a PATH.partial of the same identity is
     * continued, of another one refused. */
    const char *identity;
} hp_store_plan_t;

/* One image. What the plan has no room for must be NULL; features and pixels of the plan must be
 * there; a picture may be missing. */
typedef struct {
    const char *name;     /* id in the source's words; unique, not empty */
    const void *features; /* [cells][channels], dtype of the plan, little-endian */
    int cells;
    /* Not 0: `features` is a record of this many bytes, encoded already, as
     * hp_store_read_image gives it from a store whose features are SPARSE. */
    size_t encoded_bytes;
    const float *boxes;  /* [cells][4]: x1, y1, x2, y2 */
    const float *object; /* [objects][4]: x1, y1, x2, y2 in pixels */
    int objects;
    const uint8_t *pixels; /* [height][width][3] */
    const void *picture;   /* a PNG or JPEG file */
    size_t picture_bytes;
} hp_store_image_t;

/* HP_INPUT where PATH exists, PATH.partial belongs to another import or is being written now. */
hp_status_t hp_store_writer_open(const char *path, const hp_store_plan_t *plan,
                                 hp_store_writer_t **writer_p, hp_error_t *err) HP_MUST_CHECK;

/* Images kept from an interrupted import: write_image goes on at this ordinal. Their names can be
 * read, to check that the source has not changed its order. */
uint64_t hp_store_writer_images(const hp_store_writer_t *writer);
hp_status_t hp_store_writer_image_name(hp_store_writer_t *writer, uint32_t image,
                                       const char **name_p, hp_error_t *err) HP_MUST_CHECK;

/* image_p may be NULL. */
hp_status_t hp_store_write_image(hp_store_writer_t *writer, const hp_store_image_t *image,
                                 uint32_t *image_p, hp_error_t *err) HP_MUST_CHECK;

/* The questions that follow belong to split `name`. */
hp_status_t hp_store_write_split(hp_store_writer_t *writer, const char *name,
                                 hp_error_t *err) HP_MUST_CHECK;

/* All fields of `question` are written; strings that are NULL count as empty. `token` and `label`
 * index the words and answers, and are checked against them by finish. */
hp_status_t hp_store_write_question(hp_store_writer_t *writer, const hp_question_t *question,
                                    hp_error_t *err) HP_MUST_CHECK;

/* Copied. word[0] stands for every unknown word. */
hp_status_t hp_store_write_words(hp_store_writer_t *writer, int words, const char *const *word,
                                 hp_error_t *err) HP_MUST_CHECK;
hp_status_t hp_store_write_answers(hp_store_writer_t *writer, int answers,
                                   const char *const *answer, hp_error_t *err) HP_MUST_CHECK;

/* Both release the writer, whatever they return. After a failure or abandon PATH.partial stays, for
 * a later import of the same identity, unless it has no image. */
hp_status_t hp_store_writer_finish(hp_store_writer_t *writer, hp_error_t *err) HP_MUST_CHECK;
void hp_store_writer_abandon(hp_store_writer_t *writer);

#endif
