/* Features from the TSV files of bottom-up-attention: image_id, image_w, image_h, num_boxes, boxes
 * and features, the last two fp32 in base64, no header line. A first pass jumps from row to row by
 * the lengths that num_boxes implies, reading a few hundred bytes of each. Boxes become fractions
 * of the image's width and height. */
#include "common/memory.h"
#include "worker/import/features_source.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEAD = 256, MAX_BOXES = 10000, MAX_ROW = 1 << 29 };

typedef struct {
    uint64_t boxes; /* place of the boxes in the file */
    float width, height;
    int count;
} row_t;

typedef struct {
    int fd;
    uint64_t size;
    row_t *row;
    size_t room;
    char *text; /* a row's boxes and features */
    size_t text_room;
    unsigned char digit[256]; /* of base64; 255: none */
} tsv_t;

static void close_tsv(void *source) {
    tsv_t *t = source;
    if (t->fd >= 0) close(t->fd);
    hp_free(t->row);
    hp_free(t->text);
    hp_free(t);
}

static size_t encoded(size_t bytes) { return (bytes + 2) / 3 * 4; }

/* Reads up to `bytes` at a place; returns how many there were. */
static size_t read_at(int fd, uint64_t at, void *out, size_t bytes) {
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(fd, (char *)out + done, bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        done += (size_t)n;
    }
    return done;
}

static bool take_whole(char **at, long limit, long *out) {
    char *end;
    errno = 0;
    *out = strtol(*at, &end, 10);
    if (end == *at || *end != '\t' || errno != 0 || *out < 1 || *out > limit) return false;
    *at = end + 1;
    return true;
}

/* The four fields in front. Returns the length they take, 0 where they are no such fields. */
static size_t parse_head(char *head, char *id, size_t id_size, row_t *row) {
    char *tab = strchr(head, '\t'), *at;
    long width, height, count;
    if (tab == NULL || tab == head || (size_t)(tab - head) >= id_size) return 0;
    memcpy(id, head, (size_t)(tab - head));
    id[tab - head] = '\0';
    at = tab + 1;
    if (!take_whole(&at, 1 << 24, &width) || !take_whole(&at, 1 << 24, &height) ||
        !take_whole(&at, MAX_BOXES, &count))
        return 0;
    row->width = (float)width;
    row->height = (float)height;
    row->count = (int)count;
    return (size_t)(at - head);
}

bool wk_features_is_tsv(const char *path) {
    char head[HEAD + 1] = "", id[64];
    row_t row;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    size_t n = read_at(fd, 0, head, HEAD);
    close(fd);
    head[n] = '\0';
    return parse_head(head, id, sizeof id, &row) > 0;
}

/* Channels, from the length of the first row's last field. */
static hp_status_t find_channels(wk_features_t *f, tsv_t *t, const row_t *row, hp_error_t *err) {
    char buffer[1 << 16];
    uint64_t at = row->boxes + encoded((size_t)row->count * 16) + 1, begin = at;
    for (size_t n; (n = read_at(t->fd, at, buffer, sizeof buffer)) > 0; at += n) {
        char *end = memchr(buffer, '\n', n);
        if (end == NULL) continue;
        at += (uint64_t)(end - buffer);
        if (end > buffer && end[-1] == '\r') at--;
        break;
    }
    uint64_t bytes = (at - begin) / 4 * 3, cell = 4 * (uint64_t)row->count;
    f->shape.channels = (int)(bytes / cell); /* at most two bytes of padding */
    if (bytes > MAX_ROW || f->shape.channels < 1 ||
        encoded((size_t)f->shape.channels * cell) != at - begin)
        return hp_fail(err, HP_INPUT,
                       "%s, row 1: %" PRIu64 " characters of features are no fp32 in base64 for %d "
                       "boxes",
                       f->options.path, at - begin, row->count);
    return HP_OK;
}

static hp_status_t add_row(tsv_t *t, uint64_t number, const row_t *row, hp_error_t *err) {
    if (number == t->room) {
        void *p = NULL;
        size_t room = t->room * 2 + 4096;
        HP_TRY(hp_allocate(&p, room, sizeof *t->row, "rows", err));
        if (t->room > 0) memcpy(p, t->row, t->room * sizeof *t->row);
        hp_free(t->row);
        t->row = p;
        t->room = room;
    }
    t->row[number] = *row;
    return HP_OK;
}

static hp_status_t index_rows(wk_features_t *f, tsv_t *t, hp_error_t *err) {
    wk_features_shape_t *s = &f->shape;
    for (uint64_t at = 0; at < t->size; s->images++) {
        char head[HEAD + 1], id[64], what[600], end[2] = "";
        row_t row = {0};
        head[read_at(t->fd, at, head, HEAD)] = '\0';
        size_t fields = parse_head(head, id, sizeof id, &row);
        snprintf(what, sizeof what, "%s, row %" PRIu64, f->options.path, s->images + 1);
        if (fields == 0)
            return hp_fail(err, HP_INPUT,
                           "%s (byte %" PRIu64 "): expected image_id, image_w, image_h and "
                           "num_boxes (1 to %d), with tabs between",
                           what, at, MAX_BOXES);
        row.boxes = at + fields;
        if (s->images == 0) HP_TRY(find_channels(f, t, &row, err));
        size_t boxes = encoded((size_t)row.count * 16);
        size_t features = encoded((size_t)row.count * (size_t)s->channels * 4);
        uint64_t after = row.boxes + boxes + 1 + features;
        size_t n = after <= t->size ? read_at(t->fd, after, end, 2) : 0;
        if (after > t->size || (n > 0 && end[0] != '\n' && (end[0] != '\r' || end[1] != '\n')))
            return hp_fail(err, HP_INPUT,
                           "%s (image %s): it does not end after %d boxes of %d fp32 in base64%s",
                           what, id, row.count, s->channels,
                           after > t->size ? ": the file is truncated" : "");
        HP_TRY(add_row(t, s->images, &row, err));
        HP_TRY(wk_features_add_name(f, id, what, err));
        if (row.count > s->cells) s->cells = row.count;
        at = after + (n > 0) + (end[0] == '\r');
    }
    return HP_OK;
}

/* Decodes what gives `bytes` bytes; anything but base64 of exactly that length is false. */
static bool decode(const tsv_t *t, const char *text, size_t bytes, unsigned char *out) {
    size_t length = encoded(bytes), pad = bytes % 3 ? 3 - bytes % 3 : 0;
    uint32_t bad = 0;
    for (size_t i = 0, k = 0; i < length; i += 4) {
        size_t last = i + 4 == length ? pad : 0; /* '=' in the place of digits */
        uint32_t d[4];
        for (size_t j = 0; j < 4; j++) {
            bool padding = j >= 4 - last;
            d[j] = padding ? (text[i + j] == '=' ? 0 : 255) : t->digit[(unsigned char)text[i + j]];
            bad |= d[j] & 0xc0;
        }
        uint32_t word = d[0] << 18 | d[1] << 12 | d[2] << 6 | d[3];
        for (size_t j = 0; j < 3 - last; j++) out[k++] = (unsigned char)(word >> (16 - 8 * j));
    }
    return bad == 0;
}

static hp_status_t read_image(wk_features_t *f, uint64_t image, hp_error_t *err) {
    tsv_t *t = f->source;
    const row_t *row = &t->row[image];
    size_t boxes = (size_t)row->count * 16,
           values = (size_t)row->count * (size_t)f->shape.channels * 4;
    size_t n = encoded(boxes) + 1 + encoded(values);
    f->cells = row->count;
    if (read_at(t->fd, row->boxes, t->text, n) < n || t->text[encoded(boxes)] != '\t' ||
        !decode(t, t->text, boxes, (unsigned char *)f->boxes) ||
        !decode(t, t->text + encoded(boxes) + 1, values, (unsigned char *)f->values))
        return hp_fail(err, HP_INPUT,
                       "%s, row %" PRIu64 " (image %s): the boxes or features are no "
                       "base64",
                       f->options.path, image + 1, wk_features_name(f, image));
    for (int i = 0; i < row->count * 4; i++) f->boxes[i] /= i % 2 ? row->height : row->width;
    return HP_OK;
}

hp_status_t wk_features_open_tsv(wk_features_t *f, hp_error_t *err) {
    void *p = NULL;
    struct stat st;
    HP_TRY(hp_allocate(&p, 1, sizeof(tsv_t), "a TSV file", err));
    tsv_t *t = p;
    f->source = t;
    f->close = close_tsv;
    f->read = read_image;
    t->fd = open(f->options.path, O_RDONLY | O_CLOEXEC);
    if (t->fd < 0 || fstat(t->fd, &st) != 0)
        return hp_fail_errno(err, HP_INPUT, "%s", f->options.path);
    t->size = (uint64_t)st.st_size;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    memset(t->digit, 255, sizeof t->digit);
    for (int i = 0; i < 64; i++) t->digit[(unsigned char)digits[i]] = (unsigned char)i;
    f->shape.dtype = HP_DTYPE_F32;
    f->shape.ragged = f->shape.boxes = f->fractions = true;
    HP_TRY(index_rows(f, t, err));
    t->text_room = encoded((size_t)f->shape.cells * 16) + 1 +
                   encoded((size_t)f->shape.cells * (size_t)f->shape.channels * 4);
    p = NULL;
    HP_TRY(hp_allocate(&p, t->text_room, 1, "a row", err));
    t->text = p;
    return HP_OK;
}
