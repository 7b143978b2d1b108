/* hanps: git-like subcommands. Each lives in its own file and is a row of the table. */
#include "cli/command.h"
#include "common/gemm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void usage(FILE *out) {
    fputs("usage: hanps COMMAND [ARGUMENT]...\n\ncommands:\n", out);
    for (const cli_command_t *c = cli_commands(); c->name != NULL; c++)
        fprintf(out, "  %-14s %s\n", c->name, c->summary);
    fputs("\n'hanps COMMAND --help' explains one.\n", out);
}

/* mpirun's exit status is not ours: the launcher (deploy/run) names a folder where each rank leaves
 * its own. */
static void leave_exit_status(int code) {
    const char *folder = getenv("HANPS_EXIT_FOLDER"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (folder == NULL) return;
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, rank != NULL ? rank : "0");
    FILE *out = fopen(path, "w");
    if (out == NULL) return;
    fprintf(out, "%d\n", code);
    fclose(out);
}

/* MPI's start waits for all ranks without a limit: the launcher sees here who has come. */
static void leave_sign(void) {
    const char *folder = getenv("HANPS_EXIT_FOLDER"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    char path[4096];
    if (folder == NULL || rank == NULL) return;
    snprintf(path, sizeof path, "%s/started.%s", folder, rank);
    (void)mkdir(path, 0777); /* no matter for the run itself */
}

/* Between two products oneDNN's threads (libgomp's) spin for milliseconds on cores that the
 * servers, the reader or other workers could use. How long is read when libgomp is loaded, before
 * main: so the program begins once more. */
static void spin_briefly(char **argv) {
    static const char *const name[] = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"};
    if (!hp_gemm_has_engine() || getenv(name[0]) != NULL || getenv(name[1]) != NULL) return;
    char path[4096]; /* by its own name, as ps shows it */
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0 || setenv(name[0], "1000", 1) != 0) return;
    path[n] = '\0';
    execv(path, argv); /* where it fails, threads spin longer */
}

int main(int argc, char **argv) {
    spin_briefly(argv);
    leave_sign();
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    for (const cli_command_t *c = cli_commands(); c->name != NULL; c++)
        if (strcmp(argv[1], c->name) == 0) {
            hp_error_t err = {0};
            hp_status_t status = c->run(argc - 1, argv + 1, &err);
            if (status != HP_OK && err.text[0] != '\0' && !err.told)
                fprintf(stderr, "hanps %s: %s\n", c->name, err.text);
            leave_exit_status(hp_status_exit_code(status));
            return hp_status_exit_code(status);
        }
    fprintf(stderr, "hanps: no command '%s'; 'hanps --help' lists them\n", argv[1]);
    return 2;
}
