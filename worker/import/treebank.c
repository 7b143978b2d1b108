#include "worker/import/treebank.h"

#include "worker/import/letters.h"
#include "worker/metric_words.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A rule is a substitution, re.sub's, over the whole text; the table has them in NLTK's order. They
 * put spaces around words, and where a space is, no other is put: no rule tells one from several.
 * So nothing but " becomes more characters than it was (`` or ''), a character has at most one
 * space before it, and three bytes for each byte of the text, a space behind, and NUL are enough.
 */
typedef struct {
    const char *text; /* what the rule reads */
    size_t bytes, at;
    char *out; /* what it makes of it */
    size_t used;
    size_t dot, end; /* final_dot's, which it finds at the first dot */
} pass_t;

typedef struct rule {
    /* Tries to match at `at`: writes what comes instead and returns the bytes matched; 0: none. */
    size_t (*match)(pass_t *p, const struct rule *rule);
    const char *starts; /* bytes that a match can begin with; NULL: any */
    const char *from, *to;
    wk_treebank_t only; /* 0: whose rules it belongs to does not matter */
} rule_t;

static void put(pass_t *p, const char *text, size_t bytes) {
    for (size_t i = 0; i < bytes; i++)
        if (text[i] != ' ' || p->used == 0 || p->out[p->used - 1] != ' ')
            p->out[p->used++] = text[i];
}

static size_t put_word(pass_t *p, const char *text, size_t bytes, size_t matched) {
    put(p, " ", 1);
    put(p, text, bytes);
    put(p, " ", 1);
    return matched;
}

static bool begins_with(const pass_t *p, size_t at, const char *with, size_t bytes) {
    return at <= p->bytes && bytes <= p->bytes - at && memcmp(p->text + at, with, bytes) == 0;
}

static bool begins(const pass_t *p, size_t at, const char *with) {
    return begins_with(p, at, with, strlen(with));
}

/* Whether the set has the character of these bytes. */
static bool has(const char *set, const char *text, size_t bytes) {
    if (bytes == 1 && (unsigned char)*text >= 0x80) return false; /* no character */
    return memmem(set, strlen(set), text, bytes) != NULL;
}

/* The character at `at`, and its bytes; at the end 0, of none. */
static uint32_t letter_at(const pass_t *p, size_t at, size_t *bytes_p) {
    return wk_letter(p->text + at, p->bytes - at, bytes_p);
}

static bool word_at(const pass_t *p, size_t at) {
    size_t n;
    return wk_letter_is_word(letter_at(p, at, &n));
}

static bool word_before(const pass_t *p, size_t at) {
    return wk_letter_is_word(wk_letter_before(p->text, at));
}

/* ---- kinds of rules ------------------------------------------------------------------------ */

/* [starts] -> " \0 " */
static size_t one_of(pass_t *p, const rule_t *r) {
    size_t n;
    letter_at(p, p->at, &n);
    if (!has(r->starts, p->text + p->at, n)) return 0;
    return put_word(p, p->text + p->at, n, n);
}

/* from and more of its last character -> " \0 " */
static size_t run(pass_t *p, const rule_t *r) {
    size_t n = strlen(r->from);
    if (!begins(p, p->at, r->from)) return 0;
    while (p->at + n < p->bytes && p->text[p->at + n] == r->from[0]) n++;
    return put_word(p, p->text + p->at, n, n);
}

/* from -> " to " */
static size_t literal(pass_t *p, const rule_t *r) {
    if (!begins(p, p->at, r->from)) return 0;
    return put_word(p, r->to, strlen(r->to), strlen(r->from));
}

/* ^[starts] -> to */
static size_t first_quote(pass_t *p, const rule_t *r) {
    if (p->at > 0) return 0;
    put(p, r->to, strlen(r->to));
    return 1;
}

/* ([starts])("|'{2}) -> "\1 to " */
static size_t opening_quote(pass_t *p, const rule_t *r) {
    size_t n = begins(p, p->at + 1, "\"") ? 2 : begins(p, p->at + 1, "''") ? 3 : 0;
    if (n == 0) return 0;
    put(p, p->text + p->at, 1);
    return put_word(p, r->to, strlen(r->to), n);
}

/* Bytes of the clitic that begins at `at`. */
static size_t clitic(const pass_t *p, size_t at) {
    static const char *const known[] = {"re", "ve", "ll", "m", "t", "s", "d", "n"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (begins(p, at, known[i])) return strlen(known[i]);
    return 0;
}

/* '(?!re|ve|ll|m|t|s|d|n)(\w)\b -> "' \1" */
static size_t single_letter(pass_t *p, const rule_t *r) {
    size_t n, next = p->at + 1;
    (void)r;
    if (!word_at(p, next) || clitic(p, next) > 0) return 0;
    letter_at(p, next, &n);
    if (word_at(p, next + n)) return 0;
    put(p, "' ", 2);
    put(p, p->text + next, n);
    return 1 + n;
}

static bool in_word(uint32_t c) { return wk_letter_is_word(c) && !wk_letter_is_numeral(c); }

/* (?<!\w)'(?!(?:re|ve|ll|m|t|s|d|n)\b)(?=\w) -> "' ", with the regex module's \w */
static size_t single_quote(pass_t *p, const rule_t *r) {
    size_t next = p->at + 1, n;
    (void)r;
    if (in_word(wk_letter_before(p->text, p->at))) return 0;
    if (!in_word(letter_at(p, next, &n))) return 0;
    n = clitic(p, next);
    if (n > 0 && !in_word(letter_at(p, next + n, &(size_t){0}))) return 0;
    put(p, "' ", 2);
    return 1;
}

/* ([starts])([^\d]) -> " \1 \2" */
static size_t comma(pass_t *p, const rule_t *r) {
    size_t n;
    (void)r;
    if (p->at + 1 == p->bytes) return 0;
    if (wk_letter_is_digit(letter_at(p, p->at + 1, &n))) return 0;
    put_word(p, p->text + p->at, 1, 1);
    put(p, p->text + p->at + 1, n);
    return 1 + n;
}

/* ([starts])$ -> " \1 "; $ is also before a line feed that ends the text. */
static size_t last_comma(pass_t *p, const rule_t *r) {
    size_t left = p->bytes - p->at;
    (void)r;
    if (left > 2 || (left == 2 && p->text[p->at + 1] != '\n')) return 0;
    return put_word(p, p->text + p->at, 1, 1);
}

/* ([^'])'[ ] -> "\1 ' " */
static size_t closing_quote(pass_t *p, const rule_t *r) {
    if (!begins(p, p->at, r->from) || p->at == 0 || p->text[p->at - 1] == '\'') return 0;
    return put_word(p, r->to, strlen(r->to), strlen(r->from));
}

/* ([^' ])(from)[ ] -> "\1 \2 " */
static size_t ending(pass_t *p, const rule_t *r) {
    if (p->at == 0 || strchr("' ", p->text[p->at - 1]) != NULL) return 0;
    for (const char *one = r->from; *one != '\0';) {
        size_t n = strcspn(one, "|");
        if (begins_with(p, p->at, one, n) && begins(p, p->at + n, " "))
            return put_word(p, one, n, n + 1);
        one += n + (one[n] == '|');
    }
    return 0;
}

/* \s+ -> " " */
static size_t spaces(pass_t *p, const rule_t *r) {
    size_t n;
    (void)r;
    if (!wk_letter_is_space(letter_at(p, p->at, &n))) return 0;
    put(p, " ", 1);
    return n;
}

static size_t put_pair(pass_t *p, const rule_t *r, size_t before) {
    put_word(p, r->from, strlen(r->from), 0);
    return put_word(p, r->to, strlen(r->to), before + strlen(r->from) + strlen(r->to));
}

/* Where from and to end, which begin at `at`; 0: they do not. */
static size_t pair_end(const pass_t *p, const rule_t *r, size_t at) {
    size_t n = strlen(r->from);
    if (!begins(p, at, r->from) || !begins(p, at + n, r->to)) return 0;
    return at + n + strlen(r->to);
}

/* \b(from)(to)\b -> " \1 \2 " */
static size_t contraction(pass_t *p, const rule_t *r) {
    size_t end = pair_end(p, r, p->at);
    return end == 0 || word_before(p, p->at) || word_at(p, end) ? 0 : put_pair(p, r, 0);
}

/* \b(from)(to)(?=\s) -> " \1 \2 " */
static size_t contraction_spaced(pass_t *p, const rule_t *r) {
    size_t n, end = pair_end(p, r, p->at);
    if (end == 0 || word_before(p, p->at) || !wk_letter_is_space(letter_at(p, end, &n))) return 0;
    return put_pair(p, r, 0);
}

/* [ ](from)(to)\b -> " \1 \2 " */
static size_t contraction_after_space(pass_t *p, const rule_t *r) {
    size_t end = pair_end(p, r, p->at + 1);
    return end == 0 || word_at(p, end) ? 0 : put_pair(p, r, 1);
}

/* ---- the final dot ------------------------------------------------------------------------- */

/* The bytes of `text` without the characters of `set` (NULL: white space) that end it. */
static size_t without(const char *text, size_t bytes, const char *set) {
    while (bytes > 0) {
        size_t from = bytes - 1;
        while (from > 0 && ((unsigned char)text[from] & 0xC0) == 0x80) from--;
        uint32_t c = wk_letter_before(text, bytes);
        bool in = set == NULL ? wk_letter_is_space(c) : has(set, text + from, bytes - from);
        if (!in) break;
        bytes = from;
    }
    return bytes;
}

/* ([^\.])(\.)([from]*)\s*$ -> "\1 \2to\3 " */
static size_t final_dot(pass_t *p, const rule_t *r) {
    if (p->end == 0) {
        p->end = without(p->text, p->bytes, NULL);
        p->dot = without(p->text, p->end, r->from);
    }
    if (p->at + 1 != p->dot || p->at == 0 || p->text[p->at - 1] == '.') return 0;
    put(p, " .", 2);
    put(p, r->to, strlen(r->to));
    put(p, p->text + p->dot, p->end - p->dot);
    put(p, " ", 1);
    return p->bytes - p->at;
}

/* A space before the text and one after it. */
static size_t surround(pass_t *p, const rule_t *r) {
    (void)r;
    return put_word(p, p->text, p->bytes, p->bytes);
}

/* ---- all rules ----------------------------------------------------------------------------- */

static const rule_t table[] = {
    /* Starting quotes. */
    {one_of, "\u00ab\u201c\u2018\u201e", NULL, NULL, 0},
    {run, "`", "`", NULL, 0},
    {first_quote, "\"", NULL, "``", 0},
    {literal, "`", "``", "``", 0},
    {opening_quote, " ([{<", NULL, "``", 0},
    {single_letter, "'", NULL, NULL, WK_TREEBANK_3_9},
    {single_quote, "'", NULL, NULL, WK_TREEBANK_3_10},
    /* Punctuation, brackets, double dashes. */
    {final_dot, ".", "])}>\"'\u00bb\u201d\u2019 ", " ", 0},
    {comma, ":,", NULL, NULL, 0},
    {last_comma, ":,", NULL, NULL, 0},
    {run, ".", "..", NULL, 0},
    {one_of, ";@#$%&", NULL, NULL, 0},
    {one_of, "\u2012\u2013\u2014\u2015", NULL, NULL, WK_TREEBANK_3_10},
    {final_dot, ".", "])}>\"'", "", 0},
    {one_of, "?!", NULL, NULL, 0},
    {closing_quote, "'", "' ", "'", 0},
    {one_of, "*", NULL, NULL, 0},
    {one_of, "][(){}<>", NULL, NULL, 0},
    {literal, "-", "--", "--", 0},
    {surround, NULL, NULL, NULL, 0},
    /* Ending quotes. */
    {one_of, "\u00bb\u201d\u2019", NULL, NULL, 0},
    {literal, "'", "''", "''", 0},
    {literal, "\"", "\"", "''", 0},
    {spaces, NULL, NULL, NULL, 0},
    {ending, "'", "'s|'m|'d|'", NULL, 0},
    {ending, "'n", "'ll|'re|'ve|n't", NULL, 0},
    /* Contractions. */
    {contraction, "c", "can", "not", 0},
    {contraction, "d", "d", "'ye", 0},
    {contraction, "g", "gim", "me", 0},
    {contraction, "g", "gon", "na", 0},
    {contraction, "g", "got", "ta", 0},
    {contraction, "l", "lem", "me", 0},
    {contraction, "m", "more", "'n", 0},
    {contraction_spaced, "w", "wan", "na", 0},
    {contraction_after_space, " ", "'t", "is", 0},
    {contraction_after_space, " ", "'t", "was", 0},
};

/* Writes what the rule makes of the text; returns the bytes. */
static size_t apply(const rule_t *rule, const char *text, size_t bytes, char *out) {
    pass_t p = {.text = text, .bytes = bytes, .out = out};
    while (p.at < bytes) {
        size_t n = rule->starts != NULL ? strcspn(text + p.at, rule->starts) : 0;
        put(&p, text + p.at, n);
        p.at += n;
        if (p.at == bytes) break;
        n = rule->match(&p, rule);
        if (n == 0) {
            letter_at(&p, p.at, &n);
            put(&p, text + p.at, n);
        }
        p.at += n;
    }
    out[p.used] = '\0';
    return p.used;
}

static int split(const char *text, size_t bytes, char *out) {
    int words = 0;
    bool inside = false;
    for (size_t at = 0, n = 0; at < bytes; at += n) {
        bool space = wk_letter_is_space(wk_letter(text + at, bytes - at, &n));
        if (inside && space) *out++ = '\0';
        words += !inside && !space;
        inside = !space;
        for (size_t i = 0; i < n && !space; i++) *out++ = text[at + i];
    }
    *out = '\0';
    return words;
}

const char *wk_treebank_version(wk_treebank_t rules) {
    return rules == WK_TREEBANK_3_9 ? "3.9" : "3.10";
}

static size_t half(size_t bytes) { return 3 * bytes + 3; }

size_t wk_treebank_room(size_t bytes) { return 2 * half(bytes); }

int wk_treebank(wk_treebank_t rules, const char *text, char *out) {
    size_t n = strlen(text);
    char *from = out, *to = out + half(n);
    memcpy(from, text, n + 1);
    wk_word_lower(from);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (table[i].only != 0 && table[i].only != rules) continue;
        n = apply(&table[i], from, n, to);
        char *swap = from;
        from = to;
        to = swap;
    }
    return split(from, n, out); /* never overtakes what it reads */
}
