#include "common/config_keys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The path is the member's name, and the type follows the member's. */
#define MEMBER(member) (((hp_config_t *)0)->member)
#define TYPE(member)                                                                               \
    _Generic(MEMBER(member),                                                                       \
        int: HP_KEY_INT,                                                                           \
        int64_t: HP_KEY_INT64,                                                                     \
        double: HP_KEY_DOUBLE,                                                                     \
        bool: HP_KEY_BOOL,                                                                         \
        unsigned: HP_KEY_CHOICE,                                                                   \
        char *: HP_KEY_STRING,                                                                     \
        hp_layers_t: HP_KEY_LAYERS)
#define KEY(member)                                                                                \
    .path = #member, .type = TYPE(member), .offset = offsetof(hp_config_t, member),                \
    .size = sizeof MEMBER(member)
#define RANGE(low, high) .min = (low), .max = (high)
#define RESUMABLE        .resumable = true

const hp_key_t hp_keys[] = {
    {KEY(run.seed), .initial = "1", RANGE(0, 9007199254740992.0),
     .doc = "Seed of every random choice: initial weights, order, dropout, random cells."},
    {KEY(run.steps), .initial = "20000", RANGE(0, 1e12), RESUMABLE,
     .doc = "Optimizer steps of the whole run. 0: as many as run.epochs needs."},
    {KEY(run.epochs), .initial = "0", RANGE(0, 1e6), RESUMABLE,
     .doc = "Passes over the training split, used where run.steps is 0."},
    {KEY(run.max_minutes), .initial = "0", RANGE(0, 1e7), .unit = "minutes", RESUMABLE,
     .doc = "Write a checkpoint and stop after this time. 0: no limit."},

    {KEY(data.store), .initial = "data/vqacp", RESUMABLE,
     .doc = "The store, made by 'hanps data'. Relative to the folder hanps is started in."},
    {KEY(data.train), .initial = "train", .doc = "Split to train on."},
    {KEY(data.valid), .initial = "valid", RESUMABLE,
     .doc = "Split that is scored by default. \"train:0.1\" cuts it off split train: a tenth of "
            "the images, by chance, with their questions, which are then not trained on. \"\": "
            "none."},
    {KEY(data.valid_seed), .initial = "1", RANGE(0, 9007199254740992.0),
     .doc = "Seed of the images that data.valid cuts off."},
    {KEY(data.batch_size), .initial = "128", RANGE(1, 65536), .unit = "questions",
     .doc = "Questions of a unit: what one worker computes between a pull and a push."},
    {KEY(data.group_by_image), .initial = "true",
     .doc = "Questions of one image follow one another and share the image's embedding: faster, "
            "with fewer distinct images in a batch."},
    {KEY(data.max_questions_per_image), .initial = "0", RANGE(0, 65536), .unit = "questions",
     .doc = "Cap on the questions of one image in a group. 0: no cap."},
    {KEY(data.shuffle), .initial = "true",
     .doc = "New order in every epoch. false: the order of the store."},
    {KEY(data.labels), .initial = "most_frequent", .choices = "most_frequent|sampled|soft",
     .doc =
         "What is learnt where several people answered: the most frequent answer; sampled, one of "
         "theirs by chance in each epoch; soft, all of them, by model.classifier.soft_loss. "
         "Answers that are no class are left out, and so is a question without another; "
         "most_frequent leaves out each whose most frequent answer is none."},
    {KEY(data.feature_norm), .initial = "image_rms", .choices = "image_rms|image|cell|none",
     .doc = "How features are divided: image_rms by the image's norm, times the root of its number "
            "of cells; image by the image's norm (the paper's words); cell by each cell's norm."},
    {KEY(data.pixel_norm), .initial = "none", .choices = "none|inverted|median",
     .doc = "Pixels for the cnn: none, from 0 to 1; inverted, from 1 to 0; median, less the median "
            "of their channel in the image, so that the background is zero: hard attention selects "
            "by norm."},
    {KEY(data.coords), .initial = "none", .choices = "none|xy|box",
     .doc = "xy appends each cell's place, -1 to 1: its column and row, or its box's centre; box "
            "appends x1, y1, x2, y2. Without them sum pooling is blind to position."},
    {KEY(data.augment.pad), .initial = "0", RANGE(0, 1024), .unit = "pixels",
     .doc =
         "Training images of a cnn are padded by so many pixels on each side, then a random crop "
         "of their own size is taken: one crop of an image in each epoch. 0: none."},
    {KEY(data.augment.rotate), .initial = "0", RANGE(0, 3.1416), .unit = "radians",
     .doc = "And rotated at random by up to this angle, either way. 0: not."},
    {KEY(data.augment.fill), .initial = "0", RANGE(-1, 1),
     .doc =
         "Value of what lies outside of the image, after pixel_norm: without it, 0 is black and 1 "
         "white; with median, 0 is the background."},
    {KEY(data.blank_images), .initial = "false",
     .doc = "Control: every feature is zero, the model sees the question alone."},
    {KEY(data.prefetch), .initial = "2", RANGE(1, 64), .unit = "batches", RESUMABLE,
     .doc = "Batches that a worker reads ahead."},

    {KEY(model.precision), .initial = "fp32", .choices = "fp32|bf16",
     .doc = "Number format of the matrix products: bf16 is summed in fp32 and needs oneDNN. "
            "Weights, presence, sums and the loss are fp32 in both."},
    {KEY(model.gemm), .initial = "auto", .choices = "auto|openblas|onednn", RESUMABLE,
     .doc = "Library of the products of the layers and the LSTM. auto: OpenBLAS for fp32, oneDNN "
            "for bf16."},
    {KEY(model.init), .initial = "he", .choices = "he|pytorch",
     .doc = "Initial weights of linear layers: he with zero biases, or PyTorch's default."},
    {KEY(model.question.embedding), .initial = "300", RANGE(1, 65536),
     .doc = "Width of a word's embedding."},
    {KEY(model.question.lstm), .initial = "512", RANGE(1, 65536), .doc = "Width of the LSTM."},
    {KEY(model.question.dropout), .initial = "0", RANGE(0, 0.95),
     .doc = "Share of the LSTM's last state that is dropped in training."},
    {KEY(model.question.vectors), .initial = "",
     .doc = "Text file of word vectors (GloVe's) that the embedding begins with; they are trained "
            "with the rest. As wide as model.question.embedding. \"\": none."},
    {KEY(model.question.vectors_missing), .initial = "random", .choices = "random|zero",
     .doc = "How words begin that the file of vectors lacks."},
    {KEY(model.image.trunk), .initial = "features", .choices = "features|cnn",
     .doc = "Where cells come from: features that the store holds, or a cnn over its pixels."},
    {KEY(model.image.filters), .initial = "[24, 24, 24, 24]", RANGE(1, 65536),
     .doc = "Filters of the cnn's layers, a ReLU after each."},
    {KEY(model.image.kernels), .initial = "[3]", RANGE(1, 99), .unit = "pixels",
     .doc = "Width of their square kernels; a single one is for all layers."},
    {KEY(model.image.paddings), .initial = "[]", RANGE(0, 99), .unit = "pixels",
     .doc =
         "Zeros around what each layer reads, on every side; a single one is for all layers. []: "
         "half of the kernel, rounded down."},
    {KEY(model.image.stride), .initial = "2", RANGE(1, 64), .unit = "pixels",
     .doc = "Stride of all layers of the cnn."},
    {KEY(model.image.batch_norm), .initial = "true",
     .doc = "Batch normalisation before each ReLU of the cnn."},
    {KEY(model.image.convolution), .initial = "auto", .choices = "auto|im2col|onednn", RESUMABLE,
     .doc = "How the cnn's layers are computed: im2col, by the products of model.gemm; onednn, by "
            "oneDNN's convolution where it has a kernel for the layer on this CPU. auto: onednn "
            "for layers of less than 256 filters that read less than 48 channels, in bf16 any "
            "number; im2col for others, which oneDNN does no faster, and with gemm: openblas. A "
            "last layer without batch_norm is always im2col: its gradient comes from the selected "
            "cells alone."},
    {KEY(model.image.layers), .initial = "2", RANGE(0, 2),
     .doc = "1x1 layers over each cell, and as many over the question. 0: the cells as they are."},
    {KEY(model.image.width), .initial = "2048", RANGE(1, 65536),
     .doc = "Width of those layers, and of the question's embedding. Not used with 0 layers: the "
            "width is then the cell's."},
    {KEY(model.image.activation), .initial = "relu", .choices = "relu|tanh",
     .doc = "What follows each of those layers. tanh: stacked attention as it was published."},
    {KEY(model.attention.kind), .initial = "han",
     .choices = "all|han|adahan|random|lowest|image_only|soft|straight_through",
     .doc =
         "Which cells go on: all; han, the k of largest presence; adahan, those whose softmax of "
         "presence is above 1/cells. Controls: random, k by chance; lowest, the k of smallest "
         "presence; image_only, k without asking the question. soft: stacked attention weighs "
         "all cells. straight_through: han, with gradients to all cells."},
    {KEY(model.attention.cells), .initial = "16", RANGE(1, 65536), .unit = "cells",
     .doc = "k of han and of the controls. An image with fewer cells gives all of them."},
    {KEY(model.attention.hops), .initial = "2", RANGE(1, 8), .doc = "Hops of soft."},
    {KEY(model.attention.width), .initial = "1024", RANGE(1, 65536),
     .doc = "Width in which soft compares cells with the question."},
    {KEY(model.aggregate.kind), .initial = "sum", .choices = "sum|pairwise|relation|concat",
     .doc = "How selected cells become one vector: their sum; pairwise, attention between the "
            "cells, then the sum; relation, a network over every pair of cells and the "
            "question, then the sum; or concat, the cells side by side and the question."},
    {KEY(model.aggregate.heads), .initial = "2", RANGE(1, 64), .doc = "Heads of pairwise."},
    {KEY(model.aggregate.head_width), .initial = "512", RANGE(1, 16384),
     .doc = "Width of a pairwise head."},
    {KEY(model.aggregate.scale), .initial = "true",
     .doc = "Divide pairwise scores by the root of head_width."},
    {KEY(model.aggregate.start), .initial = "mean", .choices = "mean|sum",
     .doc =
         "Initial weights of the layer that reads a sum of n vectors. mean: divided by n, so that "
         "the loss starts near log(answers) for any n. sum: as of any layer."},
    {KEY(model.aggregate.layers), .initial = "[256, 256, 256, 256]", RANGE(1, 65536),
     .doc = "Widths of the layers of relation's network, a ReLU after each."},
    {KEY(model.classifier.layers), .initial = "[1024, 2048]", RANGE(1, 65536),
     .doc = "Widths of the classifier's hidden layers; the answers come after them."},
    {KEY(model.classifier.dropout), .initial = "0", RANGE(0, 0.95),
     .doc = "Share of the last hidden layer that is dropped in training."},
    {KEY(model.classifier.soft_loss), .initial = "binary", .choices = "binary|cross_entropy",
     .doc =
         "Loss of soft labels. binary: for each class the cross entropy of its logistic with the "
         "answer's score, 0.3 for each person up to 1, summed. cross_entropy: of the softmax "
         "with the shares of the answers."},

    {KEY(optimizer.kind), .initial = "adam", .choices = "adam",
     .doc = "Adam, with PyTorch's definition, run by the servers."},
    {KEY(optimizer.lr), .initial = "1.0e-4", RANGE(0, 10), RESUMABLE, .doc = "Learning rate."},
    {KEY(optimizer.beta1), .initial = "0.9", RANGE(0, 0.999999), .doc = "Adam's beta1."},
    {KEY(optimizer.beta2), .initial = "0.999", RANGE(0, 0.99999999), .doc = "Adam's beta2."},
    {KEY(optimizer.eps), .initial = "1.0e-8", RANGE(1e-30, 1), .doc = "Adam's epsilon."},
    {KEY(optimizer.clip_norm), .initial = "0", RANGE(0, 1e9), RESUMABLE,
     .doc = "Scale the gradient down to this global norm. 0: never."},
    {KEY(optimizer.weight_decay), .initial = "0", RANGE(0, 1), RESUMABLE,
     .doc = "Weight decay. 0: none."},
    {KEY(optimizer.decay), .initial = "l2", .choices = "l2|decoupled", RESUMABLE,
     .doc = "l2: weight_decay times the weight is added to its gradient, after clipping, as "
            "PyTorch's Adam does. decoupled: the weight is made smaller by lr times weight_decay, "
            "as its AdamW does."},
    {KEY(optimizer.decay_on), .initial = "all", .choices = "all|matrices", RESUMABLE,
     .doc = "What decays: all weights, as in PyTorch; or matrices, so no biases and no factors of "
            "batch normalisation. With lazy, embedding rows without a gradient do not."},
    {KEY(optimizer.lazy), .initial = "false",
     .doc = "Leave embedding rows without a gradient as they are. false: Adam's definition, they "
            "move by their moments."},
    {KEY(optimizer.staleness_scaling), .initial = "false", RESUMABLE,
     .doc = "Divide the rate by 1 + the staleness of a push (async, bounded)."},
    {KEY(optimizer.max_norm), .initial = "0", RANGE(0, 1e30), RESUMABLE,
     .doc = "A unit whose mean gradient has a larger norm than this is refused, as one that is not "
            "finite always is. 0: no limit."},
    {KEY(optimizer.max_refused), .initial = "5", RANGE(1, 1e9), .unit = "units", RESUMABLE,
     .doc = "Refused units in a row, of one worker or of all, after which the run ends with a "
            "checkpoint."},
    {KEY(optimizer.schedule.kind), .initial = "constant", .choices = "constant|step|cosine",
     RESUMABLE,
     .doc = "What the rate does after the warm-up: constant; step, it is multiplied by factor at "
            "each milestone; cosine, it falls to floor along half a cosine."},
    {KEY(optimizer.schedule.unit), .initial = "steps", .choices = "steps|epochs", RESUMABLE,
     .doc = "In what the schedule counts, from the run's beginning. epochs: passes over the "
            "training split."},
    {KEY(optimizer.schedule.warmup_from), .initial = "0", RANGE(0, 10), RESUMABLE,
     .doc = "Rate at the beginning; it doubles every warmup_every until it is optimizer.lr. 0: no "
            "warm-up."},
    {KEY(optimizer.schedule.warmup_every), .initial = "0", RANGE(0, 1e12), RESUMABLE,
     .doc = "Steps or epochs between doublings."},
    {KEY(optimizer.schedule.milestones), .initial = "[]", RANGE(1, 2147483647), RESUMABLE,
     .doc = "Steps or epochs at which step lowers the rate."},
    {KEY(optimizer.schedule.factor), .initial = "0.1", RANGE(0, 1), RESUMABLE,
     .doc = "What step multiplies the rate by."},
    {KEY(optimizer.schedule.until), .initial = "0", RANGE(0, 1e12), RESUMABLE,
     .doc = "Step or epoch where cosine reaches floor, not before the run's end. 0: the run's "
            "end."},
    {KEY(optimizer.schedule.floor), .initial = "0", RANGE(0, 10), RESUMABLE,
     .doc = "Where cosine ends."},

    {KEY(cluster.servers), .initial = "1", RANGE(1, 4096), .unit = "ranks", RESUMABLE,
     .doc = "Ranks that hold the weights; the rest are workers. --servers overrides it."},
    {KEY(cluster.placement), .initial = "spread", .choices = "spread|packed|alone", RESUMABLE,
     .doc = "Where the servers are. spread: one on each host in turn, beside workers; packed: host "
            "by host; alone: packed, on hosts without workers. --placement overrides it."},
    {KEY(cluster.spares), .initial = "0", RANGE(0, 4096), .unit = "ranks", RESUMABLE,
     .doc = "The last ranks sleep, and each takes the place of a worker that is lost. --spares "
            "overrides it."},
    {KEY(cluster.threads), .initial = "auto", RANGE(0, 1024), .zero = "auto", RESUMABLE,
     .doc = "Compute threads of a worker. auto: the host's cores shared by its workers."},
    {KEY(cluster.server_threads), .initial = "auto", RANGE(0, 64), .zero = "auto", RESUMABLE,
     .doc =
         "Threads that run Adam in a server. auto: the host's cores shared by its ranks, at most "
         "4: what memory keeps up with. The bits do not depend on it."},
    {KEY(cluster.consistency), .initial = "async", .choices = "sync|bounded|async", RESUMABLE,
     .doc = "sync: one step from the mean gradient of sync_shards units, the same bits on any "
            "number of ranks. async: a step for each push. bounded: async, and no worker leads the "
            "slowest by more than staleness units."},
    {KEY(cluster.staleness), .initial = "4", RANGE(0, 1e6), .unit = "units", RESUMABLE,
     .doc = "By how many units a worker may lead the slowest (bounded)."},
    {KEY(cluster.sync_shards), .initial = "auto", RANGE(0, 4096), .zero = "auto", .unit = "units",
     .doc = "Units of a step in sync. auto: the number of workers at the first start, kept in the "
            "run."},
    {KEY(cluster.accumulate), .initial = "1", RANGE(1, HP_CONFIG_ACCUMULATE), .unit = "units",
     RESUMABLE,
     .doc = "Units that a server sums, as they come, before it makes a step (async, bounded)."},
    {KEY(cluster.wire), .initial = "fp32", .choices = "fp32|bf16", RESUMABLE,
     .doc = "Number format of gradients and weights on the wire. The servers' weights, moments and "
            "sums are fp32 in both."},
    {KEY(cluster.slots), .initial = "2", RANGE(2, 64), .unit = "pushes", RESUMABLE,
     .doc = "Whole pushes that a server has room for; each takes the bytes of its shard."},
    {KEY(cluster.suspend_seconds), .initial = "5", RANGE(0.1, 1e6), .unit = "seconds", RESUMABLE,
     .doc =
         "A worker that is silent for so long is named, and not waited for in async and bounded."},
    {KEY(cluster.dead_seconds), .initial = "60", RANGE(0.2, 1e6), .unit = "seconds", RESUMABLE,
     .doc =
         "A worker that is silent for so long is given up; its units are computed by others. If it "
         "speaks again it comes back and goes on."},
    {KEY(cluster.stall_seconds), .initial = "30", RANGE(0.2, 1e6), .unit = "seconds", RESUMABLE,
     .doc = "A worker or server that does not get on for so long is named in the log, with what it "
            "does; again after twice the time, and so on."},
    {KEY(cluster.give_up_seconds), .initial = "600", RANGE(0.2, 1e6), .unit = "seconds", RESUMABLE,
     .doc = "When for so long every rank only waits for others, nobody computes, reads, evaluates "
            "or writes and no message comes, the run ends with status 3."},
    {KEY(cluster.server_seconds), .initial = "90", RANGE(0.2, 1e6), .unit = "seconds", RESUMABLE,
     .doc = "A server that is silent for so long is lost, and the run ends with status 3; "
            "deploy/supervise starts it again from the last checkpoint. Longer than "
            "dead_seconds: a worker whose link is down for a while comes back. TCP may need twice "
            "the outage."},
    {KEY(cluster.start_seconds), .initial = "120", RANGE(1, 1e6), .unit = "seconds", RESUMABLE,
     .doc = "How long ranks wait for one another at the start, checkpoint read included."},
    {KEY(cluster.on_worker_loss), .initial = "continue", .choices = "continue|stop", RESUMABLE,
     .doc = "stop: write a checkpoint and end when a worker is lost."},

    {KEY(valid.every_steps), .initial = "0", RANGE(0, 1e12), .unit = "steps", RESUMABLE,
     .doc = "Steps between evaluations on data.valid while training. Each is of a checkpoint, and "
            "the best one is kept. 0: none."},
    {KEY(valid.patience), .initial = "0", RANGE(0, 1e6), .unit = "evaluations", RESUMABLE,
     .doc = "End the run when so many evaluations in a row are no better than the best. 0: never."},

    {KEY(checkpoint.every_steps), .initial = "1000", RANGE(0, 1e12), .unit = "steps", RESUMABLE,
     .doc = "Steps between checkpoints. 0: not by steps."},
    {KEY(checkpoint.every_minutes), .initial = "10", RANGE(0, 1e7), .unit = "minutes", RESUMABLE,
     .doc = "Time between checkpoints. 0: not by time."},
    {KEY(checkpoint.keep), .initial = "3", RANGE(1, 1e6), .unit = "checkpoints", RESUMABLE,
     .doc = "Newest checkpoints that are kept; older ones are removed, but for the best one."},

    {KEY(log.console_seconds), .initial = "10", RANGE(0, 86400), .unit = "seconds", RESUMABLE,
     .doc = "Time between progress lines where standard error is no terminal."},
};
const int hp_keys_count = (int)(sizeof hp_keys / sizeof *hp_keys);

static void *value_of(const hp_key_t *key, hp_config_t *config) {
    return (char *)config + key->offset;
}

static const void *value_in(const hp_key_t *key, const hp_config_t *config) {
    return (const char *)config + key->offset;
}

const hp_key_t *hp_key_find(const char *path) {
    for (int i = 0; i < hp_keys_count; i++)
        if (strcmp(hp_keys[i].path, path) == 0) return &hp_keys[i];
    return NULL;
}

/* Index of `text` in "a|b|c", or -1. An empty name matches nothing. */
static int choice_find(const char *choices, const char *text) {
    size_t n = strlen(text);
    int index = 0;
    for (const char *at = choices; n > 0; index++) {
        size_t length = strcspn(at, "|");
        if (length == n && memcmp(at, text, n) == 0) return index;
        if (at[length] == '\0') break;
        at += length + 1;
    }
    return -1;
}

static void choice_name(const char *choices, unsigned index, char text[HP_KEY_TEXT]) {
    for (; index > 0 && *choices != '\0'; index--) {
        choices += strcspn(choices, "|");
        choices += *choices == '|';
    }
    snprintf(text, HP_KEY_TEXT, "%.*s", (int)strcspn(choices, "|"), choices);
}

static bool parse_integer(const hp_key_t *key, const char *text, int64_t *out) {
    if (key->zero != NULL && strcmp(text, key->zero) == 0) {
        *out = 0;
        return true;
    }
    size_t sign = text[0] == '-' || text[0] == '+';
    if (text[sign] == '\0' || text[sign + strspn(text + sign, "0123456789")] != '\0') return false;
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno != 0 || (double)value < key->min || (double)value > key->max) return false;
    *out = value;
    return true;
}

static bool parse_double(const hp_key_t *key, const char *text, double *out) {
    if (text[0] == '\0' || text[strspn(text, "0123456789+-.eE")] != '\0') return false;
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= key->min && value <= key->max)) return false;
    *out = value == 0 ? 0 : value; /* no negative zero */
    return true;
}

static bool parse_layers(const hp_key_t *key, hp_layers_t *layers, int count,
                         const char *const *text) {
    if (count > HP_CONFIG_LAYERS) return false;
    hp_layers_t value = {.count = count};
    for (int i = 0; i < count; i++) {
        int64_t size;
        if (!parse_integer(key, text[i], &size)) return false;
        value.size[i] = (int)size;
    }
    *layers = value;
    return true;
}

static bool parse_string(const hp_key_t *key, char *out, const char *text) {
    if (key->choices != NULL && choice_find(key->choices, text) < 0) return false;
    if (strlen(text) >= key->size) return false;
    memset(out, 0, key->size);
    memcpy(out, text, strlen(text));
    return true;
}

bool hp_key_parse(const hp_key_t *key, hp_config_t *config, int count, const char *const *text,
                  bool quoted) {
    void *value = value_of(key, config);
    if (key->type == HP_KEY_LAYERS) return !quoted && parse_layers(key, value, count, text);
    if (count != 1) return false;
    if (key->type == HP_KEY_STRING)
        return (quoted || text[0][0] != '\0') && parse_string(key, value, text[0]);
    if (quoted && key->type != HP_KEY_CHOICE) return false;
    int64_t integer = 0;
    switch (key->type) {
    case HP_KEY_INT:
        if (!parse_integer(key, text[0], &integer)) return false;
        *(int *)value = (int)integer;
        return true;
    case HP_KEY_INT64:
        if (!parse_integer(key, text[0], &integer)) return false;
        *(int64_t *)value = integer;
        return true;
    case HP_KEY_DOUBLE:
        return parse_double(key, text[0], value);
    case HP_KEY_BOOL:
        *(bool *)value = strcmp(text[0], "true") == 0;
        return *(bool *)value || strcmp(text[0], "false") == 0;
    case HP_KEY_CHOICE: {
        int choice = choice_find(key->choices, text[0]);
        if (choice >= 0) *(unsigned *)value = (unsigned)choice;
        return choice >= 0;
    }
    default:
        return false;
    }
}

int hp_key_items(const hp_key_t *key, const hp_config_t *config) {
    return key->type == HP_KEY_LAYERS ? ((const hp_layers_t *)value_in(key, config))->count : 1;
}

static void format_integer(const hp_key_t *key, int64_t value, char text[HP_KEY_TEXT]) {
    if (value == 0 && key->zero != NULL)
        snprintf(text, HP_KEY_TEXT, "%s", key->zero);
    else
        snprintf(text, HP_KEY_TEXT, "%lld", (long long)value);
}

/* The shortest digits that read back to the same bits, with a point: YAML 1.1 readers take "1e-8"
 * for a string. */
static void format_double(double value, char text[HP_KEY_TEXT]) {
    char digits[40];
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(digits, sizeof digits, "%.*g", precision, value);
        if (strtod(digits, NULL) == value) break;
    }
    size_t mantissa = strcspn(digits, "e");
    bool point = memchr(digits, '.', mantissa) != NULL;
    snprintf(text, HP_KEY_TEXT, "%.*s%s%s", (int)mantissa, digits, point ? "" : ".0",
             digits + mantissa);
}

void hp_key_format(const hp_key_t *key, const hp_config_t *config, int index,
                   char text[HP_KEY_TEXT]) {
    const void *value = value_in(key, config);
    switch (key->type) {
    case HP_KEY_INT:
        format_integer(key, *(const int *)value, text);
        break;
    case HP_KEY_INT64:
        format_integer(key, *(const int64_t *)value, text);
        break;
    case HP_KEY_DOUBLE:
        format_double(*(const double *)value, text);
        break;
    case HP_KEY_BOOL:
        snprintf(text, HP_KEY_TEXT, "%s", *(const bool *)value ? "true" : "false");
        break;
    case HP_KEY_CHOICE:
        choice_name(key->choices, *(const unsigned *)value, text);
        break;
    case HP_KEY_STRING:
        snprintf(text, HP_KEY_TEXT, "%s", (const char *)value);
        break;
    case HP_KEY_LAYERS:
        format_integer(key, ((const hp_layers_t *)value)->size[index], text);
        break;
    }
}

static void append(char text[HP_KEY_TEXT], const char *more) {
    size_t n = strlen(text);
    snprintf(text + n, HP_KEY_TEXT - n, "%s", more);
}

void hp_key_allowed(const hp_key_t *key, char text[HP_KEY_TEXT]) {
    if (key->choices != NULL) {
        snprintf(text, HP_KEY_TEXT, "%s", strchr(key->choices, '|') ? "one of " : "only ");
        const char *comma = "";
        for (const char *at = key->choices; *at != '\0'; at += *at == '|') {
            size_t length = strcspn(at, "|");
            char name[64];
            snprintf(name, sizeof name, "%s%.*s", comma, (int)length, at);
            if (length > 0) append(text, name);
            comma = ", ";
            at += length;
        }
        return;
    }
    switch (key->type) {
    case HP_KEY_INT:
    case HP_KEY_INT64:
        snprintf(text, HP_KEY_TEXT, "an integer from %.17g to %.17g", key->min, key->max);
        break;
    case HP_KEY_DOUBLE:
        snprintf(text, HP_KEY_TEXT, "a number from %g to %.10g", key->min, key->max);
        break;
    case HP_KEY_BOOL:
        snprintf(text, HP_KEY_TEXT, "true or false");
        break;
    case HP_KEY_STRING:
        snprintf(text, HP_KEY_TEXT, "a text of at most %zu bytes", key->size - 1);
        break;
    default:
        snprintf(text, HP_KEY_TEXT, "a list of at most %d integers from %.17g to %.17g",
                 HP_CONFIG_LAYERS, key->min, key->max);
    }
    if (key->zero != NULL) {
        append(text, ", or ");
        append(text, key->zero);
    }
}

enum { PATH_MAX_LENGTH = 96 };

/* Levenshtein's distance. Longer texts count as far. */
static int distance(const char *a, const char *b) {
    int n = (int)strlen(a), m = (int)strlen(b), row[PATH_MAX_LENGTH + 1];
    if (n > PATH_MAX_LENGTH || m > PATH_MAX_LENGTH) return PATH_MAX_LENGTH;
    for (int j = 0; j <= m; j++) row[j] = j;
    for (int i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= m; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

bool hp_key_nearest(const char *path, char nearest[HP_KEY_TEXT]) {
    const char *leaf = strrchr(path, '.') ? strrchr(path, '.') + 1 : path;
    int least = (int)strlen(leaf) / 3 + 2; /* a typing error or two */
    bool found = false;
    for (int i = 0; i < hp_keys_count; i++) {
        const char *key = hp_keys[i].path;
        /* Its sections, from the outermost on, then itself. */
        for (size_t end = 0; end < strlen(key);) {
            char known[HP_KEY_TEXT];
            end += 1 + strcspn(key + end + 1, ".");
            snprintf(known, sizeof known, "%.*s", (int)end, key);
            const char *name = strrchr(known, '.') ? strrchr(known, '.') + 1 : known;
            int d = distance(path, known);
            if (strcmp(leaf, name) == 0 && d > 1) d = 1; /* the right name in the wrong section */
            if (d >= least) continue;
            least = d;
            found = true;
            memcpy(nearest, known, sizeof known);
        }
    }
    return found;
}
