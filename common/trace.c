#include "common/trace.h"

#include "common/file.h"
#include "common/memory.h"
#include "common/run_folder.h"

#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_gen.h>

/* Viewers take process 0 and thread 0 for the idle ones, and show a process's number behind its
 * name: this one is not taken for another rank's. */
enum { FIRST_PROCESS = 10000, FIRST_LINE = 1 };

#define SAME_S 20e-6 /* a span that begins so soon after the one before goes on with it */

typedef struct {
    double begin, end;
    uint64_t number;
    int32_t worker;
    uint16_t lane, kind;
} span_t;

struct hp_trace_row {
    hp_trace_t *trace;
    hp_trace_row_t *next;
    char name[64], argument[16];
    int first, lanes; /* lines `first` and on are this row's */
    size_t room;
    atomic_size_t count, dropped;
    bool *seen; /* [lanes] lines that have a span */
    span_t *span;
};

struct hp_trace {
    hp_trace_options_t options;
    char path[HP_RUN_PATH], role[64], host[256];
    int lines;
    hp_trace_row_t *row, **last;
    atomic_bool over;
    hp_log_t *log; /* of the thread that writes the file */
    pthread_t thread;
    bool writing; /* it was started */
};

hp_status_t hp_trace_folder(const char *run, int64_t start, char *out, hp_error_t *err) {
    char name[64];
    snprintf(name, sizeof name, "trace/start-%04" PRId64, start);
    return hp_run_path(run, name, out, err);
}

hp_status_t hp_trace_create(const hp_trace_options_t *options, hp_trace_t **trace_p,
                            hp_error_t *err) {
    void *p = NULL;
    char name[128], folder[HP_RUN_PATH];
    HP_TRY(hp_trace_folder(options->run, options->start, folder, err));
    HP_TRY(hp_make_folders(folder, err));
    HP_TRY(hp_allocate(&p, 1, sizeof(hp_trace_t), "trace", err));
    hp_trace_t *t = p;
    t->options = *options;
    t->last = &t->row;
    t->lines = FIRST_LINE;
    snprintf(t->role, sizeof t->role, "%s", options->role);
    snprintf(t->host, sizeof t->host, "%s", options->host);
    snprintf(name, sizeof name, "rank-%04d-of-%04d.json", options->rank, options->ranks);
    hp_status_t status = hp_run_path(folder, name, t->path, err);
    if (status == HP_OK)
        *trace_p = t;
    else
        hp_free(t);
    return status;
}

void hp_trace_destroy(hp_trace_t *t) {
    if (t == NULL) return;
    if (t->writing) pthread_join(t->thread, NULL);
    for (hp_trace_row_t *row = t->row, *next; row != NULL; row = next) {
        next = row->next;
        hp_free(row->seen);
        hp_free(row->span);
        hp_free(row);
    }
    hp_free(t);
}

int hp_trace_steps(const hp_trace_t *t) { return t != NULL ? t->options.steps : 0; }

hp_status_t hp_trace_row(hp_trace_t *t, const char *name, const char *argument, int lanes,
                         size_t spans, hp_trace_row_t **row_p, hp_error_t *err) {
    void *p = NULL;
    *row_p = NULL;
    if (t == NULL) return HP_OK;
    HP_TRY(hp_allocate(&p, 1, sizeof(hp_trace_row_t), "trace", err));
    hp_trace_row_t *row = p;
    *t->last = row; /* released with the trace */
    t->last = &row->next;
    row->trace = t;
    snprintf(row->name, sizeof row->name, "%s", name);
    snprintf(row->argument, sizeof row->argument, "%s", argument);
    row->lanes = lanes;
    row->first = t->lines;
    t->lines += lanes;
    HP_TRY(hp_allocate(&p, (size_t)lanes, sizeof *row->seen, "trace", err));
    row->seen = p;
    HP_TRY(hp_allocate(&p, spans, sizeof *row->span, "trace", err));
    row->span = p;
    row->room = spans;
    *row_p = row;
    return HP_OK;
}

void hp_trace_add(hp_trace_row_t *row, int lane, hp_trace_kind_t kind, double begin, double end,
                  uint64_t number, int worker) {
    if (row == NULL || lane < 0 || lane >= row->lanes ||
        atomic_load_explicit(&row->trace->over, memory_order_relaxed))
        return;
    const size_t n = atomic_load_explicit(&row->count, memory_order_relaxed);
    if (n == row->room) {
        atomic_fetch_add_explicit(&row->dropped, 1, memory_order_relaxed);
        return;
    }
    row->span[n] = (span_t){begin, end, number, worker, (uint16_t)lane, (uint16_t)kind};
    atomic_store_explicit(&row->count, n + 1, memory_order_release);
}

void hp_trace_extend(hp_trace_row_t *row, hp_trace_kind_t kind, double begin, double end,
                     uint64_t number) {
    if (row == NULL) return;
    const size_t n = atomic_load_explicit(&row->count, memory_order_relaxed);
    span_t *last = n > 0 ? &row->span[n - 1] : NULL;
    const bool over = atomic_load_explicit(&row->trace->over, memory_order_relaxed);
    if (last != NULL && !over && last->kind == kind && last->number == number &&
        begin - last->end < SAME_S)
        last->end = end;
    else
        hp_trace_add(row, 0, kind, begin, end, number, -1);
}

/* ---- the file ---- */

/* By line, then time; of those that begin together the longest first, so that a viewer nests them.
 */
static int compare(const void *a, const void *b) {
    const span_t *x = a, *y = b;
    if (x->lane != y->lane) return x->lane < y->lane ? -1 : 1;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return (x->end < y->end) - (x->end > y->end);
}

static void print(void *out, const char *text, size_t bytes) { fwrite(text, 1, bytes, out); }

static void put_text(FILE *out, const char *text) {
    yajl_gen gen = yajl_gen_alloc(NULL);
    if (gen == NULL) {
        fputs("\"\"", out);
        return;
    }
    yajl_gen_config(gen, yajl_gen_print_callback, print, out);
    yajl_gen_string(gen, (const unsigned char *)text, strlen(text));
    yajl_gen_free(gen);
}

static int process(const hp_trace_t *t) { return FIRST_PROCESS + t->options.rank; }

static void put_name(FILE *out, const hp_trace_t *t, const char *what, int line, const char *text) {
    fprintf(out, ",\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"%s_name\",\"args\":{\"name\":",
            process(t), line, what);
    put_text(out, text);
    fprintf(out,
            "}},\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"%s_sort_index\",\"args\":{"
            "\"sort_index\":%d}}",
            process(t), line, what, strcmp(what, "process") == 0 ? t->options.rank : line);
}

/* Of the trace as a whole: what a script that reads it may want to know. */
static void put_about(FILE *out, const hp_trace_t *t) {
    const hp_trace_options_t *o = &t->options;
    uint64_t dropped = 0;
    char label[128];
    for (const hp_trace_row_t *row = t->row; row != NULL; row = row->next)
        dropped += atomic_load_explicit(&row->dropped, memory_order_relaxed);
    fprintf(out,
            "{\"ph\":\"M\",\"pid\":%d,\"tid\":1,\"name\":\"hanps\",\"args\":{\"start\":%" PRId64
            ",\"rank\":%d,\"ranks\":%d,\"steps\":%d,\"dropped\":%" PRIu64
            ",\"clock_offset_us\":%.3f,\"clock_error_us\":",
            process(t), o->start, o->rank, o->ranks, o->steps, dropped, 1e6 * o->offset);
    if (o->error >= 0) {
        fprintf(out, "%.3f}}", 1e6 * o->error);
        snprintf(label, sizeof label, "clock within %.0f us of rank 0's", ceil(1e6 * o->error));
    } else {
        fputs("null}}", out);
        snprintf(label, sizeof label, "its clock could not be compared with rank 0's");
    }
    fprintf(out, ",\n{\"ph\":\"M\",\"pid\":%d,\"tid\":1,\"name\":\"process_labels\",\"args\":{",
            process(t));
    fprintf(out, "\"labels\":\"%s\"}}", label);
}

static int64_t nanoseconds(const hp_trace_t *t, double clock) {
    return llrint(1e9 * (clock - t->options.zero + t->options.offset));
}

static void put_span(FILE *out, const hp_trace_row_t *row, const span_t *span) {
    static const char *const name[] = {
#define NAME(name, text, category) text,
        HP_TRACE_MAP(NAME)
#undef NAME
    };
    static const char *const category_of[] = {
#define CATEGORY(name, text, category) category,
        HP_TRACE_MAP(CATEGORY)
#undef CATEGORY
    };
    const int64_t begin = nanoseconds(row->trace, span->begin),
                  end = nanoseconds(row->trace, span->end);
    fprintf(out,
            ",\n{\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"name\":\"%s\",\"cat\":\"%s\",\"ts\":%.3f,"
            "\"dur\":%.3f,\"args\":{",
            process(row->trace), row->first + span->lane, name[span->kind], category_of[span->kind],
            (double)begin / 1e3, (double)(end - begin) / 1e3);
    if (span->number != HP_TRACE_UNNUMBERED)
        fprintf(out, "\"%s\":%" PRIu64, row->argument, span->number);
    if (span->worker >= 0)
        fprintf(out, "%s\"worker\":%d", span->number != HP_TRACE_UNNUMBERED ? "," : "",
                span->worker);
    fputs("}}", out);
}

static void put_row(FILE *out, hp_trace_row_t *row) {
    const size_t n = atomic_load_explicit(&row->count, memory_order_acquire);
    char text[96];
    if (n > 0) qsort(row->span, n, sizeof *row->span, compare);
    for (size_t i = 0; i < n; i++) row->seen[row->span[i].lane] = true;
    for (int lane = 0; lane < row->lanes; lane++) {
        if (!row->seen[lane]) continue;
        snprintf(text, sizeof text, row->lanes > 1 ? "%s %d" : "%s", row->name, lane);
        put_name(out, row->trace, "thread", row->first + lane, text);
    }
    for (size_t i = 0; i < n; i++) put_span(out, row, &row->span[i]);
}

static hp_status_t write_file(hp_trace_t *t, hp_error_t *err) {
    char *text = NULL, who[384];
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (out == NULL) return hp_fail_errno(err, HP_MEMORY, "the trace");
    fputs("[\n", out); /* the first and the last line: what lies between them can be put together */
    put_about(out, t);
    snprintf(who, sizeof who, "rank %d: %s on %s", t->options.rank, t->role, t->host);
    put_name(out, t, "process", FIRST_LINE, who);
    for (hp_trace_row_t *row = t->row; row != NULL; row = row->next) put_row(out, row);
    fputs("\n]\n", out);
    hp_status_t status = HP_OK;
    if (fclose(out) != 0) status = hp_fail_errno(err, HP_MEMORY, "the trace");
    if (status == HP_OK) status = hp_write_file(t->path, text, bytes, err);
    free(text);
    return status;
}

hp_status_t hp_trace_finish(hp_trace_t *t, const char **path_p, hp_error_t *err) {
    if (path_p != NULL) *path_p = NULL;
    if (t == NULL || atomic_exchange(&t->over, true)) return HP_OK;
    HP_TRY(write_file(t, err));
    if (path_p != NULL) *path_p = t->path;
    return HP_OK;
}

static void *write_beside(void *trace) {
    hp_trace_t *t = trace;
    hp_error_t err;
    if (write_file(t, &err) != HP_OK)
        hp_log(t->log, HP_LOG_WARN, "no trace of this rank: %s", err.text);
    else if (t->options.rank == 0)
        hp_log(t->log, HP_LOG_INFO, "a trace is in %s; 'hanps report %s --trace' makes one file",
               t->path, t->options.run);
    return NULL;
}

void hp_trace_end(hp_trace_t *t, hp_log_t *log) {
    if (t == NULL || atomic_exchange(&t->over, true)) return;
    t->log = log;
    t->writing = pthread_create(&t->thread, NULL, write_beside, t) == 0;
    if (!t->writing) write_beside(t);
}
