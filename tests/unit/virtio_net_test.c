/* virtio-net on a back end that the test plays. */
#include <errno.h>
#include <semaphore.h>
#include <unistd.h>

#include "tests/check.h"
#include "tests/lib/vdriver.h"

#define DATA VDRIVER_DATA
#define RX 0
#define TX 1
#define HDR 12

static struct vdriver d;
static const uint8_t mac[6] = {0x52, 0x54, 0, 1, 2, 3};

/* The back end; everything but the atomics belongs to the loop thread. */
static struct {
    struct net_backend n;
    atomic_uint sent, resumed, refused, offered;
    atomic_bool full;
    uint8_t frame[2048]; /* the last one sent */
    size_t len;
    struct net_hdr hdr; /* its header and queue */
    unsigned queue;
    atomic_uint offloads, queues;    /* what setup said */
    atomic_bool reads;               /* frames go by room() and filled() */
    struct net_hdr give;             /* the header of those */
    unsigned on;                     /* and their queue */
    uint8_t kept[NET_FRAME_MAX + 8]; /* one that the device did not take */
    size_t kept_len;
} be;

static int be_send(struct net_backend *n, unsigned queue, const struct net_hdr *hdr, const struct iovec *iov,
                   unsigned niov)
{
    (void)n;
    if (atomic_load(&be.full)) {
        atomic_fetch_add(&be.refused, 1);
        return -EAGAIN;
    }
    be.len = virtq_iov_get(iov, niov, 0, be.frame, sizeof(be.frame));
    be.hdr = *hdr;
    be.queue = queue;
    atomic_fetch_add(&be.sent, 1);
    return 0;
}

/* As a tap does: reads into the device's memory what it has. */
static void be_read(void)
{
    const struct net_frontend *f = &be.n.frontend;
    unsigned niov;
    const struct iovec *iov = f->room(f->opaque, be.on, &niov);

    if (!iov || !be.kept_len)
        return;
    CHECK_EQ(virtq_iov_put(iov, niov, 0, &be.give, NET_HDR_LEN), NET_HDR_LEN);
    size_t n = virtq_iov_put(iov, niov, NET_HDR_LEN, be.kept, be.kept_len);
    be.kept_len = 0;
    f->filled(f->opaque, be.on, NET_HDR_LEN + n);
}

static void be_offer(void *opaque)
{
    (void)opaque;
    if (be.reads)
        be_read();
    else if (be.kept_len && be.n.frontend.receive(be.n.frontend.opaque, be.kept, be.kept_len))
        be.kept_len = 0;
    atomic_fetch_add(&be.offered, 1);
}

static void be_resume(struct net_backend *n, unsigned queue)
{
    (void)n;
    (void)queue;
    be_offer(NULL);
    atomic_fetch_add(&be.resumed, 1);
}

static void be_writable(void *opaque)
{
    (void)opaque;
    be.n.frontend.writable(be.n.frontend.opaque, 0);
}

static void be_setup(struct net_backend *n, unsigned offloads, unsigned queues)
{
    (void)n;
    atomic_store(&be.offloads, offloads);
    atomic_store(&be.queues, queues);
}

static void be_destroy(struct net_backend *n)
{
    (void)n;
}

static const struct net_backend_ops be_ops = {
    .name = "test", .send = be_send, .resume = be_resume, .setup = be_setup, .destroy = be_destroy};

static bool wait_for(atomic_uint *v, unsigned want)
{
    for (unsigned ms = 0; atomic_load(v) < want; ms++) {
        if (ms == 5000)
            return false;
        usleep(1000);
    }
    return true;
}

/* The back end has a frame of `len` bytes of `fill`; returns when the device has answered. */
static bool offer(size_t len, uint8_t fill)
{
    unsigned n = atomic_load(&be.offered);
    memset(be.kept, fill, sizeof(be.kept));
    be.kept_len = len;
    loop_post(d.loop, be_offer, NULL);
    return wait_for(&be.offered, n + 1);
}

static void test_config(void)
{
    CHECK_EQ(vdriver_get(&d, 8), 1);
    for (unsigned i = 0; i < 6; i++)
        CHECK_EQ(vdriver_config(&d, i, 1), mac[i]);
    CHECK_EQ(vdriver_config(&d, 6, 2), 1);
}

static void test_transmit(void)
{
    uint8_t hdr[HDR] = {0}, frame[100];

    CHECK(vdriver_init(&d, BIT64(5) | BIT64(16), 2, 16));
    memset(frame, 0xab, sizeof(frame));
    vdriver_write(&d, DATA, hdr, HDR);
    vdriver_write(&d, DATA + 0x1000, frame, 100);
    unsigned sent = atomic_load(&be.sent);
    vdriver_add(&d, TX, (struct vdriver_seg[]){{DATA, HDR, false}, {DATA + 0x1000, 100, false}}, 2);
    vdriver_kick(&d, TX);
    CHECK(vdriver_used(&d, TX, NULL, NULL));
    CHECK_EQ(atomic_load(&be.sent), sent + 1);
    CHECK_EQ(be.len, 100);
    CHECK(!memcmp(be.frame, frame, 100));
    /* Header and frame in one buffer, cut elsewhere. */
    vdriver_write(&d, DATA + HDR, frame, 60);
    vdriver_add(&d, TX, (struct vdriver_seg[]){{DATA, 5, false}, {DATA + 5, 67, false}}, 2);
    vdriver_kick(&d, TX);
    CHECK(vdriver_used(&d, TX, NULL, NULL));
    CHECK_EQ(be.len, 60);
}

static void test_bad_frames_are_dropped(void)
{
    CHECK(vdriver_init(&d, 0, 2, 16));
    unsigned sent = atomic_load(&be.sent);
    vdriver_add(&d, TX, (struct vdriver_seg[]){{DATA, 5, false}}, 1);
    vdriver_add(&d, TX, (struct vdriver_seg[]){{DATA, HDR, false}}, 1);
    vdriver_add(&d, TX, (struct vdriver_seg[]){{DATA, HDR + 13, false}}, 1);
    vdriver_add(&d, TX, (struct vdriver_seg[]){{DATA, 1 << 20, false}}, 1);
    vdriver_kick(&d, TX);
    for (unsigned i = 0; i < 4; i++)
        CHECK(vdriver_used(&d, TX, NULL, NULL));
    CHECK_EQ(atomic_load(&be.sent), sent);
}

static void test_transmit_waits_for_the_back_end(void)
{
    CHECK(vdriver_init(&d, 0, 2, 16));
    unsigned sent = atomic_load(&be.sent), refused = atomic_load(&be.refused);
    atomic_store(&be.full, true);
    for (unsigned i = 0; i < 5; i++)
        vdriver_add(&d, TX, (struct vdriver_seg[]){{DATA, HDR + 60, false}}, 1);
    vdriver_kick(&d, TX);
    CHECK(wait_for(&be.refused, refused + 1));
    vdriver_kick(&d, TX);
    usleep(10000);
    CHECK_EQ(vdriver_used_idx(&d, TX), 0);
    CHECK_EQ(atomic_load(&be.refused), refused + 1); /* not tried again and again */
    atomic_store(&be.full, false);
    loop_post(d.loop, be_writable, NULL);
    for (unsigned i = 0; i < 5; i++)
        CHECK(vdriver_used(&d, TX, NULL, NULL));
    CHECK_EQ(atomic_load(&be.sent), sent + 5);
}

static void test_receive(void)
{
    uint32_t len;
    uint8_t buf[HDR + 80];

    CHECK(vdriver_init(&d, 0, 2, 16));
    vdriver_add(&d, RX, (struct vdriver_seg[]){{DATA, 20, true}, {DATA + 0x1000, 1600, true}}, 2);
    CHECK(offer(80, 0x5c));
    CHECK(vdriver_used(&d, RX, NULL, &len));
    CHECK_EQ(len, HDR + 80);
    vdriver_read(&d, DATA, buf, 20);
    vdriver_read(&d, DATA + 0x1000, buf + 20, 72);
    for (unsigned i = 0; i < HDR + 80; i++)
        CHECK_EQ(buf[i], i < HDR ? (i == 10) : 0x5c);
}

/* The driver has no buffers for a while: nothing is lost and nothing freezes. */
static void test_receive_back_pressure(void)
{
    for (unsigned f = 0; f < 2; f++) {
        CHECK(vdriver_init(&d, f ? VIRTIO_F_EVENT_IDX : 0, 2, 4));
        for (unsigned i = 0; i < 50; i++) {
            unsigned resumed = atomic_load(&be.resumed);
            CHECK(offer(60, (uint8_t)i));
            CHECK_EQ(vdriver_used_idx(&d, RX), (uint16_t)i);
            vdriver_add(&d, RX, (struct vdriver_seg[]){{DATA, 1600, true}}, 1);
            vdriver_kick(&d, RX);
            CHECK(vdriver_used(&d, RX, NULL, NULL));
            CHECK(wait_for(&be.resumed, resumed + 1));
            uint8_t b;
            vdriver_read(&d, DATA + HDR, &b, 1);
            CHECK_EQ(b, i);
        }
    }
}

static void pause_on_loop(void *opaque)
{
    (void)opaque;
    d.dev->desc->ops->pause(d.dev);
}

static void resume_on_loop(void *opaque)
{
    (void)opaque;
    d.dev->desc->ops->resume(d.dev);
}

static void through(void *opaque)
{
    atomic_fetch_add((atomic_uint *)opaque, 1);
}

/* Waits until the loop has done what it had to: the back end is the caller's to look at. */
static bool loop_is_through(void)
{
    static atomic_uint times;
    unsigned before = atomic_load(&times);

    loop_post(d.loop, through, &times);
    return wait_for(&times, before + 1);
}

/* A frame that comes while the machine is paused waits in the back end, and is there afterwards. */
static void test_receive_after_a_pause(void)
{
    uint32_t len;
    uint8_t b;

    CHECK(vdriver_init(&d, 0, 2, 16));
    vdriver_add(&d, RX, (struct vdriver_seg[]){{DATA, 1600, true}}, 1);
    loop_post(d.loop, pause_on_loop, NULL);
    CHECK(loop_is_through());
    CHECK(offer(60, 0x3d));
    CHECK_EQ(be.kept_len, 60);
    CHECK_EQ(vdriver_used_idx(&d, RX), 0);
    loop_post(d.loop, resume_on_loop, NULL);
    CHECK(loop_is_through());
    CHECK(vdriver_used(&d, RX, NULL, &len));
    CHECK_EQ(len, HDR + 60);
    vdriver_read(&d, DATA + HDR, &b, 1);
    CHECK_EQ(b, 0x3d);
}

static void test_frame_that_does_not_fit(void)
{
    uint32_t len;

    CHECK(vdriver_init(&d, 0, 2, 16));
    vdriver_add(&d, RX, (struct vdriver_seg[]){{DATA, HDR + 100, true}}, 1);
    CHECK(offer(1000, 1)); /* dropped */
    CHECK_EQ(be.kept_len, 0);
    CHECK_EQ(vdriver_used_idx(&d, RX), 0);
    CHECK(offer(100, 2));
    CHECK(vdriver_used(&d, RX, NULL, &len));
    CHECK_EQ(len, HDR + 100);
}

static void test_no_driver_no_frames(void)
{
    vdriver_put(&d, 0x70, 0);
    CHECK(offer(100, 1));
    CHECK_EQ(be.kept_len, 0);
    /* A frame that waited for buffers is dropped by the reset. */
    CHECK(vdriver_init(&d, 0, 2, 16));
    CHECK(offer(100, 1));
    CHECK_EQ(be.kept_len, 100);
    vdriver_put(&d, 0x70, 0);
    CHECK_EQ(be.kept_len, 0);
}

/* --- offloads and mergeable buffers --- */

#define F_CSUM BIT64(0)
#define F_GUEST_CSUM BIT64(1)
#define F_GUEST_TSO4 BIT64(7)
#define F_GUEST_ECN BIT64(9)
#define F_HOST_TSO4 BIT64(11)
#define F_HOST_TSO6 BIT64(12)
#define F_MRG_RXBUF BIT64(15)
#define F_CTRL_VQ BIT64(17)
#define F_MQ BIT64(22)

/* Sends a frame of 100 bytes with the header, on queue `tx`; does the back end get it? */
static bool sent_with(const struct net_hdr *hdr, unsigned tx)
{
    unsigned sent = atomic_load(&be.sent);

    vdriver_write(&d, DATA, hdr, HDR);
    vdriver_add(&d, tx, (struct vdriver_seg[]){{DATA, HDR + 100, false}}, 1);
    vdriver_kick(&d, tx);
    if (!vdriver_used(&d, tx, NULL, NULL))
        return false;
    return atomic_load(&be.sent) == sent + 1;
}

static void test_what_is_offered(void)
{
    vdriver_put(&d, 0x70, 0);
    vdriver_put(&d, 0x14, 0);
    /* MAC, status, mergeable buffers, offloads of all kinds but UFO, control queue and several pairs. */
    CHECK_EQ(vdriver_get(&d, 0x10) & 0xffffff, 0x43bba3);
    CHECK_EQ(vdriver_config(&d, 8, 2), 2);
}

static void test_headers_are_checked(void)
{
    struct net_hdr csum = {.flags = 1, .hdr_len = 54, .csum_start = 34, .csum_offset = 16};
    struct net_hdr tso = csum, bad;

    tso.gso_type = NET_HDR_GSO_TCPV4;
    tso.gso_size = 1448;
    /* Nothing accepted: a header that asks for something is not sent. */
    CHECK(vdriver_init(&d, 0, 2, 16));
    CHECK_EQ(atomic_load(&be.offloads), 0);
    CHECK(!sent_with(&csum, TX));
    CHECK(!sent_with(&tso, TX));
    CHECK(sent_with(&(struct net_hdr){.flags = 2}, TX)); /* DATA_VALID is for received frames, and is not passed on */
    CHECK_EQ(be.hdr.flags, 0);
    /* TSO without the checksum feature it needs. */
    CHECK(vdriver_init(&d, F_HOST_TSO4, 2, 16));
    CHECK(!sent_with(&tso, TX));

    CHECK(vdriver_init(&d, F_CSUM | F_HOST_TSO4 | F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_ECN, 2, 16));
    CHECK(sent_with(&csum, TX));
    CHECK_EQ(atomic_load(&be.offloads), NET_OFFLOAD_CSUM | NET_OFFLOAD_TSO4 | NET_OFFLOAD_ECN);
    CHECK_EQ(be.hdr.csum_start, 34);
    CHECK_EQ(be.hdr.csum_offset, 16);
    CHECK(sent_with(&tso, TX));
    CHECK_EQ(be.hdr.gso_type, NET_HDR_GSO_TCPV4);
    CHECK_EQ(be.hdr.gso_size, 1448);
    bad = csum;
    bad.csum_start = 83; /* 83 + 16 + 2 > 100 */
    CHECK(!sent_with(&bad, TX));
    bad.csum_start = 82;
    CHECK(sent_with(&bad, TX));
    bad.csum_start = bad.csum_offset = 0xffff;
    CHECK(!sent_with(&bad, TX));
    bad = tso;
    bad.gso_size = 0;
    CHECK(!sent_with(&bad, TX));
    bad = tso;
    bad.flags = 0;
    CHECK(!sent_with(&bad, TX));
    bad = tso;
    bad.gso_type = NET_HDR_GSO_TCPV6; /* not accepted */
    CHECK(!sent_with(&bad, TX));
    bad.gso_type = NET_HDR_GSO_TCPV4 | NET_HDR_GSO_ECN;
    CHECK(!sent_with(&bad, TX));
    bad.gso_type = 3; /* UFO */
    CHECK(!sent_with(&bad, TX));
    bad.gso_type = NET_HDR_GSO_ECN;
    CHECK(!sent_with(&bad, TX));
    bad = tso;
    bad.hdr_len = 0xffff; /* a hint */
    CHECK(sent_with(&bad, TX));
    CHECK_EQ(be.hdr.hdr_len, 100);
}

/* Fills what is offered next with a pattern that a shifted or torn frame does not have. */
static void pattern(size_t len)
{
    for (size_t i = 0; i < len; i++)
        be.kept[i] = (uint8_t)(i * 7 + i / 251);
    be.kept_len = len;
}

static bool offer_pattern(size_t len)
{
    unsigned n = atomic_load(&be.offered);

    pattern(len);
    loop_post(d.loop, be_offer, NULL);
    return wait_for(&be.offered, n + 1);
}

/* `n` buffers of `size` bytes, buffer i at DATA + i * 0x1000. */
static void add_buffers(unsigned rx, unsigned n, uint32_t size)
{
    for (unsigned i = 0; i < n; i++)
        vdriver_add(&d, rx, (struct vdriver_seg[]){{DATA + i * 0x1000, size, true}}, 1);
}

/* The frame of `len` bytes in buffers of `size` from buffer `first` on: all at once, in order, whole. */
static void check_merged(unsigned rx, unsigned first, size_t len, uint32_t size)
{
    unsigned want = (unsigned)((HDR + len + size - 1) / size), at = 0;
    struct net_hdr hdr;

    for (unsigned i = 0; i < want; i++) {
        uint32_t part, expect = (uint32_t)MIN((size_t)size, HDR + len - (size_t)i * size);
        uint8_t buf[4096];

        CHECK(vdriver_used(&d, rx, NULL, &part));
        CHECK_EQ(part, expect);
        vdriver_read(&d, DATA + (first + i) * 0x1000, buf, part);
        if (i == 0) {
            memcpy(&hdr, buf, HDR);
            CHECK_EQ(hdr.num_buffers, want);
        }
        bool same = true;
        for (unsigned k = i ? 0 : HDR; k < part; k++, at++)
            same &= buf[k] == (uint8_t)(at * 7 + at / 251);
        CHECK(same);
    }
}

static void test_merged_buffers(void)
{
    for (unsigned reads = 0; reads < 2; reads++) {
        be.reads = reads;
        CHECK(vdriver_init(&d, F_MRG_RXBUF, 2, 64));
        add_buffers(RX, 44, 1536);
        CHECK(offer_pattern(60));
        check_merged(RX, 0, 60, 1536);
        CHECK(offer_pattern(65000)); /* far more than the last one let expect: most of it is copied */
        check_merged(RX, 1, 65000, 1536);
        CHECK_EQ(vdriver_used_idx(&d, RX), 1 + 43);
        /* As long again: read in place. Then one that ends with a buffer, and one that fills no more than one. */
        CHECK(vdriver_init(&d, F_MRG_RXBUF, 2, 64));
        add_buffers(RX, 60, 1536);
        CHECK(offer_pattern(20000));
        check_merged(RX, 0, 20000, 1536);
        CHECK(offer_pattern(20000));
        check_merged(RX, 14, 20000, 1536);
        CHECK(offer_pattern(3 * 1536 - HDR));
        check_merged(RX, 28, 3 * 1536 - HDR, 1536);
        CHECK(offer_pattern(1536 - HDR));
        check_merged(RX, 31, 1536 - HDR, 1536);
    }
}

/* Not enough buffers: the frame waits, whole, for the rest. */
static void test_merged_frame_waits(void)
{
    for (unsigned reads = 0; reads < 2; reads++) {
        be.reads = reads;
        CHECK(vdriver_init(&d, F_MRG_RXBUF, 2, 64));
        add_buffers(RX, 4, 1536);
        CHECK(offer_pattern(9000));
        CHECK_EQ(vdriver_used_idx(&d, RX), 0);
        CHECK_EQ(be.kept_len, reads ? 0 : 9000);
        for (unsigned i = 4; i < 6; i++) {
            vdriver_add(&d, RX, (struct vdriver_seg[]){{DATA + i * 0x1000, 1536, true}}, 1);
            vdriver_kick(&d, RX);
        }
        check_merged(RX, 0, 9000, 1536);
        CHECK(loop_is_through());
        CHECK_EQ(be.kept_len, 0);
    }
}

/* A ring that will never hold it: dropped, and the next one comes. */
static void test_merged_frame_too_long_for_the_ring(void)
{
    for (unsigned reads = 0; reads < 2; reads++) {
        be.reads = reads;
        CHECK(vdriver_init(&d, F_MRG_RXBUF, 2, 4));
        add_buffers(RX, 4, 1536);
        CHECK(offer_pattern(9000));
        CHECK_EQ(be.kept_len, 0);
        CHECK_EQ(vdriver_used_idx(&d, RX), 0);
        CHECK(offer_pattern(3000));
        check_merged(RX, 0, 3000, 1536);
        /* The same without merging, of one buffer. */
        CHECK(vdriver_init(&d, 0, 2, 4));
        add_buffers(RX, 4, 1536);
        CHECK(offer_pattern(1525));
        CHECK_EQ(be.kept_len, 0);
        CHECK(offer_pattern(1524));
        check_merged(RX, 0, 1524, 1536);
    }
}

static void test_received_headers(void)
{
    struct net_hdr got;

    be.reads = true;
    be.give = (struct net_hdr){.flags = 1, .csum_start = 34, .csum_offset = 6};
    /* One that asks for what the driver did not accept is not passed on, nor one that is too long for us. */
    CHECK(vdriver_init(&d, F_MRG_RXBUF, 2, 64));
    add_buffers(RX, 60, 1536);
    CHECK(offer_pattern(100));
    be.give = (struct net_hdr){0};
    CHECK(offer_pattern(NET_FRAME_MAX + 1));
    CHECK(offer_pattern(13));
    CHECK_EQ(vdriver_used_idx(&d, RX), 0);
    CHECK_EQ(be.kept_len, 0);
    be.give = (struct net_hdr){.flags = 1, .csum_start = 34, .csum_offset = 6};
    CHECK(vdriver_init(&d, F_MRG_RXBUF | F_GUEST_CSUM, 2, 64));
    add_buffers(RX, 1, 1536);
    CHECK(offer_pattern(100));
    check_merged(RX, 0, 100, 1536);
    vdriver_read(&d, DATA, &got, HDR);
    CHECK_EQ(got.flags, 1);
    CHECK_EQ(got.csum_offset, 6);
    be.give = (struct net_hdr){0};
    be.reads = false;
    /* Frames that the back end vouches for need no look, where the driver knows the flag. */
    for (unsigned f = 0; f < 2; f++) {
        CHECK(vdriver_init(&d, f ? F_GUEST_CSUM : 0, 2, 16));
        add_buffers(RX, 1, 1536);
        CHECK(offer_pattern(100));
        check_merged(RX, 0, 100, 1536);
        vdriver_read(&d, DATA, &got, HDR);
        CHECK_EQ(got.flags, f ? NET_HDR_F_DATA_VALID : 0);
    }
}

/* Buffers of eight bytes, and chains of many: not more than one call reads into, and nothing freezes. */
static void test_tiny_buffers(void)
{
    struct vdriver_seg seg[64];

    be.reads = true;
    for (unsigned i = 0; i < 64; i++)
        seg[i] = (struct vdriver_seg){DATA + i * 8, 8, true};
    CHECK(vdriver_init(&d, F_MRG_RXBUF, 2, 256));
    for (unsigned i = 0; i < 4; i++)
        vdriver_add(&d, RX, seg, 64);
    CHECK(offer_pattern(1500));
    for (unsigned i = 0; i < 3; i++)
        CHECK(vdriver_used(&d, RX, NULL, NULL));
    CHECK(offer_pattern(1500)); /* 512 bytes are left */
    CHECK_EQ(vdriver_used_idx(&d, RX), 3);
    vdriver_add(&d, RX, (struct vdriver_seg[]){{DATA + 0x1000, 1536, true}}, 1);
    vdriver_kick(&d, RX);
    for (unsigned i = 0; i < 2; i++)
        CHECK(vdriver_used(&d, RX, NULL, NULL));
    be.reads = false;
}

/* --- several queues --- */

#define CTRL 4

static uint8_t control(uint8_t class, uint8_t command, uint16_t v, uint32_t len, unsigned queue)
{
    uint8_t cmd[4] = {class, command, (uint8_t)v, (uint8_t)(v >> 8)}, ack = 0xee;

    vdriver_write(&d, DATA, cmd, 4);
    vdriver_write(&d, DATA + 16, &ack, 1);
    vdriver_add(&d, queue, (struct vdriver_seg[]){{DATA, len, false}, {DATA + 16, 1, true}}, 2);
    vdriver_kick(&d, queue);
    if (!vdriver_used(&d, queue, NULL, NULL))
        return 0xff;
    vdriver_read(&d, DATA + 16, &ack, 1);
    return ack;
}

static void test_queue_pairs(void)
{
    CHECK(vdriver_init(&d, F_MRG_RXBUF | F_CTRL_VQ | F_MQ, 5, 16));
    CHECK_EQ(atomic_load(&be.queues), 1);
    CHECK_EQ(control(4, 0, 2, 4, CTRL), 0);
    CHECK_EQ(atomic_load(&be.queues), 2);
    CHECK_EQ(control(4, 0, 3, 4, CTRL), 1);
    CHECK_EQ(control(4, 0, 0, 4, CTRL), 1);
    CHECK_EQ(control(4, 0, 0x8002, 4, CTRL), 1);
    CHECK_EQ(control(4, 0, 1, 3, CTRL), 1); /* cut */
    CHECK_EQ(control(4, 1, 1, 4, CTRL), 1);
    CHECK_EQ(control(1, 0, 1, 4, CTRL), 1);
    CHECK_EQ(atomic_load(&be.queues), 2);
    /* Frames go both ways on the second pair. */
    CHECK(sent_with(&(struct net_hdr){0}, 3));
    CHECK_EQ(be.queue, 1);
    be.reads = true;
    be.on = 1;
    add_buffers(2, 4, 1536);
    CHECK(offer_pattern(4000));
    check_merged(2, 0, 4000, 1536);
    be.reads = false;
    be.on = 0;
    CHECK_EQ(control(4, 0, 1, 4, CTRL), 0);
    CHECK_EQ(atomic_load(&be.queues), 1);
    /* A reset leaves one. */
    CHECK_EQ(control(4, 0, 2, 4, CTRL), 0);
    vdriver_put(&d, 0x70, 0);
    CHECK_EQ(atomic_load(&be.queues), 1);
}

static void test_queue_pairs_that_are_not_there(void)
{
    /* Without the feature the control queue stands behind the first pair, and knows no pairs. */
    CHECK(vdriver_init(&d, F_CTRL_VQ, 3, 16));
    CHECK_EQ(control(4, 0, 1, 4, 2), 1);
    CHECK_EQ(atomic_load(&be.queues), 1);
    /* A pair that was never set up. */
    CHECK(vdriver_negotiate(&d, F_CTRL_VQ | F_MQ));
    for (unsigned q = 0; q < 5; q++)
        if (q != 3)
            vdriver_queue(&d, q, 16, VDRIVER_DESC(q), VDRIVER_AVAIL(q), VDRIVER_USED(q));
    vdriver_put(&d, 0x70, 15);
    CHECK_EQ(control(4, 0, 2, 4, CTRL), 1);
    CHECK_EQ(control(4, 0, 1, 4, CTRL), 0);
}

int main(void)
{
    struct virtio_device *vd;

    be.n.ops = &be_ops;
    be.n.takes = be.n.gives = NET_OFFLOAD_ALL;
    be.n.queues = 2;
    if (!vdriver_open(&d) || virtio_net_create(&vd, &be.n, mac) < 0 || !vdriver_attach(&d, vd))
        return 1;
    vdriver_run_loop(&d);
    RUN(test_config);
    RUN(test_transmit);
    RUN(test_bad_frames_are_dropped);
    RUN(test_transmit_waits_for_the_back_end);
    RUN(test_receive);
    RUN(test_receive_back_pressure);
    RUN(test_receive_after_a_pause);
    RUN(test_frame_that_does_not_fit);
    RUN(test_no_driver_no_frames);
    RUN(test_what_is_offered);
    RUN(test_headers_are_checked);
    RUN(test_merged_buffers);
    RUN(test_merged_frame_waits);
    RUN(test_merged_frame_too_long_for_the_ring);
    RUN(test_received_headers);
    RUN(test_tiny_buffers);
    RUN(test_queue_pairs);
    RUN(test_queue_pairs_that_are_not_there);
    vdriver_close(&d);
    return check_done();
}
