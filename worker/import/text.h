/* Strings by number, tokenisers, and vocabularies counted from a split. */
#ifndef WK_TEXT_H
#define WK_TEXT_H

#include "common/status.h"
#include "worker/import/treebank.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A set of strings numbered from 0 in the order they came. Zero it before use. */
typedef struct {
    char *bytes; /* NUL-terminated, one after the other */
    size_t used, capacity;
    uint64_t *offset; /* [count] */
    uint32_t count;
    size_t offset_capacity;
    uint32_t *table; /* number + 1, by hash; 0: free */
    size_t table_size;
} wk_strings_t;

hp_status_t wk_strings_add(wk_strings_t *set, const char *text, size_t bytes, uint32_t *number_p,
                           hp_error_t *err) HP_MUST_CHECK;
int64_t wk_strings_find(const wk_strings_t *set, const char *text,
                        size_t bytes);                                /* -1: not there */
const char *wk_strings_get(const wk_strings_t *set, uint32_t number); /* until the next add */
void wk_strings_release(wk_strings_t *set);

/* A tokeniser is data: take away the last character, lower-case ASCII letters, put a space before
 * every 's, delete some characters, turn others into spaces or into words of their own, split at
 * white space. Bytes above 127 stay; `plain` leaves ASCII letters, digits and spaces alone. Those
 * with `treebank` are NLTK's instead, whose rules have a file of their own. */
typedef struct {
    const char *name, *deleted, *spaced, *separate;
    bool possessive, keep_case, drop_last, plain;
    wk_treebank_t treebank; /* 0: the above */
    const char *source;     /* where the rule comes from */
} wk_tokenizer_t;

const wk_tokenizer_t *wk_tokenizers(void);                 /* ends with a NULL name */
const wk_tokenizer_t *wk_tokenizer_find(const char *name); /* NULL: none of this name */

/* Writes the words of `text` to `out`, each ended by NUL; returns how many there are. `out` holds
 * wk_tokens_room(tokenizer, text) bytes. */
size_t wk_tokens_room(const wk_tokenizer_t *tokenizer, const char *text);
int wk_tokenize(const wk_tokenizer_t *tokenizer, const char *text, char *out);

/* Counts, and their largest first; equal counts in the order of their bytes. */
typedef struct {
    wk_strings_t strings;
    uint64_t *count; /* [strings.count] */
    size_t capacity;
} wk_counts_t;

hp_status_t wk_counts_add(wk_counts_t *counts, const char *text, size_t bytes,
                          hp_error_t *err) HP_MUST_CHECK;
/* The numbers of the `limit` most frequent strings that came at least `least` times; the caller
 * releases *order_p with hp_free. */
hp_status_t wk_counts_order(const wk_counts_t *counts, uint64_t limit, uint64_t least,
                            uint32_t **order_p, uint32_t *count_p, hp_error_t *err) HP_MUST_CHECK;
uint64_t wk_counts_get(const wk_counts_t *counts, uint32_t number);
void wk_counts_release(wk_counts_t *counts);

#endif
