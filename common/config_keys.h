/* The table of configuration keys, and values as text. Private to common/config*.c and tests.
 *
 * A new key is a member of hp_config_t and one row of the table in config_keys.c: the reader,
 * --set, `hanps config` and the copy in a run folder follow the table. */
#ifndef HP_CONFIG_KEYS_H
#define HP_CONFIG_KEYS_H

#include "common/config.h"

#include <stddef.h>

typedef enum {
    HP_KEY_INT,
    HP_KEY_INT64,
    HP_KEY_DOUBLE,
    HP_KEY_BOOL,
    HP_KEY_CHOICE, /* an enum, by name */
    HP_KEY_STRING,
    HP_KEY_LAYERS /* hp_layers_t, a list of integers */
} hp_key_type_t;

typedef struct {
    const char *path; /* "model.attention.cells" */
    hp_key_type_t type;
    size_t offset, size; /* in hp_config_t, bytes */
    const char *initial; /* the default, as written in a file */
    double min, max;     /* of a number, or of each number of a list; both allowed */
    const char *choices; /* names in the enum's order, "a|b|c"; an empty name is not offered. A
                            string with choices is one of them. */
    const char *zero;    /* a word that stands for 0 */
    const char *unit;    /* NULL: none */
    bool resumable;      /* may change when a run is resumed */
    const char *doc;     /* one or two sentences */
} hp_key_t;

enum { HP_KEY_TEXT = 640 }; /* bytes, with room for the longest string */

extern const hp_key_t hp_keys[];
extern const int hp_keys_count;

const hp_key_t *hp_key_find(const char *path); /* NULL: no such key */

/* Set the key from `count` scalars; exactly one, but for a list. `quoted`: the scalar was written
 * in quotes, so it is text and no number. False: not allowed; hp_key_allowed says what is. */
bool hp_key_parse(const hp_key_t *key, hp_config_t *config, int count, const char *const *text,
                  bool quoted);

/* The key's value as text that hp_key_parse reads back; item `index` of a list. */
void hp_key_format(const hp_key_t *key, const hp_config_t *config, int index,
                   char text[HP_KEY_TEXT]);
int hp_key_items(const hp_key_t *key, const hp_config_t *config); /* length of a list; else 1 */

/* "an integer from 1 to 65536", "one of han, adahan". */
void hp_key_allowed(const hp_key_t *key, char text[HP_KEY_TEXT]);

/* The key or section that a wrong path most likely means; false: none is near. */
bool hp_key_nearest(const char *path, char nearest[HP_KEY_TEXT]);

#endif
