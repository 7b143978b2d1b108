/* Characters of UTF-8, and the classes that Python's regular expressions put them into. */
#ifndef WK_LETTERS_H
#define WK_LETTERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The character that `text` begins with, `bytes` of which are left; none: 0, of no length. A byte
 * that does not begin a whole character is one by itself. */
uint32_t wk_letter(const char *text, size_t bytes, size_t *length_p);
/* The one that ends where `text + at` begins; 0 at the beginning. */
uint32_t wk_letter_before(const char *text, size_t at);

/* \w: letters, digits, _. Exact for marks and symbols of Latin, Greek, Cyrillic, Hebrew and Arabic
 * text, of East Asian typesetting, arrows, mathematics and emoji; all others, and all combining
 * marks, count as letters. */
bool wk_letter_is_word(uint32_t c);
/* Numbers in one character that are no decimal digits: superscripts, fractions, circled ones. They
 * are in \w of Python's re, and not in that of its regex module. */
bool wk_letter_is_numeral(uint32_t c);
bool wk_letter_is_digit(uint32_t c); /* \d below U+10000 */
bool wk_letter_is_space(uint32_t c); /* \s, and what str.split splits at */

#endif
