#include "worker/import/npy.h"

#include <stdio.h>
#include <string.h>

/* A reader of the Python literal in the header, which numpy writes as
 * {'descr': '<f4', 'fortran_order': False, 'shape': (10, 10, 2048), } */
typedef struct {
    const char *at, *end;
} text_t;

static void skip_space(text_t *t) {
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n' || *t->at == '\t')) t->at++;
}

static bool take(text_t *t, const char *word) {
    skip_space(t);
    size_t n = strlen(word);
    if ((size_t)(t->end - t->at) < n || memcmp(t->at, word, n) != 0) return false;
    t->at += n;
    return true;
}

static bool take_string(text_t *t, char *out, size_t size) {
    skip_space(t);
    if (t->at == t->end || (*t->at != '\'' && *t->at != '"')) return false;
    char quote = *t->at++;
    size_t n = 0;
    while (t->at < t->end && *t->at != quote && n + 1 < size) out[n++] = *t->at++;
    out[n] = '\0';
    if (t->at == t->end || *t->at != quote) return false;
    t->at++;
    return true;
}

static bool take_number(text_t *t, uint64_t *out) {
    *out = 0;
    skip_space(t);
    const char *first = t->at;
    uint64_t value = 0;
    while (t->at < t->end && *t->at >= '0' && *t->at <= '9') {
        if (value > (UINT64_MAX >> 8) / 10) return false;
        value = value * 10 + (uint64_t)(*t->at++ - '0');
    }
    *out = value;
    return t->at > first;
}

static bool take_shape(text_t *t, wk_npy_t *npy) {
    if (!take(t, "(")) return false;
    npy->count = 1;
    while (!take(t, ")")) {
        if (npy->dims == WK_NPY_DIMS || !take_number(t, &npy->size[npy->dims])) return false;
        if (__builtin_mul_overflow(npy->count, npy->size[npy->dims++], &npy->count)) return false;
        if (!take(t, ",")) return take(t, ")");
    }
    return true;
}

static bool take_type(text_t *t, wk_npy_t *npy) {
    char text[16] = "";
    if (!take_string(t, text, sizeof text) || strlen(text) != 3) return false;
    npy->big_endian = text[0] == '>';
    npy->type = text[1];
    npy->bytes = text[2] - '0';
    return strchr("<>|=", text[0]) != NULL && strchr("fiub", text[1]) != NULL &&
           strchr("1248", text[2]) != NULL;
}

hp_status_t wk_npy_parse(const void *data, size_t bytes, wk_npy_t *npy, hp_error_t *err) {
    const unsigned char *b = data;
    *npy = (wk_npy_t){0};
    if (bytes < 12 || memcmp(b, "\x93NUMPY", 6) != 0)
        return hp_fail(err, HP_INPUT, "not a .npy file");
    if (b[6] < 1 || b[6] > 3) return hp_fail(err, HP_INPUT, ".npy of version %d.%d", b[6], b[7]);
    size_t first = b[6] == 1 ? 10 : 12;
    size_t header = b[8] | (size_t)b[9] << 8;
    if (first == 12) header |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (header > bytes - first) return hp_fail(err, HP_INPUT, "truncated within the .npy header");
    text_t t = {(const char *)b + first, (const char *)b + first + header};
    bool type = false, order = false, shape = false, good = take(&t, "{");
    while (good && !take(&t, "}")) {
        char key[32] = "";
        good = take_string(&t, key, sizeof key) && take(&t, ":");
        if (!good) break;
        if (strcmp(key, "descr") == 0)
            good = !type && (type = take_type(&t, npy));
        else if (strcmp(key, "fortran_order") == 0)
            good = !order && (order = (npy->fortran = take(&t, "True")) || take(&t, "False"));
        else if (strcmp(key, "shape") == 0)
            good = !shape && (shape = take_shape(&t, npy));
        else
            good = false;
        if (good && !take(&t, ",")) good = take(&t, "}") && (t.at--, true);
    }
    if (!good || !type || !order || !shape)
        return hp_fail(err, HP_INPUT,
                       "a .npy header that is not understood (numbers of one type, "
                       "at most %d axes)",
                       WK_NPY_DIMS);
    npy->offset = first + header;
    return HP_OK;
}
