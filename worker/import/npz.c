#include "worker/import/npz.h"

#include "common/file.h"
#include "common/memory.h"

#include <stdio.h>
#include <string.h>

#include <zlib.h>

/* Of the format, PKWARE's APPNOTE 4.3; all numbers little-endian. */
enum { LOCAL = 30, CENTRAL = 46, END = 22, COMMENT = 65535, MAX_DIRECTORY = 1 << 24 };
enum { CHUNK = 1 << 16, DEFLATE = 1032 }; /* the most bytes that one deflated byte can give */

static uint32_t get16(const unsigned char *p) { return p[0] | (uint32_t)p[1] << 8; }
static uint32_t get32(const unsigned char *p) { return get16(p) | get16(p + 2) << 16; }

bool wk_npz_is(int fd) {
    unsigned char head[4];
    return hp_read_at(fd, 0, head, 4) && memcmp(head, "PK\3\4", 4) == 0;
}

/* The central directory, which the archive's end points at. The caller releases it. */
static hp_status_t read_directory(int fd, uint64_t size, unsigned char **directory_p,
                                  size_t *bytes_p, hp_error_t *err) {
    size_t room = size < END + COMMENT ? (size_t)size : END + COMMENT, at;
    void *p = NULL;
    HP_TRY(hp_allocate(&p, room + END, 1, "a zip archive's end", err));
    unsigned char *tail = p;
    bool good = room >= END && hp_read_at(fd, size - room, tail, room);
    for (at = good ? room - END : 0; good && at > 0 && memcmp(tail + at, "PK\5\6", 4) != 0; at--) {
    }
    good = good && memcmp(tail + at, "PK\5\6", 4) == 0;
    uint32_t bytes = get32(tail + at + 12), first = get32(tail + at + 16);
    hp_free(tail);
    if (!good || bytes > MAX_DIRECTORY || (uint64_t)first + bytes > size)
        return hp_fail(err, HP_INPUT, "no directory at the end: truncated, or no .npz file");
    HP_TRY(hp_allocate(&p, (size_t)bytes + 1, 1, "a zip directory", err));
    if (!hp_read_at(fd, first, p, bytes)) {
        hp_free(p);
        return hp_fail_errno(err, HP_INPUT, "reading the zip directory");
    }
    *directory_p = p;
    *bytes_p = bytes;
    return HP_OK;
}

/* Where the member's bytes are: after its own header, whose length may differ from the
 * directory's. */
static hp_status_t locate(int fd, uint64_t size, const unsigned char *entry,
                          wk_npz_member_t *member, hp_error_t *err) {
    unsigned char local[LOCAL];
    uint32_t method = get16(entry + 10), at = get32(entry + 42);
    wk_npz_member_t m = {.crc = get32(entry + 16),
                         .packed = get32(entry + 20),
                         .bytes = get32(entry + 24),
                         .deflated = method == 8};
    if (m.packed == UINT32_MAX || m.bytes == UINT32_MAX || at == UINT32_MAX)
        return hp_fail(err, HP_INPUT, "an array of 4 GB or more");
    if ((method != 0 && method != 8) || (get16(entry + 8) & 1) != 0)
        return hp_fail(err, HP_INPUT, "an array that is neither stored nor deflated");
    if (!hp_read_at(fd, at, local, LOCAL) || memcmp(local, "PK\3\4", 4) != 0)
        return hp_fail(err, HP_INPUT, "the directory points at no member");
    m.offset = (uint64_t)at + LOCAL + get16(local + 26) + get16(local + 28);
    if (m.offset + m.packed > size || (!m.deflated && m.packed != m.bytes) ||
        m.bytes / DEFLATE > m.packed)
        return hp_fail(err, HP_INPUT, "a member that is truncated or has impossible lengths");
    *member = m;
    return HP_OK;
}

/* An array of the directory: its entry, and its name without .npy. */
typedef struct {
    const unsigned char *entry;
    const char *name;
    size_t n;
} array_t;

/* The first one from *at on, which then is behind it; false: there is none. */
static bool next_array(const unsigned char *directory, size_t bytes, size_t *at, array_t *a) {
    while (*at + CENTRAL <= bytes && memcmp(directory + *at, "PK\1\2", 4) == 0) {
        const unsigned char *entry = directory + *at;
        size_t n = get16(entry + 28);
        *at += CENTRAL + n + get16(entry + 30) + get16(entry + 32);
        if (*at > bytes) return false;
        const char *name = (const char *)entry + CENTRAL;
        if (n < 4 || memcmp(name + n - 4, ".npy", 4) != 0) continue;
        *a = (array_t){entry, name, n - 4};
        return true;
    }
    return false;
}

hp_status_t wk_npz_find(int fd, uint64_t size, const char *key, bool only, wk_npz_member_t *member,
                        hp_error_t *err) {
    unsigned char *directory = NULL;
    const unsigned char *found = NULL, *last = NULL;
    size_t bytes = 0, wanted = strlen(key), used = 0, at = 0;
    int arrays = 0;
    char names[200] = "";
    array_t a;
    HP_TRY(read_directory(fd, size, &directory, &bytes, err));
    while (next_array(directory, bytes, &at, &a)) {
        last = a.entry;
        arrays++;
        if (a.n == wanted && memcmp(a.name, key, a.n) == 0) found = a.entry;
        if (used + a.n + 3 < sizeof names)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%.*s",
                                     used > 0 ? ", " : "", (int)a.n, a.name);
    }
    if (found == NULL && only && arrays == 1) found = last;
    hp_status_t status = found != NULL ? locate(fd, size, found, member, err)
                                       : hp_fail(err, HP_INPUT, "no array '%s'; it has: %s", key,
                                                 arrays > 0 ? names : "none");
    hp_free(directory);
    return status;
}

hp_status_t wk_npz_names(int fd, uint64_t size, wk_strings_t *names, hp_error_t *err) {
    unsigned char *directory = NULL;
    size_t bytes = 0, at = 0;
    array_t a;
    HP_TRY(read_directory(fd, size, &directory, &bytes, err));
    hp_status_t status = HP_OK;
    while (status == HP_OK && next_array(directory, bytes, &at, &a)) {
        uint32_t number;
        status = wk_strings_add(names, a.name, a.n, &number, err);
    }
    hp_free(directory);
    return status;
}

static hp_status_t inflate_member(int fd, const wk_npz_member_t *m, void *out, size_t bytes,
                                  hp_error_t *err) {
    unsigned char in[CHUNK];
    z_stream z = {.next_out = out};
    uint64_t at = 0;
    size_t left = bytes;
    int code = inflateInit2(&z, -MAX_WBITS); /* no header: zip has its own */
    if (code != Z_OK) return hp_fail(err, HP_MEMORY, "out of memory");
    while (code == Z_OK && left > 0) {
        if (z.avail_in == 0) {
            size_t n = m->packed - at < CHUNK ? (size_t)(m->packed - at) : CHUNK;
            if (n == 0 || !hp_read_at(fd, m->offset + at, in, n)) break;
            at += n;
            z.next_in = in;
            z.avail_in = (unsigned)n;
        }
        unsigned room = left < 1u << 30 ? (unsigned)left : 1u << 30;
        z.avail_out = room;
        code = inflate(&z, Z_NO_FLUSH);
        left -= room - z.avail_out;
    }
    inflateEnd(&z);
    if (left > 0)
        return hp_fail(err, HP_INPUT, "a deflated array that is damaged or ends too early");
    return HP_OK;
}

hp_status_t wk_npz_read(int fd, const wk_npz_member_t *m, void *out, size_t bytes,
                        hp_error_t *err) {
    if (bytes > m->bytes) return hp_fail(err, HP_INTERNAL, "more than an array has");
    if (m->deflated)
        HP_TRY(inflate_member(fd, m, out, bytes, err));
    else if (!hp_read_at(fd, m->offset, out, bytes))
        return hp_fail(err, HP_INPUT, "truncated");
    if (bytes == m->bytes && crc32_z(0, out, bytes) != m->crc)
        return hp_fail(err, HP_INPUT, "an array is damaged: its CRC differs");
    return HP_OK;
}
