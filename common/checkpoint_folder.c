/* The folder of checkpoints: listing, cleaning, removing, the best one. */
#include "common/checkpoint_format.h"
#include "common/file.h"
#include "common/memory.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BEST_BYTES = 64 };

/* "step-00000012" followed by `ending`. */
static bool parse_name(const char *name, const char *ending, int64_t *step_p) {
    if (strncmp(name, "step-", 5) != 0) return false;
    size_t digits = strspn(name + 5, "0123456789");
    if (digits < 8 || digits > 18 || strcmp(name + 5 + digits, ending) != 0) return false;
    *step_p = strtoll(name + 5, NULL, 10);
    return true;
}

bool hp_checkpoint_remove_folder(const char *folder) {
    char manifest[HP_CHECKPOINT_PATH];
    if (hp_checkpoint_file(folder, HP_CHECKPOINT_MANIFEST, manifest, NULL) != HP_OK) return false;
    if (unlink(manifest) != 0 && errno != ENOENT && errno != ENOTDIR) return false;
    DIR *dir = opendir(folder);
    if (dir == NULL) return errno == ENOENT;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    return rmdir(folder) == 0;
}

static bool has_manifest(const char *folder) {
    char path[HP_CHECKPOINT_PATH];
    return hp_checkpoint_file(folder, HP_CHECKPOINT_MANIFEST, path, NULL) == HP_OK &&
           access(path, F_OK) == 0;
}

/* An entry of RUN/checkpoints that is no whole checkpoint. */
static void clean_entry(const char *run, const char *root, const char *name) {
    char path[HP_CHECKPOINT_PATH], final[HP_CHECKPOINT_PATH];
    int64_t step;
    if (hp_checkpoint_file(root, name, path, NULL) != HP_OK) return;
    if (parse_name(name, ".old", &step) && has_manifest(path) &&
        hp_checkpoint_folder(run, step, "", final, NULL) == HP_OK && access(final, F_OK) != 0)
        (void)rename(path, final); /* its successor never took its place */
    else if (parse_name(name, ".tmp", &step) || parse_name(name, ".old", &step) ||
             (parse_name(name, "", &step) && !has_manifest(path)))
        (void)hp_checkpoint_remove_folder(path);
    else if (strcmp(name, "best.part") == 0)
        (void)unlink(path);
}

hp_status_t hp_checkpoint_clean(const char *run, hp_error_t *err) {
    char root[HP_CHECKPOINT_PATH];
    HP_TRY(hp_checkpoint_root(run, root, err));
    if (mkdir(root, 0777) != 0 && errno != EEXIST)
        return hp_fail_errno(err, HP_IO, "cannot make folder '%s'", root);
    DIR *dir = opendir(root);
    if (dir == NULL) return hp_fail_errno(err, HP_IO, "cannot read folder '%s'", root);
    for (struct dirent *e; (e = readdir(dir)) != NULL;) clean_entry(run, root, e->d_name);
    closedir(dir);
    return HP_OK;
}

int64_t hp_checkpoint_newest(const char *run, bool *lost_p) {
    char root[HP_CHECKPOINT_PATH], path[HP_CHECKPOINT_PATH];
    int64_t newest = -1, step;
    bool remains = false;
    DIR *dir = hp_checkpoint_root(run, root, NULL) == HP_OK ? opendir(root) : NULL;
    const bool gone = dir == NULL && errno == ENOENT;
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        const bool old = parse_name(e->d_name, ".old", &step);
        if ((!old && !parse_name(e->d_name, "", &step)) ||
            hp_checkpoint_file(root, e->d_name, path, NULL) != HP_OK)
            continue;
        if (!has_manifest(path))
            remains = remains || !old;
        else if (step > newest)
            newest = step;
    }
    if (dir != NULL) closedir(dir);
    *lost_p = newest < 0 && (gone || remains);
    return newest;
}

void hp_checkpoint_discard(const char *run, int64_t step) {
    char folder[HP_CHECKPOINT_PATH];
    if (hp_checkpoint_folder(run, step, ".tmp", folder, NULL) == HP_OK)
        (void)hp_checkpoint_remove_folder(folder);
}

hp_status_t hp_checkpoint_mark_best(const char *run, int64_t step, hp_error_t *err) {
    char root[HP_CHECKPOINT_PATH], path[HP_CHECKPOINT_PATH], text[BEST_BYTES];
    HP_TRY(hp_checkpoint_root(run, root, err));
    HP_TRY(hp_checkpoint_file(root, "best", path, err));
    int n = snprintf(text, sizeof text, "%" PRId64 "\n", step);
    return hp_write_file(path, text, (size_t)n, err);
}

static int64_t read_best(const char *root) {
    char path[HP_CHECKPOINT_PATH], text[BEST_BYTES] = "", *end;
    unsigned char *data = NULL;
    size_t bytes = 0;
    if (hp_checkpoint_file(root, "best", path, NULL) != HP_OK ||
        hp_read_file(path, BEST_BYTES - 1, &data, &bytes, NULL) != HP_OK)
        return -1;
    memcpy(text, data, bytes);
    hp_free(data);
    errno = 0;
    int64_t step = strtoll(text, &end, 10);
    return errno == 0 && end != text && (*end == '\n' || *end == '\0') && step >= 0 ? step : -1;
}

static int by_value(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static hp_status_t list_steps(DIR *dir, int *count_p, int64_t **steps_p, hp_error_t *err) {
    int count = 0, capacity = 0;
    int64_t *steps = NULL, step;
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (!parse_name(e->d_name, "", &step)) continue;
        if (count == capacity) {
            void *grown = NULL;
            capacity = capacity ? 2 * capacity : 16;
            hp_status_t status = hp_allocate(&grown, (size_t)capacity, sizeof step, "a list", err);
            if (status != HP_OK) {
                hp_free(steps);
                return status;
            }
            if (count > 0) memcpy(grown, steps, (size_t)count * sizeof step);
            hp_free(steps);
            steps = grown;
        }
        steps[count++] = step;
    }
    if (count > 0) qsort(steps, (size_t)count, sizeof step, by_value);
    *count_p = count;
    *steps_p = steps;
    return HP_OK;
}

hp_status_t hp_checkpoint_list(const char *run, int *count_p, int64_t **steps_p, int64_t *best_p,
                               hp_error_t *err) {
    char root[HP_CHECKPOINT_PATH];
    struct stat st;
    HP_TRY(hp_checkpoint_root(run, root, err));
    if (stat(run, &st) != 0) return hp_fail_errno(err, HP_INPUT, "no run at '%s'", run);
    DIR *dir = opendir(root);
    if (dir == NULL && errno != ENOENT)
        return hp_fail_errno(err, HP_INPUT, "cannot read folder '%s'", root);
    *count_p = 0;
    *steps_p = NULL;
    *best_p = -1;
    if (dir == NULL) return HP_OK;
    hp_status_t status = list_steps(dir, count_p, steps_p, err);
    closedir(dir);
    if (status == HP_OK) *best_p = read_best(root);
    return status;
}
