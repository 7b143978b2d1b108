#include "cli/plan_rates.h"

#include "cli/scores.h"
#include "common/file.h"
#include "common/memory.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_tree.h>

enum { FORMAT = 1, FILE_LIMIT = 16 << 20, KEYS = 9 };

/* What a step's time depends on, besides the number of parameters. */
static const char *const key[KEYS] = {
    "data.batch_size",   "data.group_by_image",  "model.precision",       "model.gemm",
    "model.image.trunk", "model.attention.kind", "model.attention.cells", "model.aggregate.kind",
    "optimizer.lazy",
};

/* ---- writing ---- */

static void put(yajl_gen gen, const char *name, double value) {
    char text[40];
    snprintf(text, sizeof text, "%.6g", value);
    cli_put_key(gen, name);
    yajl_gen_number(gen, text, strlen(text));
}

static void open_map(yajl_gen gen, const char *name) {
    cli_put_key(gen, name);
    yajl_gen_map_open(gen);
}

static void put_shares(yajl_gen gen, const char *name, const hp_params_t *params,
                       const double *share) {
    open_map(gen, name);
    for (int i = 0; i < params->count; i++) put(gen, params->param[i].name, share[i]);
    yajl_gen_map_close(gen);
}

static void put_threads(yajl_gen gen, const char *name, const double *value) {
    char thread[16];
    open_map(gen, name);
    for (int t = 0; t < PLAN_THREADS; t++) {
        snprintf(thread, sizeof thread, "%d", t + 1);
        put(gen, thread, value[t]);
    }
    yajl_gen_map_close(gen);
}

static void put_of(yajl_gen gen, const hp_config_t *config, const hp_params_t *params) {
    char text[HP_CONFIG_STRING];
    open_map(gen, "of");
    cli_put_key(gen, "parameters");
    yajl_gen_integer(gen, params->total);
    for (int i = 0; i < KEYS; i++) {
        hp_config_text(config, key[i], text, sizeof text);
        cli_put_key(gen, key[i]);
        cli_put_key(gen, text);
    }
    yajl_gen_map_close(gen);
}

hp_status_t plan_rates_write(const char *path, const hp_config_t *config, const hp_params_t *params,
                             const plan_measured_t *m, hp_error_t *err) {
    const plan_rates_t *r = &m->rates;
    yajl_gen gen = yajl_gen_alloc(NULL);
    if (gen == NULL) return hp_fail(err, HP_MEMORY, "out of memory: JSON");
    yajl_gen_config(gen, yajl_gen_beautify, 1);
    yajl_gen_map_open(gen);
    put(gen, "hanps_rates", FORMAT);
    put_of(gen, config, params);
    open_map(gen, "machine");
    cli_put_key(gen, "cpu");
    cli_put_key(gen, m->cpu);
    put(gen, "cores", r->cores);
    put(gen, "memory_bytes", r->memory);
    put(gen, "copy_bytes_per_s", r->copy);
    put(gen, "message_bytes_per_s", r->message);
    put(gen, "reply_s", r->reply);
    yajl_gen_map_close(gen);
    open_map(gen, "step");
    put(gen, "threads", r->threads);
    put(gen, "forward_s", r->forward);
    put(gen, "backward_s", r->backward);
    put_shares(gen, "need", params, m->need);
    put_shares(gen, "final", params, m->final);
    yajl_gen_map_close(gen);
    open_map(gen, "server"); /* seconds a number, by threads */
    put_threads(gen, "adam_s", r->adam);
    put_threads(gen, "fold_s", r->fold);
    yajl_gen_map_close(gen);
    yajl_gen_map_close(gen);
    hp_status_t status = cli_write_json(gen, path, err);
    yajl_gen_free(gen);
    return status;
}

/* ---- reading ---- */

static const char *text_of(yajl_val tree, const char *section, const char *name) {
    const char *at[] = {section, name, NULL};
    const yajl_val value = yajl_tree_get(tree, at, yajl_t_string);
    const char *text = value != NULL ? YAJL_GET_STRING(value) : NULL;
    return text != NULL ? text : "not said";
}

typedef struct {
    const char *path;
    yajl_val tree;
    hp_status_t status; /* of the first number that is wrong */
    hp_error_t *err;
} reader_t;

static double get(reader_t *r, const char *section, const char *map, const char *name, double least,
                  double most) {
    const char *const at[] = {section, map != NULL ? map : name, map != NULL ? name : NULL, NULL};
    yajl_val value = yajl_tree_get(r->tree, (const char **)at, yajl_t_number);
    const double number = value != NULL ? strtod(YAJL_GET_NUMBER(value), NULL) : NAN;
    if (number >= least && number <= most) return number;
    if (r->status == HP_OK)
        r->status =
            hp_fail(r->err, HP_INPUT, "%s: %s.%s%s%s: a number from %g to %g is needed", r->path,
                    section, map != NULL ? map : "", map != NULL ? "." : "", name, least, most);
    return least;
}

static void get_of(reader_t *r, const hp_config_t *config, const hp_params_t *params) {
    const double parameters = get(r, "of", NULL, "parameters", 1, 1e15);
    if (r->status == HP_OK && parameters != (double)params->total)
        r->status = hp_fail(r->err, HP_INPUT,
                            "%s: rates of a model of %.0f parameters; this one has %.0f: measure "
                            "anew",
                            r->path, parameters, (double)params->total);
    for (int i = 0; i < KEYS && r->status == HP_OK; i++) {
        char text[HP_CONFIG_STRING];
        const char *there = text_of(r->tree, "of", key[i]);
        hp_config_text(config, key[i], text, sizeof text);
        if (strcmp(there, text) != 0)
            r->status =
                hp_fail(r->err, HP_INPUT, "%s: rates with %s %s; here it is %s: measure anew",
                        r->path, key[i], there, text);
    }
}

static void get_rates(reader_t *r, const hp_params_t *params, plan_measured_t *m) {
    plan_rates_t *rates = &m->rates;
    snprintf(m->cpu, sizeof m->cpu, "%s", text_of(r->tree, "machine", "cpu"));
    rates->cores = (int)get(r, "machine", NULL, "cores", 1, 65536);
    rates->memory = get(r, "machine", NULL, "memory_bytes", 0, 1e18);
    rates->copy = get(r, "machine", NULL, "copy_bytes_per_s", 1, 1e15);
    rates->message = get(r, "machine", NULL, "message_bytes_per_s", 1, 1e15);
    rates->reply = get(r, "machine", NULL, "reply_s", 0, 1e6);
    rates->threads = (int)get(r, "step", NULL, "threads", 1, 65536);
    rates->forward = get(r, "step", NULL, "forward_s", 1e-9, 1e9);
    rates->backward = get(r, "step", NULL, "backward_s", 1e-9, 1e9);
    for (int i = 0; i < params->count; i++) {
        m->need[i] = get(r, "step", "need", params->param[i].name, 0, 1);
        m->final[i] = get(r, "step", "final", params->param[i].name, 0, 1);
    }
    for (int t = 0; t < PLAN_THREADS; t++) {
        char thread[16];
        snprintf(thread, sizeof thread, "%d", t + 1);
        rates->adam[t] = get(r, "server", "adam_s", thread, 0, 1);
        rates->fold[t] = get(r, "server", "fold_s", thread, 0, 1);
    }
}

hp_status_t plan_rates_read(const char *path, const hp_config_t *config, const hp_params_t *params,
                            plan_measured_t *m, hp_error_t *err) {
    unsigned char *text = NULL;
    size_t bytes = 0;
    char why[256] = "";
    HP_TRY(hp_read_file(path, FILE_LIMIT, &text, &bytes, err));
    void *whole = NULL;
    hp_status_t status = hp_allocate(&whole, bytes + 1, 1, "a file", err);
    if (status == HP_OK && bytes > 0) memcpy(whole, text, bytes);
    hp_free(text);
    HP_TRY(status);
    reader_t r = {.path = path, .tree = yajl_tree_parse(whole, why, sizeof why), .err = err};
    hp_free(whole);
    const char *at[] = {"hanps_rates", NULL};
    yajl_val format = r.tree != NULL ? yajl_tree_get(r.tree, at, yajl_t_number) : NULL;
    if (format == NULL || strtod(YAJL_GET_NUMBER(format), NULL) != FORMAT) {
        r.status = hp_fail(err, HP_INPUT, "%s: no rates of `hanps plan --rates`", path);
    } else {
        get_of(&r, config, params);
        if (r.status == HP_OK) get_rates(&r, params, m);
    }
    yajl_tree_free(r.tree);
    return r.status;
}
