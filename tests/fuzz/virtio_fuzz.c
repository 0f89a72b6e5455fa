/*
 * libFuzzer target: virtio-blk, net, console and rng behind their windows, driven by the input.
 *
 * The first byte chooses the device; the rest is a program of small steps: register accesses through the bus, bytes
 * into RAM, well-formed chains, notifications, and moves of the back ends (a disk that completes or fails, a network
 * that offers a frame or is full, a terminal that feeds or takes). RAM begins at 0, rings stand at fixed places.
 * All runs on one thread: the loop is run for a moment where the guest would have to wait.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/engine.h"
#include "devices/chardev_int.h"
#include "virtio/transport.h"
#include "virtio/virtio.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"
#include "vmm/core/bus.h"

#define RAM_SIZE KIB(512)
#define WINDOW GIB(1)
#define RING(q) (0x4000 * (uint64_t)((q) + 1))
#define RING_SIZE 16
#define RINGS 5 /* of virtio-net with two pairs */
#define DISK_SIZE KIB(64)
#define STEPS_MAX 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct mem *ram;
static struct loop *loop;
static struct bus *bus;
static struct device *dev;
static uint16_t avail[RINGS], next_desc[RINGS];

struct input {
    const uint8_t *p;
    size_t left;
};

static uint8_t take8(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->p++;
}

static uint32_t take32(struct input *in)
{
    uint32_t v = take8(in);
    v |= (uint32_t)take8(in) << 8;
    v |= (uint32_t)take8(in) << 16;
    return v | (uint32_t)take8(in) << 24;
}

/* --- a disk in memory, completed when asked --- */

static struct engine_list disk_queue;
static uint8_t disk_data[DISK_SIZE];

static void disk_start(struct block *b, struct block_req *r)
{
    (void)b;
    engine_list_add(&disk_queue, r);
}

static void disk_step(struct block *b, struct block_req *r, int result)
{
    (void)b;
    (void)r;
    (void)result;
}

static void disk_complete(int result)
{
    struct block_req *r = engine_list_take(&disk_queue);
    uint64_t at;

    if (!r)
        return;
    at = r->offset;
    for (unsigned i = 0; result == 0 && i < r->niov; i++) {
        if (!range_within(at, r->iov[i].iov_len, DISK_SIZE))
            abort();
        if (r->op == BLOCK_READ)
            memcpy(r->iov[i].iov_base, disk_data + at, r->iov[i].iov_len);
        else
            memcpy(disk_data + at, r->iov[i].iov_base, r->iov[i].iov_len);
        at += r->iov[i].iov_len;
    }
    if (result == 0 && r->niov && at - r->offset != r->len)
        abort();
    block_finish(r, result);
}

static void disk_flush(struct block_engine *en)
{
    (void)en;
}

static void disk_wait(struct block_engine *en)
{
    (void)en;
    disk_complete(0);
}

static const struct block_ops disk_ops = {.start = disk_start, .step = disk_step};
static const struct engine_ops disk_engine_ops = {.name = "memory", .flush = disk_flush, .wait = disk_wait};
static struct block_engine disk_engine = {.ops = &disk_engine_ops};
static struct block disk = {.ops = &disk_ops, .engine = &disk_engine, .size = DISK_SIZE, .can_discard = true};

static void disk_later(void *opaque)
{
    (void)opaque;
    while (disk_engine.refused.first) {
        struct block_req *r = engine_list_take(&disk_engine.refused);
        block_finish(r, engine_io(r)->result);
    }
}

/* --- a network and a terminal --- */

static bool net_full, net_asked;
static uint8_t net_frame[2048];
static size_t net_kept;
static unsigned net_where; /* 1 and above: reads frames into the device's memory, on queue net_where - 1 */
static struct net_hdr net_give;

static int net_send(struct net_backend *n, unsigned queue, const struct net_hdr *hdr, const struct iovec *iov,
                    unsigned niov)
{
    unsigned sum = 0;

    (void)n;
    if (queue > 1 || hdr->flags > 1 || (hdr->flags && (size_t)hdr->csum_start + hdr->csum_offset > NET_FRAME_MAX))
        abort();
    if (net_full) {
        net_asked = true;
        return -EAGAIN;
    }
    for (unsigned i = 0; i < niov; i++)
        for (size_t k = 0; k < iov[i].iov_len; k++)
            sum += ((const volatile uint8_t *)iov[i].iov_base)[k];
    return sum % 97 == 1 ? -EIO : 0;
}

static struct net_backend net;

static void net_read(void)
{
    unsigned niov;
    const struct iovec *iov = net.frontend.room(net.frontend.opaque, net_where - 1, &niov);
    size_t n;

    if (!iov)
        return;
    n = virtq_iov_put(iov, niov, 0, &net_give, NET_HDR_LEN);
    n += virtq_iov_put(iov, niov, NET_HDR_LEN, net_frame, net_kept);
    net_kept = 0;
    net.frontend.filled(net.frontend.opaque, net_where - 1, n);
}

static void net_offer(void)
{
    if (net_where && net_kept && net.frontend.room) {
        net_read();
        return;
    }
    if (net_kept && net.frontend.receive && net.frontend.receive(net.frontend.opaque, net_frame, net_kept))
        net_kept = 0;
}

static void net_resume(struct net_backend *n, unsigned queue)
{
    (void)n;
    (void)queue;
    net_offer();
}

static const struct net_backend_ops net_ops = {.name = "memory", .send = net_send, .resume = net_resume};

static size_t chr_budget, chr_pending;
static struct chardev chr;

static size_t chr_write(struct chardev *c, const uint8_t *p, size_t len)
{
    unsigned sum = 0;

    (void)c;
    len = MIN(len, chr_budget);
    for (size_t i = 0; i < len; i++)
        sum += ((const volatile uint8_t *)p)[i];
    (void)sum;
    chr_budget -= len;
    return len;
}

static void chr_feed(void)
{
    const struct chardev_frontend *f = &chr.frontend[0];
    uint8_t buf[256] = {1, 2, 3};

    while (chr.nfrontends && chr_pending) {
        size_t n = MIN(MIN(chr_pending, f->room(f->opaque)), sizeof(buf));
        if (!n)
            return;
        f->receive(f->opaque, buf, n);
        chr_pending -= n;
    }
}

static void chr_resume(struct chardev *c)
{
    (void)c;
    chr_feed();
}

static const struct chardev_ops chr_ops = {.write = chr_write, .resume = chr_resume};

/* --- the machine --- */

/* A round of the loop serves all that is ready; the stop comes two rounds later. */
static void stop_loop(void *opaque)
{
    unsigned *rounds = opaque;

    if (--*rounds)
        loop_post(loop, stop_loop, rounds);
    else
        loop_stop(loop);
}

static void pump(void)
{
    unsigned rounds = 3;

    loop_post(loop, stop_loop, &rounds);
    loop_run(loop);
}

static void put(uint64_t reg, uint32_t v)
{
    bus_write(bus, 0, GPA(WINDOW + reg), 4, v);
}

static uint32_t get(uint64_t reg)
{
    uint64_t v = 0;
    bus_read(bus, 0, GPA(WINDOW + reg), 4, &v);
    return (uint32_t)v;
}

/* What a good driver does first. */
static void driver_init(struct input *in)
{
    uint8_t want = take8(in);

    put(0x070, 0);
    memset(ram->region[0].host + RING(0), 0, RING(RINGS) - RING(0));
    memset(avail, 0, sizeof(avail));
    memset(next_desc, 0, sizeof(next_desc));
    put(0x070, 1);
    put(0x070, 3);
    put(0x014, 0);
    put(0x024, 0);
    put(0x020, get(0x010) & (want & 1 ? UINT32_MAX : 0));
    put(0x024, 1);
    put(0x020, 1);
    put(0x070, 11);
    for (unsigned q = 0; q < RINGS; q++) {
        put(0x030, q);
        put(0x038, RING_SIZE);
        put(0x080, (uint32_t)RING(q));
        put(0x090, (uint32_t)RING(q) + 0x1000);
        put(0x0a0, (uint32_t)RING(q) + 0x2000);
        put(0x044, want & 2 && q ? 0 : 1);
    }
    put(0x070, 15);
    if (!(want & 4))
        pump();
}

/* A chain of up to eight buffers in the middle of RAM. */
static void driver_chain(struct input *in)
{
    unsigned how = take8(in), q = (how & 1) + (how >> 4) % 3 * 2, n = 1 + (how >> 1 & 7), nout = take8(in) % (n + 1);
    q = MIN(q, RINGS - 1u);
    uint8_t *host = ram->region[0].host, *desc = host + RING(q), *ring = desc + 0x1000;
    uint16_t head = next_desc[q] % RING_SIZE;

    for (unsigned i = 0; i < n; i++) {
        uint8_t *d = desc + 16 * (next_desc[q]++ % RING_SIZE);
        uint32_t v = take32(in);
        le64_put(d, 0x40000 + (v & 0x3ffff));
        le32_put(d + 8, v >> 18 & (v >> 31 ? 0x3fff : 0x3f));
        le16_put(d + 12, (i + 1 < n ? VIRTQ_DESC_F_NEXT : 0) | (i >= nout ? VIRTQ_DESC_F_WRITE : 0));
        le16_put(d + 14, next_desc[q] % RING_SIZE);
    }
    le16_put(ring + 4 + 2 * (avail[q]++ % RING_SIZE), head);
    le16_put(ring + 2, avail[q]);
}

/* A block request: header, one buffer, status. */
static void driver_block(struct input *in)
{
    uint8_t *host = ram->region[0].host, *desc = host + RING(0), *ring = desc + 0x1000;
    static const uint8_t types[] = {0, 1, 4, 8, 11, 13, 0, 1};
    unsigned type = types[take8(in) & 7], where = take8(in);
    uint32_t sector = take8(in), len = (uint32_t)take8(in) << 6, flags = take8(in);
    uint16_t head = next_desc[0] % RING_SIZE;
    uint64_t at = 0x20000 + where * 64;
    const struct {
        uint64_t addr;
        uint32_t len;
        bool in;
    } seg[] = {{at, 16, false}, {0x60000 + where, len, type == 0 || type == 8}, {at + 32, 1, true}};

    le32_put(host + at, type);
    le64_put(host + at + 8, sector);
    if (type >= 11) {
        le64_put(host + 0x60000 + where, sector);
        le32_put(host + 0x60000 + where + 8, len);
        le32_put(host + 0x60000 + where + 12, flags);
        len = 16;
    }
    for (unsigned i = 0; i < 3; i++) {
        uint8_t *d = desc + 16 * (next_desc[0]++ % RING_SIZE);
        le64_put(d, seg[i].addr);
        le32_put(d + 8, i == 1 ? len : seg[i].len);
        le16_put(d + 12, (i < 2 ? VIRTQ_DESC_F_NEXT : 0) | (seg[i].in ? VIRTQ_DESC_F_WRITE : 0));
        le16_put(d + 14, next_desc[0] % RING_SIZE);
    }
    le16_put(ring + 4 + 2 * (avail[0]++ % RING_SIZE), head);
    le16_put(ring + 2, avail[0]);
}

static void poke(struct input *in)
{
    uint32_t at = take32(in) & (RAM_SIZE - 1);
    unsigned n = take8(in) & 31;
    uint8_t *host = ram->region[0].host;

    for (unsigned i = 0; i < n && at + i < RAM_SIZE; i++)
        host[at + i] = take8(in);
}

static void step(struct input *in)
{
    uint64_t v;

    switch (take8(in) % 14) {
    case 0: put(4 * (uint64_t)(take8(in) & 0x7f), take32(in)); break;
    case 1:
        v = take8(in);
        bus_read(bus, 0, GPA(WINDOW + (take8(in) | (v & 0x80) << 1)), 1u << (v & 3), &v);
        break;
    case 2:
        v = take8(in);
        bus_write(bus, 0, GPA(WINDOW + (take8(in) | (v & 0x80) << 1)), 1u << (v & 3), take32(in));
        break;
    case 3: poke(in); break;
    case 4: driver_init(in); break;
    case 5: driver_chain(in); break;
    case 6: driver_block(in); break;
    case 7:
        put(0x050, take8(in) & 7);
        pump();
        break;
    case 8: disk_complete(take8(in) & 7 ? 0 : -EIO); break;
    case 9:
        net_kept = 1 + take8(in) * 8;
        if (net_where) {
            net_give.flags = take8(in) & 3;
            net_give.gso_type = take8(in);
            net_give.gso_size = take8(in);
            net_give.csum_start = take8(in);
        }
        net_offer();
        break;
    case 10:
        net_full = take8(in) & 1;
        if (!net_full && net_asked && net.frontend.writable) {
            net_asked = false;
            for (unsigned i = 0; i < net.queues; i++)
                net.frontend.writable(net.frontend.opaque, i);
        }
        break;
    case 11:
        chr_pending = take8(in) * 4;
        chr_feed();
        break;
    case 12:
        chr_budget = take8(in) * 16;
        if (chr.nfrontends)
            chr.frontend[0].writable(chr.frontend[0].opaque);
        break;
    case 13: pump(); break;
    }
}

static void set_up(void)
{
    log_set_level(LOG_ERROR);
    if (mem_create(&ram) < 0 || mem_add_ram(ram, GPA(0), RAM_SIZE, NULL, NULL) < 0 || loop_create(&loop, NULL) < 0 ||
        loop_timer_add(loop, &disk_engine.later, disk_later, NULL) < 0)
        abort();
    disk_engine.loop = loop;
    net.ops = &net_ops;
    chr.ops = &chr_ops;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    struct input in = {data, size};
    struct virtio_device *vd;
    uint8_t kind = take8(&in);
    int rc;

    if (!ram)
        set_up();
    memset(ram->region[0].host, 0, RAM_SIZE);
    memset(&net.frontend, 0, sizeof(net.frontend));
    chr.nfrontends = 0;
    net_full = net_asked = false;
    net_kept = chr_budget = chr_pending = 0;
    disk.read_only = kind & 8;
    net.takes = net.gives = kind & 0x40 ? NET_OFFLOAD_ALL : 0;
    net.queues = kind & 0x80 ? 2 : 1;
    net_where = MIN((unsigned)(kind >> 4 & 3), net.queues);
    switch (kind & 3) {
    case 0: rc = virtio_blk_create(&vd, &disk, "fuzz", NULL); break;
    case 1: rc = virtio_net_create(&vd, &net, mac); break;
    case 2: rc = virtio_console_create(&vd, &chr); break;
    default: rc = virtio_rng_create(&vd); break;
    }
    if (rc < 0 || bus_create(&bus) < 0 || virtio_mmio_create(&dev, vd, ram, loop) < 0 ||
        bus_attach(bus, dev, GPA(WINDOW)) < 0)
        abort();
    /* Most inputs should not have to find the initialisation. */
    if (kind & 4)
        driver_init(&in);
    for (unsigned i = 0; i < STEPS_MAX && in.left; i++)
        step(&in);
    pump();
    bus_destroy(bus);
    if (disk.in_flight)
        abort();
    return 0;
}
