/* The contractions of vqaEval.py, sorted by key (bytes) for a binary search. Its odd entries
 * ("somebody'd" loses its apostrophe; four with capitals never match lower-cased text) are kept. */
#include "worker/metric_words.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *key, *value;
} pair_t;

static const pair_t contraction[] = {
    {"'ow'sat", "'ow's'at"},
    {"'ows'at", "'ow's'at"},
    {"I'dve", "I'd've"},
    {"Id've", "I'd've"},
    {"Im", "I'm"},
    {"Ive", "I've"},
    {"aint", "ain't"},
    {"arent", "aren't"},
    {"cant", "can't"},
    {"couldn'tve", "couldn't've"},
    {"couldnt", "couldn't"},
    {"couldnt've", "couldn't've"},
    {"couldve", "could've"},
    {"didnt", "didn't"},
    {"doesnt", "doesn't"},
    {"dont", "don't"},
    {"hadn'tve", "hadn't've"},
    {"hadnt", "hadn't"},
    {"hadnt've", "hadn't've"},
    {"hasnt", "hasn't"},
    {"havent", "haven't"},
    {"he'dve", "he'd've"},
    {"hed", "he'd"},
    {"hed've", "he'd've"},
    {"hes", "he's"},
    {"howd", "how'd"},
    {"howll", "how'll"},
    {"hows", "how's"},
    {"isnt", "isn't"},
    {"it'dve", "it'd've"},
    {"itd", "it'd"},
    {"itd've", "it'd've"},
    {"itll", "it'll"},
    {"let's", "let's"},
    {"maam", "ma'am"},
    {"mightn'tve", "mightn't've"},
    {"mightnt", "mightn't"},
    {"mightnt've", "mightn't've"},
    {"mightve", "might've"},
    {"mustnt", "mustn't"},
    {"mustve", "must've"},
    {"neednt", "needn't"},
    {"notve", "not've"},
    {"oclock", "o'clock"},
    {"oughtnt", "oughtn't"},
    {"ow's'at", "'ow's'at"},
    {"shant", "shan't"},
    {"she'dve", "she'd've"},
    {"she's", "she's"},
    {"shed've", "she'd've"},
    {"shouldn'tve", "shouldn't've"},
    {"shouldnt", "shouldn't"},
    {"shouldnt've", "shouldn't've"},
    {"shouldve", "should've"},
    {"somebody'd", "somebodyd"},
    {"somebody'dve", "somebody'd've"},
    {"somebodyd've", "somebody'd've"},
    {"somebodyll", "somebody'll"},
    {"somebodys", "somebody's"},
    {"someone'dve", "someone'd've"},
    {"someoned", "someone'd"},
    {"someoned've", "someone'd've"},
    {"someonell", "someone'll"},
    {"someones", "someone's"},
    {"something'dve", "something'd've"},
    {"somethingd", "something'd"},
    {"somethingd've", "something'd've"},
    {"somethingll", "something'll"},
    {"thats", "that's"},
    {"there'dve", "there'd've"},
    {"thered", "there'd"},
    {"thered've", "there'd've"},
    {"therere", "there're"},
    {"theres", "there's"},
    {"they'dve", "they'd've"},
    {"theyd", "they'd"},
    {"theyd've", "they'd've"},
    {"theyll", "they'll"},
    {"theyre", "they're"},
    {"theyve", "they've"},
    {"twas", "'twas"},
    {"wasnt", "wasn't"},
    {"we'dve", "we'd've"},
    {"wed've", "we'd've"},
    {"werent", "weren't"},
    {"weve", "we've"},
    {"whatll", "what'll"},
    {"whatre", "what're"},
    {"whats", "what's"},
    {"whatve", "what've"},
    {"whens", "when's"},
    {"whered", "where'd"},
    {"wheres", "where's"},
    {"whereve", "where've"},
    {"who'dve", "who'd've"},
    {"whod", "who'd"},
    {"whod've", "who'd've"},
    {"wholl", "who'll"},
    {"whos", "who's"},
    {"whove", "who've"},
    {"whyll", "why'll"},
    {"whyre", "why're"},
    {"whys", "why's"},
    {"wont", "won't"},
    {"wouldn'tve", "wouldn't've"},
    {"wouldnt", "wouldn't"},
    {"wouldnt've", "wouldn't've"},
    {"wouldve", "would've"},
    {"y'all'dve", "y'all'd've"},
    {"y'alld've", "y'all'd've"},
    {"y'allll", "y'all'll"},
    {"yall", "y'all"},
    {"yall'd've", "y'all'd've"},
    {"yall'll", "y'all'll"},
    {"you'dve", "you'd've"},
    {"youd", "you'd"},
    {"youd've", "you'd've"},
    {"youll", "you'll"},
    {"youre", "you're"},
    {"youve", "you've"},
};

static const pair_t number[] = {
    {"eight", "8"}, {"five", "5"}, {"four", "4"}, {"nine", "9"},  {"none", "0"}, {"one", "1"},
    {"seven", "7"}, {"six", "6"},  {"ten", "10"}, {"three", "3"}, {"two", "2"},  {"zero", "0"},
};

static int compare(const void *key, const void *pair) {
    return strcmp(key, ((const pair_t *)pair)->key);
}

const char *wk_word_contraction(const char *word) {
    const pair_t *hit = bsearch(word, contraction, sizeof contraction / sizeof *contraction,
                                sizeof *contraction, compare);
    return hit != NULL ? hit->value : word;
}

const char *wk_word_number(const char *word) {
    const pair_t *hit =
        bsearch(word, number, sizeof number / sizeof *number, sizeof *number, compare);
    return hit != NULL ? hit->value : word;
}

static unsigned lower_of(unsigned c) {
    if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3ab && c != 0x3a2) ||
        (c >= 0x410 && c <= 0x42f))
        return c + 32;
    if (c >= 0x400 && c <= 0x40f) return c + 80;
    if ((c >= 0x100 && c <= 0x137 && c != 0x130) || (c >= 0x14a && c <= 0x177) ||
        (c >= 0x460 && c <= 0x481) || (c >= 0x48a && c <= 0x4bf) || (c >= 0x4d0 && c <= 0x52f))
        return c | 1;
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e)) return c + (c & 1);
    if (c >= 0x388 && c <= 0x38a) return c + 37;
    if (c >= 0x38e && c <= 0x38f) return c + 63;
    return c == 0x178 ? 0xff : c == 0x386 ? 0x3ac : c == 0x38c ? 0x3cc : c;
}

void wk_word_lower(char *word) {
    for (unsigned char *p = (unsigned char *)word; *p != '\0'; p++) {
        if (*p >= 'A' && *p <= 'Z') *p = (unsigned char)(*p + 32);
        if ((*p & 0xe0) != 0xc0 || (p[1] & 0xc0) != 0x80) continue;
        const unsigned c = lower_of((*p & 0x1fu) << 6 | (p[1] & 0x3fu));
        *p++ = (unsigned char)(0xc0 | c >> 6);
        *p = (unsigned char)(0x80 | (c & 0x3f));
    }
}
