/* The virtio-mmio window: registers, the status machine, hand-over to the loop thread, reset, save and load. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/check.h"
#include "tests/lib/vdriver.h"

#define DATA VDRIVER_DATA
#define S_ACK VIRTIO_STATUS_ACKNOWLEDGE
#define S_DRV VIRTIO_STATUS_DRIVER
#define S_FOK VIRTIO_STATUS_FEATURES_OK
#define S_DOK VIRTIO_STATUS_DRIVER_OK

static struct vdriver d;

/* A device that returns chains of queue 0 at once and keeps those of queue 1 until it is drained. */
struct probe {
    struct virtio_device vd;
    atomic_uint started, notified, drained, resets, destroyed;
    unsigned kept;
    uint16_t head[8];
    struct virtq_chain chain;
};

static struct probe *probe_of(struct virtio_device *vd)
{
    return container_of(vd, struct probe, vd);
}

static void probe_start(struct virtio_device *vd)
{
    atomic_fetch_add(&probe_of(vd)->started, 1);
}

static void probe_notify(struct virtio_device *vd, unsigned queue)
{
    struct probe *p = probe_of(vd);

    atomic_fetch_add(&p->notified, 1);
    while (virtio_pop(vd, queue, &p->chain)) {
        if (queue == 1 && p->kept < ARRAY_SIZE(p->head)) {
            p->head[p->kept++] = p->chain.head;
            continue;
        }
        virtq_push(&vd->vq[queue], p->chain.head, p->chain.out_len);
        virtio_interrupt(vd, queue);
    }
}

static void probe_drain(struct virtio_device *vd)
{
    struct probe *p = probe_of(vd);

    atomic_fetch_add(&p->drained, 1);
    while (p->kept)
        virtq_push(&vd->vq[1], p->head[--p->kept], 0);
}

static void probe_reset(struct virtio_device *vd)
{
    atomic_fetch_add(&probe_of(vd)->resets, 1);
}

static void probe_destroy(struct virtio_device *vd)
{
    atomic_fetch_add(&probe_of(vd)->destroyed, 1);
}

static const struct virtio_device_ops probe_ops = {
    .start = probe_start,
    .notify = probe_notify,
    .drain = probe_drain,
    .reset = probe_reset,
    .destroy = probe_destroy,
};

static struct probe probe;

static bool probe_open(void)
{
    probe = (struct probe){.vd = {
                               .ops = &probe_ops,
                               .name = "probe",
                               .id = 42,
                               .nqueues = 2,
                               .queue_max = 64,
                               .features = BIT64(3),
                               .config = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10},
                               .config_len = 10,
                           }};
    if (!vdriver_attach(&d, &probe.vd))
        return false;
    vdriver_run_loop(&d);
    return true;
}

static void test_identity(void)
{
    CHECK_EQ(vdriver_get(&d, 0x000), 0x74726976);
    CHECK_EQ(vdriver_get(&d, 0x004), 2);
    CHECK_EQ(vdriver_get(&d, 0x008), 42);
    CHECK_EQ(vdriver_get(&d, 0x0b0), UINT32_MAX);
    CHECK_EQ(vdriver_get(&d, 0x0b4), UINT32_MAX);
    CHECK_EQ(d.dev->desc->size, 0x200);
    vdriver_put(&d, 0x014, 0);
    CHECK_EQ(vdriver_get(&d, 0x010), BIT64(28) | BIT64(29) | BIT64(3));
    vdriver_put(&d, 0x014, 1);
    CHECK_EQ(vdriver_get(&d, 0x010), 1);
    vdriver_put(&d, 0x014, 2);
    CHECK_EQ(vdriver_get(&d, 0x010), 0);
    /* Registers are 32 bits wide. */
    CHECK_EQ(d.dev->desc->ops->read(d.dev, 0, 0, 1), 0);
    CHECK_EQ(d.dev->desc->ops->read(d.dev, 0, 0, 8), 0);
}

static void test_config_space(void)
{
    CHECK_EQ(vdriver_config(&d, 0, 1), 1);
    CHECK_EQ(vdriver_config(&d, 2, 2), 0x0403);
    CHECK_EQ(vdriver_config(&d, 4, 4), 0x08070605);
    CHECK_EQ(vdriver_config(&d, 0, 8), 0x0807060504030201);
    CHECK_EQ(vdriver_config(&d, 8, 2), 0x0a09);
    CHECK_EQ(vdriver_config(&d, 8, 4), 0);
    CHECK_EQ(vdriver_config(&d, 0xf8, 8), 0);
    vdriver_put(&d, 0x100, 0xffffffff);
    CHECK_EQ(vdriver_config(&d, 0, 4), 0x04030201);
}

static void test_status_machine(void)
{
    vdriver_put(&d, 0x070, 0);
    vdriver_put(&d, 0x070, S_DOK);
    CHECK_EQ(vdriver_get(&d, 0x070), 0);
    vdriver_put(&d, 0x070, S_ACK);
    vdriver_put(&d, 0x070, S_ACK | S_FOK); /* without VERSION_1 and DRIVER */
    CHECK_EQ(vdriver_get(&d, 0x070), S_ACK);
    vdriver_put(&d, 0x070, S_ACK | S_DRV);
    vdriver_put(&d, 0x070, S_ACK | S_DRV | S_FOK);
    CHECK_EQ(vdriver_get(&d, 0x070), S_ACK | S_DRV);
    /* A feature that was not offered. */
    CHECK(!vdriver_negotiate(&d, BIT64(4)));
    CHECK(vdriver_negotiate(&d, BIT64(3)));
    /* Features are fixed now. */
    vdriver_put(&d, 0x024, 0);
    vdriver_put(&d, 0x020, BIT64(4));
    CHECK_EQ(vdriver_get(&d, 0x070), S_ACK | S_DRV | S_FOK);
    /* Bits do not go away. */
    vdriver_put(&d, 0x070, S_ACK);
    CHECK_EQ(vdriver_get(&d, 0x070), S_ACK | S_DRV | S_FOK);
    vdriver_put(&d, 0x070, S_ACK | S_DRV | S_FOK | VIRTIO_STATUS_FAILED);
    CHECK_EQ(vdriver_get(&d, 0x070), S_ACK | S_DRV | S_FOK | VIRTIO_STATUS_FAILED);
    vdriver_put(&d, 0x070, 0);
    CHECK_EQ(vdriver_get(&d, 0x070), 0);
}

static void test_queue_setup_rules(void)
{
    vdriver_put(&d, 0x070, 0);
    vdriver_put(&d, 0x030, 0);
    CHECK_EQ(vdriver_get(&d, 0x034), 64);
    vdriver_put(&d, 0x044, 1); /* before FEATURES_OK */
    CHECK_EQ(vdriver_get(&d, 0x044), 0);
    CHECK(vdriver_negotiate(&d, 0));
    vdriver_put(&d, 0x030, 2);
    CHECK_EQ(vdriver_get(&d, 0x034), 0);
    vdriver_put(&d, 0x044, 1);
    CHECK_EQ(vdriver_get(&d, 0x044), 0);
    vdriver_put(&d, 0x030, UINT32_MAX);
    CHECK_EQ(vdriver_get(&d, 0x034), 0);
    vdriver_put(&d, 0x030, 1);
    vdriver_put(&d, 0x044, 1);
    CHECK_EQ(vdriver_get(&d, 0x044), 1);
    vdriver_put(&d, 0x070, 0);
    vdriver_put(&d, 0x030, 1);
    vdriver_put(&d, 0x044, 0);
    CHECK_EQ(vdriver_get(&d, 0x044), 0);
}

static void test_kick_and_interrupt(void)
{
    uint32_t head, len;

    CHECK(vdriver_init(&d, 0, 2, 8));
    uint16_t h = vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 77, false}}, 1);
    vdriver_kick(&d, 0);
    CHECK(vdriver_used(&d, 0, &head, &len));
    CHECK_EQ(head, h);
    CHECK_EQ(len, 77);
    for (unsigned i = 0; i < 5000 && !atomic_load(&d.irq); i++)
        usleep(1000);
    CHECK(atomic_load(&d.irq));
    CHECK_EQ(vdriver_get(&d, 0x060), 1);
    vdriver_put(&d, 0x064, 2);
    CHECK(atomic_load(&d.irq));
    vdriver_put(&d, 0x064, 1);
    CHECK(!atomic_load(&d.irq));
    CHECK_EQ(vdriver_get(&d, 0x060), 0);
    /* A queue that does not exist. */
    vdriver_kick(&d, 2);
    vdriver_kick(&d, UINT32_MAX);
}

static atomic_uint rises, falls;

static void on_edge(void *opaque, unsigned num, bool level)
{
    (void)opaque;
    (void)num;
    atomic_fetch_add(level ? &rises : &falls, 1);
}

/* On an edge triggered line each cause is a rise, also while the driver has not acknowledged the one before. */
static void test_edges(void)
{
    const struct irq_line line = d.dev->irq;

    CHECK(vdriver_init(&d, 0, 2, 8));
    d.dev->irq = (struct irq_line){.set = on_edge, .edge = true};
    for (unsigned i = 1; i <= 3; i++) {
        vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 1, false}}, 1);
        vdriver_kick(&d, 0);
        CHECK(vdriver_used(&d, 0, NULL, NULL));
        for (unsigned k = 0; k < 5000 && atomic_load(&rises) < i; k++)
            usleep(1000);
        CHECK_EQ(atomic_load(&rises), i);
        CHECK(atomic_load(&falls) >= i);
    }
    CHECK_EQ(vdriver_get(&d, 0x060), 1);
    vdriver_put(&d, 0x064, 1);
    d.dev->irq = line;
}

/* What an accelerator does with doorbells: a tick is a notification, in any order with what the registers ask for. */
static void test_doorbells(void)
{
    struct device_doorbell bell[DEVICE_MAX_DOORBELLS];
    const uint64_t one = 1;
    uint16_t h;
    uint32_t head;

    vdriver_stop_loop(&d);
    CHECK_EQ(d.dev->desc->ops->doorbells(d.dev, bell), 2);
    for (uint32_t i = 0; i < 2; i++)
        CHECK(bell[i].off == 0x50 && bell[i].value == i && bell[i].fd >= 0);
    vdriver_run_loop(&d);
    CHECK(vdriver_init(&d, 0, 2, 8));
    for (unsigned i = 0; i < 3; i++) {
        h = vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 5, false}}, 1);
        CHECK(write(bell[0].fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
        CHECK(vdriver_used(&d, 0, &head, NULL));
        CHECK_EQ(head, h);
    }
    /* The other queue's does not serve this one; the register still does. */
    uint16_t before = vdriver_used_idx(&d, 0);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 5, false}}, 1);
    CHECK(write(bell[1].fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    usleep(20000);
    CHECK_EQ(vdriver_used_idx(&d, 0), before);
    vdriver_kick(&d, 0);
    CHECK(vdriver_used(&d, 0, NULL, NULL));
    /* Rung while the device is off: nothing happens, and what waits is served when it starts. */
    vdriver_put(&d, 0x070, 0);
    CHECK(write(bell[0].fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    usleep(20000);
    CHECK(vdriver_init(&d, 0, 2, 8));
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 5, false}}, 1);
    CHECK(write(bell[0].fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    CHECK(vdriver_used(&d, 0, NULL, NULL));
}

static void test_reset_drains(void)
{
    CHECK(vdriver_init(&d, 0, 2, 8));
    unsigned drained = atomic_load(&probe.drained);
    vdriver_add(&d, 1, (struct vdriver_seg[]){{DATA, 1, false}}, 1);
    vdriver_add(&d, 1, (struct vdriver_seg[]){{DATA, 1, false}}, 1);
    vdriver_kick(&d, 1);
    /* Queue 0 is served after queue 1 was, in the next round. */
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 1, false}}, 1);
    vdriver_kick(&d, 0);
    CHECK(vdriver_used(&d, 0, NULL, NULL));
    vdriver_put(&d, 0x070, 0);
    CHECK_EQ(vdriver_get(&d, 0x070), 0);
    CHECK_EQ(atomic_load(&probe.drained), drained + 1);
    CHECK_EQ(probe.kept, 0);
    CHECK(!atomic_load(&d.irq));
    CHECK_EQ(vdriver_get(&d, 0x060), 0);
    /* The rings are no longer looked at. */
    uint16_t before = vdriver_used_idx(&d, 0);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 1, false}}, 1);
    vdriver_kick(&d, 0);
    usleep(20000);
    CHECK_EQ(vdriver_used_idx(&d, 0), before);
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

static bool on_loop(loop_fn fn)
{
    unsigned before = atomic_load(&on_loop_done);

    loop_post(d.loop, fn, NULL);
    for (unsigned i = 0; i < 5000 && atomic_load(&on_loop_done) == before; i++)
        usleep(1000);
    return atomic_load(&on_loop_done) != before;
}

/* What is in flight is finished first; what comes meanwhile, by register or doorbell, is served afterwards. */
static void test_pause(void)
{
    CHECK(vdriver_init(&d, 0, 2, 8));
    vdriver_add(&d, 1, (struct vdriver_seg[]){{DATA, 1, false}}, 1);
    vdriver_kick(&d, 1);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 1, false}}, 1);
    vdriver_kick(&d, 0);
    CHECK(vdriver_used(&d, 0, NULL, NULL));
    CHECK_EQ(vdriver_used_idx(&d, 1), 0);
    CHECK(on_loop(pause_on_loop));
    CHECK_EQ(vdriver_used_idx(&d, 1), 1);
    uint16_t before = vdriver_used_idx(&d, 0);
    unsigned notified = atomic_load(&probe.notified);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 1, false}}, 1);
    vdriver_kick(&d, 0);
    usleep(20000);
    CHECK_EQ(vdriver_used_idx(&d, 0), before);
    CHECK_EQ(atomic_load(&probe.notified), notified);
    CHECK(on_loop(resume_on_loop));
    CHECK(vdriver_used(&d, 0, NULL, NULL));
    CHECK_EQ(vdriver_used_idx(&d, 0), (uint16_t)(before + 1));
}

static void test_broken_ring_needs_reset(void)
{
    CHECK(vdriver_init(&d, 0, 2, 8));
    vdriver_offer(&d, 0, 99);
    vdriver_kick(&d, 0);
    CHECK(vdriver_wait_status(&d, VIRTIO_STATUS_NEEDS_RESET));
    CHECK_EQ(vdriver_get(&d, 0x060) & 2, 2);
    vdriver_kick(&d, 0);
    /* A reset heals it. */
    CHECK(vdriver_init(&d, 0, 2, 8));
    CHECK_EQ(vdriver_get(&d, 0x070), S_ACK | S_DRV | S_FOK | S_DOK);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 1, false}}, 1);
    vdriver_kick(&d, 0);
    CHECK(vdriver_used(&d, 0, NULL, NULL));
}

static void test_bad_ring_address_needs_reset(void)
{
    CHECK(vdriver_negotiate(&d, 0));
    vdriver_queue(&d, 0, 8, UINT64_MAX - 15, VDRIVER_AVAIL(0), VDRIVER_USED(0));
    vdriver_put(&d, 0x070, S_ACK | S_DRV | S_FOK | S_DOK);
    CHECK(vdriver_wait_status(&d, VIRTIO_STATUS_NEEDS_RESET));
    vdriver_put(&d, 0x070, 0);
    CHECK_EQ(vdriver_get(&d, 0x070), 0);
}

/* Addresses are latched at DRIVER_OK: what the driver writes later has no effect. */
static void test_queues_are_latched(void)
{
    CHECK(vdriver_init(&d, 0, 2, 8));
    vdriver_put(&d, 0x030, 0);
    vdriver_put(&d, 0x044, 0);
    CHECK_EQ(vdriver_get(&d, 0x044), 1);
    vdriver_put(&d, 0x080, 0xdead0000);
    vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 5, false}}, 1);
    vdriver_kick(&d, 0);
    CHECK(vdriver_used(&d, 0, NULL, NULL));
}

static void *reset_main(void *opaque)
{
    (void)opaque;
    for (unsigned i = 0; i < 200; i++) {
        vdriver_put(&d, 0x070, 0);
        vdriver_put(&d, 0x070, S_ACK);
        vdriver_kick(&d, i & 1);
    }
    return NULL;
}

static void test_resets_from_many_threads_end(void)
{
    pthread_t t[3];

    for (unsigned i = 0; i < ARRAY_SIZE(t); i++)
        CHECK_EQ(pthread_create(&t[i], NULL, reset_main, NULL), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(t); i++)
        pthread_join(t[i], NULL);
    CHECK(vdriver_init(&d, 0, 2, 8));
}

static void test_config_change(void)
{
    uint8_t v[] = {0xaa, 0xbb};

    CHECK(vdriver_init(&d, 0, 2, 8));
    uint32_t gen = vdriver_get(&d, 0x0fc);
    probe.vd.transport->ops->config_set(probe.vd.transport, 1, v, 2);
    CHECK_EQ(vdriver_config(&d, 0, 4), 0x04bbaa01);
    CHECK(vdriver_get(&d, 0x0fc) != gen);
    CHECK_EQ(vdriver_get(&d, 0x060) & 2, 2);
    CHECK(atomic_load(&d.irq));
}

static void test_save_and_load(void)
{
    struct state_writer *w;
    struct state_reader *r;
    char path[] = "/tmp/pipit-mmio-XXXXXX";
    uint32_t version;
    int fd = mkstemp(path);

    CHECK(fd >= 0);
    unlink(path);
    CHECK(vdriver_init(&d, VIRTIO_F_EVENT_IDX, 2, 8));
    for (unsigned i = 0; i < 3; i++) {
        vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 1 + i, false}}, 1);
        vdriver_kick(&d, 0);
        CHECK(vdriver_used(&d, 0, NULL, NULL));
    }
    vdriver_stop_loop(&d);
    CHECK_EQ(state_writer_open(&w, fd), 0);
    state_begin(w, "t", 1);
    d.dev->desc->ops->save(d.dev, w);
    state_end(w);
    CHECK_EQ(state_writer_finish(w), 0);
    d.dev->desc->ops->reset(d.dev);
    CHECK_EQ(vdriver_get(&d, 0x070), 0);
    CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
    CHECK_EQ(state_reader_open(&r, fd), 0);
    CHECK_EQ(state_enter(r, "t", &version), 0);
    CHECK_EQ(d.dev->desc->ops->load(d.dev, r), 0);
    CHECK_EQ(state_leave(r), 0);
    CHECK_EQ(state_reader_finish(r), 0);
    close(fd);
    CHECK_EQ(vdriver_get(&d, 0x070), S_ACK | S_DRV | S_FOK | S_DOK);
    vdriver_run_loop(&d);
    uint16_t h = vdriver_add(&d, 0, (struct vdriver_seg[]){{DATA, 9, false}}, 1);
    uint32_t head, len;
    vdriver_kick(&d, 0);
    CHECK(vdriver_used(&d, 0, &head, &len));
    CHECK_EQ(head, h);
    CHECK_EQ(len, 9);
}

static void test_empty_slot(void)
{
    struct device *dev;

    CHECK_EQ(virtio_mmio_create(&dev, NULL, d.mem, d.loop), 0);
    const struct device_ops *ops = dev->desc->ops;
    CHECK_EQ(ops->read(dev, 0, 0, 4), 0x74726976);
    CHECK_EQ(ops->read(dev, 0, 8, 4), 0);
    for (unsigned off = 0; off < 0x200; off += 4) {
        ops->write(dev, 0, off, 4, 0xffffffff);
        ops->write(dev, 0, off, 4, 0);
        if (off > 0xc)
            CHECK_EQ(ops->read(dev, 0, off, 4), 0);
    }
    ops->reset(dev);
    ops->destroy(dev);
}

int main(void)
{
    if (!vdriver_open(&d) || !probe_open())
        return 1;
    RUN(test_identity);
    RUN(test_config_space);
    RUN(test_status_machine);
    RUN(test_queue_setup_rules);
    RUN(test_kick_and_interrupt);
    RUN(test_edges);
    RUN(test_doorbells);
    RUN(test_reset_drains);
    RUN(test_pause);
    RUN(test_broken_ring_needs_reset);
    RUN(test_bad_ring_address_needs_reset);
    RUN(test_queues_are_latched);
    RUN(test_resets_from_many_threads_end);
    RUN(test_config_change);
    RUN(test_save_and_load);
    RUN(test_empty_slot);
    vdriver_close(&d);
    return check_done();
}
