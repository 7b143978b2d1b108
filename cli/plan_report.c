#include "cli/plan_report.h"

#include "cli/scores.h"
#include "common/config_text.h"

#include <stdio.h>
#include <string.h>

const char *plan_bottleneck(const plan_result_t *r) {
    switch (r->cause) {
    case PLAN_COMPUTE:
        return "compute";
    case PLAN_ADAM:
        return "Adam";
    case PLAN_LINK:
        return r->of_servers ? "servers' links" : "workers' links";
    case PLAN_LATENCY:
        return "latency";
    case PLAN_MESSAGES:
        return "messages' thread";
    default:
        return "memory";
    }
}

static void print_head(const plan_report_t *p) {
    const plan_shape_t *s = p->shape;
    const plan_rates_t *r = &p->measured->rates;
    char consistency[64], wire[64], placement[64];
    hp_config_text(p->config, "cluster.consistency", consistency, sizeof consistency);
    hp_config_text(p->config, "cluster.wire", wire, sizeof wire);
    hp_config_text(p->config, "cluster.placement", placement, sizeof placement);
    printf("%s: %lld parameters, batches of %d questions; %s, %s on the wire, placement %s\n",
           p->path, (long long)p->params->total, p->config->data.batch_size, consistency, wire,
           placement);
    printf("data: %s%s: ", s->of_store ? "those of " : "as in hanps bench, for there is no ",
           p->config->data.store);
    if (s->shape.pixel_height > 0)
        printf("%d x %d pixels", s->shape.pixel_height, s->shape.pixel_width);
    else
        printf("%d cells of %d", s->shape.max_cells, s->shape.channels);
    printf(", %d words, %d answers, %.1f questions an image\n", s->shape.words, s->shape.answers,
           s->questions_per_image);
    printf("rates of %s: %s, %d cores; forward %.4g s and backward %.4g s with %d threads; Adam "
           "%.2f ns a\n  number; messages %.1f GB/s; network: %.4g Gbit/s, %.4g ms one way\n",
           p->rates != NULL ? p->rates : "this machine", p->measured->cpu, r->cores, r->forward,
           r->backward, r->threads, r->adam[0] * 1e9, r->message * 1e-9, p->bandwidth * 8e-9,
           p->latency * 1e3);
    printf("a worker that only computes: %.1f examples/s\n\n",
           p->config->data.batch_size / (r->forward + r->backward));
}

static double busiest(const plan_result_t *r) {
    return r->server_link > r->worker_link ? r->server_link : r->worker_link;
}

void plan_print(const plan_report_t *p) {
    print_head(p);
    printf("%6s %7s %7s %10s %11s %9s %6s %15s %9s %9s  %-16s %s\n", "hosts", "workers", "servers",
           "step ms", "examples/s", "speed-up", "effic.", "busiest link", "worker GB", "server GB",
           "bottleneck", "what would help");
    for (int i = 0; i < p->rows; i++) {
        const plan_row_t *row = &p->row[i];
        const plan_result_t *r = &row->result;
        printf("%6d %7d %7d %10.1f %11.1f %9.2f %5.0f%% %7.1f MB/s %2.0f%% %9.2f %9.2f  %-16s %s\n",
               row->layout.hosts, row->layout.workers, row->layout.servers, r->step * 1e3,
               r->examples, row->speedup, 100 * row->speedup / row->layout.workers,
               busiest(r) * 1e-6, 100 * busiest(r) / p->bandwidth, r->worker_bytes * 1e-9,
               r->server_bytes * 1e-9, plan_bottleneck(r), row->advice);
    }
}

/* ---- JSON ---- */

static void put(yajl_gen gen, const char *name, double value) {
    char text[40];
    snprintf(text, sizeof text, "%.6g", value);
    cli_put_key(gen, name);
    yajl_gen_number(gen, text, strlen(text));
}

static void put_row(yajl_gen gen, const plan_row_t *row) {
    const plan_result_t *r = &row->result;
    yajl_gen_map_open(gen);
    put(gen, "hosts", row->layout.hosts);
    put(gen, "workers", row->layout.workers);
    put(gen, "servers", row->layout.servers);
    put(gen, "step_s", r->step);
    put(gen, "examples_per_s", r->examples);
    put(gen, "speedup", row->speedup);
    put(gen, "efficiency", row->speedup / row->layout.workers);
    put(gen, "push_bytes", r->push);
    put(gen, "pull_bytes", r->pull);
    put(gen, "server_link_bytes_per_s", r->server_link);
    put(gen, "worker_link_bytes_per_s", r->worker_link);
    put(gen, "worker_memory_bytes", r->worker_bytes);
    put(gen, "server_memory_bytes", r->server_bytes);
    put(gen, "host_memory_bytes", r->host_bytes);
    cli_put_key(gen, "bottleneck");
    cli_put_key(gen, plan_bottleneck(r));
    put(gen, "examples_per_s_without_it", r->without);
    cli_put_key(gen, "advice");
    cli_put_key(gen, row->advice);
    put(gen, "advice_gain", row->gain);
    yajl_gen_map_close(gen);
}

hp_status_t plan_write(const plan_report_t *p, const char *path, hp_error_t *err) {
    yajl_gen gen = yajl_gen_alloc(NULL);
    if (gen == NULL) return hp_fail(err, HP_MEMORY, "out of memory: JSON");
    yajl_gen_config(gen, yajl_gen_beautify, 1);
    yajl_gen_map_open(gen);
    cli_put_key(gen, "cpu");
    cli_put_key(gen, p->measured->cpu);
    cli_put_key(gen, "parameters");
    yajl_gen_integer(gen, p->params->total);
    put(gen, "batch_size", p->config->data.batch_size);
    put(gen, "forward_s", p->measured->rates.forward);
    put(gen, "backward_s", p->measured->rates.backward);
    put(gen, "bandwidth_bytes_per_s", p->bandwidth);
    put(gen, "latency_s", p->latency);
    cli_put_key(gen, "rows");
    yajl_gen_array_open(gen);
    for (int i = 0; i < p->rows; i++) put_row(gen, &p->row[i]);
    yajl_gen_array_close(gen);
    yajl_gen_map_close(gen);
    hp_status_t status = cli_write_json(gen, path, err);
    yajl_gen_free(gen);
    return status;
}
