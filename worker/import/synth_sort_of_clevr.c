#include "worker/import/synth_sort_of_clevr.h"

#include "common/store_write.h"
#include "worker/import/sort_of_clevr.h"
#include "worker/import/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TOKENIZER "words"
enum {
    WORDS_MAX = 96,
    TOKENS_MAX = WK_SOC_TEXT / 2,
    TOKENS_ROOM = 2 * WK_SOC_TEXT + 2,
    SPLITS = 3
};

static const struct {
    const char *name;
    uint64_t first_image; /* number of the generator: apart, so that splits never share an image */
    int64_t first_question; /* question_id */
} splits[SPLITS] = {
    {"train", 0, 0},
    {"valid", (uint64_t)1 << 40, 10000000000},
    {"test", (uint64_t)2 << 40, 20000000000},
};

/* The vocabulary: every word of every sentence, after the unknown word; the same for any set. */
static hp_status_t collect_words(wk_strings_t *words, hp_error_t *err) {
    const wk_tokenizer_t *tokenizer = wk_tokenizer_find(TOKENIZER);
    char text[WK_SOC_TEXT], tokens[TOKENS_ROOM];
    uint32_t number;
    HP_TRY(wk_strings_add(words, "<unk>", 5, &number, err));
    for (int kind = 0; kind < WK_SOC_KINDS; kind++)
        for (int p = 0; p < wk_soc_paraphrases(); p++)
            for (int colour = 0; colour < WK_SOC_OBJECTS; colour++) {
                wk_soc_sentence((wk_soc_kind_t)kind, p, colour, text);
                const char *word = tokens;
                for (int n = wk_tokenize(tokenizer, text, tokens); n > 0; n--) {
                    HP_TRY(wk_strings_add(words, word, strlen(word), &number, err));
                    word += strlen(word) + 1;
                }
            }
    return HP_OK;
}

static hp_status_t write_images(hp_store_writer_t *writer, const wk_synth_options_t *options,
                                int split, uint32_t images, hp_error_t *err) {
    uint8_t pixels[WK_SOC_SIDE * WK_SOC_SIDE * 3];
    uint8_t patches[WK_SOC_GRID * WK_SOC_GRID * WK_SOC_CHANNELS];
    for (uint32_t i = 0; i < images; i++) {
        char name[48];
        float box[WK_SOC_OBJECTS][4];
        wk_soc_scene_t scene;
        snprintf(name, sizeof name, "%s-%" PRIu32, splits[split].name, i);
        wk_soc_scene(options->seed, splits[split].first_image + i, &scene);
        wk_soc_draw(&scene, pixels);
        wk_soc_boxes(&scene, box);
        if (options->patches) wk_soc_patches(pixels, patches);
        const hp_store_image_t image = {
            .name = name,
            .features = options->patches ? patches : NULL,
            .cells = options->patches ? WK_SOC_GRID * WK_SOC_GRID : 0,
            .object = box[0],
            .objects = WK_SOC_OBJECTS,
            .pixels = pixels,
        };
        HP_TRY(hp_store_write_image(writer, &image, NULL, err));
    }
    return HP_OK;
}

static hp_status_t write_question(hp_store_writer_t *writer, const wk_strings_t *words,
                                  const wk_soc_question_t *q, int64_t id, uint32_t image,
                                  hp_error_t *err) {
    int32_t token[TOKENS_MAX];
    char text[TOKENS_ROOM];
    int tokens = wk_tokenize(wk_tokenizer_find(TOKENIZER), q->text, text);
    const char *word = text;
    for (int i = 0; i < tokens; i++, word += strlen(word) + 1)
        token[i] = (int32_t)wk_strings_find(words, word, strlen(word));
    const hp_answer_t answer = {wk_soc_answer(q->answer), -1, 0};
    const hp_question_t question = {
        .question_id = id,
        .image = image,
        .text = q->text,
        .tokens = tokens,
        .token = token,
        .code = q->code,
        .question_type = wk_soc_question_type(q->kind),
        .answer_type = wk_soc_answer_type(q->kind),
        .target = wk_soc_answer(q->answer),
        .label = q->answer,
        .answers = 1,
        .answer = &answer,
    };
    return hp_store_write_question(writer, &question, err);
}

/* first: ordinal of the split's first image. */
static hp_status_t write_questions(hp_store_writer_t *writer, const wk_synth_options_t *options,
                                   const wk_strings_t *words, int split, uint32_t first,
                                   uint32_t images, hp_error_t *err) {
    HP_TRY(hp_store_write_split(writer, splits[split].name, err));
    for (uint32_t i = 0; i < images; i++) {
        wk_soc_scene_t scene;
        wk_soc_question_t question[WK_SOC_QUESTIONS];
        uint64_t number = splits[split].first_image + i;
        wk_soc_scene(options->seed, number, &scene);
        wk_soc_questions(options->seed, number, &scene, question);
        int64_t id = splits[split].first_question + (int64_t)i * WK_SOC_QUESTIONS;
        for (int q = 0; q < WK_SOC_QUESTIONS; q++)
            HP_TRY(write_question(writer, words, &question[q], id + q, first + i, err));
    }
    return HP_OK;
}

static hp_status_t write_all(hp_store_writer_t *writer, const wk_synth_options_t *options,
                             const wk_strings_t *words, hp_error_t *err) {
    const uint32_t images[SPLITS] = {options->train, options->valid, options->test};
    const char *word[WORDS_MAX], *answer[WK_SOC_ANSWERS];
    if (words->count > WORDS_MAX) return hp_fail(err, HP_INTERNAL, "too many words");
    for (uint32_t i = 0; i < words->count; i++) word[i] = wk_strings_get(words, i);
    for (int i = 0; i < WK_SOC_ANSWERS; i++) answer[i] = wk_soc_answer(i);
    HP_TRY(hp_store_write_words(writer, (int)words->count, word, err));
    HP_TRY(hp_store_write_answers(writer, WK_SOC_ANSWERS, answer, err));
    for (int s = 0; s < SPLITS; s++) HP_TRY(write_images(writer, options, s, images[s], err));
    uint32_t first = 0;
    for (int s = 0; s < SPLITS; first += images[s++])
        if (images[s] > 0)
            HP_TRY(write_questions(writer, options, words, s, first, images[s], err));
    return HP_OK;
}

hp_status_t wk_synth_sort_of_clevr(const wk_synth_options_t *options, hp_error_t *err) {
    if (options->train < 1 || options->train > WK_SYNTH_IMAGES_MAX ||
        options->valid > WK_SYNTH_IMAGES_MAX || options->test > WK_SYNTH_IMAGES_MAX)
        return hp_fail(err, HP_INPUT, "a split has at most %u images, train at least one",
                       WK_SYNTH_IMAGES_MAX);
    const hp_store_plan_t plan = {
        .feature_dtype = options->patches ? HP_DTYPE_U8 : HP_DTYPE_NONE,
        .grid_height = options->patches ? WK_SOC_GRID : 0,
        .grid_width = options->patches ? WK_SOC_GRID : 0,
        .max_cells = options->patches ? WK_SOC_GRID * WK_SOC_GRID : 0,
        .channels = options->patches ? WK_SOC_CHANNELS : 0,
        .pixel_height = WK_SOC_SIDE,
        .pixel_width = WK_SOC_SIDE,
        .max_objects = WK_SOC_OBJECTS,
        .metric = HP_METRIC_EXACT,
        .code_bits = WK_SOC_CODE_BITS,
        .tokenizer = TOKENIZER,
        .command = options->command,
    };
    wk_strings_t words = {0};
    hp_store_writer_t *writer = NULL;
    hp_status_t status = collect_words(&words, err);
    if (status == HP_OK) status = hp_store_writer_open(options->out, &plan, &writer, err);
    if (status == HP_OK) {
        status = write_all(writer, options, &words, err);
        if (status == HP_OK)
            status = hp_store_writer_finish(writer, err);
        else
            hp_store_writer_abandon(writer);
    }
    wk_strings_release(&words);
    return status;
}
