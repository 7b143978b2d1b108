/* Whether all ranks can go on, at the start of what they do together. */
#ifndef HP_AGREE_H
#define HP_AGREE_H

#include "common/transport.h"

/* All ranks go on, or none: rank 0 says for all what is wrong. Takes this rank's status and gives
 * the status of all; the text of err is empty except on rank 0, which names the first rank that
 * failed. Collective, while no other message is under way. HP_PEER: a rank was silent for
 * HP_START_SECONDS. */
hp_status_t hp_agree(hp_transport_t *transport, hp_status_t own, hp_error_t *err) HP_MUST_CHECK;

#endif
