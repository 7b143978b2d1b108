/* hanps checkpoint ls, verify, show, diff: what they print and how they end. */
#include "cli/command.h"
#include "tests/support/made_checkpoint.h"

#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], a[80], b[80], text[1 << 16];

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/hanps-cli-checkpoint-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(a, sizeof a, "%s/a", folder);
    snprintf(b, sizeof b, "%s/b", folder);
    char command[200];
    snprintf(command, sizeof command, "mkdir %s %s", a, b);
    return system(command);
}

static int teardown(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

/* Runs the command with its output in `text`. */
static int checkpoint(hp_error_t *err, int words, ...) {
    char *argv[12] = {(char *)(uintptr_t) "checkpoint"}, out[80];
    va_list list;
    va_start(list, words);
    for (int i = 0; i < words; i++) argv[i + 1] = va_arg(list, char *);
    va_end(list);
    snprintf(out, sizeof out, "%s/out", folder);
    fflush(stdout);
    int saved = dup(1);
    assert_non_null(freopen(out, "w", stdout));
    optind = 0; /* glibc: begin anew */
    *err = (hp_error_t){0};
    hp_status_t status = cli_checkpoint(words + 1, argv, err);
    fflush(stdout);
    dup2(saved, 1);
    close(saved);
    FILE *f = fopen(out, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return hp_status_exit_code(status);
}

static bool says(const char *what) { return strstr(text, what) != NULL; }

static void test_commands(void **state) {
    (void)state;
    hp_params_t params = made_table(6);
    hp_error_t err;
    char left[100], right[100], shard[200];
    made_t made = {a, &params, 10, 2, 1, -1};
    assert_int_equal(checkpoint(&err, 2, "ls", a), 0);
    assert_true(says("has no checkpoint"));
    assert_int_equal(make_checkpoint(&made, 9, &err), HP_OK);
    made.step = 20, made.seed = 2;
    assert_int_equal(make_checkpoint(&made, 9, &err), HP_OK);
    made.run = b, made.servers = 3;
    assert_int_equal(make_checkpoint(&made, 9, &err), HP_OK);
    made.step = 30, made.changed = 5;
    assert_int_equal(make_checkpoint(&made, 9, &err), HP_OK);

    assert_int_equal(hp_checkpoint_mark_best(a, 10, &err), HP_OK);
    assert_int_equal(checkpoint(&err, 2, "ls", a), 0);
    assert_true(says("        10  20") && says("whole, best") && says("        20  20"));
    assert_int_equal(checkpoint(&err, 2, "verify", a), 0);
    assert_true(says("step 10 is whole\nstep 20 is whole\n"));
    assert_int_equal(checkpoint(&err, 4, "show", a, "--checkpoint", "best"), 0);
    assert_true(says("step             10\n") && says("layer3.weight") && says("6 x 7") &&
                says("3 before it outstanding") && says("OpenBLAS test"));
    assert_int_equal(checkpoint(&err, 3, "show", a, "--config"), 0);
    assert_string_equal(text, "run: {seed: 1}\n");

    snprintf(left, sizeof left, "%s:20", a);
    snprintf(right, sizeof right, "%s:20", b);
    assert_int_equal(checkpoint(&err, 3, "diff", left, right), 0); /* on other servers */
    assert_true(says("all bits of the weights and moments are equal"));
    assert_int_equal(checkpoint(&err, 3, "diff", a, b), 1);
    assert_true(says("layer0.weight") && says("second moment") && says("1 of 21 values differ") &&
                says("by 1 at most") && says("1 of 6 parameters differ"));
    assert_int_equal(checkpoint(&err, 4, "diff", a, b, "--weights"), 0);
    snprintf(left, sizeof left, "%s:10", a);
    assert_int_equal(checkpoint(&err, 3, "diff", left, right), 1);
    assert_true(says("6 of 6 parameters differ"));

    snprintf(shard, sizeof shard, "%s/checkpoints/step-00000020/shard-0001-of-0002.bin", a);
    FILE *f = fopen(shard, "r+b");
    assert_non_null(f);
    fseek(f, 200, SEEK_SET);
    int c = fgetc(f);
    fseek(f, 200, SEEK_SET);
    fputc(c ^ 1, f);
    fclose(f);
    assert_int_equal(checkpoint(&err, 2, "verify", a), 2);
    assert_true(says("step 10 is whole\nstep 20 is not whole: ") &&
                says("do not match their hash"));
    assert_string_equal(err.text, "1 of 2 checkpoints are not whole");
    assert_int_equal(truncate(shard, 100), 0);
    assert_int_equal(checkpoint(&err, 2, "ls", a), 0);
    assert_true(says("        20  not whole: ") && says("has 100 bytes"));
    hp_params_release(&params);
}

static void test_wrong_input(void **state) {
    (void)state;
    hp_error_t err;
    assert_int_equal(checkpoint(&err, 0), 2);
    assert_int_equal(checkpoint(&err, 1, "list"), 2);
    assert_non_null(strstr(err.text, "allowed are ls, verify, show, diff"));
    assert_int_equal(checkpoint(&err, 1, "ls"), 2);
    assert_int_equal(checkpoint(&err, 2, "diff", a), 2);
    assert_int_equal(checkpoint(&err, 2, "show", a), 2);
    assert_int_equal(checkpoint(&err, 2, "ls", "/nowhere"), 2);
    assert_int_equal(checkpoint(&err, 3, "ls", a, "--bogus"), 2);
    assert_int_equal(checkpoint(&err, 4, "show", a, "--checkpoint", "newest"), 2);
    assert_int_equal(checkpoint(&err, 2, "diff", "--help"), 0);
    assert_true(says("usage: hanps checkpoint ls RUN"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_commands, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_input, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
