/* hanps checkpoint: what checkpoints a run has, whether they are whole, what they hold, and how two
 * of them differ. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/parameters.h"
#include "common/checkpoint.h"
#include "common/memory.h"

#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { BLOCK = 1 << 16 }; /* elements read at a time */

static const char usage[] =
    "usage: hanps checkpoint ls RUN\n"
    "       hanps checkpoint verify RUN [--checkpoint STEP]\n"
    "       hanps checkpoint show RUN [--checkpoint STEP] [--config]\n"
    "       hanps checkpoint diff A B [--weights]\n\n"
    "  ls      the checkpoints of a run; their data is not read\n"
    "  verify  read all data of all checkpoints, or of one, and compare it with its hashes;\n"
    "          exit status 2 where something is damaged\n"
    "  show    position, origin and parameter table of one checkpoint (last)\n"
    "  diff    compare two, each given as RUN or RUN:STEP, value by value: weights and both "
    "moments\n"
    "          of Adam; exit status 0 where all bits are equal, 1 where they are not\n\n"
    "  --checkpoint STEP  or last\n"
    "  --config           print the configuration it was trained with, as YAML\n"
    "  --weights          leave out the moments\n";

typedef struct {
    int operands;
    const char *operand[2];
    const char *checkpoint; /* NULL: not given */
    bool config, weights, help;
} args_t;

static hp_status_t parse(int argc, char **argv, args_t *args, hp_error_t *err) {
    const cli_option_t options[] = {CLI_TEXT("checkpoint", &args->checkpoint),
                                    CLI_FLAG("config", &args->config),
                                    CLI_FLAG("weights", &args->weights),
                                    {0}};
    HP_TRY(cli_options(argc, argv, options, &args->help, err));
    if (args->help) return HP_OK;
    for (; optind < argc; optind++) {
        if (args->operands == 2) return hp_fail(err, HP_INPUT, "%s: too much", argv[optind]);
        args->operand[args->operands++] = argv[optind];
    }
    return HP_OK;
}

static void print_size(uint64_t bytes) {
    if (bytes < 1u << 20)
        printf("%8.1f KiB", (double)bytes / 1024);
    else if (bytes < 1u << 30)
        printf("%8.1f MiB", (double)bytes / (1 << 20));
    else
        printf("%8.1f GiB", (double)bytes / (1 << 30));
}

/* ---- ls, verify ---- */

static void list_one(const char *run, int64_t step, int64_t best) {
    char which[32];
    hp_error_t why = {0};
    hp_checkpoint_t *c = NULL;
    snprintf(which, sizeof which, "%" PRId64, step);
    if (hp_checkpoint_open(run, which, &c, NULL, &why) != HP_OK) {
        printf("%10" PRId64 "  not whole: %s\n", step, why.text);
        return;
    }
    printf("%10" PRId64 "  %-20s  %7d  ", step, hp_checkpoint_date(c), hp_checkpoint_shards(c));
    print_size(hp_checkpoint_bytes(c));
    printf("  whole%s\n", step == best ? ", best" : "");
    hp_checkpoint_close(c);
}

static hp_status_t list(const char *run, hp_error_t *err) {
    int count = 0;
    int64_t *step = NULL, best = -1;
    HP_TRY(hp_checkpoint_list(run, &count, &step, &best, err));
    if (count == 0)
        printf("%s has no checkpoint\n", run);
    else
        printf("%10s  %-20s  %7s  %12s\n", "step", "written", "servers", "size");
    for (int i = 0; i < count; i++) list_one(run, step[i], best);
    hp_free(step);
    return HP_OK;
}

static hp_status_t verify_one(const char *run, const char *which, hp_error_t *err) {
    hp_checkpoint_t *c = NULL;
    HP_TRY(hp_checkpoint_open(run, which, &c, NULL, err));
    hp_status_t status = hp_checkpoint_verify(c, err);
    if (status == HP_OK) printf("step %" PRId64 " is whole\n", hp_checkpoint_step(c));
    hp_checkpoint_close(c);
    return status;
}

static hp_status_t verify(const char *run, const char *which, hp_error_t *err) {
    int count = 0, damaged = 0;
    int64_t *step = NULL, best = -1;
    if (which != NULL) return verify_one(run, which, err);
    HP_TRY(hp_checkpoint_list(run, &count, &step, &best, err));
    hp_status_t status = HP_OK;
    for (int i = 0; i < count; i++) {
        char name[32];
        hp_error_t why = {0};
        snprintf(name, sizeof name, "%" PRId64, step[i]);
        hp_status_t one = verify_one(run, name, &why);
        if (one == HP_OK) continue;
        printf("step %" PRId64 " is not whole: %s\n", step[i], why.text);
        damaged++;
        status = one;
    }
    hp_free(step);
    if (count == 0) return hp_fail(err, HP_INPUT, "run '%s' has no checkpoint", run);
    if (damaged > 0)
        return hp_fail(err, status, "%d of %d checkpoints are not whole", damaged, count);
    return HP_OK;
}

/* ---- show ---- */

static hp_status_t show_row(hp_checkpoint_t *c, const hp_param_t *p, float *data, hp_error_t *err) {
    double square = 0;
    int64_t version = 0, updates = 0;
    for (int64_t at = 0; at < p->count; at += BLOCK) {
        int64_t n = p->count - at < BLOCK ? p->count - at : BLOCK;
        HP_TRY(hp_checkpoint_read(c, p->offset + at, p->offset + at + n, data, NULL, NULL, err));
        for (int64_t i = 0; i < n; i++) square += (double)data[i] * data[i];
    }
    HP_TRY(hp_checkpoint_chunk(c, p->offset, &version, &updates, err));
    cli_parameters_row(p);
    printf(" %12.4g %10" PRId64 "\n", sqrt(square / (double)p->count), updates);
    return HP_OK;
}

static const char *or_dash(const char *text) { return text != NULL && text[0] ? text : "-"; }

static void show_position(const hp_checkpoint_t *c) {
    const hp_position_t *p = hp_checkpoint_position(c);
    const char *config = hp_checkpoint_config(c);
    printf("step             %" PRId64 "\nwritten          %s by %d servers, %d workers\n", p->step,
           hp_checkpoint_date(c), hp_checkpoint_shards(c), p->workers);
    printf("size             ");
    print_size(hp_checkpoint_bytes(c));
    printf(" in %d chunks\n", hp_checkpoint_chunks(c));
    printf("next unit        %" PRIu64 ", %d before it outstanding, %" PRIu64 " repeated so far\n",
           p->next_unit, p->outstanding, p->units_repeated);
    if (p->sync_shards > 0) printf("units of a step  %d\n", p->sync_shards);
    if (p->epoch > 0) printf("epoch            %" PRIu64 "\n", p->epoch);
    if (p->incarnation > 0) printf("starts           %" PRIu64 "\n", p->incarnation);
    printf("configuration    %016" PRIx64 "\nstore            %s\nproducts         %s\n",
           (uint64_t)XXH3_64bits(config, strlen(config)), or_dash(p->store_digest),
           or_dash(p->kernel));
    if (p->pixel_height > 0)
        printf("images           %d x %d pixels\n", p->pixel_height, p->pixel_width);
}

static hp_status_t show_table(hp_checkpoint_t *c, hp_error_t *err) {
    const hp_params_t *params = hp_checkpoint_params(c);
    void *data = NULL;
    HP_TRY(hp_allocate(&data, BLOCK, sizeof(float), "a block", err));
    printf("\n");
    cli_parameters_head();
    printf(" %12s %10s\n", "rms", "updates");
    hp_status_t status = HP_OK;
    for (int i = 0; i < params->count && status == HP_OK; i++)
        status = show_row(c, &params->param[i], data, err);
    hp_free(data);
    if (status == HP_OK) cli_parameters_sum(params);
    return status;
}

static hp_status_t show(const args_t *args, hp_error_t *err) {
    hp_checkpoint_t *c = NULL;
    char note[HP_CHECKPOINT_NOTE];
    const char *which = args->checkpoint != NULL ? args->checkpoint : "last";
    HP_TRY(hp_checkpoint_open(args->operand[0], which, &c, note, err));
    if (note[0] != '\0') fprintf(stderr, "hanps checkpoint: warning: %s\n", note);
    hp_status_t status = HP_OK;
    if (args->config) {
        fputs(hp_checkpoint_config(c), stdout);
    } else {
        show_position(c);
        status = show_table(c, err);
    }
    hp_checkpoint_close(c);
    return status;
}

/* ---- diff ---- */

/* RUN:STEP, or RUN alone for the last one. */
static hp_status_t open_operand(const char *operand, hp_checkpoint_t **c, hp_error_t *err) {
    char run[1024], note[HP_CHECKPOINT_NOTE];
    const char *colon = strrchr(operand, ':'), *which = "last";
    if (strlen(operand) >= sizeof run)
        return hp_fail(err, HP_INPUT, "'%.100s...' is too long", operand);
    memcpy(run, operand, strlen(operand) + 1);
    if (colon != NULL && strchr(colon, '/') == NULL) {
        run[colon - operand] = '\0';
        which = colon + 1;
    }
    HP_TRY(hp_checkpoint_open(run, which, c, note, err));
    if (note[0] != '\0') fprintf(stderr, "hanps checkpoint: warning: %s\n", note);
    return HP_OK;
}

typedef struct {
    int64_t values; /* that differ in a bit */
    double largest; /* difference; infinity where one is no number */
} difference_t;

static void compare(const float *x, const float *y, int64_t n, difference_t *d) {
    if (memcmp(x, y, (size_t)n * sizeof *x) == 0) return;
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(&x[i], &y[i], sizeof *x) == 0) continue;
        double distance = fabs((double)x[i] - y[i]);
        d->values++;
        if (!isfinite(distance)) distance = INFINITY;
        if (distance > d->largest) d->largest = distance;
    }
}

/* Planes: weights, first moment, second moment. data: [6][BLOCK]. */
static hp_status_t diff_row(hp_checkpoint_t *const c[2], const hp_param_t *p, int planes,
                            float *data, difference_t d[3], hp_error_t *err) {
    for (int64_t at = 0; at < p->count; at += BLOCK) {
        int64_t n = p->count - at < BLOCK ? p->count - at : BLOCK, from = p->offset + at;
        for (int k = 0; k < 2; k++) {
            float *x = data + (ptrdiff_t)k * 3 * BLOCK;
            HP_TRY(hp_checkpoint_read(c[k], from, from + n, x, planes > 1 ? x + BLOCK : NULL,
                                      planes > 1 ? x + 2 * BLOCK : NULL, err));
        }
        for (int k = 0; k < planes; k++)
            compare(data + (ptrdiff_t)k * BLOCK, data + (ptrdiff_t)(k + 3) * BLOCK, n, &d[k]);
    }
    return HP_OK;
}

static void print_difference(const hp_param_t *p, int planes, const difference_t d[3]) {
    static const char *const name[] = {"weights", "first moment", "second moment"};
    for (int k = 0; k < planes; k++)
        if (d[k].values > 0)
            printf("%-36s %-14s %12" PRId64 " of %" PRId64 " values differ, by %.3g at most\n",
                   p->name, name[k], d[k].values, p->count, d[k].largest);
}

static hp_status_t diff_tables(hp_checkpoint_t *const c[2], int planes, hp_error_t *err) {
    const hp_params_t *params = hp_checkpoint_params(c[0]);
    HP_TRY(hp_params_same(params, hp_checkpoint_params(c[1]), err));
    void *data = NULL;
    HP_TRY(hp_allocate(&data, (size_t)6 * BLOCK, sizeof(float), "blocks", err));
    hp_status_t status = HP_OK;
    int different = 0;
    for (int i = 0; i < params->count && status == HP_OK; i++) {
        difference_t d[3] = {{0, 0}, {0, 0}, {0, 0}};
        status = diff_row(c, &params->param[i], planes, data, d, err);
        if (status == HP_OK) print_difference(&params->param[i], planes, d);
        different += d[0].values + d[1].values + d[2].values > 0;
    }
    hp_free(data);
    HP_TRY(status);
    const char *what = planes > 1 ? "weights and moments" : "weights";
    if (different > 0)
        printf("%d of %d parameters differ\n", different, params->count);
    else
        printf("all bits of the %s are equal\n", what);
    return different > 0 ? HP_DIFFERENT : HP_OK;
}

static hp_status_t diff(const args_t *args, hp_error_t *err) {
    hp_checkpoint_t *c[2] = {NULL, NULL};
    hp_status_t status = open_operand(args->operand[0], &c[0], err);
    if (status == HP_OK) status = open_operand(args->operand[1], &c[1], err);
    if (status == HP_OK) {
        const hp_position_t *p = hp_checkpoint_position(c[0]), *q = hp_checkpoint_position(c[1]);
        printf("step %" PRId64 " and step %" PRId64 ", next unit %" PRIu64 " and %" PRIu64 "\n",
               p->step, q->step, p->next_unit, q->next_unit);
        status = diff_tables(c, args->weights ? 1 : 3, err);
    }
    hp_checkpoint_close(c[0]);
    hp_checkpoint_close(c[1]);
    return status;
}

hp_status_t cli_checkpoint(int argc, char **argv, hp_error_t *err) {
    const char *verb = argc > 1 ? argv[1] : "";
    args_t args = {0};
    bool known = strcmp(verb, "ls") == 0 || strcmp(verb, "verify") == 0 ||
                 strcmp(verb, "show") == 0 || strcmp(verb, "diff") == 0;
    bool help = strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0;
    if (!known && !help)
        return hp_fail(err, HP_INPUT, "%s%s: allowed are ls, verify, show, diff; see --help",
                       verb[0] ? "" : "no verb", verb);
    if (known) HP_TRY(parse(argc - 1, argv + 1, &args, err));
    if (help || args.help) {
        fputs(usage, stdout);
        return HP_OK;
    }
    int operands = strcmp(verb, "diff") == 0 ? 2 : 1;
    if (args.operands != operands)
        return hp_fail(err, HP_INPUT, "%s needs %s; see --help", verb,
                       operands == 2 ? "two of RUN or RUN:STEP" : "one RUN");
    if (operands == 2) return diff(&args, err);
    if (verb[0] == 'l') return list(args.operand[0], err);
    if (verb[0] == 'v') return verify(args.operand[0], args.checkpoint, err);
    return show(&args, err);
}
