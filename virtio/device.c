/* What all virtio devices share: taking chains, interrupting, and stopping on a broken ring. */
#include "virtio/transport.h"

#include "vmm/base/log.h"

void virtio_device_break(struct virtio_device *vd, unsigned queue, const char *why)
{
    if (!vd->running)
        return;
    log_guest(vd->name, "queue %u: %s; the device waits for a reset", queue, why);
    vd->running = false;
    if (!vd->vq[queue].broken)
        vd->vq[queue].broken = why;
    vd->transport->ops->needs_reset(vd->transport);
}

bool virtio_pop(struct virtio_device *vd, unsigned queue, struct virtq_chain *c)
{
    if (!vd->running)
        return false;
    int rc = virtq_pop(&vd->vq[queue], c);
    if (rc < 0)
        virtio_device_break(vd, queue, vd->vq[queue].broken);
    return rc > 0;
}

void virtio_interrupt(struct virtio_device *vd, unsigned queue)
{
    if (virtq_needs_interrupt(&vd->vq[queue]))
        vd->transport->ops->interrupt(vd->transport, queue);
}
