/* virtio-rng (virtio 1.2, 5.4): fills the driver's buffers from the host's random number generator. */
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "virtio/transport.h"
#include "virtio/virtio.h"

#define RNG_QUEUE_MAX 64
#define RNG_BYTES_MAX 4096 /* of one request; the driver asks again for more */

struct rng {
    struct virtio_device vd;
    struct virtq_chain chain;
};

static struct rng *rng_of(struct virtio_device *vd)
{
    return container_of(vd, struct rng, vd);
}

static void rng_notify(struct virtio_device *vd, unsigned queue)
{
    struct rng *r = rng_of(vd);
    struct virtq *q = &vd->vq[queue];
    unsigned budget = RNG_QUEUE_MAX;
    uint8_t buf[RNG_BYTES_MAX];

    do {
        virtq_disable_notify(q);
        while (virtio_pop(vd, queue, &r->chain)) {
            size_t want = MIN((size_t)r->chain.in_len, sizeof(buf)), have = 0;
            while (have < want) {
                ssize_t n = getrandom(buf + have, want - have, 0);
                if (n < 0 && errno != EINTR)
                    break;
                have += n > 0 ? (size_t)n : 0;
            }
            virtq_iov_put(virtq_chain_in(&r->chain), r->chain.nin, 0, buf, have);
            virtq_wrote(vd->transport->mem, virtq_chain_in(&r->chain), r->chain.nin);
            virtq_push(q, r->chain.head, (uint32_t)have);
            if (--budget == 0) {
                vd->transport->ops->renotify(vd->transport, queue);
                goto out;
            }
        }
    } while (vd->running && virtq_enable_notify(q));
out:
    virtio_interrupt(vd, queue);
}

static void rng_destroy(struct virtio_device *vd)
{
    free(rng_of(vd));
}

static const struct virtio_device_ops rng_ops = {.notify = rng_notify, .destroy = rng_destroy};

int virtio_rng_create(struct virtio_device **out)
{
    struct rng *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->vd = (struct virtio_device){
        .ops = &rng_ops,
        .name = "virtio-rng",
        .id = VIRTIO_ID_RNG,
        .nqueues = 1,
        .queue_max = RNG_QUEUE_MAX,
    };
    *out = &r->vd;
    return 0;
}
