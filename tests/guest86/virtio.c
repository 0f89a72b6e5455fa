/*
 * virtio-mmio devices where ACPI says they are: identification, feature negotiation, and exchanges over split rings,
 * each ended by an interrupt that is counted: block (read, write, flush, refusals, a batch), entropy, console, network
 * (ARP).
 *
 * Arguments: seed=HEX, the sum of the disk's first 4 KiB; nonce=NUMBER, from which the 4 KiB that are written at 32 KiB
 * are made, and which goes out through the console; gateway=ADDRESS to ask for. What must be there is for the runner to
 * say.
 */
#include "tests/guest86/guest.h"

/* virtio 1.2, 4.2.2 */
#define VIRTIO_MAGIC 0x000
#define VIRTIO_VERSION 0x004
#define VIRTIO_DEVICE_ID 0x008
#define VIRTIO_VENDOR_ID 0x00c
#define VIRTIO_DEVICE_FEATURES 0x010
#define VIRTIO_DEVICE_FEATURES_SEL 0x014
#define VIRTIO_DRIVER_FEATURES 0x020
#define VIRTIO_DRIVER_FEATURES_SEL 0x024
#define VIRTIO_QUEUE_SEL 0x030
#define VIRTIO_QUEUE_NUM_MAX 0x034
#define VIRTIO_QUEUE_NUM 0x038
#define VIRTIO_QUEUE_READY 0x044
#define VIRTIO_QUEUE_NOTIFY 0x050
#define VIRTIO_INTERRUPT_STATUS 0x060
#define VIRTIO_INTERRUPT_ACK 0x064
#define VIRTIO_STATUS 0x070
#define VIRTIO_QUEUE_DESC 0x080
#define VIRTIO_QUEUE_DRIVER 0x090
#define VIRTIO_QUEUE_DEVICE 0x0a0
#define VIRTIO_CONFIG 0x100
#define STATUS_READY 3 /* ACKNOWLEDGE | DRIVER */
#define STATUS_FEATURES_OK 8
#define STATUS_DRIVER_OK 4
#define FEATURE_VERSION_1 32

#define QUEUE_SIZE 16
#define DESC_NEXT 1
#define DESC_WRITE 2
#define AVAIL_NO_INTERRUPT 1
#define LONG_MS 5000

struct desc {
    u64 addr;
    u32 len;
    u16 flags, next;
};
/* 2.7: the three areas, in a page of their own. */
struct ring {
    struct desc desc[QUEUE_SIZE];
    struct {
        u16 flags, idx, ring[QUEUE_SIZE], event;
    } avail;
    struct {
        u16 flags, idx;
        struct {
            u32 id, len;
        } ring[QUEUE_SIZE];
        u16 event;
    } used __attribute__((aligned(4)));
} __attribute__((aligned(4096)));

struct dev {
    u64 base;
    u32 id;
    u8 vector;
    int edge;
    volatile u64 interrupts;
    u64 empty;       /* without a reason: an edge has one, a level may be seen once more than it is there */
    u32 reasons;     /* of InterruptStatus, all that came */
    u64 completions; /* that an interrupt was asked for */
    u64 features;    /* agreed on */
    struct ring *ring[2];
};

/* Accesses to devices' registers that have to leave the guest, and doorbells, which need not. */
static u64 accesses, doorbells;

static u32 reg_read(u64 a)
{
    accesses++;
    return rd32(a);
}

static void reg_write(u64 a, u32 v)
{
    accesses++;
    wr32(a, v);
}

static struct dev devs[24];
static unsigned ndevs;
static struct ring rings[2 * ARRAY_SIZE(devs)] NOINIT;
static u8 data[8][4096] NOINIT;

static u64 sum_of(const u8 *p, u64 n)
{
    u64 h = 0xcbf29ce484222325;

    while (n--)
        h = (h ^ *p++) * 0x100000001b3;
    return h;
}

static void on_interrupt(struct frame *f)
{
    for (unsigned i = 0; i < ndevs; i++) {
        u32 why;

        if (devs[i].vector != f->vector)
            continue;
        why = reg_read(devs[i].base + VIRTIO_INTERRUPT_STATUS);
        reg_write(devs[i].base + VIRTIO_INTERRUPT_ACK, why);
        devs[i].reasons |= why;
        if (why)
            __atomic_fetch_add(&devs[i].interrupts, 1, __ATOMIC_RELEASE);
        else
            devs[i].empty++;
    }
    lapic_eoi();
}

/* ---- rings ---- */
static void queue_set(struct dev *d, unsigned q)
{
    struct ring *r = &rings[2 * (unsigned)(d - devs) + q];

    fill(r, 0, sizeof(*r));
    d->ring[q] = r;
    reg_write(d->base + VIRTIO_QUEUE_SEL, q);
    reg_write(d->base + VIRTIO_QUEUE_NUM, QUEUE_SIZE);
    reg_write(d->base + VIRTIO_QUEUE_DESC, (u32)(u64)r->desc);
    reg_write(d->base + VIRTIO_QUEUE_DESC + 4, (u32)((u64)r->desc >> 32));
    reg_write(d->base + VIRTIO_QUEUE_DRIVER, (u32)(u64)&r->avail);
    reg_write(d->base + VIRTIO_QUEUE_DRIVER + 4, (u32)((u64)&r->avail >> 32));
    reg_write(d->base + VIRTIO_QUEUE_DEVICE, (u32)(u64)&r->used);
    reg_write(d->base + VIRTIO_QUEUE_DEVICE + 4, (u32)((u64)&r->used >> 32));
    reg_write(d->base + VIRTIO_QUEUE_READY, 1);
}

static void desc_set(struct dev *d, unsigned q, unsigned i, void *p, u32 len, u16 flags)
{
    d->ring[q]->desc[i] = (struct desc){(u64)p, len, flags, (u16)(i + 1)};
}

static void queue_offer(struct dev *d, unsigned q, unsigned head)
{
    struct ring *r = d->ring[q];
    u16 idx = r->avail.idx;

    r->avail.ring[idx % QUEUE_SIZE] = (u16)head;
    __atomic_store_n(&r->avail.idx, (u16)(idx + 1), __ATOMIC_RELEASE);
}

static void queue_notify(struct dev *d, unsigned q)
{
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    doorbells++;
    wr32(d->base + VIRTIO_QUEUE_NOTIFY, q);
}

/* One chain from descriptor 0 through queue q, ended by an interrupt: the length that came back, or -1. */
static long exchange(struct dev *d, unsigned q)
{
    struct ring *r = d->ring[q];
    u64 before = d->interrupts;
    u16 used = r->used.idx;

    queue_offer(d, q, 0);
    queue_notify(d, q);
    if (!wait_for(&d->interrupts, before + 1, LONG_MS) ||
        (u16)(__atomic_load_n(&r->used.idx, __ATOMIC_ACQUIRE) - used) != 1)
        return -1;
    d->completions++;
    return r->used.ring[used % QUEUE_SIZE].id == 0 ? (long)r->used.ring[used % QUEUE_SIZE].len : -1;
}

/* Reset to DRIVER_OK with VERSION_1 and those of `wanted` that are offered. */
static int negotiate(struct dev *d, unsigned queues, u64 wanted)
{
    u64 offered;

    reg_write(d->base + VIRTIO_STATUS, 0);
    if (reg_read(d->base + VIRTIO_STATUS) != 0)
        return 0;
    reg_write(d->base + VIRTIO_STATUS, STATUS_READY);
    reg_write(d->base + VIRTIO_DEVICE_FEATURES_SEL, 0);
    offered = reg_read(d->base + VIRTIO_DEVICE_FEATURES);
    reg_write(d->base + VIRTIO_DEVICE_FEATURES_SEL, 1);
    offered |= (u64)reg_read(d->base + VIRTIO_DEVICE_FEATURES) << 32;
    d->features = offered & (wanted | BIT(FEATURE_VERSION_1));
    reg_write(d->base + VIRTIO_DRIVER_FEATURES_SEL, 0);
    reg_write(d->base + VIRTIO_DRIVER_FEATURES, (u32)d->features);
    reg_write(d->base + VIRTIO_DRIVER_FEATURES_SEL, 1);
    reg_write(d->base + VIRTIO_DRIVER_FEATURES, (u32)(d->features >> 32));
    reg_write(d->base + VIRTIO_STATUS, STATUS_READY | STATUS_FEATURES_OK);
    if (!(reg_read(d->base + VIRTIO_STATUS) & STATUS_FEATURES_OK) || !(d->features & BIT(FEATURE_VERSION_1)))
        return 0;
    for (unsigned q = 0; q < queues; q++) {
        reg_write(d->base + VIRTIO_QUEUE_SEL, q);
        if (reg_read(d->base + VIRTIO_QUEUE_NUM_MAX) < QUEUE_SIZE || reg_read(d->base + VIRTIO_QUEUE_READY))
            return 0;
        queue_set(d, q);
    }
    reg_write(d->base + VIRTIO_STATUS, STATUS_READY | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
    return reg_read(d->base + VIRTIO_STATUS) == (STATUS_READY | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
}

static int begin(struct dev *d, const char *name, unsigned queues, u64 wanted)
{
    int good = negotiate(d, queues, wanted);

    return check(name, good, "features 0x%lx", d->features);
}

/* All that were asked for have come, one each, and nothing but used buffers was the reason; a reset stops the queues.
 */
static void finish(struct dev *d, const char *interrupts, const char *reset)
{
    check(interrupts, d->interrupts == d->completions && d->reasons == 1 && (!d->empty || !d->edge),
          "%lu for %lu completions, %lu without a reason, reasons 0x%x", d->interrupts, d->completions, d->empty,
          d->reasons);
    reg_write(d->base + VIRTIO_STATUS, 0);
    reg_write(d->base + VIRTIO_QUEUE_SEL, 0);
    check(reset, !reg_read(d->base + VIRTIO_STATUS) && !reg_read(d->base + VIRTIO_QUEUE_READY),
          "status 0, queue 0 not ready");
}

/* ---- block (5.2) ---- */
#define BLK_IN 0
#define BLK_OUT 1
#define BLK_FLUSH 4
#define BLK_GET_ID 8
#define BLK_F_FLUSH 9
#define BLK_OK 0
#define BLK_IOERR 1
#define BLK_UNSUPP 2
#define BLK_NOTHING 0xff

static struct {
    u32 type, reserved;
    u64 sector;
} blk_request[8];
static u8 blk_status[8];

/* Chain n of three (or two without data), at descriptor 3n... */
static void blk_chain(struct dev *d, unsigned n, u32 type, u64 sector, void *p, u32 len)
{
    unsigned first = n * 3;

    blk_request[n].type = type;
    blk_request[n].sector = sector;
    blk_status[n] = BLK_NOTHING;
    desc_set(d, 0, first, &blk_request[n], 16, DESC_NEXT);
    if (len)
        desc_set(d, 0, first + 1, p, len, DESC_NEXT | (type == BLK_OUT ? 0 : DESC_WRITE));
    else
        d->ring[0]->desc[first].next = (u16)(first + 2);
    desc_set(d, 0, first + 2, &blk_status[n], 1, DESC_WRITE);
}

static u8 blk(struct dev *d, u32 type, u64 sector, void *p, u32 len)
{
    blk_chain(d, 0, type, sector, p, len);
    return exchange(d, 0) < 0 ? BLK_NOTHING : *(volatile u8 *)&blk_status[0];
}

/* The sum of `p` after the request, which goes with the result. */
static void blk_check(struct dev *d, const char *name, u32 type, u64 sector, void *p, u32 len, u64 sum)
{
    u8 status = blk(d, type, sector, p, len);
    u64 got = sum_of(p, len);

    check(name, status == BLK_OK && got == sum, "status %u, sum 0x%lx", status, got);
}

static void test_batch(struct dev *d)
{
    struct ring *r = d->ring[0];
    u64 before = d->interrupts, wrong = 0;
    u16 used = r->used.idx;

    for (unsigned n = 0; n < 5; n++) {
        blk_chain(d, n, BLK_IN, n, data[n], 512);
        queue_offer(d, 0, n * 3);
    }
    queue_notify(d, 0);
    for (unsigned spin = 0; (u16)(__atomic_load_n(&r->used.idx, __ATOMIC_ACQUIRE) - used) < 5 && spin < 100; spin++)
        wait_for(&d->interrupts, d->interrupts + 1, 50);
    wait_for(&d->interrupts, before + 5, 200); /* those that are on their way, also on a busy host */
    for (unsigned n = 0; n < 5; n++)
        wrong += blk_status[n] != BLK_OK;
    check("blk-batch",
          (u16)(r->used.idx - used) == 5 && !wrong && d->interrupts > before && d->interrupts <= before + 5,
          "5 requests, 1 notify: %lu interrupts", d->interrupts - before);
    d->completions += d->interrupts - before;
    d->empty = 0; /* the reason of an edge may have been taken with that of the one before */
}

/* A driver that polls: nothing may come. */
static void test_polled(struct dev *d)
{
    struct ring *r = d->ring[0];
    u64 before = d->interrupts, cycles, end;
    u16 used = r->used.idx;

    r->avail.flags = AVAIL_NO_INTERRUPT;
    blk_chain(d, 0, BLK_IN, 0, data[0], 512);
    queue_offer(d, 0, 0);
    cycles = rdtsc();
    queue_notify(d, 0);
    cycles = rdtsc() - cycles;
    for (end = rdtsc() + LONG_MS * tsc_per_ms();
         __atomic_load_n(&r->used.idx, __ATOMIC_ACQUIRE) == used && rdtsc() < end;)
        cpu_relax();
    wait_for(&d->interrupts, before + 1, 5);
    check("blk-polled", r->used.idx != used && d->interrupts == before, "%lu interrupts", d->interrupts - before);
    r->avail.flags = 0;
    info("notify: %lu ns", cycles * 1000000 / tsc_per_ms());
}

static void test_blk(struct dev *d)
{
    u64 capacity, wrote, nonce = arg_number("nonce", 1), *words = (u64 *)data[0];
    u8 statuses[2];

    if (!begin(d, "blk", 1, BIT(BLK_F_FLUSH)))
        return;
    capacity = reg_read(d->base + VIRTIO_CONFIG) | (u64)reg_read(d->base + VIRTIO_CONFIG + 4) << 32;
    check("blk-capacity", capacity == arg_number("sectors", 0), "%lu sectors", capacity);
    blk_check(d, "blk-read", BLK_IN, 0, data[0], 4096, arg_number("seed", 0));
    for (u64 i = 0; i < 512; i++)
        words[i] = nonce * (2 * i + 1);
    wrote = sum_of(data[0], 4096);
    blk_check(d, "blk-write", BLK_OUT, 64, data[0], 4096, wrote);
    if (d->features & BIT(BLK_F_FLUSH))
        blk_check(d, "blk-flush", BLK_FLUSH, 0, 0, 0, sum_of(0, 0));
    else
        skip("blk-flush", "not offered");
    blk_check(d, "blk-again", BLK_IN, 64, data[1], 4096, wrote);
    statuses[0] = blk(d, BLK_GET_ID, 0, data[1], 20);
    check("blk-id", statuses[0] == BLK_OK, "status %u", statuses[0]);
    statuses[0] = blk(d, BLK_IN, capacity, data[1], 512);
    statuses[1] = blk(d, 99, 0, data[1], 512);
    check("blk-refuse", statuses[0] == BLK_IOERR && statuses[1] == BLK_UNSUPP, "past the end %u, unknown %u",
          statuses[0], statuses[1]);
    test_batch(d);
    test_polled(d);
    finish(d, "blk-interrupts", "blk-reset");
}

/* ---- entropy (5.4), console (5.3) ---- */
static void test_rng(struct dev *d)
{
    u64 zeros = 0;
    long n[2];

    if (!begin(d, "rng", 1, 0))
        return;
    for (unsigned i = 0; i < 2; i++) {
        fill(data[i], 0, 64);
        desc_set(d, 0, 0, data[i], 64, DESC_WRITE);
        n[i] = exchange(d, 0);
    }
    for (unsigned i = 0; i < 64; i++)
        zeros += !data[0][i] + !data[1][i];
    check("rng-bytes", n[0] > 0 && n[0] <= 64 && n[1] > 0 && zeros < 16 && !same(data[0], data[1], 64),
          "%d and %d bytes, %lu zeros", (int)n[0], (int)n[1], zeros);
    finish(d, "rng-interrupts", "rng-reset");
}

static void test_console(struct dev *d)
{
    const char *nonce = arg("nonce");
    u32 n = 0;
    long back;

    if (!begin(d, "console", 2, 0))
        return;
    copy(data[0], "virtio console ", 15);
    for (n = 15; nonce && *nonce && *nonce != ' ' && n < 64; n++)
        data[0][n] = (u8)*nonce++;
    data[0][n++] = '\n';
    desc_set(d, 1, 0, data[0], n, 0);
    back = exchange(d, 1);
    check("console-send", back >= 0, "%u bytes", n);
    finish(d, "console-interrupts", "console-reset");
}

/* ---- network (5.1): an ARP request for the gateway, and its answer ---- */
#define NET_F_MAC 5
#define NET_HEADER 12

static void test_net(struct dev *d)
{
    u64 gateway = arg_number("gateway", 0x0a000202), before;
    u8 *tx = data[0], *rx = data[1], mac[6];
    static const u8 arp[] = {0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1};
    struct ring *r;
    u64 tries;

    if (!begin(d, "net", 2, BIT(NET_F_MAC)))
        return;
    for (unsigned i = 0; i < 6; i++)
        mac[i] = rd8(d->base + VIRTIO_CONFIG + i);
    accesses += 6;
    check("net-mac", !(mac[0] & 1) && (mac[0] | mac[1] | mac[2] | mac[3] | mac[4] | mac[5]), "%x:%x:%x:%x:%x:%x",
          mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    r = d->ring[0];
    for (u16 i = 0; i < 4; i++) { /* whatever else comes */
        r->desc[i] = (struct desc){(u64)data[1 + i], 2048, DESC_WRITE, 0};
        queue_offer(d, 0, i);
    }
    queue_notify(d, 0);
    fill(tx, 0, NET_HEADER + 60);
    fill(tx + NET_HEADER, 0xff, 6);
    copy(tx + NET_HEADER + 6, mac, 6);
    copy(tx + NET_HEADER + 12, arp, sizeof(arp));
    copy(tx + NET_HEADER + 22, mac, 6);
    wr32((u64)tx + NET_HEADER + 28, __builtin_bswap32((u32)gateway + 13)); /* 10.0.2.15 asks for 10.0.2.2 */
    wr32((u64)tx + NET_HEADER + 38, __builtin_bswap32((u32)gateway));
    desc_set(d, 1, 0, tx, NET_HEADER + 60, 0);
    d->ring[1]->avail.flags = AVAIL_NO_INTERRUPT;
    queue_offer(d, 1, 0);
    before = d->interrupts;
    queue_notify(d, 1);
    for (tries = 0; tries < 100; tries++) {
        wait_for(&d->interrupts, before + 1, 50);
        before = d->interrupts;
        for (u16 i = 0; i != __atomic_load_n(&r->used.idx, __ATOMIC_ACQUIRE); i++) {
            rx = data[1 + r->used.ring[i].id % 4] + NET_HEADER;
            if (rx[12] == 8 && rx[13] == 6 && rx[21] == 2 && same(rx, mac, 6) &&
                rd32((u64)rx + 28) == __builtin_bswap32((u32)gateway))
                goto heard;
        }
    }
    check("net-arp", 0, "no answer, %u frames", r->used.idx);
    return;
heard:
    check("net-arp", 1, "%x:%x:%x:%x:%x:%x has it", rx[22], rx[23], rx[24], rx[25], rx[26], rx[27]);
    wait_for(&d->interrupts, 1, LONG_MS); /* the frame may be seen before its interrupt */
    check("net-interrupts", d->interrupts > 0 && d->interrupts <= r->used.idx && d->reasons == 1, "%lu for %u frames",
          d->interrupts, r->used.idx);
    reg_write(d->base + VIRTIO_STATUS, 0);
}

int main(void)
{
    static const struct {
        u32 id;
        void (*test)(struct dev *d);
    } tests[] = {{1, test_net}, {2, test_blk}, {3, test_console}, {4, test_rng}};
    unsigned odd = 0;

    int read = acpi_read();

    if (!check("acpi", read && acpi.ioapic, "%u devices", acpi.devices))
        return 1;
    lapic_init(0);
    tsc_per_ms();
    for (unsigned i = 0; i < acpi.devices && ndevs < ARRAY_SIZE(devs); i++) {
        const struct acpi_device *a = &acpi.device[i];
        struct dev *d = &devs[ndevs];

        if (!same(a->hid, "LNRO0005", 9))
            continue;
        odd += reg_read(a->addr + VIRTIO_MAGIC) != 0x74726976 || reg_read(a->addr + VIRTIO_VERSION) != 2;
        d->base = a->addr;
        d->id = reg_read(a->addr + VIRTIO_DEVICE_ID);
        if (!d->id)
            continue;
        d->edge = a->edge;
        d->vector = (u8)(0x30 + a->gsi);
        info("virtio-mmio at 0x%lx, GSI %d, %s: device %u, vendor 0x%x", a->addr, a->gsi, a->edge ? "edge" : "level",
             d->id, reg_read(a->addr + VIRTIO_VENDOR_ID));
        irq_set_handler(d->vector, on_interrupt);
        ioapic_route((u32)a->gsi, (u64)lapic_id() << 56 | d->vector | (a->edge ? 0 : IOAPIC_LEVEL));
        ndevs++;
    }
    check("identity", !odd, "magic and version 2 of all");
    for (unsigned i = 0; i < ndevs; i++) {
        for (unsigned t = 0; t < ARRAY_SIZE(tests); t++) {
            if (tests[t].id == devs[i].id)
                tests[t].test(&devs[i]);
        }
    }
    info("accesses %lu, doorbells %lu", accesses, doorbells);
    return 0;
}
