/* Packets of the remote serial protocol, see rsp.h. */
#include "vmm/service/gdbstub/rsp.h"

#include <string.h>

#include "vmm/base/util.h"

enum { IDLE, DATA, ESCAPED, SUM_HIGH, SUM_LOW };

#define BREAK 3
#define ESCAPE '}'
#define ESCAPE_XOR 0x20

void rsp_init(struct rsp *r)
{
    memset(r, 0, sizeof(*r));
}

/* ---- receiving ---- */

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static enum rsp_event idle(struct rsp *r, uint8_t byte)
{
    switch (byte) {
    case '$':
        r->state = DATA;
        r->sum = 0;
        r->in_len = 0;
        r->too_long = false;
        return RSP_NOTHING;
    case BREAK: return RSP_BREAK;
    case '-': return r->no_ack ? RSP_NOTHING : RSP_AGAIN;
    default: return RSP_NOTHING; /* + and what is left of a broken frame */
    }
}

static void keep(struct rsp *r, uint8_t byte)
{
    if (r->in_len < RSP_PACKET_MAX)
        r->in[r->in_len++] = (char)byte;
    else
        r->too_long = true;
}

static enum rsp_event finish(struct rsp *r, int low)
{
    r->state = IDLE;
    if (r->claimed > 15 || low < 0 || (r->claimed << 4 | low) != r->sum)
        return RSP_REFUSED;
    if (r->too_long)
        r->in_len = 0;
    r->in[r->in_len] = '\0';
    return RSP_PACKET;
}

enum rsp_event rsp_feed(struct rsp *r, uint8_t byte)
{
    switch (r->state) {
    case IDLE: return idle(r, byte);
    case SUM_HIGH:
        r->claimed = (uint8_t)digit((char)byte);
        r->state = SUM_LOW;
        return RSP_NOTHING;
    case SUM_LOW: return finish(r, digit((char)byte));
    default: break;
    }
    if (byte == '#') {
        r->state = SUM_HIGH;
        return RSP_NOTHING;
    }
    if (byte == '$') /* the frame before was broken off */
        return idle(r, byte);
    r->sum += byte;
    if (r->state == ESCAPED) {
        keep(r, byte ^ ESCAPE_XOR);
        r->state = DATA;
    } else if (byte == ESCAPE) {
        r->state = ESCAPED;
    } else {
        keep(r, byte);
    }
    return RSP_NOTHING;
}

/* ---- sending ---- */

#define FRAME_END 3 /* "#xx" */

void rsp_begin(struct rsp *r)
{
    r->out[0] = '$';
    r->out_len = 1;
    r->out_sum = 0;
}

size_t rsp_room(const struct rsp *r)
{
    return (sizeof(r->out) - FRAME_END - r->out_len) / 2;
}

static void raw(struct rsp *r, char c)
{
    if (r->out_len >= sizeof(r->out) - FRAME_END)
        return;
    r->out[r->out_len++] = c;
    r->out_sum += (uint8_t)c;
}

void rsp_put(struct rsp *r, const void *bytes, size_t n)
{
    const char *p = bytes;

    for (size_t i = 0; i < n && rsp_room(r); i++) {
        if (p[i] == '#' || p[i] == '$' || p[i] == ESCAPE || p[i] == '*') {
            raw(r, ESCAPE);
            raw(r, (char)(p[i] ^ ESCAPE_XOR));
        } else {
            raw(r, p[i]);
        }
    }
}

void rsp_text(struct rsp *r, const char *text)
{
    rsp_put(r, text, strlen(text));
}

static const char digits[] = "0123456789abcdef";

void rsp_hex(struct rsp *r, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < n && rsp_room(r); i++) {
        raw(r, digits[p[i] >> 4]);
        raw(r, digits[p[i] & 15]);
    }
}

void rsp_number(struct rsp *r, uint64_t v)
{
    unsigned shift = 60;

    while (shift && !(v >> shift))
        shift -= 4;
    for (;; shift -= 4) {
        raw(r, digits[v >> shift & 15]);
        if (!shift)
            break;
    }
}

void rsp_end(struct rsp *r)
{
    uint8_t sum = r->out_sum;

    r->out[r->out_len++] = '#';
    r->out[r->out_len++] = digits[sum >> 4];
    r->out[r->out_len++] = digits[sum & 15];
}

void rsp_reply(struct rsp *r, const char *text)
{
    rsp_begin(r);
    rsp_text(r, text);
    rsp_end(r);
}

void rsp_error(struct rsp *r, unsigned number)
{
    uint8_t byte = (uint8_t)number;

    rsp_begin(r);
    rsp_text(r, "E");
    rsp_hex(r, &byte, 1);
    rsp_end(r);
}

/* ---- reading ---- */

bool rsp_take(const char **p, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(*p, word, n) != 0)
        return false;
    *p += n;
    return true;
}

bool rsp_take_number(const char **p, uint64_t *v)
{
    const char *start = *p;

    *v = 0;
    for (int d; (d = digit(**p)) >= 0; (*p)++) {
        if (*v >> 60)
            return false;
        *v = *v << 4 | (unsigned)d;
    }
    return *p != start;
}

bool rsp_take_range(const char **p, uint64_t *addr, uint64_t *len)
{
    return rsp_take_number(p, addr) && rsp_take(p, ",") && rsp_take_number(p, len);
}

bool rsp_take_hex(const char **p, void *bytes, size_t n)
{
    uint8_t *out = bytes;

    for (size_t i = 0; i < n; i++, *p += 2) {
        int high = digit((*p)[0]), low = high < 0 ? -1 : digit((*p)[1]);
        if (low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool rsp_take_string(const char **p, char *text, size_t size)
{
    size_t n = 0;

    while (n + 1 < size && rsp_take_hex(p, text + n, 1))
        n++;
    text[n] = '\0';
    return digit(**p) < 0;
}

static bool take_id(const char **p, int64_t *id)
{
    uint64_t v;

    if (rsp_take(p, "-1")) {
        *id = RSP_ALL;
        return true;
    }
    if (!rsp_take_number(p, &v) || v > INT32_MAX)
        return false;
    *id = (int64_t)v;
    return true;
}

bool rsp_take_thread(const char **p, struct rsp_thread *t)
{
    *t = (struct rsp_thread){.process = RSP_ANY};
    if (!rsp_take(p, "p"))
        return take_id(p, &t->thread);
    t->has_process = true;
    if (!take_id(p, &t->process))
        return false;
    t->thread = RSP_ALL; /* "p1f" is all of the process */
    return !rsp_take(p, ".") || take_id(p, &t->thread);
}

void rsp_thread(struct rsp *r, int64_t process, int64_t thread)
{
    if (process) {
        rsp_text(r, "p");
        rsp_number(r, (uint64_t)process);
        rsp_text(r, ".");
    }
    rsp_number(r, (uint64_t)thread);
}
