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
    uint8_t kept[1514]; /* one that the device did not take */
    size_t kept_len;
} be;

static int be_send(struct net_backend *n, const struct iovec *iov, unsigned niov)
{
    (void)n;
    if (atomic_load(&be.full)) {
        atomic_fetch_add(&be.refused, 1);
        return -EAGAIN;
    }
    be.len = virtq_iov_get(iov, niov, 0, be.frame, sizeof(be.frame));
    atomic_fetch_add(&be.sent, 1);
    return 0;
}

static void be_offer(void *opaque)
{
    (void)opaque;
    if (be.kept_len && be.n.frontend.receive(be.n.frontend.opaque, be.kept, be.kept_len))
        be.kept_len = 0;
    atomic_fetch_add(&be.offered, 1);
}

static void be_resume(struct net_backend *n)
{
    (void)n;
    atomic_fetch_add(&be.resumed, 1);
    be_offer(NULL);
}

static void be_writable(void *opaque)
{
    (void)opaque;
    be.n.frontend.writable(be.n.frontend.opaque);
}

static void be_destroy(struct net_backend *n)
{
    (void)n;
}

static const struct net_backend_ops be_ops = {
    .name = "test", .send = be_send, .resume = be_resume, .destroy = be_destroy};

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

static atomic_uint on_loop_done;

static void pause_on_loop(void *opaque)
{
    (void)opaque;
    d.dev->desc->ops->pause(d.dev);
    atomic_fetch_add(&on_loop_done, 1);
}

static void resume_on_loop(void *opaque)
{
    (void)opaque;
    d.dev->desc->ops->resume(d.dev);
    atomic_fetch_add(&on_loop_done, 1);
}

/* A frame that comes while the machine is paused waits in the back end, and is there afterwards. */
static void test_receive_after_a_pause(void)
{
    uint32_t len;
    uint8_t b;

    CHECK(vdriver_init(&d, 0, 2, 16));
    vdriver_add(&d, RX, (struct vdriver_seg[]){{DATA, 1600, true}}, 1);
    loop_post(d.loop, pause_on_loop, NULL);
    CHECK(wait_for(&on_loop_done, 1));
    CHECK(offer(60, 0x3d));
    CHECK_EQ(be.kept_len, 60);
    CHECK_EQ(vdriver_used_idx(&d, RX), 0);
    loop_post(d.loop, resume_on_loop, NULL);
    CHECK(wait_for(&on_loop_done, 2));
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

int main(void)
{
    struct virtio_device *vd;

    be.n.ops = &be_ops;
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
    vdriver_close(&d);
    return check_done();
}
