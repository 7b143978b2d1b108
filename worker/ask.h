/* Questions that are in no store, about images that are. */
#ifndef WK_ASK_H
#define WK_ASK_H

#include "common/status.h"
#include "worker/evaluate.h"
#include "worker/trained.h"

typedef struct wk_ask wk_ask_t;

enum { WK_ASK_WORDS = 1024 }; /* most words of a question */

/* `trained` must outlive it. Allocates a model for one question. */
hp_status_t wk_ask_open(const wk_trained_t *trained, wk_ask_t **ask_p,
                        hp_error_t *err) HP_MUST_CHECK;
void wk_ask_close(wk_ask_t *ask); /* NULL is fine */

/* *answered points into the model, valid until the next question; its `question` is 0. *unknown_p:
 * how many words the vocabulary lacks; they are told to the model as unknown. HP_INPUT: no such
 * image, or the question has too many words. */
hp_status_t wk_ask(wk_ask_t *ask, const char *image, const char *question, wk_answered_t *answered,
                   int *unknown_p, hp_error_t *err) HP_MUST_CHECK;

/* Boxes of the image asked about last, [cells][4]; NULL where the store has none. */
const float *wk_ask_boxes(const wk_ask_t *ask);

#endif
