/* virtio-console on a back end that the test plays, and virtio-rng. */
#include <unistd.h>

#include "devices/chardev_int.h"
#include "tests/check.h"
#include "tests/lib/vdriver.h"

#define DATA VDRIVER_DATA
#define RX 0
#define TX 1

static struct vdriver d;

/* Takes `budget` bytes of output; feeds `input` on resume. Loop thread, but for the atomics. */
static struct {
    struct chardev c;
    atomic_uint budget, written;
    char out[4096];
    char in[4096];
    atomic_uint in_len, in_done;
} be;

static size_t be_write(struct chardev *c, const uint8_t *p, size_t len)
{
    (void)c;
    size_t n = MIN(len, (size_t)atomic_load(&be.budget)), at = atomic_load(&be.written);
    n = MIN(n, sizeof(be.out) - at);
    memcpy(be.out + at, p, n);
    atomic_fetch_sub(&be.budget, (unsigned)n);
    atomic_fetch_add(&be.written, (unsigned)n);
    return n;
}

static void be_feed(void *opaque)
{
    const struct chardev_frontend *f = &be.c.frontend[0];

    (void)opaque;
    while (be.in_done < atomic_load(&be.in_len)) {
        size_t n = MIN(f->room(f->opaque), (size_t)(atomic_load(&be.in_len) - be.in_done));
        if (!n)
            return;
        f->receive(f->opaque, (const uint8_t *)be.in + be.in_done, n);
        be.in_done += (unsigned)n;
    }
}

static void be_resume(struct chardev *c)
{
    (void)c;
    loop_post(d.loop, be_feed, NULL);
}

static void be_writable(void *opaque)
{
    (void)opaque;
    be.c.frontend[0].writable(be.c.frontend[0].opaque);
}

static const struct chardev_ops be_ops = {.write = be_write, .resume = be_resume};

static void start(void)
{
    atomic_store(&be.budget, 4096);
    atomic_store(&be.written, 0);
    atomic_store(&be.in_len, 0);
    be.in_done = 0;
}

static void test_output(void)
{
    CHECK(vdriver_init(&d, 0, 2, 16));
    start();
    vdriver_write(&d, DATA, "hello, ", 7);
    vdriver_write(&d, DATA + 100, "world\n", 6);
    vdriver_add(&d, TX, (struct vdriver_seg[]){{DATA, 7, false}, {DATA + 100, 6, false}}, 2);
    vdriver_kick(&d, TX);
    CHECK(vdriver_used(&d, TX, NULL, NULL));
    CHECK_EQ(atomic_load(&be.written), 13);
    CHECK(!memcmp(be.out, "hello, world\n", 13));
}

static void test_output_waits_and_loses_nothing(void)
{
    char text[300];

    CHECK(vdriver_init(&d, 0, 2, 16));
    start();
    atomic_store(&be.budget, 10);
    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 26);
    vdriver_write(&d, DATA, text, sizeof(text));
    for (unsigned i = 0; i < 3; i++)
        vdriver_add(&d, TX, (struct vdriver_seg[]){{DATA + 100 * i, 50, false}, {DATA + 100 * i + 50, 50, false}}, 2);
    vdriver_kick(&d, TX);
    for (unsigned total = 10; total < 300; total += 29) {
        for (unsigned ms = 0; atomic_load(&be.written) < total && ms < 5000; ms++)
            usleep(1000);
        CHECK_EQ(atomic_load(&be.written), total);
        CHECK_EQ(vdriver_used_idx(&d, TX), (uint16_t)(total / 100));
        atomic_store(&be.budget, 29);
        loop_post(d.loop, be_writable, NULL);
    }
    for (unsigned i = 0; i < 3; i++)
        CHECK(vdriver_used(&d, TX, NULL, NULL));
    CHECK(!memcmp(be.out, text, sizeof(text)));
}

static void test_input(void)
{
    char got[64];
    uint32_t len;
    unsigned n = 0;

    CHECK(vdriver_init(&d, 0, 2, 16));
    start();
    memcpy(be.in, "0123456789abcdef", 16);
    atomic_store(&be.in_len, 16);
    /* Buffers come later and are smaller than the input. */
    for (unsigned i = 0; i < 4; i++) {
        vdriver_add(&d, RX, (struct vdriver_seg[]){{DATA + 64 * i, 5, true}}, 1);
        vdriver_kick(&d, RX);
        CHECK(vdriver_used(&d, RX, NULL, &len));
        CHECK(len <= 5 && n + len <= sizeof(got));
        vdriver_read(&d, DATA + 64 * i, got + n, len);
        n += len;
    }
    CHECK_EQ(n, 16);
    CHECK(!memcmp(got, "0123456789abcdef", 16));
}

static void test_receive_buffer_without_room(void)
{
    CHECK(vdriver_init(&d, 0, 2, 16));
    start();
    atomic_store(&be.in_len, 1);
    vdriver_add(&d, RX, (struct vdriver_seg[]){{DATA, 5, false}}, 1);
    vdriver_kick(&d, RX);
    CHECK(vdriver_wait_status(&d, VIRTIO_STATUS_NEEDS_RESET));
}

static void test_rng(void)
{
    struct virtio_device *vd;
    uint8_t a[64], b[64];
    uint32_t len;

    vdriver_detach(&d);
    CHECK_EQ(virtio_rng_create(&vd), 0);
    CHECK(vdriver_attach(&d, vd));
    vdriver_run_loop(&d);
    CHECK_EQ(vdriver_get(&d, 8), 4);
    CHECK(vdriver_init(&d, VIRTIO_F_EVENT_IDX, 1, 8));
    memset(mem_write_begin(d.mem, GPA(DATA), MIB(1)), 0, MIB(1));
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 64, true}}, 1);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA + 64, 64, true}}, 1);
    vdriver_kick(&d, 0);
    CHECK(vdriver_used(&d, 0, NULL, &len));
    CHECK_EQ(len, 64);
    CHECK(vdriver_used(&d, 0, NULL, &len));
    vdriver_read(&d, DATA, a, 64);
    vdriver_read(&d, DATA + 64, b, 64);
    CHECK(memcmp(a, b, 64));
    /* A huge request gets a bounded answer. */
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, MIB(1), true}}, 1);
    vdriver_kick(&d, 0);
    CHECK(vdriver_used(&d, 0, NULL, &len));
    CHECK(len > 0 && len <= 65536);
}

int main(void)
{
    struct virtio_device *vd;

    be.c.ops = &be_ops;
    if (!vdriver_open(&d) || virtio_console_create(&vd, &be.c) < 0 || !vdriver_attach(&d, vd))
        return 1;
    vdriver_run_loop(&d);
    RUN(test_output);
    RUN(test_output_waits_and_loses_nothing);
    RUN(test_input);
    RUN(test_receive_buffer_without_room);
    RUN(test_rng);
    vdriver_close(&d);
    return check_done();
}
