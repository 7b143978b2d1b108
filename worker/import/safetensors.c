#include "worker/import/safetensors.h"

#include "common/file.h"
#include "common/memory.h"
#include "worker/import/json_lines.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <yajl/yajl_tree.h>

enum { MAX_HEADER = 64 << 20, MAX_DEPTH = 8 };

static uint64_t get64(const unsigned char *p) {
    uint64_t x = 0;
    for (int i = 7; i >= 0; i--) x = x << 8 | p[i];
    return x;
}

bool wk_safetensors_is(const char *path) {
    unsigned char head[9] = {0};
    size_t n = strlen(path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool read = fd >= 0 && hp_read_at(fd, 0, head, sizeof head);
    if (fd >= 0) close(fd);
    return (read && head[8] == '{' && get64(head) <= MAX_HEADER) ||
           (n > 12 && strcmp(path + n - 12, ".safetensors") == 0);
}

static yajl_val member(yajl_val object, const char *key) {
    return yajl_tree_get(object, (const char *[]){key, NULL}, yajl_t_any);
}

static bool whole(yajl_val v, uint64_t *out) {
    if (!YAJL_IS_INTEGER(v) || YAJL_GET_INTEGER(v) < 0) return false;
    *out = (uint64_t)YAJL_GET_INTEGER(v);
    return true;
}

/* ---- opening ------------------------------------------------------------------------------- */

static hp_status_t read_header(wk_safetensors_t *s, hp_error_t *err) {
    unsigned char head[8] = {0};
    char why[200] = "";
    void *p = NULL;
    if (!hp_read_at(s->fd, 0, head, sizeof head) || get64(head) < 2 ||
        get64(head) > s->size - sizeof head || get64(head) > MAX_HEADER)
        return hp_fail(err, HP_INPUT,
                       "%s: the first eight bytes are no length of a safetensors header", s->path);
    size_t bytes = (size_t)get64(head);
    s->first = sizeof head + bytes;
    HP_TRY(hp_allocate(&p, bytes + 1, 1, "a header", err));
    char *json = p;
    if (!hp_read_at(s->fd, sizeof head, json, bytes) || strlen(json) != bytes)
        snprintf(why, sizeof why, "it has a zero byte");
    else if (!wk_json_is_flat(json, MAX_DEPTH))
        snprintf(why, sizeof why, "it is nested too deeply");
    else
        s->header = yajl_tree_parse(json, why, sizeof why);
    hp_free(json);
    if (YAJL_IS_OBJECT(s->header)) return HP_OK;
    if (s->header != NULL) snprintf(why, sizeof why, "it is no object");
    return hp_fail(err, HP_INPUT, "%s: a header that is not safetensors' JSON: %.*s", s->path,
                   (int)strcspn(why, "\n"), why);
}

/* A file that was cut short lacks some tensor, not always one that is read. */
static hp_status_t check_ends(const wk_safetensors_t *s, hp_error_t *err) {
    for (size_t i = 0; i < s->header->u.object.len; i++) {
        yajl_val offsets = member(s->header->u.object.values[i], "data_offsets");
        uint64_t end;
        if (YAJL_IS_ARRAY(offsets) && offsets->u.array.len == 2 &&
            whole(offsets->u.array.values[1], &end) && end > s->size - s->first)
            return hp_fail(
                err, HP_INPUT, "%s is truncated: a tensor ends at byte %llu, the file has %llu",
                s->path, (unsigned long long)(s->first + end), (unsigned long long)s->size);
    }
    return HP_OK;
}

hp_status_t wk_safetensors_open(const char *path, wk_safetensors_t *s, hp_error_t *err) {
    struct stat st;
    *s = (wk_safetensors_t){.path = path};
    s->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe does not stop it */
    if (s->fd < 0 || fstat(s->fd, &st) != 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
    if (!S_ISREG(st.st_mode)) return hp_fail(err, HP_INPUT, "%s is no regular file", path);
    s->size = (uint64_t)st.st_size;
    HP_TRY(read_header(s, err));
    return check_ends(s, err);
}

void wk_safetensors_close(wk_safetensors_t *s) {
    if (s->fd >= 0) close(s->fd);
    if (s->header != NULL) yajl_tree_free(s->header);
    *s = (wk_safetensors_t){.fd = -1};
}

/* ---- tensors ------------------------------------------------------------------------------- */

static bool is_tensor(const char *key) { return strcmp(key, "__metadata__") != 0; }

hp_status_t wk_safetensors_names(const wk_safetensors_t *s, wk_strings_t *names, hp_error_t *err) {
    for (size_t i = 0; i < s->header->u.object.len; i++) {
        const char *key = s->header->u.object.keys[i];
        uint32_t number;
        if (is_tensor(key)) HP_TRY(wk_strings_add(names, key, strlen(key), &number, err));
    }
    return HP_OK;
}

static bool fill_type(yajl_val value, wk_tensor_t *t) {
    static const struct {
        const char *name;
        int bytes;
        hp_dtype_t dtype;
    } types[] = {{"F64", 8, HP_DTYPE_NONE},  {"F32", 4, HP_DTYPE_F32},  {"F16", 2, HP_DTYPE_F16},
                 {"BF16", 2, HP_DTYPE_BF16}, {"I64", 8, HP_DTYPE_NONE}, {"U64", 8, HP_DTYPE_NONE},
                 {"I32", 4, HP_DTYPE_NONE},  {"U32", 4, HP_DTYPE_NONE}, {"I16", 2, HP_DTYPE_NONE},
                 {"U16", 2, HP_DTYPE_NONE},  {"I8", 1, HP_DTYPE_NONE},  {"U8", 1, HP_DTYPE_NONE}};
    if (!YAJL_IS_STRING(value)) return false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, value->u.string) == 0) {
            snprintf(t->type, sizeof t->type, "%s", types[i].name);
            t->bytes = types[i].bytes;
            t->dtype = types[i].dtype;
            return true;
        }
    return false;
}

static bool fill_tensor(const wk_safetensors_t *s, yajl_val value, wk_tensor_t *t) {
    yajl_val shape = member(value, "shape"), offsets = member(value, "data_offsets");
    uint64_t begin, end, need;
    if (!fill_type(member(value, "dtype"), t) || !YAJL_IS_ARRAY(shape) || !YAJL_IS_ARRAY(offsets) ||
        shape->u.array.len > WK_SAFETENSORS_DIMS || offsets->u.array.len != 2)
        return false;
    t->dims = (int)shape->u.array.len;
    t->count = 1;
    for (int i = 0; i < t->dims; i++)
        if (!whole(shape->u.array.values[i], &t->size[i]) ||
            __builtin_mul_overflow(t->count, t->size[i], &t->count))
            return false;
    if (!whole(offsets->u.array.values[0], &begin) || !whole(offsets->u.array.values[1], &end) ||
        __builtin_mul_overflow(t->count, (uint64_t)t->bytes, &need) || end < begin ||
        end - begin != need || end > s->size - s->first)
        return false;
    t->begin = s->first + begin;
    return true;
}

hp_status_t wk_safetensors_find(const wk_safetensors_t *s, const char *name, wk_tensor_t *t,
                                hp_error_t *err) {
    char list[200] = "";
    size_t used = 0;
    for (size_t i = 0; i < s->header->u.object.len; i++) {
        const char *key = s->header->u.object.keys[i];
        if (!is_tensor(key)) continue;
        if (strcmp(key, name) == 0) {
            *t = (wk_tensor_t){.name = name, .dtype = HP_DTYPE_NONE};
            if (fill_tensor(s, s->header->u.object.values[i], t)) return HP_OK;
            return hp_fail(err, HP_INPUT,
                           "%s: tensor '%s': dtype, shape and data_offsets do not fit each other "
                           "or the file's %llu bytes",
                           s->path, name, (unsigned long long)s->size);
        }
        if (used + strlen(key) + 3 < sizeof list)
            used +=
                (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", key);
    }
    return hp_fail(err, HP_INPUT, "%s: no tensor '%s'; it has: %s", s->path, name,
                   list[0] ? list : "none");
}

hp_status_t wk_safetensors_read(const wk_safetensors_t *s, const wk_tensor_t *t, uint64_t first,
                                uint64_t count, void *out, hp_error_t *err) {
    uint64_t bytes = (uint64_t)t->bytes;
    if (hp_read_at(s->fd, t->begin + first * bytes, out, (size_t)(count * bytes))) return HP_OK;
    return hp_fail(err, HP_INPUT,
                   "%s: tensor '%s' cannot be read: the file has changed, or the disk fails",
                   s->path, t->name);
}
