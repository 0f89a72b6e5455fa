/*
 * virtio-blk (virtio 1.2, 5.2): one request queue on top of a block back end.
 *
 * Data goes straight between the image and guest RAM. Each chain becomes one block request from a pool that grows up
 * to the queue's size; the request holds its own copy of the iovecs, so nothing of the descriptors is looked at again.
 * A request whose shape is wrong (no header, no status byte) breaks the queue; one that asks for the impossible gets a
 * status (IOERR, UNSUPP).
 *
 * Requests that fail are reported, or kept, in order, where the policy says so. A pause (which drains) lets them be
 * tried again at the notification behind it; the driver's reset forgets them.
 *
 * Durability: a FLUSH covers the writes whose completion the driver has seen. A driver that does not know
 * VIRTIO_BLK_F_FLUSH gets a flush behind each write (5.2.6.2).
 */
#include <errno.h>
#include <stdlib.h>

#include "virtio/transport.h"
#include "virtio/virtio.h"
#include "vmm/base/log.h"

#define BLK_F_SEG_MAX BIT64(2)
#define BLK_F_RO BIT64(5)
#define BLK_F_BLK_SIZE BIT64(6)
#define BLK_F_FLUSH BIT64(9)
#define BLK_F_DISCARD BIT64(13)
#define BLK_F_WRITE_ZEROES BIT64(14)

#define BLK_T_IN 0
#define BLK_T_OUT 1
#define BLK_T_FLUSH 4
#define BLK_T_GET_ID 8
#define BLK_T_DISCARD 11
#define BLK_T_WRITE_ZEROES 13

#define BLK_S_OK 0
#define BLK_S_IOERR 1
#define BLK_S_UNSUPP 2

#define BLK_CFG_CAPACITY 0
#define BLK_CFG_SEG_MAX 12
#define BLK_CFG_BLK_SIZE 20
#define BLK_CFG_DISCARD_SECTORS 36
#define BLK_CFG_DISCARD_SEG 40
#define BLK_CFG_DISCARD_ALIGN 44
#define BLK_CFG_ZEROES_SECTORS 48
#define BLK_CFG_ZEROES_SEG 52
#define BLK_CFG_ZEROES_UNMAP 56
#define BLK_CFG_LEN 60

#define BLK_QUEUE_MAX 256
#define BLK_SEGS_MAX 128 /* data buffers of one request */
#define BLK_SECTOR 512
#define BLK_HEADER_LEN 16
#define BLK_RANGE_LEN 16
#define BLK_RANGE_F_UNMAP 0x1
#define BLK_DISCARD_SECTORS_MAX (GIB(1) / BLK_SECTOR)
#define BLK_ZEROES_SECTORS_MAX (MIB(32) / BLK_SECTOR)
#define BLK_ID_LEN 20

struct blk;

struct blk_req {
    struct block_req br;
    struct blk *blk;
    struct blk_req *next_free; /* or the next that is kept */
    uint16_t head;
    bool flush_behind; /* a write that is done only once it is durable */
    struct iovec status;
    unsigned niov;
    struct iovec iov[BLK_SEGS_MAX];
};

struct blk {
    struct virtio_device vd;
    struct block *block;
    uint64_t sectors;
    char id[BLK_ID_LEN];
    struct virtio_blk_policy policy;
    struct blk_req *kept, **kept_end; /* failed, to be tried again */
    bool kept_ready;                  /* there was a pause since */
    struct blk_req *free;
    unsigned nreqs; /* allocated, free and in flight */
    struct blk_req *all[BLK_QUEUE_MAX];
    struct virtq_chain chain;
};

static struct blk *blk_of(struct virtio_device *vd)
{
    return container_of(vd, struct blk, vd);
}

static struct blk_req *blk_req_get(struct blk *b)
{
    struct blk_req *r = b->free;

    if (r) {
        b->free = r->next_free;
        return r;
    }
    if (b->nreqs == BLK_QUEUE_MAX)
        return NULL;
    r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->blk = b;
    b->all[b->nreqs++] = r;
    return r;
}

/* Writes the status byte and returns the chain with `len` bytes of data in front of it. */
static void blk_finish(struct blk_req *r, uint8_t status, uint32_t len)
{
    struct blk *b = r->blk;

    *(uint8_t *)r->status.iov_base = status;
    virtq_wrote(b->vd.transport->mem, &r->status, 1);
    virtq_push(&b->vd.vq[0], r->head, len + 1);
    r->next_free = b->free;
    b->free = r;
    virtio_interrupt(&b->vd, 0);
}

static enum virtio_blk_error blk_policy(const struct blk_req *r, int result)
{
    const struct blk *b = r->blk;
    enum virtio_blk_error p = r->br.op == BLOCK_READ ? b->policy.read : b->policy.write;
    bool full = result == -ENOSPC || result == -EDQUOT;

    /* What a discard does is a hint. What cannot be done never can. */
    if (r->br.op == BLOCK_DISCARD || result == -EOPNOTSUPP)
        return VIRTIO_BLK_REPORT;
    return p == VIRTIO_BLK_ENOSPC ? (full ? VIRTIO_BLK_STOP : VIRTIO_BLK_REPORT) : p;
}

static void blk_keep(struct blk_req *r, int result)
{
    struct blk *b = r->blk;
    bool first = !b->kept;

    r->next_free = NULL;
    *b->kept_end = r;
    b->kept_end = &r->next_free;
    if (first)
        b->policy.stop(b->policy.opaque, r->br.op != BLOCK_READ, -result);
}

static void blk_try_again(struct blk *b)
{
    struct blk_req *r = b->kept;

    b->kept = NULL;
    b->kept_end = &b->kept;
    b->kept_ready = false;
    while (r) {
        struct blk_req *next = r->next_free;

        block_submit(b->block, &r->br);
        r = next;
    }
}

static void blk_done(struct block_req *br, int result)
{
    struct blk_req *r = container_of(br, struct blk_req, br);
    struct blk *b = r->blk;
    bool read = br->op == BLOCK_READ;

    if (result == 0 && r->flush_behind) {
        r->flush_behind = false;
        *br = (struct block_req){.op = BLOCK_FLUSH, .done = blk_done};
        block_submit(b->block, br);
        return;
    }
    if (result < 0) {
        enum virtio_blk_error p = blk_policy(r, result);

        if (p == VIRTIO_BLK_STOP) {
            blk_keep(r, result);
            return;
        }
        log_guest(b->vd.name, "a %s request fails: %s", read ? "read" : "write", strerror(-result));
        result = p == VIRTIO_BLK_IGNORE ? 0 : result;
    }
    /* Also after an error: part of the data may have been written. */
    if (read)
        virtq_wrote(b->vd.transport->mem, r->iov, r->niov);
    uint8_t status = result == 0 ? BLK_S_OK : result == -EOPNOTSUPP ? BLK_S_UNSUPP : BLK_S_IOERR;
    blk_finish(r, status, read && result == 0 ? (uint32_t)br->len : 0);
}

static bool blk_range_ok(const struct blk *b, uint64_t sector, uint64_t nsectors)
{
    return range_within(sector, nsectors, b->sectors);
}

static void blk_rw(struct blk_req *r, bool write, uint64_t sector)
{
    struct blk *b = r->blk;
    struct virtq_chain *c = &b->chain;
    uint64_t len = write ? c->out_len - BLK_HEADER_LEN : c->in_len - 1;
    int n;

    if (len % BLK_SECTOR || !blk_range_ok(b, sector, len / BLK_SECTOR) || (write && block_read_only(b->block))) {
        blk_finish(r, BLK_S_IOERR, 0);
        return;
    }
    if (len == 0) {
        blk_finish(r, BLK_S_OK, 0);
        return;
    }
    if (write)
        n = virtq_iov_slice(c->iov, c->nout, BLK_HEADER_LEN, len, r->iov, BLK_SEGS_MAX);
    else
        n = virtq_iov_slice(virtq_chain_in(c), c->nin, 0, len, r->iov, BLK_SEGS_MAX);
    if (n < 0) {
        blk_finish(r, BLK_S_IOERR, 0);
        return;
    }
    r->niov = (unsigned)n;
    r->flush_behind = write && !(b->vd.negotiated & BLK_F_FLUSH);
    r->br = (struct block_req){
        .op = write ? BLOCK_WRITE : BLOCK_READ,
        .offset = sector * BLK_SECTOR,
        .len = len,
        .iov = r->iov,
        .niov = r->niov,
        .done = blk_done,
    };
    block_submit(b->block, &r->br);
}

/* DISCARD and WRITE_ZEROES: one range, as the configuration space announces (5.2.6.1). */
static void blk_range(struct blk_req *r, bool zeroes)
{
    struct blk *b = r->blk;
    struct virtq_chain *c = &b->chain;
    uint64_t feature = zeroes ? BLK_F_WRITE_ZEROES : BLK_F_DISCARD;
    uint8_t range[BLK_RANGE_LEN];

    if (!(b->vd.negotiated & feature)) {
        blk_finish(r, BLK_S_UNSUPP, 0);
        return;
    }
    if (c->out_len != BLK_HEADER_LEN + BLK_RANGE_LEN || block_read_only(b->block)) {
        blk_finish(r, BLK_S_IOERR, 0);
        return;
    }
    virtq_iov_get(c->iov, c->nout, BLK_HEADER_LEN, range, sizeof(range));
    uint64_t sector = le64_get(range);
    uint32_t nsectors = le32_get(range + 8), flags = le32_get(range + 12);
    if (flags & ~(zeroes ? BLK_RANGE_F_UNMAP : 0U)) {
        blk_finish(r, BLK_S_UNSUPP, 0);
        return;
    }
    if (nsectors > (zeroes ? BLK_ZEROES_SECTORS_MAX : BLK_DISCARD_SECTORS_MAX) || !blk_range_ok(b, sector, nsectors)) {
        blk_finish(r, BLK_S_IOERR, 0);
        return;
    }
    if (nsectors == 0) {
        blk_finish(r, BLK_S_OK, 0);
        return;
    }
    r->flush_behind = zeroes && !(b->vd.negotiated & BLK_F_FLUSH);
    r->br = (struct block_req){
        .op = zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD,
        .flags = flags & BLK_RANGE_F_UNMAP && !b->policy.no_discard ? BLOCK_REQ_UNMAP : 0,
        .offset = sector * BLK_SECTOR,
        .len = (uint64_t)nsectors * BLK_SECTOR,
        .done = blk_done,
    };
    block_submit(b->block, &r->br);
}

static void blk_get_id(struct blk_req *r)
{
    struct blk *b = r->blk;
    struct virtq_chain *c = &b->chain;
    struct iovec *in = virtq_chain_in(c);
    size_t len = MIN((size_t)c->in_len - 1, (size_t)BLK_ID_LEN);

    virtq_iov_put(in, c->nin, 0, b->id, len);
    virtq_wrote(b->vd.transport->mem, in, c->nin);
    blk_finish(r, BLK_S_OK, (uint32_t)len);
}

/* The chain in b->chain; false where it broke the queue. */
static bool blk_start_request(struct blk *b, struct blk_req *r)
{
    struct virtq_chain *c = &b->chain;
    uint8_t header[BLK_HEADER_LEN];

    if (c->out_len < BLK_HEADER_LEN || c->in_len < 1) {
        r->next_free = b->free;
        b->free = r;
        virtio_device_break(&b->vd, 0, "a request without header or status");
        return false;
    }
    virtq_iov_get(c->iov, c->nout, 0, header, sizeof(header));
    r->head = c->head;
    r->flush_behind = false;
    r->niov = 0;
    virtq_iov_slice(virtq_chain_in(c), c->nin, c->in_len - 1, 1, &r->status, 1);

    switch (le32_get(header)) {
    case BLK_T_IN: blk_rw(r, false, le64_get(header + 8)); break;
    case BLK_T_OUT: blk_rw(r, true, le64_get(header + 8)); break;
    case BLK_T_FLUSH:
        r->br = (struct block_req){.op = BLOCK_FLUSH, .done = blk_done};
        block_submit(b->block, &r->br);
        break;
    case BLK_T_GET_ID: blk_get_id(r); break;
    case BLK_T_DISCARD: blk_range(r, false); break;
    case BLK_T_WRITE_ZEROES: blk_range(r, true); break;
    default: blk_finish(r, BLK_S_UNSUPP, 0); break;
    }
    return true;
}

static void blk_notify(struct virtio_device *vd, unsigned queue)
{
    struct blk *b = blk_of(vd);
    struct virtq *q = &vd->vq[queue];

    unsigned budget = BLK_QUEUE_MAX;

    block_plug(b->block);
    if (b->kept_ready)
        blk_try_again(b);
    do {
        virtq_disable_notify(q);
        while (virtio_pop(vd, queue, &b->chain)) {
            struct blk_req *r = blk_req_get(b);
            if (!r) {
                /* The ring admits no more chains than the pool holds: this is memory running out. */
                virtio_device_break(vd, queue, "no memory for a request");
                break;
            }
            if (!blk_start_request(b, r))
                break;
            if (--budget == 0) {
                vd->transport->ops->renotify(vd->transport, queue);
                goto out;
            }
        }
    } while (vd->running && virtq_enable_notify(q));
out:
    block_unplug(b->block);
}

static void blk_drain(struct virtio_device *vd)
{
    struct blk *b = blk_of(vd);

    block_drain(b->block);
    b->kept_ready = b->kept != NULL;
}

/* Kept requests are the driver's that is forgotten. */
static void blk_reset(struct virtio_device *vd)
{
    struct blk *b = blk_of(vd);

    while (b->kept) {
        struct blk_req *r = b->kept;

        b->kept = r->next_free;
        r->next_free = b->free;
        b->free = r;
    }
    b->kept_end = &b->kept;
    b->kept_ready = false;
}

static void blk_destroy(struct virtio_device *vd)
{
    struct blk *b = blk_of(vd);
    for (unsigned i = 0; i < b->nreqs; i++)
        free(b->all[i]);
    free(b);
}

static const struct virtio_device_ops blk_ops = {
    .notify = blk_notify,
    .drain = blk_drain,
    .reset = blk_reset,
    .destroy = blk_destroy,
};

int virtio_blk_create(struct virtio_device **out, struct block *block, const char *serial,
                      const struct virtio_blk_policy *policy)
{
    struct blk *b = calloc(1, sizeof(*b));

    if (!b)
        return -ENOMEM;
    b->block = block;
    b->kept_end = &b->kept;
    if (policy)
        b->policy = *policy;
    b->sectors = block_size(block) / BLK_SECTOR;
    if (serial)
        memcpy(b->id, serial, strnlen(serial, BLK_ID_LEN));
    b->vd = (struct virtio_device){
        .ops = &blk_ops,
        .name = "virtio-blk",
        .id = VIRTIO_ID_BLOCK,
        .nqueues = 1,
        .queue_max = BLK_QUEUE_MAX,
        .features = BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_FLUSH,
        .config_len = BLK_CFG_LEN,
    };
    uint8_t *cfg = b->vd.config;
    le64_put(cfg + BLK_CFG_CAPACITY, b->sectors);
    /* Header and status need buffers of their own. */
    le32_put(cfg + BLK_CFG_SEG_MAX, BLK_SEGS_MAX - 2);
    le32_put(cfg + BLK_CFG_BLK_SIZE, BLK_SECTOR);
    if (block_read_only(block)) {
        b->vd.features |= BLK_F_RO;
    } else {
        b->vd.features |= BLK_F_WRITE_ZEROES;
        le32_put(cfg + BLK_CFG_ZEROES_SECTORS, BLK_ZEROES_SECTORS_MAX);
        le32_put(cfg + BLK_CFG_ZEROES_SEG, 1);
        cfg[BLK_CFG_ZEROES_UNMAP] = block_can_discard(block) && !b->policy.no_discard;
        if (cfg[BLK_CFG_ZEROES_UNMAP]) {
            b->vd.features |= BLK_F_DISCARD;
            le32_put(cfg + BLK_CFG_DISCARD_SECTORS, BLK_DISCARD_SECTORS_MAX);
            le32_put(cfg + BLK_CFG_DISCARD_SEG, 1);
            le32_put(cfg + BLK_CFG_DISCARD_ALIGN, 8);
        }
    }
    *out = &b->vd;
    return 0;
}
