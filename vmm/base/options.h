/*
 * Text given by the user: QEMU-style option lists "value,a=b,flag,c=d,,e" (a doubled comma stands for one), sizes,
 * numbers, switches, and the nearest known word to a mistyped one.
 *
 * A list remembers which of its items were asked for, so that what nobody understood can be named.
 */
#ifndef PIPIT_BASE_OPTIONS_H
#define PIPIT_BASE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"

struct option_item {
    char *key;
    char *value; /* NULL: the key stood alone ("readonly") */
    bool used;
};

struct options {
    struct option_item *item;
    unsigned n;
    char *text; /* what key and value point into */
};

/* Splits `text`. A first item without '=' becomes the value of `implied_key`, unless that is NULL.
 * -EINVAL for an empty key, -ENOMEM. */
int options_parse(struct options *o, const char *text, const char *implied_key, struct err *e);
void options_free(struct options *o);

/* The last item called `key`, or NULL; all items of that name count as used. */
const struct option_item *options_find(struct options *o, const char *key);
/* Its value; NULL where it is absent, "" where it stood alone. */
const char *options_get(struct options *o, const char *key);
/* Each occurrence in turn: *pos starts at 0. NULL after the last. */
const char *options_next(struct options *o, const char *key, unsigned *pos);
/* on/off/yes/no/true/false; a key that stands alone is on, "nokey" is off. *out is kept where it is absent.
 * -EINVAL names `what` and the value. */
int options_get_bool(struct options *o, const char *what, const char *key, bool *out, struct err *e);
/* The first item that nobody asked for, or NULL. */
const char *options_unused(const struct options *o);

/* A whole decimal or 0x number. -EINVAL, -ERANGE. */
int text_to_u64(const char *s, uint64_t *out);
/* A size: a decimal number (a fraction is allowed with a unit: 1.5G) and one of B K M G T (KiB, MiB and so on, an
 * optional iB or B behind, any case); `unit` multiplies a bare number. -EINVAL, -ERANGE. */
int text_to_size(const char *s, uint64_t unit, uint64_t *out);
/* -EINVAL unless on/off/yes/no/true/false. */
int text_to_bool(const char *s, bool *out);
/* Six bytes in hexadecimal with colons (or dashes) between. -EINVAL. */
int text_to_mac(const char *s, uint8_t mac[6]);

/* The word of `words` (NULL-terminated) nearest to `s`, or NULL where none is near enough to be what was meant. */
const char *text_nearest(const char *s, const char *const *words);

#endif
