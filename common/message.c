#include "common/message.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

static const struct {
    const char *name;
    uint32_t least, most;
} kinds[HP_MSG_KINDS] = {{"NONE", 1, 0},
#define HP_MESSAGE_ROW(name, least, most, text) {#name, least, most},
                         HP_MESSAGE_MAP(HP_MESSAGE_ROW)
#undef HP_MESSAGE_ROW
};

const char *hp_message_name(unsigned kind) { return kind < HP_MSG_KINDS ? kinds[kind].name : "?"; }

void hp_doing_describe(unsigned doing, uint64_t unit, char *text, size_t bytes) {
    static const char *const words[] = {
#define HP_DOING_TEXT(name, text) text,
        HP_DOING_MAP(HP_DOING_TEXT)
#undef HP_DOING_TEXT
    };
    if (doing >= HP_DOINGS)
        snprintf(text, bytes, "does what this build does not know");
    else if (doing == HP_DOING_UNIT || doing == HP_DOING_EVALUATE)
        snprintf(text, bytes, "%s", words[doing]);
    else
        snprintf(text, bytes, "%s %" PRIu64, words[doing], unit);
}

static uint64_t checksum(const unsigned char *message, size_t bytes) {
    enum { AT = offsetof(hp_message_t, checksum) };
    return XXH3_64bits_withSeed(message + sizeof(hp_message_t), bytes - sizeof(hp_message_t),
                                XXH3_64bits(message, AT));
}

size_t hp_message_pack(const hp_message_t *fields, const void *payload, size_t length,
                       unsigned char *out) {
    hp_message_t m = *fields;
    m.magic = HP_MESSAGE_MAGIC;
    m.version = HP_MESSAGE_VERSION;
    m.length = (uint32_t)length;
    m.checksum = 0;
    memcpy(out, &m, sizeof m);
    if (length > 0) memcpy(out + sizeof m, payload, length);
    m.checksum = checksum(out, sizeof m + length);
    memcpy(out, &m, sizeof m);
    return sizeof m + length;
}

hp_status_t hp_message_check(const void *data, size_t bytes, hp_message_t *message_p,
                             hp_error_t *err) {
    hp_message_t m;
    if (bytes < sizeof m) return hp_fail(err, HP_CORRUPT, "a message of %zu bytes", bytes);
    memcpy(&m, data, sizeof m);
    if (m.magic != HP_MESSAGE_MAGIC)
        return hp_fail(err, HP_CORRUPT, "a message with magic %08" PRIx32, m.magic);
    if (m.version != HP_MESSAGE_VERSION)
        return hp_fail(err, HP_CORRUPT, "a message of version %u; this build speaks %d", m.version,
                       HP_MESSAGE_VERSION);
    if (m.length != bytes - sizeof m)
        return hp_fail(err, HP_CORRUPT, "a message of %zu bytes that says %" PRIu32, bytes,
                       m.length);
    if (m.checksum != checksum(data, bytes))
        return hp_fail(err, HP_CORRUPT, "a message with a wrong checksum");
    if (m.kind == HP_MSG_NONE || m.kind >= HP_MSG_KINDS)
        return hp_fail(err, HP_CORRUPT, "a message of unknown kind %u", m.kind);
    if (m.length < kinds[m.kind].least || m.length > kinds[m.kind].most)
        return hp_fail(err, HP_CORRUPT, "%s with %" PRIu32 " bytes of payload", kinds[m.kind].name,
                       m.length);
    if ((m.flags & ~(uint32_t)HP_MSG_FLAGS) != 0 || m.step < 0 || !(m.real >= 0))
        return hp_fail(err, HP_CORRUPT, "%s with flags %" PRIx32 ", step %" PRId64 ", real %g",
                       kinds[m.kind].name, m.flags, m.step, m.real);
    *message_p = m;
    return HP_OK;
}
