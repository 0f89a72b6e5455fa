/* A small virtio driver for tests. See vdriver.h. */
#include "tests/lib/vdriver.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define REG_DRIVER_FEATURES 0x020
#define REG_DRIVER_FEATURES_SEL 0x024
#define REG_QUEUE_SEL 0x030
#define REG_QUEUE_NUM 0x038
#define REG_QUEUE_READY 0x044
#define REG_QUEUE_NOTIFY 0x050
#define REG_STATUS 0x070

#define PATIENCE_MS 5000

static uint8_t *host(struct vdriver *d, uint64_t addr, size_t len)
{
    return mem_write_begin(d->mem, GPA(addr), len);
}

static void on_irq(void *opaque, unsigned num, bool level)
{
    struct vdriver *d = opaque;

    (void)num;
    if (level && !atomic_exchange(&d->irq, true))
        atomic_fetch_add(&d->irq_raised, 1);
    if (!level)
        atomic_store(&d->irq, false);
}

static void *loop_main(void *opaque)
{
    loop_run(opaque);
    return NULL;
}

bool vdriver_open(struct vdriver *d)
{
    memset(d, 0, sizeof(*d));
    return mem_create(&d->mem) == 0 && mem_add_ram(d->mem, GPA(VDRIVER_RAM), VDRIVER_RAM_SIZE, NULL, NULL) == 0 &&
           loop_create(&d->loop, NULL) == 0;
}

bool vdriver_attach(struct vdriver *d, struct virtio_device *vdev)
{
    if (virtio_mmio_create(&d->dev, vdev, d->mem, d->loop) < 0)
        return false;
    d->dev->irq = (struct irq_line){.set = on_irq, .opaque = d};
    return true;
}

void vdriver_run_loop(struct vdriver *d)
{
    d->running = pthread_create(&d->thread, NULL, loop_main, d->loop) == 0;
}

void vdriver_stop_loop(struct vdriver *d)
{
    if (!d->running)
        return;
    loop_stop(d->loop);
    pthread_join(d->thread, NULL);
    d->running = false;
}

void vdriver_detach(struct vdriver *d)
{
    vdriver_stop_loop(d);
    if (d->dev)
        d->dev->desc->ops->destroy(d->dev);
    d->dev = NULL;
}

void vdriver_close(struct vdriver *d)
{
    vdriver_detach(d);
    loop_destroy(d->loop);
    mem_destroy(d->mem);
}

uint32_t vdriver_get(struct vdriver *d, uint64_t reg)
{
    return (uint32_t)d->dev->desc->ops->read(d->dev, 0, reg, 4);
}

void vdriver_put(struct vdriver *d, uint64_t reg, uint32_t v)
{
    d->dev->desc->ops->write(d->dev, 0, reg, 4, v);
}

uint64_t vdriver_config(struct vdriver *d, uint64_t off, unsigned size)
{
    return d->dev->desc->ops->read(d->dev, 0, 0x100 + off, size);
}

bool vdriver_negotiate(struct vdriver *d, uint64_t features)
{
    features |= VIRTIO_F_VERSION_1;
    vdriver_put(d, REG_STATUS, 0);
    if (vdriver_get(d, REG_STATUS) != 0)
        return false;
    vdriver_put(d, REG_STATUS, VIRTIO_STATUS_ACKNOWLEDGE);
    vdriver_put(d, REG_STATUS, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
    for (uint32_t i = 0; i < 2; i++) {
        vdriver_put(d, REG_DRIVER_FEATURES_SEL, i);
        vdriver_put(d, REG_DRIVER_FEATURES, (uint32_t)(features >> (32 * i)));
    }
    vdriver_put(d, REG_STATUS, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK);
    return vdriver_get(d, REG_STATUS) & VIRTIO_STATUS_FEATURES_OK;
}

void vdriver_queue(struct vdriver *d, unsigned q, uint16_t size, uint64_t desc, uint64_t avail, uint64_t used)
{
    const uint64_t part[] = {desc, avail, used};

    vdriver_put(d, REG_QUEUE_SEL, q);
    vdriver_put(d, REG_QUEUE_NUM, size);
    for (unsigned i = 0; i < 3; i++) {
        vdriver_put(d, 0x080 + 0x10 * i, (uint32_t)part[i]);
        vdriver_put(d, 0x084 + 0x10 * i, (uint32_t)(part[i] >> 32));
    }
    vdriver_put(d, REG_QUEUE_READY, 1);
}

bool vdriver_init(struct vdriver *d, uint64_t features, unsigned nqueues, uint16_t size)
{
    if (!vdriver_negotiate(d, features))
        return false;
    d->size = size;
    for (unsigned q = 0; q < nqueues; q++) {
        memset(host(d, VDRIVER_DESC(q), 0x10000), 0, 0x10000);
        d->next_desc[q] = d->avail[q] = d->seen[q] = 0;
        vdriver_queue(d, q, size, VDRIVER_DESC(q), VDRIVER_AVAIL(q), VDRIVER_USED(q));
    }
    vdriver_put(d, REG_STATUS, vdriver_get(d, REG_STATUS) | VIRTIO_STATUS_DRIVER_OK);
    return true;
}

void vdriver_desc(struct vdriver *d, uint64_t table, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
                  uint16_t next)
{
    uint8_t *p = host(d, table + 16 * (uint64_t)i, 16);

    le64_put(p, addr);
    le32_put(p + 8, len);
    le16_put(p + 12, flags);
    le16_put(p + 14, next);
}

void vdriver_offer(struct vdriver *d, unsigned q, uint16_t head)
{
    uint8_t *p = host(d, VDRIVER_AVAIL(q), 6 + 2 * (size_t)d->size);

    le16_put(p + 4 + 2 * (d->avail[q] & (d->size - 1)), head);
    d->avail[q]++;
    __atomic_store_n((uint16_t *)(void *)(p + 2), d->avail[q], __ATOMIC_SEQ_CST);
}

uint16_t vdriver_add(struct vdriver *d, unsigned q, const struct vdriver_seg *seg, unsigned n)
{
    uint16_t head = d->next_desc[q] & (d->size - 1);

    for (unsigned i = 0; i < n; i++) {
        unsigned at = d->next_desc[q]++ & (d->size - 1), next = d->next_desc[q] & (d->size - 1);
        uint16_t flags = (seg[i].write ? VIRTQ_DESC_F_WRITE : 0) | (i + 1 < n ? VIRTQ_DESC_F_NEXT : 0);
        vdriver_desc(d, VDRIVER_DESC(q), at, seg[i].addr, seg[i].len, flags, (uint16_t)next);
    }
    vdriver_offer(d, q, head);
    return head;
}

void vdriver_kick(struct vdriver *d, unsigned q)
{
    vdriver_put(d, REG_QUEUE_NOTIFY, q);
}

uint16_t vdriver_used_idx(struct vdriver *d, unsigned q)
{
    return __atomic_load_n((uint16_t *)(void *)host(d, VDRIVER_USED(q) + 2, 2), __ATOMIC_SEQ_CST);
}

bool vdriver_used(struct vdriver *d, unsigned q, uint32_t *head, uint32_t *len)
{
    for (unsigned ms = 0; vdriver_used_idx(d, q) == d->seen[q]; ms++) {
        if (ms == PATIENCE_MS)
            return false;
        usleep(1000);
    }
    const uint8_t *p = host(d, VDRIVER_USED(q) + 4 + 8 * (uint64_t)(d->seen[q]++ & (d->size - 1)), 8);
    if (head)
        *head = le32_get(p);
    if (len)
        *len = le32_get(p + 4);
    return true;
}

bool vdriver_wait_status(struct vdriver *d, uint32_t bit)
{
    for (unsigned ms = 0; !(vdriver_get(d, REG_STATUS) & bit); ms++) {
        if (ms == PATIENCE_MS)
            return false;
        usleep(1000);
    }
    return true;
}

void vdriver_write(struct vdriver *d, uint64_t addr, const void *p, size_t len)
{
    memcpy(host(d, addr, len), p, len);
}

void vdriver_read(struct vdriver *d, uint64_t addr, void *p, size_t len)
{
    memcpy(p, host(d, addr, len), len);
}
