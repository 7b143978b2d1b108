/* The word tables of the official VQA evaluation. */
#ifndef WK_METRIC_WORDS_H
#define WK_METRIC_WORDS_H

/* "dont" -> "don't"; a word that is not in the table is returned as it is. At most one byte longer.
 */
const char *wk_word_contraction(const char *word);

/* "none" and "zero" -> "0", "one" -> "1" .. "ten" -> "10". */
const char *wk_word_number(const char *word);

/* Lower case as Python's str.lower: ASCII, and the letters of Latin, Greek and Cyrillic that have
 * two bytes before and after (not I with a dot, nor a sigma that ends a word). In place. */
void wk_word_lower(char *word);

#endif
