#include "cli/scores.h"

#include "common/file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

hp_status_t cli_scores_metric(const char *name, hp_metric_t of_store, wk_metric_t *metric,
                              hp_error_t *err) {
    int found = of_store == HP_METRIC_VQA ? WK_VQA_2021 : WK_EXACT;
    if (name != NULL) HP_TRY(wk_metric_find(name, &found, err));
    *metric = (wk_metric_t)found;
    return HP_OK;
}

void cli_put_key(yajl_gen gen, const char *text) {
    yajl_gen_string(gen, (const unsigned char *)text, strlen(text));
}

/* Two decimals as they are printed, not as a double spells them. */
static void put_percent(yajl_gen gen, const wk_type_score_t *score, wk_metric_t metric) {
    char text[32];
    int n = snprintf(text, sizeof text, "%.2f", wk_percent(score, metric));
    yajl_gen_number(gen, text, (size_t)n);
}

void cli_put_real(yajl_gen gen, const char *key, double value, int decimals) {
    char text[64];
    int n = snprintf(text, sizeof text, "%.*f", decimals, value);
    cli_put_key(gen, key);
    yajl_gen_number(gen, text, (size_t)n);
}

static void put_scores(yajl_gen gen, const wk_tally_t *tally, wk_metric_t metric) {
    cli_put_key(gen, "overall");
    put_percent(gen, &tally->overall, metric);
    cli_put_key(gen, "per_answer_type");
    yajl_gen_map_open(gen);
    for (int i = 0; i < tally->answer_types; i++) {
        cli_put_key(gen, tally->answer_type[i].name);
        put_percent(gen, &tally->answer_type[i], metric);
    }
    yajl_gen_map_close(gen);
    cli_put_key(gen, "per_question_type");
    yajl_gen_map_open(gen);
    for (int i = 0; i < tally->question_types; i++) {
        cli_put_key(gen, tally->question_type[i].name);
        put_percent(gen, &tally->question_type[i], metric);
    }
    yajl_gen_map_close(gen);
}

void cli_scores_put(yajl_gen gen, cli_scores_t *s) {
    uint64_t consistent = 0, sentences = wk_tally_sentences(&s->tally, &consistent);
    cli_put_key(gen, "metric");
    cli_put_key(gen, wk_metric_name(s->metric));
    put_scores(gen, &s->tally, s->metric);
    if (sentences == 0) return;
    cli_put_real(gen, "consistency", 100 * (double)consistent / (double)sentences, 2);
    cli_put_key(gen, "sentences");
    yajl_gen_integer(gen, (long long)sentences);
}

void cli_scores_put_all(yajl_gen gen, const cli_scores_t *s) {
    for (int m = 0; m < WK_METRICS; m++) {
        if (m != WK_EXACT && !s->humans) continue;
        cli_put_key(gen, wk_metric_name((wk_metric_t)m));
        yajl_gen_map_open(gen);
        put_scores(gen, &s->tally, (wk_metric_t)m);
        yajl_gen_map_close(gen);
    }
}

hp_status_t cli_write_json(yajl_gen gen, const char *path, hp_error_t *err) {
    const unsigned char *text;
    size_t bytes;
    if (yajl_gen_get_buf(gen, &text, &bytes) != yajl_gen_status_ok)
        return hp_fail(err, HP_INTERNAL, "'%s': the JSON is not complete", path);
    return hp_write_file(path, text, bytes, err);
}

static void print_row(const char *name, const wk_type_score_t *score, const cli_scores_t *r) {
    printf("%-32.32s %9" PRIu64 " %9.2f", name, score->count, wk_percent(score, r->metric));
    for (int m = 0; r->humans && m < WK_METRICS; m++)
        if (m != (int)r->metric) printf(" %9.2f", wk_percent(score, (wk_metric_t)m));
    putchar('\n');
}

void cli_scores_print(cli_scores_t *s) {
    const wk_tally_t *t = &s->tally;
    printf("%-32s %9s %9s", "", "questions", wk_metric_name(s->metric));
    for (int m = 0; s->humans && m < WK_METRICS; m++)
        if (m != (int)s->metric) printf(" %9s", wk_metric_name((wk_metric_t)m));
    putchar('\n');
    print_row("Overall", &t->overall, s);
    for (int place = 0; place <= 3; place++)
        for (int i = 0; i < t->answer_types; i++)
            if (wk_answer_type_place(t->answer_type[i].name) == place)
                print_row(wk_answer_type_title(t->answer_type[i].name), &t->answer_type[i], s);
    printf("\nby question type\n");
    for (int i = 0; i < t->question_types; i++)
        print_row(t->question_type[i].name, &t->question_type[i], s);
    uint64_t consistent = 0, sentences = wk_tally_sentences(&s->tally, &consistent);
    if (sentences > 0)
        printf("\nconsistency %.2f: sentences whose images are all answered rightly, of %" PRIu64
               "\n",
               100 * (double)consistent / (double)sentences, sentences);
}
