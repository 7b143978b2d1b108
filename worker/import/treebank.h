/* The words of a sentence as NLTK's word_tokenize makes them: the Penn Treebank's conventions, with
 * Unicode's quotes, runs of dots and dashes added (nltk/tokenize/destructive.py). */
#ifndef WK_TREEBANK_H
#define WK_TREEBANK_H

#include <stddef.h>

/* Whose rules: those of NLTK 3.9 to 3.9.2, and of 3.7 and 3.8 where all white space is spaces; or
 * those of 3.10.1 and later, which also part an opening ' from a word of several letters ('stop'),
 * and the dashes from U+2012 to U+2015 from what is around them. */
typedef enum { WK_TREEBANK_3_9 = 1, WK_TREEBANK_3_10 } wk_treebank_t;

/* word_tokenize(text.lower(), preserve_line=True): letters are lower-cased first, as wk_word_lower
 * does, and the text is one sentence. Without preserve_line word_tokenize begins with Punkt, a
 * model that finds sentences. Where it finds one, as in nearly every question, the words are the
 * same; where it finds several, the dot that ends each is a word of its own, here only the last.
 *
 * Writes the words to `out`, each ended by NUL, and returns how many; `out` holds
 * wk_treebank_room(strlen(text)) bytes. Time is proportional to the length. */
const char *wk_treebank_version(wk_treebank_t rules); /* "3.9", "3.10" */
size_t wk_treebank_room(size_t bytes);
int wk_treebank(wk_treebank_t rules, const char *text, char *out);

#endif
