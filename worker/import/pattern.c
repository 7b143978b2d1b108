#include "worker/import/pattern.h"

#include "common/memory.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

hp_status_t wk_pattern_parse(const char *text, wk_pattern_t *pattern, hp_error_t *err) {
    *pattern = (wk_pattern_t){0};
    const char *percent = strchr(text, '%'), *p = percent != NULL ? percent + 1 : "";
    if (*p == '0') {
        char *end;
        pattern->digits = (int)strtol(p + 1, &end, 10);
        p = pattern->digits > 0 ? end : "";
    }
    pattern->number = *p == 'd';
    if ((*p != 'd' && *p != 's') || (pattern->digits && !pattern->number) || pattern->digits > 18 ||
        strchr(p, '%') != NULL || strchr(text, '/') != NULL || strchr(p, '*') != NULL ||
        strlen(text) >= sizeof pattern->before)
        return hp_fail(err, HP_INPUT,
                       "pattern '%s': expected a file name with one %%d, %%0Nd or %%s for the id, "
                       "and * only before it",
                       text);
    snprintf(pattern->before, sizeof pattern->before, "%.*s", (int)(percent - text), text);
    snprintf(pattern->after, sizeof pattern->after, "%s", p + 1);
    return HP_OK;
}

bool wk_pattern_match(const wk_pattern_t *pattern, const char *name, char *id, size_t size) {
    size_t n = strlen(name), after = strlen(pattern->after);
    if (n < after || strcmp(name + n - after, pattern->after) != 0) return false;
    size_t end = n - after, begin = end;
    if (pattern->number) {
        while (begin > 0 && isdigit((unsigned char)name[begin - 1]) &&
               (pattern->digits == 0 || end - begin < (size_t)pattern->digits))
            begin--;
        if (begin == end || end - begin > 18) return false;
        if (pattern->digits && end - begin != (size_t)pattern->digits) return false;
    } else {
        begin = strlen(pattern->before);
        if (strchr(pattern->before, '*') != NULL || begin >= end) return false;
    }
    char before[512];
    if (begin >= sizeof before) return false;
    memcpy(before, name, begin);
    before[begin] = '\0';
    if (fnmatch(pattern->before, before, 0) != 0) return false;
    if (pattern->number)
        while (begin + 1 < end && name[begin] == '0') begin++;
    return (size_t)snprintf(id, size, "%.*s", (int)(end - begin), name + begin) < size;
}

bool wk_pattern_make(const wk_pattern_t *pattern, const char *id, char *name, size_t size) {
    size_t n = strlen(id), zeros = n < (size_t)pattern->digits ? (size_t)pattern->digits - n : 0;
    return (size_t)snprintf(name, size, "%s%.*s%s%s", pattern->before, (int)zeros,
                            "000000000000000000", id, pattern->after) < size;
}

typedef struct {
    uint32_t id, name;
} entry_t;

static int by_id(const void *a, const void *b, void *context) {
    const wk_strings_t *ids = context;
    const char *x = wk_strings_get(ids, ((const entry_t *)a)->id);
    const char *y = wk_strings_get(ids, ((const entry_t *)b)->id);
    size_t n = strlen(x), m = strlen(y); /* without zeros in front longer is larger */
    bool numbers = strspn(x, "0123456789") == n && strspn(y, "0123456789") == m;
    if (numbers && n != m) return n < m ? -1 : 1;
    return strcmp(x, y);
}

static hp_status_t sort_files(wk_files_t *files, entry_t *entry, uint32_t count,
                              const wk_strings_t *ids, hp_error_t *err) {
    void *p = NULL;
    if (entry != NULL) qsort_r(entry, count, sizeof *entry, by_id, (void *)ids);
    HP_TRY(hp_allocate(&p, count, sizeof *files->name, "file names", err));
    files->name = p;
    for (; entry != NULL && files->count < count; files->count++) {
        uint32_t number;
        const char *id = wk_strings_get(ids, entry[files->count].id);
        HP_TRY(wk_strings_add(&files->ids, id, strlen(id), &number, err));
        files->name[files->count] = entry[files->count].name;
    }
    return HP_OK;
}

hp_status_t wk_files_list(const char *folder, const char *text, wk_files_t *files,
                          hp_error_t *err) {
    wk_pattern_t pattern;
    HP_TRY(wk_pattern_parse(text, &pattern, err));
    DIR *dir = opendir(folder);
    if (dir == NULL) return hp_fail_errno(err, HP_INPUT, "%s", folder);
    wk_strings_t ids = {0};
    entry_t *entry = NULL;
    uint32_t count = 0, room = 0;
    hp_status_t status = HP_OK;
    struct dirent *e;
    char id[512];
    while (status == HP_OK && (e = readdir(dir)) != NULL) {
        if (!wk_pattern_match(&pattern, e->d_name, id, sizeof id)) continue;
        if (count == room) {
            void *p = NULL;
            room = room * 2 + 1024;
            status = hp_allocate(&p, room, sizeof *entry, "file names", err);
            if (status != HP_OK) break;
            if (count > 0) memcpy(p, entry, count * sizeof *entry);
            hp_free(entry);
            entry = p;
        }
        uint32_t before = ids.count;
        status = wk_strings_add(&ids, id, strlen(id), &entry[count].id, err);
        if (status == HP_OK && ids.count == before)
            status =
                hp_fail(err, HP_INPUT, "%s: two files for id %s, one is %s", folder, id, e->d_name);
        if (status == HP_OK)
            status = wk_strings_add(&files->names, e->d_name, strlen(e->d_name), &entry[count].name,
                                    err);
        count++;
    }
    closedir(dir);
    if (status == HP_OK && count == 0)
        status = hp_fail(err, HP_INPUT, "%s: no file is named like '%s'", folder, text);
    if (status == HP_OK) status = sort_files(files, entry, count, &ids, err);
    wk_strings_release(&ids);
    hp_free(entry);
    if (status != HP_OK) wk_files_release(files);
    return status;
}

void wk_files_release(wk_files_t *files) {
    wk_strings_release(&files->ids);
    wk_strings_release(&files->names);
    hp_free(files->name);
    *files = (wk_files_t){0};
}
