/* What the implementations of a transport share with transport.c, which checks arguments and
 * dispatches. Nobody else includes this. */
#ifndef HP_TRANSPORT_INTERNAL_H
#define HP_TRANSPORT_INTERNAL_H

#include "common/transport.h"

#define HP_HOST_NAME 64

/* Arguments were checked: rank and tag in range, bytes <= HP_MESSAGE_MAX, a `done` or few bytes. */
typedef struct {
    hp_status_t (*send)(hp_transport_t *transport, int to, uint32_t tag, const void *buffer,
                        size_t bytes, hp_done_t done, void *context, hp_error_t *err);
    hp_status_t (*receive)(hp_transport_t *transport, int from, uint32_t tag, void *buffer,
                           size_t capacity, hp_done_t done, void *context, hp_request_t **request_p,
                           hp_error_t *err);
    void (*cancel)(hp_transport_t *transport, hp_request_t *request);
    int (*progress)(hp_transport_t *transport);
    void (*wait)(hp_transport_t *transport, int limit_us, bool idle);
    void (*wake)(hp_transport_t *transport);
    hp_status_t (*renumber)(hp_transport_t *transport, const int *order, hp_error_t *err);
    void (*close)(hp_transport_t *transport, bool clean);
} hp_transport_ops_t;

/* The first member of an implementation's endpoint. */
struct hp_transport {
    const hp_transport_ops_t *ops;
    int rank, size;
    int local_ranks, local_index;
    const char (*host)[HP_HOST_NAME]; /* [size] */
    int pending;                      /* messages begun and not done; kept by the implementation */
    bool delivering;                  /* within hp_transport_progress */
};

/* Tags above HP_TAG_MAX are the transport's own. */
enum { HP_TAG_SHARE_BYTES = HP_TAG_MAX + 1, HP_TAG_SHARE_DATA, HP_TAG_SHARE_ACK, HP_TAG_LIMIT };

#endif
