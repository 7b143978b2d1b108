/* The whole model, every attention x aggregation x depth, grouped and not: finite differences of
 * every weight with the selection held fixed, the naive model, and that batching does not matter.
 */
#include "tests/numeric/fixture.h"

static double loss(void *context) { return fix_forward(context); }

static void check_config(const hp_config_t *given, bool grouped) {
    fix_batch_t b;
    fix_make_batch(&b, grouped);
    hp_config_t config = *given;
    b.batch.target = fix_target;
    fixture_t f;
    fix_open(&f, &config);
    f.batch = &b.batch;
    fix_forward(&f);
    fix_selection_t kept;
    fix_keep(&f, &kept);
    f.pass.fixed = &kept.selection;
    fix_forward(&f);
    fix_backward(&f);
    char what[192];
    for (int i = 0; i < f.params->count; i++) {
        const hp_param_t *p = &f.params->param[i];
        snprintf(what, sizeof what, "%s (attention %d, aggregate %d, %d layers, loss %d, %s)",
                 p->name, (int)config.model.attention.kind, (int)config.model.aggregate.kind,
                 config.model.image.layers, (int)f.model->network.loss,
                 grouped ? "grouped" : "not grouped");
        check_gradient(what, f.weights + p->offset, (size_t)p->count, f.grads + p->offset, loss,
                       &f);
    }
    fix_close(&f);
}

static void check_differences(hp_attention_t attention, hp_aggregate_t aggregate, int layers,
                              bool grouped) {
    hp_config_t config = fix_config(attention, aggregate, layers);
    check_config(&config, grouped);
}

/* Soft labels, by either loss. */
static void test_soft_labels(void **state) {
    (void)state;
    hp_config_t config = fix_config(HP_ATTEND_HAN, HP_AGGREGATE_SUM, 1);
    config.data.labels = HP_LABELS_SOFT;
    for (int loss_kind = 0; loss_kind < 2; loss_kind++) {
        config.model.classifier.soft_loss = loss_kind == 0 ? HP_SOFT_BINARY : HP_SOFT_CROSS_ENTROPY;
        check_config(&config, true);
    }
}

/* Dropout of the question's state, read by the question's layers and by a relation. */
static void test_question_dropout(void **state) {
    (void)state;
    const hp_aggregate_t kinds[] = {HP_AGGREGATE_SUM, HP_AGGREGATE_RELATION};
    for (int i = 0; i < 2; i++) {
        hp_config_t config = fix_config(HP_ATTEND_HAN, kinds[i], 1);
        fix_batch_t b;
        fixture_t f;
        fix_make_batch(&b, true);
        double loss_without;
        fix_open(&f, &config);
        f.batch = &b.batch;
        loss_without = fix_forward(&f);
        fix_close(&f);
        config.model.question.dropout = 0.4;
        fix_open(&f, &config);
        f.batch = &b.batch;
        assert_true(fix_forward(&f) != loss_without);
        f.pass.train = false; /* not in evaluation */
        double evaluated = fix_forward(&f);
        f.pass.train = true;
        assert_true(fix_forward(&f) != evaluated);
        fix_close(&f);
        check_config(&config, true);
        check_config(&config, false);
    }
}

static void test_differences(void **state) {
    (void)state;
    FIX_EACH(attention, aggregate, layers) {
        if (attention == HP_ATTEND_STRAIGHT_THROUGH) continue; /* its gradient is the surrogate's */
        check_differences(attention, aggregate, layers, true);
        check_differences(attention, aggregate, layers, false);
    }
}

typedef struct {
    fixture_t *f;
    const nn_real *base;
    const wk_selection_t *selection;
} surrogate_t;

static double surrogate(void *context) {
    const surrogate_t *s = context;
    const fixture_t *f = s->f;
    double sum = 0;
    for (int q = 0; q < f->batch->questions; q++) {
        nn_real logits[FIX_ANSWERS];
        const int first = s->selection->offset[q];
        if (f->batch->label[q] < 0) continue;
        naive_straight_through(&f->config, f->params, f->weights, f->batch, s->base, f->batch, q,
                               s->selection->offset[q + 1] - first, s->selection->cell + first,
                               logits);
        sum += naive_cross_entropy(FIX_ANSWERS, logits, f->batch->label[q]);
    }
    return sum;
}

/* Forward is han's; the gradient is that of the surrogate. */
static void check_straight_through(hp_aggregate_t aggregate, int layers, bool grouped) {
    fix_batch_t b;
    fix_make_batch(&b, grouped);
    hp_config_t config = fix_config(HP_ATTEND_STRAIGHT_THROUGH, aggregate, layers);
    hp_config_t han = fix_config(HP_ATTEND_HAN, aggregate, layers);
    fixture_t f, g;
    fix_open(&f, &config);
    fix_open(&g, &han);
    f.batch = g.batch = &b.batch;
    f.pass.train = g.pass.train = false;
    const double expected = fix_forward(&g);
    assert_true(fabs(fix_forward(&f) - expected) < 1e-12 * expected);
    fix_selection_t kept;
    fix_keep(&f, &kept);
    assert_memory_equal(kept.cell, g.result.selection.cell,
                        (size_t)kept.offset[CHECK_QUESTIONS] * sizeof(int));
    fix_backward(&f);
    nn_real *base = check_buffer(f.total);
    memcpy(base, f.weights, f.total * sizeof *base);
    surrogate_t s = {&f, base, &kept.selection};
    assert_true(fabs(surrogate(&s) - expected) < 1e-12 * expected);
    for (int i = 0; i < f.params->count; i++) {
        const hp_param_t *p = &f.params->param[i];
        check_gradient(p->name, f.weights + p->offset, (size_t)p->count, f.grads + p->offset,
                       surrogate, &s);
    }
    check_free(base, f.total);
    fix_close(&f);
    fix_close(&g);
}

static void test_straight_through(void **state) {
    (void)state;
    for (int layers = 0; layers <= 2; layers++)
        for (int grouped = 0; grouped <= 1; grouped++) {
            check_straight_through(HP_AGGREGATE_SUM, layers, grouped);
            check_straight_through(HP_AGGREGATE_RELATION, layers, grouped);
        }
}

/* No hidden layer in the classifier: dropout acts on the pooled vector. */
static void test_plain_classifier(void **state) {
    (void)state;
    fix_batch_t b;
    fix_make_batch(&b, true);
    hp_config_t config = fix_config(HP_ATTEND_ALL, HP_AGGREGATE_PAIRWISE, 1);
    config.model.classifier.layers.count = 0;
    fixture_t f;
    fix_open(&f, &config);
    f.batch = &b.batch;
    fix_forward(&f);
    fix_backward(&f);
    check_gradient("weights", f.weights, f.total, f.grads, loss, &f);
    fix_close(&f);
}

static void check_naive(hp_attention_t attention, hp_aggregate_t aggregate, int layers) {
    fix_batch_t b;
    fix_make_batch(&b, true);
    hp_config_t config = fix_config(attention, aggregate, layers);
    fixture_t f;
    fix_open(&f, &config);
    f.batch = &b.batch;
    f.pass.train = false;
    fix_forward(&f);
    const wk_result_t *r = &f.result;
    const bool sees_question = attention == HP_ATTEND_HAN || attention == HP_ATTEND_ADAHAN ||
                               attention == HP_ATTEND_LOWEST ||
                               attention == HP_ATTEND_STRAIGHT_THROUGH;
    assert_true(sees_question || attention == HP_ATTEND_IMAGE_ONLY || r->presence == NULL);
    double sum = 0;
    int labelled = 0;
    for (int q = 0; q < CHECK_QUESTIONS; q++) {
        nn_real logits[FIX_ANSWERS], presence[CHECK_MAX_CELLS];
        const int first = r->selection.offset[q], count = r->selection.offset[q + 1] - first;
        assert_in_range(count, 1, CHECK_MAX_CELLS);
        naive_model(&config, f.params, f.weights, &b.batch, q, count, r->selection.cell + first,
                    logits, presence);
        check_close("logits", FIX_ANSWERS, r->logits + q * FIX_ANSWERS, logits, 1e-12);
        const int cells = b.cell_offset[b.image[q] + 1] - b.cell_offset[b.image[q]];
        assert_int_equal(r->presence_offset[q + 1] - r->presence_offset[q], cells);
        if (sees_question)
            check_close("presence", (size_t)cells, r->presence + r->presence_offset[q], presence,
                        1e-12);
        if (fix_label[q] < 0) continue;
        sum += naive_cross_entropy(FIX_ANSWERS, logits, fix_label[q]);
        labelled++;
    }
    assert_true(fabs(r->loss_sum - sum) < 1e-12 * sum);
    assert_int_equal(r->labelled, labelled);
    fix_close(&f);
}

static void test_naive(void **state) {
    (void)state;
    FIX_EACH(attention, aggregate, layers) check_naive(attention, aggregate, layers);
}

/* Dropout and the selection at work: a question alone gives what it gives among the others. */
static void check_batching(hp_attention_t attention, hp_aggregate_t aggregate, int layers) {
    fix_batch_t grouped, apart;
    fix_make_batch(&grouped, true);
    fix_make_batch(&apart, false);
    hp_config_t config = fix_config(attention, aggregate, layers);
    fixture_t f, g;
    fix_open(&f, &config);
    fix_open(&g, &config);
    f.batch = &grouped.batch;
    double loss_sum = fix_forward(&f);
    fix_selection_t kept;
    fix_keep(&f, &kept);
    fix_backward(&f);

    g.batch = &apart.batch;
    assert_true(fabs(fix_forward(&g) - loss_sum) < 1e-12 * loss_sum);
    fix_backward(&g);
    check_close("ungrouped gradient", f.total, g.grads, f.grads, 1e-11);

    nn_real *sum = check_buffer(f.total);
    memset(sum, 0, f.total * sizeof *sum);
    double singles = 0;
    for (int q = 0; q < CHECK_QUESTIONS; q++) {
        int cell_offset[2], token_offset[2];
        nn_batch_t one;
        fix_alone(&grouped.batch, q, cell_offset, token_offset, &one);
        g.batch = &one;
        singles += fix_forward(&g);
        const int count = kept.offset[q + 1] - kept.offset[q];
        assert_int_equal(g.result.selection.offset[1], count);
        assert_memory_equal(g.result.selection.cell, kept.cell + kept.offset[q],
                            (size_t)count * sizeof(int));
        fix_backward(&g);
        for (size_t i = 0; i < f.total; i++) sum[i] += g.grads[i];
    }
    assert_true(fabs(singles - loss_sum) < 1e-12 * loss_sum);
    check_close("sum of single gradients", f.total, sum, f.grads, 1e-11);
    check_free(sum, f.total);
    fix_close(&f);
    fix_close(&g);
}

static void test_batching(void **state) {
    (void)state;
    FIX_EACH(attention, aggregate, layers) check_batching(attention, aggregate, layers);
}

/* In evaluation nothing is random but the control that is. */
static void test_evaluation(void **state) {
    (void)state;
    fix_batch_t b;
    fix_make_batch(&b, true);
    hp_config_t config = fix_config(HP_ATTEND_HAN, HP_AGGREGATE_SUM, 2);
    fixture_t f;
    fix_open(&f, &config);
    f.batch = &b.batch;
    double trained = fix_forward(&f);
    f.pass.seed++;
    assert_true(fix_forward(&f) != trained);
    f.pass.train = false;
    double evaluated = fix_forward(&f);
    f.pass.seed++;
    assert_true(fix_forward(&f) == evaluated && evaluated != trained);
    fix_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_naive),
        cmocka_unit_test(test_differences),
        cmocka_unit_test(test_soft_labels),
        cmocka_unit_test(test_question_dropout),
        cmocka_unit_test(test_straight_through),
        cmocka_unit_test(test_plain_classifier),
        cmocka_unit_test(test_batching),
        cmocka_unit_test(test_evaluation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
