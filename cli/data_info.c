/* hanps data info: what is in a store. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "common/memory.h"
#include "common/store.h"
#include "worker/import/text.h"

#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_gen.h>

static const char usage[] = "usage: hanps data info STORE [--json] [--question N]\n\n"
                            "Prints what a store holds: images, questions by split and type, the "
                            "share of answers that are\n"
                            "in the vocabulary, bytes an image, how long the questions are.\n\n"
                            "  --json        the same as JSON\n"
                            "  --question N  question N of the store, counted from 0, as JSON\n";

enum { LENGTHS = 64 };

typedef struct {
    uint64_t images, labelled, answered, human, human_known;
    uint64_t length[LENGTHS + 1]; /* questions by words; the last: that many or more */
    wk_counts_t question_type, answer_type;
} split_info_t;

static bool known_answer(const wk_strings_t *answers, const char *text) {
    return wk_strings_find(answers, text, strlen(text)) >= 0;
}

static hp_status_t gather(hp_store_t *store, hp_store_reader_t *reader, const hp_split_t *split,
                          const wk_strings_t *answers, split_info_t *out, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, hp_store_info(store)->images, 1, "images", err));
    unsigned char *seen = p;
    hp_status_t status = HP_OK;
    for (uint64_t i = split->first; status == HP_OK && i < split->first + split->count; i++) {
        hp_question_t q;
        status = hp_store_read_question(reader, i, &q, err);
        if (status != HP_OK) break;
        out->images += !seen[q.image];
        seen[q.image] = 1;
        out->labelled += q.label >= 0;
        out->answered += q.answers > 0 || q.target[0] != '\0';
        out->length[q.tokens < LENGTHS ? q.tokens : LENGTHS]++;
        out->human += (uint64_t)q.answers;
        for (int a = 0; a < q.answers; a++)
            out->human_known += known_answer(answers, q.answer[a].text);
        status = wk_counts_add(&out->question_type, q.question_type, strlen(q.question_type), err);
        if (status == HP_OK)
            status = wk_counts_add(&out->answer_type, q.answer_type, strlen(q.answer_type), err);
    }
    hp_free(seen);
    return status;
}

static double percent(uint64_t part, uint64_t whole) {
    return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

/* Bytes of an image's records, all kinds together, averaged over at most a thousand images. */
static hp_status_t image_bytes(hp_store_t *store, hp_store_reader_t *reader, double bytes[3],
                               hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(store);
    const bool has[3] = {info->feature_dtype != HP_DTYPE_NONE, info->pixel_height != 0,
                         info->pictures};
    uint64_t step = info->images / 1000 + 1, count = 0;
    for (uint64_t i = 0; i < info->images; i += step, count++)
        for (int k = 0; k < 3; k++) {
            const void *data;
            size_t n = 0;
            if (!has[k]) continue;
            hp_status_t status =
                hp_store_read_image(reader, (uint32_t)i, (hp_record_kind_t)k, &data, &n, err);
            if (status == HP_OK)
                bytes[k] += (double)n;
            else if (k != HP_RECORD_PICTURE || status != HP_INPUT) /* some have no picture */
                return status;
        }
    for (int k = 0; k < 3 && count > 0; k++) bytes[k] /= (double)count;
    return HP_OK;
}

/* ---- text ---------------------------------------------------------------------------------- */

static hp_status_t print_types(const char *title, const wk_counts_t *counts, uint64_t total,
                               uint32_t limit, hp_error_t *err) {
    uint32_t *order = NULL, n = 0;
    HP_TRY(wk_counts_order(counts, UINT32_MAX, 1, &order, &n, err));
    if (n > 1 || (n == 1 && wk_strings_get(&counts->strings, 0)[0] != '\0')) {
        printf("  %s:\n", title);
        for (uint32_t i = 0; i < n && i < limit; i++) {
            const char *name = wk_strings_get(&counts->strings, order[i]);
            printf("    %-36s %9" PRIu64 "  %5.1f %%\n", name[0] ? name : "(none)",
                   wk_counts_get(counts, order[i]),
                   percent(wk_counts_get(counts, order[i]), total));
        }
        if (n > limit) printf("    and %u more; --json lists all\n", n - limit);
    }
    hp_free(order);
    return HP_OK;
}

static void print_lengths(const split_info_t *s, uint64_t total) {
    uint64_t most = 1;
    int last = 0;
    for (int i = 0; i <= LENGTHS; i++) {
        if (s->length[i] > most) most = s->length[i];
        if (s->length[i] > 0) last = i;
    }
    printf("  words of a question:\n");
    for (int i = 0; i <= last; i++) {
        if (s->length[i] == 0) continue;
        int width = (int)(40 * s->length[i] / most);
        printf("    %3d%s %9" PRIu64 "  %5.1f %%  %.*s\n", i, i == LENGTHS ? "+" : " ",
               s->length[i], percent(s->length[i], total), width,
               "########################################");
    }
}

static hp_status_t print_split(const hp_split_t *split, const split_info_t *s, hp_error_t *err) {
    printf("\nsplit %s: %" PRIu64 " questions of %" PRIu64 " images\n", split->name, split->count,
           s->images);
    if (s->answered > 0)
        printf("  label in the vocabulary: %" PRIu64 " (%.1f %%); of all answers given: %.1f %%\n",
               s->labelled, percent(s->labelled, split->count), percent(s->human_known, s->human));
    else
        printf("  no answers\n");
    HP_TRY(print_types("answer types", &s->answer_type, split->count, 10, err));
    HP_TRY(print_types("question types", &s->question_type, split->count, 10, err));
    print_lengths(s, split->count);
    return HP_OK;
}

static void print_store(const char *path, const hp_store_info_t *info, const double bytes[3]) {
    printf("%s: %" PRIu64 " images, %" PRIu64 " questions, %.1f MB\n", path, info->images,
           info->questions, (double)info->data_bytes / 1e6);
    if (info->feature_dtype != HP_DTYPE_NONE) {
        printf("features: %s, ", hp_dtype_name(info->feature_dtype));
        if (info->grid_height > 0)
            printf("%d x %d cells", info->grid_height, info->grid_width);
        else
            printf("at most %d cells", info->max_cells);
        printf(" of %d channels, %s, %.0f bytes an image%s\n", info->channels,
               hp_encoding_name(info->feature_encoding), bytes[0],
               info->boxes ? ", with boxes" : "");
    }
    if (info->pixel_height > 0)
        printf("pixels: %d x %d, %.0f bytes an image%s\n", info->pixel_height, info->pixel_width,
               bytes[1], info->max_objects > 0 ? ", with the places of objects" : "");
    if (info->pictures)
        printf("pictures: %" PRIu64 ", %.0f bytes an image\n", info->picture_count, bytes[2]);
    printf("vocabulary: %d words, %d answers, longest question %d words%s%s\n", info->words,
           info->answers, info->max_tokens, info->tokenizer[0] ? ", tokenizer " : "",
           info->tokenizer);
    printf("metric: %s\n", info->metric == HP_METRIC_VQA ? "vqa" : "exact");
    if (info->code_bits > 0) printf("question codes: %d bits\n", info->code_bits);
    printf("made: %s\n", info->source);
    for (int i = 0; i < info->files; i++)
        printf("from: %s (%" PRIu64 " bytes)\n", info->file[i].name, info->file[i].bytes);
    printf("digest: %s\n", info->digest);
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static void key(yajl_gen g, const char *text) {
    yajl_gen_string(g, (const unsigned char *)text, strlen(text));
}

static void put_text(yajl_gen g, const char *name, const char *text) {
    key(g, name);
    key(g, text);
}

static void put_number(yajl_gen g, const char *name, uint64_t number) {
    key(g, name);
    yajl_gen_integer(g, (long long)number);
}

static void put_fraction(yajl_gen g, const char *name, double number, const char *format) {
    char text[64];
    int n = snprintf(text, sizeof text, format, number);
    key(g, name);
    yajl_gen_number(g, text, (size_t)n);
}

static hp_status_t put_types(yajl_gen g, const char *name, const wk_counts_t *counts,
                             hp_error_t *err) {
    uint32_t *order = NULL, n = 0;
    HP_TRY(wk_counts_order(counts, UINT32_MAX, 1, &order, &n, err));
    key(g, name);
    yajl_gen_map_open(g);
    for (uint32_t i = 0; i < n; i++)
        put_number(g, wk_strings_get(&counts->strings, order[i]), wk_counts_get(counts, order[i]));
    yajl_gen_map_close(g);
    hp_free(order);
    return HP_OK;
}

static hp_status_t put_split(yajl_gen g, const hp_split_t *split, const split_info_t *s,
                             hp_error_t *err) {
    key(g, split->name);
    yajl_gen_map_open(g);
    put_number(g, "first", split->first);
    put_number(g, "questions", split->count);
    put_number(g, "images", s->images);
    put_number(g, "labelled", s->labelled);
    put_fraction(g, "labelled_percent", percent(s->labelled, split->count), "%.2f");
    put_number(g, "human_answers", s->human);
    put_fraction(g, "human_answers_in_vocabulary_percent", percent(s->human_known, s->human),
                 "%.2f");
    HP_TRY(put_types(g, "answer_types", &s->answer_type, err));
    HP_TRY(put_types(g, "question_types", &s->question_type, err));
    key(g, "question_words");
    yajl_gen_map_open(g);
    for (int i = 0; i <= LENGTHS; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d%s", i, i == LENGTHS ? "+" : "");
        if (s->length[i] > 0) put_number(g, text, s->length[i]);
    }
    yajl_gen_map_close(g);
    yajl_gen_map_close(g);
    return HP_OK;
}

static void put_store(yajl_gen g, const char *path, const hp_store_info_t *info,
                      const double bytes[3]) {
    put_text(g, "store", path);
    put_text(g, "digest", info->digest);
    put_number(g, "bytes", info->data_bytes);
    put_number(g, "images", info->images);
    put_number(g, "questions", info->questions);
    put_text(g, "feature_dtype", hp_dtype_name(info->feature_dtype));
    put_text(g, "feature_encoding", hp_encoding_name(info->feature_encoding));
    put_number(g, "grid_height", (uint64_t)info->grid_height);
    put_number(g, "grid_width", (uint64_t)info->grid_width);
    put_number(g, "max_cells", (uint64_t)info->max_cells);
    put_number(g, "channels", (uint64_t)info->channels);
    key(g, "boxes");
    yajl_gen_bool(g, info->boxes);
    put_number(g, "pixel_height", (uint64_t)info->pixel_height);
    put_number(g, "pixel_width", (uint64_t)info->pixel_width);
    put_number(g, "max_objects", (uint64_t)info->max_objects);
    put_number(g, "pictures", info->picture_count);
    put_fraction(g, "feature_bytes_per_image", bytes[0], "%.0f");
    put_fraction(g, "pixel_bytes_per_image", bytes[1], "%.0f");
    put_fraction(g, "picture_bytes_per_image", bytes[2], "%.0f");
    put_number(g, "words", (uint64_t)info->words);
    put_number(g, "answers", (uint64_t)info->answers);
    put_number(g, "max_tokens", (uint64_t)info->max_tokens);
    put_number(g, "code_bits", (uint64_t)info->code_bits);
    put_text(g, "tokenizer", info->tokenizer);
    put_text(g, "metric", info->metric == HP_METRIC_VQA ? "vqa" : "exact");
    put_text(g, "made", info->source);
    key(g, "from");
    yajl_gen_map_open(g);
    for (int i = 0; i < info->files; i++) put_number(g, info->file[i].name, info->file[i].bytes);
    yajl_gen_map_close(g);
}

static hp_status_t put_question(yajl_gen g, hp_store_t *store, hp_store_reader_t *reader,
                                uint64_t number, hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(store);
    hp_question_t q;
    const char *name;
    HP_TRY(hp_store_read_question(reader, number, &q, err));
    HP_TRY(hp_store_read_image_name(reader, q.image, &name, err));
    yajl_gen_map_open(g);
    key(g, "question_id");
    yajl_gen_integer(g, q.question_id);
    put_number(g, "image", q.image);
    put_text(g, "image_name", name);
    put_text(g, "question", q.text);
    key(g, "tokens");
    yajl_gen_array_open(g);
    for (int i = 0; i < q.tokens; i++) yajl_gen_integer(g, q.token[i]);
    yajl_gen_array_close(g);
    key(g, "words");
    yajl_gen_array_open(g);
    for (int i = 0; i < q.tokens; i++) key(g, info->word[q.token[i]]);
    yajl_gen_array_close(g);
    put_number(g, "code", q.code);
    put_text(g, "question_type", q.question_type);
    put_text(g, "answer_type", q.answer_type);
    put_text(g, "target", q.target);
    key(g, "label");
    yajl_gen_integer(g, q.label);
    key(g, "answers");
    yajl_gen_array_open(g);
    for (int i = 0; i < q.answers; i++) {
        yajl_gen_map_open(g);
        put_text(g, "answer", q.answer[i].text);
        key(g, "answer_id");
        yajl_gen_integer(g, q.answer[i].answer_id);
        put_number(g, "confidence", (uint64_t)q.answer[i].confidence);
        yajl_gen_map_close(g);
    }
    yajl_gen_array_close(g);
    if (info->feature_dtype != HP_DTYPE_NONE) {
        void *p = NULL;
        int cells = 0;
        double sum = 0;
        HP_TRY(hp_allocate(&p, (size_t)info->max_cells * (size_t)info->channels, sizeof(float),
                           "features", err));
        hp_status_t status =
            hp_store_read_features(reader, q.image, p, info->max_cells, &cells, err);
        for (size_t i = 0; status == HP_OK && i < (size_t)cells * (size_t)info->channels; i++)
            sum += (double)((float *)p)[i];
        hp_free(p);
        HP_TRY(status);
        put_number(g, "cells", (uint64_t)cells);
        put_fraction(g, "feature_sum", sum, "%.9g");
    }
    yajl_gen_map_close(g);
    return HP_OK;
}

/* ---- the command --------------------------------------------------------------------------- */

static hp_status_t all_splits(hp_store_t *store, hp_store_reader_t *reader, yajl_gen g,
                              hp_error_t *err) {
    const hp_store_info_t *info = hp_store_info(store);
    wk_strings_t answers = {0};
    uint32_t number;
    hp_status_t status = HP_OK;
    for (int i = 0; status == HP_OK && i < info->answers; i++)
        status = wk_strings_add(&answers, info->answer[i], strlen(info->answer[i]), &number, err);
    for (int i = 0; status == HP_OK && i < info->splits; i++) {
        split_info_t s = {0};
        status = gather(store, reader, &info->split[i], &answers, &s, err);
        if (status == HP_OK)
            status = g != NULL ? put_split(g, &info->split[i], &s, err)
                               : print_split(&info->split[i], &s, err);
        wk_counts_release(&s.question_type);
        wk_counts_release(&s.answer_type);
    }
    wk_strings_release(&answers);
    return status;
}

static hp_status_t describe(const char *path, hp_store_t *store, hp_store_reader_t *reader,
                            bool json, int64_t question, hp_error_t *err) {
    double bytes[3] = {0};
    HP_TRY(image_bytes(store, reader, bytes, err));
    if (!json) {
        print_store(path, hp_store_info(store), bytes);
        return all_splits(store, reader, NULL, err);
    }
    yajl_gen g = yajl_gen_alloc(NULL);
    if (g == NULL) return hp_fail(err, HP_MEMORY, "out of memory");
    yajl_gen_config(g, yajl_gen_beautify, 1);
    hp_status_t status;
    if (question >= 0) {
        status = put_question(g, store, reader, (uint64_t)question, err);
    } else {
        yajl_gen_map_open(g);
        put_store(g, path, hp_store_info(store), bytes);
        key(g, "splits");
        yajl_gen_map_open(g);
        status = all_splits(store, reader, g, err);
        yajl_gen_map_close(g);
        yajl_gen_map_close(g);
    }
    const unsigned char *text;
    size_t n;
    if (status == HP_OK && yajl_gen_get_buf(g, &text, &n) == yajl_gen_status_ok)
        fwrite(text, 1, n, stdout);
    yajl_gen_free(g);
    return status;
}

hp_status_t cli_data_info(int argc, char **argv, hp_error_t *err) {
    enum { JSON = 1, QUESTION };
    static const struct option options[] = {
        {"json", 0, NULL, JSON}, {"question", 1, NULL, QUESTION}, {"help", 0, NULL, 'h'}, {0}};
    bool json = false;
    int64_t question = -1;
    char *end;
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) switch (option) {
        case JSON:
            json = true;
            break;
        case QUESTION:
            question = strtoll(optarg, &end, 10);
            if (!isdigit((unsigned char)optarg[0]) || *end != '\0')
                return hp_fail(err, HP_INPUT, "--question %s: a whole number is allowed", optarg);
            break;
        case 'h':
            fputs(usage, stdout);
            return HP_OK;
        default:
            return cli_bad_option(argv, err);
        }
    const char *path = NULL;
    HP_TRY(cli_one_operand(argc, argv, "STORE", &path, err));
    hp_store_t *store = NULL;
    hp_store_reader_t *reader = NULL;
    HP_TRY(hp_store_open(path, &store, err));
    hp_status_t status = hp_store_reader_open(store, &reader, err);
    if (status == HP_OK)
        status = describe(path, store, reader, json || question >= 0, question, err);
    hp_store_reader_close(reader);
    hp_store_close(store);
    return status;
}
