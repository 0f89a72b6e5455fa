/* What attaching a device takes on any board. */
#include "vmm/machine/devices.h"

#include <errno.h>
#include <string.h>

#include "virtio/virtio.h"
#include "vmm/base/log.h"

/* What the accelerator cannot take off the device reaches it over the bus. */
static void connect_doorbells(struct machine *m, struct device *d)
{
    const struct accel_ops *ops = m->accel->ops;
    struct device_doorbell bell[DEVICE_MAX_DOORBELLS];
    int n = ops->doorbell_add && d->desc->ops->doorbells ? d->desc->ops->doorbells(d, bell) : 0;

    for (int i = 0; i < n; i++) {
        int r = ops->doorbell_add(m->accel, bell[i].fd, GPA(d->base.v + bell[i].off), bell[i].value);

        if (r < 0)
            log_debug(d->desc->name, "doorbell %u goes over the bus: %s", bell[i].value, strerror(-r));
    }
}

int devices_attach(struct machine *m, struct device *d, const struct device_place *at, struct err *e)
{
    int r = 0;

    if (at->irq != DEVICE_NO_IRQ)
        r = m->accel->ops->irq_line(m->accel, at->irq, at->edge, &d->irq, e);
    if (r < 0) {
        err_prefix(e, "device %s", d->desc->name);
        goto fail;
    }
    r = bus_attach(at->bus, d, GPA(at->base));
    if (r < 0) {
        err_set(e, -r, "device %s cannot be attached at 0x%llx: %s", d->desc->name, (unsigned long long)at->base,
                strerror(-r));
        goto fail;
    }
    connect_doorbells(m, d);
    return 0;

fail:
    d->desc->ops->destroy(d);
    return r;
}

/* The events of a machine stop it; this side knows of which disk they speak. */
static void on_disk_error(void *opaque, bool write, int error)
{
    const struct machine_disk_stop *s = opaque;
    const struct machine_events *ev = &s->m->events;

    log_warn(NULL, "disk %s: a %s fails: %s; the machine is paused, and tries again when it goes on",
             s->m->cfg->disk[s->index].path, write ? "write" : "read", strerror(error));
    ev->on_disk_error(ev->opaque);
}

static int create_disk(struct machine *m, unsigned index, struct virtio_device **out)
{
    static const enum virtio_blk_error errors[] = {[VM_ERROR_REPORT] = VIRTIO_BLK_REPORT,
                                                   [VM_ERROR_IGNORE] = VIRTIO_BLK_IGNORE,
                                                   [VM_ERROR_STOP] = VIRTIO_BLK_STOP,
                                                   [VM_ERROR_ENOSPC] = VIRTIO_BLK_ENOSPC};
    const struct vm_disk *d = &m->cfg->disk[index];
    const struct virtio_blk_policy p = {.write = errors[d->werror],
                                        .read = errors[d->rerror],
                                        .no_discard = d->no_discard,
                                        .stop = on_disk_error,
                                        .opaque = &m->disk_stop[index]};

    m->disk_stop[index] = (struct machine_disk_stop){m, index};
    return virtio_blk_create(out, m->disk[index], d->serial, &p);
}

static int create_virtio(struct machine *m, const struct vm_device *v, struct virtio_device **out)
{
    const struct vm_config *c = m->cfg;

    switch (v->kind) {
    case VM_DEVICE_BLK: return create_disk(m, v->index, out);
    case VM_DEVICE_NET: return virtio_net_create(out, m->net[v->index], c->net[v->index].mac);
    case VM_DEVICE_CONSOLE: return virtio_console_create(out, m->chardev[v->index]);
    case VM_DEVICE_RNG: return virtio_rng_create(out);
    }
    return -EINVAL;
}

int devices_attach_virtio(struct machine *m, const struct vm_device *v, const struct device_place *at, struct err *e)
{
    static const char *const what[] = {[VM_DEVICE_BLK] = "disk",
                                       [VM_DEVICE_NET] = "network device",
                                       [VM_DEVICE_CONSOLE] = "console",
                                       [VM_DEVICE_RNG] = "entropy device"};
    struct virtio_device *vdev;
    struct device *d;
    int r;

    r = create_virtio(m, v, &vdev);
    if (r == 0)
        r = virtio_mmio_create(&d, vdev, m->mem, m->loop);
    if (r < 0)
        return err_set(e, -r, "the virtio %s in slot %d cannot be made: %s", what[v->kind], v->slot, strerror(-r));
    return devices_attach(m, d, at, e);
}

struct chardev *devices_serial(struct machine *m)
{
    return m->cfg->serial >= 0 ? m->chardev[m->cfg->serial] : m->nowhere;
}
