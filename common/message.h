/* Control messages between servers and workers: a fixed header of 64 bytes, for some kinds followed
 * by a payload. Gradients and weights travel bare, under tags of their own, into receives that were
 * posted before their sender was told to send.
 *
 * Nothing that arrives is trusted: a header with a wrong field is refused by hp_message_check with
 * the reason, and whoever uses a field checks it against what it means there. */
#ifndef HP_MESSAGE_H
#define HP_MESSAGE_H

#include "common/status.h"
#include "common/transport.h"

#include <stddef.h>
#include <stdint.h>

/* name, payload bytes at least, at most, meaning. w: worker, s: server, 0: server 0. */
#define HP_MESSAGE_MAP(X)                                                                          \
    X(HELLO, 0, 0,                                                                                 \
      "w>s s>0: I am here; value: digest of table, plan, setting; count: units ahead")             \
    X(WELCOME, 0, 0, "s>w: the answer; count: units of a step, step: where the run stands")        \
    X(REFUSED, 1, 1024, "s>w: the digests differ; payload: why")                                   \
    X(UNIT, 0, 0, "0>w: compute `unit`, of `step`")                                                \
    X(REVOKE, 0, 0,                                                                                \
      "0>w: units from `unit` on that are not committed are void; LAST: the run ends")             \
    X(RETURN, 0, 0,                                                                                \
      "w>0: `unit` will not be computed here; PUSHED: some server may have applied it")            \
    X(REVOKED, 0, 0, "w>0: the answer to REVOKE, after a RETURN for each such unit")               \
    X(RETIRE, 0, 0, "w>0: every server has acknowledged `unit`")                                   \
    X(OFFER, 0, 0, "w>s: I shall push `unit`; give me a slot; value: my number of this push")      \
    X(GRANT, 0, 0, "s>w: send `unit` to slot `count`; value: as in OFFER")                         \
    X(COMMIT, 0, 0,                                                                                \
      "w>s: all of `unit` is sent; value: examples, real: squared norm, count: parameter to "      \
      "blame")                                                                                     \
    X(ABORT, 0, 0, "w>s: `unit` will not come; value: chunks of it that were sent")                \
    X(ACK, 0, 0, "s>w: `unit` is applied; step: versions, count: staleness, value: as in OFFER")   \
    X(PULL, 0, 0, "w>s: weights of `step` (or after my last commit), to tags of `count`")          \
    X(DRAIN, 0, 0, "w>s: send no more of pull `count`")                                            \
    X(DRAINED, 0, 0, "s>w: the answer; value: chunks of pull `count` that were sent")              \
    X(NORMS, 8, HP_MESSAGE_PAYLOAD, "s>s: squared norms of `step`, from my chunk `count` on")      \
    X(CUT, 0, 0, "0>s: checkpoint number `count`, at `step`; LAST: and end there")                 \
    X(CUT_ACK, 0, 0, "s>0: I know of the cut at `step` (and of LAST)")                             \
    X(SHARD, 0, HP_MESSAGE_PAYLOAD,                                                                \
      "s>0: my file of checkpoint `step`; payload: its record, then units summed and in no step "  \
      "of it; FAILED: payload says why")                                                           \
    X(STOP, 0, 0, "w>0: checkpoint and end, please")                                               \
    X(HEARTBEAT, 0, 0,                                                                             \
      "w>0 s>0 0>s 0>w: I live; of a worker, count: what it does, value: milliseconds, unit")      \
    X(LOST, 0, 0, "0>s: worker `count` in its incarnation `value` is given up")                    \
    X(FENCED, 0, 0, "0>w: you were given up: say HELLO in your next incarnation")                  \
    X(FAIL, 1, 1024, "s>0: I cannot go on; count: status, payload: why")                           \
    X(END, 0, 1024, "0>s 0>w: the run is over; count: status, payload: why, which 0 says")         \
    X(GOODBYE, 0, 0, "w>s: nothing more will come; PUSHED: not all of mine is acknowledged")       \
    X(FAREWELL, 0, 0, "s>w s>0: nor from me; FAILED: some rank is lost")                           \
    X(EVALUATE, 0, 0, "0>w: score part `count` of `value` of data.valid with checkpoint `step`")   \
    X(EVALUATED, 1, HP_MESSAGE_PAYLOAD, "w>0: it is done; payload: hp_scores_t; FAILED: why not")

#define HP_MESSAGE_PAYLOAD (HP_COPIED - 64)

typedef enum {
    HP_MSG_NONE, /* no message has kind 0 */
#define HP_MESSAGE_ENUM(name, least, most, text) HP_MSG_##name,
    HP_MESSAGE_MAP(HP_MESSAGE_ENUM)
#undef HP_MESSAGE_ENUM
        HP_MSG_KINDS
} hp_message_kind_t;

enum {
    HP_MSG_LAST = 1,      /* UNIT, REVOKE, CUT: nothing comes after */
    HP_MSG_EXACT = 2,     /* PULL: of `step` and no other */
    HP_MSG_NONFINITE = 4, /* COMMIT: a gradient is not finite; all servers refuse the unit */
    HP_MSG_FAILED = 8,    /* SHARD, EVALUATED: not done; FAREWELL, END, FAIL: some rank
                             cannot say goodbye */
    HP_MSG_PUSHED = 16,   /* RETURN, GOODBYE: a server may have what is handed out again */
    HP_MSG_FLAGS = 31
};

/* The header as it travels, little-endian. */
typedef struct {
    uint32_t magic;
    uint16_t version;
    uint16_t kind;
    uint32_t incarnation; /* of the worker it is from or for: 1, and one more each time it was given
                             up and came back; between servers 1 */
    uint32_t flags;
    uint64_t unit;
    int64_t step;
    uint32_t count;
    uint32_t length; /* bytes of payload */
    uint64_t value;
    double real;
    uint64_t checksum; /* XXH3 of the 56 bytes before and the payload */
} hp_message_t;

_Static_assert(sizeof(hp_message_t) == 64, "the header is 64 bytes");
_Static_assert(offsetof(hp_message_t, kind) == 6, "kind");
_Static_assert(offsetof(hp_message_t, unit) == 16, "unit");
_Static_assert(offsetof(hp_message_t, count) == 32, "count");
_Static_assert(offsetof(hp_message_t, value) == 40, "value");
_Static_assert(offsetof(hp_message_t, checksum) == 56, "checksum");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "headers travel as they lie in memory");

#define HP_MESSAGE_MAGIC   0x534d5048u /* "HPMS" */
#define HP_MESSAGE_VERSION 1

const char *hp_message_name(unsigned kind);

/* What a worker does, as its HEARTBEAT tells it. */
#define HP_DOING_MAP(X)                                                                            \
    X(UNIT, "waits for a unit of work")                                                            \
    X(DATA, "waits for the data of unit")                                                          \
    X(PULL, "waits for the weights of unit")                                                       \
    X(COMPUTE, "computes unit")                                                                    \
    X(PUSH, "waits to push the gradient of unit")                                                  \
    X(EVALUATE, "evaluates")

typedef enum {
#define HP_DOING_ENUM(name, text) HP_DOING_##name,
    HP_DOING_MAP(HP_DOING_ENUM)
#undef HP_DOING_ENUM
        HP_DOINGS
} hp_doing_t;

/* "computes unit 12" */
void hp_doing_describe(unsigned doing, uint64_t unit, char *text, size_t bytes);

/* Fill in magic, version, length and checksum, and write header and payload to out[HP_COPIED].
 * Returns the bytes of the message. The payload must be of a length its kind allows. */
size_t hp_message_pack(const hp_message_t *fields, const void *payload, size_t length,
                       unsigned char *out);

/* Read and check what arrived. HP_CORRUPT, with the field that is wrong. */
hp_status_t hp_message_check(const void *data, size_t bytes, hp_message_t *message_p,
                             hp_error_t *err) HP_MUST_CHECK;

/* What a worker found in its part of the validation split. Plain data: it travels in a message. */
enum { HP_SCORES_GROUPS = 16, HP_SCORES_NAME = 48 };
typedef struct {
    uint64_t examples, labelled, selected; /* selected: cells, of all questions */
    double score, loss;                    /* sums: score of 0 to 1 a question */
    int32_t groups;
    char metric[20];
    struct {
        char name[HP_SCORES_NAME]; /* an answer type */
        uint64_t examples;
        double score;
    } group[HP_SCORES_GROUPS]; /* answer types beyond these are not kept apart */
} hp_scores_t;
_Static_assert(sizeof(hp_scores_t) <= HP_MESSAGE_PAYLOAD, "scores are sent as a copy");

/* Tags. Control: one. Gradients: slot (8 bits) and chunk (20 bits) for the one bit, weights: number
 * of the pull modulo 256 and chunk for the other. */
#define HP_TAG_CONTROL    1u
#define HP_TAG_CHUNK_BITS 20
static inline uint32_t hp_tag_push(unsigned slot, int chunk) {
    return 1u << 28 | (slot & 0xff) << HP_TAG_CHUNK_BITS | (uint32_t)chunk;
}
static inline uint32_t hp_tag_pull(unsigned pull, int chunk) {
    return 1u << 29 | (pull & 0xff) << HP_TAG_CHUNK_BITS | (uint32_t)chunk;
}

#endif
