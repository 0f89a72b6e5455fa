/* Option lists, sizes and words from the command line. All of it is bounded by what the user typed. */
#include "vmm/base/options.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "vmm/base/util.h"

/* Ends the item at `p`: unescapes ",," in place and returns where the next item starts, or NULL at the end. */
static char *options_cut(char *p)
{
    char *w = p;

    for (;; p++) {
        if (*p == ',' && p[1] == ',') {
            *w++ = ',';
            p++;
        } else if (*p == ',') {
            *w = '\0';
            return p + 1;
        } else if (*p == '\0') {
            *w = '\0';
            return NULL;
        } else {
            *w++ = *p;
        }
    }
}

static int options_add(struct options *o, char *key, char *value)
{
    struct option_item *grown = reallocarray(o->item, o->n + 1, sizeof(*grown));

    if (!grown)
        return -ENOMEM;
    o->item = grown;
    o->item[o->n++] = (struct option_item){.key = key, .value = value};
    return 0;
}

int options_parse(struct options *o, const char *text, const char *implied_key, struct err *e)
{
    size_t implied_len = implied_key ? strlen(implied_key) + 1 : 0;
    size_t text_len = strlen(text) + 1;
    char *p, *implied;
    int r;

    *o = (struct options){0};
    o->text = malloc(text_len + implied_len);
    if (!o->text)
        return err_set(e, ENOMEM, "out of memory");
    memcpy(o->text, text, text_len);
    implied = o->text + text_len;
    if (implied_key)
        memcpy(implied, implied_key, implied_len);

    for (p = o->text; p && *p;) {
        char *key = p, *eq, *value = NULL;

        /* Only the first '=' splits; commas inside a key make no sense, so cut first. */
        p = options_cut(p);
        eq = strchr(key, '=');
        if (eq) {
            *eq = '\0';
            value = eq + 1;
        } else if (o->n == 0 && implied_key) {
            value = key;
            key = implied;
        }
        if (*key == '\0') {
            r = err_set(e, EINVAL, "\"%s\" has an option without a name", text);
            goto fail;
        }
        r = options_add(o, key, value);
        if (r < 0) {
            err_set(e, ENOMEM, "out of memory");
            goto fail;
        }
    }
    return 0;

fail:
    options_free(o);
    return r;
}

void options_free(struct options *o)
{
    free(o->item);
    free(o->text);
    *o = (struct options){0};
}

const struct option_item *options_find(struct options *o, const char *key)
{
    const struct option_item *found = NULL;

    for (unsigned i = 0; i < o->n; i++)
        if (!strcmp(o->item[i].key, key)) {
            o->item[i].used = true;
            found = &o->item[i];
        }
    return found;
}

const char *options_get(struct options *o, const char *key)
{
    const struct option_item *i = options_find(o, key);

    return !i ? NULL : i->value ? i->value : "";
}

const char *options_next(struct options *o, const char *key, unsigned *pos)
{
    while (*pos < o->n) {
        struct option_item *i = &o->item[(*pos)++];
        if (!strcmp(i->key, key)) {
            i->used = true;
            return i->value ? i->value : "";
        }
    }
    return NULL;
}

int options_get_bool(struct options *o, const char *what, const char *key, bool *out, struct err *e)
{
    for (unsigned k = 0; k < o->n; k++) {
        struct option_item *i = &o->item[k];

        if (!strcmp(i->key, key)) {
            i->used = true;
            if (!i->value)
                *out = true;
            else if (text_to_bool(i->value, out) < 0)
                return err_set(e, EINVAL, "%s: %s=%s is neither on nor off", what, key, i->value);
        } else if (!i->value && !strncmp(i->key, "no", 2) && !strcmp(i->key + 2, key)) {
            i->used = true;
            *out = false;
        }
    }
    return 0;
}

const char *options_unused(const struct options *o)
{
    for (unsigned i = 0; i < o->n; i++)
        if (!o->item[i].used)
            return o->item[i].key;
    return NULL;
}

int text_to_u64(const char *s, uint64_t *out)
{
    char *end;
    unsigned long long v;

    if (!isdigit((unsigned char)*s))
        return -EINVAL;
    errno = 0;
    v = strtoull(s, &end, s[0] == '0' && (s[1] == 'x' || s[1] == 'X') ? 16 : 10);
    if (*end)
        return -EINVAL;
    if (errno)
        return -ERANGE;
    *out = v;
    return 0;
}

/* The unit at the end of a size: 0 where it is no unit. A lone "" gives `bare`. */
static uint64_t size_unit(const char *s, uint64_t bare)
{
    static const char letters[] = "bkmgt";
    const char *at;

    if (!*s)
        return bare;
    at = strchr(letters, tolower((unsigned char)*s));
    if (!at)
        return 0;
    s++;
    if (at != letters && *s && strcasecmp(s, "b") != 0 && strcasecmp(s, "ib") != 0)
        return 0;
    if (at == letters && *s)
        return 0;
    return UINT64_C(1) << (10 * (at - letters));
}

int text_to_size(const char *s, uint64_t unit, uint64_t *out)
{
    uint64_t whole = 0, frac = 0, frac_scale = 1, mul, v;
    const char *p = s;

    if (!isdigit((unsigned char)*p))
        return -EINVAL;
    for (; isdigit((unsigned char)*p); p++)
        if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, (uint64_t)(*p - '0'), &whole))
            return -ERANGE;
    if (*p == '.') {
        if (!isdigit((unsigned char)*++p))
            return -EINVAL;
        /* Six digits decide; 10^6 * 2^40 fits. */
        for (; isdigit((unsigned char)*p); p++)
            if (frac_scale < 1000000) {
                frac = frac * 10 + (uint64_t)(*p - '0');
                frac_scale *= 10;
            }
    }
    mul = size_unit(p, unit);
    if (!mul)
        return -EINVAL;
    if (frac_scale > 1 && mul == 1)
        return -EINVAL;
    if (__builtin_mul_overflow(whole, mul, &v) || __builtin_add_overflow(v, frac * mul / frac_scale, &v))
        return -ERANGE;
    *out = v;
    return 0;
}

int text_to_bool(const char *s, bool *out)
{
    static const char *const on[] = {"on", "yes", "true"}, *const off[] = {"off", "no", "false"};

    for (unsigned i = 0; i < ARRAY_SIZE(on); i++) {
        if (!strcmp(s, on[i])) {
            *out = true;
            return 0;
        }
        if (!strcmp(s, off[i])) {
            *out = false;
            return 0;
        }
    }
    return -EINVAL;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int text_to_mac(const char *s, uint8_t mac[6])
{
    if (strlen(s) != 17)
        return -EINVAL;
    for (unsigned i = 0; i < 6; i++, s += 3) {
        int hi = hex_digit(s[0]), lo = hex_digit(s[1]);

        if (hi < 0 || lo < 0 || (i < 5 && s[2] != ':' && s[2] != '-'))
            return -EINVAL;
        mac[i] = (uint8_t)(hi << 4 | lo);
    }
    return 0;
}

/* Edit distance with one row; words are short, longer ones count as far. */
static unsigned edit_distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    unsigned row[33];

    if (la > 32 || lb > 32)
        return UINT_MAX;
    for (size_t j = 0; j <= lb; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; i <= la; i++) {
        unsigned diag = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= lb; j++) {
            unsigned up = row[j], best = MIN(up, row[j - 1]) + 1;

            row[j] = MIN(best, diag + (a[i - 1] != b[j - 1]));
            diag = up;
        }
    }
    return row[lb];
}

const char *text_nearest(const char *s, const char *const *words)
{
    const char *best = NULL;
    unsigned best_d = UINT_MAX;
    size_t len = strlen(s);

    for (; *words; words++) {
        /* The beginning of a word is nearer than any misspelling of another. */
        unsigned d = len >= 3 && !strncmp(s, *words, len) ? 1 : edit_distance(s, *words);

        if (d < best_d) {
            best_d = d;
            best = *words;
        }
    }
    return best_d <= 1 + len / 4 && best_d < len ? best : NULL;
}
