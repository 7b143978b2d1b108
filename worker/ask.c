#include "worker/ask.h"

#include "common/memory.h"
#include "worker/data/batch.h"
#include "worker/import/text.h"

#include <inttypes.h>
#include <string.h>

struct wk_ask {
    const wk_trained_t *trained;
    hp_store_reader_t *reader;
    const wk_tokenizer_t *tokenizer;
    wk_strings_t words, images; /* numbered as in the store */
    wk_batch_plan_t plan;
    wk_batch_memory_t *memory;
    wk_model_t *model;
    float *boxes; /* [max_cells][4] */
};

static hp_status_t fill(wk_strings_t *set, const char *text, uint32_t want, const char *what,
                        hp_error_t *err) {
    uint32_t number = 0;
    HP_TRY(wk_strings_add(set, text, strlen(text), &number, err));
    if (number == want) return HP_OK;
    return hp_fail(err, HP_CORRUPT, "the store has %s '%s' twice", what, text);
}

static hp_status_t prepare(wk_ask_t *ask, hp_error_t *err) {
    const wk_trained_t *t = ask->trained;
    const hp_store_info_t *info = hp_store_info(t->store);
    ask->tokenizer = wk_tokenizer_find(info->tokenizer[0] != '\0' ? info->tokenizer : "words");
    if (ask->tokenizer == NULL)
        return hp_fail(err, HP_INPUT, "store '%s': no tokeniser is named '%s'",
                       t->config.data.store, info->tokenizer);
    HP_TRY(hp_store_reader_open(t->store, &ask->reader, err));
    for (int w = 0; w < info->words; w++)
        HP_TRY(fill(&ask->words, info->word[w], (uint32_t)w, "the word", err));
    for (uint32_t i = 0; i < info->images; i++) {
        const char *name = NULL;
        HP_TRY(hp_store_read_image_name(ask->reader, i, &name, err));
        HP_TRY(fill(&ask->images, name, i, "the image", err));
    }
    HP_TRY(wk_batch_plan(&t->config, info, 1, 1, &ask->plan, err));
    ask->plan.limits.tokens = WK_ASK_WORDS;
    HP_TRY(wk_batch_create(&ask->plan, &ask->memory, err));
    if (info->boxes) {
        void *p = NULL;
        HP_TRY(hp_allocate(&p, (size_t)info->max_cells, 4 * sizeof(float), "boxes", err));
        ask->boxes = p;
    }
    return wk_model_create(&t->config, &ask->plan.shape, &ask->plan.limits, &ask->model, err);
}

hp_status_t wk_ask_open(const wk_trained_t *trained, wk_ask_t **ask_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(wk_ask_t), "a question", err));
    wk_ask_t *ask = p;
    ask->trained = trained;
    hp_status_t status = prepare(ask, err);
    if (status != HP_OK) {
        wk_ask_close(ask);
        return status;
    }
    *ask_p = ask;
    return HP_OK;
}

void wk_ask_close(wk_ask_t *ask) {
    if (ask == NULL) return;
    wk_model_destroy(ask->model);
    wk_batch_destroy(ask->memory);
    hp_store_reader_close(ask->reader);
    wk_strings_release(&ask->words);
    wk_strings_release(&ask->images);
    hp_free(ask->boxes);
    hp_free(ask);
}

/* Words of the question as the vocabulary numbers them. */
static hp_status_t tokenise(const wk_ask_t *ask, const char *question, int32_t *token,
                            int *tokens_p, int *unknown_p, hp_error_t *err) {
    void *text = NULL;
    HP_TRY(hp_allocate(&text, wk_tokens_room(ask->tokenizer, question), 1, "words", err));
    int n = wk_tokenize(ask->tokenizer, question, text);
    const char *word = text;
    *unknown_p = 0;
    for (int t = 0; t < n && n <= WK_ASK_WORDS; t++, word += strlen(word) + 1) {
        int64_t number = wk_strings_find(&ask->words, word, strlen(word));
        *unknown_p += number <= 0;
        token[t] = number < 0 ? 0 : (int32_t)number;
    }
    hp_free(text);
    if (n > WK_ASK_WORDS)
        return hp_fail(err, HP_INPUT, "the question has %d words; %d at most", n, WK_ASK_WORDS);
    if (n == 0) return hp_fail(err, HP_INPUT, "the question has no words");
    *tokens_p = n;
    return HP_OK;
}

hp_status_t wk_ask(wk_ask_t *ask, const char *image, const char *question, wk_answered_t *answered,
                   int *unknown_p, hp_error_t *err) {
    const wk_trained_t *t = ask->trained;
    int32_t token[WK_ASK_WORDS];
    int tokens = 0, boxes = 0;
    int64_t number = wk_strings_find(&ask->images, image, strlen(image));
    if (number < 0)
        return hp_fail(err, HP_INPUT,
                       "store '%s' has no image '%s'; the first of its %" PRIu64 " is '%s'",
                       t->config.data.store, image, hp_store_info(t->store)->images,
                       ask->images.count > 0 ? wk_strings_get(&ask->images, 0) : "");
    HP_TRY(tokenise(ask, question, token, &tokens, unknown_p, err));
    wk_batch_t batch;
    wk_result_t result = {0};
    wk_pass_t pass = {.train = false, .seed = (uint64_t)t->config.run.seed};
    HP_TRY(wk_batch_ask(ask->memory, &ask->plan, ask->reader, (uint32_t)number, token, tokens,
                        &batch, err));
    HP_TRY(wk_model_forward(ask->model, t->weights, &batch.nn, &pass, &result, err));
    if (ask->boxes != NULL)
        HP_TRY(hp_store_read_boxes(ask->reader, (uint32_t)number, ask->boxes,
                                   hp_store_info(t->store)->max_cells, &boxes, err));
    return wk_answered(&batch, &result, 0, ask->plan.shape.answers, answered, err);
}

const float *wk_ask_boxes(const wk_ask_t *ask) { return ask->boxes; }
