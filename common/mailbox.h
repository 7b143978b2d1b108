/* Control messages of a rank: a receive stands ready for each peer, what arrives is checked and
 * handed to one function, in the order each peer sent it (one receive a peer: two could complete in
 * the wrong order). A message that fails the check is counted and dropped. */
#ifndef HP_MAILBOX_H
#define HP_MAILBOX_H

#include "common/message.h"
#include "common/transport.h"

typedef struct hp_mailbox hp_mailbox_t;

/* payload is valid during the call. */
typedef void (*hp_mail_t)(void *context, int from, const hp_message_t *message,
                          const void *payload);
/* A message that was dropped. `text`: what is wrong with it. */
typedef void (*hp_bad_mail_t)(void *context, int from, const char *text);

/* Receives from ranks [first, first + peers), itself left out. */
hp_status_t hp_mailbox_open(hp_transport_t *transport, int first, int peers, uint32_t incarnation,
                            hp_mail_t mail, hp_bad_mail_t bad, void *context,
                            hp_mailbox_t **mailbox_p, hp_error_t *err) HP_MUST_CHECK;

/* Send a message; kind and what its kind uses are set in *fields. Its incarnation is the mailbox's
 * where the field is 0. */
hp_status_t hp_mailbox_send(hp_mailbox_t *mailbox, int to, const hp_message_t *fields,
                            const void *payload, size_t length, hp_error_t *err) HP_MUST_CHECK;

void hp_mailbox_renew(hp_mailbox_t *mailbox, uint32_t incarnation);

uint64_t hp_mailbox_bad(const hp_mailbox_t *mailbox);
uint64_t hp_mailbox_received_bytes(const hp_mailbox_t *mailbox);
uint64_t hp_mailbox_sent_bytes(const hp_mailbox_t *mailbox);

/* Withdraw the receives, and wait until the transport has let go of them. NULL is fine. */
void hp_mailbox_close(hp_mailbox_t *mailbox);

#endif
