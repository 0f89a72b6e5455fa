/*
 * The split virtqueue walker. See queue.h for the rules.
 *
 * Ordering: the avail index is loaded with acquire before the entries behind it; the used element is complete and
 * announced to the memory's owner before the used index is stored with release. The two suppression handshakes
 * (notify and interrupt) are store-then-load on both sides, so those stores and loads are sequentially consistent.
 */
#include "virtio/queue.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/util.h"

#define DESC_SIZE 16
#define AVAIL_IDX 2
#define RING_START 4
#define USED_ELEM 8

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};

static int virtq_break(struct virtq *q, const char *why)
{
    q->broken = why;
    return -EPROTO;
}

static uint16_t avail_load(const struct virtq *q, size_t off)
{
    return __atomic_load_n((const uint16_t *)(const void *)(q->avail_host + off), __ATOMIC_SEQ_CST);
}

/* One 16-bit field of the used ring, with the bookkeeping of a device's write. */
static void used_store(struct virtq *q, size_t off, uint16_t v)
{
    gpa_t a = GPA(q->used.v + off);
    uint16_t *p = mem_write_begin(q->mem, a, sizeof(*p));
    if (!p)
        return;
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);
    mem_write_end(q->mem, a, sizeof(*p));
}

static size_t used_event_off(const struct virtq *q)
{
    return RING_START + 2 * (size_t)q->size;
}

static size_t avail_event_off(const struct virtq *q)
{
    return RING_START + USED_ELEM * (size_t)q->size;
}

int virtq_start(struct virtq *q, struct mem *m, const struct virtq_config *cfg, bool event_idx, bool indirect)
{
    memset(q, 0, sizeof(*q));
    if (!is_pow2(cfg->size) || cfg->size > VIRTQ_SIZE_MAX)
        return -EINVAL;
    if (cfg->desc.v % 16 || cfg->avail.v % 2 || cfg->used.v % 4)
        return -EINVAL;

    uint64_t n = cfg->size;
    const uint8_t *desc = mem_read_ptr(m, cfg->desc, DESC_SIZE * n);
    const uint8_t *avail = mem_read_ptr(m, cfg->avail, RING_START + 2 * n + 2);
    if (!desc || !avail || !mem_find(m, cfg->used, RING_START + USED_ELEM * n + 2))
        return -EINVAL;

    q->mem = m;
    q->desc_host = desc;
    q->avail_host = avail;
    q->used = cfg->used;
    q->event_idx = event_idx;
    q->indirect = indirect;
    q->size = cfg->size;
    return 0;
}

void virtq_stop(struct virtq *q)
{
    memset(q, 0, sizeof(*q));
}

/* The barrier keeps the compiler from reading the guest's bytes a second time after they were checked. */
static struct desc desc_copy(const uint8_t *p)
{
    struct desc d;
    memcpy(&d, p, sizeof(d));
    __asm__ volatile("" : "+m"(d) : : "memory");
    return d;
}

/* Appends one data buffer; readable ones must come first (2.7.4.2). */
static int chain_add(struct virtq *q, struct virtq_chain *c, const struct desc *d)
{
    bool in = d->flags & VIRTQ_DESC_F_WRITE;
    if (!in && c->nin)
        return virtq_break(q, "a readable buffer follows a writable one");
    if (d->len == 0)
        return 0;
    if (d->len > UINT32_MAX - c->out_len - c->in_len)
        return virtq_break(q, "a chain holds 4 GiB or more");
    if (c->nout + c->nin == VIRTQ_SEGS_MAX)
        return virtq_break(q, "a chain has too many buffers");

    void *host =
        in ? mem_write_begin(q->mem, GPA(d->addr), d->len) : (void *)mem_read_ptr(q->mem, GPA(d->addr), d->len);
    if (!host)
        return virtq_break(q, "a buffer is not in RAM");
    c->iov[c->nout + c->nin] = (struct iovec){.iov_base = host, .iov_len = d->len};
    if (in) {
        c->nin++;
        c->in_len += d->len;
    } else {
        c->nout++;
        c->out_len += d->len;
    }
    return 0;
}

/* Checks an indirect descriptor (2.7.5.3); its table goes to *table and *n. */
static int chain_indirect(struct virtq *q, const struct desc *d, bool nested, const uint8_t **table, uint32_t *n)
{
    if (!q->indirect)
        return virtq_break(q, "an indirect descriptor without the feature");
    if (nested)
        return virtq_break(q, "an indirect table inside an indirect table");
    if (d->flags & VIRTQ_DESC_F_NEXT)
        return virtq_break(q, "an indirect descriptor with NEXT");
    if (d->len == 0 || d->len % DESC_SIZE || d->len / DESC_SIZE > VIRTQ_SEGS_MAX)
        return virtq_break(q, "an indirect table of a bad length");
    *table = mem_read_ptr(q->mem, GPA(d->addr), d->len);
    if (!*table)
        return virtq_break(q, "an indirect table is not in RAM");
    *n = d->len / DESC_SIZE;
    return 0;
}

static int chain_walk(struct virtq *q, struct virtq_chain *c)
{
    const uint8_t *table = q->desc_host;
    uint32_t n = q->size, i = c->head, steps = 0;
    bool nested = false;

    for (;;) {
        if (i >= n)
            return virtq_break(q, "a descriptor index is out of range");
        if (steps++ == n)
            return virtq_break(q, "a chain loops");
        struct desc d = desc_copy(table + (size_t)i * DESC_SIZE);
        if (d.flags & VIRTQ_DESC_F_INDIRECT) {
            int rc = chain_indirect(q, &d, nested, &table, &n);
            if (rc)
                return rc;
            nested = true;
            i = steps = 0;
            continue;
        }
        int rc = chain_add(q, c, &d);
        if (rc)
            return rc;
        if (!(d.flags & VIRTQ_DESC_F_NEXT))
            return 0;
        i = d.next;
    }
}

int virtq_pop(struct virtq *q, struct virtq_chain *c)
{
    if (q->broken)
        return -EPROTO;
    if (q->size == 0)
        return 0;
    uint16_t avail = avail_load(q, AVAIL_IDX);
    if (avail == q->last_avail)
        return 0;
    /* No more than `size` chains can be with the device, those it works on included. */
    if ((uint16_t)(avail - q->last_avail) > q->size || (uint16_t)(avail - q->used_idx) > q->size)
        return virtq_break(q, "the avail index jumped");

    c->head = avail_load(q, RING_START + 2 * (size_t)(q->last_avail & (q->size - 1)));
    c->nout = c->nin = 0;
    c->out_len = c->in_len = 0;
    int rc = chain_walk(q, c);
    if (rc)
        return rc;
    q->last_avail++;
    return 1;
}

void virtq_unpop(struct virtq *q, unsigned n)
{
    q->last_avail = (uint16_t)(q->last_avail - n);
}

void virtq_put(struct virtq *q, unsigned ahead, uint16_t head, uint32_t len)
{
    if (q->broken || q->size == 0)
        return;
    uint16_t i = (uint16_t)(q->used_idx + ahead) & (q->size - 1);
    gpa_t a = GPA(q->used.v + RING_START + USED_ELEM * (uint64_t)i);
    uint8_t *p = mem_write_begin(q->mem, a, USED_ELEM);
    if (!p)
        return;
    le32_put(p, head);
    le32_put(p + 4, len);
    mem_write_end(q->mem, a, USED_ELEM);
}

void virtq_publish(struct virtq *q, unsigned n)
{
    if (q->broken || q->size == 0)
        return;
    q->used_idx = (uint16_t)(q->used_idx + n);
    /* Release: the driver may read the elements once the index moves (2.7.8.2). */
    used_store(q, 2, q->used_idx);
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t len)
{
    virtq_put(q, 0, head, len);
    virtq_publish(q, 1);
}

void virtq_wrote(struct mem *m, const struct iovec *iov, unsigned niov)
{
    for (unsigned i = 0; i < niov; i++) {
        const uint8_t *p = iov[i].iov_base;
        for (unsigned k = 0; k < m->nregions; k++) {
            const struct mem_region *r = &m->region[k];
            uint64_t off = (uint64_t)((uintptr_t)p - (uintptr_t)r->host);
            if ((uintptr_t)p >= (uintptr_t)r->host && off < r->size) {
                mem_write_end(m, GPA(r->base.v + off), iov[i].iov_len);
                break;
            }
        }
    }
}

bool virtq_needs_interrupt(struct virtq *q)
{
    if (q->broken || q->size == 0)
        return false;
    uint16_t old = q->signalled, now = q->used_idx;
    q->signalled = now;
    if (now == old)
        return false;
    if (!q->event_idx)
        return !(avail_load(q, 0) & VIRTQ_AVAIL_F_NO_INTERRUPT);
    uint16_t event = avail_load(q, used_event_off(q));
    return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

void virtq_disable_notify(struct virtq *q)
{
    /* With the event index an old value, left behind, says it already. */
    if (q->size && !q->broken && !q->event_idx)
        used_store(q, 0, VIRTQ_USED_F_NO_NOTIFY);
}

bool virtq_enable_notify(struct virtq *q)
{
    if (q->size == 0 || q->broken)
        return false;
    if (q->event_idx)
        used_store(q, avail_event_off(q), q->last_avail);
    else
        used_store(q, 0, 0);
    return avail_load(q, AVAIL_IDX) != q->last_avail;
}

size_t virtq_iov_get(const struct iovec *iov, unsigned niov, size_t off, void *dst, size_t len)
{
    size_t done = 0;
    for (unsigned i = 0; i < niov && done < len; i++) {
        if (off >= iov[i].iov_len) {
            off -= iov[i].iov_len;
            continue;
        }
        size_t n = MIN(iov[i].iov_len - off, len - done);
        memcpy((uint8_t *)dst + done, (const uint8_t *)iov[i].iov_base + off, n);
        done += n;
        off = 0;
    }
    return done;
}

size_t virtq_iov_put(const struct iovec *iov, unsigned niov, size_t off, const void *src, size_t len)
{
    size_t done = 0;
    for (unsigned i = 0; i < niov && done < len; i++) {
        if (off >= iov[i].iov_len) {
            off -= iov[i].iov_len;
            continue;
        }
        size_t n = MIN(iov[i].iov_len - off, len - done);
        memcpy((uint8_t *)iov[i].iov_base + off, (const uint8_t *)src + done, n);
        done += n;
        off = 0;
    }
    return done;
}

int virtq_iov_slice(const struct iovec *iov, unsigned niov, size_t off, size_t len, struct iovec *out, unsigned max)
{
    unsigned n = 0;
    for (unsigned i = 0; i < niov && len; i++) {
        if (off >= iov[i].iov_len) {
            off -= iov[i].iov_len;
            continue;
        }
        if (n == max)
            return -E2BIG;
        size_t part = MIN(iov[i].iov_len - off, len);
        out[n++] = (struct iovec){.iov_base = (uint8_t *)iov[i].iov_base + off, .iov_len = part};
        len -= part;
        off = 0;
    }
    return (int)n;
}

void virtq_save(const struct virtq *q, struct state_writer *w)
{
    state_put_u16(w, q->last_avail);
    state_put_u16(w, q->used_idx);
    state_put_u16(w, q->signalled);
    state_put_u8(w, q->broken != NULL);
}

void virtq_load(struct virtq *q, struct state_reader *r)
{
    q->last_avail = state_get_u16(r);
    q->used_idx = state_get_u16(r);
    q->signalled = state_get_u16(r);
    if (state_get_u8(r))
        q->broken = "it was when saved";
}
