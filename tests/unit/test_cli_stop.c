/* hanps stop: asks, waits for the end, and is not fooled by a run that died. */
#include "cli/command.h"
#include "common/run_folder.h"

#include <getopt.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], run[80], request[96];

static int setup(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/hanps-stop-XXXXXX");
    if (mkdtemp(folder) == NULL) return -1;
    snprintf(run, sizeof run, "%s/run", folder);
    snprintf(request, sizeof request, "%s/stop", run);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static int stop(hp_error_t *err, const char *option) {
    char *argv[] = {(char *)(uintptr_t) "stop", run, (char *)(uintptr_t)option, NULL};
    optind = 0;
    *err = (hp_error_t){0};
    return hp_status_exit_code(cli_stop(option ? 3 : 2, argv, err));
}

static void say(hp_run_state_t state, const char *message) {
    hp_run_status_t s = {.state = state, .step = 7, .steps = 9, .start = 1, .pid = 4711};
    snprintf(s.host, sizeof s.host, "h1");
    snprintf(s.message, sizeof s.message, "%s", message);
    hp_error_t err;
    if (hp_run_status_write(run, &s, &err) != HP_OK) abort();
}

/* It may be started again. */
static void say_again(hp_run_state_t state) {
    hp_run_status_t s = {.state = state, .start = 1, .requeue = true};
    hp_error_t err;
    snprintf(s.message, sizeof s.message, "server 1 is lost");
    if (hp_run_status_write(run, &s, &err) != HP_OK) abort();
}

/* Server 0: sees the request within 10 s, and ends as it is told to. */
static void *serve(void *argument) {
    hp_run_state_t end = *(hp_run_state_t *)argument;
    for (int i = 0; i < 1000; i++) {
        usleep(10000);
        if (unlink(request) != 0) continue;
        usleep(300000);
        say(end, "no disk");
        break;
    }
    return NULL;
}

static void test_stop(void **state) {
    (void)state;
    hp_error_t err;
    hp_run_lock_t *lock = NULL;
    pthread_t thread;
    bool held = false;
    assert_int_equal(stop(&err, NULL), 2); /* no such run */
    assert_int_equal(hp_run_create(run, &lock, &err), HP_OK);
    assert_int_equal(hp_run_held(run, &held, &err), HP_OK);
    assert_true(held);
    say(HP_RUN_RUNNING, "");
    assert_int_equal(stop(&err, "--no-wait"), 0);
    assert_int_equal(access(request, F_OK), 0);
    hp_run_state_t end = HP_RUN_STOPPED;
    assert_int_equal(pthread_create(&thread, NULL, serve, &end), 0);
    assert_int_equal(stop(&err, NULL), 0);
    pthread_join(thread, NULL);
    assert_int_equal(stop(&err, NULL), 0); /* it has ended: nothing is left to ask */
    assert_int_not_equal(access(request, F_OK), 0);
    say(HP_RUN_RUNNING, "");
    end = HP_RUN_FAILED;
    assert_int_equal(pthread_create(&thread, NULL, serve, &end), 0);
    assert_int_equal(stop(&err, NULL), 3);
    pthread_join(thread, NULL);
    assert_non_null(strstr(err.text, "no disk"));
    say(HP_RUN_RUNNING, "");
    hp_run_unlock(lock); /* it dies */
    assert_int_equal(hp_run_held(run, &held, &err), HP_OK);
    assert_false(held);
    assert_int_equal(stop(&err, NULL), 3);
    assert_non_null(strstr(err.text, "process 4711 on h1 died"));
    assert_int_not_equal(access(request, F_OK), 0);
    assert_int_equal(stop(&err, "--bogus"), 2);
}

typedef struct {
    int fd;       /* holds RUN/supervise */
    bool misses;  /* it starts the run again, which removes a request that came too early */
    bool noticed; /* a request to stop, whoever took it */
} supervisor_t;

static bool take_request(void) {
    for (int i = 0; i < 1000; i++) {
        usleep(10000);
        if (unlink(request) == 0) return true;
    }
    return false;
}

static void *supervise(void *argument) {
    supervisor_t *s = argument;
    hp_run_lock_t *lock = NULL;
    hp_error_t err;
    s->noticed = take_request();
    if (s->misses) {
        if (hp_run_open(run, &lock, &err) != HP_OK) abort();
        say(HP_RUN_RUNNING, "");
        s->noticed = take_request() && s->noticed;
        say(HP_RUN_STOPPED, "");
        hp_run_unlock(lock);
    }
    close(s->fd);
    return NULL;
}

/* A run that failed, or died, and that a supervisor is about to start again. */
static void test_supervised(void **state) {
    (void)state;
    hp_error_t err;
    hp_run_lock_t *lock = NULL;
    pthread_t thread;
    char path[100];
    snprintf(path, sizeof path, "%s/supervise", run);
    assert_int_equal(hp_run_create(run, &lock, &err), HP_OK);
    assert_int_equal(hp_run_write_file(run, "config.yaml", "", 0, &err), HP_OK);
    hp_run_unlock(lock);
    assert_false(hp_run_supervised(run));
    for (int i = 0; i < 3; i++) {
        supervisor_t s = {.fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666), .misses = i == 2};
        assert_int_equal(flock(s.fd, LOCK_EX | LOCK_NB), 0);
        assert_true(hp_run_supervised(run));
        say_again(i == 1 ? HP_RUN_RUNNING : HP_RUN_FAILED);
        assert_int_equal(pthread_create(&thread, NULL, supervise, &s), 0);
        assert_int_equal(stop(&err, NULL), s.misses ? 0 : 3);
        pthread_join(thread, NULL);
        assert_true(s.noticed);
        assert_int_not_equal(access(request, F_OK), 0);
        assert_false(hp_run_supervised(run));
        if (!s.misses) assert_non_null(strstr(err.text, i == 1 ? "died" : "server 1 is lost"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_supervised, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
