/*
 * The split virtqueue, device side: the one place that walks rings and descriptors.
 *
 * The guest owns every byte of a ring and may change it at any moment, so each entry is copied once and only the copy
 * is looked at. Addresses and size are latched when the driver sets DRIVER_OK. Everything here runs on the loop
 * thread. A ring that breaks a rule is marked broken and stays so until the device is reset; nothing else happens to
 * it (virtio 1.2, 2.1.2 and 2.7).
 */
#ifndef PIPIT_VIRTIO_QUEUE_H
#define PIPIT_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/core/mem.h"
#include "vmm/core/state.h"

#define VIRTQ_SIZE_MAX 1024 /* entries of a ring */
#define VIRTQ_SEGS_MAX 1024 /* buffers of one chain, indirect ones included */

#define VIRTQ_DESC_F_NEXT 0x1
#define VIRTQ_DESC_F_WRITE 0x2
#define VIRTQ_DESC_F_INDIRECT 0x4
#define VIRTQ_AVAIL_F_NO_INTERRUPT 0x1
#define VIRTQ_USED_F_NO_NOTIFY 0x1

/* What the driver set up. */
struct virtq_config {
    bool ready;
    uint16_t size;
    gpa_t desc;
    gpa_t avail;
    gpa_t used;
};

struct virtq {
    struct mem *mem;
    uint16_t size; /* 0: not in use */
    bool event_idx;
    bool indirect;
    uint16_t last_avail; /* next entry of the avail ring to take */
    uint16_t used_idx;   /* next entry of the used ring to fill */
    uint16_t signalled;  /* used_idx when the driver was last considered for an interrupt */
    gpa_t used;
    const uint8_t *desc_host;
    const uint8_t *avail_host;
    const char *broken; /* why, or NULL */
};

/* One request: buffers that the device reads (out), then buffers that it writes (in). */
struct virtq_chain {
    uint16_t head;
    unsigned nout, nin;
    uint32_t out_len, in_len; /* bytes; their sum fits 32 bits too */
    struct iovec iov[VIRTQ_SEGS_MAX];
};

static inline struct iovec *virtq_chain_in(struct virtq_chain *c)
{
    return c->iov + c->nout;
}

/* Checks and latches. -EINVAL: size not a power of two up to VIRTQ_SIZE_MAX, or a part misaligned or not in RAM. */
int virtq_start(struct virtq *q, struct mem *m, const struct virtq_config *cfg, bool event_idx, bool indirect);
void virtq_stop(struct virtq *q);

/* 1: a chain was taken; 0: nothing there; -EPROTO: the ring is broken (q->broken says why). */
int virtq_pop(struct virtq *q, struct virtq_chain *c);
/* Gives the `n` chains taken last back to the ring, to be popped again. */
void virtq_unpop(struct virtq *q, unsigned n);
/* Returns a chain with `len` bytes written into it. What was written must be announced by virtq_wrote before. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t len);
/* The same for several chains that the driver must see at once: each is put at its place, 0 and on, then all are
 * published. */
void virtq_put(struct virtq *q, unsigned ahead, uint16_t head, uint32_t len);
void virtq_publish(struct virtq *q, unsigned n);
/* mem_write_end for buffers that a chain held as writable. */
void virtq_wrote(struct mem *m, const struct iovec *iov, unsigned niov);

/* True where the driver wants an interrupt for what was pushed since the last call (2.7.7, 2.7.10). */
bool virtq_needs_interrupt(struct virtq *q);
void virtq_disable_notify(struct virtq *q);
/* True where buffers arrived meanwhile: the caller goes on popping. */
bool virtq_enable_notify(struct virtq *q);

/* Copies between a buffer and the concatenation of iov, from byte `off` on; returns how much fitted. */
size_t virtq_iov_get(const struct iovec *iov, unsigned niov, size_t off, void *dst, size_t len);
size_t virtq_iov_put(const struct iovec *iov, unsigned niov, size_t off, const void *src, size_t len);
/* [off, off+len) of iov as iovecs into `out`; their number, or -E2BIG where more than `max` would be needed. */
int virtq_iov_slice(const struct iovec *iov, unsigned niov, size_t off, size_t len, struct iovec *out, unsigned max);

void virtq_save(const struct virtq *q, struct state_writer *w);
/* The indices only; the caller puts them into a queue that virtq_start made from the saved configuration. */
void virtq_load(struct virtq *q, struct state_reader *r);

#endif
