/*
 * The disk below all parsers: reads in windows, of which a few are kept, so that small neighbouring reads cost one.
 * Budgets bound what a crafted image can make us do: bytes and reads for tables that point at themselves, memory for
 * names and scripts.
 */
#include "loader/disk/disk_int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define DISK_MAX_BYTES GIB(6)
#define DISK_MAX_READS UINT64_C(4000000) /* mostly served from the windows */
#define DISK_MAX_MEMORY MIB(24)
#define DISK_CHUNK KIB(64)

void disk_init(struct disk *d, const struct disk_request *rq)
{
    memset(d, 0, sizeof(*d));
    d->rq = rq;
    d->bytes_left = DISK_MAX_BYTES;
    d->reads_left = DISK_MAX_READS;
    d->memory_left = DISK_MAX_MEMORY;
}

void disk_free(struct disk *d)
{
    for (unsigned i = 0; i < d->nparts; i++)
        if (d->part[i].fs)
            d->part[i].fs->ops->close(d->part[i].fs);
    for (unsigned i = 0; i < DISK_WINDOWS; i++)
        free(d->window[i].data);
    while (d->chunks) {
        struct disk_chunk *c = d->chunks;

        d->chunks = c->next;
        free(c);
    }
}

/* The window that holds `off`, read where it is not there. */
static int disk_window(struct disk *d, uint64_t off, unsigned *out)
{
    uint64_t at = align_down(off, DISK_WINDOW), len = MIN(DISK_WINDOW, d->rq->size - at);
    unsigned oldest = 0;
    int r;

    for (unsigned i = 0; i < DISK_WINDOWS; i++) {
        if (d->window[i].len && d->window[i].at == at) {
            *out = i;
            return 0;
        }
        if (d->window[i].used < d->window[oldest].used)
            oldest = i;
    }
    *out = oldest;
    if (len > d->bytes_left) {
        d->exhausted = true;
        return -E2BIG;
    }
    d->bytes_left -= len;
    if (!d->window[oldest].data && !(d->window[oldest].data = malloc(DISK_WINDOW)))
        return -ENOMEM;
    d->window[oldest].len = 0;
    r = d->rq->read(d->rq->opaque, at, d->window[oldest].data, len);
    if (r < 0)
        return r;
    d->window[oldest].at = at;
    d->window[oldest].len = len;
    return 0;
}

int disk_read(struct disk *d, uint64_t off, void *buf, size_t len)
{
    uint8_t *p = buf;

    if (!range_within(off, len, d->rq->size))
        return -EIO;
    while (len) {
        unsigned w;
        int r;

        if (d->reads_left == 0) {
            d->exhausted = true;
            return -E2BIG;
        }
        d->reads_left--;
        r = disk_window(d, off, &w);
        if (r < 0)
            return r;
        uint64_t skip = off - d->window[w].at;
        size_t n = MIN(len, (size_t)(d->window[w].len - skip));

        d->window[w].used = ++d->clock;
        memcpy(p, d->window[w].data + skip, n);
        p += n;
        off += n;
        len -= n;
    }
    return 0;
}

int disk_part_read(struct disk *d, const struct disk_part *p, uint64_t off, void *buf, size_t len)
{
    return range_within(off, len, p->size) ? disk_read(d, p->start + off, buf, len) : -EIO;
}

void *disk_alloc(struct disk *d, size_t size)
{
    struct disk_chunk *c = d->chunks;
    void *p;

    if (size > d->memory_left) {
        d->exhausted = true;
        return NULL;
    }
    size = align_up(MAX(size, (size_t)1), 16);
    if (!c || c->size - c->used < size) {
        size_t room = MAX(size, (size_t)DISK_CHUNK);

        c = calloc(1, align_up(sizeof(*c), 16) + room);
        if (!c)
            return NULL;
        c->size = room;
        c->next = d->chunks;
        d->chunks = c;
    }
    d->memory_left -= MIN(size, d->memory_left);
    p = (uint8_t *)c + align_up(sizeof(*c), 16) + c->used;
    c->used += size;
    return p;
}

char *disk_str(struct disk *d, const char *s, size_t len)
{
    char *p = disk_alloc(d, len + 1);

    if (p)
        memcpy(p, s, len);
    return p;
}

char *disk_printf(struct disk *d, const char *fmt, ...)
{
    va_list ap;
    char *p;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    p = n < 0 ? NULL : disk_alloc(d, (size_t)n + 1);
    if (!p)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

struct disk_part *disk_add_part(struct disk *d, unsigned number, uint64_t start, uint64_t size)
{
    struct disk_part *p = &d->part[d->nparts];

    if (d->nparts == DISK_MAX_PARTS || size == 0 || !range_within(start, size, d->rq->size))
        return NULL;
    d->nparts++;
    *p = (struct disk_part){.number = number, .start = start, .size = size};
    return p;
}

void disk_guid(char out[40], const uint8_t g[16])
{
    snprintf(out, 40, "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x", le32_get(g), le16_get(g + 4), le16_get(g + 6),
             g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15]);
}
