/* Exports as numpy reads them, and safetensors by its specification; wrong input. */
#include "cli/command.h"
#include "common/export.h"
#include "tests/support/made_checkpoint.h"

#include <getopt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

static char run[64];

static int setup(void **state) {
    (void)state;
    snprintf(run, sizeof run, "/tmp/hanps-export-XXXXXX");
    return mkdtemp(run) == NULL ? -1 : 0;
}

static int teardown(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", run);
    return system(command);
}

static const char *const reader =
    "import json, struct, sys, zipfile, numpy\n"
    "run, total = sys.argv[1], int(sys.argv[2])\n"
    "flat = numpy.fromfile(run + '/flat', '<f4')\n"
    "assert flat.size == total\n"
    "assert zipfile.ZipFile(run + '/a.npz').testzip() is None\n"
    "npz = numpy.load(run + '/a.npz')\n"
    "raw = open(run + '/a.safetensors', 'rb').read()\n"
    "n = struct.unpack('<Q', raw[:8])[0]\n"
    "head = json.loads(raw[8:8 + n])\n"
    "assert n % 8 == 0 and head.pop('__metadata__') == "
    "{'format': 'pt', 'step': '10', 'config': 'run: {seed: 1}\\n'}\n"
    "table = json.load(open(run + '/table'))\n"
    "assert npz.files == list(table) == list(head)\n"
    "end = 0\n"
    "for name, (shape, offset) in table.items():\n"
    "    want = flat[offset:offset + numpy.prod(shape)].reshape(shape)\n"
    "    a, h = npz[name], head[name]\n"
    "    assert a.dtype == numpy.dtype('<f4') and a.shape == want.shape and (a == want).all(), "
    "name\n"
    "    assert h['dtype'] == 'F32' and h['shape'] == shape and h['data_offsets'][0] == end\n"
    "    end = h['data_offsets'][1]\n"
    "    b = numpy.frombuffer(raw[8 + n + h['data_offsets'][0]:8 + n + end], "
    "'<f4').reshape(shape)\n"
    "    assert (b == want).all(), name\n"
    "assert 8 + n + end == len(raw)\n";

static void write_expected(const hp_params_t *params) {
    char path[100];
    snprintf(path, sizeof path, "%s/flat", run);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (int64_t i = 0; i < params->total; i++) {
        float x = made_value(1, i, 0);
        fwrite(&x, sizeof x, 1, f);
    }
    fclose(f);
    snprintf(path, sizeof path, "%s/table", run);
    f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < params->count; i++) {
        const hp_param_t *p = &params->param[i];
        fprintf(f, "%s\"%s\": [[", i ? ", " : "{", p->name);
        for (int k = 0; k < p->dims; k++) fprintf(f, "%s%d", k ? ", " : "", (int)p->shape[k]);
        fprintf(f, "], %d]", (int)p->offset);
    }
    fprintf(f, "}\n");
    fclose(f);
    snprintf(path, sizeof path, "%s/reader.py", run);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(reader, f);
    fclose(f);
}

static int export_to(const char *format, const char *file, hp_error_t *err) {
    char out[100];
    snprintf(out, sizeof out, "%s/%s", run, file);
    char *argv[] = {(char *)(uintptr_t) "export",         run,
                    (char *)(uintptr_t) "--format",       (char *)(uintptr_t)format,
                    (char *)(uintptr_t) "--out",          out,
                    (char *)(uintptr_t) "--weights-only", NULL};
    optind = 0;
    *err = (hp_error_t){0};
    return hp_status_exit_code(cli_export(7, argv, err));
}

static hp_params_t shapes(void) {
    static const int64_t shape[4] = {3, 5, 2, 7};
    hp_params_t params = {0};
    for (int dims = 1; dims <= 4; dims++) {
        char name[HP_PARAM_NAME];
        snprintf(name, sizeof name, "question.lstm.weight_%d_l0", dims);
        if (dims == 4) /* the longest name there can be */
            for (size_t i = strlen(name); i < HP_PARAM_NAME - 1; i++)
                name[i] = 'x', name[i + 1] = 0;
        assert_int_equal(hp_params_add(&params, name, dims, shape, HP_PARAM_WEIGHT, HP_INIT_ZERO, 0,
                                       false, NULL, NULL),
                         HP_OK);
    }
    return params;
}

static void test_formats(void **state) {
    (void)state;
    hp_params_t params = shapes();
    hp_error_t err = {0};
    made_t made = {run, &params, 10, 2, 1, -1};
    assert_int_equal(make_checkpoint(&made, 9, &err), HP_OK);
    write_expected(&params);
    assert_int_equal(export_to("npz", "a.npz", &err), 0);
    assert_int_equal(export_to("safetensors", "a.safetensors", &err), 0);
    char command[300];
    snprintf(command, sizeof command, "/usr/bin/python3 %s/reader.py %s %d", run, run,
             (int)params.total);
    if (system("/usr/bin/python3 -c 'import numpy' 2>/dev/null") != 0)
        print_message("not read: no numpy\n");
    else
        assert_int_equal(system(command), 0);
    hp_params_release(&params);
}

static void test_refused(void **state) {
    (void)state;
    hp_params_t params = shapes();
    hp_error_t err = {0};
    char path[100];
    assert_int_equal(export_to("npz", "a.npz", &err), 2); /* no checkpoint */
    made_t made = {run, &params, 10, 2, 1, -1};
    assert_int_equal(make_checkpoint(&made, 9, &err), HP_OK);
    assert_int_equal(export_to("onnx", "a", &err), 2);
    assert_string_equal(err.text, "--format onnx: allowed are npz, safetensors");
    assert_int_equal(export_to("npz", "no/folder", &err), 2);
    struct rlimit saved, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &saved), 0);
    limit = (struct rlimit){300, saved.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int npz = export_to("npz", "b", &err), safetensors = export_to("safetensors", "b", &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &saved), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_true(npz == 3 && safetensors == 3);
    snprintf(path, sizeof path, "%s/b", run);
    assert_int_not_equal(access(path, F_OK), 0);
    strcat(path, ".part");
    assert_int_not_equal(access(path, F_OK), 0);
    hp_params_release(&params);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_formats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
