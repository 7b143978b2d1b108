#include "tests/support/transport_body.h"

#include "common/memory.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: rank %d: %s\n", __FILE__, __LINE__, hp_transport_rank(t),      \
                    #condition);                                                                   \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

#define TRY(call)                                                                                  \
    do {                                                                                           \
        hp_error_t try_err = {0};                                                                  \
        if ((call(&try_err)) != HP_OK) {                                                           \
            fprintf(stderr, "%s:%d: rank %d: %s\n", __FILE__, __LINE__, hp_transport_rank(t),      \
                    try_err.text);                                                                 \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

enum { LIMIT_S = 60 };

typedef struct {
    int calls;
    hp_completion_t last;
} seen_t;

static void see(void *context, const hp_completion_t *c) {
    seen_t *seen = context;
    seen->calls++;
    seen->last = *c;
}

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void await(hp_transport_t *t, const seen_t *seen, int calls) {
    double start = now();
    while (seen->calls < calls) {
        if (hp_transport_progress(t) == 0) hp_transport_wait(t, 1000, false);
        CHECK(now() - start < LIMIT_S);
    }
    CHECK(seen->calls == calls);
}

static void send(hp_transport_t *t, int to, uint32_t tag, const void *data, size_t bytes,
                 seen_t *seen) {
#define SEND(err) hp_transport_send(t, to, tag, data, bytes, seen ? see : NULL, seen, err)
    TRY(SEND);
}

static hp_request_t *receive(hp_transport_t *t, int from, uint32_t tag, void *data, size_t bytes,
                             seen_t *seen) {
    hp_request_t *request = NULL;
#define RECEIVE(err) hp_transport_receive(t, from, tag, data, bytes, see, seen, &request, err)
    TRY(RECEIVE);
    return request;
}

void transport_meet(hp_transport_t *t, uint32_t tag) {
    int n = hp_transport_size(t);
    seen_t in = {0}, out = {0};
    char nothing = 0;
    for (int r = 0; r < n; r++) receive(t, r, tag, &nothing, 0, &in);
    for (int r = 0; r < n; r++) send(t, r, tag, &nothing, 0, &out);
    await(t, &in, n);
    await(t, &out, n);
}

/* Message k from a rank is number k, whatever its size and whether it was expected. */
static void test_order(hp_transport_t *t, uint32_t tag) {
    enum { MESSAGES = 100, LONGEST = 20000 };
    int n = hp_transport_size(t), rank = hp_transport_rank(t);
    unsigned char *out = hp_calloc(MESSAGES, LONGEST), *in = hp_calloc(1, LONGEST);
    CHECK(out && in);
    seen_t sent = {0};
    for (int k = 0; k < MESSAGES; k++) {
        size_t bytes = k % 3 == 0 ? 4 : k % 3 == 1 ? 5000 : LONGEST;
        unsigned char *m = out + (size_t)k * LONGEST;
        memset(m, k, bytes);
        m[1] = (unsigned char)rank;
        for (int r = 0; r < n; r++) send(t, r, tag, m, bytes, &sent);
    }
    for (int r = 0; r < n; r++)
        for (int k = 0; k < MESSAGES; k++) {
            seen_t seen = {0};
            size_t bytes = k % 3 == 0 ? 4 : k % 3 == 1 ? 5000 : LONGEST;
            receive(t, r, tag, in, LONGEST, &seen);
            await(t, &seen, 1);
            CHECK(seen.last.status == HP_OK && seen.last.source == r && seen.last.bytes == bytes);
            CHECK(in[0] == k && in[1] == r && in[bytes - 1] == k);
        }
    await(t, &sent, n * MESSAGES);
    hp_free(out);
    hp_free(in);
}

static void test_any_source(hp_transport_t *t, uint32_t tag) {
    enum { EACH = 50 };
    int n = hp_transport_size(t), rank = hp_transport_rank(t);
    int next[64] = {0};
    CHECK(n <= 64);
    if (rank == 0) {
        for (int i = 0; i < (n - 1) * EACH; i++) {
            int message[2];
            seen_t seen = {0};
            receive(t, HP_ANY_SOURCE, tag, message, sizeof message, &seen);
            await(t, &seen, 1);
            CHECK(seen.last.bytes == sizeof message && seen.last.source == message[0]);
            CHECK(message[1] == next[seen.last.source]++);
        }
    } else {
        for (int k = 0; k < EACH; k++) {
            int message[2] = {rank, k};
            send(t, 0, tag, message, sizeof message, NULL);
            message[1] = -1; /* it was copied */
        }
    }
}

static void test_sizes(hp_transport_t *t, uint32_t tag) {
    static const size_t size[] = {0,     1,     HP_COPIED, HP_COPIED + 1,
                                  65535, 65536, 65537,     (size_t)8 << 20};
    int n = hp_transport_size(t), rank = hp_transport_rank(t);
    int to = (rank + 1) % n, from = (rank + n - 1) % n;
    unsigned char *out = hp_calloc(((size_t)8 << 20) + 1, 1),
                  *in = hp_calloc(((size_t)8 << 20) + 1, 1);
    CHECK(out && in);
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        for (size_t k = 0; k < size[i]; k++) out[k] = (unsigned char)(k * 7 + (size_t)rank + i);
        memset(in, 0xA5, size[i] + 1);
        seen_t sent = {0}, got = {0};
        receive(t, from, tag, in, size[i], &got);
        send(t, to, tag, out, size[i], &sent);
        await(t, &got, 1);
        await(t, &sent, 1);
        CHECK(got.last.status == HP_OK && got.last.bytes == size[i] && got.last.source == from);
        for (size_t k = 0; k < size[i]; k++)
            CHECK(in[k] == (unsigned char)(k * 7 + (size_t)from + i));
        CHECK(in[size[i]] == 0xA5);
    }
    hp_free(out);
    hp_free(in);
}

/* Posted in the reverse order of the sends, on tags of their own. */
static void test_many(hp_transport_t *t, uint32_t tag) {
    enum { MANY = 1000, BYTES = 6000 };
    int n = hp_transport_size(t), rank = hp_transport_rank(t);
    int to = (rank + 1) % n, from = (rank + n - 1) % n;
    unsigned char *out = hp_calloc(MANY, BYTES), *in = hp_calloc(MANY, BYTES);
    CHECK(out && in);
    seen_t sent = {0}, got = {0};
    for (int k = MANY - 1; k >= 0; k--)
        receive(t, from, tag + (uint32_t)k, in + k * BYTES, BYTES, &got);
    CHECK(hp_transport_pending(t) >= MANY);
    for (int k = 0; k < MANY; k++) {
        memset(out + k * BYTES, k % 251, BYTES);
        send(t, to, tag + (uint32_t)k, out + k * BYTES, BYTES, &sent);
    }
    await(t, &got, MANY);
    await(t, &sent, MANY);
    CHECK(memcmp(in, out, (size_t)MANY * BYTES) == 0);
    CHECK(hp_transport_pending(t) == 0);
    hp_free(out);
    hp_free(in);
}

static void test_truncation(hp_transport_t *t, uint32_t tag) {
    static const size_t size[] = {100, 300000};
    int n = hp_transport_size(t), rank = hp_transport_rank(t);
    int to = (rank + 1) % n, from = (rank + n - 1) % n;
    unsigned char *out = hp_calloc(300000, 1), *in = hp_calloc(300000, 1);
    CHECK(out && in);
    for (int i = 0; i < 2; i++) {
        seen_t sent = {0}, got = {0}, after = {0};
        memset(out, 7, size[i]);
        memset(in, 9, size[i]);
        receive(t, from, tag, in, size[i] - 1, &got);
        send(t, to, tag, out, size[i], &sent);
        await(t, &got, 1);
        await(t, &sent, 1);
        CHECK(got.last.status == HP_TRANSPORT);
        if (i == 0) CHECK(in[size[i] - 1] == 9);    /* see transport.h for long ones over MPI */
        receive(t, from, tag, in, size[i], &after); /* and the next message is whole */
        send(t, to, tag, out, size[i], &sent);
        await(t, &after, 1);
        await(t, &sent, 2);
        CHECK(after.last.status == HP_OK && memcmp(in, out, size[i]) == 0);
    }
    hp_free(out);
    hp_free(in);
}

static void test_cancel(hp_transport_t *t, uint32_t tag) {
    int n = hp_transport_size(t), rank = hp_transport_rank(t);
    int to = (rank + 1) % n, from = (rank + n - 1) % n;
    int value = -1, out = rank;
    seen_t cancelled = {0}, sent = {0}, got = {0};
    hp_request_t *request = receive(t, from, tag, &value, sizeof value, &cancelled);
    hp_transport_cancel(t, request);
    CHECK(cancelled.calls == 0);
    await(t, &cancelled, 1);
    CHECK(cancelled.last.status == HP_INTERRUPTED);
    transport_meet(t, tag + 1); /* so that the next message meets no cancelled receive */
    send(t, to, tag, &out, sizeof out, &sent);
    request = receive(t, from, tag, &value, sizeof value, &got);
    await(t, &sent, 1);
    transport_meet(t, tag + 2); /* it has arrived, told or not */
    if (got.calls == 0) hp_transport_cancel(t, request);
    await(t, &got, 1);
    if (got.last.status == HP_OK)
        CHECK(value == from);
    else
        CHECK(got.last.status == HP_INTERRUPTED);
    if (got.last.status != HP_OK) { /* the message is still there */
        receive(t, from, tag, &value, sizeof value, &got);
        await(t, &got, 2);
        CHECK(got.last.status == HP_OK && value == from);
    }
}

typedef struct {
    hp_transport_t *t;
    uint32_t tag;
    int peer, value, calls, rounds;
    int inside; /* callbacks under way */
} rally_t;

static void rally_got(void *context, const hp_completion_t *c) {
    rally_t *rally = context;
    hp_transport_t *t = rally->t;
    CHECK(c->status == HP_OK && rally->inside == 0);
    rally->inside++;
    CHECK(hp_transport_progress(t) == 0);
    CHECK(rally->value == rally->calls); /* even ranks echo, odd ones count */
    if (++rally->calls < rally->rounds) {
        hp_error_t err;
        CHECK(hp_transport_receive(t, rally->peer, rally->tag, &rally->value, sizeof rally->value,
                                   rally_got, rally, NULL, &err) == HP_OK);
    }
    int next = rally->calls - 1 + (hp_transport_rank(t) % 2);
    if (rally->calls < rally->rounds || hp_transport_rank(t) % 2 == 0) {
        hp_error_t err;
        CHECK(hp_transport_send(t, rally->peer, rally->tag, &next, sizeof next, NULL, NULL, &err) ==
              HP_OK);
    }
    rally->inside--;
}

/* Ranks 2i and 2i + 1 play; each stroke is begun within a callback. */
static void test_callbacks(hp_transport_t *t, uint32_t tag) {
    int rank = hp_transport_rank(t), peer = rank ^ 1;
    if (peer >= hp_transport_size(t)) return;
    rally_t rally = {.t = t, .tag = tag, .peer = peer, .rounds = 200};
    hp_error_t err;
    CHECK(hp_transport_receive(t, peer, tag, &rally.value, sizeof rally.value, rally_got, &rally,
                               NULL, &err) == HP_OK);
    if (rank % 2 == 1) {
        int first = 0;
        CHECK(hp_transport_send(t, peer, tag, &first, sizeof first, NULL, NULL, &err) == HP_OK);
    }
    double start = now();
    while (rally.calls < rally.rounds) {
        if (hp_transport_progress(t) == 0) hp_transport_wait(t, 1000, false);
        CHECK(now() - start < LIMIT_S);
    }
}

static void *wake_later(void *argument) {
    usleep(50000);
    hp_transport_wake(argument);
    return NULL;
}

static void test_wake(hp_transport_t *t) {
    pthread_t thread;
    hp_transport_wake(t); /* before the wait counts too */
    double start = now();
    hp_transport_wait(t, 20000000, true);
    CHECK(pthread_create(&thread, NULL, wake_later, t) == 0);
    hp_transport_wait(t, 20000000, true);
    CHECK(now() - start < 10);
    pthread_join(thread, NULL);
}

static double cpu_seconds(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void test_sleep(hp_transport_t *t, uint32_t tag) {
    int message = 0;
    seen_t seen = {0};
    hp_request_t *request = receive(t, HP_ANY_SOURCE, tag, &message, sizeof message, &seen);
    double start = now(), cpu = cpu_seconds();
    while (now() - start < 2)
        if (hp_transport_progress(t) == 0) hp_transport_wait(t, 100000, true);
    cpu = (cpu_seconds() - cpu) / (now() - start);
    if (getenv("HANPS_TEST_VERBOSE"))
        fprintf(stderr, "rank %d: asleep, %.1f %% of a core\n", hp_transport_rank(t), 100 * cpu);
    CHECK(cpu < 0.2);
    hp_transport_cancel(t, request);
    await(t, &seen, 1);
}

static void test_share(hp_transport_t *t) {
    char *text = NULL;
    void *data = NULL;
    size_t bytes = 0;
    if (hp_transport_rank(t) == 0) {
        bytes = 100000;
        data = text = hp_calloc(bytes, 1);
        CHECK(text);
        memset(text, 'x', bytes);
    }
#define SHARE(err) hp_transport_share(t, &data, &bytes, err)
    TRY(SHARE);
    CHECK(bytes == 100000);
    for (size_t i = 0; i < bytes; i++) CHECK(((char *)data)[i] == 'x');
    hp_free(data);
}

static void test_refused(hp_transport_t *t) {
    static char big[HP_COPIED + 1];
    int n = hp_transport_size(t);
    seen_t seen = {0};
    hp_error_t err;
    CHECK(hp_transport_send(t, n, 1, big, 1, see, &seen, &err) == HP_INTERNAL);
    CHECK(hp_transport_send(t, -1, 1, big, 1, see, &seen, &err) == HP_INTERNAL);
    CHECK(hp_transport_send(t, 0, HP_TAG_MAX + 1u, big, 1, see, &seen, &err) == HP_INTERNAL);
    CHECK(hp_transport_send(t, 0, 1, big, sizeof big, NULL, NULL, &err) == HP_INTERNAL);
    CHECK(hp_transport_send(t, 0, 1, big, HP_MESSAGE_MAX + 1, see, &seen, &err) == HP_INTERNAL);
    CHECK(hp_transport_receive(t, n, 1, big, 1, see, &seen, NULL, &err) == HP_INTERNAL);
    CHECK(hp_transport_receive(t, 0, 1, big, 1, NULL, &seen, NULL, &err) == HP_INTERNAL);
    CHECK(hp_transport_pending(t) == 0 && seen.calls == 0);
}

void transport_body(hp_transport_t *t, bool sleeps) {
    CHECK(hp_transport_host(t)[0] != '\0');
    CHECK(hp_transport_local_index(t) >= 0 &&
          hp_transport_local_index(t) < hp_transport_local_ranks(t));
    CHECK(hp_transport_local_ranks(t) <= hp_transport_size(t));
    test_refused(t);
    test_share(t);
    test_order(t, 10);
    test_any_source(t, 20);
    test_sizes(t, 30);
    test_many(t, 1000);
    test_truncation(t, 40);
    test_cancel(t, 50);
    test_callbacks(t, HP_TAG_MAX);
    transport_meet(t, 60);
    test_wake(t);
    transport_meet(t, 70);
    if (sleeps) test_sleep(t, 80);
    transport_meet(t, 90);
    CHECK(hp_transport_pending(t) == 0);
}
