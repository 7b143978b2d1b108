/* CLEVR's questions about features: the images are named as CLEVR's files are. */
#include "worker/import/vqa_internal.h"

#include <string.h>

static hp_status_t begin(void *context, const char *split, const char *path, hp_error_t *err) {
    wk_json_lines_t *into = context;
    (void)path;
    (void)err;
    wk_vqa_set_t *set = &into->set[into->splits];
    *set = (wk_vqa_set_t){.strings = into->strings, .images = into->images};
    memcpy(into->name[into->splits++], split, strlen(split) + 1);
    return HP_OK;
}

static hp_status_t intern(wk_strings_t *set, const char *text, uint32_t *number_p,
                          hp_error_t *err) {
    return wk_strings_add(set, text, strlen(text), number_p, err);
}

static hp_status_t add(void *context, const wk_pixel_record_t *r, hp_error_t *err) {
    wk_json_lines_t *into = context;
    wk_vqa_set_t *set = &into->set[into->splits - 1];
    wk_vqa_question_t q = {.record = (uint32_t)set->questions + 1,
                           .question_id = r->id,
                           .annotated = r->answer != NULL,
                           .answers = r->answer != NULL,
                           .first_answer = set->answers};
    if (wk_vqa_find(set, r->id) >= 0)
        return hp_fail(err, HP_INPUT, "question_index %lld is there twice", (long long)r->id);
    HP_TRY(intern(set->images, r->image, &q.image, err));
    HP_TRY(intern(set->strings, r->text, &q.text, err));
    HP_TRY(intern(set->strings, r->question_type, &q.question_type, err));
    HP_TRY(intern(set->strings, r->answer_type, &q.answer_type, err));
    HP_TRY(intern(set->strings, r->answer != NULL ? r->answer : "", &q.target, err));
    const wk_vqa_answer_t answer = {.text = q.target, .answer_id = -1};
    if (r->answer != NULL) HP_TRY(wk_vqa_add_answer(set, &answer, err));
    into->lines++;
    return wk_vqa_add_question(set, &q, err);
}

hp_status_t wk_vqa_read_clevr(wk_vqa_job_t *job, hp_error_t *err) {
    const wk_clevr_taker_t taker = {job->lines, begin, add};
    HP_TRY(wk_clevr_read_to(job->import->clevr, &taker, err));
    wk_vqa_progress(job, "questions read", (uint64_t)job->lines->lines, 0);
    return HP_OK;
}
