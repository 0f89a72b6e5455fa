/*
 * The save stream. The writer keeps one section's body in memory until its length is known. The reader holds a small
 * buffer and believes no length: it only counts down what a section has left.
 */
#include "vmm/core/state.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/util.h"

static const char state_magic[8] = {'P', 'I', 'P', 'I', 'T', 'S', 'T', '1'};

#define STATE_NAME_MAX 255
#define STATE_BUF 65536

struct state_writer {
    int fd;
    int error;
    bool in_section;
    char name[STATE_NAME_MAX + 1];
    uint32_t version;
    uint8_t *body;
    size_t len, cap;
};

struct state_reader {
    int fd;
    int error;
    bool in_section;
    uint64_t left; /* bytes of the section not yet taken */
    size_t pos, len;
    uint8_t buf[STATE_BUF];
};

void state_fail(struct state_writer *w, int error)
{
    if (!w->error)
        w->error = error;
}

static void writer_out(struct state_writer *w, const void *p, size_t len)
{
    const uint8_t *b = p;

    while (len && !w->error) {
        ssize_t n = write(w->fd, b, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            state_fail(w, n < 0 ? -errno : -EIO);
            return;
        }
        b += n;
        len -= (size_t)n;
    }
}

int state_writer_open(struct state_writer **out, int fd)
{
    struct state_writer *w = calloc(1, sizeof(*w));

    if (!w)
        return -ENOMEM;
    w->fd = fd;
    writer_out(w, state_magic, sizeof(state_magic));
    *out = w;
    return 0;
}

void state_begin(struct state_writer *w, const char *name, uint32_t version)
{
    size_t n = strlen(name);

    if (w->in_section || n == 0 || n > STATE_NAME_MAX) {
        state_fail(w, -EINVAL);
        return;
    }
    memcpy(w->name, name, n + 1);
    w->version = version;
    w->in_section = true;
    w->len = 0;
}

void state_put(struct state_writer *w, const void *p, size_t len)
{
    if (w->error)
        return;
    if (!w->in_section) {
        state_fail(w, -EINVAL);
        return;
    }
    if (len > w->cap - w->len) {
        size_t want = MAX(w->cap * 2, w->len + len + 256);
        uint8_t *grown = want < w->len ? NULL : realloc(w->body, want);

        if (!grown) {
            state_fail(w, -ENOMEM);
            return;
        }
        w->body = grown;
        w->cap = want;
    }
    if (len)
        memcpy(w->body + w->len, p, len);
    w->len += len;
}

void state_put_u8(struct state_writer *w, uint8_t v)
{
    state_put(w, &v, sizeof(v));
}

void state_put_u16(struct state_writer *w, uint16_t v)
{
    state_put(w, &v, sizeof(v));
}

void state_put_u32(struct state_writer *w, uint32_t v)
{
    state_put(w, &v, sizeof(v));
}

void state_put_u64(struct state_writer *w, uint64_t v)
{
    state_put(w, &v, sizeof(v));
}

void state_end(struct state_writer *w)
{
    uint16_t name_len = (uint16_t)strlen(w->name);
    uint64_t body_len = w->len;

    if (!w->in_section) {
        state_fail(w, -EINVAL);
        return;
    }
    writer_out(w, &name_len, sizeof(name_len));
    writer_out(w, w->name, name_len);
    writer_out(w, &w->version, sizeof(w->version));
    writer_out(w, &body_len, sizeof(body_len));
    writer_out(w, w->body, w->len);
    w->in_section = false;
}

int state_writer_finish(struct state_writer *w)
{
    static const uint16_t end;
    int r;

    if (w->in_section)
        state_fail(w, -EINVAL);
    writer_out(w, &end, sizeof(end));
    r = w->error;
    free(w->body);
    free(w);
    return r;
}

static void reader_fail(struct state_reader *r, int error)
{
    if (!r->error)
        r->error = error;
}

/* Takes len bytes of the stream, or fails and gives zeroes. */
static void reader_in(struct state_reader *r, void *p, size_t len)
{
    uint8_t *out = p;

    while (len) {
        size_t n = MIN(len, r->len - r->pos);

        if (r->error) {
            memset(out, 0, len);
            return;
        }
        if (n) {
            memcpy(out, r->buf + r->pos, n);
            r->pos += n;
            out += n;
            len -= n;
            continue;
        }
        ssize_t got = read(r->fd, r->buf, sizeof(r->buf));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            reader_fail(r, got < 0 ? -errno : -EINVAL);
            continue;
        }
        r->pos = 0;
        r->len = (size_t)got;
    }
}

int state_reader_open(struct state_reader **out, int fd)
{
    struct state_reader *r = calloc(1, sizeof(*r));
    char magic[sizeof(state_magic)];
    int error;

    if (!r)
        return -ENOMEM;
    r->fd = fd;
    reader_in(r, magic, sizeof(magic));
    error = r->error ? r->error : memcmp(magic, state_magic, sizeof(magic)) ? -EINVAL : 0;
    if (error) {
        free(r);
        return error;
    }
    *out = r;
    return 0;
}

int state_enter(struct state_reader *r, const char *name, uint32_t *version)
{
    char got[STATE_NAME_MAX + 1];
    uint16_t n = 0;

    if (r->in_section)
        reader_fail(r, -EINVAL);
    reader_in(r, &n, sizeof(n));
    if (n == 0 || n > STATE_NAME_MAX)
        reader_fail(r, -EINVAL);
    if (r->error)
        return r->error;
    reader_in(r, got, n);
    got[n] = '\0';
    if (strcmp(got, name) != 0)
        reader_fail(r, -EINVAL);
    reader_in(r, version, sizeof(*version));
    reader_in(r, &r->left, sizeof(r->left));
    r->in_section = !r->error;
    return r->error;
}

void state_get(struct state_reader *r, void *p, size_t len)
{
    if (!r->in_section || len > r->left)
        reader_fail(r, -EINVAL);
    if (!r->error)
        r->left -= len;
    reader_in(r, p, len);
}

uint8_t state_get_u8(struct state_reader *r)
{
    uint8_t v;

    state_get(r, &v, sizeof(v));
    return v;
}

uint16_t state_get_u16(struct state_reader *r)
{
    uint16_t v;

    state_get(r, &v, sizeof(v));
    return v;
}

uint32_t state_get_u32(struct state_reader *r)
{
    uint32_t v;

    state_get(r, &v, sizeof(v));
    return v;
}

uint64_t state_get_u64(struct state_reader *r)
{
    uint64_t v;

    state_get(r, &v, sizeof(v));
    return v;
}

int state_leave(struct state_reader *r)
{
    if (!r->in_section || r->left != 0)
        reader_fail(r, -EINVAL);
    r->in_section = false;
    return r->error;
}

int state_reader_finish(struct state_reader *r)
{
    uint16_t end = 1;
    int error;

    if (r->in_section)
        reader_fail(r, -EINVAL);
    reader_in(r, &end, sizeof(end));
    if (end != 0)
        reader_fail(r, -EINVAL);
    error = r->error;
    free(r);
    return error;
}
