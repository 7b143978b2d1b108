#include "common/memory.h"
#include "worker/import/vqa_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_PICTURE = 64 << 20 };

hp_status_t wk_vqa_open_images(wk_vqa_job_t *job, hp_error_t *err) {
    const wk_vqa_import_t *i = job->import;
    if (i->features != NULL) HP_TRY(wk_features_open(i->features, &job->features, err));
    if (i->pictures != NULL)
        HP_TRY(wk_files_list(i->pictures, i->picture_pattern, &job->pictures, err));
    if (i->pixels != NULL) HP_TRY(wk_files_list(i->pixels, i->pixel_pattern, &job->pixels, err));
    return HP_OK;
}

void wk_vqa_close_images(wk_vqa_job_t *job) {
    wk_features_ahead_close(job->ahead);
    wk_features_close(job->features);
    wk_files_release(&job->pictures);
    wk_files_release(&job->pixels);
    wk_picture_release(&job->resized);
    hp_free(job->ordinal);
    hp_free(job->written);
    hp_free(job->picture);
}

static hp_status_t number_images(wk_vqa_job_t *job, hp_error_t *err) {
    void *p = NULL;
    HP_TRY(hp_allocate(&p, job->images.count, sizeof *job->ordinal, "images", err));
    job->ordinal = p;
    HP_TRY(hp_allocate(&p, job->images.count, sizeof *job->written, "images", err));
    job->written = p;
    for (uint32_t i = 0; i < job->images.count; i++) {
        const char *id = wk_strings_get(&job->images, i);
        if (job->features != NULL) {
            job->ordinal[i] = wk_features_find(job->features, id);
        } else if (job->import->pixels != NULL &&
                   wk_strings_find(&job->pixels.ids, id, strlen(id)) < 0) {
            job->ordinal[i] = -1;
        } else {
            job->ordinal[i] = (int64_t)job->write;
            job->written[job->write++] = i;
        }
    }
    return HP_OK;
}

hp_status_t wk_vqa_match_images(wk_vqa_job_t *job, hp_error_t *err) {
    HP_TRY(number_images(job, err));
    uint64_t missing = 0, images = 0;
    const wk_vqa_question_t *first = NULL;
    int first_split = 0;
    for (int s = 0; s < job->splits; s++)
        for (uint64_t i = 0; i < job->set[s].questions; i++) {
            const wk_vqa_question_t *q = &job->set[s].question[i];
            if (job->ordinal[q->image] >= 0) continue;
            if (missing++ == 0) first = q, first_split = s;
        }
    for (uint32_t i = 0; i < job->images.count; i++) images += job->ordinal[i] < 0;
    job->report.skipped = missing;
    if (missing == 0 || job->import->skip_missing) return HP_OK;
    bool more = job->features != NULL && job->import->features->next != NULL;
    return hp_fail(
        err, HP_INPUT,
        "%s, record %u (question_id %lld): image %s has no %s in %s%s; so have %llu "
        "images of %llu questions ('--missing-images skip' leaves these questions out)",
        wk_vqa_file_of(job, first_split, first), first->record, (long long)first->question_id,
        wk_strings_get(&job->images, first->image), job->features != NULL ? "features" : "picture",
        job->features != NULL ? job->import->features->path : job->import->pixels,
        more ? " and the others" : "", (unsigned long long)images, (unsigned long long)missing);
}

hp_status_t wk_vqa_open_writer(wk_vqa_job_t *job, hp_error_t *err) {
    const wk_vqa_import_t *i = job->import;
    hp_store_plan_t plan = {.pictures = i->pictures != NULL,
                            .pixel_height = i->pixels != NULL ? i->pixel_height : 0,
                            .pixel_width = i->pixels != NULL ? i->pixel_width : 0,
                            .metric = job->metric,
                            .tokenizer = i->tokenizer->name,
                            .command = i->command,
                            .sources = job->sources,
                            .source = job->source,
                            .identity = job->identity};
    if (job->features != NULL) {
        const wk_features_shape_t *s = wk_features_shape(job->features);
        plan.feature_dtype = i->dtype;
        plan.encoding = i->encoding;
        plan.grid_height = s->grid_height;
        plan.grid_width = s->grid_width;
        plan.max_cells = s->cells;
        plan.channels = s->channels;
        plan.boxes = s->boxes;
    }
    if (i->pixels != NULL)
        HP_TRY(wk_picture_allocate(i->pixel_width, i->pixel_height, &job->resized, err));
    return hp_store_writer_open(i->out, &plan, &job->writer, err);
}

static hp_status_t read_picture(wk_vqa_job_t *job, const char *id, size_t *bytes_p,
                                hp_error_t *err) {
    *bytes_p = 0;
    int64_t file = wk_strings_find(&job->pictures.ids, id, strlen(id));
    if (file < 0) return HP_OK;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", job->import->pictures,
             wk_strings_get(&job->pictures.names, job->pictures.name[file]));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0) return hp_fail_errno(err, HP_INPUT, "%s", path);
    hp_status_t status = HP_OK;
    size_t done = 0, size = 0;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > MAX_PICTURE)
        status = hp_fail(err, HP_INPUT, "%s: a picture is a file of at most 64 MiB", path);
    else
        size = (size_t)st.st_size;
    if (status == HP_OK && size > job->picture_room) {
        void *p = NULL;
        status = hp_allocate(&p, size * 2, 1, "a picture", err);
        if (status == HP_OK) {
            hp_free(job->picture);
            job->picture = p;
            job->picture_room = size * 2;
        }
    }
    while (status == HP_OK && done < size) {
        ssize_t n = read(fd, job->picture + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        done += (size_t)n;
    }
    close(fd);
    if (status == HP_OK && (done < 8 || (memcmp(job->picture, "\x89PNG\r\n\x1a\n", 8) != 0 &&
                                         memcmp(job->picture, "\xff\xd8\xff", 3) != 0)))
        status = hp_fail(err, HP_INPUT, "%s is neither PNG nor JPEG", path);
    if (status == HP_OK) *bytes_p = done;
    return status;
}

/* job->resized: the image's pixels. */
static hp_status_t read_pixels(wk_vqa_job_t *job, const char *id, hp_error_t *err) {
    int64_t file = wk_strings_find(&job->pixels.ids, id, strlen(id));
    if (file < 0)
        return hp_fail(err, HP_INPUT, "%s: no picture of image %s", job->import->pixels, id);
    char path[4096];
    wk_picture_t picture = {0};
    snprintf(path, sizeof path, "%s/%s", job->import->pixels,
             wk_strings_get(&job->pixels.names, job->pixels.name[file]));
    HP_TRY(wk_picture_load(path, &picture, err));
    wk_picture_resize(&picture, &job->resized);
    wk_picture_release(&picture);
    return HP_OK;
}

/* The id of image i of the store. */
static const char *image_name(const wk_vqa_job_t *job, uint64_t i) {
    return job->features != NULL ? wk_features_name(job->features, i)
                                 : wk_strings_get(&job->images, job->written[i]);
}

static hp_status_t check_kept(wk_vqa_job_t *job, uint64_t total, hp_error_t *err) {
    uint64_t kept = hp_store_writer_images(job->writer);
    if (kept > total)
        return hp_fail(err, HP_CORRUPT, "%s.partial has too many images", job->import->out);
    job->report.kept_images = kept;
    for (uint64_t i = 0; i < kept; i++) {
        const char *name, *want = image_name(job, i);
        HP_TRY(hp_store_writer_image_name(job->writer, (uint32_t)i, &name, err));
        if (strcmp(name, want) != 0)
            return hp_fail(err, HP_INPUT, "%s.partial: image %llu is %s, not %s; remove it",
                           job->import->out, (unsigned long long)i, name, want);
    }
    return HP_OK;
}

hp_status_t wk_vqa_write_images(wk_vqa_job_t *job, hp_error_t *err) {
    uint64_t total = job->features != NULL ? wk_features_shape(job->features)->images : job->write;
    HP_TRY(check_kept(job, total, err));
    if (job->features != NULL)
        HP_TRY(wk_features_ahead_open(job->features, job->import->dtype, job->report.kept_images,
                                      &job->ahead, err));
    for (uint64_t i = job->report.kept_images; i < total; i++) {
        hp_store_image_t image = {.name = image_name(job, i)};
        if (job->features != NULL) {
            wk_features_image_t features;
            HP_TRY(wk_features_ahead_take(job->ahead, &features, err));
            image.features = features.features;
            image.boxes = features.boxes;
            image.cells = features.cells;
        }
        if (job->import->pixels != NULL) {
            HP_TRY(read_pixels(job, image.name, err));
            image.pixels = job->resized.pixel;
        }
        if (job->import->pictures != NULL) {
            HP_TRY(read_picture(job, image.name, &image.picture_bytes, err));
            image.picture = image.picture_bytes > 0 ? job->picture : NULL;
            job->report.pictures += image.picture != NULL;
        }
        HP_TRY(hp_store_write_image(job->writer, &image, NULL, err));
        wk_vqa_progress(job, "images", i + 1, total);
    }
    job->report.images = total;
    return HP_OK;
}
