/* The configuration of an experiment. One table (config.c) gives every key its type, default,
 * range and a line of documentation; the YAML reader, --set, `hanps config` and the resolved copy
 * in a run folder all follow it. */
#ifndef HP_CONFIG_H
#define HP_CONFIG_H

#include "common/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HP_CONFIG_STRING 512
#define HP_CONFIG_LAYERS 8

#define HP_CONFIG_ACCUMULATE 256 /* the most that cluster.accumulate may be */

typedef enum { HP_PIXELS_NONE, HP_PIXELS_INVERTED, HP_PIXELS_MEDIAN } hp_pixel_norm_t;
typedef enum { HP_NORM_IMAGE_RMS, HP_NORM_IMAGE, HP_NORM_CELL, HP_NORM_NONE } hp_feature_norm_t;
typedef enum { HP_COORDS_NONE, HP_COORDS_XY, HP_COORDS_BOX } hp_coords_t;
typedef enum { HP_LABELS_MOST_FREQUENT, HP_LABELS_SAMPLED, HP_LABELS_SOFT } hp_labels_t;
typedef enum { HP_SOFT_BINARY, HP_SOFT_CROSS_ENTROPY } hp_soft_loss_t;
typedef enum { HP_VECTORS_RANDOM, HP_VECTORS_ZERO } hp_vectors_missing_t;
typedef enum { HP_FP32, HP_BF16 } hp_precision_t;
typedef enum { HP_GEMM_AUTO, HP_GEMM_OPENBLAS, HP_GEMM_ONEDNN } hp_gemm_backend_t;
typedef enum {
    HP_CONVOLUTION_AUTO,
    HP_CONVOLUTION_IM2COL,
    HP_CONVOLUTION_ONEDNN
} hp_convolution_backend_t;
typedef enum { HP_INIT_HE, HP_INIT_PYTORCH } hp_init_scheme_t;
typedef enum {
    HP_ATTEND_ALL,
    HP_ATTEND_HAN,        /* k largest presences */
    HP_ATTEND_ADAHAN,     /* softmax(presence) above 1/cells */
    HP_ATTEND_RANDOM,     /* control: k cells at random */
    HP_ATTEND_LOWEST,     /* control: k smallest presences */
    HP_ATTEND_IMAGE_ONLY, /* control: k largest norms of the image embedding alone */
    HP_ATTEND_SOFT,       /* stacked attention (SAN) */
    HP_ATTEND_STRAIGHT_THROUGH
} hp_attention_t;
typedef enum {
    HP_AGGREGATE_SUM,
    HP_AGGREGATE_PAIRWISE,
    HP_AGGREGATE_RELATION,
    HP_AGGREGATE_CONCAT
} hp_aggregate_t;
typedef enum { HP_START_MEAN, HP_START_SUM } hp_start_t;
typedef enum { HP_ACTIVATION_RELU, HP_ACTIVATION_TANH } hp_activation_t;
typedef enum { HP_LOSS_CONTINUE, HP_LOSS_STOP } hp_on_loss_t;
typedef enum { HP_SCHEDULE_CONSTANT, HP_SCHEDULE_STEP, HP_SCHEDULE_COSINE } hp_schedule_kind_t;
typedef enum { HP_IN_STEPS, HP_IN_EPOCHS } hp_schedule_unit_t;
typedef enum { HP_DECAY_L2, HP_DECAY_DECOUPLED } hp_decay_t;
typedef enum { HP_DECAY_ALL, HP_DECAY_MATRICES } hp_decay_on_t;
typedef enum { HP_SPREAD, HP_PACKED, HP_ALONE } hp_placement_t;
typedef enum { HP_SYNC, HP_BOUNDED, HP_ASYNC } hp_consistency_t;

typedef struct {
    int count;
    int size[HP_CONFIG_LAYERS];
} hp_layers_t;

typedef struct {
    struct {
        int64_t seed;
        int64_t steps;      /* 0: from epochs */
        double epochs;      /* used where steps is 0 */
        double max_minutes; /* 0: no limit */
    } run;
    struct {
        char store[HP_CONFIG_STRING];
        char train[64], valid[64];
        int64_t valid_seed;
        int batch_size; /* questions */
        bool group_by_image;
        int max_questions_per_image; /* in one group; 0: no cap */
        bool shuffle;
        hp_labels_t labels;
        hp_feature_norm_t feature_norm;
        hp_pixel_norm_t pixel_norm;
        hp_coords_t coords;
        struct {           /* of pixels, in training */
            int pad;       /* pixels */
            double rotate; /* radians */
            double fill;   /* -1 to 1 */
        } augment;
        bool blank_images; /* control: every feature is zero */
        int prefetch;      /* batches read ahead */
    } data;
    struct {
        hp_precision_t precision;
        hp_gemm_backend_t gemm;
        hp_init_scheme_t init;
        struct {
            int embedding, lstm;
            double dropout;
            char vectors[HP_CONFIG_STRING]; /* a file of word vectors; "": none */
            hp_vectors_missing_t vectors_missing;
        } question;
        struct {
            char trunk[32];               /* features | cnn */
            hp_layers_t filters, kernels; /* of the cnn's layers; one kernel: of all */
            hp_layers_t paddings;         /* as kernels; none: half of each kernel */
            int stride;
            bool batch_norm;
            hp_convolution_backend_t convolution;
            int layers, width;
            hp_activation_t activation;
        } image;
        struct {
            hp_attention_t kind;
            int cells;       /* k */
            int hops, width; /* soft */
        } attention;
        struct {
            hp_aggregate_t kind;
            int heads, head_width;
            bool scale; /* divide q.k by sqrt(head_width) */
            hp_start_t start;
            hp_layers_t layers; /* of relation's g */
        } aggregate;
        struct {
            hp_layers_t layers;
            double dropout;
            hp_soft_loss_t soft_loss;
        } classifier;
    } model;
    struct {
        char kind[16]; /* adam */
        double lr, beta1, beta2, eps, clip_norm;
        double weight_decay;
        hp_decay_t decay;
        hp_decay_on_t decay_on;
        bool lazy; /* Adam skips embedding rows without a gradient */
        bool staleness_scaling;
        double max_norm; /* of a unit's gradient; 0: no limit */
        int max_refused; /* units refused in a row that end the run */
        struct {         /* common/schedule.h */
            hp_schedule_kind_t kind;
            hp_schedule_unit_t unit;
            double warmup_from, warmup_every;
            hp_layers_t milestones;
            double factor, until, floor;
        } schedule;
    } optimizer;
    struct {
        int servers;
        int spares;               /* workers that sleep until one is lost */
        hp_placement_t placement; /* of servers over hosts */
        int threads;              /* a worker's compute threads; 0: auto */
        int server_threads;       /* a server's, for Adam; 0: auto */
        hp_consistency_t consistency;
        int staleness;
        int sync_shards;        /* units of a step; 0: the number of workers at the first start */
        int accumulate;         /* the same in async and bounded */
        hp_precision_t wire;    /* fp32 | bf16 */
        int slots;              /* whole pushes a server can hold */
        double suspend_seconds; /* silence after which a worker is not waited for */
        double dead_seconds;    /* silence after which it is given up */
        double stall_seconds;   /* without progress, after which a rank is named in the log */
        double give_up_seconds; /* without any in the whole run, after which it ends */
        double server_seconds;  /* silence of a server after which the run ends */
        double start_seconds;   /* how long the start waits for ranks */
        hp_on_loss_t on_worker_loss;
    } cluster;
    struct {
        int64_t every_steps; /* 0: never */
        int patience;        /* evaluations; 0: no early stop */
    } valid;
    struct {
        int64_t every_steps;  /* 0: never by steps */
        double every_minutes; /* 0: never by time */
        int keep;
    } checkpoint;
    struct {
        int console_seconds; /* between progress lines where stderr is no terminal */
    } log;
} hp_config_t;

void hp_config_default(hp_config_t *config);

/* Read a YAML file over the defaults; `extends: other.yaml` (relative to the file) is read first.
 * Errors name file, line, column, key and what is allowed. */
hp_status_t hp_config_load(hp_config_t *config, const char *path, hp_error_t *err) HP_MUST_CHECK;

/* Apply "key.path=value" as --set gives it. */
hp_status_t hp_config_set(hp_config_t *config, const char *assignment,
                          hp_error_t *err) HP_MUST_CHECK;

/* Ranges that span several keys. */
hp_status_t hp_config_check(const hp_config_t *config, hp_error_t *err) HP_MUST_CHECK;

/* The whole configuration as YAML, keys in the table's order; what it writes, hp_config_load reads
 * back to the same struct. Doubles are written so that they read back exactly. */
hp_status_t hp_config_write(const hp_config_t *config, FILE *out, hp_error_t *err) HP_MUST_CHECK;

/* A key's value as a file would have it ("model.attention.kind" -> "han"); "" for a key that is not
 * there; lists give their first item. */
void hp_config_text(const hp_config_t *config, const char *path, char *out, size_t bytes);

/* Every key with type, default, range and meaning, for `hanps config --keys` and the README. */
hp_status_t hp_config_document(FILE *out, hp_error_t *err) HP_MUST_CHECK;

/* Units of a step: cluster.sync_shards, or cluster.accumulate where it is not sync. */
int hp_config_step_units(const hp_config_t *config);

/* For --resume: the first key in which the two differ and which may not change on a resume is an
 * error that names it. */
hp_status_t hp_config_resumable(const hp_config_t *old, const hp_config_t *wanted,
                                hp_error_t *err) HP_MUST_CHECK;

#endif
