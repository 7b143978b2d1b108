#include "worker/metric.h"

#include "common/memory.h"
#include "worker/metric_words.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *wk_metric_name(wk_metric_t metric) {
    static const char *const name[] = {"vqa_2016", "vqa_2021", "exact"};
    return name[metric];
}

hp_status_t wk_metric_find(const char *name, int *metric_p, hp_error_t *err) {
    for (int m = 0; m < WK_METRICS; m++)
        if (strcmp(name, wk_metric_name((wk_metric_t)m)) == 0) {
            *metric_p = m;
            return HP_OK;
        }
    return hp_fail(err, HP_INPUT, "--metric %s: allowed are exact, vqa_2021, vqa_2016", name);
}

enum { TITLES = 3 };
static const char *const titles[TITLES][2] = {
    {"yes/no", "Yes/No"}, {"number", "Number"}, {"other", "Other"}};

int wk_answer_type_place(const char *name) {
    int place = 0;
    while (place < TITLES && strcmp(name, titles[place][0]) != 0) place++;
    return place;
}

const char *wk_answer_type_title(const char *name) {
    const int place = wk_answer_type_place(name);
    return place < TITLES ? titles[place][1] : name[0] != '\0' ? name : "none";
}

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Bytes of the white space character at `s` as Python's str.split sees it, or 0. */
static size_t space_at(const char *text) {
    const unsigned char *s = (const unsigned char *)text;
    if (s[0] == ' ' || (s[0] >= 0x09 && s[0] <= 0x0d) || (s[0] >= 0x1c && s[0] <= 0x1f)) return 1;
    if (s[0] == 0xc2 && (s[1] == 0x85 || s[1] == 0xa0)) return 2; /* U+0085, U+00A0 */
    if (s[0] == 0xe1 && s[1] == 0x9a && s[2] == 0x80) return 3;   /* U+1680 */
    if (s[0] == 0xe3 && s[1] == 0x80 && s[2] == 0x80) return 3;   /* U+3000 */
    if (s[0] == 0xe2 && s[1] == 0x81 && s[2] == 0x9f) return 3;   /* U+205F */
    if (s[0] == 0xe2 && s[1] == 0x80 &&
        ((s[2] >= 0x80 && s[2] <= 0x8a) || s[2] == 0xa8 || s[2] == 0xa9 || s[2] == 0xaf))
        return 3; /* U+2000 .. U+200A, U+2028, U+2029, U+202F */
    return 0;
}

/* Line breaks and tabs become spaces; white space at both ends goes. out: strlen(in) + 1 bytes. */
static void strip(const char *in, char *out) {
    size_t width;
    while ((width = space_at(in)) > 0) in += width;
    size_t used = 0, end = 0; /* end: after the last character that is no space */
    while (*in != '\0') {
        width = space_at(in);
        if (width == 0) {
            out[used++] = *in++;
            end = used;
        } else {
            for (size_t i = 0; i < width; i++)
                out[used++] = in[i] == '\n' || in[i] == '\t' ? ' ' : in[i];
            in += width;
        }
    }
    out[end] = '\0';
}

static bool has_comma_in_number(const char *s) {
    for (; s[0] != '\0' && s[1] != '\0'; s++)
        if (is_digit(s[0]) && s[1] == ',' && is_digit(s[2])) return true;
    return false;
}

void wk_vqa_punctuation(const char *in, char *out) {
    static const char mark[] = ";/[]\"{}()=+\\_-><@`,?!";
    static const int most_periods = 32; /* vqaEval.py passes re.UNICODE, 32, as the count */
    bool comma = has_comma_in_number(in), removed[sizeof mark] = {false};
    for (size_t m = 0; mark[m] != '\0'; m++) {
        const char before[] = {' ', mark[m], '\0'}, after[] = {mark[m], ' ', '\0'};
        removed[m] = comma || strstr(in, before) != NULL || strstr(in, after) != NULL;
    }
    char *end = out;
    for (; *in != '\0'; in++) {
        const char *m = strchr(mark, *in);
        if (m == NULL)
            *end++ = *in;
        else if (!removed[m - mark])
            *end++ = ' ';
    }
    *end = '\0';
    /* A period that no digit follows. */
    int periods = 0;
    char *to = out;
    for (const char *from = out; *from != '\0'; from++)
        if (*from == '.' && !is_digit(from[1]) && periods < most_periods)
            periods++;
        else
            *to++ = *from;
    *to = '\0';
}

void wk_vqa_digit_article(const char *in, char *out) {
    char *end = out;
    while (*in != '\0') {
        size_t width = space_at(in);
        if (width > 0) {
            in += width;
            continue;
        }
        /* The word is put where it would stand, then looked up. */
        char *word = end == out ? end : end + 1, *to = word;
        for (; *in != '\0' && space_at(in) == 0; in++) *to++ = *in;
        *to = '\0';
        wk_word_lower(word);
        const char *now = wk_word_number(word);
        if (strcmp(now, "a") == 0 || strcmp(now, "an") == 0 || strcmp(now, "the") == 0) continue;
        now = wk_word_contraction(now);
        size_t bytes = strlen(now);
        memmove(word, now, bytes);
        if (word != end) *end = ' ';
        end = word + bytes;
    }
    *end = '\0';
}

struct wk_scorer {
    char *text; /* slots of `slot` bytes: `answers` human answers, the prediction, 2 of scratch */
    size_t slot;
    int answers;
};

hp_status_t wk_scorer_create(wk_scorer_t **scorer_p, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(wk_scorer_t), "scorer", err));
    *scorer_p = p;
    return HP_OK;
}

void wk_scorer_destroy(wk_scorer_t *scorer) {
    if (scorer == NULL) return;
    hp_free(scorer->text);
    hp_free(scorer);
}

static hp_status_t make_room(wk_scorer_t *s, const char *prediction, const hp_question_t *q,
                             hp_error_t *err) {
    size_t longest = strlen(prediction);
    for (int i = 0; i < q->answers; i++) {
        size_t n = strlen(q->answer[i].text);
        if (n > longest) longest = n;
    }
    size_t slot = 2 * longest + 1;
    if (slot <= s->slot && q->answers <= s->answers) return HP_OK;
    if (slot < s->slot) slot = s->slot;
    int answers = q->answers > s->answers ? q->answers : s->answers;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, slot, (size_t)answers + 3, "answers", err));
    hp_free(s->text);
    *s = (wk_scorer_t){.text = p, .slot = slot, .answers = answers};
    return HP_OK;
}

static bool same_record(const hp_question_t *q, int i, int j, const char *a, const char *b) {
    return q->answer[i].answer_id == q->answer[j].answer_id &&
           q->answer[i].confidence == q->answer[j].confidence && strcmp(a, b) == 0;
}

/* vqaEval.py, evaluate: human answers at human + i * stride. */
static double vqa_accuracy(const hp_question_t *q, const char *human, size_t stride,
                           const char *prediction) {
    double sum = 0;
    for (int i = 0; i < q->answers; i++) {
        int matches = 0;
        for (int j = 0; j < q->answers; j++) {
            const char *other = human + (size_t)j * stride;
            if (!same_record(q, i, j, human + (size_t)i * stride, other))
                matches += strcmp(other, prediction) == 0;
        }
        sum += matches >= 3 ? 1 : matches / 3.0;
    }
    return sum / q->answers;
}

static bool all_same(int n, const char *text, size_t stride) {
    for (int i = 1; i < n; i++)
        if (strcmp(text, text + (size_t)i * stride) != 0) return false;
    return true;
}

/* `human`: [answers] slots, `prediction` as stripped, two slots of scratch. */
static double vqa_2016(const hp_question_t *q, char *human, size_t slot, const char *prediction,
                       char *scratch) {
    wk_vqa_punctuation(prediction, scratch);
    wk_vqa_digit_article(scratch, scratch + slot);
    for (int i = 0; i < q->answers; i++)
        memcpy(human + (size_t)i * slot, q->answer[i].text, strlen(q->answer[i].text) + 1);
    if (!all_same(q->answers, human, slot))
        for (int i = 0; i < q->answers; i++)
            wk_vqa_punctuation(q->answer[i].text, human + (size_t)i * slot);
    return vqa_accuracy(q, human, slot, scratch + slot);
}

static double vqa_2021(const hp_question_t *q, char *human, size_t slot, const char *prediction,
                       char *scratch) {
    for (int i = 0; i < q->answers; i++) strip(q->answer[i].text, human + (size_t)i * slot);
    if (all_same(q->answers, human, slot)) return vqa_accuracy(q, human, slot, prediction);
    for (int i = 0; i < q->answers; i++) {
        wk_vqa_punctuation(human + (size_t)i * slot, scratch);
        wk_vqa_digit_article(scratch, human + (size_t)i * slot);
    }
    wk_vqa_punctuation(prediction, scratch);
    wk_vqa_digit_article(scratch, scratch + slot);
    return vqa_accuracy(q, human, slot, scratch + slot);
}

hp_status_t wk_score(wk_scorer_t *scorer, const char *prediction, const hp_question_t *question,
                     double score[WK_METRICS], hp_error_t *err) {
    double exact = question->target != NULL && strcmp(prediction, question->target) == 0;
    score[WK_EXACT] = score[WK_VQA_2016] = score[WK_VQA_2021] = exact;
    if (question->answers < 2) return HP_OK;
    HP_TRY(make_room(scorer, prediction, question, err));
    char *human = scorer->text, *stripped = human + (size_t)scorer->answers * scorer->slot;
    char *scratch = stripped + scorer->slot;
    strip(prediction, stripped);
    score[WK_VQA_2016] = vqa_2016(question, human, scorer->slot, stripped, scratch);
    score[WK_VQA_2021] = vqa_2021(question, human, scorer->slot, stripped, scratch);
    return HP_OK;
}

/* The place of `name` in a sorted list, which grows where it is new. */
static hp_status_t find_type(wk_type_score_t **list, int *count, const char *name, int *place_p,
                             hp_error_t *err) {
    int low = 0, high = *count;
    while (low < high) {
        int middle = low + (high - low) / 2, order = strcmp(name, (*list)[middle].name);
        if (order == 0) {
            *place_p = middle;
            return HP_OK;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    void *p = NULL;
    HP_TRY(hp_allocate(&p, (size_t)*count + 1, sizeof **list, "scores", err));
    wk_type_score_t *longer = p;
    char *copy = hp_strdup(name);
    if (copy == NULL) {
        hp_free(longer);
        return hp_fail(err, HP_MEMORY, "out of memory for scores");
    }
    for (int i = 0; i < *count; i++) longer[i < low ? i : i + 1] = (*list)[i];
    longer[low] = (wk_type_score_t){.name = copy};
    hp_free(*list);
    *list = longer;
    ++*count;
    *place_p = low;
    return HP_OK;
}

static void add(wk_type_score_t *type, const double score[WK_METRICS]) {
    type->count++;
    for (int m = 0; m < WK_METRICS; m++) type->sum[m] += score[m];
}

hp_status_t wk_tally_add(wk_tally_t *t, const char *answer_type, const char *question_type,
                         const double score[WK_METRICS], hp_error_t *err) {
    int a = 0, q = 0;
    HP_TRY(find_type(&t->answer_type, &t->answer_types, answer_type, &a, err));
    HP_TRY(find_type(&t->question_type, &t->question_types, question_type, &q, err));
    add(&t->overall, score);
    add(&t->answer_type[a], score);
    add(&t->question_type[q], score);
    return HP_OK;
}

hp_status_t wk_tally_add_statement(wk_tally_t *t, int64_t sentence, bool correct, hp_error_t *err) {
    if (t->statements == t->statement_capacity) {
        size_t more = t->statement_capacity > 0 ? 2 * t->statement_capacity : 1024;
        void *p = NULL;
        HP_TRY(hp_allocate(&p, more, sizeof *t->statement, "sentences", err));
        if (t->statements > 0) memcpy(p, t->statement, t->statements * sizeof *t->statement);
        hp_free(t->statement);
        t->statement = p;
        t->statement_capacity = more;
    }
    t->statement[t->statements++] = (wk_statement_t){sentence, correct};
    return HP_OK;
}

static int by_sentence(const void *a, const void *b) {
    const wk_statement_t *x = a, *y = b;
    return (x->sentence > y->sentence) - (x->sentence < y->sentence);
}

uint64_t wk_tally_sentences(wk_tally_t *t, uint64_t *consistent_p) {
    uint64_t sentences = 0;
    *consistent_p = 0;
    if (t->statements == 0) return 0;
    qsort(t->statement, t->statements, sizeof *t->statement, by_sentence);
    for (uint64_t i = 0, end; i < t->statements; i = end) {
        bool all = true;
        for (end = i; end < t->statements && t->statement[end].sentence == t->statement[i].sentence;
             end++)
            all &= t->statement[end].correct;
        sentences++;
        *consistent_p += all;
    }
    return sentences;
}

void wk_tally_release(wk_tally_t *t) {
    for (int i = 0; i < t->answer_types; i++) hp_free(t->answer_type[i].name);
    for (int i = 0; i < t->question_types; i++) hp_free(t->question_type[i].name);
    hp_free(t->statement);
    hp_free(t->answer_type);
    hp_free(t->question_type);
    *t = (wk_tally_t){0};
}

double wk_percent(const wk_type_score_t *score, wk_metric_t metric) {
    if (score->count == 0) return 0;
    /* printf rounds the exact binary value, half to even, as Python's round(x, 2) does. */
    char text[64];
    snprintf(text, sizeof text, "%.2f", 100 * score->sum[metric] / (double)score->count);
    return strtod(text, NULL);
}
