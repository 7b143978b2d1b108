#include "worker/import/text.h"

#include "common/memory.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- strings ------------------------------------------------------------------------------- */

static hp_status_t grow(void **array, size_t *capacity, size_t need, size_t size, hp_error_t *err) {
    if (need <= *capacity) return HP_OK;
    size_t n = *capacity * 2 > need ? *capacity * 2 : need + 256;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, n, size, "strings", err));
    if (*array != NULL) memcpy(p, *array, *capacity * size);
    hp_free(*array);
    *array = p;
    *capacity = n;
    return HP_OK;
}

const char *wk_strings_get(const wk_strings_t *set, uint32_t number) {
    return set->bytes + set->offset[number];
}

/* The slot of the string, or the free one where it belongs. */
static size_t slot_of(const wk_strings_t *set, const char *text, size_t bytes) {
    size_t at = XXH3_64bits(text, bytes) & (set->table_size - 1);
    for (; set->table[at] != 0; at = (at + 1) & (set->table_size - 1)) {
        const char *known = wk_strings_get(set, set->table[at] - 1);
        if (strncmp(known, text, bytes) == 0 && known[bytes] == '\0') break;
    }
    return at;
}

static hp_status_t widen(wk_strings_t *set, hp_error_t *err) {
    wk_strings_t wider = *set;
    void *p = NULL;
    wider.table_size = set->table_size ? set->table_size * 2 : 1024;
    HP_TRY(hp_allocate(&p, wider.table_size, sizeof *wider.table, "strings", err));
    wider.table = p;
    for (uint32_t i = 0; i < set->count; i++) {
        const char *text = wk_strings_get(set, i);
        wider.table[slot_of(&wider, text, strlen(text))] = i + 1;
    }
    hp_free(set->table);
    *set = wider;
    return HP_OK;
}

hp_status_t wk_strings_add(wk_strings_t *set, const char *text, size_t bytes, uint32_t *number_p,
                           hp_error_t *err) {
    if (((size_t)set->count + 1) * 2 > set->table_size) HP_TRY(widen(set, err));
    size_t at = slot_of(set, text, bytes);
    if (set->table[at] == 0) {
        if (set->count == UINT32_MAX - 1) return hp_fail(err, HP_INPUT, "too many strings");
        void *p = set->bytes;
        HP_TRY(grow(&p, &set->capacity, set->used + bytes + 1, 1, err));
        set->bytes = p;
        p = set->offset;
        HP_TRY(grow(&p, &set->offset_capacity, (size_t)set->count + 1, sizeof *set->offset, err));
        set->offset = p;
        memcpy(set->bytes + set->used, text, bytes);
        set->bytes[set->used + bytes] = '\0';
        set->offset[set->count] = set->used;
        set->used += bytes + 1;
        set->table[at] = ++set->count;
    }
    *number_p = set->table[at] - 1;
    return HP_OK;
}

int64_t wk_strings_find(const wk_strings_t *set, const char *text, size_t bytes) {
    return set->table_size == 0 ? -1 : (int64_t)set->table[slot_of(set, text, bytes)] - 1;
}

void wk_strings_release(wk_strings_t *set) {
    hp_free(set->bytes);
    hp_free(set->offset);
    hp_free(set->table);
    *set = (wk_strings_t){0};
}

/* ---- tokenisers ---------------------------------------------------------------------------- */

const wk_tokenizer_t *wk_tokenizers(void) {
    static const wk_tokenizer_t table[] = {
        {"words", ".,!?\"()*#:;$@`", "-/", "", true, false, false, false, 0, "the default"},
        {"ban", ",?", "", "", true, false, false, false, 0, "bottom-up-attention-vqa, BAN"},
        {"mcan", ".,'!?\"()*#:;", "-/", "", false, false, false, false, 0, "MCAN, openvqa"},
        {"mcb", "?!'\"$:@(),.;", "-/", "", false, false, false, false, 0, "MCB, MUTAN"},
        {"kazemi", "", "", "", false, false, true, false, 0,
         "pytorch-vqa (show, ask, attend, answer)"},
        {"kaihua", "", "", "", false, false, true, true, 0,
         "KaihuaTang's VQA2.0-Recent-Approachs-2018"},
        {"iep", "?.", "", ";,", false, true, false, false, 0, "clevr-iep"},
        {"punctuation", "", "", ".,;:!?\"()", false, false, false, false, 0,
         "every mark is a word"},
        {"split", "", "", "-.\"',:?!$#@~()*&^%;[]/\\+<>=", false, true, false, false, 0,
         "VQA_LSTM_CNN and HieCoAttenVQA's split at marks, which stay"},
        {"nltk", "", "", "", false, false, false, false, WK_TREEBANK_3_10,
         "NLTK 3.10's word_tokenize(text.lower())"},
        {"nltk3.9", "", "", "", false, false, false, false, WK_TREEBANK_3_9, "that of NLTK 3.9"},
        {"spaces", "", "", "", false, true, false, false, 0, "for words another program has made"},
        {NULL, NULL, NULL, NULL, false, false, false, false, 0, NULL},
    };
    return table;
}

const wk_tokenizer_t *wk_tokenizer_find(const char *name) {
    for (const wk_tokenizer_t *t = wk_tokenizers(); t->name != NULL; t++)
        if (strcmp(t->name, name) == 0) return t;
    return NULL;
}

size_t wk_tokens_room(const wk_tokenizer_t *t, const char *text) {
    size_t bytes = strlen(text);
    return t->treebank != 0 ? wk_treebank_room(bytes) : 2 * bytes + 2;
}

int wk_tokenize(const wk_tokenizer_t *t, const char *text, char *out) {
    if (t->treebank != 0) return wk_treebank(t->treebank, text, out);
    int words = 0;
    bool inside = false;
    const char *end = text + strlen(text);
    if (t->drop_last && end > text) /* a character, whatever its bytes */
        for (end--; end > text && ((unsigned char)*end & 0xC0) == 0x80;) end--;
    for (const char *p = text; p < end; p++) {
        unsigned char c = (unsigned char)*p;
        bool ascii = c < 128;
        if (t->plain && !(ascii && isalnum(c)) && c != ' ') continue;
        bool possessive = t->possessive && c == '\'' && (p[1] == 's' || p[1] == 'S');
        bool space = ascii && (isspace(c) || strchr(t->spaced, c) != NULL);
        bool alone = ascii && strchr(t->separate, c) != NULL;
        if (inside && (space || possessive || alone)) {
            *out++ = '\0';
            inside = false;
        }
        if (space || (ascii && strchr(t->deleted, c) != NULL)) continue;
        words += !inside;
        inside = !alone;
        *out++ = (char)(c >= 'A' && c <= 'Z' && !t->keep_case ? c + 32 : c);
        if (alone) *out++ = '\0';
    }
    *out = '\0';
    return words;
}

/* ---- counts -------------------------------------------------------------------------------- */

hp_status_t wk_counts_add(wk_counts_t *counts, const char *text, size_t bytes, hp_error_t *err) {
    uint32_t number = 0;
    HP_TRY(wk_strings_add(&counts->strings, text, bytes, &number, err));
    void *p = counts->count;
    HP_TRY(grow(&p, &counts->capacity, counts->strings.count, sizeof *counts->count, err));
    counts->count = p;
    counts->count[number]++;
    return HP_OK;
}

static int by_count(const void *a, const void *b, void *context) {
    const wk_counts_t *counts = context;
    uint32_t i = *(const uint32_t *)a, k = *(const uint32_t *)b;
    if (counts->count[i] != counts->count[k]) return counts->count[i] < counts->count[k] ? 1 : -1;
    return strcmp(wk_strings_get(&counts->strings, i), wk_strings_get(&counts->strings, k));
}

hp_status_t wk_counts_order(const wk_counts_t *counts, uint64_t limit, uint64_t least,
                            uint32_t **order_p, uint32_t *count_p, hp_error_t *err) {
    uint32_t n = 0;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, counts->strings.count, sizeof(uint32_t), "an order", err));
    uint32_t *order = p;
    for (uint32_t i = 0; i < counts->strings.count; i++)
        if (counts->count[i] >= least) order[n++] = i;
    qsort_r(order, n, sizeof *order, by_count, (void *)counts);
    *order_p = order;
    *count_p = n < limit ? n : (uint32_t)limit;
    return HP_OK;
}

uint64_t wk_counts_get(const wk_counts_t *counts, uint32_t number) { return counts->count[number]; }

void wk_counts_release(wk_counts_t *counts) {
    wk_strings_release(&counts->strings);
    hp_free(counts->count);
    *counts = (wk_counts_t){0};
}
