#include "common/mailbox.h"

#include "common/memory.h"

#include <stdbool.h>

typedef struct {
    hp_mailbox_t *mailbox;
    hp_request_t *request;
    bool posted;
    unsigned char bytes[HP_COPIED];
} box_t;

struct hp_mailbox {
    hp_transport_t *transport;
    uint32_t incarnation;
    hp_mail_t mail;
    hp_bad_mail_t bad;
    void *context;
    bool closing;
    uint64_t bad_count, received, sent;
    int first, peers;
    box_t *box; /* [peers] */
};

static void arrived(void *context, const hp_completion_t *completion);

static hp_status_t post(hp_mailbox_t *mb, int i, hp_error_t *err) {
    box_t *box = &mb->box[i];
    HP_TRY(hp_transport_receive(mb->transport, mb->first + i, HP_TAG_CONTROL, box->bytes,
                                sizeof box->bytes, arrived, box, &box->request, err));
    box->posted = true;
    return HP_OK;
}

static void arrived(void *context, const hp_completion_t *completion) {
    box_t *box = context;
    hp_mailbox_t *mb = box->mailbox;
    int i = (int)(box - mb->box);
    box->posted = false;
    if (completion->status == HP_INTERRUPTED || mb->closing) return;
    hp_error_t err;
    hp_message_t message;
    hp_status_t st = completion->status;
    if (st == HP_OK) {
        mb->received += completion->bytes;
        st = hp_message_check(box->bytes, completion->bytes, &message, &err);
    } else {
        st = hp_fail(&err, st, "a message longer than %d bytes, or a failed receive", HP_COPIED);
    }
    if (st == HP_OK) {
        mb->mail(mb->context, mb->first + i, &message, box->bytes + sizeof message);
    } else {
        mb->bad_count++;
        mb->bad(mb->context, mb->first + i, err.text);
    }
    if (!mb->closing && post(mb, i, &err) != HP_OK) mb->bad(mb->context, mb->first + i, err.text);
}

hp_status_t hp_mailbox_open(hp_transport_t *transport, int first, int peers, uint32_t incarnation,
                            hp_mail_t mail, hp_bad_mail_t bad, void *context,
                            hp_mailbox_t **mailbox_p, hp_error_t *err) {
    void *p = NULL, *box = NULL;
    HP_TRY(hp_allocate(&box, (size_t)peers, sizeof(box_t), "mailbox", err));
    hp_status_t st = hp_allocate(&p, 1, sizeof(hp_mailbox_t), "mailbox", err);
    if (st != HP_OK) {
        hp_free(box);
        return st;
    }
    hp_mailbox_t *mb = p;
    *mb = (hp_mailbox_t){.transport = transport,
                         .incarnation = incarnation,
                         .mail = mail,
                         .bad = bad,
                         .context = context,
                         .first = first,
                         .peers = peers,
                         .box = box};
    for (int i = 0; i < peers && st == HP_OK; i++) {
        mb->box[i].mailbox = mb;
        if (first + i != hp_transport_rank(transport)) st = post(mb, i, err);
    }
    if (st != HP_OK) {
        hp_mailbox_close(mb);
        return st;
    }
    *mailbox_p = mb;
    return HP_OK;
}

hp_status_t hp_mailbox_send(hp_mailbox_t *mb, int to, const hp_message_t *fields,
                            const void *payload, size_t length, hp_error_t *err) {
    unsigned char bytes[HP_COPIED];
    if (length > HP_MESSAGE_PAYLOAD)
        return hp_fail(err, HP_INTERNAL, "%s with %zu bytes", hp_message_name(fields->kind),
                       length);
    hp_message_t m = *fields;
    if (m.incarnation == 0) m.incarnation = mb->incarnation;
    size_t n = hp_message_pack(&m, payload, length, bytes);
    mb->sent += n;
    return hp_transport_send(mb->transport, to, HP_TAG_CONTROL, bytes, n, NULL, NULL, err);
}

void hp_mailbox_renew(hp_mailbox_t *mb, uint32_t incarnation) { mb->incarnation = incarnation; }

uint64_t hp_mailbox_bad(const hp_mailbox_t *mb) { return mb->bad_count; }
uint64_t hp_mailbox_received_bytes(const hp_mailbox_t *mb) { return mb->received; }
uint64_t hp_mailbox_sent_bytes(const hp_mailbox_t *mb) { return mb->sent; }

void hp_mailbox_close(hp_mailbox_t *mb) {
    if (mb == NULL) return;
    mb->closing = true;
    bool pending = false;
    for (int i = 0; i < mb->peers; i++)
        if (mb->box[i].posted) {
            hp_transport_cancel(mb->transport, mb->box[i].request);
            pending = true;
        }
    while (pending) {
        hp_transport_progress(mb->transport);
        pending = false;
        for (int i = 0; i < mb->peers; i++) pending = pending || mb->box[i].posted;
        if (pending) hp_transport_wait(mb->transport, 1000, true);
    }
    hp_free(mb->box);
    hp_free(mb);
}
