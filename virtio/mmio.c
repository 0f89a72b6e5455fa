/*
 * virtio-mmio, version 2 (virtio 1.2, 4.2): the register window around one virtio device.
 *
 * vCPUs reach only the registers, kept here under the device's lock. What they ask of the device (notify, start after
 * DRIVER_OK, reset) becomes a bit in `pending` and a tick of an eventfd, and is served on the loop thread, so that
 * notifications coalesce and the device itself needs no lock. A reset must have taken effect when the register write
 * is over, because drivers do not wait for it: the writing vCPU sleeps until the loop thread has drained the device.
 *
 * Where the accelerator takes doorbells, a notification is a tick of its queue's own eventfd and meets no vCPU's
 * thread. Ticks come in no order with `pending`: one that is served before the start it followed finds the device not
 * running, and the start then serves every queue.
 *
 * The interrupt status and the line move together under a lock of their own, which lets acknowledgements pass while
 * the loop thread works.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "virtio/transport.h"
#include "virtio/virtio.h"
#include "vmm/base/log.h"
#include "vmm/base/util.h"

enum {
    REG_MAGIC = 0x000,
    REG_VERSION = 0x004,
    REG_DEVICE_ID = 0x008,
    REG_VENDOR_ID = 0x00c,
    REG_DEVICE_FEATURES = 0x010,
    REG_DEVICE_FEATURES_SEL = 0x014,
    REG_DRIVER_FEATURES = 0x020,
    REG_DRIVER_FEATURES_SEL = 0x024,
    REG_QUEUE_SEL = 0x030,
    REG_QUEUE_NUM_MAX = 0x034,
    REG_QUEUE_NUM = 0x038,
    REG_QUEUE_READY = 0x044,
    REG_QUEUE_NOTIFY = 0x050,
    REG_INTERRUPT_STATUS = 0x060,
    REG_INTERRUPT_ACK = 0x064,
    REG_STATUS = 0x070,
    REG_QUEUE_DESC_LOW = 0x080,
    REG_QUEUE_DESC_HIGH = 0x084,
    REG_QUEUE_DRIVER_LOW = 0x090,
    REG_QUEUE_DRIVER_HIGH = 0x094,
    REG_QUEUE_DEVICE_LOW = 0x0a0,
    REG_QUEUE_DEVICE_HIGH = 0x0a4,
    REG_SHM_LEN_LOW = 0x0b0,
    REG_SHM_LEN_HIGH = 0x0b4,
    REG_SHM_BASE_LOW = 0x0b8,
    REG_SHM_BASE_HIGH = 0x0bc,
    REG_CONFIG_GENERATION = 0x0fc,
    REG_CONFIG = 0x100,
};

#define MMIO_SIZE 0x200
#define MMIO_MAGIC 0x74726976  /* "virt" */
#define MMIO_VENDOR 0x50495054 /* "TPIP" */

#define ISR_QUEUE 0x1
#define ISR_CONFIG 0x2

/* `pending`: one bit a queue, then these. */
#define PENDING_RESET BIT32(30)
#define PENDING_START BIT32(31)

#define RESET_PATIENCE_S 30

/* A queue's doorbell. */
struct mmio_bell {
    struct mmio *m;
    unsigned queue;
    int efd;
    struct loop_fd *watch; /* NULL: there is none */
};

struct mmio {
    struct device dev;
    struct virtio_transport t;
    struct virtio_device *vd; /* NULL: an empty slot */
    int efd;
    struct loop_fd *watch;
    _Atomic uint32_t pending;
    struct mmio_bell bell[VIRTIO_MAX_QUEUES];

    pthread_mutex_t irq_lock; /* leaf; isr and the line */
    uint32_t isr;

    /* Below: dev.lock. */
    uint32_t status;
    uint32_t device_features_sel, driver_features_sel;
    uint64_t driver_features;
    uint32_t queue_sel;
    uint32_t config_generation;
    struct virtq_config q[VIRTIO_MAX_QUEUES];
    pthread_cond_t reset_done;
    uint64_t resets_asked, resets_served;
};

static struct mmio *mmio_of(struct device *d)
{
    return container_of(d, struct mmio, dev);
}

static struct mmio *mmio_of_transport(struct virtio_transport *t)
{
    return container_of(t, struct mmio, t);
}

/* Hands `bits` to the loop thread; from any thread. */
static void mmio_ask(struct mmio *m, uint32_t bits)
{
    if (atomic_fetch_or(&m->pending, bits))
        return; /* the loop thread has not yet come round to the earlier ones */
    uint64_t one = 1;
    while (write(m->efd, &one, sizeof(one)) < 0 && errno == EINTR)
        ;
}

/* --- interrupts --- */

static void mmio_raise(struct mmio *m, uint32_t bits)
{
    pthread_mutex_lock(&m->irq_lock);
    m->isr |= bits;
    irq_raise(&m->dev.irq);
    pthread_mutex_unlock(&m->irq_lock);
}

static void mmio_ack(struct mmio *m, uint32_t bits)
{
    pthread_mutex_lock(&m->irq_lock);
    m->isr &= ~bits;
    if (!m->isr)
        irq_set(&m->dev.irq, false);
    pthread_mutex_unlock(&m->irq_lock);
}

static uint32_t mmio_isr(struct mmio *m)
{
    pthread_mutex_lock(&m->irq_lock);
    uint32_t v = m->isr;
    pthread_mutex_unlock(&m->irq_lock);
    return v;
}

static void mmio_interrupt(struct virtio_transport *t, unsigned queue)
{
    (void)queue;
    mmio_raise(mmio_of_transport(t), ISR_QUEUE);
}

static void mmio_needs_reset(struct virtio_transport *t)
{
    struct mmio *m = mmio_of_transport(t);
    pthread_mutex_lock(&m->dev.lock);
    bool say = m->status & VIRTIO_STATUS_DRIVER_OK;
    m->status |= VIRTIO_STATUS_NEEDS_RESET;
    pthread_mutex_unlock(&m->dev.lock);
    if (say)
        mmio_raise(m, ISR_CONFIG);
}

static void mmio_config_set(struct virtio_transport *t, unsigned off, const void *p, unsigned len)
{
    struct mmio *m = mmio_of_transport(t);
    pthread_mutex_lock(&m->dev.lock);
    memcpy(m->vd->config + off, p, len);
    m->config_generation++;
    bool say = m->status & VIRTIO_STATUS_DRIVER_OK;
    pthread_mutex_unlock(&m->dev.lock);
    if (say)
        mmio_raise(m, ISR_CONFIG);
}

static void mmio_renotify(struct virtio_transport *t, unsigned queue)
{
    mmio_ask(mmio_of_transport(t), BIT32(queue));
}

static const struct virtio_transport_ops mmio_transport_ops = {
    .interrupt = mmio_interrupt,
    .renotify = mmio_renotify,
    .needs_reset = mmio_needs_reset,
    .config_set = mmio_config_set,
};

/* --- the loop thread's half --- */

static uint64_t mmio_offered(const struct mmio *m)
{
    return m->vd->features | VIRTIO_F_VERSION_1 | VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX;
}

/* Latches the queues as the driver left them at DRIVER_OK. */
static void mmio_serve_start(struct mmio *m)
{
    struct virtio_device *vd = m->vd;
    struct virtq_config q[VIRTIO_MAX_QUEUES];

    if (vd->running)
        return;
    pthread_mutex_lock(&m->dev.lock);
    bool ok = (m->status & VIRTIO_STATUS_DRIVER_OK) && !(m->status & VIRTIO_STATUS_NEEDS_RESET);
    memcpy(q, m->q, sizeof(q));
    vd->negotiated = m->driver_features;
    pthread_mutex_unlock(&m->dev.lock);
    if (!ok)
        return;

    vd->running = true;
    for (unsigned i = 0; i < vd->nqueues; i++) {
        virtq_stop(&vd->vq[i]);
        if (!q[i].ready)
            continue;
        if (virtq_start(&vd->vq[i], m->t.mem, &q[i], vd->negotiated & VIRTIO_F_EVENT_IDX,
                        vd->negotiated & VIRTIO_F_INDIRECT_DESC) < 0) {
            virtio_device_break(vd, i, "its rings are misaligned, not in RAM or of a bad size");
            return;
        }
    }
    if (vd->ops->start)
        vd->ops->start(vd);
}

static void mmio_serve_reset(struct mmio *m)
{
    struct virtio_device *vd = m->vd;

    pthread_mutex_lock(&m->dev.lock);
    uint64_t asked = m->resets_asked;
    pthread_mutex_unlock(&m->dev.lock);

    /* Completions during the drain take the locks themselves. */
    if (vd->ops->drain)
        vd->ops->drain(vd);
    vd->running = false;
    if (vd->ops->reset)
        vd->ops->reset(vd);
    for (unsigned i = 0; i < vd->nqueues; i++)
        virtq_stop(&vd->vq[i]);
    vd->negotiated = 0;

    pthread_mutex_lock(&m->dev.lock);
    m->status = 0;
    m->device_features_sel = m->driver_features_sel = 0;
    m->driver_features = 0;
    m->queue_sel = 0;
    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
        m->q[i] = (struct virtq_config){.size = i < vd->nqueues ? vd->queue_max : 0};
    mmio_ack(m, UINT32_MAX);
    m->resets_served = asked;
    pthread_cond_broadcast(&m->reset_done);
    pthread_mutex_unlock(&m->dev.lock);
}

/* Takes the ticks of an eventfd; false where there were none. */
static bool mmio_take_ticks(struct mmio *m, int fd)
{
    uint64_t count;

    if (read(fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
        return true;
    if (errno != EAGAIN && errno != EINTR)
        log_guest(m->vd->name, "eventfd: %s", strerror(errno));
    return false;
}

static void mmio_notify(struct mmio *m, unsigned queue)
{
    if (m->vd->running && !m->vd->paused && m->vd->vq[queue].size)
        m->vd->ops->notify(m->vd, queue);
}

static void mmio_rung(void *opaque, int fd, unsigned events)
{
    struct mmio_bell *b = opaque;

    (void)events;
    if (mmio_take_ticks(b->m, fd))
        mmio_notify(b->m, b->queue);
}

static void mmio_serve(void *opaque, int fd, unsigned events)
{
    struct mmio *m = opaque;
    struct virtio_device *vd = m->vd;

    (void)events;
    /* A spurious wake-up costs nothing: what is to be done stands in `pending`. */
    mmio_take_ticks(m, fd);
    uint32_t todo = atomic_exchange(&m->pending, 0);
    if (todo & PENDING_RESET)
        mmio_serve_reset(m);
    if (todo & PENDING_START) {
        mmio_serve_start(m);
        todo |= BIT32(vd->nqueues) - 1;
    }
    for (unsigned i = 0; i < vd->nqueues; i++)
        if (todo & BIT32(i))
            mmio_notify(m, i);
}

/* --- the vCPUs' half --- */

/* Returns with the device reset. Called without the lock. */
static void mmio_reset_device(struct mmio *m)
{
    if (loop_is_mine(m->t.loop)) {
        atomic_store(&m->pending, 0);
        mmio_serve_reset(m);
        return;
    }

    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += RESET_PATIENCE_S;
    pthread_mutex_lock(&m->dev.lock);
    uint64_t mine = ++m->resets_asked;
    mmio_ask(m, PENDING_RESET);
    int rc = 0;
    while (m->resets_served < mine && rc == 0)
        rc = pthread_cond_timedwait(&m->reset_done, &m->dev.lock, &until);
    pthread_mutex_unlock(&m->dev.lock);
    /* The status keeps reading non-zero until the reset is through, which is what the specification asks for. */
    if (rc)
        log_guest(m->vd->name, "a reset waits for requests that do not end");
}

/* Bits may be added, in the order of 3.1.1, never taken away but by a reset. Under the lock. */
static void mmio_write_status(struct mmio *m, uint32_t v)
{
    uint32_t old = m->status & ~VIRTIO_STATUS_NEEDS_RESET;
    uint32_t added = v & ~m->status;

    if (old & ~v) {
        log_guest(m->vd->name, "the driver clears status bits 0x%x without a reset", old & ~v);
        return;
    }
    if (added & VIRTIO_STATUS_FAILED)
        m->status |= VIRTIO_STATUS_FAILED;
    m->status |= added & (VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
    if (added & VIRTIO_STATUS_FEATURES_OK) {
        bool ok = (m->driver_features & VIRTIO_F_VERSION_1) && !(m->driver_features & ~mmio_offered(m)) &&
                  (m->status & VIRTIO_STATUS_DRIVER);
        if (ok)
            m->status |= VIRTIO_STATUS_FEATURES_OK;
        else
            log_guest(m->vd->name, "features 0x%llx are refused", (unsigned long long)m->driver_features);
    }
    if (added & VIRTIO_STATUS_DRIVER_OK) {
        if (!(m->status & VIRTIO_STATUS_FEATURES_OK)) {
            log_guest(m->vd->name, "DRIVER_OK before FEATURES_OK");
            return;
        }
        m->status |= VIRTIO_STATUS_DRIVER_OK;
        mmio_ask(m, PENDING_START);
    }
}

/* The selected queue where the driver may set it up now, else NULL. */
static struct virtq_config *mmio_queue_setup(struct mmio *m)
{
    if (m->queue_sel >= m->vd->nqueues)
        return NULL;
    if ((m->status & (VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK)) != VIRTIO_STATUS_FEATURES_OK) {
        log_guest(m->vd->name, "a queue is set up at status 0x%x", m->status);
        return NULL;
    }
    return &m->q[m->queue_sel];
}

static void gpa_set_half(gpa_t *a, bool high, uint32_t v)
{
    if (high)
        a->v = (uint32_t)a->v | (uint64_t)v << 32;
    else
        a->v = (a->v & ~(uint64_t)UINT32_MAX) | v;
}

static void mmio_write_queue(struct mmio *m, uint64_t off, uint32_t v)
{
    struct virtq_config *q;

    /* Drivers tear a queue down after the reset, which has cleared it already. */
    if (off == REG_QUEUE_READY && v == 0 && !(m->status & VIRTIO_STATUS_FEATURES_OK))
        return;
    q = mmio_queue_setup(m);
    if (!q)
        return;
    if (off == REG_QUEUE_READY) {
        q->ready = v & 1;
        return;
    }
    if (q->ready) {
        log_guest(m->vd->name, "a ready queue is changed");
        return;
    }
    switch (off) {
    case REG_QUEUE_NUM:
        if (is_pow2(v) && v <= m->vd->queue_max)
            q->size = (uint16_t)v;
        else
            log_guest(m->vd->name, "a queue of %u entries", v);
        break;
    case REG_QUEUE_DESC_LOW:
    case REG_QUEUE_DESC_HIGH: gpa_set_half(&q->desc, off == REG_QUEUE_DESC_HIGH, v); break;
    case REG_QUEUE_DRIVER_LOW:
    case REG_QUEUE_DRIVER_HIGH: gpa_set_half(&q->avail, off == REG_QUEUE_DRIVER_HIGH, v); break;
    case REG_QUEUE_DEVICE_LOW:
    case REG_QUEUE_DEVICE_HIGH: gpa_set_half(&q->used, off == REG_QUEUE_DEVICE_HIGH, v); break;
    default: break;
    }
}

static void mmio_write_locked(struct mmio *m, uint64_t off, uint32_t v)
{
    switch (off) {
    case REG_DEVICE_FEATURES_SEL: m->device_features_sel = v; break;
    case REG_DRIVER_FEATURES_SEL: m->driver_features_sel = v; break;
    case REG_DRIVER_FEATURES:
        if (m->status & VIRTIO_STATUS_FEATURES_OK || m->driver_features_sel > 1)
            break;
        if (m->driver_features_sel)
            m->driver_features = (uint32_t)m->driver_features | (uint64_t)v << 32;
        else
            m->driver_features = (m->driver_features & ~(uint64_t)UINT32_MAX) | v;
        break;
    case REG_QUEUE_SEL: m->queue_sel = v; break;
    case REG_STATUS: mmio_write_status(m, v); break;
    default: mmio_write_queue(m, off, v); break;
    }
}

static void mmio_write(struct device *d, unsigned cpu, uint64_t off, unsigned size, uint64_t val)
{
    struct mmio *m = mmio_of(d);
    uint32_t v = (uint32_t)val;

    (void)cpu;
    /* No device here has a configuration field that the driver may write. */
    if (!m->vd || off >= REG_CONFIG)
        return;
    if (size != 4 || off % 4) {
        log_guest(m->vd->name, "a register write of %u bytes at 0x%llx", size, (unsigned long long)off);
        return;
    }
    if (off == REG_QUEUE_NOTIFY) {
        if (v < m->vd->nqueues)
            mmio_ask(m, BIT32(v));
    } else if (off == REG_INTERRUPT_ACK) {
        mmio_ack(m, v);
    } else if (off == REG_STATUS && (v & 0xff) == 0) {
        mmio_reset_device(m);
    } else {
        pthread_mutex_lock(&d->lock);
        mmio_write_locked(m, off, v);
        pthread_mutex_unlock(&d->lock);
    }
}

static uint64_t mmio_read_config(struct mmio *m, uint64_t off, unsigned size)
{
    uint8_t v[8] = {0};
    if (range_within(off, size, m->vd->config_len))
        memcpy(v, m->vd->config + off, size);
    return le64_get(v);
}

static uint64_t mmio_read_locked(struct mmio *m, uint64_t off)
{
    bool have_queue = m->queue_sel < m->vd->nqueues;

    switch (off) {
    case REG_DEVICE_FEATURES:
        return m->device_features_sel > 1 ? 0 : (uint32_t)(mmio_offered(m) >> (32 * m->device_features_sel));
    case REG_QUEUE_NUM_MAX: return have_queue ? m->vd->queue_max : 0;
    case REG_QUEUE_READY: return have_queue && m->q[m->queue_sel].ready;
    case REG_STATUS: return m->status;
    case REG_CONFIG_GENERATION: return m->config_generation;
    /* No shared memory regions: length and base read all ones (4.2.2). */
    case REG_SHM_LEN_LOW:
    case REG_SHM_LEN_HIGH:
    case REG_SHM_BASE_LOW:
    case REG_SHM_BASE_HIGH: return UINT32_MAX;
    default: return 0;
    }
}

static uint64_t mmio_read(struct device *d, unsigned cpu, uint64_t off, unsigned size)
{
    struct mmio *m = mmio_of(d);
    uint64_t v;

    (void)cpu;
    if (off < REG_CONFIG && (size != 4 || off % 4))
        return 0;
    switch (off) {
    case REG_MAGIC: return MMIO_MAGIC;
    case REG_VERSION: return 2;
    case REG_DEVICE_ID: return m->vd ? m->vd->id : 0;
    case REG_VENDOR_ID: return MMIO_VENDOR;
    default: break;
    }
    if (!m->vd)
        return 0;
    if (off == REG_INTERRUPT_STATUS)
        return mmio_isr(m);
    pthread_mutex_lock(&d->lock);
    v = off >= REG_CONFIG ? mmio_read_config(m, off - REG_CONFIG, size) : mmio_read_locked(m, off);
    pthread_mutex_unlock(&d->lock);
    return v;
}

static void mmio_reset(struct device *d)
{
    struct mmio *m = mmio_of(d);
    if (m->vd)
        mmio_reset_device(m);
}

/* --- save and load: with the vCPUs stopped, on the loop thread or while the loop does not run --- */

static void mmio_save(struct device *d, struct state_writer *w)
{
    struct mmio *m = mmio_of(d);
    struct virtio_device *vd = m->vd;

    state_put_u32(w, vd ? vd->id : 0);
    if (!vd)
        return;
    /* Serves what the guest asked for before it stopped, then waits for all of it. */
    mmio_serve(m, m->efd, LOOP_IN);
    for (unsigned i = 0; i < vd->nqueues; i++)
        if (m->bell[i].watch)
            mmio_rung(&m->bell[i], m->bell[i].efd, LOOP_IN);
    if (vd->ops->drain)
        vd->ops->drain(vd);
    state_put_u32(w, m->status);
    state_put_u32(w, m->device_features_sel);
    state_put_u32(w, m->driver_features_sel);
    state_put_u64(w, m->driver_features);
    state_put_u32(w, m->queue_sel);
    state_put_u32(w, m->config_generation);
    state_put_u32(w, mmio_isr(m));
    for (unsigned i = 0; i < vd->nqueues; i++) {
        state_put_u8(w, m->q[i].ready);
        state_put_u16(w, m->q[i].size);
        state_put_u64(w, m->q[i].desc.v);
        state_put_u64(w, m->q[i].avail.v);
        state_put_u64(w, m->q[i].used.v);
        virtq_save(&vd->vq[i], w);
    }
}

static int mmio_load(struct device *d, struct state_reader *r)
{
    struct mmio *m = mmio_of(d);
    struct virtio_device *vd = m->vd;
    struct virtq saved[VIRTIO_MAX_QUEUES] = {0};

    if (state_get_u32(r) != (vd ? vd->id : 0))
        return -EINVAL;
    if (!vd)
        return 0;
    mmio_reset_device(m);
    m->status = state_get_u32(r);
    m->device_features_sel = state_get_u32(r);
    m->driver_features_sel = state_get_u32(r);
    m->driver_features = state_get_u64(r);
    m->queue_sel = state_get_u32(r);
    m->config_generation = state_get_u32(r);
    uint32_t isr = state_get_u32(r);
    for (unsigned i = 0; i < vd->nqueues; i++) {
        m->q[i].ready = state_get_u8(r);
        m->q[i].size = state_get_u16(r);
        m->q[i].desc.v = state_get_u64(r);
        m->q[i].avail.v = state_get_u64(r);
        m->q[i].used.v = state_get_u64(r);
        virtq_load(&saved[i], r);
    }
    if ((m->status & VIRTIO_STATUS_FEATURES_OK) && (m->driver_features & ~mmio_offered(m)))
        return -EINVAL;
    mmio_serve_start(m);
    for (unsigned i = 0; i < vd->nqueues; i++) {
        struct virtq *q = &vd->vq[i];
        q->last_avail = saved[i].last_avail;
        q->used_idx = saved[i].used_idx;
        q->signalled = saved[i].signalled;
        q->broken = saved[i].broken;
    }
    if (isr)
        mmio_raise(m, isr);
    /* Whatever waits in the rings is looked at once the loop runs. */
    mmio_ask(m, BIT32(vd->nqueues) - 1);
    return 0;
}

/* --- doorbells --- */

static int mmio_make_bell(struct mmio *m, unsigned queue)
{
    struct mmio_bell *b = &m->bell[queue];
    int efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc;

    if (efd < 0)
        return -errno;
    *b = (struct mmio_bell){.m = m, .queue = queue, .efd = efd};
    rc = loop_fd_add(m->t.loop, &b->watch, efd, LOOP_IN, mmio_rung, b);
    if (rc < 0)
        close(efd);
    return rc;
}

static int mmio_doorbells(struct device *d, struct device_doorbell out[DEVICE_MAX_DOORBELLS])
{
    struct mmio *m = mmio_of(d);
    unsigned n = m->vd ? m->vd->nqueues : 0;

    _Static_assert(VIRTIO_MAX_QUEUES <= DEVICE_MAX_DOORBELLS, "a doorbell a queue");
    for (unsigned i = 0; i < n; i++) {
        int rc = mmio_make_bell(m, i);

        if (rc < 0)
            return rc; /* what was made is destroyed with the device */
        out[i] = (struct device_doorbell){.off = REG_QUEUE_NOTIFY, .value = i, .fd = m->bell[i].efd};
    }
    return (int)n;
}

/* Console input is held by its back end. */
static void mmio_pause(struct device *d)
{
    struct mmio *m = mmio_of(d);

    if (!m->vd)
        return;
    if (m->vd->ops->drain)
        m->vd->ops->drain(m->vd);
    m->vd->paused = true;
}

static void mmio_resume(struct device *d)
{
    struct mmio *m = mmio_of(d);

    if (!m->vd)
        return;
    m->vd->paused = false;
    mmio_ask(m, BIT32(m->vd->nqueues) - 1);
}

static void mmio_destroy(struct device *d)
{
    struct mmio *m = mmio_of(d);

    for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
        if (m->bell[i].watch) {
            loop_fd_remove(m->bell[i].watch);
            close(m->bell[i].efd);
        }
    if (m->vd) {
        loop_fd_remove(m->watch);
        close(m->efd);
        if (m->vd->ops->drain)
            m->vd->ops->drain(m->vd);
        m->vd->ops->destroy(m->vd);
    }
    pthread_cond_destroy(&m->reset_done);
    pthread_mutex_destroy(&m->irq_lock);
    pthread_mutex_destroy(&d->lock);
    free(m);
}

static const struct device_ops mmio_ops = {
    .read = mmio_read,
    .write = mmio_write,
    .doorbells = mmio_doorbells,
    .reset = mmio_reset,
    .pause = mmio_pause,
    .resume = mmio_resume,
    .save = mmio_save,
    .load = mmio_load,
    .destroy = mmio_destroy,
};

static const struct device_desc mmio_desc = {
    .name = "virtio-mmio",
    .compatible = "virtio,mmio",
    .size = MMIO_SIZE,
    .min_access = 1,
    .max_access = 8,
    .flags = DEVICE_SELF_LOCKED,
    .ops = &mmio_ops,
};

int virtio_mmio_create(struct device **out, struct virtio_device *vdev, struct mem *mem, struct loop *l)
{
    struct mmio *m = calloc(1, sizeof(*m));
    pthread_condattr_t attr;
    int rc;

    if (!m)
        return -ENOMEM;
    device_init(&m->dev, &mmio_desc);
    pthread_mutex_init(&m->irq_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&m->reset_done, &attr);
    pthread_condattr_destroy(&attr);
    m->t = (struct virtio_transport){.ops = &mmio_transport_ops, .mem = mem, .loop = l};
    m->efd = -1;
    if (!vdev)
        goto made;

    m->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (m->efd < 0) {
        rc = -errno;
        goto free_slot;
    }
    rc = loop_fd_add(l, &m->watch, m->efd, LOOP_IN, mmio_serve, m);
    if (rc)
        goto close_efd;
    m->vd = vdev;
    vdev->transport = &m->t;
    for (unsigned i = 0; i < vdev->nqueues; i++)
        m->q[i].size = vdev->queue_max;
made:
    *out = &m->dev;
    return 0;

close_efd:
    close(m->efd);
free_slot:
    free(m);
    return rc;
}
